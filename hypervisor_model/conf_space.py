"""Configuration space of a virtual function as its guest has it: a header and an MSI-X capability, all of it pciback's.

What may be read and written is as in Linux `xen-pciback` (`conf_space_header.c`, `conf_space_capability.c`). Nothing of it is
the hardware's: the card's virtual functions answer no configuration access, and have the physical function's identity.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from sw import pci
from sw.xen.io.pciif import PciErr

APERTURE_BAR: Final = 2
"""With the one above it: 64 bits."""
MSIX_AT: Final = 0x50
VECTORS: Final = 1
TABLE_OFFSET: Final = 0xF000
"""In the aperture's BAR, where nothing is and nothing is ever mapped: the vector is in a table of the hypervisor's."""
PBA_OFFSET: Final = 0xF800
_COMMAND_WRITABLE: Final = pci.COMMAND_MEMORY | pci.COMMAND_MASTER | pci.COMMAND_INTX_DISABLE
_DWORD: Final = 0xFFFF_FFFF


class PciOpError(RuntimeError):
    """An operation is refused; `err` is what the front end is told."""

    def __init__(self, err: int, reason: str) -> None:
        super().__init__(reason)
        self.err = err


@dataclass(frozen=True)
class FunctionResources:
    """What a guest is to see of its function."""

    identity: int
    """Vendor and device ID, as in the first word."""
    revision_class: int
    """As in the third."""
    aperture: int
    """Where the endpoint's aperture is in the guest's address space."""
    aperture_bytes: int
    """A power of two."""


class ConfSpace:
    """The registers. Fields are 2 or 4 bytes; an access touches all that it overlaps, bytes it leaves out keep their value."""

    def __init__(self, resources: FunctionResources, set_master: Callable[[bool], Awaitable[bool]]) -> None:
        """`set_master` switches the function's bus mastering and tells what it is then."""
        self._set_master = set_master
        self._command = 0
        self.msix = False
        """MSI-X is on; pciback's to switch."""
        base = resources.aperture | pci.BAR_64_BIT | pci.BAR_PREFETCHABLE
        size = -resources.aperture_bytes & (1 << 64) - 1 | pci.BAR_64_BIT | pci.BAR_PREFETCHABLE
        at = pci.BAR0 + pci.BAR_BYTES * APERTURE_BAR
        self._bars = {at: (base & _DWORD, size & _DWORD), at + pci.BAR_BYTES: (base >> 32, size >> 32)}
        """Words of BARs by offset: what they hold, and what they show while they are sized."""
        self._sized: set[int] = set()
        self._constant = {
            pci.VENDOR_ID: resources.identity & 0xFFFF,
            pci.DEVICE_ID: resources.identity >> 16,
            pci.STATUS: pci.STATUS_CAPABILITIES,
            pci.REVISION: resources.revision_class & 0xFFFF,
            pci.REVISION + 2: resources.revision_class >> 16,
            pci.CAPABILITIES: MSIX_AT,
            MSIX_AT: pci.CAP_MSIX,
            MSIX_AT + pci.MSIX_TABLE: TABLE_OFFSET | APERTURE_BAR,
            MSIX_AT + pci.MSIX_PBA: PBA_OFFSET | APERTURE_BAR,
        }
        """Words of 16 bits, the rest of the space is 0."""

    @property
    def memory_enabled(self) -> bool:
        """The command register says that its memory answers."""
        return bool(self._command & pci.COMMAND_MEMORY)

    def read(self, offset: int, size: int) -> int:
        """1, 2 or 4 bytes at a multiple of their number. Raises `PciOpError`."""
        _check(offset, size)
        value = 0
        for n in range(size):
            at = offset + n
            value |= (self._half(at & ~1) >> 8 * (at & 1) & 0xFF) << 8 * n
        return value

    async def write(self, offset: int, size: int, value: int) -> None:
        """The same for writes: what is read-only keeps its value. Raises `PciOpError`."""
        _check(offset, size)
        word = offset & ~3
        shift = 8 * (offset - word)
        mask = (1 << 8 * size) - 1 << shift
        merged = self.read(word, 4) & ~mask | value << shift & mask
        if word in self._bars:
            self._write_bar(word, merged)
        elif word == pci.COMMAND and mask & 0xFFFF:
            await self._write_command(merged & 0xFFFF)
        elif word == MSIX_AT and merged >> 16 != self._half(word + pci.MSIX_CONTROL):
            raise PciOpError(PciErr.ACCESS_DENIED, f"MSI-X control {merged >> 16:#06x}: it is switched by operations only")

    async def reset(self) -> None:
        """As after the function's reset."""
        await self._write_command(0)
        self._sized.clear()

    async def _write_command(self, value: int) -> None:
        value &= _COMMAND_WRITABLE
        if (value ^ self._command) & pci.COMMAND_MASTER and not await self._set_master(bool(value & pci.COMMAND_MASTER)):
            value &= ~pci.COMMAND_MASTER
        self._command = value

    def _write_bar(self, word: int, value: int) -> None:
        """All address bits set: sizing. Anything else ends it, and moves nothing."""
        flags = pci.BAR_FLAGS_M if word == min(self._bars) else 0
        if value | flags == _DWORD:
            self._sized.add(word)
        else:
            self._sized.discard(word)

    def _half(self, at: int) -> int:
        """16 bits at an even offset."""
        if at == pci.COMMAND:
            return self._command
        if at == MSIX_AT + pci.MSIX_CONTROL:
            return VECTORS - 1 | pci.MSIX_ENABLE * self.msix
        word = at & ~3
        if word in self._bars:
            return self._bars[word][word in self._sized] >> 8 * (at - word) & 0xFFFF
        return self._constant.get(at, 0)


def _check(offset: int, size: int) -> None:
    if size not in (1, 2, 4) or offset % size or not 0 <= offset < pci.CONFIG_BYTES:
        raise PciOpError(
            PciErr.INVALID_OFFSET,
            f"{size} bytes at {offset:#x}: 1, 2 or 4 at a multiple of it below {pci.CONFIG_BYTES:#x}",
        )
