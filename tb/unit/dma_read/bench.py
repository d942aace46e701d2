"""The bench around the DMA read engine: requests in, a completer behind its MRd port, the fence's count of its DMA.

One coroutine makes each cycle: it drives at the falling edge and compares when that has settled.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from sw.abi.registers import Mode, Refusal, Status
from tb.unit.packed import Packed
from tb.unit.streams import PATTERNS, StreamSource, cycle, levels, settle, start
from tb.unit.windows.oracle import BUS, LARGE, SMALL, Ask, Table

REQUEST: Final = Packed("fetch:1 rx:1 ep:6 mode:3 slot:5 first:1 index:16 addr:64 len:14 dest:21")
MRD: Final = Packed("rid:16 tag:8 addr:64 len:13 fetch:1 rx:1 first:1 ep:6 index:16")
DONE: Final = Packed("valid:1 fetch:1 rx:1 ep:6 slot:5 index:16 count:8 late:1 status:8")
REFUSAL: Final = Packed("valid:1 ep:6 write:1 reason:8 addr:64")
WINDOW: Final = Packed("valid:1 writable:1 is_large:1 number:16 address:36")
TAGS: Final = 15
FETCH_TAGS: Final = 2
SCAN: Final = TAGS + 1
"""Cycles until a tag is looked at again."""
HELD_UP: Final = 20
"""So often a completion may stand in the way of a time-out."""
MAX_READ: Final = 4096
INPUTS: Final = ("cycle_i", "timeout_i", "mrrs_i", "look_ready_i", "window_i", "epoch_i", "fetch_i", "fetch_valid_i",
                 "pay_i", "pay_valid_i", "mrd_ready_i", "tag_busy_i", "tag_i", "tag_rid_i", "tag_advance_i",
                 "tag_advance_bytes_i", "cpl_valid_i", "cpl_tag_i", "cpl_last_i", "cpl_status_i", "cpl_late_i")


def boundary(mrrs: int) -> int:
    """Bytes of Max_Read_Request_Size of a code."""
    return 128 << mrrs


@dataclass
class Request:
    """A request being split."""

    fields: dict[str, int]
    at: int = 0
    """Bytes asked for so far."""
    begun: int | None = None
    """Epoch under which the piece has been counted."""
    offered: bool = False

    @property
    def address(self) -> int:
        return self.fields["addr"] + self.at

    def piece(self, mrrs: int) -> int:
        """Bytes of its next MRd: to the next multiple of Max_Read_Request_Size."""
        return min(boundary(mrrs) - self.address % boundary(mrrs), self.fields["len"] - self.at)


@dataclass
class Flight:
    """An outstanding tag."""

    request: dict[str, int]
    requester: int
    address: int
    dest: int
    length: int
    epoch: int
    started: int
    left: int = 0
    status: int = Status.OK
    lost: bool = False
    """Its completions never come."""
    zombie: int | None = None
    """Cycle of its time-out."""


@dataclass
class Answer:
    """A completion on its way through the receiver: what it says one or two cycles after its last beat."""

    tag: int
    last: int
    status: int
    late: int


@dataclass
class TB:
    dut: Any
    random: random.Random
    table: Table = field(default_factory=Table)
    mrrs: int = 2
    timeout: int = 4000
    idle: str = "always"
    pressure: str = "always"
    answers: float = 0.5
    """Probability of a completion in a free cycle."""
    errors: float = 0.0
    losses: float = 0.0
    """Probability that a read is never answered."""
    look: float = 1.0
    """Probability that a look-up is taken."""
    epochs: float = 0.0
    """Probability of a new epoch."""

    def __post_init__(self) -> None:
        self.flights: dict[int, Flight] = {}
        self.current: Request | None = None
        self.dones: list[dict[str, int]] = []
        self.refused: list[Refusal] = []
        self.pieces = 0
        self.extras = 0
        self.epoch = 0
        self.counted = [0, 0]
        self._receiving: tuple[int, int, int, bool] | None = None
        self._answers: deque[Answer | None] = deque((None, None), 2)
        self._window = 0

    async def start(self) -> None:
        dut = self.dut
        await start(dut, INPUTS)
        dut.bus_i.value, dut.bus_master_i.value, dut.vf_enable_i.value = BUS, 1, 1
        dut.mrrs_i.value, dut.timeout_i.value = self.mrrs, self.timeout
        self.fetch = StreamSource(dut, "fetch", PATTERNS[self.idle](self.random))
        self.pay = StreamSource(dut, "pay", PATTERNS[self.idle](self.random))
        cocotb.start_soon(self._watch())

    def ask(self, **fields: int) -> None:
        (self.fetch if fields.get("fetch") else self.pay).queue([REQUEST.pack(**fields)])

    def power(self, *, on: bool) -> None:
        """Bus master enable."""
        self.table.bus_master = on
        self.dut.bus_master_i.value = int(on)

    @property
    def done(self) -> bool:
        return self.fetch.idle and self.pay.idle and self.current is None and not self.flights

    async def finish(self) -> None:
        await settle(self.dut, lambda: self.done, "every read ends", 60_000)
        assert self.counted == [0, 0], f"DMA still counted: {self.counted}"

    async def _watch(self) -> None:
        dut = self.dut
        ready = levels(PATTERNS[self.pressure](self.random))
        while True:
            await FallingEdge(dut.clk_i)
            now = cycle()
            if self.random.random() < self.epochs:
                self.epoch ^= 1
            dut.epoch_i.value = self.epoch
            dut.cycle_i.value = now
            dut.mrd_ready_i.value = int(next(ready))
            looked = self.random.random() < self.look
            dut.look_ready_i.value = int(looked)
            dut.window_i.value, self._window = self._window, (1 << 55) - 1
            answer = self._receive(now)
            await ReadOnly()
            self._check_look(looked)
            self._check_tag()
            done = DONE.unpack(int(dut.done_o.value))
            self._check_split(now, done)
            self._check_done(now, answer, done)
            self._take()
            for tag in [t for t, f in self.flights.items() if f.zombie is not None and now - f.zombie > self.timeout + SCAN]:
                del self.flights[tag]

    def _free(self, tag: int, now: int) -> bool:
        flight = self.flights.get(tag)
        return flight is None or (flight.zombie is not None and now - flight.zombie > self.timeout)

    # ---- completer -------------------------------------------------------------------------
    def _receive(self, now: int) -> Answer | None:
        """Drive one completion through the receiver's port; returns what it says in this cycle."""
        dut, rng = self.dut, self.random
        due = self._answers.popleft()
        self._answers.append(None)
        dut.cpl_valid_i.value = int(due is not None)
        if due is not None:
            dut.cpl_tag_i.value, dut.cpl_last_i.value = due.tag, due.last
            dut.cpl_status_i.value, dut.cpl_late_i.value = due.status, due.late
        self._receiving = None
        dut.tag_advance_i.value = 0
        waiting = [tag for tag, f in self.flights.items() if not f.lost and f.left and f.zombie is None
                   and now - f.started < self.timeout - 4]
        zombies = [tag for tag, f in self.flights.items() if f.zombie is not None and now - f.zombie < self.timeout]
        dut.tag_busy_i.value = int(any(self._answers))
        if any(self._answers) or rng.random() > self.answers or not waiting + zombies:
            return due
        tag = rng.choice(waiting + zombies)
        flight = self.flights[tag]
        stranger = rng.random() < 0.1
        dut.tag_busy_i.value, dut.tag_i.value = 1, tag
        dut.tag_rid_i.value = flight.requester ^ stranger
        count = flight.left if rng.random() < 0.4 else rng.randint(1, max(flight.left, 1))
        self._receiving = tag, flight.left, count, not stranger and flight.zombie is None
        if not self._receiving[3]:
            return due
        bad = rng.random() < self.errors and flight.status == Status.OK
        status = rng.choice((Status.READ_UR, Status.READ_CA, Status.READ_POISONED)) if bad else Status.OK
        last = count == flight.left or status in (Status.READ_UR, Status.READ_CA)
        if status in (Status.OK, Status.READ_POISONED):
            dut.tag_advance_i.value, dut.tag_advance_bytes_i.value = 1, count
        late = rng.randrange(2)
        self._answers[late] = Answer(tag, int(last), status, late)
        return due

    def _check_tag(self) -> None:
        """The receiver is told of outstanding reads only, and where their next byte goes."""
        if self._receiving is None:
            return
        dut, (tag, left, count, hit) = self.dut, self._receiving
        flight = self.flights[tag]
        assert int(dut.tag_hit_o.value) == hit, f"cycle {cycle()}: tag {tag} is outstanding: {hit}"
        if not hit:
            return
        at = flight.length - left
        request = flight.request
        found = tuple(int(getattr(dut, f"tag_{name}_o").value) for name in ("dest", "left", "lower", "fetch", "rx"))
        expected = (flight.dest + at, left, (flight.address + at) & 3, request["fetch"] & ~request["rx"], request["rx"])
        assert found == expected, f"cycle {cycle()}: tag {tag}: {found}, not {expected}"
        answer = next(a for a in self._answers if a is not None)
        flight.left = 0 if answer.last else left - count
        flight.status = answer.status or flight.status

    # ---- the read being split --------------------------------------------------------------
    def _check_look(self, taken: bool) -> None:
        dut = self.dut
        if not int(dut.look_o.value):
            return
        assert self.current is not None and self.current.fields["mode"] == Mode.WINDOWS
        address = self.current.address
        index = address // (LARGE if address >> 63 else SMALL) % 256
        assert int(dut.look_index_o.value) == index, f"cycle {cycle()}: looks up another window than {index}"
        if taken:
            row = self.table.row(self.current.fields["ep"], index)
            self._window = WINDOW.pack(valid=row.valid, writable=row.writable, is_large=row.large, number=row.sequence,
                                       address=row.address >> 12)

    def _check_split(self, now: int, done: dict[str, int]) -> None:
        dut, current = self.dut, self.current
        offered, refusal = bool(int(dut.mrd_valid_o.value)), REFUSAL.unpack(int(dut.refusal_o.value))
        if current is None:
            assert not offered and not refusal["valid"], f"cycle {now}: a read without a request"
            return
        fields, piece = current.fields, current.piece(self.mrrs)
        windowed = fields["mode"] == Mode.WINDOWS
        length = piece if windowed else fields["len"] - current.at
        why, machine, requester = self.table.judge(Ask(fields["ep"], fields["mode"], current.address, length, False))
        busy = sum(not self._free(tag, now) for tag in self.flights)
        room = busy < TAGS - (0 if fields["fetch"] else FETCH_TAGS)
        if int(dut.begin_o.value):
            assert why is None and current.begun is None, f"cycle {now}: {current} begins"
            current.begun = self.epoch
            self.counted[self.epoch] += 1
        if not windowed and why is None and not any(f.zombie is not None for f in self.flights.values()):
            assert offered == room, f"cycle {now}: {busy} tags are in use, offered {offered}"
        assert not offered or why is None, f"cycle {now}: {current} is refused ({why!r}) and offered"
        if refusal["valid"]:
            expected = {"valid": 1, "ep": fields["ep"], "write": 0, "reason": why, "addr": current.address}
            assert refusal == expected, f"cycle {now}: {refusal}, not {expected}"
            assert why is not None and done["valid"]
            self.refused.append(why)
        extra = bool(int(dut.extra_o.value))
        if offered and int(dut.mrd_ready_i.value):
            mrd = MRD.unpack(int(dut.mrd_o.value))
            tag = mrd.pop("tag")
            expected = {"rid": requester, "addr": machine, "len": piece, "first": fields["first"] if not current.at else 0,
                        **{name: fields[name] for name in ("fetch", "rx", "ep", "index")}}
            assert mrd == expected, f"cycle {now}: {mrd}, not {expected}"
            assert tag < TAGS and self._free(tag, now), f"cycle {now}: tag {tag} is taken twice"
            assert room, f"cycle {now}: {busy} tags are in use, the others are for fetches"
            assert machine // MAX_READ == (machine + piece - 1) // MAX_READ, f"cycle {now}: a read crosses 4 KiB"
            assert current.begun is not None, f"cycle {now}: a read that the fence does not know"
            self.flights[tag] = Flight(fields, requester, current.address, fields["dest"] + current.at, piece,
                                       current.begun, now, piece, lost=self.random.random() < self.losses)
            current.at += piece
            current.begun = None
            self.pieces += 1
            more = current.at < fields["len"]
            assert extra == more, f"cycle {now}: extra_o is {extra}"
            self.extras += extra
            if more:
                assert int(dut.extra_slot_o.value) == fields["slot"]
            else:
                self.current = None
        else:
            assert not extra

    def _check_done(self, now: int, answer: Answer | None, done: dict[str, int]) -> None:
        """A read ends with its last completion, its time-out or its refusal, under the epoch in which it began."""
        dut = self.dut
        end, epoch, timed_out = (bool(int(getattr(dut, f"{name}_o").value)) for name in ("end", "end_epoch", "timed_out"))
        if int(dut.refusal_o.value) >> REFUSAL.bits - 1:
            assert answer is None and not timed_out and self.current is not None
            current, self.current = self.current, None
            self._same(done, current.fields, 0, 0, Status.NOT_AUTHORISED)
            assert end == (current.begun is not None)
            if end:
                assert epoch == current.begun
                self.counted[int(epoch)] -= 1
            return
        if answer is not None:
            assert not timed_out and done["valid"] == answer.last, f"cycle {now}: {answer} ends a read: {done['valid']}"
            if answer.last:
                flight = self.flights.pop(answer.tag)
                self._end(done, flight, answer.late, flight.status, end, epoch)
        elif timed_out:
            due = [f for f in self.flights.values() if f.zombie is None and f.left and now - f.started > self.timeout
                   and f.request["index"] == done["index"] and self._count(f) == done["count"] and f.epoch == epoch]
            assert due, f"cycle {now}: a read timed out that has time"
            due[0].zombie = now
            due[0].lost = True
            self._end(done, due[0], 0, Status.READ_TIMEOUT, end, epoch)
        else:
            assert not done["valid"] and not end, f"cycle {now}: {done} ends"
            limit = self.timeout + HELD_UP * SCAN
            for tag, f in self.flights.items():
                assert f.zombie is not None or not f.left or now - f.started <= limit, f"tag {tag} has no end"

    def _end(self, done: dict[str, int], flight: Flight, late: int, status: int, end: bool, epoch: bool) -> None:
        self._same(done, flight.request, self._count(flight), late, status)
        assert end and epoch == flight.epoch, f"cycle {cycle()}: {flight} ends under epoch {epoch}"
        self.counted[int(epoch)] -= 1
        assert self.counted[int(epoch)] >= 0

    @staticmethod
    def _count(flight: Flight) -> int:
        """Descriptors of a fetch, as the hardware counts any read."""
        return flight.length // (8 if flight.request["rx"] else 16) % 256

    def _same(self, done: dict[str, int], fields: dict[str, int], count: int, late: int, status: int) -> None:
        names = ("fetch", "rx", "ep", "slot", "index")
        expected = {"valid": 1, **{name: fields[name] for name in names}, "count": count, "late": late, "status": status}
        assert done == expected, f"cycle {cycle()}: {done}, not {expected}"
        self.dones.append(done)

    def _take(self) -> None:
        """A request that is taken at the coming edge: fetches first."""
        dut = self.dut
        taken = [name for name in ("fetch", "pay")
                 if int(getattr(dut, f"{name}_valid_i").value) and int(getattr(dut, f"{name}_ready_o").value)]
        assert len(taken) <= 1
        if taken:
            assert self.current is None, f"cycle {cycle()}: a request is taken while one is being split"
            assert taken == ["fetch"] or not int(dut.fetch_valid_i.value), f"cycle {cycle()}: payload passes a fetch"
            self.current = Request(REQUEST.unpack(int(getattr(dut, f"{taken[0]}_i").value)))
