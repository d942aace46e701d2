"""The fetch of descriptors, with the parameters of the send rings and of the receive rings."""

from __future__ import annotations

import random
from typing import Any, Final

import cocotb

from tb.unit.fetch.bench import RECEIVE, SEND, TB
from tb.unit.streams import PATTERNS, cycles

LAPS: Final = 3
KINDS: Final = ["send", "receive"]


async def begin(dut: Any, kind: str, **options: Any) -> TB:
    where, geometry = (dut.u_fetch, SEND) if kind == "send" else (dut.u_rx_fetch, RECEIVE)
    bench = TB(where, geometry, random.Random(cocotb.RANDOM_SEED), **options)
    await bench.start()
    return bench


@cocotb.test
@cocotb.parametrize(kind=KINDS, mrrs=[0, 1, 5])
async def laps(dut: Any, kind: str, mrrs: int) -> None:
    """Around rings of every size: each descriptor once, in order; no read past the ring's end, Max_Read_Request_Size, a
    batch, or what the guest has rung."""
    bench = await begin(dut, kind, mrrs=mrrs, delay=8, follow=0.6, doorbells=0.5)
    largest = 10 if kind == "send" else 9
    for number, log2 in enumerate((4, 5, 6, largest)):
        await bench.add(number, log2)
        bench.to_send[number] = (LAPS << log2) + 5 if log2 < largest else (1 << log2) + 5
    await bench.finish()


@cocotb.test
@cocotb.parametrize(kind=KINDS)
async def index_wrap(dut: Any, kind: str) -> None:
    """Indices of 16 bits wrap: a ring goes on after 65536 descriptors."""
    bench = await begin(dut, kind, mrrs=5, delay=1, follow=1.0, doorbells=1.0)
    ring = await bench.add(5, 9)
    inner = bench.dut.u_fetch
    start = 0xFFC0
    inner.producer_q[5].value, inner.fetched_q[5].value = start, start
    ring.producer = ring.fetched = ring.consumer = start
    bench.dut.consumer_q[5].value = start
    bench.to_send[5] = 0x400
    await bench.finish()
    assert ring.fetched == start + 0x400


@cocotb.test
@cocotb.parametrize(kind=KINDS)
async def turns(dut: Any, kind: str) -> None:
    """Rings that have always something to fetch are served in turn: none waits for more than one fetch of each other."""
    bench = await begin(dut, kind, delay=1, follow=1.0, doorbells=1.0)
    numbers = (0, 3, 17, 62)
    for number in numbers:
        await bench.add(number, 8)
    bench.enable(on=False)
    for number in numbers:
        bench.to_send[number] = 256
    await cycles(bench.dut, 60)
    assert not bench.served
    bench.enable(on=True)
    await bench.finish()
    rounds = bench.served[:8]  # later ones may wait for their executors
    assert all(sorted(rounds[at : at + 4]) == list(numbers) for at in range(5)), rounds


@cocotb.test
@cocotb.parametrize(kind=KINDS)
async def disabled(dut: Any, kind: str) -> None:
    """Nothing is fetched for an endpoint that is disabled or stale, or while the device does not execute; what was rung
    is not forgotten."""
    bench = await begin(dut, kind, doorbells=1.0, delay=3)
    for number in (2, 9):
        await bench.add(number, 6)
        bench.to_send[number] = 500
    for _ in range(40):
        endpoint = bench.random.choice((2, 9)) // bench.geometry.per_endpoint
        bench.allow(endpoint, on=False)
        await cycles(bench.dut, bench.random.randint(1, 30))
        bench.allow(endpoint, on=True)
        bench.enable(on=False)
        await cycles(bench.dut, bench.random.randint(1, 30))
        bench.enable(on=True)
        await cycles(bench.dut, bench.random.randint(1, 30))
    await bench.finish()


@cocotb.test
@cocotb.parametrize(kind=KINDS)
async def failure(dut: Any, kind: str) -> None:
    """A failed read stops its ring and no other, until the endpoint is enabled again: then it starts at index 0."""
    bench = await begin(dut, kind, failures=0.15)
    for number in (1, 40, 63):
        await bench.add(number, 5)
        bench.to_send[number] = 300
    for _ in range(6):
        await bench.finish()
        for number in (1, 40, 63):
            if bench.rings[number].failed:
                bench.to_send[number] = 0
                await cycles(bench.dut, 4)
                await bench.add(number, 5)
                bench.to_send[number] = 200
    bench.failures = 0.0
    await bench.finish()


@cocotb.test
@cocotb.parametrize(kind=KINDS, pressure=list(PATTERNS))
async def traffic(dut: Any, kind: str, pressure: str) -> None:
    """Many rings, slow reads, executors behind and ahead, hostile doorbells: each ring is fetched as if it were alone."""
    bench = await begin(dut, kind, pressure=pressure, hostile=0.1, mrrs=random.Random(cocotb.RANDOM_SEED).randrange(6))
    for number in bench.random.sample(range(64), 8):
        await bench.add(number, bench.random.randint(4, 6))
    for number in bench.rings:
        bench.to_send[number] = 100
    await bench.finish()
    assert bench.refused
