"""Memory requests of the reference NIC: authorised for the endpoint, by window where its mode says so, made by its
function or the physical one, translated by the IOMMU."""

from __future__ import annotations

from typing import Final, Protocol

from sw.abi.registers import DmaAddress, Mode, NicControl, Refusal
from sw.platform import PAGE_SIZE
from tb.model.iommu import ReferenceIommu
from tb.model.pci_config import FIRST_VF_OFFSET, ConfigSpace
from tb.model.windows import RefusalLog, RefusedError, WindowTable

ADDRESS_LIMIT: Final = 1 << 48
_INTERRUPTS: Final = 0xFEE0_0000
_INTERRUPTS_END: Final = 0xFEF0_0000


class Owner(Protocol):
    """The endpoint for which a request is made."""

    number: int
    mode: int


def stale(mode: int, address: int, index: int) -> bool:
    """VALIDATED: is the address's sequence number not that of its index in the ring?"""
    return mode == Mode.VALIDATED and address >> DmaAddress.VALIDATED_SEQUENCE_S != index + 1 & 0xFFFF


def plain(mode: int, address: int) -> int:
    """An address without its sequence number, in mode VALIDATED."""
    return address & DmaAddress.VALIDATED_ADDRESS_M if mode == Mode.VALIDATED else address


class Dma:
    """Counts what it checks and refuses, and records the refusals."""

    def __init__(self, iommu: ReferenceIommu, config: ConfigSpace, requester: int, counters: dict[int, int]) -> None:
        self._iommu = iommu
        self._config = config
        self._physical = requester
        self._counters = counters
        self.windows = WindowTable()
        self.refusals = RefusalLog()

    def allowed(self, owner: Owner, address: int, length: int, *, write: bool = False) -> bool:
        """May a request of this endpoint become TLPs? A write where interrupts are made may not.

        WINDOWS: a write lies in one window; a read may go on in the next one.
        """
        self._counters[NicControl.AUTH_CHECKS] += 1
        try:
            if owner.mode == Mode.WINDOWS and not write:
                for at, piece in _pages(address, length):
                    self._place(owner, at, piece, write=False)
            else:
                self._place(owner, address, length, write=write)
        except RefusedError as refused:
            self._counters[NicControl.AUTH_DENIED] += 1
            self.refusals.record(owner.number, refused, write=write)
            return False
        return True

    def read(self, owner: Owner, address: int, length: int) -> bytes | None:
        """What an allowed read returns; None: Unsupported Request."""
        requester = self._requester(owner)
        if owner.mode != Mode.WINDOWS:
            return self._iommu.read(requester, address, length)
        found = bytearray()
        for at, piece in _pages(address, length):
            data = self._iommu.read(requester, self._place(owner, at, piece, write=False), piece)
            if data is None:
                return None
            found += data
        return bytes(found)

    def write(self, owner: Owner, address: int, data: bytes) -> None:
        """An allowed, posted write: what faults is lost without a sign."""
        requester = self._requester(owner)
        at = 0
        for place, size in _pages(self._place(owner, address, len(data), write=True), len(data)):
            self._iommu.write(requester, place, data[at : at + size])
            at += size

    def message(self, owner: Owner, address: int, data: int) -> None:
        """A message-signalled interrupt whose address is not the interrupt controller's: a write like any other."""
        self._iommu.write(self._requester(owner), address, data.to_bytes(4, "little"))

    def _place(self, owner: Owner, address: int, length: int, *, write: bool) -> int:
        """Where a range is on the bus. Raises `RefusedError`."""
        functions_on = owner.mode in (Mode.NATIVE, Mode.WINDOWS, Mode.VALIDATED) or (
            owner.mode == Mode.IOMMU and self._config.vf_enable
        )
        if not self._config.bus_master or not functions_on:
            raise RefusedError(Refusal.BUS, address)
        place = address
        if owner.mode == Mode.WINDOWS:
            place = self.windows.translate(owner.number, address, length, write=write)
        end = place + length
        if end > ADDRESS_LIMIT or (write and place < _INTERRUPTS_END and end > _INTERRUPTS):
            raise RefusedError(Refusal.RANGE, address)
        return place

    def _requester(self, owner: Owner) -> int:
        if owner.mode != Mode.IOMMU:
            return self._physical
        return self._physical + FIRST_VF_OFFSET + owner.number


def _pages(address: int, length: int) -> list[tuple[int, int]]:
    """A range, cut where pages end: (address, bytes)."""
    found = []
    while length:
        piece = min(length, PAGE_SIZE - (address & PAGE_SIZE - 1))
        found.append((address, piece))
        address, length = address + piece, length - piece
    return found
