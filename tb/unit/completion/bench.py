"""The bench around the completion writer: chains that end, guests' rings, a sink of writes, the fence's count."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Final

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from sw.abi.registers import Completion, Mode
from tb.unit.dma_read.bench import REFUSAL, WINDOW
from tb.unit.fetch.bench import CTRL
from tb.unit.mwr import MwrSink, Write
from tb.unit.packed import Packed
from tb.unit.streams import PATTERNS, StreamSource, cycle, cycles, settle, start
from tb.unit.windows.oracle import BUS, LARGE, SMALL, Ask, Table

END: Final = Packed("ep:6 next_index:16 len:14 status:8 stamp:64")
POSTED: Final = Packed("valid:1 ep:6 cq:3 index:16 count:4")
ENTRY: Final = Completion.BYTES
PAGE: Final = 4096
DEPTH: Final = 8
"""Entries that can wait for each endpoint; 128 bytes are the smallest Max_Payload_Size."""
INDEX: Final = 1 << 16
TAG: Final = 0x40
"""Kind of the write in bits 7:6 of its tag: a send completion."""
INPUTS: Final = ("end_i", "end_valid_i", "start_i", "start_ep_i", "look_ready_i", "window_i", "epoch_i", "mwr_next_i",
                 "mwr_done_i", "status_ep_i")


@dataclass
class Guest:
    """An endpoint's completion ring."""

    endpoint: int
    mode: int
    log2: int
    base: int
    index: int = 0
    waiting: list[tuple[int, dict[str, int]]] = field(default_factory=list)
    """(cycle in which it was taken, chain end)."""
    refused: int = 0
    written: int = 0


def entry(end: dict[str, int], index: int, log2: int) -> bytes:
    """A completion entry: big-endian words; the phase is 1 on a ring's first lap and changes with each."""
    words = {Completion.STAMP_HI: end["stamp"] >> 32, Completion.STAMP_LO: end["stamp"] & 0xFFFF_FFFF,
             Completion.INDEX: end["next_index"] << 16 | end["len"], Completion.STATUS: end["status"] << 8 | (~index >> log2 & 1)}
    return b"".join(words[at].to_bytes(4, "big") for at in sorted(words))


@dataclass
class TB:
    dut: Any
    random: random.Random
    idle: str = "always"
    pressure: str = "always"
    look: float = 1.0
    epochs: float = 0.0
    guests: dict[int, Guest] = field(default_factory=dict)
    table: Table = field(default_factory=Table)
    served: list[tuple[int, int]] = field(default_factory=list)
    """(endpoint, entries) of each write."""

    async def start(self) -> None:
        dut = self.dut
        await start(dut, INPUTS)
        dut.bus_i.value, dut.bus_master_i.value, dut.vf_enable_i.value = BUS, 1, 1
        self.ends = StreamSource(dut, "end", PATTERNS[self.idle](self.random))
        self.sink = MwrSink(dut, "mwr", self.random, PATTERNS[self.pressure](self.random))
        self._writes = 0
        self._now: tuple[Guest, int, int] | None = None
        self._expected: list[Write] = []
        self._retired: tuple[int, ...] | None = None
        self._left, self._left_ep = 0, -1
        self._epoch = 0
        self.counted = [0, 0]
        cocotb.start_soon(self._run())

    async def add(self, guest: Guest) -> Guest:
        dut = self.dut
        dut.ctrl_q[guest.endpoint].value = CTRL.pack(enable=1, mode=guest.mode, cq_log2=guest.log2)
        dut.base_q[guest.endpoint].value = guest.base
        dut.start_i.value, dut.start_ep_i.value = 1, guest.endpoint
        await FallingEdge(dut.clk_i)
        dut.start_i.value = 0
        self.guests[guest.endpoint] = guest
        return guest

    def end(self, guest: Guest) -> None:
        """A chain of the endpoint ends."""
        rng = self.random
        self.ends.queue([END.pack(ep=guest.endpoint, next_index=rng.getrandbits(16), len=rng.randrange(9019),
                                  status=rng.randrange(13), stamp=rng.getrandbits(64))])

    async def finish(self) -> None:
        await settle(self.dut, lambda: self.ends.idle and not any(g.waiting for g in self.guests.values()), "every chain's end is written")
        await cycles(self.dut, 4)
        for (now, found), expected in zip(self.sink.writes, self._expected, strict=True):
            assert found == expected, f"cycle {now}: {found}, not {expected}"
        assert self.counted == [0, 0]
        for guest in self.guests.values():
            self.dut.status_ep_i.value = guest.endpoint
            await ReadOnly()
            assert int(self.dut.status_index_o.value) == guest.index % INDEX
            await FallingEdge(self.dut.clk_i)

    async def _run(self) -> None:
        dut, rng = self.dut, self.random
        window = 0
        while True:
            await FallingEdge(dut.clk_i)
            self._epoch ^= int(rng.random() < self.epochs)
            dut.epoch_i.value = self._epoch
            looked = rng.random() < self.look
            dut.look_ready_i.value = int(looked)
            dut.window_i.value, window = window, WINDOW.pack(valid=1)
            await ReadOnly()
            if int(dut.look_o.value) and looked:
                guest = self.guests[int(dut.ep_o.value)]
                index = int(dut.look_index_o.value)
                row = self.table.row(guest.endpoint, index)
                window = WINDOW.pack(valid=row.valid, writable=row.writable, is_large=row.large, number=row.sequence,
                                     address=row.address >> 12)
                address = guest.base + guest.index % (1 << guest.log2) * ENTRY
                assert index == address // (LARGE if address >> 63 else SMALL) % 256
            self._retire()
            if int(dut.checked_o.value):
                self._judge()
            self._take()

    def _take(self) -> None:
        dut = self.dut
        if not int(dut.end_valid_i.value):
            return
        end = END.unpack(int(dut.end_i.value))
        guest = self.guests[end["ep"]]
        ready = bool(int(dut.end_ready_o.value))
        # what retires in this cycle makes room for the next one
        assert ready == (self._before(guest) < DEPTH), f"cycle {cycle()}: endpoint {end['ep']} has {self._before(guest)} waiting"
        if ready:
            guest.waiting.append((cycle(), end))

    def _before(self, guest: Guest) -> int:
        return len(guest.waiting) + (self._left if self._left_ep == guest.endpoint else 0)

    def _judge(self) -> None:
        """A write is decided on: all that were ready, up to the ring's end and the page's."""
        dut = self.dut
        guest = self.guests[int(dut.ep_o.value)]
        # in mode `windows` the look-up lies between
        decided = cycle() - (guest.mode == Mode.WINDOWS)
        ready = sum(taken < decided for taken, _ in guest.waiting)
        place = guest.index % (1 << guest.log2)
        address = guest.base + place * ENTRY
        count = min(ready, (1 << guest.log2) - place, (PAGE - address % PAGE) // ENTRY)
        assert count, f"cycle {cycle()}: endpoint {guest.endpoint} has nothing to write"
        why, machine, requester = self.table.judge(Ask(guest.endpoint, guest.mode, address, count * ENTRY, True))
        refusal = REFUSAL.unpack(int(dut.refusal_o.value))
        assert int(dut.begin_o.value) == (why is None)
        if why is not None:
            assert refusal == {"valid": 1, "ep": guest.endpoint, "write": 1, "reason": why, "addr": address}, f"{refusal}"
            assert self._retired == (guest.endpoint, guest.index % INDEX, count), f"cycle {cycle()}: {self._retired}"
            guest.refused += count
            self._leave(guest, count)
            return
        assert not refusal["valid"]
        data = b"".join(entry(end, guest.index + n, guest.log2) for n, (_, end) in enumerate(guest.waiting[:count]))
        self._expected.append(Write(requester, TAG | self._writes % 64, machine, data))
        self._now = guest, count, self._epoch
        self.counted[self._epoch] += 1
        self._writes += 1

    def _retire(self) -> None:
        """A write's last beat has left: its entries are told as visible, and it no longer counts."""
        dut = self.dut
        self._retired, self._left, self._left_ep = None, 0, -1
        if int(dut.retire_o.value):
            self._retired = tuple(int(getattr(dut, f"retire_{name}_o").value) for name in ("ep", "index", "count"))
        posted, finished = POSTED.unpack(int(dut.posted_o.value)), int(dut.finished_o.value)
        done = int(dut.mwr_done_i.value)
        assert posted["valid"] == finished == done, f"cycle {cycle()}: {posted}"
        if not done:
            return
        assert self._now is not None
        guest, count, epoch = self._now
        assert self._retired == (guest.endpoint, guest.index % INDEX, count)
        expected = {"valid": 1, "ep": guest.endpoint, "cq": 0, "index": (guest.index + count) % INDEX, "count": count}
        assert posted == expected, f"cycle {cycle()}: {posted}, not {expected}"
        assert int(dut.end_epoch_o.value) == epoch
        self.counted[epoch] -= 1
        guest.written += count
        self.served.append((guest.endpoint, count))
        self._leave(guest, count)
        self._now = None

    def _leave(self, guest: Guest, count: int) -> None:
        del guest.waiting[:count]
        guest.index += count
        self._left, self._left_ep = count, guest.endpoint
