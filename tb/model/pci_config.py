"""Configuration space of the reference NIC: one physical function with SR-IOV."""

from __future__ import annotations

import struct
from typing import Final

from sw.abi.registers import NicControl

APERTURE_BAR_BYTES: Final = 4 << 20
CONTROL_BAR_BYTES: Final = 1 << 20
VFS: Final = 64
FIRST_VF_OFFSET: Final = 1
VF_STRIDE: Final = 1
MAX_PAYLOAD_CODE: Final = 1
"""256 bytes."""

_MSIX: Final = 0x50
_MSIX_VECTORS: Final = 64
_MSIX_BAR: Final = 4
_PCIE: Final = 0x5C
_SRIOV: Final = 0x100
_COMMAND_WRITABLE: Final = 0x0406
"""Memory space, bus master, interrupt disable."""


class ConfigSpace:
    """4 KiB of configuration space: what is not writable keeps its value."""

    def __init__(self) -> None:
        self._data = bytearray(4096)
        self._writable = bytearray(4096)
        put = self._put
        put(0x00, "<HH", 0x14C1, 0x0008)
        put(0x04, "<HH", 0, 0x0010, writable=(_COMMAND_WRITABLE, 0))  # status: capability list
        put(0x08, "<I", 0x020000 << 8)
        for bar, size in ((2, APERTURE_BAR_BYTES), (4, CONTROL_BAR_BYTES)):
            # 64-bit; the apertures are prefetchable.
            flags = 0xC if bar == 2 else 0x4
            mask = -size & (1 << 64) - 1
            put(0x10 + 4 * bar, "<Q", flags, writable=(mask,))
        put(0x34, "<B", _PCIE)
        put(_MSIX, "<BBH", 0x11, 0, _MSIX_VECTORS - 1, writable=(0, 0, 0xC000))  # enable, function mask
        put(_MSIX + 0x04, "<II", NicControl.MSIX_BASE | _MSIX_BAR, NicControl.PBA_LO | _MSIX_BAR)
        put(_PCIE, "<BBH", 0x10, _MSIX, 0x0002)
        put(_PCIE + 0x04, "<I", MAX_PAYLOAD_CODE)
        put(_PCIE + 0x08, "<HH", 0x2000, 0, writable=(0x7FFF, 0))
        put(_PCIE + 0x0C, "<I", 0x0081)  # x8, 2.5 GT/s
        put(_SRIOV, "<I", 0x0001_0010)
        put(_SRIOV + 0x08, "<HH", 0, 0, writable=(0x0009, 0))
        put(_SRIOV + 0x0C, "<HH", VFS, VFS)
        put(_SRIOV + 0x10, "<HH", 0, 0, writable=(0x00FF, 0))
        put(_SRIOV + 0x14, "<HH", FIRST_VF_OFFSET, VF_STRIDE)
        put(_SRIOV + 0x1A, "<H", 0x0008)
        put(_SRIOV + 0x1C, "<II", 1, 1)

    def read(self, offset: int) -> bytes:
        """One aligned word."""
        return bytes(self._data[offset : offset + 4])

    def write(self, offset: int, data: bytes) -> None:
        """1 to 4 bytes."""
        for n, byte in enumerate(data, offset):
            mask = self._writable[n]
            self._data[n] = self._data[n] & ~mask | byte & mask

    def bar(self, number: int) -> int:
        """Address that a 64-bit BAR holds, 0 until placed or while memory space is off."""
        if not self._data[0x04] & 0x2:
            return 0
        (value,) = struct.unpack_from("<Q", self._data, 0x10 + 4 * number)
        return int(value) & ~0xF

    @property
    def bus_master(self) -> bool:
        """The device may read and write memory."""
        return bool(self._data[0x04] & 0x4)

    @property
    def vf_enable(self) -> bool:
        """The endpoints' functions may read and write memory."""
        enabled = self._data[_SRIOV + 0x08] & 0x1
        return bool(enabled) and int.from_bytes(self._data[_SRIOV + 0x10 : _SRIOV + 0x12], "little") == VFS

    def _put(self, offset: int, layout: str, *values: int, writable: tuple[int, ...] | None = None) -> None:
        struct.pack_into(layout, self._data, offset, *values)
        if writable is not None:
            struct.pack_into(layout, self._writable, offset, *writable)
