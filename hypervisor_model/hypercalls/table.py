"""The one entry into the hypervisor: a number, arguments, a result; each call is counted by domain."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import isawaitable
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
    command = arguments[0] if arguments else 0
    name = name_of(number, command)
    if domain.crashed:
        raise DomainCrashedError(f"{domain.name} has crashed: no hypercall {name}")
    enabled = {endpoint.number: endpoint.enabled for endpoint in hv.endpoints.of_domain(domain.domid)}
    operation = PLAIN.get(number) or TABLE.get(number, {}).get(command)
    call = Call(hv, domain, arguments)
    try:
        if operation is None:
            raise HypercallError(Errno.ENOSYS, f"there is no hypercall {number}, command {command}")
        done = operation.handler(call)
        result = await done if isawaitable(done) else done
    except HypercallError as error:
        domain.refusal, result = str(error), -error.errno
    except OutOfFramesError as error:
        domain.refusal, result = str(error), -Errno.ENOMEM
    concerned = [on for number_, on in enabled.items() if not call.concerned or number_ in call.concerned]
    control = operation is None or operation.control
    hv.entries.count(domain.domid, name, data_path=bool(concerned) and all(concerned) and not control)
    return result
