"""Grant copy: bytes from page to page, each named by a reference or by a frame of the caller's own.

The order of the checks is Xen's (`xen/common/grant_table.c`, gnttab_copy_one).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hypervisor_model.grant_table import HOST_READ, HOST_WRITE, GrantError, GrantTable
from hypervisor_model.grants import GrantOperations
from hypervisor_model.memory import FrameAllocator, PageType
from sw.platform import PAGE_SIZE
from sw.xen.grant_table import GrantStatus
from sw.xen.xen import DOMID_SELF


@dataclass(frozen=True)
class Side:
    """One end of a copy as the caller names it."""

    domid: int
    offset: int
    """Bytes into the page."""
    name: int
    """Reference or frame."""
    by_reference: bool


@dataclass(frozen=True)
class _Buffer:
    """A page while it is held, and which bytes of it may be used."""

    frame: int
    start: int
    length: int


class GrantCopier:
    """Copies between pages that stay pinned for one operation."""

    def __init__(self, grants: GrantOperations, frames: FrameAllocator) -> None:
        self._grants = grants
        self._frames = frames

    def copy(self, caller: int, source: Side, dest: Side, length: int) -> None:
        """One operation. Raises `GrantError`."""
        tables = [self._table(caller, side) for side in (source, dest)]
        with (
            self._claim(caller, tables[0], source, write=False) as from_,
            self._claim(caller, tables[1], dest, write=True) as to,
        ):
            if max(source.offset, dest.offset) + length > PAGE_SIZE:
                raise GrantError(GrantStatus.BAD_COPY_ARG)
            for side, buffer in ((source, from_), (dest, to)):
                if side.offset < buffer.start or side.offset + length > buffer.start + buffer.length:
                    raise GrantError(GrantStatus.GENERAL_ERROR)
            data = bytes(self._frames.page(from_.frame)[source.offset : source.offset + length])
            self._frames.page(to.frame)[dest.offset : dest.offset + length] = data

    def _table(self, caller: int, side: Side) -> GrantTable:
        if side.domid == DOMID_SELF:
            return self._grants.living(caller)
        if not side.by_reference:
            # Frames are for one's own memory.
            raise GrantError(GrantStatus.PERMISSION_DENIED)
        return self._grants.living(side.domid)

    @contextmanager
    def _claim(self, caller: int, table: GrantTable, side: Side, *, write: bool) -> Iterator[_Buffer]:
        if side.by_reference:
            pin = HOST_WRITE if write else HOST_READ
            entry = self._grants.activate(table, caller, side.name, pin, mapping=False, transitive=True)
            try:
                yield _Buffer(entry.frame, entry.start, entry.length)
            finally:
                self._grants.drop(table.domid, side.name, pin)
            return
        frame = self._grants.own_page(table, side.name)
        held = PageType.WRITABLE if write else PageType.NONE
        if not self._frames.get(frame, table.domid, held):
            raise GrantError(GrantStatus.GENERAL_ERROR)
        try:
            yield _Buffer(frame, 0, PAGE_SIZE)
        finally:
            self._frames.put(frame, held)
