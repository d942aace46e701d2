"""The DMA read engine: split, tags, completions in any order, errors, time-out, authorisation, epochs."""

from __future__ import annotations

import random
from typing import Any, Final

import cocotb

from sw.abi.registers import Mode, Refusal, Status
from tb.unit.dma_read.bench import FETCH_TAGS, TAGS, TB, boundary
from tb.unit.streams import cycles, settle
from tb.unit.windows.oracle import LARGE, SMALL, name

MAX_FRAME: Final = 9018
MIX: Final = 120


async def begin(dut: Any, **options: Any) -> TB:
    bench = TB(dut.u_dma_read, random.Random(cocotb.RANDOM_SEED), **options)
    await bench.start()
    return bench


def payload(bench: TB, address: int, length: int, mode: int = Mode.NATIVE, endpoint: int = 5) -> None:
    rng = bench.random
    bench.ask(mode=mode, ep=endpoint, addr=address, len=length, first=rng.randrange(2), index=rng.getrandbits(16),
              slot=rng.randrange(32), dest=rng.getrandbits(20) & ~0x3FFF)


def descriptors(bench: TB, count: int, rx: int, mode: int = Mode.IOMMU) -> None:
    """A fetch: at most up to the next boundary of Max_Read_Request_Size, as the fetcher makes it."""
    rng = bench.random
    size = 8 if rx else 16
    page = boundary(bench.mrrs)
    count = min(count, page // size)
    address = rng.getrandbits(34) * page + size * rng.randint(0, page // size - count)
    bench.ask(fetch=1, rx=rx, mode=mode, ep=rng.randrange(64), addr=address, len=count * size, index=rng.getrandbits(16),
              slot=rng.randrange(2) if rx else 0, dest=rng.getrandbits(15) * size)


def windows(bench: TB) -> None:
    """Some windows of endpoints 0 to 3, small and large; not every window that is named below is there."""
    for endpoint in range(4):
        for number in range(8):
            if bench.random.random() < 0.8:
                row = bench.table.row(endpoint, number)
                row.valid, row.large, row.sequence = True, number >= 6, 0x1230 + number
                row.address = bench.random.getrandbits(26) << 21


def a_window_address(bench: TB) -> tuple[int, int]:
    rng = bench.random
    number = rng.randrange(8)
    large = number >= 6
    size = LARGE if large else SMALL
    length = rng.randint(1, MAX_FRAME if large else 1500)
    offset = rng.randint(0, max(size - length, 0)) if rng.random() < 0.8 else rng.randrange(size)
    return name(number, 0x1230 + number + (rng.random() < 0.05), offset, large=large), length


@cocotb.test
@cocotb.parametrize(mrrs=range(6))
async def split(dut: Any, mrrs: int) -> None:
    """A range of any place and length is read whole and once, in pieces that cross neither Max_Read_Request_Size nor
    4 KiB; the frame slot hears of each piece."""
    bench = await begin(dut, mrrs=mrrs)
    total = 0
    for place in (0, 1, 127, 128, 0xFFF, 0x1000, 0x1FFD):
        for length in (1, 2, 129, 1514, 4096, MAX_FRAME):
            payload(bench, 0x5_0000_0000 + place, length)
            first, last = place // boundary(mrrs), (place + length - 1) // boundary(mrrs)
            total += last - first + 1
    bench.answers = 1.0
    await bench.finish()
    assert bench.pieces == total and len(bench.dones) == total
    assert bench.extras == total - 7 * 6
    assert all(done["status"] == Status.OK for done in bench.dones)


@cocotb.test
async def tags(dut: Any) -> None:
    """Payload that is never answered leaves tags to the fetches of descriptors, which all tags together may serve."""
    bench = await begin(dut, answers=0.0, timeout=60_000)
    for _ in range(TAGS):
        payload(bench, 0x1000, 64)
    await settle(bench.dut, lambda: len(bench.flights) == TAGS - FETCH_TAGS, "payload takes its tags")
    await cycles(bench.dut, 50)
    assert len(bench.flights) == TAGS - FETCH_TAGS
    bench.answers = 1.0
    await bench.finish()
    bench.answers = 0.0
    for _ in range(TAGS + 3):
        descriptors(bench, 4, 0)
    await settle(bench.dut, lambda: len(bench.flights) == TAGS, "fetches take all tags")
    bench.answers = 1.0
    await bench.finish()


@cocotb.test
async def time_out(dut: Any) -> None:
    """A read without an answer ends with READ_TIMEOUT, once and in time; its tag is out of use for a second period, in
    which a late completion hits nothing."""
    bench = await begin(dut, timeout=300, losses=0.5)
    for _ in range(60):
        payload(bench, 0x7000, bench.random.randint(1, 600))
        if bench.random.random() < 0.3:
            descriptors(bench, 8, bench.random.randrange(2))
    await bench.finish()
    statuses = [done["status"] for done in bench.dones]
    assert Status.READ_TIMEOUT in statuses and Status.OK in statuses


@cocotb.test
async def refused(dut: Any) -> None:
    """C4: each piece in mode `windows`, each range otherwise, is authorised before its MRd; a refusal ends the request,
    says why, and counts nothing."""
    bench = await begin(dut)
    windows(bench)
    row = bench.table.row(1, 2)
    row.valid, row.large, row.sequence, row.address = True, False, 7, 0x1234_5000
    good = name(2, 7, SMALL - 100, large=False)
    for address, length, why in ((good, 100, None), (good, 101, Refusal.INVALID), (good | 1 << 30, 4, Refusal.RESERVED),
                                 (name(2, 8, 0, large=False), 4, Refusal.SEQUENCE), (name(2, 7, 0, large=True), 4, Refusal.SIZE)):
        bench.table.row(1, 3).valid = False
        before = len(bench.refused)
        payload(bench, address, length, Mode.WINDOWS, endpoint=1)
        await bench.finish()
        assert bench.refused[before:] == ([] if why is None else [why])
    for mode, address in ((Mode.NATIVE, (1 << 48) - 10), (Mode.IOMMU, 1 << 48), (5, 0x1000)):
        payload(bench, address, 11, mode)
    await bench.finish()
    assert bench.refused[-3:] == [Refusal.RANGE, Refusal.RANGE, Refusal.BUS]
    assert bench.counted == [0, 0]


@cocotb.test
async def late_refusal(dut: Any) -> None:
    """A piece that was counted and is refused before it was taken is counted as ended under its epoch."""
    bench = await begin(dut, pressure="rare", epochs=0.2)
    for _ in range(40):
        payload(bench, 0x3000, 3000)
        await settle(bench.dut, lambda: bench.current is not None and bench.current.begun is not None, "a piece begins")
        bench.power(on=False)
        await settle(bench.dut, lambda: bench.current is None, "the request is over")
        bench.power(on=True)
        await bench.finish()
    assert bench.refused.count(Refusal.BUS) > 10


@cocotb.test
@cocotb.parametrize(idle=["always", "bursts", "rare"], pressure=["always", "every_other", "rare"])
async def traffic(dut: Any, idle: str, pressure: str) -> None:
    """Reads of all kinds with completions in any order, errors, losses, slow look-ups and fences: each ends once, with
    its own fields, status and epoch, and its bytes go where they belong."""
    bench = await begin(dut, idle=idle, pressure=pressure, timeout=900, errors=0.1, losses=0.02, look=0.6, epochs=0.02,
                        mrrs=random.Random(cocotb.RANDOM_SEED).randrange(6), answers=0.3)
    windows(bench)
    rng = bench.random
    for _ in range(MIX):
        kind = rng.randrange(5)
        if kind == 0:
            descriptors(bench, rng.randint(1, 8), rng.randrange(2), rng.choice((Mode.NATIVE, Mode.IOMMU, Mode.VALIDATED)))
        elif kind < 3:
            address, length = a_window_address(bench)
            payload(bench, address, length, Mode.WINDOWS, rng.randrange(4))
        else:
            payload(bench, rng.getrandbits(48), rng.randint(1, 1514), rng.choice((Mode.NATIVE, Mode.IOMMU)), rng.randrange(64))
    await bench.finish()
    assert len(bench.dones) >= MIX
