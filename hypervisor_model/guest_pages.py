"""Pages of a guest that the hypervisor goes on writing to after the hypercall that named them."""

from __future__ import annotations

from hypervisor_model.memory import FrameAllocator, PageType
from hypervisor_model.p2m import P2M
from sw.xen.errno import Errno, HypercallError


class GuestPages:
    """Each page holds a reference on its frame: the guest may give the page back, the frame stays its own until then."""

    def __init__(self, frames: FrameAllocator, p2m: P2M, domid: int) -> None:
        self._frames = frames
        self._p2m = p2m
        self._domid = domid
        self._held: list[int] = []

    def hold(self, gfn: int) -> memoryview:
        """A window on the page. EINVAL unless it is RAM that the guest owns."""
        frame = self._p2m.ram(gfn)
        if frame is None or not self._frames.get(frame, self._domid, PageType.WRITABLE):
            raise HypercallError(Errno.EINVAL, f"guest frame {gfn:#x} is not RAM of domain {self._domid}")
        self._held.append(frame)
        return self._frames.page(frame)

    def release(self) -> None:
        """Drop every reference; the windows are stale."""
        while self._held:
            self._frames.put(self._held.pop(), PageType.WRITABLE)
