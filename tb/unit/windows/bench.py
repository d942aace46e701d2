"""The bench around `windows_bench`: every cycle, what happened at the last clock edge against the oracle."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Final

from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from tb.cosim import bound
from tb.unit.windows.oracle import Ask, Table

PERIOD_NS: Final = 4
USERS: Final = 4
ENDS: Final = 5
TURNS: Final = USERS + 1
"""Look-ups after which everybody who asks has been served: the users and the control BAR."""
READ_LIMIT: Final = TURNS + 3
DRAIN: Final = 5
"""Cycles from the end of the last DMA that a fence waits for to idle: its count, another fence behind it, the bench's
registers."""
INPUTS: Final = ("req_i", "write_i", "addr_i", "data_i", "want_i", "ep_i", "mode_i", "range_i", "len_i", "store_i",
                 "start_i", "end_i", "end_epoch_i", "refuse_i", "full_i")


@dataclass
class Access:
    """An access of the control BAR: a write when `value` is not None."""

    endpoint: int
    window: int
    word: int
    value: int | None = None


@dataclass
class Flight:
    """An authorised DMA."""

    begun: int
    epoch: int


class Bench:
    """`cycle` applies inputs for one clock edge and checks what it did."""

    def __init__(self, dut: Any, seed: int) -> None:
        bound.start()
        self.dut = dut
        self.random = random.Random(seed)
        self.table = Table()
        self.now = 0
        self.asks: list[Ask | None] = [None] * USERS
        self.waited = [0] * USERS
        self.expected: list[tuple[Any, int, int] | None] = [None] * USERS
        self.flights: list[Flight] = []
        self.verdicts: list[Any] = []
        """Of every decision: why it was refused, or None."""
        self.reads: list[int] = []
        self._read: tuple[int, int] | None = None
        self._written = False
        self.started = -1
        """Last edge at which a fence was started."""
        self.fences: list[tuple[int, int]] = []
        """(edge, fences ended as read behind it) of fences not known to be over."""
        self.covered = -1
        """Last edge whose DMA some fence waits for: one behind another waits for what has begun until that has ended."""
        self.quiet_since = 0
        self.busy = False
        self.ended = 0

    async def start(self) -> None:
        """Reset: everything that was valid is not."""
        dut = self.dut
        for name in INPUTS:
            getattr(dut, name).value = 0
        dut.bus_master_i.value = 1
        dut.vf_enable_i.value = 1
        dut.rst_i.value = 1
        if not self.now:
            Clock(dut.clk_i, PERIOD_NS, unit="ns").start(start_high=False)
        for _ in range(3):
            await FallingEdge(dut.clk_i)
        dut.rst_i.value = 0
        for row in self.table.rows.values():
            row.valid = False
        self.flights.clear()

    async def cycle(self, access: Access | None = None, *, start: bool = False, ends: int = 0) -> None:
        """One clock edge: serve `self.asks`, one access of the control BAR, a fence, the end of `ends` random DMA."""
        dut = self.dut
        over = [self.flights.pop(self.random.randrange(len(self.flights))) for _ in range(ends)]
        places = self.random.sample(range(ENDS), ends)
        dut.end_i.value = sum(1 << p for p in places)
        dut.end_epoch_i.value = sum(flight.epoch << p for p, flight in zip(places, over, strict=True))
        dut.start_i.value = int(start)
        dut.req_i.value = int(access is not None)
        if access is not None:
            dut.write_i.value = int(access.value is not None)
            dut.addr_i.value = (access.endpoint << 8 | access.window) << 4 | access.word << 2
            dut.data_i.value = access.value or 0
        asks = [ask or Ask(0, 0, 0, 1, False) for ask in self.asks]
        dut.want_i.value = sum((ask is not None) << u for u, ask in enumerate(self.asks))
        dut.ep_i.value = sum(ask.endpoint << 6 * u for u, ask in enumerate(asks))
        dut.mode_i.value = sum(ask.mode << 3 * u for u, ask in enumerate(asks))
        dut.range_i.value = sum(ask.address << 64 * u for u, ask in enumerate(asks))
        dut.len_i.value = sum(ask.length << 14 * u for u, ask in enumerate(asks))
        dut.store_i.value = sum(ask.write << u for u, ask in enumerate(asks))
        await FallingEdge(dut.clk_i)
        self.now += 1
        self._check_decisions()
        self._check_service(access)
        self._check_fence(start)

    def _check_decisions(self) -> None:
        judged, ok = int(self.dut.judged_o.value), int(self.dut.ok_o.value)
        reasons, machines, rids = (int(getattr(self.dut, f"{name}_o").value) for name in ("reason", "machine", "rid"))
        for user, expected in enumerate(self.expected):
            assert judged >> user & 1 == (expected is not None), f"edge {self.now}: user {user}"
            if expected is None:
                continue
            why, machine, requester = expected
            found = None if ok >> user & 1 else reasons >> 8 * user & 0xFF
            assert found == why, f"edge {self.now}: user {user} got {found}, expected {why!r}"
            assert rids >> 16 * user & 0xFFFF == requester
            if why is None:
                assert machines >> 64 * user & (1 << 64) - 1 == machine, f"edge {self.now}: user {user}"
                self.flights.append(Flight(self.now, int(self.dut.epoch_o.value)))
            self.verdicts.append(why)
        self.expected = [None] * USERS

    def _check_service(self, access: Access | None) -> None:
        served = int(self.dut.served_o.value)
        assert served.bit_count() <= 1
        for user, ask in enumerate(self.asks):
            if served >> user & 1:
                assert ask is not None, f"edge {self.now}: user {user} was served and did not ask"
                # the table as it was before this edge
                self.expected[user] = self.table.judge(ask)
                self.asks[user], self.waited[user] = None, 0
            elif ask is not None:
                self.waited[user] += 1
                assert self.waited[user] < TURNS, f"edge {self.now}: user {user} waits for {self.waited[user]} look-ups"
        assert int(self.dut.wr_ack_o.value) == self._written
        self._written = access is not None and access.value is not None
        if int(self.dut.rd_ack_o.value):
            assert self._read is not None
            self.reads.append(int(self.dut.data_o.value))
            assert self.reads[-1] == self._read[1], f"edge {self.now}: read back {self.reads[-1]:#x}"
            self._read = None
        elif self._read is not None:
            assert self.now - self._read[0] < READ_LIMIT, "a read of the control BAR is not answered"
        if access is None:
            return
        if access.value is not None:
            self.table.write(access.endpoint, access.window, access.word, access.value)
        else:
            self._read = self.now, self.table.read(access.endpoint, access.window, access.word)

    @property
    def free(self) -> bool:
        """The control BAR may be accessed."""
        return self._read is None and not self._written

    def _check_fence(self, start: bool) -> None:
        ended_before = self.ended
        self.busy, self.ended = bool(int(self.dut.busy_o.value)), int(self.dut.ended_o.value)
        if self.busy and self.ended != ended_before:
            self.covered = self.now - 1
        if start:
            self.started = self.now
            self.fences.append((self.now, self.ended))
            assert self.busy, "the cycle of the start reads busy already"
        due = [flight for flight in self.flights if flight.begun <= self.started]
        assert self.busy or not due, f"edge {self.now}: idle with {due} after a fence at {self.started}"
        if start or due or any(flight.begun <= self.covered for flight in self.flights):
            self.quiet_since = self.now
        assert not self.busy or self.now - self.quiet_since <= DRAIN, f"edge {self.now}: busy for nothing"
        for begun, ended in self.fences:
            if self.ended - ended & 0xFFFF >= 2:
                assert not any(flight.begun <= begun for flight in self.flights), f"fence of edge {begun} is not over"
        self.fences = [f for f in self.fences if self.busy and self.ended - f[1] & 0xFFFF < 2]

    async def register(self, endpoint: int, window: int, address: int, control: int) -> None:
        """The hypervisor's order: address words, then control."""
        for word, value in ((0, address & 0xFFFF_FFFF), (1, address >> 32), (2, control)):
            await self.cycle(Access(endpoint, window, word, value))
            await self.cycle()

    async def ask(self, ask: Ask, user: int = 0) -> Any:
        """One decision with nobody else there: why it is refused, or None."""
        self.asks[user] = ask
        await self.cycle()
        await self.cycle()
        return self.verdicts[-1]
