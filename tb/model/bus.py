"""Who answers a processor's access: configuration space, the IOMMU's registers or the NIC's BARs."""

from __future__ import annotations

from sw.abi.registers import Iommu
from sw.platform import PAGE_SIZE, MachineMap
from tb.model.iommu import ReferenceIommu
from tb.model.nic import ReferenceNic

_FUNCTION_BYTES = 4096


class Bus:
    """The devices of a machine, by machine address."""

    def __init__(self, machine: MachineMap, iommu: ReferenceIommu, nic: ReferenceNic) -> None:
        self._machine = machine
        self._iommu = iommu
        self._nic = nic

    def write(self, address: int, data: bytes) -> None:
        """One posted write of 1 to 64 bytes."""
        machine = self._machine
        if 0 <= address - machine.ecam < machine.ecam_bytes:
            requester, offset = divmod(address - machine.ecam, _FUNCTION_BYTES)
            self._nic.config_write(requester, offset, data)
        elif 0 <= address - machine.iommu < PAGE_SIZE:
            if len(data) == 4 and address - machine.iommu < Iommu.BYTES:
                self._iommu.write_register(address - machine.iommu, int.from_bytes(data, "little"))
        else:
            self._nic.mmio_write(address, data)

    def read(self, address: int) -> int | None:
        """One word; None where nothing answers."""
        machine = self._machine
        if 0 <= address - machine.ecam < machine.ecam_bytes:
            return self._nic.config_read(*divmod(address - machine.ecam, _FUNCTION_BYTES))
        if 0 <= address - machine.iommu < PAGE_SIZE:
            return self._iommu.read_register(address - machine.iommu)
        return self._nic.mmio_read(address)
