"""physdev_op: physical interrupts of the caller's devices, which are its endpoints' MSI-X vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hypervisor_model.hypercalls.call import Call, Operation
from sw.xen.errno import Errno, HypercallError
from sw.xen.physdev import MAP_PIRQ, MAP_PIRQ_TYPE_MSI, UNMAP_PIRQ, PhysdevOp


async def map_pirq(call: Call) -> int:
    """Route the vector of an own endpoint (`entry_nr`) to the caller's core; its number among the caller's interrupts."""
    at = call.argument(1)
    domid, kind, index, _, bus, devfn, entry, table = call.unpack(MAP_PIRQ, at)
    domain = call.target(domid)
    if kind != MAP_PIRQ_TYPE_MSI or not table:
        raise HypercallError(Errno.EINVAL, f"map_pirq of type {kind} with table {table:#x}: only MSI-X is there")
    call.hv.endpoints.owned(entry, domain.domid)
    pirq = await call.hv.map_pirq(domain, entry)
    call.pack(MAP_PIRQ, at, domid, kind, index, pirq, bus, devfn, entry, table)
    return 0


def unmap_pirq(call: Call) -> int:
    """Mask the vector."""
    domid, pirq = call.unpack(UNMAP_PIRQ, call.argument(1))
    call.hv.unmap_pirq(call.target(domid), pirq)
    return 0


OPERATIONS: Final[Mapping[int, Operation]] = {
    PhysdevOp.MAP_PIRQ: Operation(map_pirq, control=True),
    PhysdevOp.UNMAP_PIRQ: Operation(unmap_pirq, control=True),
}
