"""A packet on its way through the control domain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from sw.guest.checksum import insert_checksum
from sw.guest.gso import segment


@dataclass(frozen=True, eq=False)
class Packet:
    """One frame, or one big TCP packet that has not been cut. The bytes are the control domain's own copy."""

    frame: bytes
    """Without FCS."""
    checksum: tuple[int, int] | None = None
    """Still to be done: first byte to be summed, offset of the field, which holds the pseudo-header's sum."""
    mss: int = 0
    """Payload bytes of a segment of a packet that has not been cut; 0: it is a frame."""
    ipv6: bool = False
    """Of a packet with `checksum` or `mss`."""
    validated: bool = False
    """Its transport checksum is known to be right."""
    on_sent: Callable[[], None] | None = None
    """Called by each port that keeps the packet for the line, when the NIC has it. Siblings' queues hold nobody up."""

    def completed(self) -> Packet:
        """With the checksum done in software."""
        if self.checksum is None:
            return self
        return replace(self, frame=insert_checksum(self.frame, *self.checksum), checksum=None, validated=True)

    def segments(self) -> Iterator[Packet]:
        """Cut in software."""
        for frame in segment(self.frame, self.mss):
            yield Packet(frame, validated=True)
