"""The five ways in which virtual machines share the NIC."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from sw.abi.registers import Mode


class Sharing(StrEnum):
    """Named as `make sim MODE=` takes them."""

    NATIVE = "native"
    """One system owns the NIC, with machine addresses; its applications have an endpoint each. The baseline."""
    IOMMU = "iommu"
    """Every guest has an endpoint, which is a function of its own for the IOMMU (SR-IOV)."""
    WINDOWS = "windows"
    """Every guest has an endpoint; the NIC translates and checks by its window table (MX registration, VMM-bypass)."""
    VALIDATED = "validated"
    """Every guest has an endpoint; the hypervisor checks each batch of descriptors (CDNA)."""
    SPLIT = "split"
    """Guests have no endpoint; the control domain owns the NIC, bridges, and serves shared rings (netfront, netback)."""

    @property
    def mode(self) -> Mode:
        """Protection mode of the endpoints: the guests', or the control domain's."""
        return _MODES[self]

    @property
    def enters_on_data_path(self) -> bool:
        """Traffic itself needs the hypervisor."""
        return self in (Sharing.VALIDATED, Sharing.SPLIT)


_MODES: Final = {
    Sharing.NATIVE: Mode.NATIVE,
    Sharing.IOMMU: Mode.IOMMU,
    Sharing.WINDOWS: Mode.WINDOWS,
    Sharing.VALIDATED: Mode.VALIDATED,
    Sharing.SPLIT: Mode.NATIVE,
}
