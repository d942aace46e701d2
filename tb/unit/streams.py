"""Valid/ready streams of block benches: a source with idle cycles, a sink with back-pressure, and their patterns.

Signals of a stream `x` are `x_i`, `x_valid_i`, `x_ready_o` into the block and `x_o`, `x_valid_o`, `x_ready_i` out of it.
Inputs change at the falling edge of the clock; what the next rising edge takes is read when that has settled.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly
from cocotb.utils import get_sim_time
from cocotb_bus.drivers import ValidatedBusDriver
from cocotb_bus.monitors import BusMonitor

from tb.cosim import bound

PERIOD_NS: Final = 4

Cycles = Iterator[tuple[int, int]]
"""Cycles on, cycles off, and so on for ever."""
Pattern = Callable[[random.Random], Cycles]


def _always(_: random.Random) -> Cycles:
    while True:
        yield 1, 0


def _every_other(_: random.Random) -> Cycles:
    while True:
        yield 1, 1


def _bursts(rng: random.Random) -> Cycles:
    while True:
        yield rng.randint(1, 12), rng.randint(0, 6)


def _rare(rng: random.Random) -> Cycles:
    while True:
        yield 1, rng.randint(3, 15)


PATTERNS: Final[dict[str, Pattern]] = {"always": _always, "every_other": _every_other, "bursts": _bursts, "rare": _rare}
"""Idle patterns of a source, back-pressure patterns of a sink."""


def levels(pattern: Cycles) -> Iterator[bool]:
    """The pattern, cycle by cycle."""
    for on, off in pattern:
        yield from (True,) * on + (False,) * off


def cycle() -> int:
    """Cycles since the start of simulation."""
    return int(get_sim_time("ns")) // PERIOD_NS


async def start(dut: Any, inputs: Iterable[str]) -> None:
    """Start the clock, set `inputs` to 0 and reset for three cycles."""
    bound.start()
    for name in inputs:
        getattr(dut, name).value = 0
    dut.rst_i.value = 1
    Clock(dut.clk_i, PERIOD_NS, unit="ns").start(start_high=False)
    for _ in range(3):
        await FallingEdge(dut.clk_i)
    dut.rst_i.value = 0


async def settle(dut: Any, done: Callable[[], bool], what: str, limit: int = 20_000) -> None:
    """Wait until `done()`, at a falling edge. Raises `AssertionError` that says `what` after `limit` cycles."""
    for _ in range(limit):
        if done():
            return
        await FallingEdge(dut.clk_i)
    raise AssertionError(f"{what}: not within {limit} cycles")


async def cycles(dut: Any, count: int) -> None:
    for _ in range(count):
        await FallingEdge(dut.clk_i)


class PatternDriver(ValidatedBusDriver):  # type: ignore[misc]
    """Offers one transaction after another; `pattern` makes idle cycles between them."""

    def __init__(self, dut: Any, name: str, pattern: Cycles | None = None) -> None:
        self._queued = 0
        super().__init__(dut, name, dut.clk_i, valid_generator=pattern or PATTERNS["always"](random.Random(0)))
        self.bus.valid.value = 0

    async def _idle_cycles(self, *, sync: bool) -> None:
        """The cycles before the next transaction is offered."""
        if sync:
            await FallingEdge(self.clock)
        if not self.on:
            for _idle in range(self.off):
                await FallingEdge(self.clock)
            self._next_valids()
        self.on -= 1


class StreamSource(PatternDriver):
    """Offers each word until it is taken; `pattern` makes idle cycles between words."""

    def __init__(self, dut: Any, name: str, pattern: Cycles | None = None, *, ready: bool = True) -> None:
        self._signals = {"data": "i", "valid": "valid_i", **({"ready": "ready_o"} if ready else {})}
        self._has_ready = ready
        self.taken: list[tuple[int, int]] = []
        """(cycle in which it was taken, word)."""
        super().__init__(dut, name, pattern)

    def queue(self, words: Iterable[int]) -> None:
        for word in words:
            self._queued += 1
            self.append(word)

    @property
    def idle(self) -> bool:
        """Everything queued has been taken."""
        return len(self.taken) == self._queued

    async def _driver_send(self, transaction: int, sync: bool = True, **_: Any) -> None:
        await self._idle_cycles(sync=sync)
        self.bus.data.value = transaction
        self.bus.valid.value = 1
        while True:
            await ReadOnly()
            took, now = not self._has_ready or bool(int(self.bus.ready.value)), cycle()
            await FallingEdge(self.clock)
            if took:
                break
        self.bus.valid.value = 0
        self.taken.append((now, transaction))


@dataclass(frozen=True)
class Word:
    """A word that left: the cycle in which it was first offered, that in which it was taken."""

    data: int
    offered: int
    taken: int


class StreamSink(BusMonitor):  # type: ignore[misc]
    """Takes words as `pattern` says. What is offered must stay, unchanged, until it is taken."""

    def __init__(self, dut: Any, name: str, pattern: Cycles | None = None,
                 callback: Callable[[Word], None] | None = None) -> None:
        self._signals = {"data": "o", "valid": "valid_o", "ready": "ready_i"}
        self._pattern = pattern or PATTERNS["always"](random.Random(0))
        self.words: deque[Word] = deque()
        super().__init__(dut, name, dut.clk_i, callback=callback or self.words.append)
        self.bus.ready.value = 0

    async def _monitor_recv(self) -> None:
        offer: tuple[int, int] | None = None
        for ready in levels(self._pattern):
            await FallingEdge(self.clock)
            self.bus.ready.value = int(ready)
            await ReadOnly()
            if not int(self.bus.valid.value):
                assert offer is None, f"{self.name}: an offered word was withdrawn in cycle {cycle()}"
                continue
            data = int(self.bus.data.value)
            offer = offer or (data, cycle())
            assert offer[0] == data, f"{self.name}: an offered word changed in cycle {cycle()}"
            if ready:
                self._recv(Word(data, offer[1], cycle()))
                offer = None
