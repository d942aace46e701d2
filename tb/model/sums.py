"""Ones' complement sums of bytes."""

from __future__ import annotations


def ones_sum(data: bytes) -> int:
    """Ones' complement sum of big-endian 16-bit words, an odd last byte padded with zero; not inverted."""
    value = int.from_bytes(data, "big")
    if len(data) & 1:
        value <<= 8
    # 2^16 = 1 (mod 0xFFFF): the remainder is the folded sum, but for a sum of ones, which folding leaves as 0xFFFF
    return value % 0xFFFF or (0xFFFF if value else 0)
