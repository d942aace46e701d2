"""event_channel_op: the caller's event channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hypervisor_model.hypercalls.call import Call, Operation
from sw.xen.errno import Errno, HypercallError
from sw.xen.event_channel import BIND_PIRQ, PORT, EventOp


def bind_pirq(call: Call) -> int:
    """Make a mapped physical interrupt an event channel, masked."""
    at = call.argument(1)
    pirq, flags, _ = call.unpack(BIND_PIRQ, at)
    port = call.hv.bind_pirq(call.domain, pirq)
    call.pack(BIND_PIRQ, at, pirq, flags, port)
    return 0


def close(call: Call) -> int:
    """Close a port."""
    (port,) = call.unpack(PORT, call.argument(1))
    pirq = call.domain.events.ports.get(port)
    if pirq is None:
        raise HypercallError(Errno.EINVAL, f"event channel {port} is closed")
    call.hv.unbind_pirq(call.domain, pirq)
    return 0


def unmask(call: Call) -> int:
    """Clear the mask bit; a pending event raises the upcall."""
    (port,) = call.unpack(PORT, call.argument(1))
    call.domain.events.unmask(port)
    return 0


OPERATIONS: Final[Mapping[int, Operation]] = {
    EventOp.BIND_PIRQ: Operation(bind_pirq, control=True),
    EventOp.CLOSE: Operation(close, control=True),
    EventOp.UNMASK: Operation(unmask),
}
