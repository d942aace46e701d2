"""Directed tests of the receive side's data path: drops, refusals, order, batches, hashes, and the rate of short frames."""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import cocotb

from sw.abi.registers import Mode, RxDrop
from tb.unit.receive.bench import Bench, Setup
from tb.unit.receive.traffic import Space

MAC = bytes.fromhex("02c0ffee0001" "02c0ffee0002")
KEY = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b4" "77cb2da38030f20c6a42b73bbeac01fa"
)
"""Microsoft, "Verifying the RSS Hash Calculation"."""
VECTORS = (
    # destination, its port, source, its port, hash with ports, hash of the addresses
    ("161.142.100.80", 1766, "66.9.149.187", 2794, 0x51CCC178, 0x323E8FC2),
    ("65.69.140.83", 4739, "199.92.111.2", 14230, 0xC626B0EA, 0xD718262A),
    ("12.22.207.184", 38024, "24.19.198.95", 12898, 0x5C2B394A, 0xD2D0A5DE),
    ("209.142.163.6", 2217, "38.27.205.30", 48228, 0xAFC7327F, 0x82989176),
    ("202.188.127.2", 1303, "153.39.163.191", 44251, 0x10E828A2, 0x5D1809C5),
    ("3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, 0x40207D3D, 0x2CC18CD5),
    ("ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, 0xDDE51BBF, 0x0F0C461C),
    ("fe80::200:f8ff:fe21:67cf", 38024, "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, 0x02D1FEEF, 0x4B61E985),
)
TCP, UDP, ICMP = 6, 17, 1


def ipv4(destination: str, source: str, protocol: int, payload: bytes, *, options: bytes = b"", fragment: int = 0) -> bytes:
    """A packet; `fragment`: flags and offset."""
    ihl = 5 + len(options) // 4
    head = struct.pack(">BBHHHBBH", 0x40 | ihl, 0, 4 * ihl + len(payload), 7, fragment, 64, protocol, 0)
    return head + ip_address(source).packed + ip_address(destination).packed + options + payload


def ipv6(destination: str, source: str, following: int, payload: bytes) -> bytes:
    head = struct.pack(">IHBB", 6 << 28, len(payload), following, 64)
    return head + ip_address(source).packed + ip_address(destination).packed + payload


def ethernet(packet: bytes, *, vid: int | None = None, ethertype: int | None = None) -> bytes:
    kind = ethertype or {4: 0x0800, 6: 0x86DD}[packet[0] >> 4]
    tag = b"" if vid is None else struct.pack(">HH", 0x8100, vid)
    return (MAC + tag + struct.pack(">H", kind) + packet).ljust(60, b"\0")


def fill(env: Bench, endpoint: int, big: bool, count: int, place: Space, size: int = 256) -> None:
    for _ in range(count):
        env.post(endpoint, big, place.take(size))


@cocotb.test
async def hashes(dut: Any) -> None:
    """The published vectors, tagged and not, and what has no ports to hash."""
    env = Bench(dut)
    table = tuple((n * 7 + n // 5) % 4 for n in range(128))
    for queues in (1, 2, 3, 4):
        setup = Setup(rss=True, queues=queues, key=KEY, table=table, small_log2=7, small_max=200)
        await env.start({5: setup})
        fill(env, 5, False, 128, Space(0x1000_0000, random.Random(1)))
        await env.steps(130)
        wanted: list[tuple[int, int]] = []
        frames: list[bytes] = []

        def add(frame: bytes, kind: int, value: int) -> None:
            frames.append(frame)  # noqa: B023
            wanted.append((kind, value))  # noqa: B023

        for to, to_port, source, port, with_ports, addresses in VECTORS:
            ports = struct.pack(">HH", port, to_port)
            segment = ports + bytes(range(16))
            for vid in (None, 0x123):
                if ":" in to:
                    for protocol in (TCP, UDP):
                        add(ethernet(ipv6(to, source, protocol, segment), vid=vid), 4, with_ports)
                    for following in (58, 0, 43, 44, 60):  # ICMP, extension headers before TCP
                        add(ethernet(ipv6(to, source, following, segment), vid=vid), 3, addresses)
                else:
                    for protocol in (TCP, UDP):
                        add(ethernet(ipv4(to, source, protocol, segment), vid=vid), 2, with_ports)
                        for options in (4, 40):
                            packet = ipv4(to, source, protocol, segment, options=b"\x01" * options)
                            add(ethernet(packet, vid=vid), 2, with_ports)
                    add(ethernet(ipv4(to, source, ICMP, segment), vid=vid), 1, addresses)
        to, to_port, source, port, with_ports, addresses = VECTORS[0]
        ports = struct.pack(">HH", port, to_port)
        for fragment in (0x2000, 0x0001, 0x1000, 0x0100, 0x2010):
            add(ethernet(ipv4(to, source, UDP, ports + bytes(9), fragment=fragment)), 1, addresses)
        for fragment in (0x4000, 0x8000):  # not a fragment
            add(ethernet(ipv4(to, source, UDP, ports + bytes(9), fragment=fragment)), 2, with_ports)
        good = ipv4(to, source, TCP, ports)
        add(ethernet(good, ethertype=0x0806), 0, 0)
        add(ethernet(b"\x55" + good[1:], ethertype=0x0800), 0, 0)  # version 5
        add(ethernet(b"\x44" + good[1:], ethertype=0x0800), 0, 0)  # a header of 16 bytes
        add(ethernet(b"\x45" + good[1:], ethertype=0x86DD), 0, 0)
        double = MAC + struct.pack(">HHHHH", 0x8100, 5, 0x8100, 6, 0x0800) + good
        add(double.ljust(60, b"\0"), 0, 0)
        # options fill the frame: the ports are behind its end
        add(ethernet(ipv4(to, source, TCP, b"", options=b"\x01" * 40)), 1, addresses)

        # the ring has 128 buffers: post more as they are used
        space = Space(0x2000_0000, random.Random(2))
        env.refill = lambda: env.post(5, False, space.take(256)) if env.room(5, False) else None  # noqa: B023
        for n, frame in enumerate(frames):
            while not env.frame(len(frame), [5], header=frame, sibling=n % 2 == 1):
                await env.step()
        await env.drain()
        env.refill = lambda: None
        assert len(env.copies) == len(frames)
        for copy in env.copies:
            kind, value = wanted[copy.job.number]
            queue = table[value & 127] if kind and table[value & 127] < queues else 0
            assert (copy.kind, copy.hash, copy.queue) == (kind, value, queue), f"frame {copy.job.number}"
        assert {copy.queue for copy in env.copies} == set(range(queues))


@cocotb.test
async def missing_buffers(dut: Any) -> None:
    """Without buffers enough a frame is dropped and nothing is used; entries that are not valid yet do not count."""
    env = Bench(dut)
    await env.start({3: Setup(small_log2=4, big_log2=4), 9: Setup(small_log2=4, big_log2=4)})
    place = Space(0x3000_0000, random.Random(3))
    none, big = RxDrop.NO_SMALL, RxDrop.NO_BIG

    async def send(length: int, dest: list[int], drops: list[tuple[int, RxDrop]]) -> None:
        await env.drain()  # what was posted is there
        before = len(env.drops)
        assert env.frame(length, dest)
        await env.drain()
        assert [(e, reason) for e, _, reason in env.drops[before:]] == drops

    await send(60, [3], [(3, none)])
    await send(1500, [3], [(3, big)])
    env.post(3, False, 0x3000_0001)  # not valid yet
    await send(60, [3], [(3, none)])
    env.post(3, False, 0x3000_0040, halves=True)
    await send(60, [3], [])
    await send(60, [3], [(3, none)])
    # five big buffers for the longest frame: one after the other
    for have in range(5):
        await send(9018, [3, 9], [(3, big), (9, big)])
        assert env.rings[3, True].used == 0
        env.post(3, True, place.take(2048))
        if have == 2:
            env.post(3, True, place.take(2048) | 1)  # a hole behind the third
            await env.drain()
    await send(9018, [3, 9], [(9, big)])
    assert env.rings[3, True].used == 5
    # an endpoint without buffers keeps nobody else's
    fill(env, 9, False, 3, place)
    for _ in range(3):
        await send(100, [3, 9], [(3, none)])
    # the whole ring, over its end, several times
    for _ in range(5):
        fill(env, 3, True, env.room(3, True), place, 2048)
        while env.rings[3, True].used + 5 <= len(env.rings[3, True].posted) + env.rings[3, True].pending:
            await send(9018, [3], [])
    await send(9018, [3], [(3, big)])


@cocotb.test
async def refused(dut: Any) -> None:
    """Addresses of interrupts and beyond 48 bits, modes and functions that may not write, limits and disabled ends."""
    env = Bench(dut)
    off = {1: Setup(enable=False), 2: Setup(mode=Mode.WINDOWS), 6: Setup(mode=Mode.NATIVE), 8: Setup(max_frame=99)}
    for mps_256 in (False, True):
        await env.start({4: Setup(buffer_log2=12), **off}, mps_256=mps_256)
        place = Space(0x5000_0000, random.Random(4))
        top = 1 << 48
        cases = [
            (0xFEE0_0000, False), (0xFEEF_FFF0, False), (0xFEE1_2340, False), (0xFEF0_0000, True),
            (0xFEEF_FFFE, True), (0xFEEF_FFFC, False), (0xFEE0_0000 - 62, True), (0xFEE0_0000 - 60, False),
            (0x1_FEE0_0000, True), (top - 62, True), (top - 60, False), (top, False), (0xFFFF_0000_0000_0000, False),
            (top + 0x1000_0000, False), (0xFEDF_FF00, True),
        ]  # fmt: skip
        good = 0
        for address, allowed in cases:
            for endpoint in (4, 6):
                env.post(endpoint, False, address)
                await env.steps(4)
                assert env.frame(60, [endpoint])
                await env.drain()
                good += allowed
                assert len(env.copies) == good
        # one bad buffer of several, at each place
        for bad in range(3):
            for n in range(3):
                env.post(4, True, 0xFEE0_1000 if n == bad else place.take(4096))
            await env.steps(6)
            assert env.frame(9018, [4])
            await env.drain()
            assert env.drops[-1][2] == RxDrop.REFUSED
        # a buffer whose end is not used may lie there
        env.post(4, True, 0xFEE0_0000 - 1002)
        await env.steps(4)
        assert env.frame(1000, [4])
        await env.drain()
        assert len(env.copies) == good + 1
        count = len(env.drops)
        for endpoint in off:
            if env.setups[endpoint].enable:
                fill(env, endpoint, False, 4, place)
        await env.steps(20)
        assert env.frame(100, [1, 2, 6, 8, 40])
        await env.drain()
        reasons = [(e, reason) for e, _, reason in env.drops[count:]]
        assert reasons == [
            (1, RxDrop.DISABLED), (2, RxDrop.REFUSED), (8, RxDrop.TOO_LONG), (40, RxDrop.DISABLED)
        ]  # fmt: skip
        for pin, native in (("vf_enable", True), ("bus_master", False)):
            fill(env, 4, False, 1, place)
            fill(env, 6, False, 1, place)
            await env.steps(6)
            env.pin(pin, 0)
            count = len(env.copies)
            assert env.frame(100, [4, 6])
            await env.drain()
            assert len(env.copies) - count == native
            env.pin(pin, 1)


@cocotb.test
async def turns(dut: Any) -> None:
    """With both sources busy they take turns; alone, each goes as it comes (the bench checks each choice)."""
    env = Bench(dut)
    await env.start({0: Setup(small_log2=9)})
    space = Space(0x1000_0000, random.Random(5))
    env.refill = lambda: env.post(0, False, space.take(256)) if env.room(0, False) else None
    await env.steps(600)
    order: list[bool] = []
    for _ in range(30):
        assert env.frame(64, [0]) and env.frame(70, [0], sibling=True)
    await env.drain()
    order = [copy.job.sibling for copy in env.copies]
    assert order == [False, True] * 30
    for sibling in (True, True, False, False, True, False):
        assert env.frame(64, [0], sibling=sibling)
        await env.steps(30)
    await env.drain()
    env.refill = lambda: None


@cocotb.test
async def batches(dut: Any) -> None:
    """Entries that wait go together, up to eight, not over the ring's end or a 4 KiB boundary; the phase flips."""
    env = Bench(dut)
    base = 0x4000_1000 - 5 * 16
    await env.start({2: Setup(small_log2=9, rq_log2=4, bases=(base, base, base, base)), 3: Setup(small_log2=9)})
    rng = random.Random(6)
    places = {e: Space(e << 28, rng) for e in (2, 3)}

    def refill() -> None:
        for endpoint, place in places.items():
            if env.room(endpoint, False):
                env.post(endpoint, False, place.take(256))
                return

    env.refill = refill
    await env.steps(1100)
    sizes: set[int] = set()
    laps: set[int] = set()
    for round_ in range(24):
        for n in range(11):
            assert env.frame(60, [2, 3] if round_ % 3 == 2 and n == 6 else [2])
        env.hold = lambda: True
        await env.steps(250)
        env.hold = lambda: False
        await env.drain()
    for endpoint, _, index, count in env.batches:
        if endpoint == 2:
            sizes.add(count)
            laps.add(index // 16)
    assert max(sizes) == 8 and len(laps) >= 12, f"batches of {sizes}, {len(laps)} laps"
    boundary = {(index + count) % 16 for endpoint, _, index, count in env.batches if endpoint == 2 and 1 < count < 8}
    assert {0, 5} <= boundary, "no batch was cut at the ring's end, or at 4 KiB"
    env.refill = lambda: None


@cocotb.test
async def lost_ring(dut: Any) -> None:
    """Completions of a ring at a forbidden place are lost, those of others are not, and nothing stands still."""
    env = Bench(dut)
    bad = (0xFEE0_0000,) * 4
    await env.start({2: Setup(bases=(bad[0], bad[1], bad[2], bad[3])), 3: Setup()})
    place = Space(0x6000_0000, random.Random(7))
    for endpoint in (2, 3):
        fill(env, endpoint, False, 40, place)
    await env.steps(90)
    for _ in range(20):
        assert env.frame(60, [2, 3])
    await env.drain()
    assert {endpoint for endpoint, _, _, _ in env.batches} == {3}
    assert len(env.completed) == 20


@cocotb.test
async def registers_are_written(dut: Any) -> None:
    """What is on offer, and what is being placed, goes by what the registers said when its copy began."""
    env = Bench(dut)
    open_setup = Setup(rss=True, queues=4, key=KEY, table=(3,) * 128, buffer_log2=11, small_max=200)
    others = (Setup(enable=False, mode=Mode.NATIVE, small_max=5000, buffer_log2=12),
              Setup(rss=True, queues=3, small_max=0, buffer_log2=12))
    header = ethernet(ipv4("161.142.100.80", "66.9.149.187", TCP, struct.pack(">HH", 2794, 1766)))
    for first_dest in ([3], [3, 9]):  # one segment more, and the other kind is the one that stalls
        for length in (60, 9000):
            await env.start({0: others[0], 3: open_setup, 9: open_setup})
            place = Space(0x3000_0000, random.Random(5))
            for endpoint, big in ((3, length > 200), (9, length > 200)):
                fill(env, endpoint, big, 60, place, 2048)
            await env.steps(130)
            env.ready = lambda: False
            assert env.frame(length, first_dest, header=header)
            for _ in range(4 if length > 200 else 9):
                assert env.frame(length, [3], header=header)
            await env.steps(100)
            for setup in others:
                for endpoint in (0, 3):
                    await env.rewrite(endpoint, setup)
                    await env.steps(2)
            env.ready = lambda: True
            await env.steps(2)
            await env.rewrite(3, replace(open_setup, enable=False))
            await env.drain()
            assert {copy.queue for copy in env.copies} >= {3}

    for after in range(16):  # cycles after the job was taken
        await env.start({3: open_setup})
        fill(env, 3, True, 6, place, 2048)
        await env.steps(10)
        assert env.frame(9000, [3], header=header)
        while env.jobs[False]:
            await env.step()
        await env.steps(after)
        await env.rewrite(3, Setup(enable=False, mode=Mode.NATIVE, small_max=9000, buffer_log2=12))
        await env.steps(12)
        await env.rewrite(3, open_setup)
        await env.drain()
        assert [len(copy.pieces) for copy in env.copies] == [5] and env.copies[0].queue == 3


@cocotb.test
async def busy_while_placed(dut: Any) -> None:
    """An endpoint is busy from the first look at its ring on: what has begun goes to memory though it is disabled then."""
    env = Bench(dut)
    await env.start({3: Setup()})
    env.pin("status_ep", 3)
    fill(env, 3, True, 5, Space(0x3000_0000, random.Random(6)), 2048)
    await env.steps(10)
    assert env.frame(9000, [3])
    busy = []
    while not env.copies:
        await env.step()
        busy.append(int(dut.status_busy_o.value))
    # one cycle in which the copy begins, one for each of its five buffers
    assert busy[-7:] == [0, 1, 1, 1, 1, 1, 1] and sum(busy) == 6
    await env.drain()
    assert env.frame(9000, [3])
    await env.drain()
    assert [reason for _, _, reason in env.drops] == [RxDrop.NO_BIG]


@cocotb.test
async def restart(dut: Any) -> None:
    """An endpoint that is enabled anew starts with empty rings and the first lap; others go on."""
    env = Bench(dut)
    await env.start({2: Setup(), 3: Setup()})
    place = Space(0x7000_0000, random.Random(8))
    for endpoint in (2, 3):
        fill(env, endpoint, False, 20, place)
        fill(env, endpoint, True, 20, place, 2048)
    await env.steps(90)
    for length in (60, 3000):
        assert env.frame(length, [2, 3])
    await env.drain()
    await env.set_up(2, Setup())
    assert env.frame(60, [2, 3]) and env.frame(3000, [2, 3])
    await env.drain()
    assert [(e, r) for e, _, r in env.drops] == [(2, RxDrop.NO_SMALL), (2, RxDrop.NO_BIG)]
    fill(env, 2, False, 20, place)
    await env.steps(30)
    for _ in range(3):
        assert env.frame(60, [2, 3])
    await env.drain()
    assert len(env.copies) == 12


@cocotb.test
async def short_frames(dut: Any) -> None:
    """60-byte frames back to back: cycles of the link for each, with one beat of framing for each TLP."""
    env = Bench(dut)
    env.framing = True
    base = (0x1000_0000, 0x1010_0000, 0x1020_0000, 0x1030_0000)
    high = (1 << 40 | 0x10000, 1 << 40 | 0x20000, 1 << 40 | 0x30000, 1 << 40 | 0x40000)
    table = tuple(n % 4 for n in range(128))
    for name, where, setup, ends in (
        ("below 4 GiB", 0x2000_0000, Setup(small_log2=9, rq_log2=10, bases=base), (7,)),
        ("above 4 GiB", 0x20_0000_0000, Setup(small_log2=9, rq_log2=10, bases=high), (7,)),
        ("above 4 GiB, 8 endpoints", 0x20_0000_0000, Setup(small_log2=9, rq_log2=10, bases=high), tuple(range(8))),
        ("above 4 GiB, 4 queues", 0x20_0000_0000,
         Setup(small_log2=9, rq_log2=10, bases=high, rss=True, queues=4, key=KEY, table=table), (7,)),
    ):  # fmt: skip
        env.refill = lambda: None
        await env.start({e: setup for e in ends})
        count = 320
        for endpoint in ends:
            for n in range(count // len(ends)):
                env.post(endpoint, False, where + (endpoint << 20) + 64 * n)
        await env.steps(count + 10)
        ports = [struct.pack(">HH", n, 80) for n in range(count)]
        for n in range(count):
            frame = ethernet(ipv4("10.0.0.1", "10.0.0.2", TCP, ports[n] + bytes(16)))
            while not env.frame(60, [ends[n % len(ends)]], header=frame):
                await env.step()
        await env.drain()
        assert not env.drops and len(env.completed) == count
        first, last = env.completed[40][0], env.completed[-40][0]
        cycles = (last - first) / (count - 80)
        dut._log.info("60-byte frames %s: %.2f cycles each", name, cycles)
        assert cycles <= 16.8, f"{name}: {cycles} cycles for a frame"


@cocotb.test
async def indices_wrap(dut: Any) -> None:
    """Ring and completion indices over 2^16, in rings of every size: slot, phase and index fields go on."""
    env = Bench(dut)
    for log2 in (4, 9):
        setup = Setup(small_log2=log2, big_log2=log2, rq_log2=log2 + (log2 == 9))
        await env.start({11: setup})
        start = 0xFFF5
        env.seek(11, start)
        place = Space(0x1000_0000, random.Random(9))
        env.refill = lambda: None
        for _ in range(40):
            for big in (False, True):
                if env.room(11, big):
                    env.post(11, big, place.take(2048 if big else 256))
            await env.steps(330)
            assert env.frame(60, [11]) and env.frame(2000, [11])
        await env.drain()
        assert not env.drops and len(env.copies) == 80
