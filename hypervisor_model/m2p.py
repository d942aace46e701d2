"""The machine-to-physical table: for each machine frame the GFN at which its owner has it. Written by Xen alone."""

from __future__ import annotations

import struct
from typing import Final

from sw.platform import PAGE_SHIFT, PAGE_SIZE, HostMemory
from sw.xen.memory import INVALID_FRAME

_ENTRY: Final = struct.Struct("<Q")
M2P_GFN: Final = 1 << 35
"""Where guests that ask for it see the table, read-only. Xen's place for it (0xFFFF800000000000) is a virtual address,
and guests here have physical ones only."""


class M2P:
    """A table in machine memory, 8 bytes a frame."""

    def __init__(self, memory: HostMemory, frames: range) -> None:
        """`frames` hold the table, zeroed or not; every entry starts without a GFN."""
        self.frames = frames
        self._table = memory.view(frames.start << PAGE_SHIFT, len(frames) << PAGE_SHIFT)
        self._table[:] = b"\xff" * len(self._table)

    @staticmethod
    def pages_for(frames: int) -> int:
        """Pages of a table for so many frames."""
        return -(-frames * _ENTRY.size // PAGE_SIZE)

    def set(self, frame: int, gfn: int) -> None:
        """The owner has `frame` at `gfn`."""
        _ENTRY.pack_into(self._table, frame * _ENTRY.size, gfn)

    def clear(self, frame: int) -> None:
        """The owner has it nowhere."""
        _ENTRY.pack_into(self._table, frame * _ENTRY.size, INVALID_FRAME)

    def gfn(self, frame: int) -> int | None:
        """The GFN, None if the frame has none."""
        (gfn,) = _ENTRY.unpack_from(self._table, frame * _ENTRY.size)
        return None if gfn == INVALID_FRAME else int(gfn)
