"""A domain's pseudo-physical address space: guest frame to machine frame, RAM or MMIO."""

from __future__ import annotations

from hypervisor_model.memory import FrameAllocator


class P2M:
    """Owned by the hypervisor, as EPT is. RAM entries hold one page reference each."""

    def __init__(self, frames: FrameAllocator) -> None:
        self._frames = frames
        self._ram: dict[int, int] = {}
        self.mmio: dict[int, int] = {}
        """GFN to machine frame number of a mapped device page."""
        self.pages: dict[int, memoryview] = {}
        """GFN to a window on its frame; RAM only."""

    def add_ram(self, gfn: int, frame: int) -> None:
        """Map a frame whose first reference passes to this table."""
        if gfn in self._ram or gfn in self.mmio:
            raise ValueError(f"guest frame {gfn:#x} is mapped already")
        self._ram[gfn] = frame
        self.pages[gfn] = self._frames.page(frame)

    def remove_ram(self, gfn: int) -> None:
        """Unmap, dropping the table's reference. `KeyError` when absent."""
        frame = self._ram.pop(gfn)
        del self.pages[gfn]
        self._frames.put(frame)

    def take_ram(self, gfn: int) -> int:
        """Unmap without dropping the reference, which passes to the caller; the frame. `KeyError` when absent."""
        del self.pages[gfn]
        return self._ram.pop(gfn)

    def is_mapped(self, gfn: int) -> bool:
        """RAM or a device page is there."""
        return gfn in self._ram or gfn in self.mmio

    def frame(self, gfn: int) -> int | None:
        """Machine frame of a RAM page, None for anything else."""
        return self._ram.get(gfn)

    def add_mmio(self, gfn: int, frame: int) -> None:
        """Map a device page."""
        if gfn in self._ram or gfn in self.mmio:
            raise ValueError(f"guest frame {gfn:#x} is mapped already")
        self.mmio[gfn] = frame

    def remove_mmio(self, gfn: int) -> None:
        """Unmap a device page. `KeyError` when absent."""
        del self.mmio[gfn]

    def release_ram(self) -> None:
        """Drop every RAM page: the domain is destroyed."""
        for gfn in list(self._ram):
            self.remove_ram(gfn)
