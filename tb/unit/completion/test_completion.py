"""The completion writer: entries, phase, batches, order, turns, refusals."""

from __future__ import annotations

import random
from typing import Any, Final

import cocotb

from sw.abi.registers import Mode
from tb.unit.completion.bench import DEPTH, ENTRY, PAGE, TB, Guest
from tb.unit.streams import PATTERNS
from tb.unit.windows.oracle import SMALL, name

MIX: Final = 200


async def begin(dut: Any, **options: Any) -> TB:
    bench = TB(dut.u_completion, random.Random(cocotb.RANDOM_SEED), **options)
    await bench.start()
    return bench


def windowed(bench: TB, endpoint: int, *, good: bool = True) -> int:
    """A ring in window 3 of the endpoint, near its end; `good`: it may be written."""
    row = bench.table.row(endpoint, 3)
    row.valid, row.writable, row.sequence, row.address = True, good, 0x77, 0x4_5000_0000 + endpoint * SMALL
    return name(3, 0x77, SMALL - 16 * ENTRY, large=False)


@cocotb.test
@cocotb.parametrize(log2=[4, 5, 10])
async def laps(dut: Any, log2: int) -> None:
    """Entry for entry around the ring, several times: content, place and phase; no write goes past the ring's end."""
    bench = await begin(dut)
    guest = await bench.add(Guest(11, Mode.IOMMU, log2, 0x7_0000_0000))
    for _ in range((3 << log2) + 5 if log2 < 10 else (1 << log2) + 40):
        bench.end(guest)
    await bench.finish()
    assert guest.written == len(bench.ends.taken)


@cocotb.test
async def batches(dut: Any) -> None:
    """While a write waits, entries gather, and leave together; a batch ends at the page."""
    bench = await begin(dut, pressure="rare")
    guest = await bench.add(Guest(2, Mode.NATIVE, 6, 0x1000_0000 + PAGE - 3 * ENTRY))
    for _ in range(150):
        bench.end(guest)
    await bench.finish()
    counts = [count for _, count in bench.served]
    assert sum(counts[:2]) == 3 and max(counts) == DEPTH and len(counts) < 40


@cocotb.test
async def turns(dut: Any) -> None:
    """Endpoints whose chains end all the time are written for in turn."""
    bench = await begin(dut, pressure="every_other")
    guests = [await bench.add(Guest(endpoint, Mode.IOMMU, 6, 0x2000_0000 + endpoint * PAGE)) for endpoint in (0, 1, 33, 63)]
    for _ in range(100):
        for guest in guests:
            bench.end(guest)
    await bench.finish()
    order = [endpoint for endpoint, _ in bench.served][8:40]
    assert all(set(order[at : at + 4]) == {0, 1, 33, 63} for at in range(len(order) - 3)), order


@cocotb.test
async def refused(dut: Any) -> None:
    """C4: an endpoint whose ring is not its to write loses its entries and is told of; the others lose nothing."""
    bench = await begin(dut, look=0.5)
    bad = [await bench.add(Guest(5, Mode.NATIVE, 4, (1 << 48) - 8 * ENTRY)),
           await bench.add(Guest(6, Mode.WINDOWS, 4, windowed(bench, 6, good=False))),
           await bench.add(Guest(7, Mode.NATIVE, 4, 0xFEE0_0000))]
    good = await bench.add(Guest(8, Mode.WINDOWS, 4, windowed(bench, 8)))
    for _ in range(60):
        for guest in (*bad, good):
            bench.end(guest)
    await bench.finish()
    assert good.written == 60 and not good.refused
    assert bad[0].written and bad[0].refused and bad[0].written + bad[0].refused == 60
    assert bad[1].refused == bad[2].refused == 60


@cocotb.test
async def restart(dut: Any) -> None:
    """An endpoint that is enabled again writes from its ring's first place, in the first lap's phase."""
    bench = await begin(dut)
    for _ in range(3):
        guest = await bench.add(Guest(9, Mode.NATIVE, 4, 0x3000_0000))
        for _ in range(bench.random.randint(17, 31)):
            bench.end(guest)
        await bench.finish()


@cocotb.test
@cocotb.parametrize(idle=["always", "bursts", "rare"], pressure=list(PATTERNS))
async def traffic(dut: Any, idle: str, pressure: str) -> None:
    """Many endpoints in all modes, slow writes and look-ups, fences: each endpoint's entries in its order, none lost, none
    twice, none told of before its write has left."""
    bench = await begin(dut, idle=idle, pressure=pressure, look=0.4, epochs=0.05)
    rng = bench.random
    for endpoint in rng.sample(range(64), 6):
        mode = rng.choice((Mode.NATIVE, Mode.IOMMU, Mode.WINDOWS))
        base = windowed(bench, endpoint) if mode == Mode.WINDOWS else rng.getrandbits(40) << 4
        await bench.add(Guest(endpoint, mode, 4 if mode == Mode.WINDOWS else rng.randint(4, 6), base))
    for _ in range(MIX if idle != "rare" else MIX // 2):
        bench.end(rng.choice(list(bench.guests.values())))
    await bench.finish()
    assert sum(guest.written for guest in bench.guests.values()) == len(bench.ends.taken)
