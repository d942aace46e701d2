"""Machine frames: who owns them, how often they are referenced and as what, and which are free.

As Xen's `page_info`: a reference keeps a frame from being freed; a type count keeps it from being used as something else
meanwhile. Whoever lets a device or a domain reach a frame holds a reference for as long, so nothing that is reachable
is ever freed, and only a frame without further references is given away.
"""

from __future__ import annotations

import random
from enum import IntEnum
from typing import Final

from hypervisor_model.m2p import M2P
from sw.platform import PAGE_SHIFT, PAGE_SIZE, HostMemory

OWNER_NONE: Final = -1
OWNER_XEN: Final = 0x7FF2
"""DOMID_XEN: frames of the hypervisor itself (tables, queues)."""


class OutOfFramesError(MemoryError):
    """No free machine frame, no free run as long as wanted, or the owner has as many as it may."""


class PageType(IntEnum):
    """What a frame is used as. One type at a time, counted; it changes only at count 0."""

    NONE = 0
    WRITABLE = 1
    """Guests or devices may write it."""
    PAGE_TABLE = 2
    """An I/O page table or context table."""
    GRANT_TABLE = 3
    """Shared entries or status words."""
    SHARED_INFO = 4


class FrameAllocator:
    """Hands out machine frames in a seeded, scattered order; a frame is free again when its last reference drops."""

    def __init__(self, memory: HostMemory, seed: int, first_frame: int = 1) -> None:
        """Frames below `first_frame` are never handed out (frame 0 makes null addresses visible)."""
        self._memory = memory
        self._frames = memory.size >> PAGE_SHIFT
        self._references = [0] * self._frames
        self._owners = [OWNER_NONE] * self._frames
        self._types = bytearray(self._frames)
        self._type_counts = [0] * self._frames
        self._special = bytearray(self._frames)
        self._taken = bytearray(self._frames)
        self._free_frames = self._frames - first_frame
        self._claims: dict[int, int] = {}
        self._pages: dict[int, int] = {}
        self._limits: dict[int, int] = {}
        # The top quarter is scattered over last: consecutive runs are found there.
        kept = max(self._frames * 3 // 4, first_frame)
        scattered, runs = list(range(first_frame, kept)), list(range(kept, self._frames))
        rng = random.Random(seed)
        rng.shuffle(scattered)
        rng.shuffle(runs)
        self._order = runs + scattered
        self._first = first_frame
        table = M2P.pages_for(self._frames)
        first = self.allocate_run(OWNER_XEN, table)
        self.m2p = M2P(memory, range(first, first + table))

    @property
    def frames(self) -> int:
        """Machine frames in all."""
        return self._frames

    def allocate(self, owner: int, page_type: PageType = PageType.NONE) -> int:
        """One zeroed frame with one reference. With a type it is a frame of Xen's for `owner`: it keeps that type, and is none of its pages."""
        self._check_limit(owner, 1, special=page_type is not PageType.NONE)
        while self._order:
            frame = self._order.pop()
            if not self._taken[frame]:
                self._take(frame, owner, page_type)
                return frame
        raise OutOfFramesError(f"all {self._frames} machine frames are in use")

    def allocate_run(self, owner: int, count: int, alignment: int = 1, *, replaced: int = 0) -> int:
        """First of `count` consecutive zeroed frames, its number a multiple of `alignment`.

        `replaced`: pages that the owner gives up for them, which do not count against its limit.
        """
        self._check_limit(owner, count, replaced=replaced)
        # From the top: runs stay clear of each other's fragments longest.
        end, wanted = self._frames, bytes(count)
        while (found := self._taken.rfind(wanted, self._first, end)) >= 0:
            start = found // alignment * alignment
            if start >= self._first and self._taken[start : start + count] == wanted:
                for frame in range(start, start + count):
                    self._take(frame, owner, PageType.NONE)
                return start
            end = start + count - 1
        raise OutOfFramesError(f"no {count} consecutive free machine frames aligned to {alignment}")

    def claim(self, owner: int, pages: int) -> None:
        """Keep free frames for a domain until it has `pages`; 0: no longer. Raises `OutOfFramesError`.

        `ValueError` if it has a claim or as many pages already, or may not have so many.
        """
        if not pages:
            self._claims.pop(owner, None)
            return
        have = self.pages(owner)
        if owner in self._claims or not have < pages <= self.limit(owner):
            raise ValueError(f"claim of {pages} pages by domain {owner}, which has {have} of {self.limit(owner)}, or a claim already")
        self._check_free(owner, pages - have)
        self._claims[owner] = pages - have

    def get(self, frame: int, owner: int, page_type: PageType = PageType.NONE) -> bool:
        """Take one more reference, and a count of the type if one is given.

        False unless `owner` owns the frame and it is not in use as something else.
        """
        if not 0 <= frame < self._frames or self._owners[frame] != owner:
            return False
        if page_type is not PageType.NONE and not self.get_type(frame, page_type):
            return False
        self._references[frame] += 1
        return True

    def put(self, frame: int, page_type: PageType = PageType.NONE) -> None:
        """Drop one reference, and a count of the type that was taken with it; the last reference frees the frame."""
        if page_type is not PageType.NONE:
            self.put_type(frame, page_type)
        if self._references[frame] <= 0:
            raise AssertionError(f"reference count of free frame {frame:#x} dropped")
        self._references[frame] -= 1
        if self._references[frame] == 0:
            self._free(frame)

    def get_type(self, frame: int, page_type: PageType) -> bool:
        """Use a frame as something, once more; False while it is used as something else."""
        if self._type_counts[frame] and self._types[frame] != page_type:
            return False
        self._types[frame] = page_type
        self._type_counts[frame] += 1
        return True

    def put_type(self, frame: int, page_type: PageType) -> None:
        """Undo one `get_type`."""
        if self._type_counts[frame] <= self._special[frame] or self._types[frame] != page_type:
            raise AssertionError(f"type count of frame {frame:#x} dropped: not in use as {page_type.name}")
        self._type_counts[frame] -= 1

    def give(self, frame: int, to: int) -> None:
        """Change the owner of a page that nobody else refers to. Raises `OutOfFramesError` if `to` has as many as it may."""
        if self._references[frame] != 1 or self._type_counts[frame] or self._special[frame]:
            raise AssertionError(f"frame {frame:#x} was given away while in use")
        if self.pages(to) >= self.limit(to):
            raise OutOfFramesError(f"domain {to} has its maximum of {self.limit(to)} pages")
        self._count(frame, -1)
        self._owners[frame] = to
        self._count(frame, 1)

    def set_limit(self, owner: int, pages: int) -> None:
        """`max_pages` of a domain: it gets no more than so many frames for its memory."""
        self._limits[owner] = pages

    def limit(self, owner: int) -> int:
        """As `set_limit`; without one, every frame."""
        return self._limits.get(owner, self._frames)

    def pages(self, owner: int) -> int:
        """`tot_pages`: frames of the owner's memory, also those that it gave back and somebody still refers to."""
        return self._pages.get(owner, 0)

    def owner(self, frame: int) -> int:
        """Domain id, `OWNER_XEN`, or `OWNER_NONE` of a free frame."""
        return self._owners[frame]

    def owned(self, owner: int) -> list[int]:
        """Frames of one owner."""
        return [frame for frame, owner_ in enumerate(self._owners) if owner_ == owner]

    def references(self, frame: int) -> int:
        """References held on a frame: one of its allocation, one of each mapping that is not its owner's own."""
        return self._references[frame]

    def type_of(self, frame: int) -> tuple[PageType, int]:
        """What a frame is used as, how many times."""
        count = self._type_counts[frame]
        return (PageType(self._types[frame]) if count else PageType.NONE), count

    def page(self, frame: int) -> memoryview:
        """A writable window on the frame."""
        return self._memory.view(frame << PAGE_SHIFT, PAGE_SIZE)

    def _check_limit(self, owner: int, more: int, *, replaced: int = 0, special: bool = False) -> None:
        limit = self._limits.get(owner)
        have = self._pages.get(owner, 0)
        if limit is not None and not special and have + more - replaced > limit:
            raise OutOfFramesError(f"domain {owner} has {have} pages: {more - replaced} more exceed its maximum of {limit}")
        self._check_free(owner, more)

    def _check_free(self, owner: int, more: int) -> None:
        claimed = sum(pages for other, pages in self._claims.items() if other != owner)
        if more > self._free_frames - claimed:
            raise OutOfFramesError(f"{more} machine frames wanted, {self._free_frames} are free, {claimed} of them claimed")

    def _count(self, frame: int, change: int) -> None:
        owner = self._owners[frame]
        self._pages[owner] = self._pages.get(owner, 0) + change

    def _take(self, frame: int, owner: int, page_type: PageType) -> None:
        self._owners[frame] = owner
        self._references[frame] = 1
        self._types[frame] = page_type
        self._special[frame] = self._type_counts[frame] = page_type is not PageType.NONE
        self._taken[frame] = 1
        self._free_frames -= 1
        if not self._special[frame]:
            self._count(frame, 1)
            if self._claims.get(owner):
                self._claims[owner] -= 1
        self.page(frame)[:] = bytes(PAGE_SIZE)

    def _free(self, frame: int) -> None:
        if self._type_counts[frame] != self._special[frame]:
            raise AssertionError(f"frame {frame:#x} was freed while in use as {self.type_of(frame)}")
        if not self._special[frame]:
            self._count(frame, -1)
        self._special[frame] = self._type_counts[frame] = 0
        self._owners[frame] = OWNER_NONE
        self._taken[frame] = 0
        self._free_frames += 1
        self._order.append(frame)
