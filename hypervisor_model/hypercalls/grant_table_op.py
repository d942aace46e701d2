"""grant_table_op: the caller's grant table and what it may do with other domains' grants.

Batches return 0 and leave a status in each structure; a structure that cannot be read or written ends the batch with EFAULT.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from hypervisor_model.grant_copy import GrantCopier, Side
from hypervisor_model.grants import UNMAP_BATCH, GrantError, Unmap
from hypervisor_model.hypercalls.call import Call, Operation
from hypervisor_model.memory import OutOfFramesError
from sw.abi.registers import Mode
from sw.platform import PAGE_SHIFT, PAGE_SIZE
from sw.xen import grant_table as layouts
from sw.xen.errno import Errno, HypercallError
from sw.xen.grant_table import GRANT_MAX_FRAMES, CacheFlush, GrantCopyFlag, GrantOp, GrantStatus
from sw.xen.memory import FRAME, INVALID_FRAME

if TYPE_CHECKING:
    from hypervisor_model.domains import Domain

MAX_BATCH: Final = 4096
"""Structures of one call."""


def map_grant_ref(call: Call) -> int:
    """Map granted pages into the caller's P2M at `host_addr`."""
    grants, domain, layout = call.hv.grants, call.domain, layouts.MAP_GRANT_REF
    for at in _batch(call, layout):
        host_addr, flags, reference, domid, *_ = call.unpack(layout, at)
        status, handle, address = GrantStatus.OKAY, 0, 0
        try:
            handle, address = grants.map(
                domain.domid, domid, reference, flags, host_addr, bus_addresses=domain.mode is Mode.NATIVE
            )
        except GrantError as error:
            status = error.status
        call.pack(layout, at, host_addr, flags, reference, domid, status, handle, address)
    return 0


def unmap_grant_ref(call: Call) -> int:
    """Undo mappings: of each, the parts whose address is given."""

    def read(fields: tuple[Any, ...]) -> Unmap:
        host_addr, dev_bus_addr, handle, _ = fields
        return Unmap(handle, host_addr, dev_bus_addr=dev_bus_addr)

    return _unmap(call, read)


def unmap_and_replace(call: Call) -> int:
    """As unmap_grant_ref: a page table entry to put in its place is for callers with page tables, not for translated ones."""

    def read(fields: tuple[Any, ...]) -> Unmap:
        host_addr, new_addr, handle, _ = fields
        return Unmap(handle, host_addr, new_addr=new_addr)

    return _unmap(call, read)


def _unmap(call: Call, read: Callable[[tuple[Any, ...]], Unmap]) -> int:
    layout = layouts.UNMAP_GRANT_REF
    places = _batch(call, layout)
    for first in range(0, len(places), UNMAP_BATCH):
        some = places[first : first + UNMAP_BATCH]
        fields = [call.unpack(layout, at) for at in some]
        statuses = call.hv.grants.unmap(call.domain.domid, [read(each) for each in fields])
        for at, each, status in zip(some, fields, statuses, strict=True):
            call.pack(layout, at, *each[:-1], status)
    return 0


def setup_table(call: Call) -> int:
    """Grow to `nr_frames` shared pages, mapped after the domain's RAM unless the guest has mapped them elsewhere."""
    at = _single(call)
    domid, frames, _, frame_list = call.unpack(layouts.SETUP_TABLE, at)
    status, target = _target(call, domid)
    if target is not None:
        table = call.hv.grants.table(target.domid)
        try:
            table.grow(frames)
            _answer_frames(call, frame_list, target, table.frames[:frames], target.layout.grant_table)
        except GrantError as error:
            status = error.status
        except OutOfFramesError:
            status = GrantStatus.GENERAL_ERROR
    call.pack(layouts.SETUP_TABLE, at, domid, frames, status, frame_list)
    return 0


def get_status_frames(call: Call) -> int:
    """The first `nr_frames` pages of status words, mapped after the shared pages unless the guest has mapped them elsewhere."""
    at = _single(call)
    frames, domid, _, frame_list = call.unpack(layouts.GET_STATUS_FRAMES, at)
    status, target = _target(call, domid)
    if target is not None:
        table = call.hv.grants.table(target.domid)
        if frames > len(table.status_frames):
            status = GrantStatus.GENERAL_ERROR
        else:
            first = target.layout.grant_table + GRANT_MAX_FRAMES
            _answer_frames(call, frame_list, target, table.status_frames[:frames], first)
    call.pack(layouts.GET_STATUS_FRAMES, at, frames, domid, status, frame_list)
    return 0


def _answer_frames(call: Call, frame_list: int, target: Domain, frames: list[int], first: int) -> None:
    """Place those pages of Xen's that have no GFN, and say where all are."""
    m2p = call.hv.frames.m2p
    for n, frame in enumerate(frames):
        if m2p.gfn(frame) is None and target.p2m.is_vacant(first + n):
            target.p2m.add_xen(first + n, frame)
        gfn = m2p.gfn(frame)
        call.pack(FRAME, frame_list + n * FRAME.size, INVALID_FRAME if gfn is None else gfn)


def transfer(call: Call) -> int:
    """Hand pages of the caller's over to domains that accept them."""
    layout = layouts.TRANSFER
    for at in _batch(call, layout):
        gfn, domid, reference, _ = call.unpack(layout, at)
        status = GrantStatus.OKAY
        try:
            call.hv.grants.transfer(call.domain.domid, gfn, domid, reference)
        except GrantError as error:
            status = error.status
        call.pack(layout, at, gfn, domid, reference, status)
    return 0


def copy(call: Call) -> int:
    """Copy bytes between pages, each one's own or granted."""
    layout = layouts.COPY
    copier = GrantCopier(call.hv.grants, call.hv.frames)
    for at in _batch(call, layout):
        *sides, length, flags, _ = fields = call.unpack(layout, at)
        status = GrantStatus.OKAY
        try:
            copier.copy(
                call.domain.domid,
                _side(*sides[:3], by_reference=bool(flags & GrantCopyFlag.SOURCE_GREF)),
                _side(*sides[3:], by_reference=bool(flags & GrantCopyFlag.DEST_GREF)),
                length,
            )
        except GrantError as error:
            status = error.status
        call.pack(layout, at, *fields[:-1], status)
    return 0


def _side(name: int, domid: int, offset: int, *, by_reference: bool) -> Side:
    return Side(domid, offset, name & 0xFFFF_FFFF if by_reference else name, by_reference)


def query_size(call: Call) -> int:
    """How many shared pages a table has and may have."""
    at = _single(call)
    domid, *_ = call.unpack(layouts.QUERY_SIZE, at)
    status, target = _target(call, domid)
    frames = 0 if target is None else len(call.hv.grants.table(target.domid).frames)
    most = 0 if target is None else GRANT_MAX_FRAMES
    call.pack(layouts.QUERY_SIZE, at, domid, frames, most, status)
    return 0


def set_version(call: Call) -> int:
    """Change the layout of the caller's table, which must not be in use; the version it has comes back."""
    at = call.argument(1)
    (version,) = call.unpack(layouts.SET_VERSION, at)
    table = call.hv.grants.table(call.domain.domid)
    try:
        call.hv.grants.set_version(call.domain.domid, version)
    finally:
        call.pack(layouts.SET_VERSION, at, table.version)
    return 0


def get_version(call: Call) -> int:
    """The layout of a table."""
    at = call.argument(1)
    domid, _ = call.unpack(layouts.GET_VERSION, at)
    call.pack(layouts.GET_VERSION, at, domid, call.hv.grants.table(call.target(domid).domid).version)
    return 0


def swap_grant_ref(call: Call) -> int:
    """Exchange entries that are not in use."""
    layout = layouts.SWAP_GRANT_REF
    for at in _batch(call, layout):
        first, second, _ = call.unpack(layout, at)
        status = GrantStatus.OKAY
        try:
            call.hv.grants.swap(call.domain.domid, first, second)
        except GrantError as error:
            status = error.status
        call.pack(layout, at, first, second, status)
    return 0


def cache_flush(call: Call) -> int:
    """Write back cached bytes of pages that are the caller's or granted to it: memory is coherent, so only the checks are work."""
    granted: dict[int, set[int]] = {}
    for at in _batch(call, layouts.CACHE_FLUSH):
        address, offset, length, flags = call.unpack(layouts.CACHE_FLUSH, at)
        if offset + length > PAGE_SIZE or flags & ~(CacheFlush.CLEAN | CacheFlush.INVALIDATE | CacheFlush.SOURCE_GREF):
            raise HypercallError(Errno.EINVAL, f"cache_flush of {length} bytes at {offset}, op {flags:#x}")
        if not length or not flags:
            continue
        if flags & CacheFlush.SOURCE_GREF or flags == CacheFlush.INVALIDATE:
            raise HypercallError(Errno.EOPNOTSUPP, f"cache_flush op {flags:#x}: only write-back, by machine address")
        frame = address >> PAGE_SHIFT
        if frame >= call.hv.frames.frames:
            raise HypercallError(Errno.EINVAL, f"cache_flush: {address:#x} is not RAM")
        owner = call.hv.domains.get(call.hv.frames.owner(frame))
        if owner is None:
            raise HypercallError(Errno.EPERM, f"cache_flush: {address:#x} is no domain's")
        if owner is call.domain:
            continue
        if owner.domid not in granted:
            entries = call.hv.grants.table(owner.domid).active.values()
            granted[owner.domid] = {entry.frame for entry in entries if entry.domid == call.domain.domid}
        if frame not in granted[owner.domid]:
            raise HypercallError(Errno.EINVAL, f"cache_flush: {address:#x} is not granted to {call.domain.name}")
    return 0


def _batch(call: Call, layout: struct.Struct) -> list[int]:
    """Where the structures of a batch are."""
    count = call.argument(2)
    if count > MAX_BATCH:
        raise HypercallError(Errno.EINVAL, f"batch of {count}: at most {MAX_BATCH}")
    return [call.argument(1) + n * layout.size for n in range(count)]


def _single(call: Call) -> int:
    if call.argument(2) != 1:
        raise HypercallError(Errno.EINVAL, f"{call.argument(2)} structures: this operation takes one")
    return call.argument(1)


def _target(call: Call, domid: int) -> tuple[GrantStatus, Domain | None]:
    """The domain whose table is asked for, or why not."""
    try:
        return GrantStatus.OKAY, call.target(domid)
    except HypercallError as error:
        denied = error.errno is Errno.EPERM and domid in call.hv.domains
        return (GrantStatus.PERMISSION_DENIED if denied else GrantStatus.BAD_DOMAIN), None


OPERATIONS: Final[Mapping[int, Operation]] = {
    GrantOp.MAP_GRANT_REF: Operation(map_grant_ref),
    GrantOp.UNMAP_GRANT_REF: Operation(unmap_grant_ref),
    GrantOp.SETUP_TABLE: Operation(setup_table),
    GrantOp.TRANSFER: Operation(transfer),
    GrantOp.COPY: Operation(copy),
    GrantOp.QUERY_SIZE: Operation(query_size),
    GrantOp.UNMAP_AND_REPLACE: Operation(unmap_and_replace),
    GrantOp.SET_VERSION: Operation(set_version, control=True),
    GrantOp.GET_STATUS_FRAMES: Operation(get_status_frames),
    GrantOp.GET_VERSION: Operation(get_version),
    GrantOp.SWAP_GRANT_REF: Operation(swap_grant_ref),
    GrantOp.CACHE_FLUSH: Operation(cache_flush),
}
