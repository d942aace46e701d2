"""Guest frames of the control domain at which other domains' pages are mapped."""

from __future__ import annotations

from typing import Final

from sw.guest.machine import GuestLayout

GAP: Final = 0x10_0000
"""Above the device pages: 4 GiB further up nothing else is mapped."""


class ForeignFrames:
    """Unused guest frames outside RAM; one pool for all back ends."""

    def __init__(self, layout: GuestLayout) -> None:
        self._next = layout.device + GAP
        self._free: list[int] = []
        self.used = 0
        """Frames that are taken."""

    def take(self) -> int:
        """A frame."""
        self.used += 1
        if self._free:
            return self._free.pop()
        self._next += 1
        return self._next - 1

    def give(self, gfn: int) -> None:
        """Nothing is mapped there any more."""
        self.used -= 1
        self._free.append(gfn)
