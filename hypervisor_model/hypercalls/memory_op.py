"""memory_op: which machine frames stand behind a domain's guest frames.

Only a frame that nobody else refers to leaves a domain for another one; one that is given back stays until its last
reference drops. So a page that a device or another domain reaches is never freed and never given away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from hypervisor_model.hypercalls.call import Call, Operation
from hypervisor_model.m2p import M2P_GFN
from hypervisor_model.memory import OutOfFramesError, PageType
from hypervisor_model.p2m import Kind
from sw.platform import PAGE_SHIFT
from sw.xen import memory as layouts
from sw.xen.errno import Errno, HypercallError
from sw.xen.grant_table import GRANT_MAX_FRAMES, GRANT_MAX_STATUS_FRAMES
from sw.xen.memory import (
    ERROR,
    EXCHANGE,
    EXTENT_ORDERS,
    FRAME,
    POPULATE_ON_DEMAND,
    RESERVATION,
    GrantTableResource,
    MapSpace,
    MemoryOp,
    Resource,
)
from sw.xen.xen import DOMID_SELF

if TYPE_CHECKING:
    from hypervisor_model.domains import Domain

MAX_EXTENTS: Final = 4096
MAX_FRAMES: Final = 128
"""Frames of one acquire_resource."""

# --- reservations ---------------------------------------------------------------------------------


def increase_reservation(call: Call) -> int:
    """Frames for the domain at no GFN, as Xen gives translated domains: they count, and go with the domain."""
    _, count, order, _, domid = _reservation(call)
    domain = call.target(domid)

    def extent(_: int) -> None:
        for frame in _allocate(call, domain, order):
            domain.p2m.keep_unplaced(frame)

    # Xen reads the extents of PV guests only: there is nothing to read here.
    return _each(range(count), extent)


def decrease_reservation(call: Call) -> int:
    """Pages leave the guest; a frame stays as long as it is pinned. Returns how many extents were done."""
    start, count, order, _, domid = _reservation(call)
    p2m = call.target(domid).p2m

    def extent(gfn: int) -> None:
        gfns = range(gfn, gfn + (1 << order))
        if any(p2m.ram(n) is None for n in gfns):
            raise HypercallError(Errno.EINVAL, f"guest frame {gfn:#x} is not RAM")
        for n in gfns:
            p2m.remove_ram(n)

    return _each(_extents(call, start, count, order), extent)


def populate_physmap(call: Call) -> int:
    """Back empty guest frames by zeroed machine frames. Returns how many extents were done."""
    start, count, order, flags, domid = _reservation(call)
    domain = call.target(domid)
    if flags & POPULATE_ON_DEMAND:
        raise HypercallError(Errno.EOPNOTSUPP, "populate on demand is not there")

    def extent(gfn: int) -> None:
        gfns = range(gfn, gfn + (1 << order))
        if not all(domain.p2m.is_vacant(n) for n in gfns):
            raise HypercallError(Errno.EINVAL, f"guest frame {gfn:#x} is populated or not the guest's to populate")
        for n, frame in zip(gfns, _allocate(call, domain, order), strict=True):
            domain.p2m.add_ram(n, frame)

    return _each(_extents(call, start, count, order), extent)


def exchange(call: Call) -> int:
    """Extents of one order for as many pages in extents of another, each of consecutive, naturally aligned machine frames.

    All or nothing. Contents are lost. Xen exchanges for PV guests only; here translated ones may, to get pages for 2 MiB entries.
    """
    at = call.argument(1)
    fields = call.unpack(EXCHANGE, at)
    given, count, given_order, _, domid, taken, extents, order, _, taken_domid, _ = fields
    domain = call.target(domid)
    old, new = _extents(call, given, count, given_order), _extents(call, taken, extents, order)
    pages = count << given_order
    if taken_domid != domid or pages != extents << order or pages > call.hv.frames.limit(domain.domid):
        raise HypercallError(
            Errno.EINVAL, f"exchange of {count} extents of order {given_order} for {extents} of order {order}: not as many pages, or more than it has"
        )
    p2m, frames = domain.p2m, call.hv.frames
    leaving = [gfn + n for gfn in old for n in range(1 << given_order)]
    arriving = [gfn + n for gfn in new for n in range(1 << order)]
    free = set(leaving)
    if len(free) != len(leaving) or len(set(arriving)) != len(arriving):
        raise HypercallError(Errno.EINVAL, "exchange: a guest frame is named twice")
    for gfn in leaving:
        frame = p2m.ram(gfn)
        if frame is None or frames.references(frame) != 1:
            raise HypercallError(Errno.EINVAL, f"guest frame {gfn:#x} is not RAM, or somebody else refers to it")
    if not all(gfn in free or p2m.is_vacant(gfn) for gfn in arriving):
        raise HypercallError(Errno.EINVAL, f"exchange: the guest frames from {new[0]:#x} on are not free")
    fresh: list[int] = []
    try:
        for _ in new:
            first = frames.allocate_run(domain.domid, 1 << order, 1 << order, replaced=len(fresh) + (1 << order))
            fresh += range(first, first + (1 << order))
    except OutOfFramesError:
        for frame in fresh:
            frames.put(frame)
        raise
    for gfn in leaving:
        p2m.remove_ram(gfn)
    for gfn, frame in zip(arriving, fresh, strict=True):
        p2m.add_ram(gfn, frame)
    call.pack(EXCHANGE, at, *fields[:-1], count)
    return 0


def claim_pages(call: Call) -> int:
    """Keep frames free for a domain that is being built; for the privileged."""
    start, pages, order, flags, domid = _fields(call)
    if not call.domain.privileged:
        raise HypercallError(Errno.EPERM, f"{call.domain.name} is not privileged: it cannot claim pages")
    if start or order or flags:
        raise HypercallError(Errno.EINVAL, f"claim_pages with extents {start:#x}, order {order}, flags {flags:#x}: none has a meaning")
    try:
        call.hv.frames.claim(call.target(domid).domid, pages)
    except ValueError as error:
        raise HypercallError(Errno.EINVAL, str(error)) from error
    return 0


def current_reservation(call: Call) -> int:
    """Pages of a domain."""
    return call.hv.frames.pages(_named(call).domid)


def maximum_reservation(call: Call) -> int:
    """Pages that a domain may have."""
    return call.hv.frames.limit(_named(call).domid)


def maximum_gpfn(call: Call) -> int:
    """Highest guest frame of a domain that is mapped."""
    return _named(call).p2m.highest


def maximum_ram_page(call: Call) -> int:
    """Machine frames of RAM."""
    return call.hv.frames.frames


# --- placing pages --------------------------------------------------------------------------------


def add_to_physmap(call: Call) -> int:
    """Map a page of Xen's, or move pages of the domain's own."""
    domid, size, space, index, gpfn = call.unpack(layouts.ADD_TO_PHYSMAP, call.argument(1))
    domain = call.target(domid)
    if space == MapSpace.GMFN_RANGE:
        return _each(range(size), lambda n: _move(call, domain, index + n, gpfn + n)) and 0
    _place(call, domain, space, index, gpfn)
    return 0


def add_to_physmap_batch(call: Call) -> int:
    """Map pages, or another domain's pages if the caller may act for that one; an error for each page."""
    domid, space, size, foreign, indices, gpfns, errors = call.unpack(layouts.ADD_TO_PHYSMAP_BATCH, call.argument(1))
    domain = call.target(domid)
    source: Domain | None = None
    if space == MapSpace.GMFN_FOREIGN:
        source = call.target(foreign)
        if source is domain:
            raise HypercallError(Errno.EINVAL, f"{domain.name} is not foreign to itself")
    elif foreign or space == MapSpace.GMFN_RANGE:
        raise HypercallError(Errno.EINVAL, f"add_to_physmap_batch from space {space} with foreign_domid {foreign}")
    for n in range(size):
        (index,), (gpfn,) = (call.unpack(FRAME, base + n * FRAME.size) for base in (indices, gpfns))
        done = 0
        try:
            if source is not None:
                frame = source.p2m.ram(index)
                if frame is None:
                    raise HypercallError(Errno.EINVAL, f"guest frame {index:#x} of {source.name} is not RAM")
                _place_foreign(call, domain, gpfn, source, frame, PageType.WRITABLE)
            else:
                _place(call, domain, space, index, gpfn)
        except HypercallError as error:
            call.domain.refusal, done = str(error), -error.errno
        call.pack(ERROR, errors + n * ERROR.size, done)
    return 0


def remove_from_physmap(call: Call) -> int:
    """Unmap a page. One of the domain's own stays its page, at no GFN."""
    domid, gpfn = call.unpack(layouts.REMOVE_FROM_PHYSMAP, call.argument(1))
    p2m = call.target(domid).p2m
    entry = p2m.entry(gpfn)
    if entry is None or entry.kind is Kind.GRANT:
        raise HypercallError(Errno.ENOENT, f"guest frame {gpfn:#x} has no page, or one that a grant keeps there")
    if entry.kind is Kind.RAM:
        p2m.keep_unplaced(p2m.take_ram(gpfn))
    elif entry.kind is Kind.FOREIGN:
        p2m.remove_foreign(gpfn)
    else:
        p2m.remove_xen(gpfn)
    return 0


def acquire_resource(call: Call) -> int:
    """Map another domain's grant table into a privileged caller, or, without a list of GFNs, say how many frames it may have."""
    at, layout = call.argument(1), layouts.ACQUIRE_RESOURCE
    domid, kind, number, count, first, frame_list = call.unpack(layout, at)
    if domid in (DOMID_SELF, call.domain.domid):
        raise HypercallError(Errno.EPERM, f"{call.domain.name}: resources are another domain's")
    domain = call.target(domid)
    if kind != Resource.GRANT_TABLE or number not in (GrantTableResource.SHARED, GrantTableResource.STATUS):
        raise HypercallError(Errno.EOPNOTSUPP, f"resource {kind}, id {number}: only those of the grant table")
    status = number == GrantTableResource.STATUS
    if not frame_list:
        most = GRANT_MAX_STATUS_FRAMES if status else GRANT_MAX_FRAMES
        call.pack(layout, at, domid, kind, number, most, first, frame_list)
        return 0
    if count > MAX_FRAMES:
        raise HypercallError(Errno.E2BIG, f"{count} frames of a resource: at most {MAX_FRAMES}")
    table = call.hv.grants.table(domain.domid)
    for n in range(count):
        (gpfn,) = call.unpack(FRAME, frame_list + n * FRAME.size)
        index = first + n
        frame = table.page_of(index | status * layouts.GRANT_TABLE_STATUS) if index < GRANT_MAX_FRAMES else None
        if frame is None:
            raise HypercallError(Errno.EINVAL, f"{domain.name} has no page {index} of its grant table")
        _place_foreign(call, call.domain, gpfn, domain, frame, PageType.GRANT_TABLE)
    return 0


def _place(call: Call, domain: Domain, space: int, index: int, gpfn: int) -> None:
    """One page of add_to_physmap."""
    if space == MapSpace.SHARED_INFO and index == 0:
        domain.map_shared_info(gpfn)
    elif space == MapSpace.GRANT_TABLE:
        frame = call.hv.grants.table(domain.domid).page_of(index)
        if frame is None:
            raise HypercallError(Errno.EINVAL, f"{domain.name} has no page {index:#x} of its grant table")
        if domain.p2m.frame(gpfn) == frame:
            return
        _make_room(domain, gpfn)
        old = call.hv.frames.m2p.gfn(frame)
        if old is not None:
            domain.p2m.remove_xen(old)
        domain.p2m.add_xen(gpfn, frame)
    elif space == MapSpace.GMFN:
        _move(call, domain, index, gpfn)
    else:
        raise HypercallError(Errno.EINVAL, f"add_to_physmap from space {space}, index {index:#x}")


def _move(call: Call, domain: Domain, old: int, new: int) -> None:
    """Own memory to another GFN; what is there is freed."""
    if domain.p2m.ram(old) is None:
        raise HypercallError(Errno.EINVAL, f"guest frame {old:#x} is not RAM")
    if old != new:
        _make_room(domain, new)
        domain.p2m.add_ram(new, domain.p2m.take_ram(old))


def _place_foreign(call: Call, domain: Domain, gpfn: int, source: Domain, frame: int, held: PageType) -> None:
    if not call.hv.frames.get(frame, source.domid, held):
        raise HypercallError(Errno.EINVAL, f"frame {frame:#x} of {source.name} is in use as something else")
    try:
        _make_room(domain, gpfn)
    except HypercallError:
        call.hv.frames.put(frame, held)
        raise
    domain.p2m.add_foreign(gpfn, frame, held)


def _make_room(domain: Domain, gfn: int) -> None:
    """What is at a GFN goes, so that something can be placed there: own memory is freed, a page of Xen's unhooked."""
    p2m = domain.p2m
    entry = p2m.entry(gfn)
    if entry is not None and entry.kind is Kind.RAM:
        p2m.remove_ram(gfn)
    elif entry is not None and entry.kind is Kind.XEN:
        p2m.remove_xen(gfn)
    if not p2m.is_vacant(gfn):
        raise HypercallError(Errno.EINVAL, f"guest frame {gfn:#x} of {domain.name} is in use, or not for guests to place pages at")


# --- the M2P --------------------------------------------------------------------------------------


def machphys_mapping(call: Call) -> int:
    """Show the caller the M2P, read-only: guest addresses of its start and end, highest machine frame in it."""
    at, layout = call.argument(1), layouts.MACHPHYS_MAPPING
    p2m, frames = call.domain.p2m, call.hv.frames.m2p.frames
    end = M2P_GFN + len(frames)
    call.pack(layout, at, M2P_GFN << PAGE_SHIFT, end << PAGE_SHIFT, call.hv.frames.frames - 1)
    for gfn, frame in zip(range(M2P_GFN, end), frames, strict=True):
        if p2m.is_mapped(gfn) and p2m.frame(gfn) != frame:
            raise HypercallError(Errno.EBUSY, f"guest frame {gfn:#x} is in use: the M2P cannot go there")
        if not p2m.is_mapped(gfn):
            p2m.add_xen_readonly(gfn, frame)
    return 0


# --- arguments ------------------------------------------------------------------------------------


def _fields(call: Call) -> tuple[int, int, int, int, int]:
    """extent_start, nr_extents, extent_order, mem_flags, domid."""
    start, count, order, flags, domid = call.unpack(RESERVATION, call.argument(1))
    return start, count, order, flags, domid


def _reservation(call: Call) -> tuple[int, int, int, int, int]:
    """As `_fields`, of a bounded number of pages."""
    start, count, order, flags, domid = _fields(call)
    _check_extents(count, order)
    return start, count, order, flags, domid


def _check_extents(count: int, order: int) -> None:
    if count > MAX_EXTENTS or order not in EXTENT_ORDERS:
        raise HypercallError(Errno.EINVAL, f"{count} extents of order {order}: at most {MAX_EXTENTS} of order {EXTENT_ORDERS.stop - 1}")


def _extents(call: Call, start: int, count: int, order: int) -> list[int]:
    _check_extents(count, order)
    return [frame for (frame,) in FRAME.iter_unpack(call.read(start, count * FRAME.size))]


def _allocate(call: Call, domain: Domain, order: int) -> range:
    """2^order consecutive frames, aligned."""
    if order == 0:
        frame = call.hv.frames.allocate(domain.domid)
        return range(frame, frame + 1)
    first = call.hv.frames.allocate_run(domain.domid, 1 << order, 1 << order)
    return range(first, first + (1 << order))


def _each(extents: Iterable[int], extent: Callable[[int], None]) -> int:
    """A batch returns how many extents it has done; with none done it is refused."""
    done = 0
    try:
        for each in extents:
            extent(each)
            done += 1
    except (HypercallError, OutOfFramesError):
        if not done:
            raise
    return done


def _named(call: Call) -> Domain:
    (domid,) = call.unpack(layouts.DOMID, call.argument(1))
    return call.target(domid)


OPERATIONS: Final[Mapping[int, Operation]] = {
    MemoryOp.INCREASE_RESERVATION: Operation(increase_reservation),
    MemoryOp.DECREASE_RESERVATION: Operation(decrease_reservation),
    MemoryOp.MAXIMUM_RAM_PAGE: Operation(maximum_ram_page),
    MemoryOp.CURRENT_RESERVATION: Operation(current_reservation),
    MemoryOp.MAXIMUM_RESERVATION: Operation(maximum_reservation),
    MemoryOp.POPULATE_PHYSMAP: Operation(populate_physmap),
    MemoryOp.ADD_TO_PHYSMAP: Operation(add_to_physmap, control=True),
    MemoryOp.EXCHANGE: Operation(exchange),
    MemoryOp.MACHPHYS_MAPPING: Operation(machphys_mapping, control=True),
    MemoryOp.MAXIMUM_GPFN: Operation(maximum_gpfn),
    MemoryOp.REMOVE_FROM_PHYSMAP: Operation(remove_from_physmap),
    MemoryOp.ADD_TO_PHYSMAP_BATCH: Operation(add_to_physmap_batch),
    MemoryOp.CLAIM_PAGES: Operation(claim_pages, control=True),
    MemoryOp.ACQUIRE_RESOURCE: Operation(acquire_resource),
}
