"""The bridge, the rules of its ports and the rate limit, each against an independent oracle."""

from __future__ import annotations

import random

import pytest

from hypervisor_model.dom0.bridge import ADDRESSES_PER_PORT, AGEING_NS, Bridge
from hypervisor_model.dom0.credit import BURST_BYTES, Credit, Rate
from hypervisor_model.dom0.packet import Packet
from hypervisor_model.dom0.port_filter import MAX_GROUPS, PortFilter
from hypervisor_model.switch import PortPolicy
from sw.abi.registers import NicControl
from tb.model.switch import Switch


class Clock:
    def __init__(self) -> None:
        self.ns = 0

    def now(self) -> int:
        return self.ns


class Port:
    def __init__(self, keeps: bool = False) -> None:
        self.got: list[bytes] = []
        self.keeps = keeps

    def deliver(self, packet: Packet) -> bool:
        self.got.append(packet.frame)
        return self.keeps

    def take(self) -> int:
        count = len(self.got)
        self.got.clear()
        return count


def address(number: int) -> bytes:
    return (0x02_00_00_00_00_00 | number).to_bytes(6, "big")


def packet(destination: bytes, source: bytes) -> Packet:
    return Packet(destination + source + b"\x88\xb5" + bytes(46))


class Bench:
    def __init__(self, ports: int) -> None:
        self.clock = Clock()
        self.spent: list[str] = []
        self.bridge = Bridge(self.clock.now, self.spent.append)
        self.ports = [Port(keeps=n == 0) for n in range(ports)]
        for port in self.ports:
            self.bridge.attach(port)

    def send(self, port: int, destination: bytes, source: bytes) -> list[int]:
        """Ports that got it."""
        kept = self.bridge.forward(self.ports[port], packet(destination, source))
        got = [n for n, other in enumerate(self.ports) if other.take()]
        assert kept == (0 in got)
        return got


@pytest.mark.parametrize("seed", range(5))
def test_learning_forwarding_and_ageing_against_a_table(seed: int) -> None:
    rng = random.Random(seed)
    bench = Bench(5)
    table: dict[bytes, tuple[int, int]] = {}
    for _ in range(3000):
        bench.clock.ns += rng.choice([0, 1000, AGEING_NS // 10])
        port = rng.randrange(5)
        source, destination = address(rng.randrange(12)), address(rng.randrange(12))
        kind = rng.random()
        destination = b"\xff" * 6 if kind < 0.1 else b"\x01\x00\x5e\x00\x00\x01" if kind < 0.2 else destination
        table[source] = port, bench.clock.ns
        others = [n for n in range(5) if n != port]
        owner, seen = table.get(destination, (-1, -2 * AGEING_NS))
        expected = others
        if not destination[0] & 1 and bench.clock.ns - seen <= AGEING_NS:
            expected = [] if owner == port else [owner]
        assert bench.send(port, destination, source) == expected
    assert len(bench.spent) == 3000 and set(bench.spent) == {"bridge_forward"}


def test_static_addresses_cannot_be_taken_over() -> None:
    bench = Bench(3)
    guest = Port()
    bench.bridge.attach(guest, (address(1),))
    bench.ports.append(guest)
    assert bench.send(0, address(1), address(9)) == [3]
    # somebody outside claims it
    assert bench.send(0, address(9), address(1)) == []
    assert bench.send(1, address(1), address(8)) == [3]
    bench.bridge.detach(guest)
    assert bench.send(1, address(1), address(8)) == [0, 2]


def test_an_address_that_was_learned_elsewhere_becomes_static() -> None:
    bench = Bench(2)
    bench.send(0, address(9), address(1))
    bench.bridge.attach(bench.ports[1], (address(1),))
    assert bench.bridge.addresses(bench.ports[0]) == []
    assert bench.send(0, address(1), address(2)) == [1]


def test_a_port_that_makes_addresses_up_forgets_its_own_only() -> None:
    bench = Bench(3)
    bench.send(1, address(0), address(5000))
    for n in range(ADDRESSES_PER_PORT + 50):
        bench.send(0, address(0), address(10_000 + n))
    assert len(bench.bridge.addresses(bench.ports[0])) == ADDRESSES_PER_PORT
    assert bench.send(2, address(5000), address(6000)) == [1]
    assert bench.send(2, address(10_000), address(6000)) == [0, 1]
    assert bench.send(2, address(10_000 + ADDRESSES_PER_PORT), address(6000)) == [0]


def test_link_local_groups_stay_and_a_detached_port_is_forgotten() -> None:
    bench = Bench(3)
    assert bench.send(0, bytes.fromhex("0180c200000e"), address(1)) == []
    assert bench.send(0, bytes.fromhex("0180c2000010"), address(1)) == [1, 2]
    bench.bridge.detach(bench.ports[0])
    assert bench.send(1, address(1), address(2)) == [2]
    bench.bridge.detach(bench.ports[0])


@pytest.mark.parametrize("seed", range(8))
def test_port_rules_are_those_of_the_nic(seed: int) -> None:
    """The reference NIC's switch decides the same for the same port, policy and frame."""
    rng = random.Random(seed)
    for _ in range(60):
        mac = address(1)
        policy = PortPolicy(rng.choice([0, 0, 5]), *(rng.random() < 0.7 for _ in range(3)))
        switch = Switch()
        for n, (who, vlan) in enumerate(((mac, policy.vlan), (address(2), 0))):
            at = n * NicControl.PORT_STRIDE
            switch.write(NicControl.PORT_MAC_HI + at, int.from_bytes(who[:4], "big"))
            switch.write(NicControl.PORT_MAC_LO + at, int.from_bytes(who[4:], "big"))
            flags = [NicControl.PORT_POLICY_ENABLE_M, vlan]
            if n == 0:
                flags.append(NicControl.PORT_POLICY_CHECK_MAC_M * policy.check_mac)
                flags.append(NicControl.PORT_POLICY_CHECK_VLAN_M * policy.check_vlan)
                flags.append(NicControl.PORT_POLICY_BROADCAST_M * policy.broadcast)
            switch.write(NicControl.PORT_POLICY + at, sum(flags))
        group = bytes.fromhex("01005e000001")
        switch.write(NicControl.GROUP_MAC_HI, int.from_bytes(group[:4], "big"))
        low = int.from_bytes(group[4:], "big") | NicControl.GROUP_MAC_LO_VALID_M
        switch.write(NicControl.GROUP_MAC_LO, low)
        switch.write(NicControl.GROUP_MEMBERS_LO, 1)
        port = PortFilter(mac, policy)
        assert port.join(group)
        for _ in range(40):
            tag = rng.choice([b"", b"", bytes.fromhex("81000005"), bytes.fromhex("8100e000"), bytes.fromhex("81006006")])
            kind = rng.choice([b"\x08\x00", b"\x88\x08", b"\x88\xb5"])
            where = rng.choice([mac, address(2), b"\xff" * 6, group, bytes.fromhex("01005e000002")])
            frame = where + rng.choice([mac, mac, address(2)]) + tag + kind + bytes(46)
            assert port.may_send(frame) is not switch.from_endpoint(0, frame).spoofed
            assert port.gets(frame) is (0 in switch.from_wire(frame))


def test_groups_are_bounded_and_must_be_groups() -> None:
    port = PortFilter(address(1), PortPolicy())
    groups = [bytes.fromhex("01005e0000") + bytes([n]) for n in range(MAX_GROUPS)]
    assert all(port.join(group) for group in groups) and port.join(groups[0])
    assert not port.join(bytes.fromhex("01005e000100"))
    assert not port.join(b"\xff" * 6) and not PortFilter(address(1), PortPolicy()).join(address(2))
    port.reset(all_multicast=False)
    assert not port.groups and port.join(groups[0])


@pytest.mark.parametrize("seed", range(4))
def test_rate_is_kept_over_any_time_and_a_packet_waits_no_longer_than_it_must(seed: int) -> None:
    rng = random.Random(seed)
    rate = Rate(rng.choice([10_000, 300_000]), rng.choice([100, 50_000]))
    clock = Clock()
    credit = Credit(rate, clock.now)
    interval = rate.usecs * 1000
    passed: list[tuple[int, int]] = []
    for _ in range(2000):
        size = rng.randint(60, 9018)
        if rng.random() < 0.1:
            clock.ns += rng.randint(0, 4 * interval)
        waits = 0
        while (wait := credit.wait_ns(size)) > 0:
            assert wait <= interval
            clock.ns += wait
            waits += 1
            assert waits <= 2
        if waits:
            # it stood at a boundary
            assert clock.ns % interval == 0
        credit.take(size)
        passed.append((clock.ns, size))
    burst = max(BURST_BYTES, rate.octets)
    for n in range(0, len(passed), 97):
        total = 0
        for when, size in passed[n:]:
            total += size
            assert total <= burst + ((when // interval) - (passed[n][0] // interval)) * rate.octets


@pytest.mark.parametrize(("octets", "burst"), [(1000, BURST_BYTES), (200_000, 200_000)])
def test_unused_credit_adds_up_to_one_burst(octets: int, burst: int) -> None:
    clock = Clock()
    credit = Credit(Rate(octets, 100), clock.now)
    clock.ns = 1_000_000_000
    left = burst
    while left:
        size = min(left, 1000)
        assert credit.wait_ns(size) == 0
        credit.take(size)
        left -= size
    assert credit.wait_ns(1) == 100_000


def test_rate_keys() -> None:
    assert Rate.parse("125000,50000") == Rate(125_000, 50_000)
    for text in ("", "1", "0,5", "a,b", "1,2,3", "-1,5", "4294967296,1"):
        with pytest.raises(ValueError, match="rate|octets"):
            Rate.parse(text)
    clock = Clock()
    assert Credit(Rate(1, 0), clock.now).wait_ns(1 << 30) == 0
