"""What the window table, the authorisation and the fence must do, from the address layout and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from sw.abi.registers import Mode, Refusal

ENDPOINTS: Final = 64
WINDOWS: Final = 256
SMALL: Final = 1 << 12
LARGE: Final = 1 << 21
BUS: Final = 1
SPACE: Final = 1 << 48
INTERRUPTS: Final = range(0xFEE0_0000, 0xFEF0_0000)


@dataclass
class Row:
    """One entry of the table."""

    address: int = 0
    valid: bool = False
    writable: bool = False
    large: bool = False
    sequence: int = 0


def name(window: int, sequence: int, offset: int, *, large: bool) -> int:
    """A window address: bit 63 large, 55:40 sequence, then the number above the offset."""
    return int(large) << 63 | sequence << 40 | window << (21 if large else 12) | offset


@dataclass
class Ask:
    """A range that a user wants to read or write."""

    endpoint: int
    mode: int
    address: int
    length: int
    write: bool


@dataclass
class Table:
    """All windows, and the pins of the physical function."""

    rows: dict[tuple[int, int], Row] = field(default_factory=dict)
    bus_master: bool = True
    functions: bool = True

    def row(self, endpoint: int, window: int) -> Row:
        return self.rows.setdefault((endpoint, window), Row())

    def write(self, endpoint: int, window: int, word: int, value: int) -> None:
        """Word 0 and 1: address; 2: valid, writable, large, sequence; 3: nothing. Only word 2 makes it valid."""
        row = self.row(endpoint, window)
        row.valid = False
        if word == 0:
            row.address = row.address >> 32 << 32 | value >> 12 << 12
        elif word == 1:
            row.address = row.address & 0xFFFF_FFFF | (value & 0xFFFF) << 32
        elif word == 2:
            row.valid, row.writable, row.large = bool(value & 1), bool(value & 2), bool(value & 4)
            row.sequence = value >> 16

    def read(self, endpoint: int, window: int, word: int) -> int:
        row = self.row(endpoint, window)
        control = row.valid | row.writable << 1 | row.large << 2 | row.sequence << 16
        return (row.address & 0xFFFF_FFFF, row.address >> 32, control, 0)[word]

    def judge(self, ask: Ask) -> tuple[Refusal | None, int, int]:
        """Why it is refused, or None; machine address; requester ID."""
        requester = BUS << 8 | (ask.endpoint + 1 if ask.mode == Mode.IOMMU else 0)
        if not self.bus_master or (ask.mode == Mode.IOMMU and not self.functions) or ask.mode > 3:
            return Refusal.BUS, 0, requester
        place = ask.address
        if ask.mode == Mode.WINDOWS:
            large = bool(ask.address >> 63)
            size = LARGE if large else SMALL
            window = ask.address // size % WINDOWS
            offset = ask.address % size
            row = self.row(ask.endpoint, window)
            why = None
            if ask.address != name(window, ask.address >> 40 & 0xFFFF, offset, large=large):
                why = Refusal.RESERVED
            elif not row.valid:
                why = Refusal.INVALID
            elif row.large != large:
                why = Refusal.SIZE
            elif row.sequence != ask.address >> 40 & 0xFFFF:
                why = Refusal.SEQUENCE
            elif ask.write and not row.writable:
                why = Refusal.READ_ONLY
            elif offset + ask.length > size:
                why = Refusal.END
            if why is not None:
                return why, 0, requester
            place = row.address // size * size + offset
        end = place + ask.length
        touches = place < INTERRUPTS.stop and end > INTERRUPTS.start
        if end > SPACE or not ask.length or (ask.write and touches):
            return Refusal.RANGE, 0, requester
        return None, place, requester
