"""Grant table version 1: checks, in-use bits, pins and handles of device mappings.

The order of the checks is Xen's (`xen/common/grant_table.c`, map_grant_ref). Installing and removing the IOMMU
entries is the caller's, between `pin` and `unpin`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from hypervisor_model.memory import FrameAllocator
from hypervisor_model.p2m import P2M
from sw.xen.grant_table import (
    GRANT_ENTRIES_PER_PAGE,
    GRANT_ENTRY_V1,
    GRANT_MAX_FRAMES,
    GrantFlag,
    GrantMapFlag,
    GrantStatus,
)

PIN_GUARD: Final = 128
"""A pin counter is 8 bits; further maps are refused from here."""
MAPTRACK_LIMIT: Final = 1024 * 256
"""Handles: 1024 frames of 256."""


class GrantError(Exception):
    """A grant operation failed with a status."""

    def __init__(self, status: GrantStatus) -> None:
        super().__init__(status.name)
        self.status = status


@dataclass
class ActiveEntry:
    """What the hypervisor knows of a reference in use. Version 1 entries cannot be trusted to stay."""

    domid: int
    gfn: int
    frame: int
    readers: int = 0
    """Device-read pins."""
    writers: int = 0
    """Device-write pins."""


@dataclass
class GrantTable:
    """One granter: its shared pages and its references in use."""

    domid: int
    p2m: P2M
    frames: list[int] = field(default_factory=list)
    """Machine frames of the shared pages."""
    active: dict[int, ActiveEntry] = field(default_factory=dict)


@dataclass(frozen=True)
class Mapping:
    """Maptrack: one live handle."""

    granter: int
    reference: int
    endpoint: int
    gfn: int
    frame: int
    write: bool


class GrantOperations:
    """All grant tables of the machine and the handles on them."""

    def __init__(self, frames: FrameAllocator) -> None:
        self._frames = frames
        self._tables: dict[int, GrantTable] = {}
        self._mappings: dict[int, Mapping] = {}
        self._next_handle = 0

    def create(self, domid: int, p2m: P2M) -> GrantTable:
        """An empty table for a new domain."""
        table = GrantTable(domid, p2m)
        self._tables[domid] = table
        return table

    def table(self, domid: int) -> GrantTable:
        """A domain's table."""
        return self._tables[domid]

    def grow(self, domid: int, frames: int) -> list[int]:
        """Grow a table to `frames` shared pages; the new machine frames, owned by the granter."""
        table = self._tables[domid]
        if frames > GRANT_MAX_FRAMES:
            raise GrantError(GrantStatus.GENERAL_ERROR)
        fresh = [self._frames.allocate(domid) for _ in range(frames - len(table.frames))]
        table.frames.extend(fresh)
        return fresh

    def pin(self, caller: int, granter: int, reference: int, endpoint: int, flags: GrantMapFlag) -> tuple[int, Mapping]:
        """Check a reference for a device mapping by `caller`, pin its page. Raises `GrantError`."""
        if not flags & GrantMapFlag.DEVICE:
            # Only device mappings exist here; a host map needs a caller with an address space of its own.
            raise GrantError(GrantStatus.BAD_GREF)
        write = not flags & GrantMapFlag.READONLY
        table = self._tables.get(granter)
        if table is None:
            raise GrantError(GrantStatus.BAD_DOMAIN)
        if len(self._mappings) >= MAPTRACK_LIMIT:
            raise GrantError(GrantStatus.NO_SPACE)
        if not 0 <= reference < len(table.frames) * GRANT_ENTRIES_PER_PAGE:
            raise GrantError(GrantStatus.BAD_GREF)
        entry = table.active.get(reference)
        if entry is not None:
            if entry.domid != caller or max(entry.readers, entry.writers) >= PIN_GUARD:
                raise GrantError(GrantStatus.GENERAL_ERROR)
            if write and entry.writers == 0:
                self._validate(table, caller, reference, write=True)
            if not self._frames.get(entry.frame, granter):
                raise GrantError(GrantStatus.BAD_PAGE)
        else:
            entry = self._activate(table, caller, reference, write=write)
            table.active[reference] = entry
        if write:
            entry.writers += 1
        else:
            entry.readers += 1
        handle = self._next_handle
        self._next_handle += 1
        mapping = Mapping(granter, reference, endpoint, entry.gfn, entry.frame, write)
        self._mappings[handle] = mapping
        return handle, mapping

    def peek(self, handle: int) -> Mapping | None:
        """What a live handle stands for."""
        return self._mappings.get(handle)

    def take(self, handle: int, granter: int) -> Mapping:
        """Retire a handle: from here it names nothing. The pin stays until `unpin`. Raises `GrantError`."""
        mapping = self._mappings.get(handle)
        if mapping is None or mapping.granter != granter:
            raise GrantError(GrantStatus.BAD_HANDLE)
        del self._mappings[handle]
        return mapping

    def unpin(self, mapping: Mapping) -> None:
        """Drop the pin of a retired handle: no device may reach the page under it any more."""
        table = self._tables[mapping.granter]
        entry = table.active[mapping.reference]
        clear = 0
        if mapping.write:
            entry.writers -= 1
        else:
            entry.readers -= 1
        if entry.writers == 0:
            clear |= GrantFlag.WRITING
        if entry.writers == 0 and entry.readers == 0:
            clear |= GrantFlag.READING
            del table.active[mapping.reference]
        if clear:
            self._change_flags(table, mapping.reference, clear=clear)
        self._frames.put(mapping.frame)

    def pins(self, granter: int, reference: int) -> tuple[int, int]:
        """Device-read and device-write pins of a reference."""
        entry = self._tables[granter].active.get(reference)
        return (entry.readers, entry.writers) if entry is not None else (0, 0)

    def _activate(self, table: GrantTable, caller: int, reference: int, *, write: bool) -> ActiveEntry:
        gfn = self._validate(table, caller, reference, write=write)
        frame = table.p2m.frame(gfn)
        if frame is None or not self._frames.get(frame, table.domid):
            # MMIO and foreign pages end here as well: only the granter's own RAM can be granted.
            self._change_flags(table, reference, clear=GrantFlag.READING | GrantFlag.WRITING)
            raise GrantError(GrantStatus.BAD_PAGE)
        return ActiveEntry(caller, gfn, frame)

    def _validate(self, table: GrantTable, caller: int, reference: int, *, write: bool) -> int:
        """Check the shared entry and set its in-use bits, in one step; the GFN it names."""
        page, offset = self._locate(table, reference)
        flags, domid, gfn = GRANT_ENTRY_V1.unpack_from(page, offset)
        if flags & GrantFlag.TYPE_MASK != GrantFlag.PERMIT_ACCESS or domid != caller:
            raise GrantError(GrantStatus.GENERAL_ERROR)
        if write and flags & GrantFlag.READONLY:
            raise GrantError(GrantStatus.GENERAL_ERROR)
        self._change_flags(table, reference, raise_=GrantFlag.READING | (GrantFlag.WRITING if write else GrantFlag(0)))
        return int(gfn)

    def _change_flags(self, table: GrantTable, reference: int, *, raise_: int = 0, clear: int = 0) -> None:
        page, offset = self._locate(table, reference)
        flags = (int.from_bytes(page[offset : offset + 2], "little") | raise_) & ~clear & 0xFFFF
        page[offset : offset + 2] = flags.to_bytes(2, "little")

    def _locate(self, table: GrantTable, reference: int) -> tuple[memoryview, int]:
        frame = table.frames[reference // GRANT_ENTRIES_PER_PAGE]
        return self._frames.page(frame), reference % GRANT_ENTRIES_PER_PAGE * GRANT_ENTRY_V1.size
