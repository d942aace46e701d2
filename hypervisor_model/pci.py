"""PCI configuration through ECAM: find the NIC, place its BARs, set its link parameters, create its functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sw import pci
from sw.pci import DEVICE_MYRI10G, VENDOR_MYRICOM
from sw.platform import Platform

# Offsets of PCIe 3.0 chapter 7 and of SR-IOV.
_PCIE_DEVCAP: Final = 0x04
_PCIE_DEVCTL: Final = 0x08
_EXTENDED_CAPS: Final = 0x100
_EXT_CAP_SRIOV: Final = 0x0010
_SRIOV_CONTROL: Final = 0x08
_SRIOV_VF_ENABLE: Final = 1 << 0
_SRIOV_VF_MEMORY: Final = 1 << 3
_SRIOV_TOTAL_VFS: Final = 0x0C
_SRIOV_NUM_VFS: Final = 0x10
_SRIOV_FIRST_OFFSET: Final = 0x14
_SRIOV_VF_DEVICE: Final = 0x18
_PAYLOAD_SIZES: Final = (128, 256, 512, 1024, 2048, 4096)


class PciError(RuntimeError):
    """The device is absent or its configuration space does not say what the driver needs."""


@dataclass(frozen=True)
class PciDevice:
    """What enumeration left behind. Addresses and sizes in bytes."""

    requester: int
    bars: dict[int, tuple[int, int]]
    """BAR number to (address, size)."""
    max_payload: int
    max_read: int
    first_vf: int
    """Requester ID of the first virtual function."""
    vf_stride: int
    vfs: int
    vf_identity: int
    """Vendor and device ID of the virtual functions, as in the first word of a header."""
    revision_class: int
    """Revision and class code, as in the third; virtual functions have the same."""

    def vf_number(self, requester: int) -> int | None:
        """Which virtual function has a requester ID; None for any other."""
        number, rest = divmod(requester - self.first_vf, self.vf_stride)
        return number if not rest and 0 <= number < self.vfs else None

    def vf_requester(self, number: int) -> int:
        """Requester ID of virtual function `number`, from 0."""
        return self.first_vf + number * self.vf_stride


class PciBus:
    """Configuration accesses to one function."""

    def __init__(self, platform: Platform, requester: int) -> None:
        self._platform = platform
        self._base = platform.machine.ecam + (requester << 12)
        self._requester = requester
        self._next_address = platform.machine.pci_window

    async def enumerate(self, *, max_payload: int, max_read: int) -> PciDevice:
        """Bring the function up: BARs placed, memory and bus master on, all virtual functions enabled."""
        identity = await self._read(0)
        if identity != DEVICE_MYRI10G << 16 | VENDOR_MYRICOM:
            raise PciError(
                f"requester {self._requester:#06x}: identity {identity:#010x}, "
                f"expected {DEVICE_MYRI10G:04x}{VENDOR_MYRICOM:04x}"
            )
        bars = await self._place_bars()
        await self._set_link_parameters(max_payload, max_read)
        command = await self._read(pci.COMMAND)
        # Status bits share the word and clear on ones: write zeros there.
        self._write(pci.COMMAND, command & 0xFFFF | pci.COMMAND_MEMORY | pci.COMMAND_MASTER)
        revision_class = await self._read(pci.REVISION)
        first, stride, count, device = await self._enable_vfs()
        return PciDevice(
            self._requester,
            bars,
            max_payload,
            max_read,
            first_vf=self._requester + first,
            vf_stride=stride,
            vfs=count,
            vf_identity=device << 16 | identity & 0xFFFF,
            revision_class=revision_class,
        )

    async def enable_msix(self) -> tuple[int, int, int]:
        """Switch MSI-X on, function not masked; BAR, offset in it and entries of the table."""
        capability = await self._capability(pci.CAP_MSIX)
        header = await self._read(capability)
        control = header >> 16
        # Capability and next pointer share the word and are read-only.
        self._write(capability, ((control | pci.MSIX_ENABLE) & ~pci.MSIX_FUNCTION_MASK) << 16 | header & 0xFFFF)
        table = await self._read(capability + pci.MSIX_TABLE)
        return table & pci.MSIX_BIR_M, table & ~pci.MSIX_BIR_M, (control & pci.MSIX_SIZE_M) + 1

    async def _place_bars(self) -> dict[int, tuple[int, int]]:
        bars: dict[int, tuple[int, int]] = {}
        number = 0
        while number < pci.BARS:
            offset = pci.BAR0 + pci.BAR_BYTES * number
            self._write(offset, 0xFFFF_FFFF)
            low = await self._read(offset)
            if low == 0:
                number += 1
                continue
            is_64_bit = low & pci.BAR_TYPE_M == pci.BAR_64_BIT
            mask = low & ~pci.BAR_FLAGS_M & 0xFFFF_FFFF
            if is_64_bit:
                self._write(offset + 4, 0xFFFF_FFFF)
                mask |= await self._read(offset + 4) << 32
            else:
                mask |= 0xFFFF_FFFF << 32
            size = (~mask & (1 << 64) - 1) + 1
            address = self._place(size)
            self._write(offset, address & 0xFFFF_FFFF)
            if is_64_bit:
                self._write(offset + 4, address >> 32)
            bars[number] = (address, size)
            number += 2 if is_64_bit else 1
        return bars

    def _place(self, size: int) -> int:
        machine = self._platform.machine
        address = (self._next_address + size - 1) & ~(size - 1)
        if address + size > machine.pci_window + machine.pci_window_bytes:
            raise PciError(f"a BAR of {size:#x} bytes does not fit into the PCI window")
        self._next_address = address + size
        return address

    async def _set_link_parameters(self, max_payload: int, max_read: int) -> None:
        capability = await self._capability(pci.CAP_PCIE)
        supported = _PAYLOAD_SIZES[await self._read(capability + _PCIE_DEVCAP) & 0x7]
        if max_payload > supported:
            raise PciError(f"max_payload is {max_payload}: the device supports {supported}")
        control = await self._read(capability + _PCIE_DEVCTL) & 0xFFFF & ~(0x7 << 5 | 0x7 << 12)
        control |= _PAYLOAD_SIZES.index(max_payload) << 5 | _PAYLOAD_SIZES.index(max_read) << 12
        self._write(capability + _PCIE_DEVCTL, control)

    async def _capability(self, wanted: int) -> int:
        offset = await self._read(pci.CAPABILITIES) & pci.CAP_NEXT_M
        for _ in range(pci.MAX_CAPABILITIES):
            if offset == 0:
                break
            header = await self._read(offset)
            if header & 0xFF == wanted:
                return offset
            offset = header >> 8 & pci.CAP_NEXT_M
        raise PciError(f"requester {self._requester:#06x} has no capability {wanted:#04x}")

    async def _enable_vfs(self) -> tuple[int, int, int, int]:
        """Offset of the first one's requester ID, stride, how many there are, their device ID."""
        offset = _EXTENDED_CAPS
        for _ in range(pci.MAX_CAPABILITIES):
            header = await self._read(offset)
            if header & 0xFFFF == _EXT_CAP_SRIOV:
                break
            offset = header >> 20
            if offset == 0:
                raise PciError(f"requester {self._requester:#06x} has no SR-IOV capability")
        total = await self._read(offset + _SRIOV_TOTAL_VFS) >> 16
        self._write(offset + _SRIOV_NUM_VFS, total)
        self._write(offset + _SRIOV_CONTROL, _SRIOV_VF_ENABLE | _SRIOV_VF_MEMORY)
        placement = await self._read(offset + _SRIOV_FIRST_OFFSET)
        device = await self._read(offset + _SRIOV_VF_DEVICE) >> 16
        return placement & 0xFFFF, placement >> 16, total, device

    async def _read(self, offset: int) -> int:
        return int.from_bytes(await self._platform.mmio_read(self._base + offset, 4), "little")

    def _write(self, offset: int, value: int) -> None:
        self._platform.mmio_write(self._base + offset, value.to_bytes(4, "little"))
