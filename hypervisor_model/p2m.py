"""A domain's pseudo-physical address space: guest frame to machine frame, memory or MMIO."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from hypervisor_model.memory import FrameAllocator, PageType

GFN_LIMIT: Final = 1 << 36
"""Guest-physical addresses have 48 bits."""


class Kind(Enum):
    """What an entry of the P2M is."""

    RAM = auto()
    """The domain's own page, writable: the frame's allocation reference and one writable count belong to the entry."""
    XEN = auto()
    """A page of Xen's that the domain may see: shared info, grant table, M2P."""
    GRANT = auto()
    """Another domain's page, by a grant: references are with the grant's pins."""
    FOREIGN = auto()
    """Another domain's page, by privilege: the entry holds a reference and a type count."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One guest frame."""

    frame: int
    kind: Kind
    write: bool
    held: PageType = PageType.NONE
    """Of FOREIGN: the type that is counted for it."""


class P2M:
    """Owned by the hypervisor, as EPT is; the M2P follows it. It has no cache: an entry that is gone is gone at once."""

    def __init__(self, frames: FrameAllocator, reserved: range = range(0)) -> None:
        """`reserved`: GFNs where only the hypervisor places something (device pages)."""
        self._frames = frames
        self._reserved = reserved
        self._entries: dict[int, Entry] = {}
        self._unplaced: list[int] = []
        self.mmio: dict[int, int] = {}
        """GFN to machine frame number of a mapped device page."""
        self.pages: dict[int, memoryview] = {}
        """GFN to a window on its frame; memory only, read-only where the guest may not write."""

    def is_mapped(self, gfn: int) -> bool:
        """Memory or a device page is there."""
        return gfn in self._entries or gfn in self.mmio

    def is_vacant(self, gfn: int) -> bool:
        """The guest may have something placed there."""
        return 0 < gfn < GFN_LIMIT and gfn not in self._reserved and not self.is_mapped(gfn)

    def entry(self, gfn: int) -> Entry | None:
        """What is mapped, None for device pages and empty guest frames."""
        return self._entries.get(gfn)

    def frame(self, gfn: int) -> int | None:
        """Machine frame of a page of memory, None for anything else."""
        entry = self._entries.get(gfn)
        return None if entry is None else entry.frame

    def ram(self, gfn: int) -> int | None:
        """Machine frame of the domain's own memory, None for anything else."""
        entry = self._entries.get(gfn)
        return entry.frame if entry is not None and entry.kind is Kind.RAM else None

    @property
    def entries(self) -> dict[int, Entry]:
        """All memory, by GFN."""
        return dict(self._entries)

    @property
    def unplaced(self) -> list[int]:
        """Frames of the domain's memory that are at no GFN."""
        return list(self._unplaced)

    @property
    def highest(self) -> int:
        """Highest GFN that is mapped, 0 if none is."""
        return max((*self._entries, *self.mmio), default=0)

    # --- own memory ------------------------------------------------------------------------------

    def add_ram(self, gfn: int, frame: int) -> None:
        """Map a frame whose first reference passes to this table."""
        self._check_unmapped(gfn)
        if not self._frames.get_type(frame, PageType.WRITABLE):
            raise AssertionError(f"frame {frame:#x} is no guest memory: {self._frames.type_of(frame)}")
        self._place(gfn, Entry(frame, Kind.RAM, write=True))
        self._frames.m2p.set(frame, gfn)

    def remove_ram(self, gfn: int) -> None:
        """Unmap, dropping the table's reference. `KeyError` when absent."""
        self._frames.put(self.take_ram(gfn))

    def take_ram(self, gfn: int) -> int:
        """Unmap without dropping the reference, which passes to the caller; the frame. `KeyError` when absent."""
        frame = self._remove(gfn, Kind.RAM).frame
        self._frames.put_type(frame, PageType.WRITABLE)
        self._frames.m2p.clear(frame)
        return frame

    def keep_unplaced(self, frame: int) -> None:
        """A frame of the domain's memory is at no GFN; its first reference passes to this table."""
        self._unplaced.append(frame)

    # --- pages of others -------------------------------------------------------------------------

    def add_xen(self, gfn: int, frame: int) -> None:
        """Map a page of Xen's that belongs to this domain: at one place at a time."""
        self._check_unmapped(gfn)
        self._place(gfn, Entry(frame, Kind.XEN, write=True))
        self._frames.m2p.set(frame, gfn)

    def add_xen_readonly(self, gfn: int, frame: int) -> None:
        """Map a page that Xen shows to everybody."""
        self._check_unmapped(gfn)
        self._place(gfn, Entry(frame, Kind.XEN, write=False))

    def remove_xen(self, gfn: int) -> None:
        """Unhook a page of Xen's. `KeyError` when absent."""
        entry = self._remove(gfn, Kind.XEN)
        if entry.write:
            self._frames.m2p.clear(entry.frame)

    def add_grant(self, gfn: int, frame: int, *, write: bool) -> None:
        """Map a granted page, which the grant's pin keeps."""
        self._check_unmapped(gfn)
        self._place(gfn, Entry(frame, Kind.GRANT, write=write))

    def remove_grant(self, gfn: int) -> None:
        """Unmap a granted page. `KeyError` when absent."""
        self._remove(gfn, Kind.GRANT)

    def add_foreign(self, gfn: int, frame: int, held: PageType) -> None:
        """Map another domain's page; the caller has taken a reference with type `held` for it."""
        self._check_unmapped(gfn)
        self._place(gfn, Entry(frame, Kind.FOREIGN, write=True, held=held))

    def remove_foreign(self, gfn: int) -> None:
        """Unmap another domain's page, dropping its reference. `KeyError` when absent."""
        entry = self._remove(gfn, Kind.FOREIGN)
        self._frames.put(entry.frame, entry.held)

    def release(self) -> None:
        """Drop every page but granted ones: the domain is destroyed."""
        removals = {Kind.RAM: self.remove_ram, Kind.XEN: self.remove_xen, Kind.FOREIGN: self.remove_foreign}
        for gfn, entry in self.entries.items():
            if entry.kind in removals:
                removals[entry.kind](gfn)
        for frame in self._unplaced:
            self._frames.put(frame)
        self._unplaced.clear()

    # --- device pages ----------------------------------------------------------------------------

    def add_mmio(self, gfn: int, frame: int) -> None:
        """Map a device page."""
        self._check_unmapped(gfn)
        self.mmio[gfn] = frame

    def remove_mmio(self, gfn: int) -> None:
        """Unmap a device page. `KeyError` when absent."""
        del self.mmio[gfn]

    def _check_unmapped(self, gfn: int) -> None:
        if self.is_mapped(gfn):
            raise ValueError(f"guest frame {gfn:#x} is mapped already")

    def _place(self, gfn: int, entry: Entry) -> None:
        self._entries[gfn] = entry
        page = self._frames.page(entry.frame)
        self.pages[gfn] = page if entry.write else page.toreadonly()

    def _remove(self, gfn: int, kind: Kind) -> Entry:
        entry = self._entries[gfn]
        if entry.kind is not kind:
            raise KeyError(gfn)
        del self._entries[gfn]
        del self.pages[gfn]
        return entry
