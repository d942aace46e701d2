"""Registers as data: what `rtl/regs/generate.py` fills in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Field:
    """Bits of a register."""

    name: str
    lsb: int
    bits: int
    policy: str
    """RO, RW, WO or W1C (IEEE 1800.2, 18.5.4)."""
    reset: int | None
    """None: hardware says what it is."""
    volatile: bool
    """Hardware changes it."""
    stored: bool
    """In flip-flops of the register block, where the back door reaches it."""


@dataclass(frozen=True)
class Register:
    """32 bits; of an array, those of element 0."""

    name: str
    address: int
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Array:
    """A register file that stands there `count` times, `stride` bytes apart."""

    name: str
    base: int
    stride: int
    count: int
    registers: tuple[Register, ...]


@dataclass(frozen=True)
class Block:
    """One address map."""

    name: str
    size: int
    registers: tuple[Register, ...]
    arrays: tuple[Array, ...]
