"""Tables in memory, and an independent walk of them: what the IOMMU must answer.

Layouts: Intel VT-d, legacy mode (root, context and second-level entries). Nothing here is taken from the RTL.
"""

from __future__ import annotations

from dataclasses import dataclass, field

PAGE = 1 << 12
MIB2 = 1 << 21
GIB1 = 1 << 30
READ = 1
WRITE = 2


class Memory:
    """Sparse RAM from 0 to `size` bytes; unwritten bytes are 0. Accesses outside raise `IndexError`."""

    def __init__(self, size: int = 256 << 20) -> None:
        self.size = size
        self._pages: dict[int, bytearray] = {}
        self._next_page = 0x10000

    def allocate(self) -> int:
        """Address of a fresh page."""
        self._next_page += PAGE
        return self._next_page

    def _page(self, address: int, count: int) -> tuple[bytearray, int]:
        if address < 0 or address + count > self.size:
            raise IndexError(f"memory: 0x{address:x}+{count} is outside 0..0x{self.size:x}")
        if address % PAGE + count > PAGE:
            raise IndexError(f"memory: 0x{address:x}+{count} crosses a page")
        return self._pages.setdefault(address // PAGE, bytearray(PAGE)), address % PAGE

    def read(self, address: int, count: int) -> bytes:
        page, offset = self._page(address, count)
        return bytes(page[offset : offset + count])

    def write(self, address: int, data: bytes) -> None:
        page, offset = self._page(address, len(data))
        page[offset : offset + len(data)] = data

    def read64(self, address: int) -> int:
        return int.from_bytes(self.read(address, 8), "little")

    def write64(self, address: int, value: int) -> None:
        self.write(address, value.to_bytes(8, "little"))


@dataclass
class Domain:
    """One second-level table and its IOTLB tag."""

    did: int
    root: int


@dataclass
class Tables:
    """Builds root, context and second-level tables in `memory`."""

    memory: Memory
    root: int = 0
    _domains: dict[int, Domain] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = self.memory.allocate()

    def domain(self, did: int) -> Domain:
        """The domain with this tag, made on first use."""
        if did not in self._domains:
            self._domains[did] = Domain(did, self.memory.allocate())
        return self._domains[did]

    def root_entry(self, sid: int) -> int:
        return self.root + (sid >> 8) * 16

    def context_entry(self, sid: int) -> int:
        """Address of the context entry; makes the context table if there is none."""
        at = self.root_entry(sid)
        if not self.memory.read64(at) & 1:
            self.memory.write64(at, self.memory.allocate() | 1)
        return (self.memory.read64(at) & ~0xFFF) + (sid & 0xFF) * 16

    def attach(self, sid: int, domain: Domain, *, kind: int = 0, width: int = 2, fpd: int = 0) -> None:
        """Present context entry: `kind` is the translation type, `width` the address-width code."""
        at = self.context_entry(sid)
        self.memory.write64(at + 8, width | domain.did << 8)
        self.memory.write64(at, domain.root | kind << 2 | fpd << 1 | 1)

    def entry(self, domain: Domain, iova: int, level: int) -> int:
        """Address of the entry for `iova` at `level`; makes the tables above with full permission."""
        table = domain.root
        for at_level in range(4, level, -1):
            at = table + (iova >> (12 + 9 * (at_level - 1)) & 511) * 8
            if not self.memory.read64(at) & 3:
                self.memory.write64(at, self.memory.allocate() | READ | WRITE)
            table = self.memory.read64(at) & 0xFFFFFFFFFF000
        return table + (iova >> (12 + 9 * (level - 1)) & 511) * 8

    def map(self, domain: Domain, iova: int, address: int, permission: int = READ | WRITE, size: int = PAGE) -> int:
        """Map one page of `size`; returns the address of its entry."""
        level = {PAGE: 1, MIB2: 2, GIB1: 3}[size]
        at = self.entry(domain, iova, level)
        self.memory.write64(at, address | permission | (0x80 if level > 1 else 0))
        return at


@dataclass(frozen=True)
class Allowed:
    """Machine address of the request's first byte."""

    address: int


@dataclass(frozen=True)
class Refused:
    """Fault reason; `quiet` faults are not recorded."""

    reason: int
    quiet: bool = False


def walk(
    memory: Memory, root: int, sid: int, iova: int, *, write: bool, blocked: bool = False, short: bool = False
) -> Allowed | Refused:
    """Translate one request as the specification says, from memory alone.

    `blocked`: it crosses a page or carries another address type. `short`: 3-DW header.
    """

    def fetch(address: int) -> int | None:
        try:
            return int.from_bytes(memory.read(address, 16), "little")
        except IndexError:
            return None

    entry = fetch(root + (sid >> 8) * 16)
    if entry is None:
        return Refused(8)
    if not entry & 1:
        return Refused(1)
    if entry & 0xFFE or entry >> 52:
        return Refused(10)
    entry = fetch((entry & ~0xFFF) + (sid & 0xFF) * 16)
    if entry is None:
        return Refused(9)
    quiet = bool(entry & 2)
    if not entry & 1:
        return Refused(2, quiet)
    low, high = entry & (1 << 64) - 1, entry >> 64
    if low & 0xFF0 or low >> 52 or high & 0x80 or high >> 24:
        return Refused(11, quiet)
    kind = low >> 2 & 3
    if high & 7 != 2 or kind not in (0, 2):
        return Refused(3, quiet)
    if blocked:
        return Refused(13, quiet)
    if iova >> 48:
        return Refused(4, quiet)
    if kind == 2:
        return Allowed(iova)

    denied = Refused(5 if write else 6, quiet)
    table = low & ~0xFFF
    for level in (4, 3, 2, 1):
        shift = 12 + 9 * (level - 1)
        at = table + (iova >> shift & 511) * 8
        pair = fetch(at & ~15)
        if pair is None:
            return Refused(7, quiet)
        entry = pair >> (64 if at & 8 else 0) & (1 << 64) - 1
        if not entry & 3:
            return denied
        leaf = level == 1 or bool(entry & 0x80)
        address = entry & 0xFFFFFFFFFF000
        if entry & 0x800 or entry >> 62 & 1 or (level == 4 and leaf) or (leaf and address % (1 << shift)):
            return Refused(12, quiet)
        if not entry & (WRITE if write else READ):
            return denied
        if leaf:
            address += iova % (1 << shift)
            if short and address >> 32:
                return Refused(12, quiet)
            return Allowed(address)
        table = address
    raise AssertionError("a walk ends at level 1")
