"""Receive-side scaling: what of a frame is hashed, and Microsoft's Toeplitz hash of it."""

from __future__ import annotations

from typing import Final

KEY_BYTES: Final = 40
NO_HASH: Final = 0
IPV4: Final = 1
IPV4_PORTS: Final = 2
IPV6: Final = 3
IPV6_PORTS: Final = 4

_CACHED_FLOWS: Final = 4096
_PORTS: Final = (6, 17)
"""TCP and UDP."""


def flow_of(frame: bytes) -> tuple[int, bytes]:
    """Kind and bytes to hash: addresses, then ports of an unfragmented TCP or UDP packet; behind one 802.1Q tag."""
    at = 14
    kind = frame[12:14]
    if kind == b"\x81\x00":
        at, kind = 18, frame[16:18]
    if kind == b"\x08\x00":
        # version 4, header of at least 20 bytes
        if len(frame) < at + 20 or not 0x45 <= frame[at] <= 0x4F:
            return NO_HASH, b""
        addresses = frame[at + 12 : at + 20]
        ports = at + (frame[at] & 0xF) * 4
        fragment = (frame[at + 6] << 8 | frame[at + 7]) & 0x3FFF
        if frame[at + 9] in _PORTS and not fragment and len(frame) >= ports + 4:
            return IPV4_PORTS, addresses + frame[ports : ports + 4]
        return IPV4, addresses
    if kind == b"\x86\xdd":
        if len(frame) < at + 40 or frame[at] >> 4 != 6:
            return NO_HASH, b""
        if frame[at + 6] in _PORTS and len(frame) >= at + 44:
            return IPV6_PORTS, frame[at + 8 : at + 44]
        return IPV6, frame[at + 8 : at + 40]
    return NO_HASH, b""


class Toeplitz:
    """The hash under one key; flows it has met are looked up."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"Toeplitz key of {len(key)} bytes: must be {KEY_BYTES}")
        self._key = int.from_bytes(key, "big")
        self._flows: dict[bytes, int] = {}

    def hash(self, data: bytes) -> int:
        """32 bits; of at most 36 bytes."""
        value = self._flows.get(data)
        if value is None:
            if len(self._flows) >= _CACHED_FLOWS:
                self._flows.clear()
            value = self._flows[data] = self._compute(data)
        return value

    def _compute(self, data: bytes) -> int:
        # each set bit of the input, first one first, adds the 32 key bits from its own position on
        bits = int.from_bytes(data, "big")
        first = 8 * KEY_BYTES - 32
        result = 0
        for position in range(8 * len(data)):
            if bits >> 8 * len(data) - 1 - position & 1:
                result ^= self._key >> first - position
        return result & 0xFFFF_FFFF
