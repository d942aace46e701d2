"""Driver of the IOMMU: root and context entries, queued invalidation, fault records."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hypervisor_model.memory import OWNER_XEN, FrameAllocator, PageType
from hypervisor_model.second_level import SecondLevelTable
from sw.abi.registers import Iommu
from sw.platform import PAGE_SHIFT, PAGE_SIZE, Platform, PlatformTimeoutError

POLL_NS: Final = 1_000
POLL_LIMIT_NS: Final = 1_000_000
"""Bound of every wait for the IOMMU."""
PAGE_FLUSH_LIMIT: Final = 32
"""Above this many pages one domain-selective flush is cheaper (Xen flushes in batches of 32)."""

_PAIR: Final = struct.Struct("<QQ")
_WORD: Final = struct.Struct("<I")
_PRESENT: Final = 1
_WIDTH_4_LEVEL: Final = 2
_TRANSLATE_UNTRANSLATED: Final = 0 << 2
_TRANSLATE_PASS_THROUGH: Final = 2 << 2
_DOMAIN_S: Final = 8

# Queued invalidation descriptors, VT-d 6.5.2: type, granularity.
_INV_CONTEXT: Final = 1
_INV_IOTLB: Final = 2
_INV_WAIT: Final = 5
_GRANULARITY_S: Final = 4
_GLOBAL, _DOMAIN, _SELECTIVE = 1, 2, 3
_DRAIN_WRITES: Final = 1 << 6
_DRAIN_READS: Final = 1 << 7
_INV_DOMAIN_S: Final = 16
_INV_SOURCE_S: Final = 32
_WAIT_STATUS_WRITE: Final = 1 << 5
_WAIT_DATA_S: Final = 32
_QUEUE_ENTRIES: Final = PAGE_SIZE // _PAIR.size
_STATUS_WORDS: Final = PAGE_SIZE // _WORD.size


@dataclass(frozen=True)
class FaultRecord:
    """One record of the hardware."""

    requester: int
    address: int
    reason: int
    is_read: bool


class IommuDriver:
    """One IOMMU. Invalidation calls may overlap: each waits for its own status word."""

    def __init__(self, platform: Platform, frames: FrameAllocator) -> None:
        self._platform = platform
        self._frames = frames
        self._registers = platform.machine.iommu
        self._contexts: dict[int, int] = {}
        self._command = 0
        self._tail = 0
        self._retired = 0
        self._sequence = 0
        self.flushes = 0
        """Waits completed: each one made the invalidations before it take effect."""

    async def enable(self) -> None:
        """Set up tables and queue, flush everything, switch translation on: from here DMA needs a mapping."""
        self._root = self._frames.allocate(OWNER_XEN, PageType.PAGE_TABLE)
        self._queue = self._frames.allocate(OWNER_XEN)
        self._status = self._frames.allocate(OWNER_XEN)
        self._write64(Iommu.RTADDR_LO, self._root << PAGE_SHIFT)
        await self._set_command(Iommu.GCMD_SRTP_M, sticky=False)
        self._write64(Iommu.IQA_LO, self._queue << PAGE_SHIFT)
        self._write(Iommu.IQT_LO, 0)
        await self._set_command(Iommu.GCMD_QIE_M)
        await self._submit(
            [
                (_INV_CONTEXT | _GLOBAL << _GRANULARITY_S, 0),
                (_INV_IOTLB | _GLOBAL << _GRANULARITY_S | _DRAIN_READS | _DRAIN_WRITES, 0),
            ]
        )
        await self._set_command(Iommu.GCMD_TE_M)

    def attach(self, requester: int, table: SecondLevelTable, domain: int) -> None:
        """Translate a requester by `table`. It must not have had a context entry."""
        self._set_context(requester, table.root << PAGE_SHIFT | _TRANSLATE_UNTRANSLATED | _PRESENT, domain)

    def attach_pass_through(self, requester: int, domain: int) -> None:
        """Let a requester use machine addresses."""
        self._set_context(requester, _TRANSLATE_PASS_THROUGH | _PRESENT, domain)

    async def detach(self, requester: int, domain: int) -> None:
        """Remove a context entry; afterwards nothing of it is cached."""
        page, offset = self._context(requester)
        _PAIR.pack_into(page, offset, 0, 0)
        await self._submit(
            [
                (
                    _INV_CONTEXT | _SELECTIVE << _GRANULARITY_S | domain << _INV_DOMAIN_S | requester << _INV_SOURCE_S,
                    0,
                ),
                self._domain_flush(domain),
            ]
        )

    async def invalidate(self, domain: int, dfns: Sequence[int]) -> None:
        """Drop cached translations and wait until DMA that used them has drained."""
        if len(dfns) > PAGE_FLUSH_LIMIT:
            await self._submit([self._domain_flush(domain)])
            return
        low = _INV_IOTLB | _SELECTIVE << _GRANULARITY_S | _DRAIN_READS | _DRAIN_WRITES | domain << _INV_DOMAIN_S
        await self._submit([(low, dfn << PAGE_SHIFT) for dfn in dfns])

    async def take_faults(self) -> tuple[list[FaultRecord], bool]:
        """Read and clear the fault records; the second value says that at least one fault was lost."""
        records: list[FaultRecord] = []
        status = await self._read(Iommu.FSTS)
        if status & Iommu.FSTS_PPF_M:
            first = (status & Iommu.FSTS_FRI_M) >> Iommu.FSTS_FRI_S
            for n in range(Iommu.FRCD_COUNT):
                at = (first + n) % Iommu.FRCD_COUNT * Iommu.FRCD_STRIDE
                word3 = await self._read(Iommu.FRCD_W3 + at)
                if not word3 & Iommu.FRCD_W3_F_M:
                    break
                low = await self._read(Iommu.FRCD_W0 + at) & Iommu.FRCD_W0_FI_M
                high = await self._read(Iommu.FRCD_W1 + at)
                requester = await self._read(Iommu.FRCD_W2 + at) & Iommu.FRCD_W2_SID_M
                self._write(Iommu.FRCD_W3 + at, Iommu.FRCD_W3_F_M)
                records.append(
                    FaultRecord(
                        requester, high << 32 | low, word3 & Iommu.FRCD_W3_FR_M, bool(word3 & Iommu.FRCD_W3_T_M)
                    )
                )
        overflow = bool(status & Iommu.FSTS_PFO_M)
        if overflow:
            self._write(Iommu.FSTS, Iommu.FSTS_PFO_M)
        return records, overflow

    def _domain_flush(self, domain: int) -> tuple[int, int]:
        return (
            _INV_IOTLB | _DOMAIN << _GRANULARITY_S | _DRAIN_READS | _DRAIN_WRITES | domain << _INV_DOMAIN_S,
            0,
        )

    def _set_context(self, requester: int, low: int, domain: int) -> None:
        page, offset = self._context(requester)
        if page[offset] & _PRESENT:
            raise ValueError(f"requester {requester:#06x} has a context entry already")
        # The low half holds the present bit: it goes last.
        struct.pack_into("<Q", page, offset + 8, domain << _DOMAIN_S | _WIDTH_4_LEVEL)
        struct.pack_into("<Q", page, offset, low)

    def _context(self, requester: int) -> tuple[memoryview, int]:
        bus, devfn = requester >> 8, requester & 0xFF
        if bus not in self._contexts:
            self._contexts[bus] = self._frames.allocate(OWNER_XEN, PageType.PAGE_TABLE)
            root = self._frames.page(self._root)
            _PAIR.pack_into(root, bus * _PAIR.size, self._contexts[bus] << PAGE_SHIFT | _PRESENT, 0)
        return self._frames.page(self._contexts[bus]), devfn * _PAIR.size

    async def _submit(self, descriptors: Sequence[tuple[int, int]]) -> None:
        """Queue descriptors and a wait, then sleep until the wait's status word is written."""
        await self._room_for(len(descriptors) + 1)
        self._sequence += 1
        data = self._sequence & 0xFFFF_FFFF
        status = (self._status << PAGE_SHIFT) + self._sequence % _STATUS_WORDS * _WORD.size
        wait = (_INV_WAIT | _WAIT_STATUS_WRITE | data << _WAIT_DATA_S, status)
        queue = self._frames.page(self._queue)
        for low, high in (*descriptors, wait):
            _PAIR.pack_into(queue, self._tail % _QUEUE_ENTRIES * _PAIR.size, low, high)
            self._tail += 1
        mine = self._tail
        self._write(Iommu.IQT_LO, mine % _QUEUE_ENTRIES << Iommu.IQT_LO_QT_S)
        if not await self._platform.monitor(status, _WORD.pack(data), b"\xff" * _WORD.size, POLL_LIMIT_NS):
            head = await self._read(Iommu.IQH_LO)
            raise PlatformTimeoutError(
                f"IOMMU invalidation wait {data} not completed in {POLL_LIMIT_NS} ns "
                f"(queue head {head:#x}, tail {mine % _QUEUE_ENTRIES << Iommu.IQT_LO_QT_S:#x})"
            )
        self._retired = max(self._retired, mine)
        self.flushes += 1

    async def _room_for(self, count: int) -> None:
        deadline = self._platform.now() + POLL_LIMIT_NS
        while self._tail - self._retired + count >= _QUEUE_ENTRIES:
            if self._platform.now() >= deadline:
                raise PlatformTimeoutError(f"IOMMU invalidation queue had no room for {count} in {POLL_LIMIT_NS} ns")
            await self._platform.sleep(POLL_NS)

    async def _set_command(self, bit: int, *, sticky: bool = True) -> None:
        """Write one command bit and poll its status bit, which has the same place."""
        self._write(Iommu.GCMD, self._command | bit)
        if sticky:
            self._command |= bit
        deadline = self._platform.now() + POLL_LIMIT_NS
        while not await self._read(Iommu.GSTS) & bit:
            if self._platform.now() >= deadline:
                raise PlatformTimeoutError(f"IOMMU did not report command bit {bit:#x} in {POLL_LIMIT_NS} ns")
            await self._platform.sleep(POLL_NS)

    async def _read(self, offset: int) -> int:
        return int.from_bytes(await self._platform.mmio_read(self._registers + offset, 4), "little")

    def _write(self, offset: int, value: int) -> None:
        self._platform.mmio_write(self._registers + offset, value.to_bytes(4, "little"))

    def _write64(self, offset: int, value: int) -> None:
        self._write(offset, value & 0xFFFF_FFFF)
        self._write(offset + 4, value >> 32)
