"""Memory requests of the reference NIC: authorised for the endpoint, made by its function, translated by the IOMMU."""

from __future__ import annotations

from typing import Final, Protocol

from sw.abi.registers import Mode, NicControl
from sw.platform import PAGE_SIZE
from tb.model.iommu import ReferenceIommu
from tb.model.pci_config import FIRST_VF_OFFSET, ConfigSpace

ADDRESS_LIMIT: Final = 1 << 48
_INTERRUPTS: Final = 0xFEE0_0000
_INTERRUPTS_END: Final = 0xFEF0_0000


class Owner(Protocol):
    """The endpoint for which a request is made."""

    number: int
    mode: int


class Dma:
    """Counts what it checks and refuses."""

    def __init__(self, iommu: ReferenceIommu, config: ConfigSpace, requester: int, counters: dict[int, int]) -> None:
        self._iommu = iommu
        self._config = config
        self._physical = requester
        self._counters = counters

    def allowed(self, owner: Owner, address: int, length: int, *, write: bool = False) -> bool:
        """May a request of this endpoint become a TLP? A write where interrupts are made may not."""
        self._counters[NicControl.AUTH_CHECKS] += 1
        functions_on = owner.mode == Mode.NATIVE or (owner.mode == Mode.IOMMU and self._config.vf_enable)
        end = address + length
        allowed = self._config.bus_master and functions_on and end <= ADDRESS_LIMIT
        if write and address < _INTERRUPTS_END and end > _INTERRUPTS:
            allowed = False
        if not allowed:
            self._counters[NicControl.AUTH_DENIED] += 1
        return allowed

    def read(self, owner: Owner, address: int, length: int) -> bytes | None:
        """What an allowed read returns; None: Unsupported Request."""
        return self._iommu.read(self._requester(owner), address, length)

    def write(self, owner: Owner, address: int, data: bytes) -> None:
        """An allowed, posted write: what faults is lost without a sign."""
        requester = self._requester(owner)
        room = PAGE_SIZE - (address & PAGE_SIZE - 1)
        if len(data) <= room:
            self._iommu.write(requester, address, data)
            return
        at = 0
        while at < len(data):
            self._iommu.write(requester, address + at, data[at : at + room])
            at, room = at + room, PAGE_SIZE

    def message(self, owner: Owner, address: int, data: int) -> None:
        """A message-signalled interrupt whose address is not the interrupt controller's: a write like any other."""
        self._iommu.write(self._requester(owner), address, data.to_bytes(4, "little"))

    def _requester(self, owner: Owner) -> int:
        if owner.mode == Mode.NATIVE:
            return self._physical
        return self._physical + FIRST_VF_OFFSET + owner.number
