"""The bench around the TSO executor: rings with chains, a scheduler, frame slots, a reader, and the editor behind it.

Every chain is written with what must come of it; whole segments are compared when the editor is through with them.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from sw.abi.registers import Form, Mode, Status
from tb.packets import Bulk
from tb.unit.dma_read.bench import REQUEST
from tb.unit.fetch.bench import CTRL
from tb.unit.offload.bench import BUFFER_INPUTS, SEGMENT, SLOT_BYTES, Buffer
from tb.unit.streams import PATTERNS, StreamSink, cycle, cycles, settle, start

RING_SLOTS: Final = 1024
INDEX: Final = 1 << 16
MAX_CHAIN: Final = 96
INPUTS: Final = (*BUFFER_INPUTS, "start_i", "ep_i", "head_i", "ctrl_i", "fetched_i", "fetch_failed_i", "restart_i",
                 "restart_ep_i", "read_data_i", "read_valid_i", "slot_i", "dma_ready_i")


@dataclass
class Chain:
    """Descriptors, and what must come of them."""

    descriptors: list[bytes]
    segments: Sequence[bytes | None]
    """Frames that leave, in order; None: one that cannot be edited."""
    job: Bulk
    status: Status = Status.OK
    """Of its completion."""
    name: str = "a good chain"
    """What is special in it, for messages."""
    taken: int | None = None
    """Descriptors that it uses up; None: all."""
    done: int = 0
    """Segments that have been closed."""
    touched: bool = False
    """A segment has failed in a slot of its own."""
    payload: int = 0
    """Bytes of the segments that have been closed."""


@dataclass
class Guest:
    """An endpoint's ring."""

    endpoint: int
    form: int = Form.FETCHED
    mode: int = Mode.NATIVE
    log2: int = 7
    slots: dict[int, bytes] = field(default_factory=dict)
    """What is in the ring, by place."""
    stale: dict[int, bytes] = field(default_factory=dict)
    """What earlier laps have left in pushed rings."""
    producer: int = 0
    head: int = 0
    need: int = 1
    failed: bool = False
    """Its fetch has failed."""
    halted: bool = False
    chains: deque[Chain] = field(default_factory=deque)
    ended: list[int] = field(default_factory=list)
    """Status of each chain."""

    @property
    def ready(self) -> bool:
        """Worth a grant: what the executor has asked for is here, or will never be."""
        if self.halted or not self.chains:
            return False
        return self.form == Form.PUSHED or self.producer - self.head >= self.need or self.failed

    def place(self, index: int) -> int:
        return index % (1 << self.log2)


@dataclass
class TB:
    dut: Any
    random: random.Random
    idle: str = "always"
    pressure: str = "always"
    most: int = 8
    """Frame slots in use at most."""
    delay: int = 20
    """Cycles of a read at most."""

    async def start(self) -> None:
        await start(self.dut, INPUTS)
        self.buffer = Buffer(self.dut, self.random, self.idle, self.pressure)
        self.guests: dict[int, Guest] = {}
        self.memory: dict[int, bytes] = {}
        """Pieces of all chains, by address."""
        self._space = 0x1000
        self._granted: Guest | None = None
        self._ended = self._progress = self._with_sum = False
        self._next = 0
        self._slot: int | None = None
        """Slot of the segment being made."""
        self._free = 0
        self._look: tuple[int, int] = 0, 0
        self._reads: list[tuple[int, int, int, bytes]] = []
        self._sink = StreamSink(self.dut, "dma", PATTERNS[self.pressure](self.random))
        cocotb.start_soon(self._run())

    # ---- guests -----------------------------------------------------------------------------
    async def add(self, guest: Guest) -> Guest:
        """The endpoint starts anew."""
        self.dut.restart_i.value, self.dut.restart_ep_i.value = 1, guest.endpoint
        await FallingEdge(self.dut.clk_i)
        self.dut.restart_i.value = 0
        self.guests[guest.endpoint] = guest
        return guest

    def pieces(self, data: bytes, sizes: Sequence[int]) -> list[tuple[int, int]]:
        """`data` in pieces of these sizes, in turn: address and length of each."""
        found: list[tuple[int, int]] = []
        at = 0
        while at < len(data):
            piece = data[at : at + sizes[len(found) % len(sizes)]]
            self._space += self.random.randint(1, 64)
            self.memory[self._space] = piece
            found.append((self._space, len(piece)))
            self._space += len(piece)
            at += len(piece)
        return found

    async def write(self, guest: Guest, chain: Chain, part: int | None = None) -> None:
        """Put a chain, or its first descriptors, into the ring, once it has room."""
        room = (1 << guest.log2) - len(chain.descriptors)
        await settle(self.dut, lambda: guest.producer - guest.head <= room, f"endpoint {guest.endpoint}'s ring has room")
        guest.chains.append(chain)
        self.more(guest, chain.descriptors[:part])

    def more(self, guest: Guest, descriptors: Sequence[bytes]) -> None:
        for descriptor in descriptors:
            guest.slots[guest.place(guest.producer)] = descriptor
            guest.producer += 1

    @property
    def done(self) -> bool:
        waits = any(guest.chains and not guest.halted for guest in self.guests.values())
        return not waits and self._granted is None and not self.buffer.frames

    async def finish(self) -> None:
        await settle(self.dut, lambda: self.done, "every chain ends, and its segments leave", 60_000)
        await cycles(self.dut, 3)

    # ---- one cycle --------------------------------------------------------------------------
    async def _run(self) -> None:
        dut = self.dut
        while True:
            await FallingEdge(dut.clk_i)
            self._answer()
            self._serve_ring()
            dut.start_i.value = 0
            if self._granted is None and len(self.buffer.frames) < self.most:
                self._grant()
            if self._granted is not None:
                dut.fetched_i.value = self._granted.producer % INDEX
                dut.fetch_failed_i.value = int(self._granted.failed)
            self.buffer.offer()
            await ReadOnly()
            self._watch()
            self.buffer.watch()

    def _grant(self) -> None:
        dut = self.dut
        ready = [guest for guest in self.guests.values() if guest.ready]
        if not ready:
            return
        guest = self._granted = self.random.choice(ready)
        self._free = self.random.choice(self.buffer.free())
        self._progress = False
        dut.start_i.value, dut.ep_i.value, dut.head_i.value, dut.slot_i.value = 1, guest.endpoint, guest.head % INDEX, self._free
        dut.ctrl_i.value = CTRL.pack(enable=1, form=guest.form, mode=guest.mode, send_log2=guest.log2)

    def _serve_ring(self) -> None:
        """The descriptor that was asked for a cycle ago."""
        endpoint, place = self._look
        guest = self.guests.get(endpoint)
        data = guest.slots.get(place) if guest else None
        left = guest.stale.get(place, b"\xff" * 16) if guest else b""
        self.dut.read_data_i.value = int.from_bytes(data if data is not None else left, "little")
        self.dut.read_valid_i.value = int(data is not None)

    def _answer(self) -> None:
        """Reads that were taken in the last cycle, and such that end in this one."""
        while self._sink.words:
            word = self._sink.words.popleft()
            self._reads.append((word.taken + self.random.randint(1, self.delay), *self._read(word.data)))
        for read in [read for read in self._reads if read[0] <= cycle()]:
            self._reads.remove(read)
            _, slot, at, data = read
            self.buffer.frames[slot].reads -= 1
            self.buffer.fill(slot, at, data)

    def _read(self, request: int) -> tuple[int, int, bytes]:
        """Slot, offset and bytes of a read; it lies in one piece of some chain."""
        fields = REQUEST.unpack(request)
        base = max((address for address in self.memory if address <= fields["addr"]), default=0)
        data = self.memory.get(base, b"")[fields["addr"] - base :][: fields["len"]]
        assert len(data) == fields["len"] > 0, f"cycle {cycle()}: a read of what no chain has: {fields}"
        slot, at = divmod(fields["dest"], SLOT_BYTES)
        return slot, at, data

    def _watch(self) -> None:
        dut = self.dut
        place = int(dut.read_slot_o.value)
        self._look = place // RING_SLOTS, place % RING_SLOTS
        guest = self._granted
        names = ("alloc", "close", "finish", "clear", "halt", "started", "active")
        value = {name: int(getattr(dut, f"{name}_o").value) for name in names}
        if guest is None:
            assert not any(value.values()), f"cycle {cycle()}: {value} without a grant"
            return
        assert value["active"], f"cycle {cycle()}: a grant is not under way"
        if value["alloc"]:
            self._alloc()
        if int(dut.dma_valid_o.value) and int(dut.dma_ready_i.value):
            self._request(guest, REQUEST.unpack(int(dut.dma_o.value)), value)
        if value["close"]:
            self._close(guest, value)
        if value["clear"]:
            endpoint, place = divmod(int(dut.clear_slot_o.value), RING_SLOTS)
            assert endpoint == guest.endpoint and (place - guest.head) % (1 << guest.log2) < MAX_CHAIN
            gone = guest.slots.pop(place, None)
            if gone is not None and guest.form == Form.PUSHED:
                guest.stale[place] = gone
        if value["finish"]:
            self._finish(guest, value)

    def _alloc(self) -> None:
        assert self._slot is None, f"cycle {cycle()}: a slot is taken inside a segment"
        self._slot = self._free
        self._progress = True
        self._with_sum = bool(int(self.dut.alloc_sum_o.value))
        if self._with_sum:
            self.buffer.open(self._slot, None)

    def _request(self, guest: Guest, fields: dict[str, int], value: dict[str, int]) -> None:
        chain = guest.chains[0]
        first = bool(value["alloc"] and not chain.done)
        assert value["started"] == first, f"cycle {cycle()}: the chain has started: {value['started']}"
        expected = {"fetch": 0, "rx": 0, "ep": guest.endpoint, "mode": guest.mode, "slot": self._slot, "first": int(first),
                    "index": guest.head % INDEX}
        found = {name: fields[name] for name in expected}
        assert found == expected, f"cycle {cycle()}: a read {found}, not {expected}"
        assert self._slot is not None
        self.buffer.frames[self._slot].reads += 1

    def _close(self, guest: Guest, value: dict[str, int]) -> None:
        dut, chain = self.dut, guest.chains[0]
        status, silent = int(dut.close_status_o.value), bool(int(dut.close_silent_o.value))
        at = f"cycle {cycle()}: endpoint {guest.endpoint}, {chain.name}"
        assert self._slot is not None, f"{at}: closes a slot that it does not have"
        assert int(dut.close_slot_o.value) == self._slot, f"{at}: closes another slot than {self._slot}"
        length = int(dut.close_len_o.value)
        good = chain.done < len(chain.segments)
        if good:
            self._close_segment(guest, chain, status, silent, length)
        else:
            assert status == chain.status != Status.OK, f"{at}: {Status(status).name} behind {chain.done} segments, not {chain.status.name}"
            if silent:
                assert not chain.touched and self._with_sum, f"{at}: a second segment fails silently"
                chain.touched = True
        if self._with_sum:
            self.buffer.close(self._slot, length, bad=status != Status.OK)
        if not silent:
            self._end(guest, chain, value)
        self._slot = None

    def _close_segment(self, guest: Guest, chain: Chain, status: int, silent: bool, length: int) -> None:
        at = f"cycle {cycle()}: endpoint {guest.endpoint}, {chain.name}, segment {chain.done}"
        expected = chain.segments[chain.done]
        assert status == Status.OK, f"{at}: {Status(status).name}, and is whole"
        last = chain.status == Status.OK and chain.done == len(chain.segments) - 1
        assert silent == (not last), f"{at}: is the last: {last}"
        record = SEGMENT.unpack(int(self.dut.close_segment_o.value))
        header = len(chain.job.header)
        wanted = {"header": header, "start": chain.job.cksum_offset, "number": chain.done, "bytes": chain.payload,
                  "first": int(not chain.done), "last": int(last)}
        assert record == wanted, f"{at}: {record}, not {wanted}"
        assert expected is None or length == len(expected), f"{at}: {length} bytes"
        assert self._slot is not None
        self.buffer.frames[self._slot].expected = expected
        chain.payload += length - header
        chain.done += 1

    def _end(self, guest: Guest, chain: Chain, value: dict[str, int]) -> None:
        """The chain's one completion."""
        at = f"cycle {cycle()}: endpoint {guest.endpoint}, {chain.name}"
        assert chain.done == len(chain.segments), f"{at}: ends behind {chain.done} segments"
        halts = chain.status in (Status.FETCH_ERROR, Status.STALE_DESCRIPTOR)
        told = value["halt"], int(self.dut.stale_o.value)
        assert told == (halts, chain.status == Status.STALE_DESCRIPTOR), f"{at}: halts, by what is stale: {told}"
        taken = 0 if halts else len(chain.descriptors) if chain.taken is None else chain.taken
        found = int(self.dut.close_next_o.value)
        assert found == (guest.head + taken) % INDEX, f"{at}: next is {found}, not {taken} behind {guest.head}"
        guest.halted = halts
        guest.ended.append(chain.status)
        guest.chains.popleft()
        self._next = guest.head + taken
        self._ended = True

    def _finish(self, guest: Guest, value: dict[str, int]) -> None:
        dut = self.dut
        consumer, need = int(dut.finish_consumer_o.value), int(dut.finish_need_o.value)
        at = f"cycle {cycle()}: endpoint {guest.endpoint}"
        assert self._slot is None, f"{at}: is put back with a slot"
        if self._ended:
            assert consumer == self._next % INDEX, f"{at}: goes on at {consumer}, not {self._next}"
            left = [index for index in range(guest.head, self._next) if guest.place(index) in guest.slots]
            assert not left, f"{at}: slots {left} are still valid"
            guest.head, guest.need = self._next, 1
        else:
            assert consumer == guest.head % INDEX, f"{at}: goes on at {consumer} inside a chain"
            chain = guest.chains[0]
            if not self._progress:
                # what it waits for is not here, and belongs to the chain
                there = guest.producer - guest.head
                assert there < need <= len(chain.descriptors), f"{at}: waits for {need} descriptors, {there} are here"
            guest.need = need
        self._ended = False
        self._granted = None

