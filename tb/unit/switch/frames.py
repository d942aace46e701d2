"""Drives the frame buffer as the NIC does, cycle by cycle, and checks what leaves against the rules of the switch.

One writer takes slots and closes chains; pieces arrive in any order; a MAC, a receive side and a completion writer of
any speed empty it. What each must see is known from the chains alone.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from cocotb.triggers import FallingEdge, ReadOnly, Timer
from cocotb.utils import get_sim_time

from sw.abi.registers import Status
from tb.unit.switch.bench import PERIOD_NS, Bench, ports_of
from tb.unit.switch.oracle import Frame, Verdict

SLOT_WORDS = 2048
SLOTS = 32
LIMIT = 60_000
NOWHERE = Verdict(frozenset(), False)


@dataclass
class Sent:
    """One frame: its bytes, how it comes in, and how it goes wrong."""

    endpoint: int
    data: bytes
    header: Frame | None = None
    """What the switch sees; None when the frame is too short for one (use ports that take no part)."""
    inline: bool = False
    pieces: int = 1
    close_status: Status = Status.OK
    read_status: Status = Status.OK
    """Of its last piece."""
    silent: bool = False
    edit: bytes | None = None
    """The frame is held when complete; these bytes replace its first ones before it leaves."""
    expected: Status = Status.OK
    verdict: Verdict = NOWHERE
    slot: int = -1
    head: int = 0
    next: int = 0
    stamp: int | None = None
    copies_done: bool = False

    @property
    def final(self) -> bytes:
        """The bytes that leave."""
        return self.data if self.edit is None else self.edit + self.data[len(self.edit):]


@dataclass
class Pace:
    """How long everybody takes, in cycles; each is asked anew each time."""

    read: Callable[[], int] = lambda: 0
    mac: Callable[[], int] = lambda: 12
    receive: Callable[[], int] = lambda: 5
    job_ready: Callable[[], bool] = lambda: True
    full: Callable[[], int] = lambda: 0
    """Bitmap of endpoints whose completions wait."""


@dataclass
class _Server:
    """A reader of the buffer's memory: the frame it has, and the words it has seen."""

    frame: Sent
    left: int
    word: int = 0
    seen: bytes = b""


@dataclass
class _Writes:
    """A slot's words on their way in, and the reads they belong to."""

    frame: Sent
    words: deque[tuple[int, int, int]]
    """Word, data, byte enables."""
    wait: int
    ends: deque[Status] = field(default_factory=deque)


class Frames(Bench):
    """The bench with everything around the frame buffer."""

    def __init__(self, dut: Any, seed: int) -> None:
        super().__init__(dut, seed)
        self.pace = Pace()
        self.queue: deque[Sent] = deque()
        self.ended: dict[int, list[Sent]] = defaultdict(list)
        """Chains' last frames that have ended, by endpoint."""
        self.wired: dict[int, list[Sent]] = defaultdict(list)
        self.local: dict[int, list[Sent]] = defaultdict(list)
        self._due: dict[int, deque[Sent]] = defaultdict(deque)  # frames that must end, by endpoint
        self._to_wire: dict[int, deque[Sent]] = defaultdict(deque)
        self._to_job: dict[int, deque[Sent]] = defaultdict(deque)
        self._slots: dict[int, Sent] = {}
        self._reading: list[_Writes] = []
        self._held: set[int] = set()
        self._jobs: list[_Server] = []
        self._mac: _Server | None = None
        self._edits: deque[tuple[int, int, int]] = deque()
        self._editing: int | None = None
        self._forged: dict[int, int] = defaultdict(int)
        self._stopped = 0
        self._exec: Iterator[dict[str, int]] | None = None
        self._broken: dict[int, Status] = {}
        self._heads: dict[int, int] = defaultdict(int)
        self._number = 7
        self.cycle = 0

    # ------------------------------------------------------------------ what must happen
    def send(self, *frames: Sent) -> None:
        """A chain: all frames but the last are silent."""
        head = self._heads[frames[0].endpoint]
        self._heads[frames[0].endpoint] = (head + len(frames)) & 0xFFFF
        for number, frame in enumerate(frames):
            frame.silent = number < len(frames) - 1
            frame.head, frame.next = head, (head + number + 1) & 0xFFFF
            endpoint = frame.endpoint
            verdict = NOWHERE
            status = self._broken.get(endpoint, Status.OK)
            own = frame.close_status if frame.close_status != Status.OK else frame.read_status
            if status == Status.OK:
                status = own
            if status == Status.OK:
                verdict = Verdict(frozenset(), True)
                if frame.header is not None:
                    verdict = self.rules.sent(endpoint, frame.header, self.policy)
                if verdict.spoofed:
                    status = Status.SPOOFED
                    self._forged[endpoint] += 1
            frame.expected, frame.verdict = status, verdict
            if frame.silent and status != Status.OK:
                self._broken[endpoint] = status
            if not frame.silent:
                self._broken.pop(endpoint, None)
            self._due[endpoint].append(frame)
            if verdict.to_wire:
                self._to_wire[endpoint].append(frame)
            if verdict.siblings:
                self._to_job[endpoint].append(frame)
            self.queue.append(frame)

    async def drain(self) -> None:
        """Everything that was sent ends as it must, within `LIMIT` cycles."""
        for _ in range(LIMIT):
            if not self.queue and not any(self._due.values()):
                break
            await self.step()
        assert not self.queue, f"waited {LIMIT} cycles for slots of {len(self.queue)} frames"
        assert not any(self._due.values()), f"waited {LIMIT} cycles for {[d[0] for d in self._due.values() if d]}"
        assert not any(self._to_wire.values()) and not any(self._to_job.values())
        assert self._stopped == sum(self._forged.values()), "each forged frame is counted once"
        for endpoint, count in self._forged.items():
            assert await self.spoofed(endpoint) == count, f"forged frames of endpoint {endpoint}"

    # ------------------------------------------------------------------ one cycle
    async def step(self) -> None:
        """Drive, look, and take note of one cycle; ends at the falling edge."""
        dut = self.dut
        self.cycle = int(get_sim_time("ns")) // PERIOD_NS
        values = dict.fromkeys(("alloc_i", "piece_i", "done_i", "close_i", "word_i", "inline_valid_i", "edit_valid_i",
                                "tx_done_i", "job_done_i"), 0)
        values |= {"direct_i": 0, "cycle_i": self.cycle, "number_i": self._number, "end_full_i": self.pace.full(),
                   "job_ready_i": int(self.pace.job_ready())}
        values |= self._drive_reads()
        values |= self._drive_exec()
        values |= self._drive_edit(bool(values["word_i"]), bool(values["inline_valid_i"]))
        values |= self._drive_mac()
        values |= self._drive_jobs()
        values["hold_i"] = sum(1 << slot for slot in self._held)
        for name, value in values.items():
            getattr(dut, name).value = value
        await Timer(1, "ns")
        await ReadOnly()
        self._look(values)
        await FallingEdge(dut.clk_i)
        self._collect()

    def _drive_exec(self) -> dict[str, int]:
        if self._exec is None and self.queue and bool(self.dut.free_o.value):
            self._exec = self._assemble(self.queue.popleft())
        if self._exec is None:
            return {}
        values = next(self._exec, None)
        if values is None:
            self._exec = None
            return {}
        return values

    def _assemble(self, frame: Sent) -> Iterator[dict[str, int]]:
        """The executor's cycles for one frame: slot, pieces, close; inline words are its own."""
        slot = frame.slot = int(self.dut.free_slot_o.value)
        assert slot not in self._slots, f"slot {slot} is given out twice"
        self._slots[slot] = frame
        close = {"close_i": 1, "close_slot_i": slot, "close_head_i": frame.head, "close_next_i": frame.next,
                 "close_len_i": len(frame.data), "close_status_i": int(frame.close_status),
                 "close_silent_i": int(frame.silent)}
        values = {"alloc_i": 1, "alloc_ep_i": frame.endpoint}
        if frame.edit is not None:
            self._held.add(slot)
        if frame.inline:
            yield values
            data = frame.data + self.random.randbytes(-len(frame.data) % 8)
            for word in range(len(data) // 8):
                last = close if word == len(data) // 8 - 1 else {}
                ready = False
                while not ready:
                    ready = bool(self.dut.inline_ready_o.value) and not self._word_now
                    yield {"inline_valid_i": 1, "inline_addr_i": slot * SLOT_WORDS + word,
                           "inline_data_i": int.from_bytes(data[8 * word:8 * word + 8], "little"),
                           **(last if ready else {})}
            return
        if not frame.pieces:
            yield {**values, **close}
            return
        words: list[tuple[int, int, int]] = []
        cuts = sorted(self.random.sample(range(1, len(frame.data)), frame.pieces - 1)) if frame.pieces > 1 else []
        bounds = [0, *cuts, len(frame.data)]
        for start, end in pairwise(bounds):
            for word in range(start // 8, -(-end // 8)):
                covered = range(max(start, 8 * word), min(end, 8 * word + 8))
                lane = bytes(frame.data[k] if k in covered else self.random.randrange(256)
                             for k in range(8 * word, 8 * word + 8))
                enables = sum(1 << k - 8 * word for k in covered)
                words.append((slot * SLOT_WORDS + word, int.from_bytes(lane, "little"), enables))
        self.random.shuffle(words)
        ends = deque([Status.OK] * (frame.pieces - 1) + [frame.read_status])
        for number in range(frame.pieces):
            values |= {"piece_i": 1, "piece_slot_i": slot}
            if number == 0:
                self._reading.append(_Writes(frame, deque(words), self.pace.read() + frame.pieces, ends))
            if number == frame.pieces - 1:
                values |= close
            yield values
            values = {}

    def _drive_reads(self) -> dict[str, int]:
        """One word, one end of a read in a cycle, of any slot."""
        values: dict[str, int] = {}
        self._word_now = False
        for job in self._reading:
            job.wait -= 1
        ready = [job for job in self._reading if job.wait < 0]
        if not ready:
            return values
        job = self.random.choice(ready)
        if job.words:
            address, data, enables = job.words.popleft()
            values |= {"word_i": 1, "word_addr_i": address, "word_data_i": data, "word_be_i": enables}
            self._word_now = True
        if len(job.ends) > 1 and self.random.random() < 0.3 or not job.words:
            values |= {"done_i": 1, "done_slot_i": job.frame.slot, "done_status_i": int(job.ends.popleft())}
            if not job.ends:
                self._reading.remove(job)
        return values

    def _drive_edit(self, word: bool, inline: bool) -> dict[str, int]:
        """The offload side: edits a complete slot in any order of words; the hold falls in the cycle after."""
        if self._editing is not None and not self._edits:
            self._held.discard(self._editing)
            self._editing = None
        if self._editing is None:
            complete = int(self.dut.complete_o.value)
            slot = next((s for s in sorted(self._held) if complete >> s & 1 and s in self._slots), None)
            if slot is None:
                return {}
            self._editing = slot
            new = self._slots[slot].edit or b""
            for at in range(0, len(new), 8):
                part = new[at:at + 8]
                self._edits.append((slot * SLOT_WORDS + at // 8, int.from_bytes(part, "little"), (1 << len(part)) - 1))
            self.random.shuffle(self._edits)
        address, data, enables = self._edits[0]
        if not word and not inline:
            self._edits.popleft()
        return {"edit_valid_i": 1, "edit_addr_i": address, "edit_data_i": data, "edit_be_i": enables}

    def _drive_mac(self) -> dict[str, int]:
        dut = self.dut
        if self._mac is None and bool(dut.tx_valid_o.value):
            frame = self._slots[int(dut.tx_slot_o.value)]
            expected = self._to_wire[frame.endpoint]
            assert expected and expected[0] is frame, f"{frame} is not the next of its endpoint for the wire"
            assert int(dut.tx_len_o.value) == len(frame.data) and int(dut.tx_head_o.value) == frame.head
            assert int(dut.tx_ep_o.value) == frame.endpoint
            expected.popleft()
            self._mac = _Server(frame, self.pace.mac())
        if (mac := self._mac) is None:
            return {}
        mac.left -= 1
        if 8 * mac.word < len(mac.frame.data):
            mac.word += 1
            return {"read_addr_i": mac.frame.slot * SLOT_WORDS + mac.word - 1}
        if mac.left > 0 or len(mac.seen) < len(mac.frame.data):
            return {}
        assert mac.seen[:len(mac.frame.data)] == mac.frame.final, f"the wire's copy of {mac.frame} is {mac.seen.hex()}"
        mac.frame.stamp = self.cycle
        self.wired[mac.frame.endpoint].append(mac.frame)
        self._mac = None
        return {"tx_done_i": 1, "tx_stamp_i": self.cycle}

    def _drive_jobs(self) -> dict[str, int]:
        """The receive side reads one frame at a time, and is through with them in any order."""
        for job in self._jobs:
            job.left -= 1
        reading = next((job for job in self._jobs if 8 * job.word < len(job.frame.data)), None)
        values: dict[str, int] = {}
        if reading is not None:
            values |= {"job_read_addr_i": reading.frame.slot * SLOT_WORDS + reading.word}
            reading.word += 1
        done = [job for job in self._jobs if job.left <= 0 and len(job.seen) >= len(job.frame.data)]
        if done:
            job = self.random.choice(done)
            self._jobs.remove(job)
            assert job.seen[:len(job.frame.data)] == job.frame.final, f"the siblings' copy of {job.frame} differs"
            job.frame.copies_done = True
            if not job.frame.verdict.to_wire:
                job.frame.stamp = self.cycle
            self.local[job.frame.endpoint].append(job.frame)
            values |= {"job_done_i": 1, "job_done_slot_i": job.frame.slot}
        self._reader = reading
        return values

    def _look(self, values: dict[str, int]) -> None:
        """Outputs of this cycle, before the rising edge."""
        dut = self.dut
        if bool(dut.job_valid_o.value):
            frame = self._slots[int(dut.job_slot_o.value)]
            expected = self._to_job[frame.endpoint]
            assert expected and expected[0] is frame, f"{frame} is not the next of its endpoint for the siblings"
            assert frozenset(ports_of(int(dut.job_dest_o.value))) == frame.verdict.siblings, frame
            assert int(dut.job_len_o.value) == len(frame.data)
            assert int(dut.job_number_o.value) == self._number
        self._stopped += int(dut.spoofed_o.value)
        taken = bool(dut.job_valid_o.value) and bool(values["job_ready_i"])
        assert bool(dut.number_take_o.value) == taken == bool(dut.lane_valid_o.value)
        if taken:
            assert (int(dut.lane_ep_o.value), int(dut.lane_index_o.value)) == (frame.endpoint, frame.head)
            assert int(dut.lane_info_o.value) == self._number
            self._number = (self._number + 1) & 0xFFFF
            expected.popleft()
            self._jobs.append(_Server(frame, self.pace.receive()))
        if bool(dut.silent_o.value):
            self._end(self._due[int(dut.silent_ep_o.value)], silent=True)
        elif bool(dut.end_valid_o.value):
            endpoint = int(dut.end_ep_o.value)
            if not values["end_full_i"] >> endpoint & 1:
                self._end(self._due[endpoint], silent=False)

    def _end(self, due: deque[Sent], *, silent: bool) -> None:
        dut = self.dut
        assert due, "a frame ends that was not sent"
        frame = due.popleft()
        assert frame.slot >= 0 and self._slots.pop(frame.slot) is frame, f"{frame} ends before it began"
        assert frame.silent == silent, f"{frame}: silent {silent}"
        assert not frame.verdict.to_wire or frame.stamp is not None, f"{frame} ends before it was sent"
        assert not frame.verdict.siblings or frame.copies_done, f"{frame} ends before its copies were delivered"
        if silent:
            return
        seen = Status(int(dut.end_status_o.value))
        assert seen == frame.expected, f"{frame} ends with {seen.name}"
        assert int(dut.end_next_o.value) == frame.next and int(dut.end_head_o.value) == frame.head, frame
        assert int(dut.end_len_o.value) == (len(frame.data) if frame.expected == Status.OK else 0), frame
        stamp = int(dut.end_stamp_o.value)
        if frame.stamp is not None:
            assert stamp == frame.stamp, f"{frame}: stamp {stamp}"
        assert stamp <= self.cycle
        self.ended[frame.endpoint].append(frame)

    def _collect(self) -> None:
        """Words that the memory brought for the addresses of the cycle before."""
        if self._mac is not None and len(self._mac.seen) < 8 * self._mac.word:
            self._mac.seen += int(self.dut.read_data_o.value).to_bytes(8, "little")
        if self._reader is not None:
            self._reader.seen += int(self.dut.job_read_data_o.value).to_bytes(8, "little")
