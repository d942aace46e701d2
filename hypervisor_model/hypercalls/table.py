"""The one entry into the hypervisor: a number, arguments, a result; each call is counted by domain."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from inspect import isawaitable, iscoroutinefunction
from typing import TYPE_CHECKING, Final

from hypervisor_model.faults import DomainCrashedError
from hypervisor_model.hypercalls import event_channel_op, grant_table_op, memory_op, mmu_update, myri_op, physdev_op
from hypervisor_model.hypercalls.call import Call, Operation
from hypervisor_model.memory import OutOfFramesError
from sw.xen.errno import Errno, HypercallError
from sw.xen.event_channel import EventOp
from sw.xen.grant_table import GrantOp
from sw.xen.memory import MemoryOp
from sw.xen.myri import MyriOp
from sw.xen.physdev import PhysdevOp
from sw.xen.xen import Hypercall

if TYPE_CHECKING:
    from hypervisor_model.domains import Domain
    from hypervisor_model.hypervisor import Hypervisor

TABLE: Final[Mapping[int, Mapping[int, Operation]]] = {
    Hypercall.MEMORY_OP: memory_op.OPERATIONS,
    Hypercall.GRANT_TABLE_OP: grant_table_op.OPERATIONS,
    Hypercall.EVENT_CHANNEL_OP: event_channel_op.OPERATIONS,
    Hypercall.PHYSDEV_OP: physdev_op.OPERATIONS,
    Hypercall.MYRI_OP: myri_op.OPERATIONS,
}
"""Hypercall number, then the command in its first argument."""
PLAIN: Final[Mapping[int, Operation]] = {Hypercall.MMU_UPDATE: Operation(mmu_update.mmu_update)}
"""Hypercalls without commands."""
_COMMANDS: Final = {
    Hypercall.MEMORY_OP: MemoryOp,
    Hypercall.GRANT_TABLE_OP: GrantOp,
    Hypercall.EVENT_CHANNEL_OP: EventOp,
    Hypercall.PHYSDEV_OP: PhysdevOp,
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
    entry = _Entry(hv, domain, number, arguments)
    try:
        done = entry.handle()
        result = await done if isawaitable(done) else done
    except (HypercallError, OutOfFramesError) as error:
        result = entry.refuse(error)
    entry.count()
    return result


def enter_now(hv: Hypervisor, domain: Domain, number: int, arguments: tuple[int, ...]) -> int:
    """As `enter`, for operations that never wait; -EAGAIN for one that might, and it is not carried out."""
    entry = _Entry(hv, domain, number, arguments)
    try:
        if entry.operation is not None and iscoroutinefunction(entry.operation.handler):
            raise HypercallError(Errno.EAGAIN, f"{entry.name} may wait for hardware")
        done = entry.handle()
        assert isinstance(done, int)
        result = done
    except (HypercallError, OutOfFramesError) as error:
        result = entry.refuse(error)
    entry.count()
    return result


class _Entry:
    """One call, from the caller's registers to the count."""

    def __init__(self, hv: Hypervisor, domain: Domain, number: int, arguments: tuple[int, ...]) -> None:
        self._hv = hv
        self._domain = domain
        self._call = Call(hv, domain, arguments)
        self._number = number
        self._command = self._call.argument(0)
        self.name = name_of(number, self._command)
        if domain.crashed:
            raise DomainCrashedError(f"{domain.name} has crashed: no hypercall {self.name}")
        self._enabled = {endpoint.number: endpoint.enabled for endpoint in hv.endpoints.of_domain(domain.domid)}
        self.operation: Operation | None = PLAIN.get(number) or TABLE.get(number, {}).get(self._command)

    def handle(self) -> Awaitable[int] | int:
        if self.operation is None:
            raise HypercallError(Errno.ENOSYS, f"there is no hypercall {self._number}, command {self._command}")
        return self.operation.handler(self._call)

    def refuse(self, error: HypercallError | OutOfFramesError) -> int:
        self._domain.refusal = str(error)
        return -(error.errno if isinstance(error, HypercallError) else Errno.ENOMEM)

    def count(self) -> None:
        named = self._call.concerned
        concerned = [on for number, on in self._enabled.items() if not named or number in named]
        control = self.operation is None or self.operation.control
        data_path = bool(concerned) and all(concerned) and not control
        self._hv.entries.count(self._domain.domid, self.name, data_path=data_path)
