"""The guest kernel's timers: any number of them on the one single-shot timer of vCPU 0, where its software runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

from sw.platform import PlatformTimeoutError, Signal
from sw.xen.xen import Virq

if TYPE_CHECKING:
    from sw.guest.machine import GuestMachine

SETUP_NS: Final = 1_000_000
"""Bound for another coroutine's hypercalls."""
LOOK_NS: Final = 1_000_000_000
"""Who waits looks again after so long, as after any wake-up without a reason."""


@dataclass(frozen=True)
class Timer:
    """One that is set."""

    deadline: int
    """System time, ns."""
    number: int
    action: Callable[[], None]

    def __lt__(self, other: Timer) -> bool:
        return (self.deadline, self.number) < (other.deadline, other.number)


class GuestTimers:
    """Timers that fire once."""

    def __init__(self, machine: GuestMachine) -> None:
        self._machine = machine
        self._timers: list[Timer] = []
        self._count = 0
        self._port = 0
        self._starting = False
        self._started = machine.signal()

    async def wait_until(self, condition: Callable[[], bool], signal: Signal, timeout_ns: int) -> bool:
        """Sleep until `condition` holds, looked at after each `notify`: True. False when `timeout_ns` has passed first."""
        if condition():
            return True
        late = False

        def expire() -> None:
            nonlocal late
            late = True
            signal.notify()

        timer = await self._set(timeout_ns, expire)
        try:
            while not condition():
                if late:
                    return False
                await signal.wait(LOOK_NS)
            return True
        finally:
            self._cancel(timer)

    def reset(self) -> None:
        """All event channels have been closed; nobody waits."""
        self._port = 0
        self._timers.clear()
        self._machine.hypercall.stop_singleshot_timer()

    async def _set(self, ns: int, action: Callable[[], None]) -> Timer:
        """Call `action` in `ns` from now."""
        await self._start()
        self._count += 1
        timer = Timer(self._machine.now() + ns, self._count, action)
        heappush(self._timers, timer)
        if self._timers[0] is timer:
            self._program()
        return timer

    def _cancel(self, timer: Timer) -> None:
        if timer not in self._timers:
            return
        first = self._timers[0] is timer
        self._timers.remove(timer)
        heapify(self._timers)
        if first:
            self._program()

    def _program(self) -> None:
        """Set the vCPU's timer for the first of them; those whose time has come fire."""
        hypercall = self._machine.hypercall
        while self._timers and not hypercall.set_singleshot_timer(self._timers[0].deadline):
            heappop(self._timers).action()
        if not self._timers:
            hypercall.stop_singleshot_timer()

    def _interrupt(self) -> None:
        now = self._machine.now()
        while self._timers and self._timers[0].deadline <= now:
            heappop(self._timers).action()
        if self._timers:
            self._program()

    async def _start(self) -> None:
        """Bind the interrupt, once."""
        if not self._port and not self._starting:
            self._starting = True
            try:
                port = await self._machine.hypercall.event_bind_virq(Virq.TIMER)
                await self._machine.kernel.bind_event(port, self._interrupt)
                self._port = port
            finally:
                self._starting = False
                self._started.notify()
        while not self._port:
            if not await self._started.wait(SETUP_NS):
                raise PlatformTimeoutError(f"VIRQ_TIMER: not bound in {SETUP_NS} ns, another coroutine does it")
