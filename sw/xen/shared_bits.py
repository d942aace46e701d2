"""Bits in memory that guest and hypervisor share. Words are little-endian: bit n of an array is bit n % 8 of byte n / 8.

Each call is one atomic operation: nothing else runs inside it.
"""

from __future__ import annotations


def test_bit(memory: memoryview, base: int, bit: int) -> bool:
    """The bit `bit` of the array at byte `base`."""
    return bool(memory[base + bit // 8] >> bit % 8 & 1)


def set_bit(memory: memoryview, base: int, bit: int) -> bool:
    """Set the bit; what it was."""
    at, mask = base + bit // 8, 1 << bit % 8
    was = memory[at]
    memory[at] = was | mask
    return bool(was & mask)


def clear_bit(memory: memoryview, base: int, bit: int) -> bool:
    """Clear the bit; what it was."""
    at, mask = base + bit // 8, 1 << bit % 8
    was = memory[at]
    memory[at] = was & ~mask
    return bool(was & mask)
