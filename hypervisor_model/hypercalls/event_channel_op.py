"""event_channel_op: the caller's event channels; a privileged caller may reserve, query and reset those of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hypervisor_model.hypercalls.call import Call, Operation
from sw.xen.errno import Errno, HypercallError
from sw.xen.event_channel import (
    ALLOC_UNBOUND,
    BIND_INTERDOMAIN,
    BIND_IPI,
    BIND_PIRQ,
    BIND_VCPU,
    BIND_VIRQ,
    EXPAND_ARRAY,
    FIFO_LINK_BITS,
    INIT_CONTROL,
    PORT,
    RESET,
    SET_PRIORITY,
    STATUS,
    EventOp,
)
from sw.xen.xen import DOMID_SELF


def alloc_unbound(call: Call) -> int:
    """Reserve a port of `dom` for `remote_dom`, which need not exist yet."""
    at = call.argument(1)
    domid, remote, _ = call.unpack(ALLOC_UNBOUND, at)
    port = call.target(domid).events.alloc_unbound(_named(call, remote))
    call.pack(ALLOC_UNBOUND, at, domid, remote, port)
    return 0


def bind_interdomain(call: Call) -> int:
    """Bind a port that another domain has reserved for the caller."""
    at = call.argument(1)
    remote, remote_port, _ = call.unpack(BIND_INTERDOMAIN, at)
    domain = call.hv.domains.get(_named(call, remote))
    if domain is None:
        raise HypercallError(Errno.ESRCH, f"there is no domain {remote}")
    port = call.domain.events.bind_interdomain(domain.events, remote_port)
    call.pack(BIND_INTERDOMAIN, at, remote, remote_port, port)
    return 0


def bind_virq(call: Call) -> int:
    """Make a virtual interrupt an event channel."""
    at = call.argument(1)
    virq, vcpu, _ = call.unpack(BIND_VIRQ, at)
    port = call.domain.events.bind_virq(virq, vcpu)
    call.pack(BIND_VIRQ, at, virq, vcpu, port)
    return 0


def bind_pirq(call: Call) -> int:
    """Make a mapped physical interrupt an event channel. It is an MSI-X vector, so nobody shares it, WILL_SHARE or not."""
    at = call.argument(1)
    pirq, flags, _ = call.unpack(BIND_PIRQ, at)
    port = call.hv.bind_pirq(call.domain, pirq)
    call.pack(BIND_PIRQ, at, pirq, flags, port)
    return 0


def bind_ipi(call: Call) -> int:
    """Make an event channel to an own vCPU."""
    at = call.argument(1)
    vcpu, _ = call.unpack(BIND_IPI, at)
    port = call.domain.events.bind_ipi(vcpu)
    call.pack(BIND_IPI, at, vcpu, port)
    return 0


def close(call: Call) -> int:
    """Close a port."""
    (port,) = call.unpack(PORT, call.argument(1))
    call.domain.events.close(port)
    return 0


def send(call: Call) -> int:
    """Send an event."""
    (port,) = call.unpack(PORT, call.argument(1))
    call.domain.events.send(port)
    return 0


def status(call: Call) -> int:
    """What a port is bound to."""
    at = call.argument(1)
    domid, port, *_ = call.unpack(STATUS, at)
    found = call.target(domid).events.status(port)
    call.pack(STATUS, at, domid, port, found.status, found.vcpu, found.detail, found.remote_port)
    return 0


def bind_vcpu(call: Call) -> int:
    """Have a port notify another vCPU."""
    port, vcpu = call.unpack(BIND_VCPU, call.argument(1))
    call.domain.events.bind_vcpu(port, vcpu)
    return 0


def unmask(call: Call) -> int:
    """Clear the mask bit; a pending event raises the upcall."""
    (port,) = call.unpack(PORT, call.argument(1))
    call.domain.events.unmask(port)
    return 0


def reset(call: Call) -> int:
    """Close all ports of a domain."""
    (domid,) = call.unpack(RESET, call.argument(1))
    call.target(domid).events.reset()
    return 0


def init_control(call: Call) -> int:
    """FIFO ABI: the queues of a vCPU."""
    at = call.argument(1)
    gfn, offset, vcpu, _ = call.unpack(INIT_CONTROL, at)
    call.domain.events.init_control(gfn, offset, vcpu)
    call.pack(INIT_CONTROL, at, gfn, offset, vcpu, FIFO_LINK_BITS)
    return 0


def expand_array(call: Call) -> int:
    """FIFO ABI: one more page of event words."""
    (gfn,) = call.unpack(EXPAND_ARRAY, call.argument(1))
    call.domain.events.expand_array(gfn)
    return 0


def set_priority(call: Call) -> int:
    """FIFO ABI: the queue of a port."""
    port, priority = call.unpack(SET_PRIORITY, call.argument(1))
    call.domain.events.set_priority(port, priority)
    return 0


def _named(call: Call, domid: int) -> int:
    return call.domain.domid if domid == DOMID_SELF else domid


OPERATIONS: Final[Mapping[int, Operation]] = {
    EventOp.BIND_INTERDOMAIN: Operation(bind_interdomain, control=True),
    EventOp.BIND_VIRQ: Operation(bind_virq, control=True),
    EventOp.BIND_PIRQ: Operation(bind_pirq, control=True),
    EventOp.CLOSE: Operation(close, control=True),
    EventOp.SEND: Operation(send),
    EventOp.STATUS: Operation(status, control=True),
    EventOp.ALLOC_UNBOUND: Operation(alloc_unbound, control=True),
    EventOp.BIND_IPI: Operation(bind_ipi, control=True),
    EventOp.BIND_VCPU: Operation(bind_vcpu, control=True),
    EventOp.UNMASK: Operation(unmask),
    EventOp.RESET: Operation(reset, control=True),
    EventOp.INIT_CONTROL: Operation(init_control, control=True),
    EventOp.EXPAND_ARRAY: Operation(expand_array, control=True),
    EventOp.SET_PRIORITY: Operation(set_priority, control=True),
}
