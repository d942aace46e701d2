"""Long-lived, device-mapped guest pages in which an application puts the frames it sends."""

from __future__ import annotations

from sw.guest.machine import DriverMachine
from sw.platform import PAGE_SHIFT, PAGE_SIZE

Piece = tuple[int, int]
"""Guest-physical address and length in bytes."""


class SendBuffers:
    """Ring allocation over consecutive guest pages: placed in order, freed in order of completion."""

    def __init__(self, machine: DriverMachine, gfn: int, pages: int, alignment: int) -> None:
        """`alignment` in bytes, a power of two: where each frame starts."""
        self._pages = [machine.memory.page(gfn + n) for n in range(pages)]
        self.base = gfn << PAGE_SHIFT
        """GPA of the first page."""
        self._size = pages * PAGE_SIZE
        self._mask = alignment - 1
        self._at = 0
        self._held = 0

    def place(self, frame: bytes) -> tuple[list[Piece], int] | None:
        """Copy a frame in. Pieces (none crosses a page) and bytes held until `free`; None when there is no room."""
        length = len(frame)
        if length > self._size:
            raise ValueError(f"frame of {length} bytes: the send buffers have {self._size}")
        at = self._at
        taken = (length + self._mask) & ~self._mask
        skipped = 0
        if at + taken > self._size:
            skipped = self._size - at
            at = 0
        held = taken + skipped
        if self._held + held > self._size:
            return None
        self._held += held
        self._at = at + taken
        offset = at & (PAGE_SIZE - 1)
        page = at >> PAGE_SHIFT
        if offset + length <= PAGE_SIZE:
            self._pages[page][offset : offset + length] = frame
            return [(self.base + at, length)], held
        pieces: list[Piece] = []
        done = 0
        while done < length:
            offset = (at + done) & (PAGE_SIZE - 1)
            part = min(PAGE_SIZE - offset, length - done)
            self._pages[(at + done) >> PAGE_SHIFT][offset : offset + part] = frame[done : done + part]
            pieces.append((self.base + at + done, part))
            done += part
        return pieces, held

    def free(self, held: int) -> None:
        """Release the oldest frame, by the byte count that `place` gave."""
        self._held -= held

    def undo(self, held: int) -> None:
        """Take back the latest `place`, whose frame was not sent."""
        self._held -= held
        self._at = (self._at - held) % self._size
