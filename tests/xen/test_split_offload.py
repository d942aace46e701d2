"""Checksums and segmentation between guests, and between a guest and the line, against scapy."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet

from hypervisor_model.dom0.netback import NetbackConfig
from hypervisor_model.dom0.netback_transmit import TxMode
from sw.guest.gso import segment
from sw.guest.netfront import NetFront
from tests.model.model_support import WAIT_NS
from tests.xen.split_support import PEER, Machine, collect, mac_of, sum16

Big = tuple[bytes, bytes, int, int, bool]
"""Header, payload, mss, offset of the TCP header, IPv6."""


def built(layers: Packet) -> bytes:
    return bytes(layers)


def partial(whole: bytes, start: int, field: int, addresses: bytes, protocol: int) -> bytes:
    """With the pseudo-header's sum in the field, as a stack leaves it to an offload."""
    pseudo = sum16(addresses + struct.pack(">II", len(whole) - start, protocol))
    return whole[:field] + pseudo.to_bytes(2, "big") + whole[field + 2 :]


def random_packet(rng: random.Random, source: bytes, destination: bytes, largest: int) -> tuple[bytes, bytes, int, int]:
    """What must arrive, what the stack hands over, and its offsets."""
    ether = Ether(src=source.hex(":"), dst=destination.hex(":"))
    transport: Packet = rng.choice(
        (UDP(sport=rng.randint(1, 9999), dport=2), TCP(sport=4, dport=rng.randint(1, 9999), seq=rng.getrandbits(32)))
    )
    ip: Packet = rng.choice((IP(src="10.0.0.1", dst="10.0.0.2"), IPv6(src="fe80::1", dst="fe80::2")))
    whole = built(ether / ip / transport / rng.randbytes(rng.randint(6, largest)))
    start = 14 + len(built(ip))
    field = start + (6 if isinstance(transport, UDP) else 16)
    addresses = built(ip)[12:20] if isinstance(ip, IP) else built(ip)[8:40]
    return whole, partial(whole, start, field, addresses, 17 if isinstance(transport, UDP) else 6), start, field


def random_big(rng: random.Random, source: bytes, destination: bytes, payload: int, mss: int) -> tuple[Big, list[bytes]]:
    """A packet to be cut, and the segments that scapy makes of it."""
    ipv6 = rng.random() < 0.5
    flags = rng.choice(("PA", "FPA", "A", "CPA"))
    options = rng.choice(([], [("Timestamp", (7, 9))], [("NOP", None), ("NOP", None), ("Timestamp", (1, 2))]))
    sequence = rng.choice((rng.getrandbits(32), 0xFFFF_FFF0))
    identification = rng.choice((5, 0xFFFE))
    data = rng.randbytes(payload)
    ether = Ether(src=source.hex(":"), dst=destination.hex(":"))

    def one(number: int, part: bytes, more: bool) -> bytes:
        kept = flags.replace("F", "").replace("P", "") if more else flags
        kept = kept if number == 0 else kept.replace("C", "")
        tcp = TCP(sport=1, dport=2, seq=(sequence + number * mss) % 2**32, ack=3, flags=kept, options=options)
        ip: Packet = IPv6(src="fe80::1", dst="fe80::2") if ipv6 else IP(
            src="10.0.0.1", dst="10.0.0.2", id=(identification + number) % 65536
        )
        return built(ether / ip / tcp / part)

    cuts = range(0, payload, mss)
    segments = [one(n, data[at : at + mss], at + mss < payload) for n, at in enumerate(cuts)]
    tcp = TCP(sport=1, dport=2, seq=sequence, ack=3, flags=flags, options=options, chksum=0)
    ip: Packet = IPv6(src="fe80::1", dst="fe80::2") if ipv6 else IP(src="10.0.0.1", dst="10.0.0.2", id=identification)
    header = built(ether / ip / tcp)
    return (header, data, mss, 14 + len(built(ip)), ipv6), segments


async def send_big(nic: NetFront, big: Big) -> None:
    header, payload, mss, offset, ipv6 = big
    while not nic.send_tso(header, payload, mss, offset, ipv6=ipv6):
        await nic.wait_for_room(WAIT_NS)
    nic.kick()


@pytest.mark.parametrize("seed", range(30))
def test_software_segmentation_equals_scapys(seed: int) -> None:
    rng = random.Random(seed)
    mss = rng.choice((88, 536, 1447, 1448, 8960))
    (header, payload, _, _, _), expected = random_big(rng, mac_of(1), PEER, rng.choice((rng.randint(1, 6 * mss), 3 * mss)), mss)
    assert list(segment(header + payload, mss)) == expected


def test_segmentation_behind_a_tag() -> None:
    base = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / Dot1Q(vlan=5) / IP(src="1.1.1.1", dst="2.2.2.2", id=1)
    whole = built(base / TCP(seq=1, flags="A") / bytes(range(200)))
    second = built(Ether(whole[:14]) / Dot1Q(vlan=5, type=0x800) / IP(src="1.1.1.1", dst="2.2.2.2", id=2)
                   / TCP(seq=101, flags="A") / bytes(range(100, 200)))
    assert list(segment(whole, 100))[1] == second


@pytest.mark.parametrize("mode", list(TxMode))
def test_blank_checksums_to_a_sibling_and_to_the_line(mode: TxMode) -> None:
    world = Machine()
    for _ in range(2):
        world.add(NetbackConfig(mac_of(0), mtu=9000, tx=mode))
    a, b = world.front(0), world.front(1)
    rng = random.Random(11)

    async def run() -> None:
        await a.open()
        await b.open()
        for target in (b.mac, PEER):
            packets = [random_packet(rng, a.mac, target, 5000) for _ in range(30)]
            for _, handed, start, field in packets:
                while not a.send(handed, (start, field)):
                    await a.wait_for_room(WAIT_NS)
            await a.drain(WAIT_NS)
            expected = [whole for whole, *_ in packets]
            if target is PEER:
                assert await world.left(30) == [whole.ljust(60, b"\0") for whole in expected]
            else:
                got = await collect(b, 30)
                assert [frame.data for frame in got] == expected
                assert all(frame.transport_checksum_ok() for frame in got)
                assert [frame.checksum % 0xFFFF for frame in got] == [sum16(w[14:]) % 0xFFFF for w in expected]
        # padding behind the packet is summed, too: nobody behind the ring would
        _, handed, start, field = random_packet(rng, a.mac, b.mac, 10)
        assert a.send(handed + b"pad", (start, field))
        await a.drain(WAIT_NS)
        (padded,) = await collect(b, 1)
        value = ~sum16((handed + b"pad")[start:]) & 0xFFFF or 0xFFFF
        assert padded.data == handed[:field] + value.to_bytes(2, "big") + handed[field + 2 :] + b"pad"
        # one that no back end can be told: inside a tunnel, say
        inner = rng.randbytes(100)
        odd = b.mac + a.mac + b"\x88\xb5" + inner
        assert a.send(odd, (20, 30))
        await a.drain(WAIT_NS)
        (frame,) = await collect(b, 1)
        value = ~sum16(odd[20:]) & 0xFFFF or 0xFFFF
        assert frame.data == odd[:30] + value.to_bytes(2, "big") + odd[32:]

    world.run(run())


@pytest.mark.parametrize("mode", list(TxMode))
@pytest.mark.parametrize("gso", [True, False])
def test_big_packets_to_the_line_are_cut_as_scapy_cuts_them(mode: TxMode, gso: bool) -> None:
    """By the NIC; by the front end if the back end takes none."""
    world = Machine()
    world.add(NetbackConfig(mac_of(0), mtu=1500, tx=mode, gso=gso))
    front = world.front(0, buffer_pages=256)
    rng = random.Random(5)
    bigs = [random_big(rng, mac_of(1), PEER, size, mss) for size, mss in
            ((65_000, 1448), (1, 536), (1448, 1448), (1449, 1448), (30_000, 536), (9000, 8900))]

    async def run() -> None:
        await front.open()
        for big, _ in bigs:
            await send_big(front, big)
        await front.drain(WAIT_NS)
        expected = [frame for _, frames in bigs for frame in frames]
        got = await world.left(len(expected))
        assert got == [frame.ljust(60, b"\0") for frame in expected]
        assert sum(front.completions) == front.completions[0] == (len(bigs) if gso else len(expected))

    world.run(run())


@pytest.mark.parametrize("receive_gso", [True, False])
def test_big_packets_to_a_sibling(receive_gso: bool) -> None:
    """Whole to one that takes them, cut in software for another; the sender sees no difference."""
    world = Machine()
    for _ in range(2):
        world.add(NetbackConfig(mac_of(0), mtu=1500))
    a, b = world.front(0), world.front(1, receive_gso=receive_gso)
    rng = random.Random(6)
    bigs = [random_big(rng, mac_of(1), mac_of(2), size, mss) for size, mss in
            ((64_000, 1448), (1, 1448), (4042, 1000), (4043, 1448), (20_000, 88))]

    async def run() -> None:
        await a.open()
        await b.open()
        for big, frames in bigs:
            await send_big(a, big)
            await a.drain(WAIT_NS)
            if not receive_gso:
                assert [f.data for f in await collect(b, len(frames))] == frames
                continue
            (whole,) = await collect(b, 1)
            header, payload, mss, _, _ = big
            assert len(whole.data) == len(header) + len(payload)
            assert whole.transport_checksum_ok() is True
            assert Ether(whole.data) == Ether(built(Ether(whole.data)))
            # cut afterwards it is what scapy makes of it
            assert list(segment(whole.data, mss)) == frames
        assert world.netbacks[1].counts.segmented == (0 if receive_gso else len(bigs))

    world.run(run())


def test_blank_checksums_for_a_front_end_that_takes_none() -> None:
    world = Machine()
    for _ in range(2):
        world.add()
    a, b = world.front(0), world.front(1)
    rng = random.Random(3)

    async def run() -> None:
        await a.open()
        await b.open()
        link = world.netbacks[1]._link
        assert link is not None
        link.receiver._front = replace(link.receiver._front, no_csum=True, ipv6_csum=False)
        packets = [random_packet(rng, a.mac, b.mac, 300) for _ in range(20)]
        for _, handed, start, field in packets:
            assert a.send(handed, (start, field))
        # as it stands in memory, before netfront has looked: nothing is left to do
        await a.drain(WAIT_NS)
        ring = b.receiver._ring
        while ring.responses() < 20:
            await world.platform.sleep(1000)
        flags = [struct.unpack_from("<H", ring._page, 64 + 8 * n + 4)[0] for n in range(20)]
        assert set(flags) == {1}
        assert [frame.data for frame in await collect(b, 20)] == [whole for whole, *_ in packets]

    world.run(run())
