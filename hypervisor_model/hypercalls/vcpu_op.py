"""vcpu_op: the caller's vCPUs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hypervisor_model.hypercalls.call import Call, Operation
from hypervisor_model.vcpus import Vcpu
from sw.xen.errno import Errno, HypercallError
from sw.xen.sched import ShutdownReason
from sw.xen.vcpu import RUNSTATE_INFO, VcpuOp


def up(call: Call) -> int:
    """Bring a vCPU up."""
    _vcpu(call).bring(up=True)
    call.domain.deliver_upcalls()
    return 0


def down(call: Call) -> int:
    """Take a vCPU down; with the last one the domain powers off."""
    vcpu = _vcpu(call)
    if all(other is vcpu or not other.is_up for other in call.domain.vcpus):
        call.hv.shut_down(call.domain, ShutdownReason.POWEROFF)
    else:
        vcpu.bring(up=False)
    return 0


def is_up(call: Call) -> int:
    """1 if the vCPU is up, else 0."""
    return int(_vcpu(call).is_up)


def get_runstate_info(call: Call) -> int:
    """State of a vCPU, since when, and the time in each state."""
    runstate = _vcpu(call).runstate()
    call.pack(RUNSTATE_INFO, call.argument(2), runstate.state, runstate.entered, *runstate.times)
    return 0


def _vcpu(call: Call) -> Vcpu:
    number = call.argument(1)
    if number >= len(call.domain.vcpus):
        raise HypercallError(Errno.ENOENT, f"{call.domain.name} has no vCPU {number}: 0 to {len(call.domain.vcpus) - 1}")
    return call.domain.vcpus[number]


OPERATIONS: Final[Mapping[int, Operation]] = {
    VcpuOp.UP: Operation(up, control=True),
    VcpuOp.DOWN: Operation(down, control=True),
    VcpuOp.IS_UP: Operation(is_up),
    VcpuOp.GET_RUNSTATE_INFO: Operation(get_runstate_info),
}
