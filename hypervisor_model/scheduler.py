"""Physical cores: which vCPU runs where and when. Round robin with a time slice; a core runs one vCPU at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hypervisor_model.costs import Payer

if TYPE_CHECKING:
    from hypervisor_model.vcpus import Vcpu

SLICE_NS: Final = 1_000_000
"""A vCPU that others wait for leaves its core after this time; Xen's rate limit, too, is a millisecond."""
MAX_CORES: Final = 256


@dataclass(eq=False)
class Core:
    """One physical core."""

    number: int
    vcpu: Vcpu | None = None
    """Who runs."""
    last: Vcpu | None = None
    """Who ran last: its state is still there."""
    since: int = 0
    """When the slice of `vcpu` or `last` began, ns."""
    left: int = -1
    """When `last` left of its own accord, ns; -1: it had to."""
    changed: int = 0
    """Since when it is as busy or idle as it is, ns."""
    busy_ns: int = 0
    idle_ns: int = 0
    switches: int = 0
    """Times that it took up another vCPU than it ran last."""


class TimeAccounts:
    """Time on cores, by vCPU, payer and operation. All times of one vCPU add up to what its cores were busy with it."""

    def __init__(self) -> None:
        self._picoseconds: dict[tuple[int, int, Payer, str], int] = {}

    def add(self, domid: int, vcpu: int, payer: Payer, operation: str, picoseconds: int) -> None:
        """One operation took time."""
        key = domid, vcpu, payer, operation
        self._picoseconds[key] = self._picoseconds.get(key, 0) + picoseconds

    def rows(self) -> list[tuple[int, int, Payer, str, int]]:
        """(domid, vCPU, payer, operation, picoseconds), sorted."""
        return [(*key, value) for key, value in sorted(self._picoseconds.items()) if value]

    def total(self, *, domid: int | None = None, payer: Payer | None = None, operation: str | None = None) -> int:
        """Picoseconds of everything that matches."""
        return sum(
            value
            for (of_domid, _, of_payer, of_operation), value in self._picoseconds.items()
            if domid in (None, of_domid) and payer in (None, of_payer) and operation in (None, of_operation)
        )


class Scheduler:
    """Hands cores to vCPUs that have something to run."""

    def __init__(self, now: Callable[[], int], cores: int, slice_ns: int = SLICE_NS) -> None:
        """`cores` of them, 1 to 256; `slice_ns` is 1 or more."""
        if not 1 <= cores <= MAX_CORES:
            raise ValueError(f"cores is {cores}: 1 to {MAX_CORES}")
        if slice_ns < 1:
            raise ValueError(f"slice_ns is {slice_ns}: 1 or more")
        self._now = now
        self._start = now()
        self.slice_ns = slice_ns
        self.cores = [Core(number, since=self._start, changed=self._start) for number in range(cores)]
        self._queue: list[Vcpu] = []
        self.accounts = TimeAccounts()

    def take(self, vcpu: Vcpu) -> bool:
        """Put a vCPU on a core, if one is free for it; else it waits in the queue, and is woken to try again."""
        core = self._free_core(vcpu)
        if core is None:
            if vcpu not in self._queue:
                self._queue.append(vcpu)
            return False
        if vcpu in self._queue:
            self._queue.remove(vcpu)
        now = self._now()
        if core.vcpu is not None:
            # It only idled there.
            core.vcpu.leave_core(willing=False)
        stays = core.last is vcpu and core.left == now and now - core.since < self.slice_ns
        if not stays:
            core.since = now
        if core.last is not vcpu and core.last is not None:
            core.switches += 1
            # The slice begins after it: however short, it gets the vCPU on.
            core.since += vcpu.owe_first("context_switch")
        core.idle_ns += now - core.changed
        core.changed = now
        core.vcpu = core.last = vcpu
        vcpu.enter_core(core)
        self._wake()
        return True

    def available(self, vcpu: Vcpu) -> bool:
        """`take` would succeed."""
        return self._free_core(vcpu) is not None

    def leave(self, vcpu: Vcpu, *, willing: bool = True) -> None:
        """Take a vCPU off its core or out of the queue. `willing`: it may come back in the same instant, before others."""
        core = vcpu.core
        if core is None:
            if vcpu in self._queue:
                self._queue.remove(vcpu)
                self._wake()
            return
        now = self._now()
        core.busy_ns += now - core.changed
        core.changed = now
        core.vcpu = vcpu.core = None
        core.left = now if willing else -1
        self._wake()

    def preempt(self, vcpu: Vcpu) -> None:
        """Its slice may be over: if somebody waits for the core, the vCPU goes to the end of the queue."""
        core = vcpu.core
        if core is None or self._now() - core.since < self.slice_ns:
            return
        if not self.rotate(vcpu):
            core.since = self._now()

    def rotate(self, vcpu: Vcpu) -> bool:
        """If somebody waits for its core the vCPU goes to the end of the queue: True."""
        core = vcpu.core
        if core is None or not any(other.may_use(core) for other in self._queue):
            return False
        vcpu.leave_core(willing=False)
        self._queue.append(vcpu)
        return True

    def slice_left(self, vcpu: Vcpu) -> int:
        """Nanoseconds until `preempt` may take the core, at least 1."""
        core = vcpu.core
        return self.slice_ns if core is None else max(1, core.since + self.slice_ns - self._now())

    def is_queued(self, vcpu: Vcpu) -> bool:
        """It waits for a core."""
        return vcpu in self._queue

    def elapsed(self) -> int:
        """Nanoseconds since the cores were there."""
        return self._now() - self._start

    def times(self) -> list[tuple[int, int]]:
        """Busy and idle ns of each core until now: each pair adds up to `elapsed`."""
        now = self._now()
        result = []
        for core in self.cores:
            open_ns = now - core.changed
            result.append((core.busy_ns + (open_ns if core.vcpu else 0), core.idle_ns + (0 if core.vcpu else open_ns)))
        return result

    def _free_core(self, vcpu: Vcpu) -> Core | None:
        now = self._now()
        for core in sorted(self.cores, key=lambda core: self._rank(core, vcpu)):
            if not vcpu.may_use(core) or (core.vcpu is not None and not core.vcpu.idles):
                continue
            stays = core.last is vcpu and core.left == now and now - core.since < self.slice_ns
            if stays or not self._claimed(core, vcpu):
                return core
        return None

    @staticmethod
    def _rank(core: Core, vcpu: Vcpu) -> tuple[int, ...]:
        """Cores in the order in which a vCPU would have them."""
        # Where it ran last no switch is needed. Then the least loaded: one that nobody has used before one whose vCPU will be back.
        return core.last is not vcpu, core.vcpu is not None, core.busy_ns, core.number

    def _claimed(self, core: Core, vcpu: Vcpu) -> bool:
        """Somebody who waits longer may use the core."""
        for other in self._queue:
            if other is vcpu:
                return False
            if other.may_use(core):
                return True
        return False

    def _wake(self) -> None:
        """Let those who wait for a core that is free try again, in their order."""
        free = [core for core in self.cores if core.vcpu is None or core.vcpu.idles]
        for vcpu in self._queue:
            if not free:
                return
            if any(vcpu.may_use(core) for core in free):
                vcpu.wake()
