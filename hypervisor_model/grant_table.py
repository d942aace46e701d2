"""One granter's table: shared entries of version 1 or 2 in guest-writable pages, and what Xen knows of those in use.

The guest writes the entries at any time, so each is read once and checked on the copy; in-use bits are set as Xen sets them
(`xen/common/grant_table.c`, _set_status_v1 and _set_status_v2).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from hypervisor_model.memory import FrameAllocator, PageType
from hypervisor_model.p2m import P2M
from sw.xen.grant_table import (
    GRANT_ENTRIES_PER_PAGE,
    GRANT_ENTRIES_PER_PAGE_V2,
    GRANT_ENTRY_V1,
    GRANT_ENTRY_V2,
    GRANT_ENTRY_V2_SUB_PAGE,
    GRANT_ENTRY_V2_TRANSITIVE,
    GRANT_MAX_FRAMES,
    GRANT_RESERVED_ENTRIES,
    GRANT_STATUS_BYTES,
    GRANT_STATUS_PER_PAGE,
    GrantFlag,
    GrantStatus,
)
from sw.xen.memory import GRANT_TABLE_STATUS

HOST_WRITE: Final = 1
HOST_READ: Final = 1 << 8
DEVICE_WRITE: Final = 1 << 16
DEVICE_READ: Final = 1 << 24
"""What one pin adds to the pin word, which has a counter in each byte."""
PIN_GUARD: Final = 128
"""A pin counter is 8 bits; further pins are refused from here."""
WRITE_PINS: Final = 0xFF * (HOST_WRITE | DEVICE_WRITE)
_CAS_TRIES: Final = 5
_IN_USE: Final = GrantFlag.READING | GrantFlag.WRITING
_HEADER_BYTES: Final = 4


class GrantError(Exception):
    """A grant operation failed with a status."""

    def __init__(self, status: GrantStatus) -> None:
        super().__init__(status.name)
        self.status = status


@dataclass
class ActiveEntry:
    """What the hypervisor knows of a reference in use. Shared entries cannot be trusted to stay."""

    domid: int
    """The grantee."""
    frame: int
    gfn: int
    """In the granter's space; of no meaning with `behind`."""
    start: int = 0
    length: int = 0
    """Bytes of the page that are granted."""
    sub_page: bool = False
    behind: tuple[int, int] | None = None
    """Of a transitive grant: domain and reference that it passes on, whose pins hold the page."""
    pin: int = 0
    """Four counters of 8 bits."""

    def count(self, unit: int) -> int:
        """One of the counters, `unit` being what a pin adds to it."""
        return self.pin // unit & 0xFF


@dataclass
class GrantTable:
    """One granter: its shared pages and its references in use."""

    domid: int
    p2m: P2M
    allocator: FrameAllocator
    version: int = 1
    frames: list[int] = field(default_factory=list)
    """Machine frames of the shared pages."""
    status_frames: list[int] = field(default_factory=list)
    """Of version 2: machine frames of the status words."""
    active: dict[int, ActiveEntry] = field(default_factory=dict)
    dead: bool = False
    """The domain is gone; what it had granted is in use still."""

    # --- size and version ------------------------------------------------------------------------

    @property
    def entries(self) -> int:
        """References there are."""
        per_page = GRANT_ENTRIES_PER_PAGE if self.version == 1 else GRANT_ENTRIES_PER_PAGE_V2
        return len(self.frames) * per_page

    def grow(self, frames: int) -> None:
        """At least `frames` shared pages, and in version 2 their status words. Raises `GrantError` above the limit."""
        if frames > GRANT_MAX_FRAMES:
            raise GrantError(GrantStatus.GENERAL_ERROR)
        while len(self.frames) < frames:
            self.frames.append(self._new_page())
        self._grow_status()

    def page_of(self, index: int) -> int | None:
        """Machine frame by the index of add_to_physmap: a shared page, made if the limit allows, or a status page."""
        if index & GRANT_TABLE_STATUS:
            index ^= GRANT_TABLE_STATUS
            return self.status_frames[index] if self.version == 2 and index < len(self.status_frames) else None
        if index >= GRANT_MAX_FRAMES:
            return None
        self.grow(index + 1)
        return self.frames[index]

    def is_idle(self) -> bool:
        """No reference is in use, the reserved ones apart."""
        return all(reference < GRANT_RESERVED_ENTRIES for reference in self.active)

    def set_version(self, version: int) -> None:
        """Change the layout of an idle table; only the reserved entries stay, as far as the new layout has them."""
        kept = [self._portable(reference) for reference in range(GRANT_RESERVED_ENTRIES if self.frames else 0)]
        for frame in self.frames:
            self.allocator.page(frame)[:] = bytes(len(self.allocator.page(frame)))
        self.version = version
        if version == 1:
            self.drop_status_pages()
        else:
            self._grow_status()
        for reference, (flags, domid, gfn) in enumerate(kept):
            layout, page, offset = self._full(reference)
            layout.pack_into(page, offset, flags & ~_IN_USE if version == 2 else flags, domid, gfn)
            if version == 2:
                self._set_status_word(reference, flags & _IN_USE)

    def drop_status_pages(self) -> None:
        """Free the status words."""
        self._drop(self.status_frames)

    def drop_pages(self) -> None:
        """Free everything: the domain is gone."""
        self._drop(self.frames)
        self.drop_status_pages()

    # --- one entry -------------------------------------------------------------------------------

    def header(self, reference: int) -> tuple[int, int]:
        """flags and grantee, in one read."""
        page, offset = self._locate(reference)
        word = int.from_bytes(page[offset : offset + _HEADER_BYTES], "little")
        return word & 0xFFFF, word >> 16

    def gfn(self, reference: int) -> int:
        """Frame of a full-page or sub-page entry."""
        layout, page, offset = self._full(reference)
        return int(layout.unpack_from(page, offset)[2])

    def sub_page(self, reference: int) -> tuple[int, int]:
        """page_off and length of a sub-page entry, in bytes."""
        page, offset = self._locate(reference)
        _, _, start, length, _ = GRANT_ENTRY_V2_SUB_PAGE.unpack_from(page, offset)
        return start, length

    def transitive(self, reference: int) -> tuple[int, int]:
        """Domain and reference behind a transitive entry."""
        page, offset = self._locate(reference)
        _, _, domid, behind = GRANT_ENTRY_V2_TRANSITIVE.unpack_from(page, offset)
        return domid, behind

    def set_status(self, reference: int, grantee: int, *, pinned: bool, write: bool, mapping: bool) -> int:
        """Check the shared entry and set its in-use bits; its flags. Raises `GrantError`.

        `pinned`: it is in use already, so grantee and type are settled. `mapping`: not for a copy.
        """
        change = self._set_status_v1 if self.version == 1 else self._set_status_v2
        return change(reference, grantee, pinned, write, mapping)

    def clear_status(self, reference: int, bits: int) -> None:
        """Clear in-use bits. The pages of a dead domain are gone."""
        if self.dead:
            return
        if self.version == 2:
            self._set_status_word(reference, self._status_word(reference) & ~bits)
        else:
            self.change_flags(reference, clear=bits)

    def change_flags(self, reference: int, *, raise_: int = 0, clear: int = 0) -> None:
        """Set and clear bits of the flags word, in one step."""
        page, offset = self._locate(reference)
        flags = (int.from_bytes(page[offset : offset + 2], "little") | raise_) & ~clear & 0xFFFF
        page[offset : offset + 2] = flags.to_bytes(2, "little")

    def compare_exchange(self, reference: int, expected: tuple[int, int], flags: int) -> bool:
        """Write flags if flags and grantee are as expected, in one step."""
        if self.header(reference) != expected:
            return False
        self.change_flags(reference, raise_=flags, clear=~flags & 0xFFFF)
        return True

    def set_gfn(self, reference: int, gfn: int) -> None:
        """Frame of a full-page entry: where a transferred page has gone."""
        layout, page, offset = self._full(reference)
        flags, domid, _ = layout.unpack_from(page, offset)
        layout.pack_into(page, offset, flags, domid, gfn)

    def swap(self, first: int, second: int) -> None:
        """Exchange two shared entries."""
        size = (GRANT_ENTRY_V1 if self.version == 1 else GRANT_ENTRY_V2).size
        (page, at), (other, there) = self._locate(first), self._locate(second)
        page[at : at + size], other[there : there + size] = bytes(other[there : there + size]), bytes(page[at : at + size])

    def barrier(self) -> None:
        """What the guest's other cores wrote until now is visible below."""

    def _set_status_v1(self, reference: int, grantee: int, pinned: bool, write: bool, mapping: bool) -> int:
        for _ in range(_CAS_TRIES):
            flags, domid = seen = self.header(reference)
            if not pinned and (flags & GrantFlag.TYPE_MASK != GrantFlag.PERMIT_ACCESS or domid != grantee):
                break
            if write and flags & GrantFlag.READONLY:
                break
            if self.compare_exchange(reference, seen, flags | self._bits(write)):
                return flags
        raise GrantError(GrantStatus.GENERAL_ERROR)

    def _set_status_v2(self, reference: int, grantee: int, pinned: bool, write: bool, mapping: bool) -> int:
        before = self._status_word(reference)
        flags = self._check_v2(reference, grantee, pinned, write, mapping)
        self._set_status_word(reference, before | self._bits(write))
        # The guest looks at the status word before it takes an entry back, so one of the two sees the other.
        self.barrier()
        try:
            flags = self._check_v2(reference, grantee, pinned, write, mapping)
        except GrantError:
            self.clear_status(reference, self._bits(write) & ~before if pinned else _IN_USE)
            raise
        return flags

    def _check_v2(self, reference: int, grantee: int, pinned: bool, write: bool, mapping: bool) -> int:
        flags, domid = self.header(reference)
        kind = flags & (GrantFlag.TYPE_MASK | (GrantFlag.SUB_PAGE if mapping else 0))
        allowed = (GrantFlag.PERMIT_ACCESS,) if mapping else (GrantFlag.PERMIT_ACCESS, GrantFlag.TRANSITIVE)
        if not pinned and (kind not in allowed or domid != grantee):
            raise GrantError(GrantStatus.GENERAL_ERROR)
        if write and flags & GrantFlag.READONLY:
            raise GrantError(GrantStatus.GENERAL_ERROR)
        return flags

    @staticmethod
    def _bits(write: bool) -> int:
        return GrantFlag.READING | (GrantFlag.WRITING if write else 0)

    # --- where things are ------------------------------------------------------------------------

    def _locate(self, reference: int) -> tuple[memoryview, int]:
        size = (GRANT_ENTRY_V1 if self.version == 1 else GRANT_ENTRY_V2).size
        per_page = GRANT_ENTRIES_PER_PAGE if self.version == 1 else GRANT_ENTRIES_PER_PAGE_V2
        return self.allocator.page(self.frames[reference // per_page]), reference % per_page * size

    def _full(self, reference: int) -> tuple[Struct, memoryview, int]:
        page, offset = self._locate(reference)
        return (GRANT_ENTRY_V1 if self.version == 1 else GRANT_ENTRY_V2), page, offset

    def _status_word(self, reference: int) -> int:
        page, at = self._locate_status(reference)
        return int.from_bytes(page[at : at + GRANT_STATUS_BYTES], "little")

    def _set_status_word(self, reference: int, value: int) -> None:
        page, at = self._locate_status(reference)
        page[at : at + GRANT_STATUS_BYTES] = value.to_bytes(GRANT_STATUS_BYTES, "little")

    def _locate_status(self, reference: int) -> tuple[memoryview, int]:
        frame = self.status_frames[reference // GRANT_STATUS_PER_PAGE]
        return self.allocator.page(frame), reference % GRANT_STATUS_PER_PAGE * GRANT_STATUS_BYTES

    def _portable(self, reference: int) -> tuple[int, int, int]:
        """flags with in-use bits, grantee and frame of an entry that either layout can hold; zeros for any other."""
        flags, domid = self.header(reference)
        gfn = self.gfn(reference)
        if self.version == 1:
            return flags, domid, gfn
        if flags & (GrantFlag.TYPE_MASK | GrantFlag.SUB_PAGE) != GrantFlag.PERMIT_ACCESS or gfn >> 32:
            return 0, 0, 0
        return flags & ~_IN_USE | self._status_word(reference) & _IN_USE, domid, gfn

    def _grow_status(self) -> None:
        if self.version == 2:
            while len(self.status_frames) * GRANT_STATUS_PER_PAGE < self.entries:
                self.status_frames.append(self._new_page())

    def _new_page(self) -> int:
        return self.allocator.allocate(self.domid, PageType.GRANT_TABLE)

    def _drop(self, frames: list[int]) -> None:
        for frame in frames:
            gfn = self.allocator.m2p.gfn(frame)
            if gfn is not None:
                self.p2m.remove_xen(gfn)
            self.allocator.put(frame)
        frames.clear()
