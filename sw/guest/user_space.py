"""Address space of a process: virtual pages on guest pages and on device pages of its guest, kept by the guest's kernel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from sw.guest.machine import GuestMachine
from sw.platform import PAGE_SHIFT, PAGE_SIZE

FIRST_PAGE: Final = 0x7F00_0000_0000 >> PAGE_SHIFT
"""Where a process's first run goes."""
_OFFSET: Final = PAGE_SIZE - 1


class SegmentationFaultError(RuntimeError):
    """SIGSEGV: a process touched what is not mapped into it."""


@dataclass(frozen=True)
class UserFault:
    """One access of a process outside what is mapped for it."""

    time: int
    """Simulated, ns."""
    address: int
    kind: str
    """`mmio write`, `mmio read`, `memory read` or `memory write`."""


class UserSpace:
    """Page table of one process. Implements `sw.guest.machine.GuestMemory` by virtual addresses.

    No virtual page is used twice, and an empty page follows each run: what is stale or runs over faults.
    """

    def __init__(self, machine: GuestMachine, name: str) -> None:
        """`name` is for messages."""
        self._machine = machine
        self._name = name
        self._next = FIRST_PAGE
        self._frames: dict[int, int] = {}
        self._views: dict[int, memoryview] = {}
        self._devices: dict[int, int] = {}
        self.faults: list[UserFault] = []
        """Its SIGSEGVs, in order."""

    # --- the kernel's side -----------------------------------------------------------------------

    def map_memory(self, gfn: int, count: int) -> int:
        """Map a run of guest pages; its first virtual page."""
        first = self._take(count)
        for n in range(count):
            self._frames[first + n] = gfn + n
            self._views[first + n] = self._machine.memory.page(gfn + n)
        return first

    def map_device(self, pages: Mapping[int, int], span: int) -> int:
        """Map device pages, given by place in a run of `span`, and no more of it; its first virtual page."""
        first = self._take(span)
        for place, gfn in pages.items():
            self._devices[first + place] = gfn
        return first

    def unmap(self, first: int, count: int) -> None:
        """Empty a run."""
        for page in range(first, first + count):
            self._frames.pop(page, None)
            self._views.pop(page, None)
            self._devices.pop(page, None)

    def clear(self) -> None:
        """Nothing is mapped any more."""
        self._frames.clear()
        self._views.clear()
        self._devices.clear()

    def frame(self, page: int) -> int | None:
        """GFN of a page of memory, None for anything else."""
        return self._frames.get(page)

    def _take(self, count: int) -> int:
        first = self._next
        self._next += count + 1
        return first

    # --- memory, as the process sees it ----------------------------------------------------------

    def read(self, gpa: int, size: int) -> bytes:
        """Copy out, by virtual address; may cross pages. Raises `SegmentationFaultError`."""
        offset = gpa & _OFFSET
        if offset + size <= PAGE_SIZE and (page := self._views.get(gpa >> PAGE_SHIFT)) is not None:
            return bytes(page[offset : offset + size])
        result = bytearray()
        while len(result) < size:
            at = gpa + len(result)
            offset = at & _OFFSET
            part = min(PAGE_SIZE - offset, size - len(result))
            result += self._view(at, "memory read")[offset : offset + part]
        return bytes(result)

    def write(self, gpa: int, data: bytes | bytearray | memoryview) -> None:
        """Copy in, by virtual address; may cross pages. Raises `SegmentationFaultError`."""
        done = 0
        while done < len(data):
            at = gpa + done
            offset = at & _OFFSET
            part = min(PAGE_SIZE - offset, len(data) - done)
            self._view(at, "memory write")[offset : offset + part] = data[done : done + part]
            done += part

    def page(self, gfn: int) -> memoryview:
        """A window on one virtual page; stale once it is unmapped. Raises `SegmentationFaultError`."""
        return self._view(gfn << PAGE_SHIFT, "memory read")

    def _view(self, address: int, kind: str) -> memoryview:
        page = self._views.get(address >> PAGE_SHIFT)
        if page is None:
            self.fault(address, kind)
        return page

    # --- translation -----------------------------------------------------------------------------

    def memory_address(self, address: int, size: int) -> int:
        """Guest-physical address of `size` bytes in one page of memory. Raises `SegmentationFaultError`."""
        frame = self._frames.get(address >> PAGE_SHIFT)
        if frame is None or (address & _OFFSET) + size > PAGE_SIZE:
            self.fault(address, "memory read")
        return frame << PAGE_SHIFT | address & _OFFSET

    def device_address(self, address: int, kind: str) -> int:
        """Guest-physical address in a device page. Raises `SegmentationFaultError`."""
        frame = self._devices.get(address >> PAGE_SHIFT)
        if frame is None:
            self.fault(address, kind)
        return frame << PAGE_SHIFT | address & _OFFSET

    def fault(self, address: int, kind: str) -> NoReturn:
        """Record a SIGSEGV and raise it."""
        self.faults.append(UserFault(self._machine.now(), address, kind))
        raise SegmentationFaultError(f"{self._name}: {kind} at {address:#x}, which is not mapped into it")
