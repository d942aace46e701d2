"""The one entry into the hypervisor: a number, arguments, a result; each call is counted and timed by domain."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from typing import TYPE_CHECKING, Final

from hypervisor_model.costs import PS
from hypervisor_model.hypercalls import (
    domctl,
    event_channel_op,
    grant_table_op,
    memory_op,
    mmu_update,
    myri_op,
    physdev_op,
    sched_op,
    vcpu_op,
    xen_version,
)
from hypervisor_model.hypercalls.call import Call, Operation
from hypervisor_model.hypercalls.multicall import multicall
from hypervisor_model.memory import OutOfFramesError
from sw.xen.domctl import DomctlOp
from sw.xen.errno import Errno, HypercallError
from sw.xen.event_channel import EventOp
from sw.xen.grant_table import GrantOp
from sw.xen.memory import MemoryOp
from sw.xen.myri import MyriOp
from sw.xen.physdev import PhysdevOp
from sw.xen.sched import SchedOp
from sw.xen.vcpu import VcpuOp
from sw.xen.version import VersionOp
from sw.xen.xen import Hypercall

if TYPE_CHECKING:
    from hypervisor_model.domains import Domain
    from hypervisor_model.hypervisor import Hypervisor

TABLE: Final[Mapping[int, Mapping[int, Operation]]] = {
    Hypercall.MEMORY_OP: memory_op.OPERATIONS,
    Hypercall.XEN_VERSION: xen_version.OPERATIONS,
    Hypercall.GRANT_TABLE_OP: grant_table_op.OPERATIONS,
    Hypercall.VCPU_OP: vcpu_op.OPERATIONS,
    Hypercall.SCHED_OP: sched_op.OPERATIONS,
    Hypercall.EVENT_CHANNEL_OP: event_channel_op.OPERATIONS,
    Hypercall.PHYSDEV_OP: physdev_op.OPERATIONS,
    Hypercall.DOMCTL: domctl.OPERATIONS,
    Hypercall.MYRI_OP: myri_op.OPERATIONS,
}
"""Hypercall number, then the command: in the first argument, of domctl in the structure that it points to."""
_COMMANDS: Final = {
    Hypercall.MEMORY_OP: MemoryOp,
    Hypercall.XEN_VERSION: VersionOp,
    Hypercall.GRANT_TABLE_OP: GrantOp,
    Hypercall.VCPU_OP: VcpuOp,
    Hypercall.SCHED_OP: SchedOp,
    Hypercall.EVENT_CHANNEL_OP: EventOp,
    Hypercall.PHYSDEV_OP: PhysdevOp,
    Hypercall.DOMCTL: DomctlOp,
    Hypercall.MYRI_OP: MyriOp,
}


def name_of(number: int, command: int) -> str:
    """As the reports name a call: `grant_table_op.setup_table`."""
    try:
        hypercall = Hypercall(number)
        if number in PLAIN:
            return hypercall.name.lower()
        return f"{hypercall.name}.{_COMMANDS[hypercall](command).name}".lower()
    except (ValueError, KeyError):
        return f"hypercall {number}.{command}"


async def enter(hv: Hypervisor, domain: Domain, number: int, arguments: tuple[int, ...]) -> int:
    """Carry out one hypercall; 0 or more, or a negative errno. Raises `DomainCrashedError` for a dead caller only.

    It counts as data path when every endpoint that it concerns (all the caller's, if it names none) was enabled.
    """
    domain.vcpu.check()
    entry = _Entry(Call(hv, domain, arguments), number)
    domain.calls += 1
    try:
        async with domain.vcpu.hypercall(entry.name) as visit:
            result = await entry.carry_out()
    finally:
        domain.calls -= 1
    hv.entries.count(domain.domid, entry.name, data_path=entry.data_path, ns=visit.ns)
    return result


def enter_now(hv: Hypervisor, domain: Domain, number: int, arguments: tuple[int, ...]) -> int:
    """As `enter`, for operations that never wait; -EAGAIN for one that might, and it is not carried out.

    Its time is owed by the caller's vCPU.
    """
    domain.vcpu.check()
    entry = _Entry(Call(hv, domain, arguments), number)
    before = domain.vcpu.owed
    domain.vcpu.spend("hypercall")
    result = entry.carry_out_now()
    ns = (domain.vcpu.owed - before) // PS
    hv.entries.count(domain.domid, entry.name, data_path=entry.data_path, ns=ns)
    return result


class _Entry:
    """One call, from the caller's registers to the result."""

    def __init__(self, call: Call, number: int) -> None:
        self._call = call
        self._number = number
        self._command = domctl.command(call) if number == Hypercall.DOMCTL else call.argument(0)
        self.name = name_of(number, self._command)
        self._operation: Operation | None = PLAIN.get(number) or TABLE.get(number, {}).get(self._command)
        self.data_path = False

    async def carry_out(self) -> int:
        """The result: 0 or more, or a negative errno."""
        enabled = self._enabled()
        try:
            done = self._handle()
            result = await done if isawaitable(done) else done
        except (HypercallError, OutOfFramesError) as error:
            result = self._refuse(error)
        self._classify(enabled)
        return result

    def carry_out_now(self) -> int:
        """The same, for an operation that never waits."""
        enabled = self._enabled()
        try:
            if self._operation is not None and iscoroutinefunction(self._operation.handler):
                raise HypercallError(Errno.EAGAIN, f"{self.name} may wait for hardware")
            result = self._handle()
            assert isinstance(result, int)
        except (HypercallError, OutOfFramesError) as error:
            result = self._refuse(error)
        self._classify(enabled)
        return result

    def _enabled(self) -> dict[int, bool]:
        return {e.number: e.enabled for e in self._call.hv.endpoints.of_domain(self._call.domain.domid)}

    def _handle(self) -> Awaitable[int] | int:
        if self._operation is None:
            raise HypercallError(Errno.ENOSYS, f"there is no hypercall {self._number}, command {self._command}")
        return self._operation.handler(self._call)

    def _refuse(self, error: HypercallError | OutOfFramesError) -> int:
        self._call.domain.refusal = str(error)
        return -(error.errno if isinstance(error, HypercallError) else Errno.ENOMEM)

    def _classify(self, enabled: dict[int, bool]) -> None:
        named = self._call.concerned
        concerned = [on for number, on in enabled.items() if not named or number in named]
        control = self._operation is None or self._operation.control
        self.data_path = self._call.data_path or (bool(concerned) and all(concerned) and not control)


async def _inside(call: Call, number: int, arguments: tuple[int, ...]) -> int:
    """One call of a multicall: its result."""
    entry = _Entry(Call(call.hv, call.domain, arguments), number)
    call.hv.entries.count_inside(call.domain.domid, entry.name)
    result = await entry.carry_out()
    call.data_path |= entry.data_path
    return result


PLAIN: Final[Mapping[int, Operation]] = {
    Hypercall.MMU_UPDATE: Operation(mmu_update.mmu_update),
    Hypercall.SET_TIMER_OP: Operation(vcpu_op.set_timer_op),
    # Whether it was of the data path is said by the calls inside.
    Hypercall.MULTICALL: Operation(partial(multicall, _inside), control=True),
}
"""Hypercalls without commands."""
