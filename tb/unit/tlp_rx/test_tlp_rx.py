"""The receiver of TLPs: header decode, places of payload, completions of reads, credits."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import combinations
from typing import Any, Final

import cocotb

from sw.abi.registers import Aperture
from tb.unit.streams import PATTERNS
from tb.unit.tlp import CFGRD, CFGWR, CPL, IORD, IOWR, MRD, MWR, Tlp
from tb.unit.tlp_rx.bench import TB, completions
from tb.unit.tlp_rx.oracle import APERTURE, BAR2_BYTES, BAR4_BYTES, CA, CRS, RX_DOORBELLS, UR, Read

RCB: Final = 64
MPS_DWS: Final = 64
HOST: Final = 0x0010
ROUNDS: Final = 40
PLACES: Final = (Aperture.SEND_DOORBELL, *RX_DOORBELLS, Aperture.ARM, 0x10, Aperture.SEND_RING - 4, Aperture.SEND_RING,
                 Aperture.RX_SMALL_RING - 4, Aperture.RX_SMALL_RING, Aperture.RX_BIG_RING - 4, Aperture.RX_BIG_RING,
                 Aperture.BYTES - 4, Aperture.BYTES, APERTURE - 4)


async def begin(dut: Any, **options: Any) -> TB:
    bench = TB(dut.u_tlp_rx, cocotb.RANDOM_SEED, **options)
    await bench.start()
    return bench


def mwr(rng: random.Random, address: int, length: int, first: int = 15, last: int = 15, **more: Any) -> Tlp:
    return Tlp(MWR, HOST, 0, address, length, first, last if length > 1 else 0, rng.randbytes(4 * length), **more)


def a_read(rng: random.Random, tag: int, bytes_: int, memory: str = "frame") -> Read:
    dest = rng.randrange(1 << (19 if memory == "rx" else 20)) & ~0xFFF | rng.randrange(64)
    return Read(tag, 0x0100 + rng.randrange(65), memory, dest, rng.getrandbits(40) & ~0xFFF | rng.randrange(256), bytes_)


@cocotb.test
@cocotb.parametrize(above_4g=[False, True])
async def byte_enables(dut: Any, above_4g: bool) -> None:
    """A write of one run of bytes is stored byte for byte; any other enables drop the TLP whole."""
    bench = await begin(dut, above_4g=above_4g)
    for length in (1, 2, 3, 4):
        for first in range(16):
            for last in range(16) if length > 1 else (0,):
                place = bench.oracle.bar2 + Aperture.SEND_RING + 4 * bench.random.randrange(64)
                bench.send([mwr(bench.random, place, length, first, last)])
    await bench.check()


@cocotb.test
@cocotb.parametrize(above_4g=[False, True])
async def places(dut: Any, above_4g: bool) -> None:
    """C1: which endpoint and which of its places a write means comes from its address; what is nowhere, reaches past
    an end, or belongs to an endpoint without that form is dropped."""
    bench = await begin(dut, above_4g=above_4g)
    oracle, rng = bench.oracle, bench.random
    for endpoint in (0, 1, 31, 62, 63):
        for offset in PLACES:
            for length in (1, 2, 5):
                if offset + 4 * length <= APERTURE:
                    bench.send([mwr(rng, oracle.bar2 + endpoint * APERTURE + offset, length)])
    for end in (Aperture.SEND_RING + Aperture.SEND_RING_BYTES, Aperture.RX_BIG_RING, Aperture.BYTES):
        for length in (1, 4, MPS_DWS):
            bench.send(mwr(rng, oracle.bar2 + end - 4 * length + over, length) for over in (0, 4))
    for address in (oracle.bar2 - 4, oracle.bar2 + BAR2_BYTES - 4, oracle.bar4, oracle.bar4 + BAR4_BYTES - 4,
                    oracle.bar4 + BAR4_BYTES):
        bench.send([mwr(rng, address, 1), mwr(rng, address, 1, 3), Tlp(MRD, HOST, 7, address, last_be=0)])
    await bench.check()
    bench.enable(on=False)
    bench.send(mwr(rng, base, 1) for base in (oracle.bar2, oracle.bar4))
    bench.send(Tlp(MRD, HOST, 8, base) for base in (oracle.bar2, oracle.bar4))
    await bench.check()
    await bench.give_back()


@cocotb.test
async def unsupported(dut: Any) -> None:
    """Each non-posted request is handed over exactly once, and as bad when it is none of those the NIC answers; poisoned
    writes are dropped."""
    bench = await begin(dut)
    oracle, rng = bench.oracle, bench.random
    for kind in (CFGRD, CFGWR, IORD, IOWR, MRD):
        for length in (1, 2):
            for poisoned in (False, True):
                address = oracle.bar4 + 0x40 if kind == MRD else rng.getrandbits(32) & 0xFFFF_0FFC
                data = rng.randbytes(4 * length) if kind in (CFGWR, IOWR) else b""
                bench.send([Tlp(kind, rng.getrandbits(16), rng.getrandbits(8), address, length, rng.randrange(1, 16),
                                15 if length > 1 else 0, data, poisoned=poisoned)])
    for place in (oracle.bar4, oracle.bar2, oracle.bar2 + Aperture.SEND_RING):
        bench.send([mwr(rng, place, 1, poisoned=True)])
    bench.send([mwr(rng, oracle.bar4, 2)])
    await bench.check()
    await bench.give_back()


@cocotb.test
async def alignments(dut: Any) -> None:
    """Every byte of a read lands at its place, for each offset on the bus, each in the memory, and short lengths."""
    bench = await begin(dut)
    rng = bench.random
    for lower in range(4):
        for place in range(8):
            for tag, length in enumerate((*range(1, 14), 24, 61)):
                read = a_read(rng, tag, length, rng.choice(("frame", "ring", "rx")))
                read.address = read.address & ~0xFFF | lower
                read.dest = read.dest & ~7 | place
                answer = completions(read, rng.randbytes(length), [])
                await bench.read(read)
                bench.send(answer)
            await bench.check()


@cocotb.test
async def splits(dut: Any) -> None:
    """A read completed in every way that the Read Completion Boundary allows is the same read."""
    bench = await begin(dut)
    rng = bench.random
    for start, length in ((0, 256), (60, 200), (3, 250), (61, 6), (127, 258)):
        inner = range(start // RCB * RCB + RCB, start + length, RCB)
        for count in range(len(inner) + 1):
            for cuts in combinations(inner, count):
                read = a_read(rng, 5, length)
                base = read.address & ~0xFFF
                read.address = base + start
                answer = completions(read, rng.randbytes(length), [base + cut for cut in cuts])
                await bench.read(read)
                bench.send(answer)
                await bench.check()
    read = Read(6, 0x100, "frame", 8, 0x1000, 4096)
    answer = completions(read, rng.randbytes(4096), [0x1000 + 256 * n for n in range(1, 16)])
    await bench.read(read)
    bench.send(answer)
    await bench.check()


@cocotb.test
async def errors(dut: Any) -> None:
    """A completion that is not the next part of an outstanding read changes nothing; one that reports an error ends it."""
    bench = await begin(dut)
    rng = bench.random
    for status in (UR, CA, CRS, 7):
        for after in (0, 1):
            read = a_read(rng, 9, 200)
            parts = completions(read, rng.randbytes(200), [(read.address // RCB + 1) * RCB])
            await bench.read(read)
            bench.send(parts[:after])
            bench.send([replace(parts[0], kind=CPL, data=b"", status=status, byte_count=4)])
            bench.send(parts[after:])  # the read has ended
            await bench.check()
    wrongs: tuple[dict[str, Any], ...] = ({"tag": 10}, {"tag": 200}, {"tag": 9 + 16}, {"requester": 0x0200},
                                          {"byte_count": 99}, {"lower": 1})
    for wrong in wrongs:
        read = a_read(rng, 9, 100)
        read.address &= ~3
        part = completions(read, rng.randbytes(100), [])[0]
        await bench.read(read)
        bench.send([replace(part, **wrong), replace(part, **wrong, poisoned=True), part])
        await bench.check()
    for poisoned in (0, 1, 2):
        read = a_read(rng, 9, 190)
        first = (read.address // RCB + 1) * RCB
        parts = completions(read, rng.randbytes(190), [first, first + RCB])
        parts[poisoned] = replace(parts[poisoned], poisoned=True)
        await bench.read(read)
        bench.send(parts)
        await bench.check()
    read = a_read(rng, 9, 40)
    await bench.read(read)
    bench.send([replace(completions(read, bytes(40), [])[0], kind=CPL, data=b"")])
    await bench.check()


def other(bench: TB) -> Tlp:
    """A request of any kind to any place."""
    rng, oracle = bench.random, bench.oracle
    kind = rng.choice((MWR, MWR, MWR, MWR, MWR, MRD, CFGRD, CFGWR))
    if kind in (CFGRD, CFGWR):
        return Tlp(kind, HOST, rng.randrange(256), rng.getrandbits(32) & 0xFFFF_0FFC, 1, rng.randrange(1, 16),
                   data=rng.randbytes(4) if kind == CFGWR else b"")
    if rng.random() < 0.2:
        address = oracle.bar4 + 4 * rng.randrange(BAR4_BYTES // 4)
    else:
        place = rng.choice((*PLACES, Aperture.SEND_RING + 4 * rng.randrange(4000), Aperture.RX_SMALL_RING + 4 * rng.randrange(2000)))
        address = oracle.bar2 + APERTURE * rng.randrange(64) + place
    if kind == MRD:
        return Tlp(MRD, HOST, rng.randrange(256), address)
    length = min(rng.choice((1, 1, 1, 2, 3, 4, 16, rng.randint(1, MPS_DWS))), (0x1000 - address % 0x1000) // 4)
    if length == 1:
        return mwr(rng, address, 1, rng.choice((15, 15, 3, 12, 6, 8, 1, 5)))
    return mwr(rng, address, length, rng.choice((15, 15, 14, 12, 8)), rng.choice((15, 15, 7, 3, 1)),
               poisoned=rng.random() < 0.03)


@cocotb.test
@cocotb.parametrize(idle=list(PATTERNS), above_4g=[False, True])
async def traffic(dut: Any, idle: str, above_4g: bool) -> None:
    """Completions of many reads and requests of all kinds, mixed in any order: each byte and event once, in order, in
    time; the cumulative credits wrap."""
    bench = await begin(dut, idle=idle, above_4g=above_4g)
    rng = bench.random
    for _ in range(ROUNDS if idle == "always" else ROUNDS // 5):
        queues: list[list[Tlp]] = [[other(bench) for _ in range(rng.randrange(12))]]
        for tag in rng.sample(range(15), rng.randint(1, 8)):
            length = rng.choice((rng.randint(1, 64), rng.randint(1, 600), 16 * rng.randint(1, 8)))
            read = a_read(rng, tag, length, rng.choice(("frame", "frame", "ring", "rx")))
            inner = range(read.address // RCB * RCB + RCB, read.address + length, RCB)
            cuts = sorted(rng.sample(inner, rng.randint(0, len(inner))))
            parts = completions(read, rng.randbytes(length), cuts)
            if rng.random() < 0.1:
                parts[-1] = replace(parts[-1], poisoned=True)
            await bench.read(read)
            queues.append(parts)
        while any(queues):
            queue = rng.choice([queue for queue in queues if queue])
            bench.send([queue.pop(0)])
        await bench.check()
        await bench.give_back()
