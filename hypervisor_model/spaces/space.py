"""What an endpoint's addresses mean, by its protection mode: one class for each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from hypervisor_model.grants import Mapping
from hypervisor_model.memory import FrameAllocator, PageType
from hypervisor_model.p2m import P2M
from sw.xen.errno import Errno, HypercallError

SUPERPAGE_ORDER = 9
"""2 MiB."""
Wait = Callable[[], Awaitable[None]]


class AddressSpace(Protocol):
    """Memory of one endpoint as its device addresses name it."""

    def install(self, mappings: Sequence[Mapping]) -> list[int]:
        """Let the endpoint reach pinned pages: one registration, all or nothing. Their device addresses.

        Raises `GrantError`.
        """
        ...

    async def revoke(self, mappings: Sequence[Mapping]) -> None:
        """Take mappings away. On return no DMA can reach the pages by them, and none is in flight (contract C4)."""
        ...

    def install_superpage(self, p2m: P2M, gfn: int, *, write: bool) -> int:
        """Let the endpoint reach 2 MiB of its owner's RAM until release; the device address."""
        ...

    def check_ring(self, name: str, address: int, size: int, *, write: bool) -> None:
        """Raise `HypercallError` for a ring that the hardware would not check by itself."""
        ...

    async def release(self) -> None:
        """Undo everything: the endpoint is disabled, and nothing of it is in flight."""
        ...

    @property
    def pages(self) -> int:
        """Pages mapped."""
        ...


class Superpages:
    """References on the frames of 2 MiB mappings, held until release."""

    def __init__(self, frames: FrameAllocator, domid: int) -> None:
        self._frames = frames
        self._domid = domid
        self._held: list[tuple[int, PageType]] = []
        """Frames, each referenced, and counted as this type."""

    def hold(self, p2m: P2M, gfn: int, *, aligned: bool, write: bool) -> int:
        """Take a reference on 512 pages from `gfn` on; their first frame. `aligned`: the GFN must be, as well."""
        count = 1 << SUPERPAGE_ORDER
        first = p2m.frame(gfn)
        misaligned = first is None or first % count or (aligned and gfn % count)
        if first is None or misaligned or any(p2m.frame(gfn + n) != first + n for n in range(count)):
            raise HypercallError(
                Errno.EINVAL, f"guest frame {gfn:#x}: not {count} aligned pages in consecutive frames"
            )
        held = PageType.WRITABLE if write else PageType.NONE
        before = len(self._held)
        for frame in range(first, first + count):
            if not self._frames.get(frame, self._domid, held):
                self._drop(before)
                raise HypercallError(
                    Errno.EINVAL, f"guest frame {gfn:#x}: frame {frame:#x} is another domain's, or no ordinary memory"
                )
            self._held.append((frame, held))
        return first

    def undo(self) -> None:
        """Drop what the last `hold` took."""
        self._drop(len(self._held) - (1 << SUPERPAGE_ORDER))

    def release(self) -> None:
        """Drop them all."""
        self._drop(0)

    def _drop(self, first: int) -> None:
        for frame, held in self._held[first:]:
            self._frames.put(frame, held)
        del self._held[first:]
