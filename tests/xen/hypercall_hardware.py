"""What devices reach, found as the hardware finds it: in the bytes of the IOMMU's tables, of the window table and of descriptor rings."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from sw.abi.registers import Iommu, NicControl
from tb.model.platform import ModelPlatform
from tests.xen.grants_support import PAGE

CONTEXTS = 256
PRESENT, WRITE = 3, 2
ADDRESS = 0x000F_FFFF_FFFF_F000
PASS_THROUGH = 2
VALIDATED_ADDRESS = (1 << 48) - 1


@dataclass
class Tables:
    """Everything that the IOMMU's root leads to."""

    frames: set[int] = field(default_factory=set)
    """Frames of tables."""
    roots: dict[int, int] = field(default_factory=dict)
    """Requesters whose requests are translated, and the frame of their top table."""
    passing: set[int] = field(default_factory=set)
    """Requesters that use machine addresses."""
    leaves: dict[tuple[int, int], tuple[int, bool]] = field(default_factory=dict)
    """(requester, device frame) to (machine frame, writable)."""


def io_tables(platform: ModelPlatform) -> Tables:
    """All tables, by a walk of memory from the root register on (VT-d 9.1, 9.3, 9.8)."""
    root = platform.iommu.read_register(Iommu.RTADDR_LO) | platform.iommu.read_register(Iommu.RTADDR_HI) << 32
    tables = Tables({root // PAGE})
    for bus, (low, _) in enumerate(struct.iter_unpack("<QQ", platform.memory.read(root, PAGE))):
        if low & 1:
            tables.frames.add(low // PAGE)
            for function, (context, _) in enumerate(struct.iter_unpack("<QQ", platform.memory.read(low & ADDRESS, PAGE))):
                if context & 1:
                    _context(platform, tables, bus << 8 | function, context)
    return tables


def _context(platform: ModelPlatform, tables: Tables, requester: int, context: int) -> None:
    if context >> 2 & 3 == PASS_THROUGH:
        tables.passing.add(requester)
        return
    tables.roots[requester] = (context & ADDRESS) // PAGE
    _walk(platform, tables, requester, tables.roots[requester], 4, 0, writable=True)


def _walk(platform: ModelPlatform, tables: Tables, requester: int, frame: int, level: int, prefix: int, *, writable: bool) -> None:
    tables.frames.add(frame)
    for index, entry in enumerate(platform.memory.view(frame * PAGE, PAGE).cast("Q").tolist()):
        if entry & PRESENT:
            below, dfn, write = (entry & ADDRESS) // PAGE, prefix << 9 | index, writable and bool(entry & WRITE)
            if level == 1:
                tables.leaves[requester, dfn] = below, write
            else:
                _walk(platform, tables, requester, below, level - 1, dfn, writable=write)


class Registers:
    """The NIC's control registers, read as its function presents them: nothing is sent and no time passes."""

    def __init__(self, platform: ModelPlatform, base: int) -> None:
        self._platform = platform
        self._base = base

    def read(self, register: int) -> int:
        """32 bits."""
        value = self._platform.nic.mmio_read(self._base + register)
        assert value is not None
        return value

    def enabled(self, endpoint: int) -> bool:
        """The NIC serves the endpoint."""
        return bool(self.read(NicControl.ENDPOINT_CTRL + endpoint * NicControl.ENDPOINT_STRIDE) & 1)

    def windows(self, endpoint: int, numbers: range) -> dict[int, tuple[int, bool, int]]:
        """Valid windows: number to (frame, writable, sequence)."""
        found = {}
        for number in numbers:
            row = (endpoint * NicControl.WINDOW_LIMITS_WINDOWS_VALUE + number) * NicControl.WINDOW_STRIDE
            control = self.read(NicControl.WINDOW_CONTROL + row)
            if control & NicControl.WINDOW_CONTROL_VALID_M:
                low, high = self.read(NicControl.WINDOW_ADDRESS_LO + row), self.read(NicControl.WINDOW_ADDRESS_HI + row)
                found[number] = (high << 32 | low) // PAGE, bool(control >> 1 & 1), control >> 16
        return found

    def base(self, register: int, endpoint: int) -> int:
        """A ring's machine address, `register` being its low half of endpoint 0."""
        at = register + endpoint * NicControl.ENDPOINT_STRIDE
        return self.read(at) | self.read(at + 4) << 32

    def ring(self, register: int, endpoint: int, entry_bytes: int, indices: range, entries: int) -> list[tuple[int, int]]:
        """(sequence, frame) that the entries of a validated ring name, with their free-running indices."""
        base = self.base(register, endpoint)
        found = []
        for index in indices:
            data = self._platform.memory.read(base + index % entries * entry_bytes, 8)
            value = int.from_bytes(data, "big")
            found.append((value >> 48, (value & VALIDATED_ADDRESS) // PAGE))
        return found
