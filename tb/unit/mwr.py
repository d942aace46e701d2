"""The port of upstream writes: `valid` and the write stay until `done`; each `next` takes 8 bytes of its payload."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from cocotb.triggers import FallingEdge, ReadOnly
from cocotb_bus.monitors import BusMonitor

from tb.unit.packed import Packed
from tb.unit.streams import PATTERNS, Cycles, PatternDriver, cycle, levels
from tb.unit.tlp import MWR, Tlp

HEADER: Final = Packed("rid:16 tag:8 addr:64 dws:10 first_be:4 last_be:4")


@dataclass(frozen=True)
class Write:
    """A write of whole DWs; the bytes of the first and last that count are in the enables."""

    rid: int
    tag: int
    address: int
    data: bytes
    first_be: int = 15
    last_be: int = 15

    @property
    def header(self) -> int:
        return HEADER.pack(rid=self.rid, tag=self.tag, addr=self.address, dws=len(self.data) // 4, first_be=self.first_be,
                           last_be=self.last_be)

    @property
    def words(self) -> list[int]:
        return [int.from_bytes(self.data[at : at + 8], "little") for at in range(0, len(self.data), 8)]

    @property
    def tlp(self) -> Tlp:
        return Tlp(MWR, self.rid, self.tag, self.address, len(self.data) // 4, self.first_be, self.last_be, self.data,
                   long=self.address >= 1 << 32)


def a_write(rng: random.Random, dws: int, tag: int, *, above_4g: bool) -> Write:
    """A write with any requester, address and payload."""
    address = rng.getrandbits(30) << 2 | (rng.choice((1, rng.randrange(1, 1 << 16))) << 32 if above_4g else 0)
    return Write(rng.getrandbits(16), tag, address, rng.randbytes(4 * dws), rng.choice((15, 14, 12)),
                 rng.choice((15, 7, 3)) if dws > 1 else 0)


class MwrSource(PatternDriver):
    """Offers writes one after another; `pattern` makes idle cycles between them."""

    def __init__(self, dut: Any, name: str, pattern: Cycles | None = None) -> None:
        self._signals = {"header": "i", "valid": "valid_i", "data": "data_i", "next": "next_o", "done": "done_o"}
        self.done: list[tuple[int, Write]] = []
        """(cycle of `done`, write)."""
        super().__init__(dut, name, pattern)

    def queue(self, write: Write) -> None:
        self._queued += 1
        self.append(write)

    @property
    def idle(self) -> bool:
        return len(self.done) == self._queued

    async def _driver_send(self, transaction: Write, sync: bool = True, **_: Any) -> None:
        await self._idle_cycles(sync=sync)
        self.bus.header.value = transaction.header
        self.bus.valid.value = 1
        words = deque(transaction.words)
        while True:
            # what stands there after the last one does not count
            self.bus.data.value = words[0] if words else (1 << 64) - 1
            await ReadOnly()
            took, done, now = int(self.bus.next.value), int(self.bus.done.value), cycle()
            await FallingEdge(self.clock)
            if took:
                assert words, f"{self.name}: more payload is taken than there is, in cycle {now}"
                words.popleft()
            if done:
                break
        assert not words, f"{self.name}: {len(words)} words of payload are left when the write is done, in cycle {now}"
        self.bus.valid.value = 0
        self.done.append((now, transaction))


class MwrSink(BusMonitor):  # type: ignore[misc]
    """Takes writes: payload when `pattern` says so, `done` with the last word or in a later cycle."""

    def __init__(self, dut: Any, name: str, rng: random.Random, pattern: Cycles | None = None) -> None:
        self._signals = {"header": "o", "valid": "valid_o", "data": "data_o", "next": "next_i", "done": "done_i"}
        self._random = rng
        self._pattern = pattern or PATTERNS["always"](rng)
        self.writes: list[tuple[int, Write]] = []
        """(cycle of `done`, write)."""
        super().__init__(dut, name, dut.clk_i, callback=self.writes.append)
        self.bus.next.value = 0
        self.bus.done.value = 0

    async def _monitor_recv(self) -> None:
        header: int | None = None
        words: list[int] = []
        ready = levels(self._pattern)
        while True:
            await FallingEdge(self.clock)
            go = header is not None and next(ready)
            count = -(-HEADER.unpack(header)["dws"] // 2) if header is not None else 0
            took = go and len(words) < count
            done = go and len(words) + took == count and (not took or self._random.random() < 0.5)
            self.bus.next.value, self.bus.done.value = int(took), int(done)
            await ReadOnly()
            if not int(self.bus.valid.value):
                assert header is None, f"{self.name}: an offered write was withdrawn in cycle {cycle()}"
                continue
            now = int(self.bus.header.value)
            assert header in (None, now), f"{self.name}: an offered write changed in cycle {cycle()}"
            header = now
            if took:
                words.append(int(self.bus.data.value))
            if done:
                self._recv((cycle(), _write(header, words)))
                header, words = None, []


def _write(header: int, words: list[int]) -> Write:
    fields = HEADER.unpack(header)
    data = b"".join(word.to_bytes(8, "little") for word in words)[: 4 * fields["dws"]]
    return Write(fields["rid"], fields["tag"], fields["addr"], data, fields["first_be"], fields["last_be"])
