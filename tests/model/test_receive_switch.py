"""Who gets what: addresses, VLANs, groups, rights; traffic between guests; scaling over queues; offloads."""

from __future__ import annotations

import random

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.switch import PortPolicy, SwitchConfig
from sw.abi.registers import NicControl, Status, Switch
from sw.guest.checksum import ones_sum
from sw.guest.virtual_nic import NicError, ReceiveConfig, SendForm, VirtualNic
from sw.xen.errno import HypercallError
from tb.ethernet import on_line
from tb.model.platform import ModelPlatform
from tests.model.model_support import WAIT_NS, frames_of, machine
from tests.model.receive_support import BROADCAST, PEER, collect, frame, receiver_nic, wire

IDLE_NS = 100_000
GROUP = bytes.fromhex("01005e000001")
SMALL = ReceiveConfig(entries=64)


def group(number: int) -> bytes:
    return bytes.fromhex("3333") + number.to_bytes(4, "big")


def test_addresses_are_the_hypervisors_stable_and_never_shared() -> None:
    platform, hv = machine()
    first, second = (hv.create_domain(f"guest{n}", 512) for n in range(2))
    nics = [receiver_nic(dom, SMALL) for dom in (first, first, second)]

    async def run() -> None:
        for nic in nics:
            await nic.open()
        macs = [nic.mac for nic in nics]
        assert len(set(macs)) == 3
        assert all(mac[:3] == bytes.fromhex("0060dd") for mac in macs)
        await nics[0].close()
        await nics[2].close()
        await nics[2].open()
        await nics[0].open()
        # other endpoint numbers, the same addresses
        assert [nic.mac for nic in nics] == macs and nics[2].endpoint == 0

    platform.run(run())


@pytest.mark.parametrize("policy", list(Switch))
def test_guest_to_guest(policy: Switch) -> None:
    platform = ModelPlatform()
    hv = Hypervisor(platform, switch=SwitchConfig(policy=policy))
    platform.run(hv.boot())
    sender, receiver = (receiver_nic(hv.create_domain(f"guest{n}", 256), SMALL) for n in range(2))
    rng = random.Random(1)

    async def run() -> None:
        await sender.open()
        await receiver.open()
        frames = [frame(rng, receiver.mac, size, source=sender.mac) for size in (60, 300, 1514)]
        for data in frames:
            assert sender.send(data)
        await sender.drain(WAIT_NS)
        got = await collect(receiver, 3, IDLE_NS)
        inside = policy is not Switch.VEPA
        assert [one.data for one in got] == (frames if inside else [])
        assert all(one.local for one in got)
        outside = policy is not Switch.VEB
        assert frames_of(platform, sender.endpoint) == ([on_line(data) for data in frames] if outside else [])
        assert sender.completions[Status.OK] == 3

    platform.run(run())


def test_spoofed_source_is_refused_and_counted() -> None:
    platform, hv = machine()
    liar = receiver_nic(hv.create_domain("liar", 256), SMALL)
    victim = receiver_nic(hv.create_domain("victim", 256), SMALL)
    free = receiver_nic(hv.create_domain("free", 256, port_policy=PortPolicy(check_mac=False)), SMALL)

    async def run() -> None:
        for nic in (liar, victim, free):
            await nic.open()
        forged = frame(random.Random(2), victim.mac, 100, source=free.mac)
        tagged = frame(random.Random(2), victim.mac, 100, source=liar.mac, vlan=9)
        for data in (forged, tagged):
            assert liar.send(data)
        await liar.drain(WAIT_NS)
        assert await victim.receive(IDLE_NS) == []
        assert liar.completions[Status.SPOOFED] == 2
        assert (await liar.statistics())["tx_dropped_spoofed"] == 2
        assert (await liar.statistics())["tx_error_spoofed"] == 2
        assert free.send(frame(random.Random(2), victim.mac, 100, source=PEER))
        assert len(await victim.receive(WAIT_NS)) == 1

    platform.run(run())
    assert platform.frames == []


def test_only_sending_guest_with_a_policy_is_checked() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 128, port_policy=PortPolicy())
    nic = VirtualNic(dom, SendForm.PUSHED, 64, buffer_pages=8)

    async def run() -> None:
        await nic.open()
        assert nic.send(PEER + PEER + bytes(60)) and nic.send(PEER + nic.mac + bytes(60))
        await nic.drain(WAIT_NS)
        assert (await nic.statistics())["tx_dropped_spoofed"] == 1

    platform.run(run())
    assert len(platform.frames) == 1


def test_vlans_are_apart() -> None:
    platform, hv = machine()
    vlans = (0, 5, 5, 6)
    nics = [
        receiver_nic(hv.create_domain(f"guest{n}", 256, port_policy=PortPolicy(vlan=vlan)), SMALL)
        for n, vlan in enumerate(vlans)
    ]
    rng = random.Random(3)

    async def run() -> None:
        for nic, vlan in zip(nics, vlans, strict=True):
            await nic.open()
            assert nic.vlan == vlan
        for sender, vlan in zip(nics, vlans, strict=True):
            data = frame(rng, BROADCAST, 100, source=sender.mac, vlan=vlan)
            assert sender.send(data)
            await sender.drain(WAIT_NS)
            for other, its in zip(nics, vlans, strict=True):
                got = await other.receive(10_000)
                assert [one.data for one in got] == ([data] if other is not sender and its == vlan else [])
        # a unicast frame of another VLAN reaches nobody, from the line and from a sibling
        wire(platform, [frame(rng, nics[1].mac, 100, vlan=6), frame(rng, nics[1].mac, 100)])
        assert nics[3].send(frame(rng, nics[1].mac, 100, source=nics[3].mac, vlan=6))
        assert await nics[1].receive(IDLE_NS) == []

    platform.run(run())
    assert platform.nic.counters[NicControl.RX_FILTERED_UNICAST] == 2


def test_multicast_list() -> None:
    platform, hv = machine()
    nics = [receiver_nic(hv.create_domain(f"guest{n}", 256), SMALL) for n in range(3)]
    rng = random.Random(4)

    async def reaches() -> list[int]:
        data = frame(rng, GROUP, 100)
        wire(platform, [data])
        await platform.sleep(10_000)
        return [len(nic.poll()) for nic in nics]

    async def run() -> None:
        for nic in nics:
            await nic.open()
        assert await reaches() == [0, 0, 0]
        assert await nics[0].set_multicast([GROUP, group(1)]) and await nics[2].set_multicast([GROUP])
        assert await reaches() == [1, 0, 1]
        assert hv.endpoints.switch.groups_used == 2
        assert await nics[0].set_multicast([group(1)])
        assert await reaches() == [0, 0, 1]
        await nics[2].close()
        assert hv.endpoints.switch.groups_used == 1
        await nics[2].open()
        assert await reaches() == [0, 0, 0]
        with pytest.raises(HypercallError, match="not a multicast address"):
            await nics[0].set_multicast([PEER])

    platform.run(run())
    assert hv.entries.data_path == 0


def test_full_group_table_falls_back_to_all_multicast() -> None:
    platform, hv = machine()
    first = receiver_nic(hv.create_domain("first", 256), SMALL)
    second = receiver_nic(hv.create_domain("second", 256), SMALL)

    async def run() -> None:
        await first.open()
        await second.open()
        assert await first.set_multicast(group(n) for n in range(30))
        # two entries are left; joining a group that is there takes none
        assert await second.set_multicast([group(0), group(40), group(41)])
        assert not await second.set_multicast([group(0), group(40), group(41), group(42)])
        wire(platform, [frame(random.Random(5), group(99), 100)])
        assert len(await second.receive(WAIT_NS)) == 1 and first.poll() == []
        assert await second.set_multicast([group(40)])
        wire(platform, [frame(random.Random(5), group(99), 100)])
        assert await second.receive(IDLE_NS) == []

    platform.run(run())


def test_promiscuous_is_for_privileged_domains() -> None:
    platform, hv = machine()
    guest = receiver_nic(hv.create_domain("guest", 256), SMALL)
    monitor = receiver_nic(hv.create_domain("monitor", 256, privileged=True), SMALL)
    rng = random.Random(6)

    async def run() -> None:
        await guest.open()
        await monitor.open()
        with pytest.raises(HypercallError, match="not privileged") as refused:
            await guest.set_promiscuous(True)
        assert refused.value.errno == 1
        await monitor.set_promiscuous(True)
        frames = [frame(rng, PEER, 100), frame(rng, guest.mac, 100), frame(rng, GROUP, 100, vlan=77)]
        wire(platform, frames)
        assert [one.data for one in await collect(monitor, 3)] == frames
        assert [one.data for one in guest.poll()] == [frames[1]]
        await monitor.set_promiscuous(False)
        wire(platform, frames)
        assert await monitor.receive(IDLE_NS) == []

    platform.run(run())


KEY = bytes.fromhex("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa")


def toeplitz(data: bytes) -> int:
    """By the definition: the key's window at each set bit, added without carry."""
    key = int.from_bytes(KEY, "big")
    result = 0
    for bit in range(8 * len(data)):
        if data[bit // 8] >> 7 - bit % 8 & 1:
            result ^= key >> 320 - 32 - bit & 0xFFFF_FFFF
    return result


def test_flows_are_spread_over_queues_by_their_hash() -> None:
    platform, hv = machine()
    nic = receiver_nic(hv.create_domain("guest", 512), ReceiveConfig(queues=4))
    rng = random.Random(7)
    expected: dict[bytes, tuple[int, int, int]] = {}
    for n in range(120):
        ports = rng.randbytes(4)
        sport, dport = int.from_bytes(ports[:2], "big"), int.from_bytes(ports[2:], "big")
        if n % 2:
            ip: IP | IPv6 = IP(src=f"10.1.0.{n}", dst="10.0.0.1")
            addresses, kind = bytes([10, 1, 0, n, 10, 0, 0, 1]), 2
        else:
            ip = IPv6(src=f"fd00::{n:x}", dst="fd00::1")
            addresses, kind = bytes(ip)[8:40], 4
        transport = TCP(sport=sport, dport=dport) if n % 4 < 2 else UDP(sport=sport, dport=dport)
        data = bytes(Ether(src="02:00:00:00:00:01", dst="00:60:dd:00:01:00") / ip / transport / Raw(rng.randbytes(40)))
        value = toeplitz(addresses + ports)
        expected[data] = (value, kind, value % 128 % 4)

    async def run() -> None:
        await nic.open()
        wire(platform, list(expected))
        got = await collect(nic, len(expected))
        assert {one.data: (one.hash, one.hash_kind, one.queue) for one in got} == expected
        assert all(one.transport_checksum_ok() for one in got)
        statistics = await nic.statistics()
        spread = [statistics[f"rx_queue_{n}_packets"] for n in range(4)]
        assert sum(spread) == len(expected) and min(spread) > 10
        await nic.set_rss(KEY, [2] * 128)
        wire(platform, list(expected))
        assert {one.queue for one in await collect(nic, len(expected))} == {2}

    platform.run(run())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_buffers_stay_until_every_queue_has_been_read(seed: int) -> None:
    """A small budget leaves older frames of one queue unread while younger ones of another give their buffers back."""
    platform, hv = machine(seed)
    nic = receiver_nic(hv.create_domain("guest", 512), ReceiveConfig(queues=4, entries=16))
    rng = random.Random(seed)
    sent: list[bytes] = []
    got: list[bytes] = []

    async def line() -> None:
        for n in range(1500):
            ports = rng.randbytes(4)
            ip = IP(src="10.1.0.1", dst="10.0.0.1") / UDP(sport=int.from_bytes(ports[:2], "big"), dport=n)
            sent.append(bytes(Ether(src="02:00:00:00:00:01", dst="00:60:dd:00:01:00") / ip / Raw(rng.randbytes(60))))
            wire(platform, sent[-1:])
            await platform.sleep(rng.choice((100, 100, 3000)))

    async def guest() -> None:
        while frames := await nic.receive(IDLE_NS, budget=2):
            assert len(frames) <= 2 and all(one.transport_checksum_ok() for one in frames)
            got.extend(one.data for one in frames)
            await platform.sleep(rng.choice((100, 1000)))

    platform.run(nic.open())
    platform.run(line(), guest())
    statistics = platform.run(nic.statistics())[0]
    assert len(got) == len(set(got)) == 1500 - statistics["rx_dropped_no_small"] and set(got) <= set(sent)
    assert 0 < statistics["rx_dropped_no_small"] < 1400


@pytest.mark.parametrize(
    ("key", "table", "message"),
    [(KEY[:-1], [0] * 128, "39 bytes"), (KEY, [0] * 127, "127 entries"), (KEY, [0] * 127 + [4], "queue 4")],
)
def test_scaling_is_checked(key: bytes, table: list[int], message: str) -> None:
    platform, hv = machine()
    nic = receiver_nic(hv.create_domain("guest", 256), SMALL)

    async def run() -> None:
        await nic.open()
        with pytest.raises(HypercallError, match=message):
            await nic.set_rss(key, table)

    platform.run(run())


def partial(packet: bytes, start: int, field: int, pseudo: bytes) -> bytes:
    """A packet as a stack hands it over: the pseudo-header's sum stands where the checksum goes."""
    return packet[:field] + ones_sum(pseudo).to_bytes(2, "big") + packet[field + 2 :]


@pytest.mark.parametrize("form", list(SendForm))
@pytest.mark.parametrize("size", [10, 100, 1000, 1400])
def test_checksum_offload_between_guests(form: SendForm, size: int) -> None:
    platform, hv = machine()
    sender = receiver_nic(hv.create_domain("sender", 256), SMALL, form)
    receiver = receiver_nic(hv.create_domain("receiver", 256), SMALL)

    async def run() -> None:
        await sender.open()
        await receiver.open()
        link = Ether(src=sender.mac.hex(":"), dst=receiver.mac.hex(":"))
        whole = bytes(
            link / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / Raw((bytes(range(256)) * 6)[:size])
        )
        pseudo = whole[26:34] + (17).to_bytes(2, "big") + (8 + size).to_bytes(2, "big")
        assert sender.send(partial(whole, 34, 40, pseudo), checksum=(34, 40))
        sender.kick()
        (got,) = await receiver.receive(WAIT_NS)
        assert got.data.ljust(60, b"\0") == whole.ljust(60, b"\0")
        assert got.transport_checksum_ok() is True

    platform.run(run())


@pytest.mark.parametrize("form", list(SendForm))
@pytest.mark.parametrize("ipv6", [False, True])
def test_tso_between_guests(form: SendForm, ipv6: bool) -> None:
    platform, hv = machine()
    sender = receiver_nic(hv.create_domain("sender", 256), SMALL, form)
    receiver = receiver_nic(hv.create_domain("receiver", 256), SMALL)
    payload = random.Random(8).randbytes(20_000)

    async def run() -> None:
        await sender.open()
        await receiver.open()
        link = Ether(src=sender.mac.hex(":"), dst=receiver.mac.hex(":"))
        ip = IPv6(src="fd00::1", dst="fd00::2") if ipv6 else IP(src="10.0.0.1", dst="10.0.0.2")
        header = bytes(link / ip / TCP(sport=1, dport=2, seq=100, flags="PA"))
        for _ in range(3):
            assert sender.send_tso(header, payload, 1400, 54 if ipv6 else 34, ipv6=ipv6)
            sender.kick()
            got = await collect(receiver, -(-len(payload) // 1400), WAIT_NS)
            assert b"".join(one.data[len(header) :] for one in got) == payload
            assert all(one.transport_checksum_ok() for one in got)
            assert [int.from_bytes(one.data[len(header) - 16 :][:4], "big") for one in got] == [
                100 + n * 1400 for n in range(len(got))
            ]
        await sender.drain(WAIT_NS)
        for _ in range(5):
            # it gives its buffers back: they hold three such packets
            with pytest.raises(NicError, match="mss 0"):
                sender.send_tso(header, payload, 0, 34, ipv6=False)
        assert sender.completions[Status.OK] == sum(sender.completions) == 3

    platform.run(run())
