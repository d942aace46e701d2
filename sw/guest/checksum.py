"""Internet checksums in software: what the card leaves to do, and what it cannot."""

from __future__ import annotations

import struct

from sw.guest.headers import ETHERNET_BYTES, UDP, Transport, locate_transport


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


def pseudo_sum(frame: bytes, transport: Transport) -> int:
    """Ones' complement sum of the pseudo-header, not inverted."""
    total = ones_sum(transport.addresses(frame)) + transport.protocol + transport.end - transport.start
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def verify_transport(frame: bytes, complete: int) -> bool | None:
    """Is the TCP or UDP checksum right, by the card's sum over the frame's bytes from 14 on (CHECKSUM_COMPLETE)?

    None where there is none to check: another protocol, a fragment, IPv6 with extension headers, UDP without one,
    or lengths that do not fit the frame. Adds up headers and padding only, never the payload.
    """
    transport = locate_transport(frame)
    if transport is None:
        return None
    segment, end = transport.start, transport.end
    if transport.protocol == UDP and frame[transport.field : transport.field + 2] == b"\0\0":
        # RFC 768: none was computed. RFC 8200: not allowed over IPv6.
        return False if transport.ipv6 else None
    # Take headers and padding out again; padding that starts at an odd byte was summed with its bytes swapped.
    outside = ones_sum(frame[ETHERNET_BYTES:segment]) + ones_sum(b"\0" * (end & 1) + frame[end:])
    return (complete - outside + pseudo_sum(frame, transport)) % 0xFFFF == 0
