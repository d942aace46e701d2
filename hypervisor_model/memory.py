"""Machine frames: who owns them, how often they are referenced, and which are free."""

from __future__ import annotations

import random
from typing import Final

from sw.platform import PAGE_SHIFT, PAGE_SIZE, HostMemory

OWNER_NONE: Final = -1
OWNER_XEN: Final = 0x7FF2
"""DOMID_XEN: frames of the hypervisor itself (tables, queues)."""


class OutOfFramesError(MemoryError):
    """No free machine frame, or no free run as long as wanted."""


class FrameAllocator:
    """Hands out machine frames in a seeded, scattered order; a frame is free again when its last reference drops."""

    def __init__(self, memory: HostMemory, seed: int, first_frame: int = 1) -> None:
        """Frames below `first_frame` are never handed out (frame 0 makes null addresses visible)."""
        self._memory = memory
        self._frames = memory.size >> PAGE_SHIFT
        self._references = [0] * self._frames
        self._owners = [OWNER_NONE] * self._frames
        # The top quarter is scattered over last: consecutive runs are found there.
        kept = max(self._frames * 3 // 4, first_frame)
        scattered, runs = list(range(first_frame, kept)), list(range(kept, self._frames))
        rng = random.Random(seed)
        rng.shuffle(scattered)
        rng.shuffle(runs)
        self._order = runs + scattered
        self._first = first_frame

    @property
    def frames(self) -> int:
        """Machine frames in all."""
        return self._frames

    def allocate(self, owner: int) -> int:
        """One zeroed frame with one reference."""
        while self._order:
            frame = self._order.pop()
            if self._references[frame] == 0 and self._owners[frame] == OWNER_NONE:
                self._take(frame, owner)
                return frame
        raise OutOfFramesError(f"all {self._frames} machine frames are in use")

    def allocate_run(self, owner: int, count: int, alignment: int = 1) -> int:
        """First of `count` consecutive zeroed frames, its number a multiple of `alignment`."""
        # From the top: runs stay clear of each other's fragments longest.
        start = (self._frames - count) // alignment * alignment
        while start >= self._first:
            if all(owner_ == OWNER_NONE for owner_ in self._owners[start : start + count]):
                for frame in range(start, start + count):
                    self._take(frame, owner)
                return start
            start -= alignment
        raise OutOfFramesError(f"no {count} consecutive free machine frames aligned to {alignment}")

    def get(self, frame: int, owner: int) -> bool:
        """Take one more reference; False unless `owner` owns the frame."""
        if not 0 <= frame < self._frames or self._owners[frame] != owner:
            return False
        self._references[frame] += 1
        return True

    def put(self, frame: int) -> None:
        """Drop one reference; the last one frees the frame."""
        if self._references[frame] <= 0:
            raise AssertionError(f"reference count of free frame {frame:#x} dropped")
        self._references[frame] -= 1
        if self._references[frame] == 0:
            self._owners[frame] = OWNER_NONE
            self._order.append(frame)

    def owner(self, frame: int) -> int:
        """Domain id, `OWNER_XEN`, or `OWNER_NONE` of a free frame."""
        return self._owners[frame]

    def references(self, frame: int) -> int:
        """References held on a frame: one of its owner's P2M, one of each grant in use."""
        return self._references[frame]

    def page(self, frame: int) -> memoryview:
        """A writable window on the frame."""
        return self._memory.view(frame << PAGE_SHIFT, PAGE_SIZE)

    def _take(self, frame: int, owner: int) -> None:
        self._owners[frame] = owner
        self._references[frame] = 1
        self.page(frame)[:] = bytes(PAGE_SIZE)
