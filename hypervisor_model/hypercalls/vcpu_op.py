"""vcpu_op: the caller's vCPUs and their timers; set_timer_op, an older way to one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hypervisor_model.hypercalls.call import Call, Operation
from hypervisor_model.timers import Timer
from hypervisor_model.vcpus import Vcpu
from sw.xen.errno import Errno, HypercallError
from sw.xen.sched import ShutdownReason
from sw.xen.vcpu import RUNSTATE_INFO, SET_PERIODIC_TIMER, SET_SINGLESHOT_TIMER, SingleshotFlag, VcpuOp

PERIODS_NS: Final = range(1_000_000, 1 << 62)
FAR_NS: Final = 1 << 50
SOON_NS: Final = 100_000_000


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


def set_periodic_timer(call: Call) -> int:
    """VIRQ_TIMER on a vCPU each period from now on."""
    vcpu = _vcpu(call)
    (period,) = call.unpack(SET_PERIODIC_TIMER, call.argument(2))
    if period not in PERIODS_NS:
        raise HypercallError(Errno.EINVAL, f"period is {period} ns: {PERIODS_NS.start} to {PERIODS_NS.stop - 1}")
    call.domain.timers[vcpu.number].periodic.set(call.hv.now() + period, period)
    return 0


def stop_periodic_timer(call: Call) -> int:
    """No more of these."""
    call.domain.timers[_vcpu(call).number].periodic.stop()
    return 0


def set_singleshot_timer(call: Call) -> int:
    """VIRQ_TIMER on the caller's vCPU at a system time; at once if that has passed and the caller takes it so."""
    timer = _own_timer(call)
    deadline, flags = call.unpack(SET_SINGLESHOT_TIMER, call.argument(2))
    now = call.hv.now()
    if flags & SingleshotFlag.FUTURE and deadline < now:
        raise HypercallError(Errno.ETIME, f"timer at {deadline} ns: it is {now}")
    timer.set(deadline)
    return 0


def stop_singleshot_timer(call: Call) -> int:
    """Not any more."""
    _own_timer(call).stop()
    return 0


def set_timer_op(call: Call) -> int:
    """The hypercall of that name: the same timer by a register; 0 stops it.

    As in Xen a time that is negative or days ahead is a guest's overflow and means soon.
    """
    timeout, now = call.argument(0), call.hv.now()
    timer = call.domain.timers[call.domain.vcpu.number].single_shot
    if not timeout:
        timer.stop()
    elif timeout >> 63 or timeout - now >= FAR_NS:
        timer.set(now + SOON_NS)
    else:
        timer.set(timeout)
    return 0


def _own_timer(call: Call) -> Timer:
    vcpu = _vcpu(call)
    if vcpu is not call.domain.vcpu:
        raise HypercallError(Errno.EINVAL, f"the single-shot timer of vCPU {vcpu.number} is set there, not on another")
    return call.domain.timers[vcpu.number].single_shot


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
    VcpuOp.SET_PERIODIC_TIMER: Operation(set_periodic_timer),
    VcpuOp.STOP_PERIODIC_TIMER: Operation(stop_periodic_timer),
    VcpuOp.SET_SINGLESHOT_TIMER: Operation(set_singleshot_timer),
    VcpuOp.STOP_SINGLESHOT_TIMER: Operation(stop_singleshot_timer),
}
