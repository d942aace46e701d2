"""The bench around sums and editor: frames whose bytes come in any order, and a frame buffer that stores, reads and edits.

`Buffer` makes one cycle of what the NIC's frame buffer does; the benches of this block and of the TSO executor have one.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from tb.packets import Bulk, Sample
from tb.unit.packed import Packed
from tb.unit.streams import PATTERNS, StreamSink, StreamSource, Word, cycle, settle, start

WORD: Final = Packed("addr:16 data:64 be:8")
SEGMENT: Final = Packed("header:14 start:8 number:16 bytes:32 first:1 last:1")
SLOTS: Final = 32
SLOT_BYTES: Final = 1 << 14
SLOT_WORDS: Final = SLOT_BYTES // 8
GUARD: Final = 16
"""Bytes behind a frame that no edit may reach."""
AHEAD: Final = 2
"""Words that the source has to itself, so that it can offer one in each cycle."""
BUFFER_INPUTS: Final = ("word_i", "word_valid_i", "complete_i", "edit_read_data_i", "edit_ready_i")
INPUTS: Final = (*BUFFER_INPUTS, "sum_i", "sum_slot_i", "sum_tso_i", "sum_start_i", "sum_field_i", "close_i", "close_bad_i",
                 "close_slot_i", "close_len_i", "close_segment_i")


def words(rng: random.Random, slot: int, at: int, data: bytes) -> list[int]:
    """The writes of `data` to byte `at` of a slot: aligned words with byte enables, anything in the other lanes."""
    found = []
    end = at + len(data)
    for base in range(at & ~7, end, 8):
        low, high = max(at, base), min(end, base + 8)
        lanes = rng.randbytes(low - base) + data[low - at : high - at] + rng.randbytes(base + 8 - high)
        found.append(WORD.pack(addr=slot * SLOT_WORDS + base // 8, data=int.from_bytes(lanes, "little"),
                               be=((1 << high - low) - 1) << low - base))
    return found


@dataclass
class Frame:
    """What a slot holds."""

    expected: bytes | None
    """As it must leave; None: it cannot be edited."""
    words: list[int] = field(default_factory=list)
    """Writes that have not been given to the source."""
    missing: int = 0
    """Writes that have not been made."""
    reads: int = 0
    """Reads that have not been answered."""
    length: int | None = None
    """Once it is closed."""
    bad: bool = False
    """Closed with an error."""
    opened: int = 0
    """Cycle in which its slot was taken."""
    closed: int = 0
    """Cycle in which it was closed."""
    complete: int | None = None
    """Cycle from which on it is offered."""
    failed: bool = False


class Buffer:
    """Frames by slot. `offer` belongs to the falling edge, `watch` behind it, when all has settled."""

    def __init__(self, dut: Any, rng: random.Random, idle: str, pressure: str) -> None:
        self.dut = dut
        self.random = rng
        self.frames: dict[int, Frame] = {}
        self.left: list[tuple[int, bytes, int]] = []
        """(slot, frame, cycles since it was complete) of each that may leave."""
        self.failed = 0
        self._memory = [bytearray(SLOT_BYTES) for _ in range(SLOTS)]
        self._guards: dict[int, bytes] = {}
        self._source = StreamSource(dut, "word", PATTERNS[idle](rng), ready=False)
        self._given = 0
        self._written = 0
        self._read = 0
        StreamSink(dut, "edit", PATTERNS[pressure](rng), callback=self._edit)

    def free(self) -> list[int]:
        return [slot for slot in range(SLOTS) if slot not in self.frames]

    def open(self, slot: int, expected: bytes | None) -> Frame:
        """The slot is taken in this cycle, for a frame with an offload."""
        self.frames[slot] = Frame(expected, opened=cycle())
        self._memory[slot][:] = bytes(SLOT_BYTES)
        return self.frames[slot]

    def fill(self, slot: int, at: int, data: bytes) -> None:
        """Bytes that have arrived; when they are written is up to the source."""
        frame = self.frames[slot]
        self._memory[slot][at : at + len(data)] = data
        new = words(self.random, slot, at, data)
        frame.words += new
        frame.missing += len(new)

    def close(self, slot: int, length: int, *, bad: bool = False) -> None:
        """The slot is closed in this cycle."""
        frame = self.frames[slot]
        frame.length, frame.bad, frame.closed = length, bad, cycle()
        self._memory[slot][length : length + GUARD] = self._guards[slot] = self.random.randbytes(GUARD)

    def offer(self) -> None:
        """Drive a cycle: words of any frame, which frames are complete, the word that was read."""
        dut = self.dut
        waiting = [frame for frame in self.frames.values() if frame.words]
        while waiting and self._given - self._written < AHEAD:
            frame = self.random.choice(waiting)
            self._source.queue([frame.words.pop(self.random.randrange(len(frame.words)))])
            self._given += 1
            waiting = [frame for frame in waiting if frame.words]
        now = cycle()
        bits = 0
        for slot, frame in self.frames.items():
            if frame.complete is not None and frame.complete <= now:
                bits |= 1 << slot
        dut.complete_i.value = bits
        dut.edit_read_data_i.value = self._read

    def watch(self) -> None:
        """Look at a cycle: what is written, held, refused."""
        dut = self.dut
        now = cycle()
        slot, at = divmod(int(dut.edit_read_addr_o.value), SLOT_WORDS)
        self._read = int.from_bytes(self._memory[slot][8 * at : 8 * at + 8], "little")
        hold = int(dut.hold_o.value)
        if int(dut.edit_fail_o.value):
            self._fail(int(dut.edit_fail_slot_o.value), now)
        gone = []
        for slot, frame in self.frames.items():
            held = hold >> slot & 1
            if frame.bad:
                assert not held or now == frame.closed, f"cycle {now}: slot {slot} has failed and is held"
                if not frame.missing and not frame.reads:
                    gone.append(slot)
            elif frame.complete is not None and frame.complete <= now and not held:
                self._leave(slot, frame, now)
                gone.append(slot)
            else:
                assert held or frame.opened == now, f"cycle {now}: slot {slot} is not held, and its frame is not edited"
        assert not hold & ~sum(1 << slot for slot in self.frames), f"cycle {now}: {hold:#x} are held, in use {sorted(self.frames)}"
        for slot in gone:
            del self.frames[slot]
        if int(dut.word_valid_i.value):
            self.frames[WORD.unpack(int(dut.word_i.value))["addr"] // SLOT_WORDS].missing -= 1
            self._written += 1
        for frame in self.frames.values():
            if frame.length is not None and not frame.bad and not frame.missing and not frame.reads and frame.complete is None:
                frame.complete = now + 1

    def _fail(self, slot: int, now: int) -> None:
        frame = self.frames[slot]
        assert frame.expected is None, f"cycle {now}: slot {slot} is refused, and can be edited"
        assert frame.complete is not None and frame.complete < now and not frame.failed
        frame.failed = True
        self.failed += 1

    def _leave(self, slot: int, frame: Frame, now: int) -> None:
        """No longer held: it is as it must be, in each byte."""
        assert frame.length is not None and frame.complete is not None
        found = bytes(self._memory[slot][: frame.length])
        if frame.expected is None:
            assert frame.failed, f"cycle {now}: slot {slot} is through, and cannot have been edited"
        else:
            assert not frame.failed
            differ = [n for n, (a, b) in enumerate(zip(found, frame.expected, strict=True)) if a != b]
            assert not differ, (f"cycle {now}: slot {slot}, {frame.length} bytes: bytes {differ} are {bytes(found[n] for n in differ).hex()}, "
                                f"not {bytes(frame.expected[n] for n in differ).hex()}")
        assert self._memory[slot][frame.length : frame.length + GUARD] == self._guards[slot], f"cycle {now}: slot {slot}: an edit behind the end"
        self.left.append((slot, found, now - frame.complete))

    def _edit(self, edit: Word) -> None:
        fields = WORD.unpack(edit.data)
        slot, at = divmod(fields["addr"], SLOT_WORDS)
        frame = self.frames.get(slot)
        assert frame is not None and frame.complete is not None and frame.complete < cycle(), f"cycle {cycle()}: an edit of slot {slot}"
        assert frame.expected is not None, f"cycle {cycle()}: slot {slot} cannot be edited, and is"
        for lane in range(8):
            if fields["be"] >> lane & 1:
                self._memory[slot][8 * at + lane] = fields["data"] >> 8 * lane & 0xFF


@dataclass(frozen=True)
class Job:
    """A frame as it comes in, and as it must leave."""

    data: bytes
    expected: bytes | None
    start: int = 0
    place: int = 0
    """Checksum: where summing starts, where it goes."""
    segment: int | None = None
    """TSO: the record `SEGMENT`."""
    bad: bool = False
    """It is closed with an error."""

    @classmethod
    def checksum(cls, sample: Sample) -> Job:
        return cls(sample.data, sample.expected, sample.start, sample.field)

    @classmethod
    def tso(cls, job: Bulk, n: int) -> Job:
        """Segment `n`: the chain's header and the segment's payload."""
        at = n * job.mss
        record = SEGMENT.pack(header=len(job.header), start=job.cksum_offset, number=n, bytes=at, first=n == 0,
                              last=n == job.count - 1)
        return cls(job.header + job.payload[at : at + job.mss], job.segment(n), segment=record)


@dataclass
class TB:
    dut: Any
    random: random.Random
    idle: str = "always"
    pressure: str = "always"
    most: int = 6
    """Frames at once."""
    jobs: deque[Job] = field(default_factory=deque)

    async def start(self) -> None:
        await start(self.dut, INPUTS)
        self.buffer = Buffer(self.dut, self.random, self.idle, self.pressure)
        self._open: dict[int, Job] = {}
        self._closing: dict[int, int] = {}
        cocotb.start_soon(self._run())

    async def finish(self) -> None:
        await settle(self.dut, lambda: not self.jobs and not self.buffer.frames and not self._open, "every frame is through", 60_000)

    async def _run(self) -> None:
        dut, rng, buffer = self.dut, self.random, self.buffer
        while True:
            await FallingEdge(dut.clk_i)
            dut.sum_i.value = dut.close_i.value = 0
            self._close()
            if self.jobs and len(buffer.frames) < self.most and rng.random() < 0.5:
                slot = rng.choice(buffer.free())
                job = self._open[slot] = self.jobs.popleft()
                buffer.open(slot, job.expected)
                dut.sum_i.value, dut.sum_slot_i.value, dut.sum_tso_i.value = 1, slot, int(job.segment is not None)
                dut.sum_start_i.value, dut.sum_field_i.value = job.start, job.place
                self._closing[slot] = cycle() + rng.randint(1, 2 + len(job.data) // 4)
            buffer.offer()
            await ReadOnly()
            buffer.watch()
            for slot in self._open:
                frame = buffer.frames[slot]
                if frame.opened == cycle():
                    self._fill(slot, self._open[slot].data)

    def _fill(self, slot: int, data: bytes) -> None:
        """In pieces of any alignment."""
        at = 0
        while at < len(data):
            piece = data[at : at + self.random.choice((1, 3, 14, 64, len(data)))]
            self.buffer.fill(slot, at, piece)
            at += len(piece)

    def _close(self) -> None:
        dut = self.dut
        due = [slot for slot, at in self._closing.items() if at <= cycle()]
        if not due:
            return
        slot = self.random.choice(due)
        job = self._open.pop(slot)
        del self._closing[slot]
        self.buffer.close(slot, len(job.data), bad=job.bad)
        dut.close_i.value, dut.close_bad_i.value, dut.close_slot_i.value = 1, int(job.bad), slot
        dut.close_len_i.value, dut.close_segment_i.value = len(job.data), job.segment or 0
