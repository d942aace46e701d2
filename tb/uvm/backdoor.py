"""Back door into the RTL's registers: what `tb/cosim/peek.cpp` reads. Only inside the simulator's process."""

from __future__ import annotations

import ctypes
from enum import IntEnum
from typing import Any, Final

_KNOWN: Final = 1 << 32


class Door(IntEnum):
    """Where the register is."""

    NIC_CONTROL = 0
    """In the NIC's register block; its address in the control BAR."""
    NIC_TABLES = 1
    """In a table beside it; likewise."""
    IOMMU = 2
    """In the IOMMU's page."""


class BackDoor:
    """Reads without an access on any bus, in no simulated time."""

    def __init__(self) -> None:
        self._peek: Any = ctypes.CDLL(None).myr_host_peek
        self._peek.argtypes, self._peek.restype = [ctypes.c_uint32, ctypes.c_uint32], ctypes.c_uint64

    def nic(self, address: int) -> int | None:
        """A word of the control BAR; None where none is stored."""
        word = self._look(Door.NIC_CONTROL, address)
        return word if word is not None else self._look(Door.NIC_TABLES, address)

    def iommu(self, address: int) -> int | None:
        """A word of the IOMMU's page; None where there is no register."""
        return self._look(Door.IOMMU, address)

    def _look(self, door: Door, address: int) -> int | None:
        word: int = self._peek(int(door), address)
        return word & (_KNOWN - 1) if word & _KNOWN else None
