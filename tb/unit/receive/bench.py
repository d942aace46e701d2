"""The bench around `receive_bench`: jobs in, memory writes out, and an oracle that knows every byte of them in advance.

Inputs change at the falling edge of the clock; what happened at the rising edge before is registered by the top, and
read there. Jobs are placed one after the other, so the oracle follows the hardware's grants and drops: it says which
of them must come, except where a buffer was posted while the job was looked at.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from sw.abi.registers import Mode, NicControl, ReceiveCompletion, RxDrop
from tb.cosim import bound
from tb.model.toeplitz import Toeplitz, flow_of
from tb.unit.receive.memory import Memory
from tb.unit.tlp import LAST, MWR, Tlp, parse

BUS: Final = 1
PAD: Final = 2
WIRE_WORDS: Final = 8192
SLOT_WORDS: Final = 2048
SLOTS: Final = 32
RESET_CYCLE: Final = 0xFFFF_F000
"""The cycle counter's low bits wrap early in each test."""
PATIENCE: Final = 20_000
"""Cycles without an event in which something is still due."""
MASK64: Final = (1 << 64) - 1
MESSAGES: Final = range(0xFEE0_0000, 0xFEF0_0000)
SPACE: Final = 1 << 48
PAYLOAD, RECEIVE, OTHER = 0, 2, 3
"""Kinds of writes: bits 7:6 of the tag."""
(BEAT, GRANT, DROP, WIRE_DONE, SIBLING_DONE, WIRE_TAKEN, SIBLING_TAKEN, POSTED, DATA_OUT, CPL_OUT) = (1 << n for n in range(10))


def content(place: int) -> int:
    """The word that the top puts at this place; the frame buffer starts at 2^32."""
    value = (place + 1) * 0x9E3779B97F4A7C15 & MASK64
    value = (value ^ value >> 29) * 0xBF58476D1CE4E5B9 & MASK64
    return value ^ value >> 32


_INITIAL: Final = {
    name: b"".join(content(start + n).to_bytes(8, "little") for n in range(words))
    for name, start, words in (("rx_mem", 0, WIRE_WORDS), ("frame_mem", 1 << 32, SLOTS * SLOT_WORDS))
}


def checksum(data: bytes) -> int:
    """Ones' complement sum of big-endian words with end-around carry, as RFC 1071 has it in its section 4.1."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(padded[::2]) * 256 + sum(padded[1::2])
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@dataclass
class Setup:
    """What the hypervisor has set up for an endpoint."""

    enable: bool = True
    mode: int = Mode.IOMMU
    rss: bool = False
    queues: int = 1
    small_log2: int = 6
    big_log2: int = 6
    buffer_log2: int = 11
    rq_log2: int = 6
    small_max: int = 128
    max_frame: int = 9018
    bases: tuple[int, int, int, int] = (0x1000_0000, 0x1010_0000, 0x1020_0000, 0x1030_0000)
    key: bytes = bytes(range(40))
    table: tuple[int, ...] = (0,) * 128


@dataclass
class Ring:
    """One receive ring: what software has posted, and how much of it the NIC has used."""

    log2: int
    posted: list[int] = field(default_factory=list)
    used: int = 0
    pending: int = 0
    """Valid ones that software has posted, and whose write has not arrived."""


@dataclass
class Job:
    number: int
    data: bytes
    dest: list[int]
    sibling: bool
    place: int
    """First word in its memory (wire), or slot."""
    posted: dict[tuple[int, bool], int] = field(default_factory=dict)
    """Buffers posted when the job was taken."""
    setups: dict[int, Setup] = field(default_factory=dict)
    """Set-up of its endpoints when it was taken."""


@dataclass
class Copy:
    """One endpoint's copy that has its buffers."""

    endpoint: int
    job: Job
    big: bool
    buffer: int
    pieces: list[tuple[int, bytes]]
    queue: int
    hash: int
    kind: int
    sum: int
    data_left: int | None = None
    """Cycle in which its last payload write left."""


@dataclass
class Chunk:
    """One payload write that must come."""

    address: int
    data: bytes
    rid: int
    copy: Copy
    last: bool


class Bench:
    """One coroutine does everything; `step` is the clock."""

    def __init__(self, dut: Any) -> None:
        bound.start()
        self.dut = dut
        self.ready: Callable[[], bool] = lambda: True
        """The stream takes a beat in this cycle."""
        self.offer: Callable[[], bool] = lambda: True
        """The next job of a source is offered from this cycle on."""
        self.credit: Callable[[], bool] | None = None
        """None: plenty. Else, asked for each class: some credits come in this cycle."""
        self.framing = False
        self.other: Callable[[], bool] = lambda: False
        """Another source offers a write in this cycle."""
        self.hold: Callable[[], bool] = lambda: False
        """Completion writes are kept back in this cycle, so that entries gather: in turn with payload they never do."""
        self.drops_told: Callable[[], bool] = lambda: True
        self.refill: Callable[[], None] = lambda: None
        """Called in each cycle: posts buffers."""
        self._memories = {name: getattr(dut, name) for name in _INITIAL}
        self._mirrors: dict[str, bytearray] = {}
        self._values: dict[str, int] = {}
        self._clear()
        Clock(dut.clk_i, 4, unit="ns").start(start_high=False)

    def _clear(self) -> None:
        self.cycle = RESET_CYCLE
        self.setups: dict[int, Setup] = {}
        self.rings: dict[tuple[int, bool], Ring] = {}
        self.memory, self.wanted = Memory(), Memory()
        self.jobs: dict[bool, deque[Job]] = {False: deque(), True: deque()}
        self.drops: list[tuple[int, int, RxDrop]] = []
        """(endpoint, frame number, reason)."""
        self.copies: list[Copy] = []
        """Everything that was granted, in order."""
        self.batches: list[tuple[int, int, int, int]] = []
        """(endpoint, queue, first index, entries) of each completion write."""
        self.completed: list[tuple[int, Copy]] = []
        """(cycle, copy) of each entry that has left."""
        self.tlps: list[tuple[int, int, int]] = []
        """(cycle, kind, DWs) of each write."""
        self._offered = {False: False, True: False}
        self._taken: dict[bool, deque[Job]] = {False: deque(), True: deque()}
        self._job: Job | None = None
        self._rest: list[int] = []
        self._last_was_wire = False
        self._chunks: deque[Chunk] = deque()
        self._unwritten: deque[Copy] = deque()
        self._incomplete: deque[Copy] = deque()
        self._formed: deque[Copy] = deque()
        self._rq_index: dict[tuple[int, int], int] = {}
        self._lane_index: dict[tuple[int, int], int] = {}
        self._ring_writes: deque[tuple[int, int, int, int, int]] = deque()
        self._beats: list[int] = []
        self._tags = {PAYLOAD: 0, RECEIVE: 0, OTHER: 0}
        self._others_waiting: int | None = None
        self._used_ph = self._used_pd = 0
        self._limit_ph = self._limit_pd = 0
        self._head, self._tail = 0, 0
        self._slots = list(range(SLOTS))
        self._number = 0
        self._quiet = 0
        self._hash: dict[int, Toeplitz] = {}
        self._last_cpl: tuple[int, int, int, int, int] | None = None

    # --- start and set-up ------------------------------------------------------------------------

    def _set(self, name: str, value: int) -> None:
        """Write a pin, if that changes it."""
        if self._values.get(name) != value:
            self._values[name] = value
            getattr(self.dut, f"{name}_i").value = value

    def pin(self, name: str, value: int) -> None:
        """Set `bus_master`, `vf_enable` or `status_ep` from the next cycle on."""
        self._set(name, value)

    async def start(self, setups: dict[int, Setup], *, mps_256: bool = False) -> None:
        """Reset, and set these endpoints up; may be called again."""
        self._clear()
        for name in ("setup", "start", "rss_req", "rss_write", "wire_valid", "sibling_valid", "ring", "other",
                     "framing", "ready", "status_ep", "hold"):
            self._set(name, 0)
        for name, value in (("bus_master", 1), ("vf_enable", 1), ("mps_256", int(mps_256)), ("drop_ready", 1),
                            ("ph", 0), ("pd", 0), ("rst", 1)):
            self._set(name, value)
        self._mps = 256 if mps_256 else 128
        for name, initial in _INITIAL.items():
            self._mirrors[name] = bytearray(initial)
        self._set("rst", 0)
        await FallingEdge(self.dut.clk_i)
        self._set("rst", 1)
        await FallingEdge(self.dut.clk_i)
        await FallingEdge(self.dut.clk_i)
        self._setup_pins(Setup(enable=False))
        self._set("setup", 1)
        for endpoint in range(NicControl.RSS_COUNT):
            self._set("setup_ep", endpoint)
            await FallingEdge(self.dut.clk_i)
        self._set("setup", 0)
        self._set("rst", 0)
        self.cycle = RESET_CYCLE
        for endpoint, setup in setups.items():
            await self.set_up(endpoint, setup)

    def _setup_pins(self, setup: Setup) -> None:
        for name in ("enable", "mode", "rss", "small_log2", "big_log2", "buffer_log2", "rq_log2", "small_max", "max_frame"):
            self._set(name, int(getattr(setup, name)))
        self._set("queues", setup.queues - 1)
        self._set("bases", sum(base << 64 * n for n, base in enumerate(setup.bases)))

    async def set_up(self, endpoint: int, setup: Setup) -> None:
        """Set an endpoint up and enable it anew: its rings are empty."""
        self._setup_pins(setup)
        self._set("setup_ep", endpoint)
        self._set("setup", 1)
        self._set("start_ep", endpoint)
        self._set("start", 1)
        await self.step()
        self._set("setup", 0)
        self._set("start", 0)
        self.setups[endpoint] = setup
        for big in (False, True):
            self.rings[endpoint, big] = Ring(setup.big_log2 if big else setup.small_log2)
        for queue in range(4):
            self._rq_index[endpoint, queue] = self._lane_index[endpoint, queue] = 0
        self._hash[endpoint] = Toeplitz(setup.key)
        words = [int.from_bytes(setup.key[4 * n : 4 * n + 4], "big") for n in range(10)]
        words += [0] * (16 - len(words))
        words += [sum(setup.table[16 * w + n] << 2 * n for n in range(16)) for w in range(8)]
        for word in (*range(10), *range(16, 24)):
            await self._rss(NicControl.RSS_STRIDE * endpoint + 4 * word, words[word])
        for word in (0, 9, 16, 23):
            assert await self._rss(NicControl.RSS_STRIDE * endpoint + 4 * word) == words[word]

    async def rewrite(self, endpoint: int, setup: Setup) -> None:
        """Write an endpoint's registers, without enabling it anew: jobs that are taken go by what was there before."""
        self._setup_pins(setup)
        self._set("setup_ep", endpoint)
        self._set("setup", 1)
        self.setups[endpoint] = setup
        await self.step()
        self._set("setup", 0)

    def seek(self, endpoint: int, index: int) -> None:
        """All rings of an endpoint that was enabled anew and has done nothing yet go on from this index."""
        for big in (False, True):
            ring = self.rings[endpoint, big]
            ring.posted, ring.used = [0] * index, index
            self.dut.u_rx_ring.index_q[endpoint << 1 | big].value = index
        for queue in range(4):
            self._rq_index[endpoint, queue] = self._lane_index[endpoint, queue] = index
            self.dut.u_rx_completion.index_q[endpoint << 2 | queue].value = index

    async def _rss(self, address: int, value: int | None = None) -> int:
        self._set("rss_req", 1)
        self._set("rss_write", int(value is not None))
        self._set("rss_addr", address)
        self._set("rss_data", value or 0)
        await self.step()
        self._set("rss_req", 0)
        assert int(self.dut.rss_ack_o.value), f"no answer at RSS_TABLE + {address:#x}"
        return int(self.dut.rss_data_o.value)

    # --- software and the sources of frames --------------------------------------------------------

    def room(self, endpoint: int, big: bool) -> int:
        """Buffers that can be posted."""
        ring = self.rings[endpoint, big]
        return (1 << ring.log2) - len(ring.posted) + ring.used - ring.pending

    def post(self, endpoint: int, big: bool, address: int, *, pio: bool = True, halves: bool = False) -> None:
        """Post a buffer, by PIO (in two halves) or as a fetch does. A buffer posted by PIO at an odd address is not
        valid, and the next one takes its place."""
        ring = self.rings[endpoint, big]
        assert self.room(endpoint, big), f"endpoint {endpoint}: the ring is full"
        slot = (len(ring.posted) + ring.pending) % (1 << ring.log2)
        valid = not (pio and address & 1)
        ring.pending += valid
        word = int.from_bytes(address.to_bytes(8, "big"), "little")
        place = endpoint << 13 | big << 12 | slot << 3
        for enables in (0x0F, 0xF0) if halves else (0xFF,):
            self._ring_writes.append((place, int(pio), word, enables, endpoint << 1 | big))

    def frame(self, length: int, dest: Sequence[int], *, header: bytes = b"", sibling: bool = False) -> bool:
        """Queue a frame for these endpoints, `header` are its first bytes; False: its memory is full."""
        words = -(-length // 8)
        if sibling:
            if not self._slots:
                return False
            place = self._slots.pop(0)
            first = place * SLOT_WORDS
        else:
            if self._head + words - self._tail > WIRE_WORDS:
                return False
            place = first = self._head % WIRE_WORDS
            self._head += words
        name = "frame_mem" if sibling else "rx_mem"
        header = header[:length]
        for n in range(-(-len(header) // 8)):
            self._patch(name, first + n, header[8 * n : 8 * n + 8])
        job = Job(self._number, self._bytes(name, first, length), sorted(dest), sibling, place)
        self._number = self._number + 1 & 0xFFFF
        self.jobs[sibling].append(job)
        return True

    def _patch(self, name: str, word: int, data: bytes) -> None:
        mirror = self._mirrors[name]
        word %= len(mirror) // 8
        mirror[8 * word : 8 * word + len(data)] = data
        self._memories[name][word].value = int.from_bytes(mirror[8 * word : 8 * word + 8], "little")

    def _bytes(self, name: str, first: int, length: int) -> bytes:
        mirror = self._mirrors[name]
        start = 8 * first
        return (bytes(mirror[start : start + length]) + bytes(mirror[: max(start + length - len(mirror), 0)]))[:length]

    # --- one cycle ---------------------------------------------------------------------------------

    async def step(self) -> None:
        """One cycle."""
        self._drive()
        await FallingEdge(self.dut.clk_i)
        event = int(self.dut.event_o.value)
        if event:
            self._quiet = 0
            self._observe(event)
        else:
            self._quiet += 1
            assert self._quiet < PATIENCE or not self.busy, f"nothing happens, but {self.state()}"
        self.cycle += 1

    async def steps(self, count: int) -> None:
        for _ in range(count):
            await self.step()

    @property
    def busy(self) -> bool:
        """Something is still due."""
        return bool(self.jobs[False] or self.jobs[True] or self._taken[False] or self._taken[True] or self._incomplete
                    or self._ring_writes)

    def state(self) -> str:
        return (f"{len(self.jobs[False])} + {len(self.jobs[True])} jobs wait, {len(self._taken[False])} + "
                f"{len(self._taken[True])} are under way, {len(self._chunks)} writes and {len(self._incomplete)} "
                f"completions are due")

    async def drain(self) -> None:
        """Until nothing is due, then look at everything that is left."""
        self.other = lambda: False
        while self.busy or self._others_waiting is not None:
            await self.step()
        await self.steps(40)
        assert not self._chunks and not self._unwritten and not self._formed and not self._beats
        if place := self.memory.difference(self.wanted):
            raise AssertionError(f"memory differs at {place:#x}")
        for endpoint in self.setups:
            self._set("status_ep", endpoint)
            await self.step()
            index = int(self.dut.status_index_o.value)
            wanted = tuple(self.rings[endpoint, big].used & 0xFFFF for big in (False, True))
            assert (index & 0xFFFF, index >> 16) == wanted, f"endpoint {endpoint}: ring indices {index:#x}, not {wanted}"
            assert not int(self.dut.status_busy_o.value), f"endpoint {endpoint} is still busy"

    def _drive(self) -> None:
        self.refill()
        self._set("ready", int(self.ready()))
        self._set("framing", int(self.framing))
        self._set("hold", int(self.hold()))
        self._set("drop_ready", int(self.drops_told()))
        if self._others_waiting is None and self.other():
            self._others_waiting = 0
        self._set("other", int(self._others_waiting is not None))
        if self._ring_writes:
            place, pio, word, enables, ring = self._ring_writes.popleft()
            self._set("ring", 1)
            for name, value in (("ring_addr", place), ("ring_pio", pio), ("ring_data", word), ("ring_be", enables)):
                self._set(name, value)
            address = int.from_bytes(word.to_bytes(8, "little"), "big")
            if enables & 0x80 and not (pio and address & 1):
                entry = self.rings[ring >> 1, bool(ring & 1)]
                entry.posted.append(address & ~1)
                entry.pending -= 1
        else:
            self._set("ring", 0)
        for sibling, name in ((False, "wire"), (True, "sibling")):
            jobs = self.jobs[sibling]
            if jobs and not self._offered[sibling] and self.offer():
                self._offered[sibling] = True
                job = jobs[0]
                self._set("sibling_slot" if sibling else "wire_base", job.place)
                self._set(f"{name}_len", len(job.data))
                self._set(f"{name}_number", job.number)
                self._set(f"{name}_dest", sum(1 << e for e in job.dest))
            self._set(f"{name}_valid", int(self._offered[sibling]))
        if self.credit is None:
            self._limit_ph, self._limit_pd = self._used_ph + 100, self._used_pd + 1800
        else:
            # never more data than the longest write needs: now headers, now data are what is missing
            if self.credit():
                self._limit_ph = min(self._limit_ph + 1, self._used_ph + 4)
            if self.credit():
                self._limit_pd = min(self._limit_pd + self._mps // 32, self._used_pd + self._mps // 16)
        self._set("ph", self._limit_ph & 0xFF)
        self._set("pd", self._limit_pd & 0xFFF)

    def _observe(self, event: int) -> None:
        dut = self.dut
        if event & (WIRE_TAKEN | SIBLING_TAKEN):
            self._take(bool(event & SIBLING_TAKEN), both=bool(event & WIRE_TAKEN and event & SIBLING_TAKEN))
        if event & (GRANT | DROP):
            self._place(int(dut.place_ep_o.value), RxDrop(int(dut.reason_o.value)) if event & DROP else None)
        if event & BEAT:
            self._beat(int(dut.beat_o.value))
        if event & DATA_OUT:
            self._data_lane(int(dut.data_lane_o.value))
        if event & (POSTED | CPL_OUT):
            self._posted(event, int(dut.posted_o.value), int(dut.cpl_lane_o.value))
        assert self._last_cpl is None, "a completion write left, and was not told"
        if event & WIRE_DONE:
            self._done(False)
        if event & SIBLING_DONE:
            self._done(True)

    # --- jobs ----------------------------------------------------------------------------------------

    def _take(self, sibling: bool, both: bool) -> None:
        assert not both, "two jobs are taken at once"
        assert self._job is None, f"job {self._job and self._job.number} is not placed yet, but the next one is taken"
        assert self._offered[sibling]
        if self._offered[not sibling]:
            assert sibling == self._last_was_wire, f"both sources wait, the {'sibling' if sibling else 'wire'} goes first"
        self._last_was_wire = not sibling
        self._offered[sibling] = False
        job = self.jobs[sibling].popleft()
        self._taken[sibling].append(job)
        self._job, self._rest = job, list(job.dest)
        job.posted = {key: len(ring.posted) for key, ring in self.rings.items() if key[0] in job.dest}
        job.setups = {endpoint: self.setups[endpoint] for endpoint in job.dest if endpoint in self.setups}

    def _place(self, endpoint: int, reason: RxDrop | None) -> None:
        job = self._job
        assert job is not None and self._rest and self._rest[0] == endpoint, f"endpoint {endpoint} is not next: {self._rest}"
        assert int(self.dut.number_o.value) == job.number and int(self.dut.len_o.value) == len(job.data)
        self._rest.pop(0)
        if not self._rest:
            self._job = None
        setup = job.setups.get(endpoint, Setup(enable=False))
        told = f"endpoint {endpoint}, frame {job.number} of {len(job.data)} bytes"
        if reason is not None:
            self.drops.append((endpoint, job.number, reason))
        if not setup.enable:
            assert reason == RxDrop.DISABLED, f"{told}: {reason!r}, but it is disabled"
            return
        if len(job.data) > setup.max_frame:
            assert reason == RxDrop.TOO_LONG, f"{told}: {reason!r}, but it is too long"
            return
        big = len(job.data) > setup.small_max
        ring = self.rings[endpoint, big]
        need = -(-(len(job.data) + PAD) // (1 << setup.buffer_log2)) if big else 1
        missing = RxDrop.NO_BIG if big else RxDrop.NO_SMALL
        if reason == missing:
            assert job.posted[endpoint, big] - ring.used < need, f"{told}: {reason!r}, but buffers are there"
            return
        assert len(ring.posted) - ring.used >= need, f"{told}: {reason!r}, but too few buffers are there"
        addresses = ring.posted[ring.used : ring.used + need]
        pieces = []
        at, room, offset = 0, (1 << setup.buffer_log2) - PAD if big else len(job.data), PAD
        for address in addresses:
            pieces.append((address + offset, job.data[at : at + room]))
            at, room, offset = at + room, 1 << setup.buffer_log2, 0
        allowed = all(self._allowed(setup, address, len(data)) for address, data in pieces)
        buffer = ring.used & 0xFFFF
        ring.used += need
        assert reason == (None if allowed else RxDrop.REFUSED), f"{told} at {[hex(a) for a in addresses]}: {reason!r}"
        if allowed:
            self._grant(job, endpoint, setup, big, buffer, pieces)

    def _allowed(self, setup: Setup, address: int, length: int) -> bool:
        end = address + length
        pins = self._values["bus_master"] and (setup.mode == Mode.NATIVE or self._values["vf_enable"])
        known = setup.mode in (Mode.NATIVE, Mode.IOMMU)
        message = address < MESSAGES.stop and end > MESSAGES.start
        return bool(pins and known and end <= SPACE and not message)

    def _grant(
        self, job: Job, endpoint: int, setup: Setup, big: bool, buffer: int, pieces: list[tuple[int, bytes]]
    ) -> None:
        kind, flow = flow_of(job.data)
        value = self._hash[endpoint].hash(flow) if kind else 0
        queue = setup.table[value & 0x7F] if kind and setup.rss else 0
        queue = queue if queue < setup.queues else 0
        copy = Copy(endpoint, job, big, buffer, pieces, queue, value, kind, checksum(job.data[14:]))
        self.copies.append(copy)
        self._unwritten.append(copy)
        self._incomplete.append(copy)
        rid = self._rid(endpoint, setup)
        for address, data in pieces:
            self.wanted.write(address, data)
            at = 0
            while at < len(data):
                size = min(len(data) - at, self._mps - (address + at) % self._mps)
                self._chunks.append(Chunk(address + at, data[at : at + size], rid, copy, False))
                at += size
        self._chunks[-1].last = True

    @staticmethod
    def _rid(endpoint: int, setup: Setup) -> int:
        return BUS << 8 | (0 if setup.mode == Mode.NATIVE else endpoint + 1)

    def _done(self, sibling: bool) -> None:
        """A job is done with: its bytes may change."""
        assert self._taken[sibling], "a job is done that was not taken"
        job = self._taken[sibling].popleft()
        assert job is not self._job, f"job {job.number} is done and not placed"
        words = -(-len(job.data) // 8)
        name = "frame_mem" if sibling else "rx_mem"
        first = job.place
        if sibling:
            assert int(self.dut.done_slot_o.value) == job.place, "slot of the job that is done"
            first *= SLOT_WORDS
            self._slots.append(job.place)
        else:
            self._tail += words
        for n in {0, words // 2, words - 1}:
            self._patch(name, first + n, random.Random(self.cycle + n).randbytes(8))

    # --- writes --------------------------------------------------------------------------------------

    def _beat(self, beat: int) -> None:
        if not self._beats:
            units = (beat & 0x3FF) + 3 >> 2
            self._used_ph += 1
            self._used_pd += units
            assert self._used_ph <= self._limit_ph and self._used_pd <= self._limit_pd, "a write left without credits"
        self._beats.append(beat)
        if not beat & LAST:
            return
        beats, self._beats = self._beats, []
        tlp = parse(beats)
        assert tlp.kind == MWR and tlp.tc == tlp.attr == tlp.at == 0
        assert tlp.long == (tlp.address >= 1 << 32), f"header of a write to {tlp.address:#x}"
        kind = tlp.tag >> 6
        assert tlp.tag & 0x3F == self._tags[kind] & 0x3F, f"tag {tlp.tag:#x}"
        self._tags[kind] += 1
        self.tlps.append((self.cycle, kind, tlp.length))
        if kind == OTHER:
            assert (tlp.sid, tlp.address, tlp.data) == (BUS << 8, 0xFEE0_1000, bytes.fromhex("300000a5"))
            self._others_waiting = None
            return
        if self._others_waiting is not None:
            self._others_waiting += 1
            assert self._others_waiting <= 4, "another source's write waits for more than its turn"
        address, data = _written(tlp)
        assert 4 * tlp.length <= self._mps and address // 4096 == (address + len(data) - 1) // 4096
        if kind == PAYLOAD:
            self._payload(tlp, address, data)
        else:
            self._completion(tlp, address, data)

    def _payload(self, tlp: Tlp, address: int, data: bytes) -> None:
        assert self._chunks, f"a payload write to {address:#x} that nobody is to get"
        chunk = self._chunks.popleft()
        wanted = (chunk.rid, chunk.address, len(chunk.data))
        assert (tlp.sid, address, len(data)) == wanted, (
            f"write ({tlp.sid:#x}, {address:#x}, {len(data)}), not ({wanted[0]:#x}, {wanted[1]:#x}, {wanted[2]}) of frame "
            f"{chunk.copy.job.number}"
        )
        assert data == chunk.data, f"payload at {address:#x} of frame {chunk.copy.job.number}"
        self.memory.write(address, data)
        if chunk.last:
            copy = self._unwritten.popleft()
            assert copy is chunk.copy
            copy.data_left = self.cycle
            self._formed.append(copy)

    def _completion(self, tlp: Tlp, address: int, data: bytes) -> None:
        assert (tlp.first_be, tlp.last_be) == (15, 15) and len(data) % 16 == 0
        count = len(data) // 16
        first = self._incomplete[0] if self._incomplete else None
        assert first is not None, f"a completion write to {address:#x} that nobody is to get"
        setup = self.setups[first.endpoint]
        index = self._rq_index[first.endpoint, first.queue]
        size = 1 << setup.rq_log2
        assert address == setup.bases[first.queue] + 16 * (index % size), f"completion entry at {address:#x}"
        assert index % size + count <= size, "completion entries behind the ring's end"
        assert tlp.sid == self._rid(first.endpoint, setup)
        for n in range(count):
            copy = self._incomplete.popleft()
            assert (copy.endpoint, copy.queue) == (first.endpoint, first.queue), "neighbours of different rings"
            self._entry(copy, data[16 * n : 16 * n + 16], index + n, size)
            self.completed.append((self.cycle, copy))
        self._rq_index[first.endpoint, first.queue] = index + count
        self.batches.append((first.endpoint, first.queue, index, count))
        self._last_cpl = (first.endpoint, first.queue, index, count, tlp.tag)

    def _entry(self, copy: Copy, entry: bytes, index: int, size: int) -> None:
        assert copy.data_left is not None, f"frame {copy.job.number}: its completion comes before its payload"
        for address, data in copy.pieces:
            assert self.memory.read(address, len(data)) == data, f"frame {copy.job.number} is not at {address:#x}"
        flags = (
            ReceiveCompletion.STATUS_RECEIVE_M
            | copy.kind << ReceiveCompletion.STATUS_HASH_KIND_S
            | copy.big << ReceiveCompletion.STATUS_BIG_S
            | copy.job.sibling << ReceiveCompletion.STATUS_LOCAL_S
            | (1 if index // size % 2 == 0 else 0)
        )
        wanted = (copy.hash, copy.data_left & 0xFFFF_FFFF, copy.buffer, len(copy.job.data), copy.sum, flags)
        fields = ((0, 4), (4, 8), (8, 10), (10, 12), (12, 14), (14, 16))
        got = tuple(int.from_bytes(entry[a:b], "big") for a, b in fields)
        assert got == wanted, f"frame {copy.job.number}: entry {[hex(g) for g in got]}, not {[hex(w) for w in wanted]}"

    def _data_lane(self, lane: int) -> None:
        assert self._formed, "a copy's data are told to be out, but are not"
        copy = self._formed.popleft()
        key = (copy.endpoint, copy.queue)
        index = self._lane_index[key]
        self._lane_index[key] = index + 1
        assert copy.data_left is not None
        age = self.cycle - copy.data_left
        wanted = (age & 15) << 54 | copy.endpoint << 48 | copy.job.number << 32 | copy.queue << 16 | index & 0xFFFF
        assert lane == wanted, f"trace lane {lane:#x}, not {wanted:#x}"

    def _posted(self, event: int, posted: int, lane: int) -> None:
        """Entries are told to be visible in the cycle in which their write has left, or was refused."""
        if self._last_cpl is not None:
            assert event & CPL_OUT, "a completion write without a trace"
            endpoint, queue, index, count, tag = self._last_cpl
            assert lane == endpoint << 48 | (index & 0xFFFF) << 32 | tag << 24 | queue << 16 | count, f"lane {lane:#x}"
            self._last_cpl = None
        else:
            assert not event & CPL_OUT, "a trace without a completion write"
            first = self._incomplete[0]
            endpoint, queue, count = first.endpoint, first.queue, posted & 15
            index = self._rq_index[endpoint, queue]
            setup = self.setups[endpoint]
            base = setup.bases[queue] + 16 * (index % (1 << setup.rq_log2))
            assert not self._allowed(setup, base, 16 * count), "entries without a write"
            for _ in range(count):
                assert self._incomplete.popleft().endpoint == endpoint
            self._rq_index[endpoint, queue] = index + count
        assert posted == endpoint << 23 | (queue + 1) << 20 | (index + count & 0xFFFF) << 4 | count, f"posted {posted:#x}"


def _written(tlp: Tlp) -> tuple[int, bytes]:
    """First address and bytes of a write, which must be neighbours."""
    first, last = tlp.first_be, tlp.last_be
    assert first and (tlp.length > 1) == bool(last), f"byte enables {first:#x} {last:#x} of {tlp.length} DW"
    skip = (first & -first).bit_length() - 1
    if tlp.length == 1:
        end = first.bit_length()
        assert first == (1 << end) - (1 << skip), f"byte enables {first:#x} have a hole"
    else:
        assert first == 16 - (1 << skip) and last & last + 1 == 0, f"byte enables {first:#x} {last:#x} have a hole"
        end = 4 * tlp.length - 4 + last.bit_length()
    return tlp.address + skip, tlp.data[skip:end]
