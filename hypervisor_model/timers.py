"""Timers of a vCPU: each raises VIRQ_TIMER there. Source: Xen `xen/include/public/vcpu.h`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sw.platform import Platform

_ARM_NS: Final = 1 << 50
"""The machine's timer is set so far ahead at most, and then anew."""


class Timer:
    """Fires at a system time, and perhaps again each period after that, until it is stopped or set to something else."""

    def __init__(self, platform: Platform, fire: Callable[[], None]) -> None:
        self._platform = platform
        self._fire = fire
        self._turn = 0
        """Counts what it was set to: calls of the machine's timer for anything older mean nothing."""

    def set(self, deadline: int, period: int = 0) -> None:
        """Fire at `deadline` (ns), at once if that has passed, and with a `period` each such time (ns) after it."""
        self._turn += 1
        self._arm(self._turn, deadline, period)

    def stop(self) -> None:
        """Fire no more."""
        self._turn += 1

    def _arm(self, turn: int, deadline: int, period: int) -> None:
        wait = min(deadline - self._platform.now(), _ARM_NS)
        self._platform.call_after(max(wait, 0), lambda: self._expire(turn, deadline, period))

    def _expire(self, turn: int, deadline: int, period: int) -> None:
        if turn != self._turn:
            return
        if self._platform.now() < deadline:
            self._arm(turn, deadline, period)
            return
        if period:
            self._arm(turn, deadline + period, period)
        self._fire()


class VcpuTimers:
    """The two timers of one vCPU."""

    def __init__(self, platform: Platform, fire: Callable[[], None]) -> None:
        """`fire` raises VIRQ_TIMER on the vCPU."""
        self.single_shot = Timer(platform, fire)
        self.periodic = Timer(platform, fire)

    def stop(self) -> None:
        """The vCPU will run no more."""
        self.single_shot.stop()
        self.periodic.stop()
