"""Dispatch of received frames: each becomes a job or is filtered, and is released in its turn; counters of endpoints."""

from __future__ import annotations

import random
from typing import Any, Final

import cocotb
from cocotb.triggers import FallingEdge

from sw.abi.registers import NicControl, RxDrop
from tb.unit.rx_dispatch.bench import DEPTH, PLACES, TB, Statistics
from tb.unit.streams import PATTERNS, cycles, settle

FRAMES: Final = 100
ENDPOINTS: Final = 64
EVENTS: Final = 1500


async def begin(dut: Any, **options: Any) -> TB:
    bench = TB(dut.u_rx_dispatch, random.Random(cocotb.RANDOM_SEED), **options)
    await bench.start()
    return bench


def add(bench: TB, dest: int, *, group: bool = False) -> int:
    """A frame of any kind; its number."""
    rng = bench.random
    number = rng.getrandbits(16)
    bench.add({"base": rng.getrandbits(13), "len": rng.randint(60, 9018), "number": number, "dst": rng.getrandbits(48),
               "src": rng.getrandbits(48), "has_tag": rng.randrange(2), "vid": rng.getrandbits(12), "ethertype": rng.getrandbits(16)},
              dest, group=group)
    return number


@cocotb.test
async def every_endpoint(dut: Any) -> None:
    """A frame for each endpoint alone, and one for all of them."""
    bench = await begin(dut, work=1.0)
    for endpoint in range(ENDPOINTS):
        add(bench, 1 << endpoint)
    add(bench, (1 << ENDPOINTS) - 1)
    await bench.finish()
    assert len(bench.jobs.words) == ENDPOINTS + 1 and not bench.filtered


@cocotb.test
async def filtered(dut: Any) -> None:
    """What nobody takes is told of with its number, and whether it was for a group; it is released at once."""
    bench = await begin(dut, work=0.0)
    expected = []
    for group in (False, True, True, False):
        expected.append((add(bench, 0, group=group), int(group)))
    await bench.finish()
    assert bench.filtered == expected and bench.released == 4 and not bench.jobs.words


@cocotb.test
async def in_order(dut: Any) -> None:
    """A filtered frame waits for the jobs before it; no more than eight frames wait, whatever they are."""
    bench = await begin(dut, work=0.0)
    add(bench, 1)
    for _ in range(2 * DEPTH):
        add(bench, 0)
    await cycles(bench.dut, 40)
    assert bench.released == 0 and len(bench.filtered) == DEPTH - 1
    bench.work = 1.0
    await bench.finish()
    assert bench.released == 2 * DEPTH + 1


@cocotb.test
async def full(dut: Any) -> None:
    """Eight jobs under way: the ninth waits until one is done, and the frame behind it is not looked at."""
    bench = await begin(dut, work=0.0)
    for _ in range(DEPTH + 4):
        add(bench, bench.random.getrandbits(64) | 1)
    await cycles(bench.dut, 40)
    assert len(bench.jobs.words) == DEPTH and len(bench.frames.taken) == DEPTH + 1
    bench.work = 0.1
    await bench.finish()


@cocotb.test
async def one_a_cycle(dut: Any) -> None:
    """Frames that nobody holds up pass at one a cycle."""
    bench = await begin(dut, work=1.0)
    for n in range(50):
        add(bench, n % 3)
    await settle(bench.dut, lambda: bench.frames.idle, "all frames are taken", 60)
    await bench.finish()


@cocotb.test
async def restart(dut: Any) -> None:
    """Reset forgets frames, jobs and one that is done in the same cycle."""
    bench = await begin(dut, work=0.0)
    for _ in range(5):
        add(bench, 1)
    await cycles(bench.dut, 20)
    bench.work = 1.0
    bench.dut.rst_i.value = 1
    await cycles(bench.dut, 2)
    bench.dut.rst_i.value = 0
    bench.work = 0.2
    for n in range(DEPTH + 3):
        add(bench, n % 2)
    await bench.finish()


@cocotb.test
@cocotb.parametrize(idle=["always", "bursts", "rare"], pressure=list(PATTERNS))
async def traffic(dut: Any, idle: str, pressure: str) -> None:
    """Frames of all kinds, an engine that takes and ends jobs as it likes."""
    bench = await begin(dut, idle=idle, pressure=pressure, work=random.Random(cocotb.RANDOM_SEED).choice((0.05, 0.2, 0.8)))
    rng = bench.random
    for _ in range(FRAMES if idle != "rare" else FRAMES // 3):
        add(bench, rng.choice((0, 1 << rng.randrange(64), rng.getrandbits(64))), group=rng.random() < 0.4)
    await bench.finish()
    assert bench.released == len(bench.frames.taken) == len(bench.jobs.words) + len(bench.filtered)


async def statistics(dut: Any) -> Statistics:
    bench = Statistics(dut.u_rx_statistics, random.Random(cocotb.RANDOM_SEED))
    await bench.start()
    return bench


@cocotb.test
async def counters(dut: Any) -> None:
    """Each event of each endpoint counts where it must, and nowhere else; reasons that are not the endpoint's count
    nowhere."""
    bench = await statistics(dut)
    for endpoint in (0, 1, 32, 63):
        for length, drop in ((9018, None), (0, None), *((None, reason) for reason in RxDrop)):
            bench.drive(endpoint, length=length, drop=drop)
            await FallingEdge(bench.dut.clk_i)
    bench.drive(0)
    for address in range(0, ENDPOINTS * NicControl.STATISTICS_STRIDE, 4):
        bench.ask(address)
        await FallingEdge(bench.dut.clk_i)
    bench.ask(None)
    await cycles(bench.dut, 2)
    assert bench.answers == ENDPOINTS * NicControl.STATISTICS_STRIDE // 4
    assert bench.counts[NicControl.STATISTICS_BYTES - NicControl.STATISTICS_BASE] == 9018


@cocotb.test
async def wrap(dut: Any) -> None:
    """32 bits wrap to 0."""
    bench = await statistics(dut)
    for counter in range(6):
        place = 7 * NicControl.STATISTICS_STRIDE + 4 * counter
        bench.dut.count_q[place // 4].value = (1 << 32) - 2
        bench.counts[place] = (1 << 32) - 2
    for _ in range(3):
        for reason in RxDrop:
            bench.drive(7, length=1, drop=reason)
            await FallingEdge(bench.dut.clk_i)
    bench.drive(0)
    for counter in range(6):
        bench.ask(7 * NicControl.STATISTICS_STRIDE + 4 * counter)
        await FallingEdge(bench.dut.clk_i)
    bench.ask(None)
    await cycles(bench.dut, 2)


@cocotb.test
async def counted_while_read(dut: Any) -> None:
    """Events and accesses in the same cycles; writes are answered and change nothing; reset clears all."""
    bench = await statistics(dut)
    rng = bench.random
    some = rng.sample(range(ENDPOINTS), 4)
    for n in range(EVENTS):
        endpoint = rng.choice(some)
        bench.drive(endpoint, length=rng.randrange(9019) if rng.random() < 0.4 else None,
                    drop=rng.choice((*RxDrop, 0, 255)) if rng.random() < 0.4 else None)
        address = rng.choice(some) * NicControl.STATISTICS_STRIDE + 4 * rng.randrange(8)
        bench.ask(address if rng.random() < 0.7 else None, write=rng.random() < 0.2)
        bench.dut.rst_i.value = int(n in (EVENTS // 2, EVENTS // 2 + 1))
        await FallingEdge(bench.dut.clk_i)
    assert set(PLACES) >= {RxDrop.NO_SMALL, RxDrop.REFUSED}
