"""The bench around the dispatch of received frames, and around the counters of the receive side.

One coroutine looks at each cycle when it has settled, and compares every output with a queue that is a Python list.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from sw.abi.registers import NicControl, RxDrop
from tb.unit.packed import Packed
from tb.unit.streams import PATTERNS, StreamSink, StreamSource, cycle, settle, start

FRAME: Final = Packed("base:13 len:14 number:16 dst:48 src:48 has_tag:1 vid:12 ethertype:16")
JOB: Final = Packed("sibling:1 slot:5 base:13 len:14 number:16 dest:64")
DEPTH: Final = 8
"""Frames between switch and release."""
INPUTS: Final = ("frame_i", "frame_valid_i", "dest_i", "group_i", "job_ready_i", "job_done_i")


@dataclass
class TB:
    """Frames in order; the switch is a list of answers."""

    dut: Any
    random: random.Random
    idle: str = "always"
    pressure: str = "always"
    work: float = 0.3
    """Probability that the oldest job is done in a cycle."""

    async def start(self) -> None:
        await start(self.dut, INPUTS)
        self.frames = StreamSource(self.dut, "frame", PATTERNS[self.idle](self.random))
        self.jobs = StreamSink(self.dut, "job", PATTERNS[self.pressure](self.random))
        self.released = 0
        self.filtered: list[tuple[int, int]] = []
        """(number, for a group)."""
        self._answers: deque[tuple[int, int]] = deque()
        self._asked: tuple[dict[str, int], int, int] | None = None
        self._inside: deque[bool] = deque()
        """Frames behind the switch that are not released: whether each is a job."""
        self._done = 0
        self._working = 0
        self._next: tuple[int, int] | None = None
        cocotb.start_soon(self._run())

    def add(self, frame: dict[str, int], dest: int, *, group: bool) -> None:
        """A frame, and what the switch will say of it."""
        self._answers.append((dest, int(group)))
        self.frames.queue([FRAME.pack(**frame)])

    async def finish(self) -> None:
        await settle(self.dut, lambda: self.frames.idle and self._asked is None and not self._inside, "every frame is released")

    async def _run(self) -> None:
        dut, rng = self.dut, self.random
        while True:
            await FallingEdge(dut.clk_i)
            if self._next is not None:
                # the answer stands until the next look-up
                dut.dest_i.value, dut.group_i.value = self._next
                self._next = None
            done = self._working and rng.random() < self.work
            dut.job_done_i.value = int(done)
            self._working -= bool(done)
            await ReadOnly()
            self._watch(done=bool(done))

    def _watch(self, *, done: bool) -> None:
        dut, now = self.dut, cycle()
        names = ("frame_valid_i", "frame_ready_o", "lookup_o", "job_valid_o", "job_ready_i", "filtered_o", "release_o")
        value = {name: int(getattr(dut, name).value) for name in names}
        room = len(self._inside) < DEPTH
        asked = self._asked
        job = asked is not None and asked[1] != 0 and room
        filtered = asked is not None and asked[1] == 0 and room
        leaves = filtered or (job and value["job_ready_i"])
        ready = asked is None or leaves
        release = bool(self._inside) and (not self._inside[0] or self._done > 0)
        expected = {"frame_ready_o": ready, "lookup_o": ready and value["frame_valid_i"], "job_valid_o": job, "filtered_o": filtered,
                    "release_o": release}
        found = {name: value[name] for name in expected}
        assert found == expected, f"cycle {now}: {found}, not {expected}; {len(self._inside)} frames inside, {self._done} jobs done"
        if job:
            self._check_job(int(dut.job_o.value))
        if filtered and asked is not None:
            told = int(dut.filtered_number_o.value), int(dut.filtered_group_o.value)
            assert told == (asked[0]["number"], asked[2]), f"cycle {now}: filters {told}"
            self.filtered.append(told)
        if release:
            self._done -= self._inside.popleft()
            self.released += 1
        self._done += done
        if leaves:
            self._inside.append(bool(job))
            self._working += bool(job)
            self._asked = None
        if value["frame_valid_i"] and ready:
            self._next = self._answers.popleft()
            self._asked = FRAME.unpack(int(dut.frame_i.value)), *self._next
        if int(dut.rst_i.value):
            self._asked, self._done, self._working = None, 0, 0
            self._inside.clear()

    def _check_job(self, word: int) -> None:
        assert self._asked is not None
        frame, dest, _ = self._asked
        expected = {"sibling": 0, "slot": 0, "base": frame["base"], "len": frame["len"], "number": frame["number"], "dest": dest}
        assert JOB.unpack(word) == expected, f"cycle {cycle()}: {JOB.unpack(word)}, not {expected}"


PLACES: Final = {
    "frames": NicControl.STATISTICS_FRAMES, "bytes": NicControl.STATISTICS_BYTES, RxDrop.NO_SMALL: NicControl.STATISTICS_NO_SMALL,
    RxDrop.NO_BIG: NicControl.STATISTICS_NO_BIG, RxDrop.TOO_LONG: NicControl.STATISTICS_TOO_LONG,
    RxDrop.REFUSED: NicControl.STATISTICS_REFUSED,
}
"""Register of each counter of endpoint 0."""
STATISTICS_INPUTS: Final = ("req_i", "write_i", "addr_i", "ep_i", "grant_i", "len_i", "drop_i", "reason_i")


@dataclass
class Statistics:
    """Counters by address; what is read in a cycle is what was counted before it."""

    dut: Any
    random: random.Random
    counts: dict[int, int] = field(default_factory=dict)
    answers: int = 0

    async def start(self) -> None:
        await start(self.dut, STATISTICS_INPUTS)
        self._answer: tuple[bool, int | None] | None = None
        cocotb.start_soon(self._watch())

    def drive(self, endpoint: int, *, length: int | None = None, drop: int | None = None) -> None:
        """This cycle's events."""
        dut = self.dut
        dut.ep_i.value, dut.grant_i.value, dut.drop_i.value = endpoint, int(length is not None), int(drop is not None)
        dut.len_i.value = self.random.getrandbits(14) if length is None else length
        dut.reason_i.value = self.random.choice(list(PLACES.values())) & 0xFF if drop is None else drop

    def ask(self, address: int | None, *, write: bool = False) -> None:
        """This cycle's access."""
        dut = self.dut
        dut.req_i.value, dut.write_i.value = int(address is not None), int(write)
        dut.addr_i.value = self.random.getrandbits(11) & ~3 if address is None else address

    async def _watch(self) -> None:
        dut = self.dut
        while True:
            await ReadOnly()
            self._compare()
            await FallingEdge(dut.clk_i)

    def _compare(self) -> None:
        dut = self.dut
        acks = int(dut.rd_ack_o.value), int(dut.wr_ack_o.value)
        expected = (0, 0) if self._answer is None else (int(not self._answer[0]), int(self._answer[0]))
        assert acks == expected, f"cycle {cycle()}: read and write are answered: {acks}, not {expected}"
        if self._answer is not None and self._answer[1] is not None:
            self.answers += 1
            assert int(dut.data_o.value) == self._answer[1], f"cycle {cycle()}: {int(dut.data_o.value)}, not {self._answer[1]}"
        self._answer = None
        if int(dut.rst_i.value):
            self.counts.clear()
            return
        if int(dut.req_i.value):
            write, address = bool(int(dut.write_i.value)), int(dut.addr_i.value)
            self._answer = write, None if write else self.counts.get(address, 0)
        at = int(dut.ep_i.value) * NicControl.STATISTICS_STRIDE
        if int(dut.grant_i.value):
            self._count(at, "frames", 1)
            self._count(at, "bytes", int(dut.len_i.value))
        if int(dut.drop_i.value) and int(dut.reason_i.value) in PLACES:
            self._count(at, int(dut.reason_i.value), 1)

    def _count(self, at: int, name: str | int, by: int) -> None:
        address = at + PLACES[name] - NicControl.STATISTICS_BASE
        self.counts[address] = (self.counts.get(address, 0) + by) % (1 << 32)
