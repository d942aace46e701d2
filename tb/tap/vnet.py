"""The header that a TAP device puts before each packet (struct virtio_net_hdr) and what it asks of the NIC."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

HEADER: Final = struct.Struct("=BBHHHH")
"""flags, gso_type, hdr_len, gso_size, csum_start, csum_offset: in the byte order of the machine."""
NEEDS_CSUM: Final = 1
DATA_VALID: Final = 2
GSO_NONE: Final = 0
GSO_TCPV4: Final = 1
GSO_TCPV6: Final = 4
PACKET_MAX: Final = HEADER.size + 14 + 65_535 + 4
"""Longest packet that a TAP device hands over: header, Ethernet, tag, a whole IP packet."""

PLAIN: Final = HEADER.pack(0, GSO_NONE, 0, 0, 0, 0)
CHECKED: Final = HEADER.pack(DATA_VALID, GSO_NONE, 0, 0, 0, 0)
"""Before a received packet: its checksums have not, or have, been found right."""


class VnetError(ValueError):
    """A packet that the TAP device may not hand over by what was agreed: the message says why."""


@dataclass(frozen=True)
class Packet:
    """A frame, or with `mss` a TCP packet that becomes several, as a stack hands it over."""

    frame: bytes
    """From the destination address on, without FCS."""
    checksum: tuple[int, int] | None = None
    """Offsets in the frame: where summing starts, and of the checksum field (which holds the pseudo-header's sum)."""
    mss: int = 0
    """Payload bytes of each segment; 0: one plain frame."""
    headers: int = 0
    """Bytes up to the TCP payload; 0 for a plain frame."""
    ipv6: bool = False
    """Segments are IPv6 packets, not IPv4."""

    @property
    def segments(self) -> int:
        """Frames that leave the NIC for it."""
        if not self.mss:
            return 1
        return max(1, -(-(len(self.frame) - self.headers) // self.mss))


def parse(data: bytes) -> Packet:
    """What was read from a TAP device. Raises `VnetError`."""
    if len(data) < HEADER.size + 14:
        raise VnetError(f"packet of {len(data)} bytes: header and Ethernet addresses have {HEADER.size + 14}")
    flags, kind, _, size, start, offset = HEADER.unpack_from(data)
    frame = data[HEADER.size :]
    checksum = None
    if flags & NEEDS_CSUM:
        checksum = (start, start + offset)
        if start + offset + 2 > len(frame):
            raise VnetError(f"checksum field at {start + offset}: the frame has {len(frame)} bytes")
    if kind == GSO_NONE:
        return Packet(frame, checksum)
    if kind not in (GSO_TCPV4, GSO_TCPV6):
        raise VnetError(f"segmentation of kind {kind}: TCP over IPv4 and IPv6 were agreed")
    if checksum is None or size == 0:
        raise VnetError(f"segmentation with MSS {size} and flags {flags:#x}: needs an MSS and a partial checksum")
    # hdr_len is a hint by definition; the TCP header says how long it is itself
    if start + 13 > len(frame):
        raise VnetError(f"TCP header at {start}: the frame has {len(frame)} bytes")
    headers = start + (frame[start + 12] >> 4) * 4
    if not start + 20 <= headers <= len(frame):
        raise VnetError(f"TCP header from {start} to {headers}: the frame has {len(frame)} bytes")
    return Packet(frame, checksum, size, headers, kind == GSO_TCPV6)
