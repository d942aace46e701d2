"""sched_op: the caller's vCPU has nothing to do, or its domain ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hypervisor_model.hypercalls.call import Call, Operation
from sw.xen.errno import Errno, HypercallError
from sw.xen.sched import POLL, POLL_MAX_PORTS, REMOTE_SHUTDOWN, SHUTDOWN, SchedOp, ShutdownReason
from sw.xen.xen import DOMID_CONTROL

SPURIOUS_NS: Final = 1_000_000_000
"""A vCPU that nothing wakes wakes by itself after so long: a guest has to expect that, and no wait is unbounded."""


async def give_way(call: Call) -> int:
    """Those who wait for the core go first."""
    await call.domain.vcpu.give_way()
    return 0


async def block(call: Call) -> int:
    """Allow upcalls and sleep until the next one; not at all if one is due."""
    vcpu = call.domain.vcpu
    if not call.domain.enable_upcalls():
        async with vcpu.blocked():
            await vcpu.wait(vcpu.upcalls, SPURIOUS_NS)
    return 0


def shutdown(call: Call) -> int:
    """The caller's domain runs no more."""
    (reason,) = call.unpack(SHUTDOWN, call.argument(1))
    call.hv.shut_down(call.domain, _reason(reason))
    return 0


async def poll(call: Call) -> int:
    """Sleep until one of some ports, masked ones too, is pending, or until a time; may return without either."""
    at, count, timeout = call.unpack(POLL, call.argument(1))
    if count > POLL_MAX_PORTS:
        raise HypercallError(Errno.EINVAL, f"poll of {count} ports: at most {POLL_MAX_PORTS}")
    data = call.read(at, 4 * count)
    ports = [int.from_bytes(data[n : n + 4], "little") for n in range(0, len(data), 4)]
    vcpu = call.domain.vcpu
    pending = [call.domain.events.is_pending(port) for port in ports]
    if not any(pending):
        left = timeout - call.hv.now() if timeout else SPURIOUS_NS
        async with vcpu.blocked():
            await vcpu.wait_ports(min(left, SPURIOUS_NS))
    return 0


def remote_shutdown(call: Call) -> int:
    """End another domain; for the control domain."""
    domid, reason = call.unpack(REMOTE_SHUTDOWN, call.argument(1))
    if call.domain.domid != DOMID_CONTROL:
        raise HypercallError(Errno.EPERM, f"{call.domain.name} is not the control domain")
    call.hv.shut_down(call.target(domid), _reason(reason))
    return 0


def _reason(value: int) -> ShutdownReason:
    try:
        return ShutdownReason(value)
    except ValueError as error:
        raise HypercallError(Errno.EINVAL, f"shutdown reason is {value}: 0 to {max(ShutdownReason)}") from error


OPERATIONS: Final[Mapping[int, Operation]] = {
    SchedOp.YIELD: Operation(give_way),
    SchedOp.BLOCK: Operation(block),
    SchedOp.SHUTDOWN: Operation(shutdown, control=True),
    SchedOp.POLL: Operation(poll),
    SchedOp.REMOTE_SHUTDOWN: Operation(remote_shutdown, control=True),
}
