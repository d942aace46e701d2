"""The bench around send rings and executor: guests that push or fetch chains, frame slots, readers; all that the executor
does, chain by chain, against the oracle."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from sw.abi.registers import Status
from tb.unit.dma_read.bench import REQUEST
from tb.unit.fetch.bench import CTRL
from tb.unit.send_ring.oracle import SLOT, Descriptor, Frame, execute
from tb.unit.streams import PATTERNS, cycle, cycles, levels, settle, start
from tb.unit.tlp_rx.bench import RING_DONE, WORD

Chain = Sequence[Descriptor | bytes | None]
RING_SLOTS: Final = 1024
FRAME_BYTES: Final = 1 << 14
INDEX: Final = 1 << 16
INPUTS: Final = ("enable_i", "word_i", "ring_done_i", "fetch_done_i", "fetch_done_ep_i", "start_i", "start_ep_i",
                 "slot_free_i", "slot_i", "dma_ready_i", "inline_ready_i", "status_ep_i")


@dataclass
class Guest:
    """An endpoint's ring and the frames that it must give."""

    endpoint: int
    form: int
    mode: int
    log2: int
    producer: int = 0
    consumer: int = 0
    fetched: int = 0
    halted: bool = False
    frames: deque[tuple[int, Frame, int]] = field(default_factory=deque)
    """Of each chain: its head, how it must end, its descriptors."""

    def room(self) -> int:
        return (1 << self.log2) - (self.producer - self.consumer)


@dataclass
class TB:
    dut: Any
    random: random.Random
    pressure: str = "always"
    guests: dict[int, Guest] = field(default_factory=dict)
    closed: list[tuple[int, int]] = field(default_factory=list)
    """(endpoint, status) of each chain."""
    words: deque[tuple[int, int | None, int | None]] = field(default_factory=deque)
    """What the receiver stores, one a cycle: word, ring_done, endpoint of an ended fetch."""
    gaps: float = 0.0
    slots: float = 1.0
    """Probability that a frame slot becomes free in a cycle."""

    async def start(self) -> None:
        await start(self.dut, INPUTS)
        self.dut.enable_i.value = 1
        self.dut.enabled_q.value = self.dut.failed_q.value = 0
        self._frame: tuple[int, int, Frame, Frame, int] | None = None
        self._free = False
        self._failed = 0
        self._enabled = 0
        cocotb.start_soon(self._run())

    async def add(self, guest: Guest) -> Guest:
        """Enable an endpoint, and wait until its slots are wiped."""
        dut = self.dut
        dut.ctrl_q[guest.endpoint].value = CTRL.pack(enable=1, form=guest.form, mode=guest.mode, send_log2=guest.log2)
        dut.fetched_q[guest.endpoint].value = 0
        self._failed &= ~(1 << guest.endpoint)
        self._enabled |= 1 << guest.endpoint
        dut.failed_q.value, dut.enabled_q.value = self._failed, self._enabled
        dut.start_i.value, dut.start_ep_i.value, dut.status_ep_i.value = 1, guest.endpoint, guest.endpoint
        await FallingEdge(dut.clk_i)
        dut.start_i.value = 0
        self.guests[guest.endpoint] = guest
        await settle(dut, lambda: not int(dut.status_busy_o.value), "the slots are wiped", 3 * RING_SLOTS)
        return guest

    # ---- guests -----------------------------------------------------------------------------
    def expect(self, guest: Guest, chain: Chain) -> None:
        guest.frames.append((guest.producer, execute(chain, guest.producer, guest.mode), len(chain)))
        guest.producer += len(chain)

    def _slot_words(self, guest: Guest, index: int, slot: bytes, pio: int) -> list[int]:
        at = (guest.endpoint * RING_SLOTS + index % (1 << guest.log2)) * SLOT
        return [WORD.pack(ring=1, pio=pio, addr=at + half, data=int.from_bytes(slot[half : half + 8], "little"), be=0xFF)
                for half in (0, 8)]

    def push(self, guest: Guest, chain: Chain, first: int | None = None) -> None:
        """Store a chain by PIO: a TLP for what stands together, at the ring's end one more; the head's comes last."""
        start_at = guest.producer if first is None else first
        if first is None:
            self.expect(guest, chain)
        runs: list[list[tuple[int, bytes]]] = [[]]
        for at, slot in enumerate(chain):
            index = start_at + at
            if slot is None or (runs[-1] and index % (1 << guest.log2) == 0):
                runs.append([])
            if slot is not None:
                runs[-1].append((index, slot if isinstance(slot, bytes) else slot.pack()))
        for run in reversed([run for run in runs if run]):
            words = [word for index, slot in run for word in self._slot_words(guest, index, slot, 1)]
            done = RING_DONE.pack(valid=1, ep=guest.endpoint, slot=run[0][0] % (1 << guest.log2), count=len(run))
            self.words += [(word, None, None) for word in words[:-1]] + [(words[-1], done, None)]

    def fetch(self, guest: Guest, chains: Sequence[Chain]) -> None:
        """Fetch chains in reads that know nothing of where a chain ends."""
        slots = []
        for chain in chains:
            slots += [(guest.producer + at, slot) for at, slot in enumerate(chain)]
            self.expect(guest, chain)
        self._store(guest, slots)

    def _store(self, guest: Guest, slots: list[tuple[int, Descriptor | bytes | None]]) -> None:
        while slots:
            index = slots[0][0]
            count = min(self.random.randint(1, 16), len(slots), (1 << guest.log2) - index % (1 << guest.log2))
            words = []
            for number, slot in slots[:count]:
                assert slot is not None
                words += self._slot_words(guest, number, slot if isinstance(slot, bytes) else slot.pack(), 0)
            self.words += [(word, None, None) for word in words[:-1]]
            self.words.append((words[-1], None, guest.endpoint | count << 8))
            del slots[:count]

    def fail(self, guest: Guest, part: Chain) -> None:
        """The first descriptors of a chain arrive, then the fetch fails."""
        self._store(guest, [(guest.producer + at, slot) for at, slot in enumerate(part)])
        head = part[0].count if part and isinstance(part[0], Descriptor) else 1
        guest.frames.append((guest.producer, Frame(Status.FETCH_ERROR, guest.producer, halts=True), head))
        self.words.append((0, None, guest.endpoint | 1 << 16))

    @property
    def done(self) -> bool:
        return not self.words and self._frame is None and not any(guest.frames and not guest.halted for guest in self.guests.values())

    async def finish(self) -> None:
        await settle(self.dut, lambda: self.done, "every chain ends", 60_000)
        await cycles(self.dut, 30)
        for guest in self.guests.values():
            self.dut.status_ep_i.value = guest.endpoint
            await ReadOnly()
            found = int(self.dut.status_consumer_o.value)
            assert found == guest.consumer % INDEX, f"endpoint {guest.endpoint}: next is {found}, not {guest.consumer}"
            await FallingEdge(self.dut.clk_i)

    # ---- one cycle --------------------------------------------------------------------------
    async def _run(self) -> None:
        dut, rng = self.dut, self.random
        ready, inline_ready = (levels(PATTERNS[self.pressure](rng)) for _ in range(2))
        ended: int | None = None
        while True:
            await FallingEdge(dut.clk_i)
            if ended is not None:
                self._fetched(ended)
            dut.dma_ready_i.value, dut.inline_ready_i.value = int(next(ready)), int(next(inline_ready))
            if not self._free and rng.random() < self.slots:
                # a slot that is free stays so until a chain takes it
                self._free = True
                dut.slot_i.value = rng.randrange(32)
            dut.slot_free_i.value = int(self._free)
            word, done, ended = self.words.popleft() if self.words and rng.random() >= self.gaps else (0, None, None)
            dut.word_i.value, dut.ring_done_i.value = word, done or 0
            dut.fetch_done_i.value, dut.fetch_done_ep_i.value = int(ended is not None), (ended or 0) & 0xFF
            await ReadOnly()
            self._watch()

    def _fetched(self, ended: int) -> None:
        guest = self.guests[ended & 0xFF]
        if ended >> 16:
            self._failed |= 1 << guest.endpoint
            self.dut.failed_q.value = self._failed
        else:
            guest.fetched += ended >> 8
            self.dut.fetched_q[guest.endpoint].value = guest.fetched % INDEX

    def _watch(self) -> None:
        dut = self.dut
        value = {name: int(getattr(dut, f"{name}_o").value) for name in ("alloc", "close", "finish", "halt", "stale")}
        endpoint = int(dut.ep_o.value)
        if value["alloc"]:
            assert self._frame is None, f"cycle {cycle()}: a chain starts inside another"
            self._begin(endpoint)
        for name in ("dma", "inline"):
            if int(getattr(dut, f"{name}_valid_o").value) and int(getattr(dut, f"{name}_ready_i").value):
                assert self._frame is not None, f"cycle {cycle()}: {name} without a chain"
                (self._piece if name == "dma" else self._copy)(*self._frame)
        if value["close"]:
            assert self._frame is not None, f"cycle {cycle()}: the end of no chain"
            self._end(value)
        if value["finish"]:
            guest = self.guests[endpoint]
            consumer = int(dut.finish_consumer_o.value)
            assert self._frame is None and consumer == guest.consumer % INDEX, f"cycle {cycle()}: {guest} goes on at {consumer}"
            # a chain that is put back is worth a look when all of it is there
            need = 1 if value["close"] else guest.frames[0][2]
            assert int(dut.finish_need_o.value) == need, f"cycle {cycle()}: {guest} is looked at again with another need than {need}"

    def _begin(self, endpoint: int) -> None:
        dut, guest = self.dut, self.guests[endpoint]
        assert guest.frames and not guest.halted, f"cycle {cycle()}: endpoint {endpoint} has no chain"
        head, expected, _ = guest.frames.popleft()
        slot = int(dut.slot_i.value)
        assert self._free, f"cycle {cycle()}: a frame slot that is not free"
        self._free = False
        assert int(dut.head_o.value) == head % INDEX, f"cycle {cycle()}: endpoint {endpoint}: not the chain at {head}"
        checksum = None
        if int(dut.alloc_sum_o.value):
            checksum = int(dut.alloc_start_o.value), int(dut.alloc_field_o.value)
        assert checksum == expected.checksum, f"cycle {cycle()}: checksum {checksum}, not {expected.checksum}"
        self._frame = endpoint, head, expected, Frame(0, 0), slot

    def _piece(self, endpoint: int, head: int, expected: Frame, found: Frame, slot: int) -> None:
        guest, at = self.guests[endpoint], len(found.pieces)
        assert at < len(expected.pieces), f"cycle {cycle()}: a read too many of {expected}"
        address, length, offset = expected.pieces[at]
        request = REQUEST.unpack(int(self.dut.dma_o.value))
        wanted = {"fetch": 0, "rx": 0, "ep": endpoint, "mode": guest.mode, "slot": slot, "first": int(at == 0),
                  "index": head % INDEX, "addr": address, "len": length, "dest": slot * FRAME_BYTES + offset}
        assert request == wanted, f"cycle {cycle()}: {request}, not {wanted}"
        found.pieces.append(expected.pieces[at])

    def _copy(self, endpoint: int, head: int, expected: Frame, found: Frame, slot: int) -> None:
        dut = self.dut
        place, lanes = int(dut.inline_addr_o.value) * 8, int(dut.inline_be_o.value)
        count = min(8, len(expected.copied) - len(found.copied))
        assert place == slot * FRAME_BYTES + len(found.copied) and lanes == (1 << count) - 1, f"cycle {cycle()}: {expected}"
        found.copied += int(dut.inline_data_o.value).to_bytes(8, "little")[:count]

    def _end(self, value: dict[str, int]) -> None:
        assert self._frame is not None
        dut = self.dut
        endpoint, head, expected, found, slot = self._frame
        guest = self.guests[endpoint]
        found.status, found.length = int(dut.close_status_o.value), int(dut.close_len_o.value)
        found.next, found.halts, found.checksum = int(dut.close_next_o.value), bool(value["halt"]), expected.checksum
        expected.next %= INDEX
        assert found == expected, f"cycle {cycle()}: endpoint {endpoint}, chain {head}: {found}, not {expected}"
        assert int(dut.close_slot_o.value) == slot
        guest.consumer += (expected.next - guest.consumer) % INDEX
        guest.halted = found.halts
        self.closed.append((endpoint, found.status))
        self._frame = None
