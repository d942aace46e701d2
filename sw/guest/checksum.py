"""Internet checksums in software: what the card leaves to do, and what it cannot."""

from __future__ import annotations

import struct
from typing import Final

_ETHERNET: Final = 14
_VLAN: Final = 0x8100
_IPV4: Final = 0x0800
_IPV6: Final = 0x86DD
_TCP: Final = 6
_UDP: Final = 17
_UDP_CHECKSUM: Final = 6
_FRAGMENT: Final = 0x3FFF
"""More fragments, or an offset."""


def ones_sum(data: bytes) -> int:
    """16-bit ones' complement sum of big-endian words, not inverted; an odd last byte is padded with 0."""
    if len(data) & 1:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def insert_checksum(frame: bytes, start: int, field: int) -> bytes:
    """What the NIC does for a frame with checksum offload: sum from `start` on, store at `field`; 0 becomes 0xFFFF."""
    value = ~ones_sum(frame[start:]) & 0xFFFF or 0xFFFF
    return frame[:field] + value.to_bytes(2, "big") + frame[field + 2 :]


def verify_transport(frame: bytes, complete: int) -> bool | None:
    """Is the TCP or UDP checksum right, by the card's sum over the frame's bytes from 14 on (CHECKSUM_COMPLETE)?

    None where there is none to check: another protocol, a fragment, IPv6 with extension headers, UDP without one,
    or lengths that do not fit the frame. Adds up headers and padding only, never the payload.
    """
    if len(frame) < _ETHERNET + 4:
        return None
    at = _ETHERNET
    kind = int.from_bytes(frame[12:14], "big")
    if kind == _VLAN:
        kind = int.from_bytes(frame[16:18], "big")
        at += 4
    if kind == _IPV4 and len(frame) >= at + 20:
        header = (frame[at] & 0xF) * 4
        total = int.from_bytes(frame[at + 2 : at + 4], "big")
        protocol = frame[at + 9]
        if frame[at] >> 4 != 4 or header < 20 or int.from_bytes(frame[at + 6 : at + 8], "big") & _FRAGMENT:
            return None
        addresses = frame[at + 12 : at + 20]
    elif kind == _IPV6 and len(frame) >= at + 40:
        header = 40
        total = header + int.from_bytes(frame[at + 4 : at + 6], "big")
        protocol = frame[at + 6]
        addresses = frame[at + 8 : at + 40]
    else:
        return None
    segment, end = at + header, at + total
    smallest = {_TCP: 20, _UDP: 8}.get(protocol)
    if smallest is None or end > len(frame) or end - segment < smallest:
        return None
    if protocol == _UDP and frame[segment + _UDP_CHECKSUM : segment + _UDP_CHECKSUM + 2] == b"\0\0":
        # RFC 768: none was computed. RFC 8200: not allowed over IPv6.
        return None if kind == _IPV4 else False
    # Take headers and padding out again; padding that starts at an odd byte was summed with its bytes swapped.
    outside = ones_sum(frame[_ETHERNET:segment]) + ones_sum(b"\0" * (end & 1) + frame[end:])
    pseudo = ones_sum(addresses) + protocol + end - segment
    return (complete - outside + pseudo) % 0xFFFF == 0
