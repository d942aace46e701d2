"""Front ends and back ends that write what they like: who breaks the protocol loses its own vif, and siblings lose nothing."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from hypervisor_model.dom0.credit import Rate
from hypervisor_model.dom0.netback import ConnectError, NetbackConfig
from hypervisor_model.dom0.netback_receive import QUEUE_BYTES
from hypervisor_model.dom0.netback_transmit import TxMode
from hypervisor_model.switch import PortPolicy
from sw.abi.registers import Status
from sw.guest.netfront import NetFront
from sw.guest.transmit import NicHaltedError
from sw.platform import PAGE_SIZE
from sw.xen.io.vif import FrontKeys
from tb.sim import raw_front
from tests.model.model_support import WAIT_NS
from tests.xen.split_support import BROADCAST, PEER, DirectVif, Machine, collect, frame, mac_of, send_all

CSUM_BLANK, VALIDATED, MORE, EXTRA = 1, 2, 4, 8
DROPPED, ERROR, OKAY, NULL = -2, -1, 0, 1
GSO, MCAST_ADD = 1, 2


class RawFront(raw_front.RawFront):
    """Guest 0 of a machine."""

    def __init__(self, world: Machine) -> None:
        super().__init__(world.guests[0], DirectVif(world.netbacks[0]))
        self.world = world
        self.netback = world.netbacks[0]

    async def kick(self) -> None:
        await super().kick()
        await self.world.platform.sleep(200_000)


def world_of(count: int = 3, **config: Any) -> Machine:
    world = Machine()
    for _ in range(count):
        world.add(NetbackConfig(mac_of(0), mtu=9000, **config))
    return world


Attack = Callable[[RawFront], Coroutine[Any, Any, None]]


def beside_siblings(world: Machine, attack: Attack, **keys: Any) -> None:
    """Guest 0 attacks while guests 1 and 2 talk to each other and to the line; nothing of theirs is lost."""
    rng = random.Random(99)
    fronts = [world.front(1), world.front(2)]
    raw = RawFront(world)
    done = False

    async def talk(own: NetFront, other: NetFront) -> None:
        number = 0
        while not done:
            frames = [frame(rng, other.mac, own.mac, rng.randint(60, 3000)) for _ in range(5)]
            out = [frame(rng, PEER, own.mac, 60)]
            await send_all(own, frames + out)
            assert [f.data for f in await collect(other, 5)] == frames
            number += 1
            # software takes no time of its own here
            await world.platform.sleep(200_000)
        assert number > 2

    async def run() -> None:
        nonlocal done
        for front in fronts:
            await front.open()
        await raw.open(**keys)
        try:
            await attack(raw)
        finally:
            await world.platform.sleep(500_000)
            done = True

    async def start() -> None:
        while not all(front._offer and front._receiver for front in fronts):
            await world.platform.sleep(1000)
        await world.platform.sleep(50_000)
        await world.platform.gather([talk(fronts[0], fronts[1]), talk(fronts[1], fronts[0])])

    world.run(run(), start())
    for netback in world.netbacks[1:]:
        counts = netback.counts
        assert counts.rings_broken == counts.tx_errors == counts.rx_errors == counts.rx_dropped_no_buffer == 0
    assert world.foreign.used == 0


@pytest.mark.parametrize("mode", list(TxMode))
def test_pages_that_are_not_granted(mode: TxMode) -> None:
    world = world_of(tx=mode)

    async def attack(raw: RawFront) -> None:
        data = PEER + raw.mac + b"\x88\xb5" + bytes(500)
        for page in range(4):
            raw.pages[page][: len(data)] = data
        other = await world.guests[1].kernel.grant_access(world.guests[1].ram.start + 50, readonly=True, domid=2)
        revoked = raw.references.pop(1)
        assert raw.guest.kernel.end_access(revoked)
        for number, reference in enumerate((other, revoked, 0, 7, 511, 512, 0xFFFF_FFFF)):
            raw.request(reference, 0, 0, number, len(data))
        # the second page of a packet is bad: all of it is refused
        raw.request(raw.references[0], 0, MORE, 50, 2 * len(data))
        raw.request(0xFFFF_0000, 0, 0, 51, len(data))
        raw.put(0, data)
        await raw.kick()
        assert raw.answers() == [(n, ERROR) for n in (*range(7), 50, 51)] + [(100, OKAY)]
        assert raw.netback.counts.tx_errors == 8 and raw.netback.counts.tx_packets == 1
        assert raw.netback.connected

    beside_siblings(world, attack, persistent=True)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("page", "slot of 97 bytes at offset 4000 crosses a page"),
        ("second page", "slot of 1000 bytes at offset 4096 crosses a page"),
        ("index", "257 requests: 256 are possible"),
        ("huge index", "2147483648 requests"),
        ("back", "4294967295 requests"),
        ("slots", "a packet of more than 20 slots"),
        ("more", "a packet whose next request is not there"),
        ("extra", "an extra info that is not there"),
        ("extra type", "extra info of type 77"),
        ("gso none", "segments of 0 bytes, of type 1"),
        ("gso type", "segments of 1448 bytes, of type 3"),
    ],
)
def test_what_breaks_the_ring(what: str, reason: str) -> None:
    world = world_of()

    async def attack(raw: RawFront) -> None:
        good = raw.references[0]
        raw.put(0, PEER + raw.mac + b"\x88\xb5" + bytes(50))
        await raw.kick()
        assert raw.answers() == [(100, OKAY)]
        match what:
            case "page":
                raw.request(good, 4000, 0, 1, 97)
            case "second page":
                raw.request(good, 0, MORE, 1, 2000)
                raw.request(good, 4096, 0, 2, 1000)
            case "index":
                raw.produced += 257
            case "huge index":
                raw.produced += 1 << 31
            case "back":
                raw.produced -= 1
            case "slots":
                raw.request(good, 0, MORE, 1, 60000)
                for n in range(20):
                    raw.request(good, 0, MORE if n < 19 else 0, n, 100)
            case "more":
                raw.request(good, 0, MORE, 1, 2000)
            case "extra":
                raw.request(good, 0, EXTRA, 1, 2000)
            case "extra type":
                raw.request(good, 0, EXTRA, 1, 2000)
                raw.extra(77, 0, bytes(6))
            case "gso none":
                raw.request(good, 0, EXTRA, 1, 2000)
                raw.extra(GSO, 0, struct.pack("<HB3x", 0, 1))
            case "gso type":
                raw.request(good, 0, EXTRA, 1, 2000)
                raw.extra(GSO, 0, struct.pack("<HB3x", 1448, 3))
        await raw.kick()
        netback = raw.netback
        assert not netback.connected and netback.counts.rings_broken == 1 and netback.reason.startswith(reason)
        assert raw.answers() == [] and netback not in world.bridge._ports
        # it is off the bridge, and stays so, whatever it writes now
        raw.produced = raw.consumed
        raw.put(0, PEER + raw.mac + b"\x88\xb5" + bytes(50))
        await raw.kick()
        assert raw.answers() == [] and netback.counts.tx_packets == 1
        # a new front end starts anew
        await netback.disconnect()
        again = RawFront(world)
        await again.open()
        again.put(0, PEER + raw.mac + b"\x88\xb5" + bytes(50))
        await again.kick()
        assert again.answers() == [(100, OKAY)] and netback.connected

    beside_siblings(world, attack)


def test_what_costs_the_packet_only() -> None:
    world = world_of()

    async def attack(raw: RawFront) -> None:
        head = PEER + raw.mac
        good = raw.references[0]
        for page in range(20):
            raw.pages[page][:14] = head + b"\x88\xb5"
        expected = []

        def one(number: int, size: int, flags: int = 0, status: int = ERROR) -> None:
            raw.request(good, 0, flags, number, size)
            expected.append((number, status))

        for number, size in enumerate((0, 1, 13)):
            one(number, size)
        # 19 and 20 slots are more than a packet may have
        for count in (19, 20):
            one(count, 14 * count, MORE)
            for n in range(1, count):
                one(n, 14, MORE if n < count - 1 else 0)
        # slots that are larger than the rest of the packet, or empty
        one(3, 100, MORE)
        one(4, 101)
        one(5, 100, MORE)
        one(6, 100)
        one(7, 100, MORE)
        one(8, 0)
        # longer than the line takes
        one(9, 9019, MORE)
        one(10, 4096, MORE)
        one(11, 4096)
        # checksums and segments of what is no TCP packet, and segments that are too small
        one(12, 60, CSUM_BLANK)
        for number, mss in ((13, 1448), (14, 87)):
            one(number, 2000, EXTRA)
            raw.extra(GSO, 0, struct.pack("<HB3x", mss, 1))
            expected.append((0, NULL))
        one(15, 60, status=OKAY)
        await raw.kick()
        assert raw.answers() == expected
        assert raw.netback.connected and raw.netback.counts.tx_packets == 1

    beside_siblings(world, attack)


def tcp(ether: bytes, payload: int, ipv6: bool = False) -> bytes:
    kind = b"\x86\xdd" + b"\x60\0\0\0\0\0\x06\x40" + bytes(32) if ipv6 else (
        b"\x08\x00" + b"\x45\0\0\0\0\x01\0\0\x40\x06" + bytes(10)
    )
    return ether + kind + bytes(12) + b"\x50" + bytes(7) + bytes(payload)


def test_segmentation_that_the_nic_would_refuse_never_gets_there() -> None:
    world = world_of()

    async def attack(raw: RawFront) -> None:
        ether = PEER + raw.mac
        cases = [
            (tcp(ether, 3000), 1448, 1, OKAY),
            (tcp(ether, 3000, ipv6=True), 1448, 2, OKAY),
            (tcp(ether, 3000), 1448, 2, ERROR),
            (tcp(ether, 3000, ipv6=True), 1448, 1, ERROR),
            (tcp(ether, 3000), 9018 - 54, 1, OKAY),
            (tcp(ether, 3000), 9018 - 53, 1, ERROR),
            # one packet may not become very many
            (tcp(ether, 3000), 88, 1, OKAY),
            (tcp(ether, 3000), 87, 1, ERROR),
            (tcp(ether, 0), 1448, 1, ERROR),
            # a fragment, another protocol, a TCP header that is longer than the packet
            (tcp(ether, 3000)[:20] + b"\x20\0" + tcp(ether, 3000)[22:], 1448, 1, ERROR),
            (tcp(ether, 3000)[:23] + b"\x11" + tcp(ether, 3000)[24:], 1448, 1, ERROR),
            (tcp(ether, 30)[:46] + b"\xf0" + tcp(ether, 30)[47:], 1448, 1, ERROR),
        ]
        for data, mss, kind, _ in cases:
            raw.pages[0][: len(data)] = data
            raw.request(raw.references[0], 0, EXTRA | CSUM_BLANK, 1, len(data))
            raw.extra(GSO, 0, struct.pack("<HB3x", mss, kind))
            await raw.kick()
        answers = [status for _, status in raw.answers() if status != NULL]
        assert answers == [status for *_, status in cases]
        assert sum(world.nic.completions) == world.nic.completions[Status.OK]

    beside_siblings(world, attack)


def test_forged_frames_go_nowhere() -> None:
    world = world_of(policy=PortPolicy(vlan=0))
    seen: list[bytes] = []

    async def attack(raw: RawFront) -> None:
        before = raw.netback.counts.tx_dropped_spoofed
        sources = (mac_of(2), mac_of(3), PEER, b"\xff" * 6)
        forged = [BROADCAST + source + b"\x88\xb5" + b"forged" * 10 for source in sources]
        forged.append(BROADCAST + raw.mac + b"\x81\x00\x00\x05\x88\xb5" + b"forged" * 10)
        forged.append(bytes.fromhex("0180c2000001") + raw.mac + b"\x88\x08" + b"forged" * 10)
        for n, data in enumerate(forged):
            raw.put(n, data)
        raw.put(10, BROADCAST + raw.mac + b"\x88\xb5" + b"honest" * 10)
        await raw.kick()
        assert [status for _, status in raw.answers()] == [DROPPED] * 6 + [OKAY]
        assert raw.netback.counts.tx_dropped_spoofed - before == 6
        seen.extend(await world.left(1000))

    fronts = [world.front(1), world.front(2)]
    raw = RawFront(world)

    async def run() -> None:
        for front in fronts:
            await front.open()
        await raw.open()
        await attack(raw)
        for front in fronts:
            (honest,) = await collect(front, 5)
            assert b"honest" in honest.data
            # nobody has learned anything wrong
            await send_all(front, [mac_of(1) + front.mac + b"\x88\xb5" + bytes(46)])
        assert raw.netback.counts.rx_dropped_no_buffer == 0

    world.run(run())
    assert [b"honest" in data for data in seen] == [True]


def test_a_guest_that_posts_no_buffers_holds_nobody_up() -> None:
    world = world_of()

    rng = random.Random(1)
    sender, taker = world.front(1), world.front(2)
    raw = RawFront(world)

    async def run() -> None:
        await sender.open()
        await taker.open()
        await raw.open()
        sent = [frame(rng, raw.mac, sender.mac, 9000) for _ in range(100)]
        await send_all(sender, sent)
        counts = raw.netback.counts
        room = QUEUE_BYTES // 9000
        assert counts.rx_dropped_no_buffer == 100 - room and counts.rx_packets == 0
        between = [frame(rng, taker.mac, sender.mac, 1514) for _ in range(50)]
        await send_all(sender, between)
        assert [f.data for f in await collect(taker, 50)] == between
        # it posts a page at a time, and bad ones among them
        for n in range(3 * 2):
            reference = 0xFFFF if n == 1 else raw.references[n]
            struct.pack_into("<HHI", raw.rx, 64 + n * 8, n, 0, reference)
            struct.pack_into("<I", raw.rx, 0, n + 1)
            await raw.guest.hypercall.event_send(raw.port)
            await world.platform.sleep(100_000)
        (produced,) = struct.unpack_from("<I", raw.rx, 8)
        answers = [struct.unpack_from("<HHHh", raw.rx, 64 + n * 8) for n in range(produced)]
        assert [(number, status) for number, _, _, status in answers] == [
            (0, ERROR), (1, ERROR), (2, ERROR), (3, 4096), (4, 4096), (5, 808)
        ]
        assert [flags for _, _, flags, _ in answers] == [MORE, MORE, 0, MORE, MORE, 0]
        assert b"".join(bytes(raw.pages[n][: answers[n][3]]) for n in range(3, 6)) == sent[1]
        assert counts.rx_errors == 1 and counts.rx_packets == 1

    world.run(run())


def test_rate_limits_one_guest_only() -> None:
    limited = Machine()
    rate = Rate(150_000, 10_000)
    limited.add(NetbackConfig(mac_of(0), mtu=9000, rate=rate))
    limited.add()
    limited.add()
    a, b, c = (limited.front(n) for n in range(3))
    rng = random.Random(2)
    spans: dict[str, int] = {}

    async def blast(name: str, front: NetFront, count: int) -> None:
        start = limited.platform.now()
        await send_all(front, [frame(rng, PEER, front.mac, 1500) for _ in range(count)])
        spans[name] = limited.platform.now() - start

    async def run() -> None:
        for front in (a, b, c):
            await front.open()
        await limited.platform.gather([blast("a", a, 500), blast("b", b, 500)])

    limited.run(run())
    # 750 kB at 15 MB/s is 50 ms; the first interval's credit is there at once
    assert 39_000_000 <= spans["a"] <= 51_000_000
    assert spans["b"] < 10_000_000


@pytest.mark.parametrize("rings", ["tx", "rx", "port", "index"])
def test_rings_that_cannot_be_attached(rings: str) -> None:
    world = world_of(1)
    raw = RawFront(world)

    async def run() -> None:
        await raw.open()
        await raw.netback.disconnect()
        ports = len(world.dom0.events.ports)
        keys = raw.keys
        match rings:
            case "tx":
                keys = replace(keys, tx_ring=0xFFFF)
            case "rx":
                keys = replace(keys, rx_ring=0xFFFF)
            case "port":
                keys = replace(keys, tx_port=4000, rx_port=4000)
            case "index":
                struct.pack_into("<I", raw.tx, 0, 300)
        with pytest.raises(ConnectError, match="vif of domain 1"):
            await raw.netback.connect(keys)
        assert world.foreign.used == 0 and len(world.dom0.events.ports) == ports
        assert not raw.netback.connected
        if rings == "index":
            struct.pack_into("<I", raw.tx, 0, 0)
        await raw.netback.connect(raw.keys)
        raw.put(0, PEER + raw.mac + b"\x88\xb5" + bytes(50))
        await raw.kick()
        assert raw.answers() == [(100, OKAY)]

    world.run(run())


class LyingVif(DirectVif):
    """Connects to nobody: the test writes the rings."""

    async def connect(self, front: FrontKeys) -> None:
        self.front = front

    async def close(self) -> None:
        return


Lie = Callable[[memoryview, memoryview, NetFront], None]


def no_such_slot(tx: memoryview, rx: memoryview, front: NetFront) -> None:
    struct.pack_into("<Hh", tx, 64, 9999, 0)
    struct.pack_into("<I", tx, 8, 1)


def slot_twice(tx: memoryview, rx: memoryview, front: NetFront) -> None:
    (number,) = struct.unpack_from("<H", tx, 64 + 8)
    struct.pack_into("<Hh", tx, 64, number, 0)
    struct.pack_into("<Hh", tx, 64 + 12, number, 0)
    struct.pack_into("<I", tx, 8, 2)


def no_such_status(tx: memoryview, rx: memoryview, front: NetFront) -> None:
    (number,) = struct.unpack_from("<H", tx, 64 + 8)
    struct.pack_into("<Hh", tx, 64, number, 5)
    struct.pack_into("<I", tx, 8, 1)


def too_many(tx: memoryview, rx: memoryview, front: NetFront) -> None:
    struct.pack_into("<I", tx, 8, 200)


@pytest.mark.parametrize("lie", [no_such_slot, slot_twice, no_such_status, too_many])
def test_a_back_end_that_lies_about_what_was_sent(lie: Lie) -> None:
    world = world_of(1)
    guest = world.guests[0]
    front = NetFront(guest, LyingVif(world.netbacks[0]))

    async def run() -> None:
        await front.open()
        tx, rx = front._rings.view(0), front._rings.view(1)
        for _ in range(3):
            assert front.send(PEER + front.mac + b"\x88\xb5" + bytes(46))
        front.kick()
        lie(tx, rx, front)
        with pytest.raises(NicHaltedError):
            await front.drain(WAIT_NS)
        assert front.halted and front.stopped and not front.send(bytes(60))
        front.kick()
        assert front.reap() == 0
        await front.close()

    world.run(run())


@pytest.mark.parametrize(
    ("responses", "good"),
    [
        # id, offset, flags, status: two packets that are fine beside one that is not
        ([(0, 0, 0, 60), (1, 4040, 0, 60), (2, 10, 0, 60)], [0, 2]),
        ([(0, 0, 0, 60), (1, 0, 0, -1), (2, 0, 0, 60)], [0, 2]),
        ([(0, 0, 0, 60), (1, 0, 0, 13), (2, 0, 0, 60)], [0, 2]),
        # these end it
        ([(0, 0, 0, 60), (7, 0, 0, 60), (2, 0, 0, 60)], None),
        ([(0, 0, 0, 60), (1, 0, MORE, 60)], None),
        ([(0, 0, 0, 60), (1, 0, EXTRA, 60)], None),
        ([(0, 0, MORE, 60)] * 1 + [(n, 0, MORE, 60) for n in range(1, 30)], None),
    ],
)
def test_a_back_end_that_lies_about_what_was_received(
    responses: list[tuple[int, int, int, int]], good: list[int] | None
) -> None:
    world = world_of(1)
    front = NetFront(world.guests[0], LyingVif(world.netbacks[0]))

    async def run() -> None:
        await front.open()
        rx = front._rings.view(1)
        for n, response in enumerate(responses):
            front._rx_pages.view(n)[:] = bytes([n]) * PAGE_SIZE
            struct.pack_into("<HHHh", rx, 64 + n * 8, *response)
        struct.pack_into("<I", rx, 8, len(responses))
        frames = front.poll()
        if good is None:
            assert front.receiver.halted and front.poll() == [] and await front.receive(1000) == []
        else:
            assert [f.data for f in frames] == [bytes([n]) * 60 for n in good]
            assert front.counts.errors == 1
        await front.close()

    world.run(run())
