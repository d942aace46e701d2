"""Second-level (I/O) page tables in machine memory, VT-d format, four levels."""

from __future__ import annotations

import struct
from typing import Final

from hypervisor_model.memory import OWNER_XEN, FrameAllocator, PageType
from sw.platform import PAGE_SHIFT

READ: Final = 1 << 0
WRITE: Final = 1 << 1
_SUPERPAGE: Final = 1 << 7
_PRESENT: Final = READ | WRITE
_ADDRESS: Final = 0x000F_FFFF_FFFF_F000
_ENTRY: Final = struct.Struct("<Q")
_LEVELS: Final = 4
_INDEX_BITS: Final = 9
WIDTH_BITS: Final = 48


class SecondLevelTable:
    """One I/O address space. Device frame numbers (DFN) to machine frames.

    A change from not present to present needs no invalidation; every other one is the caller's to invalidate
    before the machine frame is reused.
    """

    def __init__(self, frames: FrameAllocator) -> None:
        self._frames = frames
        self._tables: list[int] = []
        self.root = self._new_table()
        """Machine frame of the top table."""

    def map(self, dfn: int, frame: int, *, write: bool, order: int = 0) -> None:
        """Map 2^`order` pages (0, 9 or 18): readable, and writable on request. Replaces a leaf of the same order.

        Raises `ValueError` for a misaligned or overlapping mapping.
        """
        if order not in (0, _INDEX_BITS, 2 * _INDEX_BITS):
            raise ValueError(f"order is {order}: 0, {_INDEX_BITS} or {2 * _INDEX_BITS}")
        if (dfn | frame) & (1 << order) - 1:
            raise ValueError(f"DFN {dfn:#x} and frame {frame:#x} must be multiples of 2^{order}")
        if dfn >> (WIDTH_BITS - PAGE_SHIFT):
            raise ValueError(f"DFN {dfn:#x} does not fit into {WIDTH_BITS} address bits")
        leaf_level = 1 + order // _INDEX_BITS
        page, offset = self._walk(dfn, leaf_level)
        (old,) = _ENTRY.unpack_from(page, offset)
        if leaf_level > 1 and old & _PRESENT and not old & _SUPERPAGE:
            raise ValueError(f"DFN {dfn:#x}: smaller pages are mapped below")
        entry = frame << PAGE_SHIFT | READ | (WRITE if write else 0) | (_SUPERPAGE if leaf_level > 1 else 0)
        _ENTRY.pack_into(page, offset, entry)

    def unmap(self, dfn: int, order: int = 0) -> None:
        """Clear one leaf. `KeyError` when it is not present."""
        page, offset = self._walk(dfn, 1 + order // _INDEX_BITS)
        (old,) = _ENTRY.unpack_from(page, offset)
        if not old & _PRESENT:
            raise KeyError(f"DFN {dfn:#x} is not mapped")
        _ENTRY.pack_into(page, offset, 0)

    def destroy(self) -> None:
        """Free every table. No context entry may point here any more."""
        for frame in self._tables:
            self._frames.put(frame)
        self._tables.clear()

    def _walk(self, dfn: int, leaf_level: int) -> tuple[memoryview, int]:
        """Page and byte offset of the entry at `leaf_level`; tables above are made as needed."""
        frame = self.root
        for level in range(_LEVELS, 0, -1):
            page = self._frames.page(frame)
            offset = (dfn >> _INDEX_BITS * (level - 1) & (1 << _INDEX_BITS) - 1) * _ENTRY.size
            if level == leaf_level:
                return page, offset
            (entry,) = _ENTRY.unpack_from(page, offset)
            if not entry & _PRESENT:
                # Both permissions above the leaf: the leaf decides.
                entry = self._new_table() << PAGE_SHIFT | _PRESENT
                _ENTRY.pack_into(page, offset, entry)
            elif entry & _SUPERPAGE:
                raise ValueError(f"DFN {dfn:#x} lies in a mapped superpage")
            frame = (entry & _ADDRESS) >> PAGE_SHIFT
        raise AssertionError("a walk always meets its leaf level")

    def _new_table(self) -> int:
        frame = self._frames.allocate(OWNER_XEN, PageType.PAGE_TABLE)
        self._tables.append(frame)
        return frame
