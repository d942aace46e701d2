"""memory_op: which machine frames stand behind a domain's guest frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hypervisor_model.hypercalls.call import Call, Operation
from sw.xen.errno import Errno, HypercallError
from sw.xen.memory import ADD_TO_PHYSMAP, EXCHANGE, EXTENT_ORDERS, FRAME, RESERVATION, MapSpace, MemoryOp

MAX_EXTENTS: Final = 4096


def decrease_reservation(call: Call) -> int:
    """Pages leave the guest; a frame stays as long as it is pinned. Returns how many extents were done."""
    done = 0
    start, extents, order, _, domid = call.unpack(RESERVATION, call.argument(1))
    p2m = call.target(domid).p2m
    ram = call.target(domid).ram
    for gfn in _extents(call, start, extents, order):
        if any(gfn + n not in ram or p2m.frame(gfn + n) is None for n in range(1 << order)):
            return _so_far(done, f"guest frame {gfn:#x} is not RAM")
        for n in range(1 << order):
            p2m.remove_ram(gfn + n)
        done += 1
    return done


def populate_physmap(call: Call) -> int:
    """Back empty guest frames by zeroed machine frames. Returns how many extents were done."""
    done = 0
    start, extents, order, _, domid = call.unpack(RESERVATION, call.argument(1))
    domain = call.target(domid)
    for gfn in _extents(call, start, extents, order):
        gfns = range(gfn, gfn + (1 << order))
        if any(n not in domain.ram or domain.p2m.frame(n) is not None for n in gfns):
            return _so_far(done, f"guest frame {gfn:#x} is populated or outside the reservation")
        for n in gfns:
            domain.p2m.add_ram(n, call.hv.frames.allocate(domain.domid))
        done += 1
    return done


def exchange(call: Call) -> int:
    """Single pages for one extent of consecutive, naturally aligned machine frames. Contents are lost."""
    at = call.argument(1)
    given, count, given_order, given_flags, domid, taken, extents, order, flags, taken_domid, _ = call.unpack(EXCHANGE, at)
    domain = call.target(domid)
    if given_order != 0 or extents != 1 or order not in EXTENT_ORDERS or count != 1 << order or taken_domid != domid:
        raise HypercallError(
            Errno.EINVAL, f"exchange of {count} extents of order {given_order} for {extents} of order {order}: 2^n pages for one"
        )
    gfns = _extents(call, given, count, 0)
    (first_gfn,) = _extents(call, taken, 1, order)
    if gfns != list(range(first_gfn, first_gfn + count)):
        raise HypercallError(Errno.EINVAL, f"exchange: the pages given are not those from {first_gfn:#x} on")
    p2m = domain.p2m
    if any(gfn not in domain.ram or p2m.frame(gfn) is None for gfn in gfns):
        raise HypercallError(Errno.EINVAL, f"guest frames {gfns[0]:#x} to {gfns[-1]:#x} are not all RAM")
    first = call.hv.frames.allocate_run(domain.domid, count, count)
    for n, gfn in enumerate(gfns):
        p2m.remove_ram(gfn)
        p2m.add_ram(gfn, first + n)
    call.pack(EXCHANGE, at, given, count, 0, given_flags, domid, taken, 1, order, flags, domid, count)
    return 0


def add_to_physmap(call: Call) -> int:
    """Map a page of Xen's: the shared-info page."""
    domid, _, space, index, gpfn = call.unpack(ADD_TO_PHYSMAP, call.argument(1))
    domain = call.target(domid)
    if space != MapSpace.SHARED_INFO or index != 0:
        raise HypercallError(Errno.EINVAL, f"add_to_physmap from space {space}, index {index}: only shared_info, 0")
    domain.map_shared_info(gpfn)
    return 0


def _extents(call: Call, start: int, count: int, order: int) -> list[int]:
    if count > MAX_EXTENTS or order not in EXTENT_ORDERS:
        raise HypercallError(Errno.EINVAL, f"{count} extents of order {order}: at most {MAX_EXTENTS} of order {EXTENT_ORDERS.stop - 1}")
    return [frame for (frame,) in FRAME.iter_unpack(call.read(start, count * FRAME.size))]


def _so_far(done: int, reason: str) -> int:
    """A batch returns what it has done; with nothing done it is refused."""
    if not done:
        raise HypercallError(Errno.EINVAL, reason)
    return done


OPERATIONS: Final[Mapping[int, Operation]] = {
    MemoryOp.DECREASE_RESERVATION: Operation(decrease_reservation),
    MemoryOp.POPULATE_PHYSMAP: Operation(populate_physmap),
    MemoryOp.ADD_TO_PHYSMAP: Operation(add_to_physmap, control=True),
    MemoryOp.EXCHANGE: Operation(exchange),
}
