"""Virtual CPUs: what their software owes in time, when they run, and where the time went.

Software runs in no time between two calls that sleep; what it did meanwhile is owed (`spend`) and paid at the next such
call: on a core, in the order in which it was spent. Posted MMIO writes keep their place in that order. The coroutines of
a domain are threads of its vCPU: one runs or is inside the hypervisor, others may poll beside it.

Without a scheduler software takes no time: nothing is owed and cores are not looked at.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Final

from hypervisor_model.costs import PS, CostTable, Payer
from hypervisor_model.faults import DomainCrashedError
from hypervisor_model.scheduler import Core, Scheduler
from sw.platform import Platform, PlatformTimeoutError, Signal
from sw.xen.vcpu import RunstateState

STORE_BYTES: Final = 8
"""A longer MMIO write can only be a burst out of a write-combining buffer."""
BURST: Final = 64
WAIT_LIMIT_NS: Final = 1_000_000_000
"""Bound of every wait for a core, for the vCPU's other coroutines, and to be unpaused."""
POLL_PART_NS: Final = 100_000
"""A poll looks this often whether its vCPU still runs."""
ROUNDING: Final = "rounding"
"""Operation under which time stands that a core has given and no operation has used up yet."""


class VcpuState(Enum):
    """Where a vCPU is."""

    RUNNING = "running"
    RUNNABLE = "runnable"
    """It waits for a core."""
    BLOCKED = "blocked"
    PAUSED = "paused"
    OFFLINE = "offline"
    """Not brought up yet, or taken down."""


_RUNSTATE: Final = {
    VcpuState.RUNNING: RunstateState.RUNNING,
    VcpuState.RUNNABLE: RunstateState.RUNNABLE,
    VcpuState.BLOCKED: RunstateState.BLOCKED,
    VcpuState.PAUSED: RunstateState.OFFLINE,
    VcpuState.OFFLINE: RunstateState.OFFLINE,
}


@dataclass(frozen=True)
class Runstate:
    """State of a vCPU since `entered` (ns), and the time in each state before and since."""

    state: RunstateState
    entered: int
    times: tuple[int, ...]


@dataclass(frozen=True)
class _Work:
    payer: Payer
    operation: str
    picoseconds: int


@dataclass(frozen=True)
class _Write:
    """A posted MMIO write behind work that is not done yet."""

    address: int
    data: bytes


@dataclass
class Visit:
    """One stay in the hypervisor."""

    ns: int = 0
    """Time in it, once it is over; with a scheduler time on a core."""


class _Stay:
    """One coroutine's claim to be the one that the vCPU runs, on a core."""

    def __init__(self, vcpu: Vcpu) -> None:
        self._vcpu = vcpu
        self.held = False

    async def begin(self) -> None:
        await self._vcpu.begin_stay()
        self.held = True

    def end(self) -> None:
        if self.held:
            self.held = False
            self._vcpu.end_stay()


class Vcpu:
    """One virtual CPU of a domain."""

    def __init__(
        self,
        platform: Platform,
        costs: CostTable,
        scheduler: Scheduler | None,
        name: str,
        domid: int,
        number: int,
        *,
        halts: bool,
        affinity: frozenset[int] | None,
    ) -> None:
        """`affinity`: numbers of the cores it may use; None: any."""
        self._platform = platform
        self._costs = costs
        self._scheduler = scheduler
        self.name = name
        self.domid = domid
        self.number = number
        self.halts = halts
        """It gives its core up when it has nothing to do (HLT leaves the guest); else it idles there until another needs it."""
        self._affinity = affinity
        self.core: Core | None = None
        self._up = True
        self._pauses = 0
        self._stopped = ""
        self._signal = platform.signal()
        self._sleepers: list[Signal] = []
        self._items: deque[_Work | _Write] = deque()
        self._credit = 0
        """Picoseconds that a core gave beyond what was owed."""
        self._ran = 0
        self._booked = platform.now()
        self._wanted = 0
        """Coroutines that need the core now."""
        self._exclusive = False
        self._stay: _Stay | None = None
        self._paying = False
        self._reading = False
        self._call: str | None = None
        self._polls = 0
        self._waits = 0
        self._waking = False
        self._port_polls = 0
        self._ports = platform.signal()
        self.upcalls = platform.signal()
        """Notified at each upcall."""
        self._runstate = self._state_now()
        self._entered = platform.now()
        self._times = dict.fromkeys(RunstateState, 0)

    # --- state -----------------------------------------------------------------------------------

    @property
    def state(self) -> VcpuState:
        """Where it is now."""
        if not self._up:
            return VcpuState.OFFLINE
        if self._pauses:
            return VcpuState.PAUSED
        if self._scheduler is None:
            asleep = self._waits and not self._polls and self.halts
            return VcpuState.BLOCKED if asleep else VcpuState.RUNNING
        if self.core is not None:
            return VcpuState.RUNNING
        return VcpuState.RUNNABLE if self._scheduler.is_queued(self) else VcpuState.BLOCKED

    @property
    def idles(self) -> bool:
        """It is on a core and has nothing to run there."""
        return self.core is not None and not self._wanted

    @property
    def is_up(self) -> bool:
        """It has been brought up."""
        return self._up

    def may_use(self, core: Core) -> bool:
        """Its affinity allows the core."""
        return self._affinity is None or core.number in self._affinity

    def runstate(self) -> Runstate:
        """As VCPUOP_get_runstate_info tells it."""
        self._note()
        times = dict(self._times)
        times[self._runstate] += self._platform.now() - self._entered
        return Runstate(self._runstate, self._entered, tuple(times[state] for state in RunstateState))

    def ran(self) -> int:
        """Nanoseconds on cores; without a scheduler simply the time."""
        if self._scheduler is None:
            return self._platform.now()
        self._book()
        return self._ran

    @property
    def owed(self) -> int:
        """Picoseconds that it will have to be on a core for what its software has done."""
        return sum(item.picoseconds for item in self._items if isinstance(item, _Work)) - self._credit

    @property
    def owed_ns(self) -> int:
        """The same in nanoseconds, 0 or more."""
        return max(self.owed, 0) // PS if self._items else 0

    def bring(self, *, up: bool) -> None:
        """Bring it up, or take it down: it runs nothing until it is brought up again."""
        if up != self._up:
            self._up = up
            self._stand_still() if not up else self._go_on()

    def pause(self) -> None:
        """Off its core until as many `unpause`."""
        self._pauses += 1
        self._stand_still()

    def unpause(self) -> None:
        """Undo one `pause`."""
        self._pauses -= 1
        self._go_on()

    def stop(self, reason: str) -> None:
        """Nothing runs on it any more: its coroutines get `DomainCrashedError(reason)` at their next call that sleeps."""
        self._stopped = reason
        self._items.clear()
        self._stand_still()
        for sleeper in list(self._sleepers):
            sleeper.notify()
        self._signal.notify()

    def check(self) -> None:
        """Raise `DomainCrashedError` when it has been stopped."""
        if self._stopped:
            raise DomainCrashedError(self._stopped)

    # --- what software does between two calls that sleep ----------------------------------------------

    def spend(self, operation: str, count: int = 1) -> None:
        """`operation` was done `count` times. `KeyError` when the cost table does not have it."""
        cost = self._costs[operation]
        if cost.picoseconds and count and not self._stopped:
            self._owe(_Work(cost.payer, operation, cost.picoseconds * count))

    def post(self, address: int, data: bytes) -> None:
        """A posted MMIO write: at once if nothing is owed before it and the vCPU can run, else in its turn."""
        if self._scheduler is None:
            if self._pauses or not self._up:
                self._items.append(_Write(address, data))
            else:
                self._platform.mmio_write(address, data)
            return
        runs = self._state_allows() and (self.core is not None or self._scheduler.available(self))
        if runs and not self._items:
            self._platform.mmio_write(address, data)
        else:
            self._items.append(_Write(address, data))
        if len(data) <= STORE_BYTES:
            self.spend("mmio_write")
        else:
            self.spend("mmio_write_combined", -(-len(data) // BURST))

    def notified(self, *, posted: bool) -> None:
        """An upcall is delivered. `posted`: by hardware if it is running. A blocked vCPU wakes up."""
        state = self.state
        if state is VcpuState.BLOCKED and not self._waking:
            self._wake_up()
        elif not (posted and state is VcpuState.RUNNING):
            self.spend("event_to_running")
        self.spend("interrupt_entry")
        self.upcalls.notify()

    def event_pending(self) -> None:
        """A port of its domain has become pending, perhaps a masked one: whoever polls ports looks."""
        if self._port_polls:
            if self.state is VcpuState.BLOCKED and not self._waking:
                self._wake_up()
            self._ports.notify()

    def _wake_up(self) -> None:
        """The scheduler of the hypervisor has to do with it; until it is on a core further events find it awake."""
        self._waking = self._scheduler is not None
        self.spend("event_to_blocked")

    # --- calls that sleep ------------------------------------------------------------------------

    async def settle(self) -> None:
        """Pay what is owed. Waits until the vCPU may run. Raises `DomainCrashedError` once it has been stopped."""
        if self._scheduler is None:
            if not self._state_allows():
                await self._allowed()
            return
        if self._state_allows() and not self._exclusive and not self._items:
            return
        stay = _Stay(self)
        try:
            await stay.begin()
            await self._pay()
        finally:
            stay.end()
        self.check()

    async def sleep(self, ns: int) -> None:
        """Let simulated time pass, blocked."""
        await self.settle()
        with self._waiting():
            await self._platform.sleep(ns)
        await self.settle()

    async def wait(self, signal: Signal, timeout_ns: int) -> None:
        """Blocked until a signal is notified, the time is up, or the vCPU is stopped."""
        self._sleepers.append(signal)
        try:
            with self._waiting():
                await signal.wait(timeout_ns)
        finally:
            self._sleepers.remove(signal)

    async def wait_ports(self, timeout_ns: int) -> None:
        """Blocked until a port of the domain becomes pending, masked or not, or the time is up."""
        self._port_polls += 1
        try:
            await self.wait(self._ports, timeout_ns)
        finally:
            self._port_polls -= 1

    async def poll(self, address: int, expected: bytes, mask: bytes, timeout_ns: int) -> bool:
        """`Platform.monitor`, on a core all the while."""
        await self.settle()
        if self._scheduler is None:
            self._polls += 1
            try:
                found = await self._poll_alive(address, expected, mask, timeout_ns)
            finally:
                self._polls -= 1
        else:
            found = await self._poll_on_core(self._scheduler, address, expected, mask, timeout_ns)
        await self.settle()
        return found

    async def _poll_alive(self, address: int, expected: bytes, mask: bytes, timeout_ns: int) -> bool:
        """In parts, so that a vCPU that is stopped meanwhile does not poll to the end."""
        deadline = self._platform.now() + timeout_ns
        while True:
            part = min(deadline - self._platform.now(), POLL_PART_NS)
            if await self._platform.monitor(address, expected, mask, part):
                return True
            if self._stopped or self._platform.now() >= deadline:
                return False

    async def read(self, address: int, size: int) -> bytes:
        """An MMIO read: the core stalls until the answer is there."""
        if self._scheduler is None:
            await self.settle()
            data = await self._platform.mmio_read(address, size)
            await self.settle()
            return data
        stay = _Stay(self)
        try:
            await stay.begin()
            await self._pay()
            self._book()
            self._reading = True
            try:
                data = await self._platform.mmio_read(address, size)
            finally:
                self._book()
                self._reading = False
        finally:
            stay.end()
        await self.settle()
        return data

    @asynccontextmanager
    async def hypercall(self, name: str) -> AsyncIterator[Visit]:
        """The vCPU is inside the hypervisor, which is not preempted, on behalf of one coroutine."""
        visit = Visit()
        if self._scheduler is None:
            await self.settle()
            began = self._platform.now()
            yield visit
            visit.ns = self._platform.now() - began
            return
        stay = _Stay(self)
        try:
            await stay.begin()
            await self._pay()
            began = self.ran()
            self.spend("hypercall")
            await self._pay()
            self._call, self._stay = name, stay
            try:
                yield visit
            finally:
                self._book()
                self._call = self._stay = None
            await self._pay()
            visit.ns = self.ran() - began
        finally:
            stay.end()

    async def give_way(self) -> None:
        """Inside a hypercall: those who wait for the core go first."""
        if self._scheduler is not None:
            self._scheduler.rotate(self)
            await self._on_core()

    @asynccontextmanager
    async def blocked(self) -> AsyncIterator[None]:
        """Inside a hypercall: the vCPU gives its core up meanwhile, and its other coroutines may run."""
        call, stay = self._call, self._stay
        if self._scheduler is None or stay is None:
            yield
            self.check()
            return
        self._book()
        self._call = self._stay = None
        stay.end()
        yield
        await stay.begin()
        self._book()
        self._call, self._stay = call, stay

    # --- for the scheduler -----------------------------------------------------------------------

    def enter_core(self, core: Core) -> None:
        """It runs there from now on."""
        self._book()
        self._waking = False
        self.core = core
        self._note()

    def leave_core(self, *, willing: bool) -> None:
        """It is off its core, or out of the queue."""
        self._book()
        if self._scheduler is not None:
            self._scheduler.leave(self, willing=willing)
        self._note()

    def wake(self) -> None:
        """A core may be free for it."""
        self._signal.notify()

    def owe_first(self, operation: str) -> int:
        """It has to pay for `operation` before anything else; how many ns."""
        cost = self._costs[operation]
        if cost.picoseconds:
            self._items.appendleft(_Work(cost.payer, operation, cost.picoseconds))
        return cost.picoseconds // PS

    # --- for `_Stay` -----------------------------------------------------------------------------

    async def begin_stay(self) -> None:
        """Wait until no other coroutine has the vCPU, then have it."""
        deadline = self._platform.now() + WAIT_LIMIT_NS
        await self._allowed()
        while self._exclusive:
            await self._notified("its other coroutines to leave the vCPU", deadline)
            await self._allowed()
        self._exclusive = True
        self._wanted += 1
        try:
            await self._on_core()
        except BaseException:
            self.end_stay()
            raise

    def end_stay(self) -> None:
        """Let others have the vCPU."""
        self._exclusive = False
        self._unwant()
        self._signal.notify()

    # --- running ---------------------------------------------------------------------------------

    async def _pay(self) -> None:
        """Be on a core as long as is owed; posted writes leave in their turn."""
        scheduler = self._scheduler
        if scheduler is None:
            return
        self._book()
        self._paying = True
        try:
            while self._items:
                await self._on_core()
                self._book()
                ns = (self._owed_in_front() - self._credit) // PS
                if ns <= 0:
                    self._use_up()
                    continue
                scheduler.preempt(self)
                if self.core is not None:
                    await self._platform.sleep(min(ns, scheduler.slice_left(self)))
                    self._book()
        finally:
            self._book()
            self._paying = False

    def _owed_in_front(self) -> int:
        """Picoseconds of work before the first write."""
        total = 0
        for item in self._items:
            if isinstance(item, _Write):
                break
            total += item.picoseconds
        return total

    def _use_up(self) -> None:
        """The work in front has been paid for, to the nanosecond: account for it, let the writes behind it go."""
        while self._items and isinstance(self._items[0], _Work):
            work = self._items.popleft()
            assert isinstance(work, _Work)
            self._credit -= work.picoseconds
            self._account(work.payer, work.operation, work.picoseconds)
            self._account(Payer.GUEST, ROUNDING, -work.picoseconds)
        self._let_writes_go()

    def _let_writes_go(self) -> None:
        while self._items and isinstance(write := self._items[0], _Write):
            self._items.popleft()
            self._platform.mmio_write(write.address, write.data)

    async def _poll_on_core(
        self, scheduler: Scheduler, address: int, expected: bytes, mask: bytes, timeout_ns: int
    ) -> bool:
        deadline = self._platform.now() + timeout_ns
        self._wanted += 1
        self._polls += 1
        try:
            while True:
                await self._on_core()
                left = max(deadline - self._platform.now(), 0)
                part = min(left, scheduler.slice_left(self), POLL_PART_NS)
                if await self._platform.monitor(address, expected, mask, part):
                    # What it sees it sees on a core.
                    await self._on_core()
                    return True
                if self._platform.now() >= deadline:
                    return False
                self._book()
                if not self._exclusive or self._paying:
                    scheduler.preempt(self)
        finally:
            self._book()
            self._polls -= 1
            self._unwant()

    async def _on_core(self) -> None:
        """Wait until it has a core."""
        scheduler = self._scheduler
        deadline = self._platform.now() + WAIT_LIMIT_NS
        await self._allowed()
        while scheduler is not None and self.core is None:
            if scheduler.take(self):
                break
            self._note()
            await self._notified("a core", deadline)
            await self._allowed()

    def _unwant(self) -> None:
        self._wanted -= 1
        if not self._wanted:
            self.leave_core(willing=True)
            self._idle()

    def _idle(self) -> None:
        """A vCPU that does not halt waits on a core, if nobody else wants it."""
        scheduler = self._scheduler
        idles = self._waits and not self._wanted and not self.halts and self.core is None and self._state_allows()
        if scheduler is not None and idles and scheduler.available(self):
            scheduler.take(self)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """Nothing to run in this coroutine."""
        self._waits += 1
        self._idle()
        self._note()
        try:
            yield
        finally:
            self._waits -= 1
            if self._scheduler is not None and not self._waits and self.idles:
                self.leave_core(willing=True)
            self._note()

    # --- standing still --------------------------------------------------------------------------

    def _state_allows(self) -> bool:
        return self._up and not self._pauses and not self._stopped

    async def _allowed(self) -> None:
        """Wait until it is up and not paused. Raises `DomainCrashedError` once it has been stopped."""
        self.check()
        deadline = self._platform.now() + WAIT_LIMIT_NS
        while not self._state_allows():
            await self._notified("to be unpaused", deadline)
            self.check()

    async def _notified(self, purpose: str, deadline: int) -> None:
        if not await self._signal.wait(deadline - self._platform.now()):
            raise PlatformTimeoutError(f"{self.name} waited {WAIT_LIMIT_NS} ns for {purpose}")

    def _stand_still(self) -> None:
        self.leave_core(willing=False)

    def _go_on(self) -> None:
        if self._state_allows():
            # What is held without being owed for goes at once: nobody may be there to pay.
            self._let_writes_go()
            if self._wanted and self._scheduler is not None and self._scheduler.available(self):
                self._scheduler.take(self)
            self._idle()
        self._note()
        self._signal.notify()

    # --- accounts --------------------------------------------------------------------------------

    def _owe(self, work: _Work) -> None:
        # One item for each operation since the last write: a guest that never sleeps does not fill the queue.
        for n in range(len(self._items) - 1, -1, -1):
            item = self._items[n]
            if isinstance(item, _Write):
                break
            if (item.payer, item.operation) == (work.payer, work.operation):
                self._items[n] = _Work(work.payer, work.operation, item.picoseconds + work.picoseconds)
                return
        self._items.append(work)

    def _book(self) -> None:
        """Account for the time on the core since the last call."""
        now = self._platform.now()
        ns, self._booked = now - self._booked, now
        if self.core is None or not ns:
            return
        self._ran += ns
        if self._paying:
            self._credit += ns * PS
            self._account(Payer.GUEST, ROUNDING, ns * PS)
        elif self._call is not None:
            self._account(Payer.HYPERVISOR, self._call, ns * PS)
        elif self._reading:
            self._account(Payer.GUEST, "mmio_read", ns * PS)
        else:
            self._account(Payer.GUEST, "poll" if self._polls else "idle", ns * PS)

    def _account(self, payer: Payer, operation: str, picoseconds: int) -> None:
        if self._scheduler is not None:
            self._scheduler.accounts.add(self.domid, self.number, payer, operation, picoseconds)

    def _state_now(self) -> RunstateState:
        return _RUNSTATE[self.state]

    def _note(self) -> None:
        """Its state may have changed."""
        state = self._state_now()
        if state is not self._runstate:
            now = self._platform.now()
            self._times[self._runstate] += now - self._entered
            self._runstate, self._entered = state, now


class VcpuSignal:
    """Implements `sw.platform.Signal` for software on a vCPU: it blocks there. No `notify` since the call is lost."""

    def __init__(self, platform: Platform, vcpu: Vcpu) -> None:
        self._platform = platform
        self._vcpu = vcpu
        self._signal = platform.signal()
        self._notified = 0

    def notify(self) -> None:
        """Wake everybody who waits now."""
        self._notified += 1
        self._signal.notify()

    async def wait(self, timeout_ns: int) -> bool:
        """Sleep until the next `notify`: True; False when `timeout_ns` of simulated time has passed."""
        if timeout_ns <= 0:
            return False
        before = self._notified
        deadline = self._platform.now() + timeout_ns
        await self._vcpu.settle()
        if self._notified == before:
            await self._vcpu.wait(self._signal, deadline - self._platform.now())
        await self._vcpu.settle()
        return self._notified != before
