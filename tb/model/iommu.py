"""Reference IOMMU: VT-d registers, tables walked from memory, queued invalidation, fault records.

A dictionary stands for the IOTLB, without a capacity: a stale entry stays until it is invalidated, so that a
missing invalidation shows.
"""

from __future__ import annotations

import struct
from typing import Final, Protocol

from sw.abi.registers import Iommu

_WIDTH_BITS: Final = 48
_PAGE_MASK: Final = 0xFFF
_TABLE_ADDRESS: Final = 0x000F_FFFF_FFFF_F000
_INTERRUPTS: Final = 0xFEE
"""Address bits 31:20 of the interrupt window."""

ROOT_NOT_PRESENT: Final = 1
CONTEXT_NOT_PRESENT: Final = 2
CONTEXT_INVALID: Final = 3
BEYOND_WIDTH: Final = 4
WRITE_DENIED: Final = 5
READ_DENIED: Final = 6
TABLE_UNREADABLE: Final = 7
ROOT_UNREADABLE: Final = 8
CONTEXT_UNREADABLE: Final = 9
ROOT_RESERVED: Final = 10
CONTEXT_RESERVED: Final = 11
ENTRY_RESERVED: Final = 12

_ENTRY = struct.Struct("<Q")
_PAIR = struct.Struct("<QQ")


class Memory(Protocol):
    """Machine memory as devices reach it; None or False outside RAM."""

    def device_read(self, address: int, size: int) -> bytes | None: ...

    def device_write(self, address: int, data: bytes) -> bool: ...


class _Fault(Exception):
    def __init__(self, reason: int) -> None:
        self.reason = reason


class ReferenceIommu:
    """Between the NIC and memory. Register accesses are 32 bit, `offset` from the register page."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._regs: dict[int, int] = {
            Iommu.VER: 0x10,
            Iommu.CAP_LO: 6 << Iommu.CAP_LO_ND_S
            | 0b00100 << Iommu.CAP_LO_SAGAW_S
            | 47 << Iommu.CAP_LO_MGAW_S
            | 0x20 << Iommu.CAP_LO_FRO_LO_S,
            Iommu.CAP_HI: 0b0011 << Iommu.CAP_HI_SLLPS_S
            | 1 << Iommu.CAP_HI_PSI_S
            | Iommu.FRCD_COUNT - 1 << Iommu.CAP_HI_NFR_S
            | 18 << Iommu.CAP_HI_MAMV_S
            | 1 << Iommu.CAP_HI_DWD_S
            | 1 << Iommu.CAP_HI_DRD_S,
            Iommu.ECAP_LO: Iommu.ECAP_LO_COHERENT_M | Iommu.ECAP_LO_QI_M | Iommu.ECAP_LO_PT_M,
            Iommu.FECTL: Iommu.FECTL_IM_M,
        }
        self._enabled = False
        self._queued = False
        self._root_set = False
        self._root = 0
        self._queue_error = False
        self._overflow = False
        self._records: list[tuple[int, int, int, int] | None] = [None] * Iommu.FRCD_COUNT
        self._next_record = 0
        self._contexts: dict[int, tuple[int, int, int]] = {}
        self._iotlb: dict[tuple[int, int], tuple[int, int]] = {}
        self.translations = 0
        self.misses = 0
        self.faults = 0

    # --- registers -------------------------------------------------------------------------------

    def read_register(self, offset: int) -> int:
        """32 bits."""
        if offset == Iommu.GSTS:
            return (
                (Iommu.GSTS_TES_M if self._enabled else 0)
                | (Iommu.GSTS_QIES_M if self._queued else 0)
                | (Iommu.GSTS_RTPS_M if self._root_set else 0)
            )
        if offset == Iommu.FSTS:
            first = self._first_record()
            return (
                (Iommu.FSTS_PFO_M if self._overflow else 0)
                | (Iommu.FSTS_PPF_M if first is not None else 0)
                | (Iommu.FSTS_IQE_M if self._queue_error else 0)
                | (first or 0) << Iommu.FSTS_FRI_S
            )
        if Iommu.FRCD_BASE <= offset < Iommu.FRCD_BASE + Iommu.FRCD_COUNT * Iommu.FRCD_STRIDE:
            index, word = divmod(offset - Iommu.FRCD_BASE, Iommu.FRCD_STRIDE)
            record = self._records[index]
            return record[word // 4] if record is not None else 0
        counters = {Iommu.TRANSLATIONS: self.translations, Iommu.IOTLB_MISSES: self.misses, Iommu.FAULTS: self.faults}
        if offset in counters:
            return counters[offset] & 0xFFFF_FFFF
        return self._regs.get(offset, 0)

    def write_register(self, offset: int, value: int) -> None:
        """32 bits; read-only registers ignore it."""
        if offset == Iommu.GCMD:
            self._command(value)
        elif offset == Iommu.FSTS:
            self._overflow &= not value & Iommu.FSTS_PFO_M
            if value & Iommu.FSTS_IQE_M:
                self._queue_error = False
                self._process_queue()
        elif Iommu.FRCD_BASE <= offset < Iommu.FRCD_BASE + Iommu.FRCD_COUNT * Iommu.FRCD_STRIDE:
            index, word = divmod(offset - Iommu.FRCD_BASE, Iommu.FRCD_STRIDE)
            if word == Iommu.FRCD_W3 - Iommu.FRCD_BASE and value & Iommu.FRCD_W3_F_M:
                self._records[index] = None
        elif offset == Iommu.IQT_LO:
            self._regs[offset] = value & Iommu.IQT_LO_QT_M
            self._process_queue()
        elif offset == Iommu.ICS:
            self._regs[offset] = self._regs.get(offset, 0) & ~(value & Iommu.ICS_IWC_M)
        elif offset in (Iommu.RTADDR_LO, Iommu.RTADDR_HI, Iommu.IQA_LO, Iommu.IQA_HI, Iommu.FECTL):
            self._regs[offset] = value

    def _command(self, value: int) -> None:
        if value & Iommu.GCMD_SRTP_M:
            self._root = self._register64(Iommu.RTADDR_LO) & ~_PAGE_MASK
            self._root_set = True
        queued = bool(value & Iommu.GCMD_QIE_M)
        if queued and not self._queued:
            self._regs[Iommu.IQH_LO] = 0
        self._queued = queued
        self._enabled = bool(value & Iommu.GCMD_TE_M)

    def _register64(self, offset: int) -> int:
        return self._regs.get(offset, 0) | self._regs.get(offset + 4, 0) << 32

    # --- translation -----------------------------------------------------------------------------

    def read(self, requester: int, address: int, size: int) -> bytes | None:
        """DMA read; None stands for Unsupported Request."""
        if (address & _PAGE_MASK) + size <= _PAGE_MASK + 1:
            target = self.translate(requester, address, write=False)
            return None if target is None else self._memory.device_read(target, size)
        parts: list[bytes] = []
        while size:
            part = min(_PAGE_MASK + 1 - (address & _PAGE_MASK), size)
            data = self.read(requester, address, part)
            if data is None:
                return None
            parts.append(data)
            address += part
            size -= part
        return b"".join(parts)

    def write(self, requester: int, address: int, data: bytes) -> bool:
        """DMA write within one page; False: it was dropped."""
        if address >> 20 == _INTERRUPTS:
            return False
        target = self.translate(requester, address, write=True)
        return target is not None and self._memory.device_write(target, data)

    def translate(self, requester: int, address: int, *, write: bool) -> int | None:
        """Machine address, or None after recording a fault."""
        if not self._enabled:
            return address
        self.translations += 1
        try:
            kind, table, domain = self._contexts.get(requester) or self._context(requester)
            if address >> _WIDTH_BITS:
                raise _Fault(BEYOND_WIDTH)
            if kind == 2:
                return address
            page = address >> 12
            entry = self._iotlb.get((domain, page))
            if entry is None:
                self.misses += 1
                entry = self._walk(table, page)
                if entry[1]:
                    self._iotlb[domain, page] = entry
            if not entry[1] & (2 if write else 1):
                raise _Fault(WRITE_DENIED if write else READ_DENIED)
            return entry[0] | address & _PAGE_MASK
        except _Fault as fault:
            self._record(requester, address, fault.reason, write=write)
            return None

    def _context(self, requester: int) -> tuple[int, int, int]:
        """(translation type, second-level root, domain), cached."""
        data = self._memory.device_read(self._root + (requester >> 8) * 16, 16)
        if data is None:
            raise _Fault(ROOT_UNREADABLE)
        low, high = _PAIR.unpack(data)
        if not low & 1:
            raise _Fault(ROOT_NOT_PRESENT)
        if low & 0xFFE or high:
            raise _Fault(ROOT_RESERVED)
        data = self._memory.device_read((low & ~_PAGE_MASK) + (requester & 0xFF) * 16, 16)
        if data is None:
            raise _Fault(CONTEXT_UNREADABLE)
        low, high = _PAIR.unpack(data)
        if not low & 1:
            raise _Fault(CONTEXT_NOT_PRESENT)
        if low & 0xFF0 or high >> 24 or high & 0x80:
            raise _Fault(CONTEXT_RESERVED)
        kind = low >> 2 & 3
        # Untranslated requests or pass-through, four levels: nothing else is in the capabilities.
        if kind not in (0, 2) or high & 7 != 2:
            raise _Fault(CONTEXT_INVALID)
        context = (kind, low & ~_PAGE_MASK, high >> 8 & 0xFFFF)
        self._contexts[requester] = context
        return context

    def _walk(self, table: int, page: int) -> tuple[int, int]:
        """(machine address of the 4 KiB page, permissions over all levels)."""
        permission = 3
        for level in range(4, 0, -1):
            data = self._memory.device_read(table + (page >> 9 * (level - 1) & 0x1FF) * 8, 8)
            if data is None:
                raise _Fault(TABLE_UNREADABLE)
            (entry,) = _ENTRY.unpack(data)
            permission &= entry & 3
            if not entry & 3:
                return 0, 0
            superpage = bool(entry & 0x80)
            if level == 1 or superpage:
                below = (1 << 9 * (level - 1)) - 1
                if superpage and (level == 4 or level == 1 or (entry & _TABLE_ADDRESS) >> 12 & below):
                    raise _Fault(ENTRY_RESERVED)
                return (entry & _TABLE_ADDRESS) | (page & below) << 12, permission
            table = entry & _TABLE_ADDRESS
        raise AssertionError("a walk always meets a leaf")

    # --- faults ----------------------------------------------------------------------------------

    def _record(self, requester: int, address: int, reason: int, *, write: bool) -> None:
        self.faults += 1
        if self._overflow:
            return
        if self._records[self._next_record] is not None:
            self._overflow = True
            return
        word3 = Iommu.FRCD_W3_F_M | (0 if write else Iommu.FRCD_W3_T_M) | reason
        self._records[self._next_record] = (
            address & Iommu.FRCD_W0_FI_M,
            address >> 32 & 0xFFFF_FFFF,
            requester,
            word3,
        )
        self._next_record = (self._next_record + 1) % Iommu.FRCD_COUNT

    def _first_record(self) -> int | None:
        """Oldest valid record."""
        for n in range(Iommu.FRCD_COUNT):
            index = (self._next_record + n) % Iommu.FRCD_COUNT
            if self._records[index] is not None:
                return index
        return None

    # --- queued invalidation ---------------------------------------------------------------------

    def _process_queue(self) -> None:
        if not self._queued or self._queue_error:
            return
        base = self._register64(Iommu.IQA_LO)
        size = 4096 << (base & Iommu.IQA_LO_QS_M)
        head = self._regs.get(Iommu.IQH_LO, 0)
        while head != self._regs.get(Iommu.IQT_LO, 0):
            data = self._memory.device_read((base & ~_PAGE_MASK) + head, 16)
            if data is None or not self._invalidate(*_PAIR.unpack(data)):
                self._queue_error = True
                break
            head = (head + 16) % size
            self._regs[Iommu.IQH_LO] = head

    def _invalidate(self, low: int, high: int) -> bool:
        """Perform one descriptor; False when it is not valid. Nothing is in flight here, so a drain is no work."""
        kind, granularity = low & 0xF, low >> 4 & 3
        domain = low >> 16 & 0xFFFF
        if kind == 1:
            source, mask = low >> 32 & 0xFFFF, (1 << (low >> 48 & 3)) - 1
            if granularity == 0:
                return False
            self._contexts = {
                requester: context
                for requester, context in self._contexts.items()
                if (granularity >= 2 and context[2] != domain)
                or (granularity == 3 and (requester ^ source) & ~mask & 0xFFFF)
            }
            return True
        if kind == 2:
            if granularity == 1:
                self._iotlb.clear()
            elif granularity == 2:
                self._iotlb = {key: entry for key, entry in self._iotlb.items() if key[0] != domain}
            elif granularity == 3:
                first = high >> 12 & ~((1 << (high & 0x3F)) - 1)
                for page in range(first, first + (1 << (high & 0x3F))):
                    self._iotlb.pop((domain, page), None)
            else:
                return False
            return True
        if kind == 5:
            if low & 1 << 5:
                self._memory.device_write(high & ~3, (low >> 32 & 0xFFFF_FFFF).to_bytes(4, "little"))
            if low & 1 << 4:
                self._regs[Iommu.ICS] = Iommu.ICS_IWC_M
            return True
        return False
