"""Back doors into the RTL's registers: what `tb/cosim/peek.cpp` reads and writes. Only inside the simulator's process."""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from enum import IntEnum
from typing import Any, Final

_KNOWN: Final = 1 << 32


class Door(IntEnum):
    """Where the register is."""

    NIC_CONTROL = 0
    """In the NIC's register block; its address in the control BAR."""
    NIC_TABLES = 1
    """In a table beside it; likewise. These are only read."""
    IOMMU = 2
    """In the IOMMU's page."""


class RegisterDoor(ABC):
    """Reads and writes the words of one address map without an access on any bus, in no simulated time."""

    def __init__(self) -> None:
        host = ctypes.CDLL(None)
        self._peek: Any = host.myr_host_peek
        self._peek.argtypes, self._peek.restype = [ctypes.c_uint32, ctypes.c_uint32], ctypes.c_uint64
        self._poke: Any = host.myr_host_poke
        self._poke.argtypes, self._poke.restype = [ctypes.c_uint32] * 3, None

    @abstractmethod
    def look(self, address: int) -> int | None:
        """A word; None where none is stored."""

    @abstractmethod
    def store(self, address: int, word: int) -> None:
        """Put a word into the flip-flops of a register; software sees it from the next cycle on."""

    def _look(self, door: Door, address: int) -> int | None:
        word: int = self._peek(int(door), address)
        return word & (_KNOWN - 1) if word & _KNOWN else None


class NicDoor(RegisterDoor):
    """The control BAR."""

    def look(self, address: int) -> int | None:
        """In the register block, else in a table."""
        word = self._look(Door.NIC_CONTROL, address)
        return word if word is not None else self._look(Door.NIC_TABLES, address)

    def store(self, address: int, word: int) -> None:
        """Only the register block."""
        self._poke(int(Door.NIC_CONTROL), address, word)


class IommuDoor(RegisterDoor):
    """The IOMMU's page."""

    def look(self, address: int) -> int | None:
        """Any register."""
        return self._look(Door.IOMMU, address)

    def store(self, address: int, word: int) -> None:
        """Any register with flip-flops."""
        self._poke(int(Door.IOMMU), address, word)
