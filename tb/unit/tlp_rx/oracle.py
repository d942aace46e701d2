"""What the receiver must make of each TLP: bytes for the memories, then at most one event. Read from the ABI and the
PCIe rules for completions, not from the hardware."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from sw.abi.registers import Aperture, Status
from tb.unit.tlp import CFGRD, CFGWR, CPL, CPLD, MRD, MWR, Tlp

BAR2_BYTES: Final = 1 << 22
BAR4_BYTES: Final = 1 << 20
APERTURE: Final = 1 << 16
RX_DOORBELLS: Final = (Aperture.RX_SMALL_DOORBELL, Aperture.RX_BIG_DOORBELL)
SC, UR, CRS, CA = 0, 1, 2, 4

Entry = tuple[object, ...]
"""("byte", memory, by PIO, address, value), or an event's name and fields."""


@dataclass
class Read:
    """A read whose completions come."""

    tag: int
    requester: int
    memory: str
    """frame, ring, rx"""
    dest: int
    address: int
    left: int


@dataclass
class Oracle:
    """BARs, forms of the endpoints, outstanding reads."""

    bar2: int
    bar4: int
    enabled: bool = True
    pushed: set[int] = field(default_factory=set)
    fetched: set[int] = field(default_factory=set)
    rx_pushed: set[int] = field(default_factory=set)
    rx_fetched: set[int] = field(default_factory=set)
    reads: dict[int, Read] = field(default_factory=dict)
    headers: int = 0
    """Posted header credits given back; `data`: data credits, 16 bytes each."""
    data: int = 0

    def take(self, tlp: Tlp) -> list[Entry]:
        if tlp.kind in (CPL, CPLD):
            return self._completion(tlp)
        if tlp.kind != MWR:
            return [self._non_posted(tlp)]
        if self._in(tlp, self.bar4, BAR4_BYTES) and tlp.length == 1 and not tlp.poisoned:
            return [("ctl", "write", tlp.address - self.bar4, tlp.first_be, int.from_bytes(tlp.data, "little"))]
        self.headers += 1
        self.data += -(-tlp.length // 4)
        return self._write(tlp)

    def _in(self, tlp: Tlp, base: int, size: int) -> bool:
        return self.enabled and base <= tlp.address < base + size

    def _non_posted(self, tlp: Tlp) -> Entry:
        known = tlp.length == 1 and not tlp.poisoned
        who = tlp.sid, tlp.tag
        if tlp.kind in (CFGRD, CFGWR) and known:
            value = int.from_bytes(tlp.data, "little") if tlp.kind == CFGWR else None
            return "ctl", tlp.kind, *who, tlp.address >> 16, tlp.address & 0xFFC, tlp.first_be, value
        if tlp.kind == MRD and known and self._in(tlp, self.bar4, BAR4_BYTES):
            return "ctl", "read", *who, tlp.address - self.bar4, tlp.first_be
        if tlp.kind == MRD and known and self._in(tlp, self.bar2, BAR2_BYTES):
            return "ctl", "zero", *who
        return "ctl", "bad", *who

    def _write(self, tlp: Tlp) -> list[Entry]:
        first, last = tlp.first_be, tlp.last_be if tlp.length > 1 else tlp.first_be
        lanes = [bool(first >> n & 1) for n in range(4)]
        if tlp.length > 1:
            lanes += [True] * (4 * (tlp.length - 2)) + [bool(last >> n & 1) for n in range(4)]
        on = [n for n, lane in enumerate(lanes) if lane]
        whole = tlp.length == 1 or (first & 8 and last & 1)
        if not self._in(tlp, self.bar2, BAR2_BYTES) or tlp.poisoned or not on or len(on) != on[-1] - on[0] + 1 or not whole:
            return [("dropped",)]
        endpoint, offset = divmod(tlp.address - self.bar2, APERTURE)
        end = offset + 4 * tlp.length
        value = int.from_bytes(tlp.data[:4], "little")
        short = tlp.length == 1 and first & 3 == 3
        if offset == Aperture.SEND_DOORBELL and endpoint in self.fetched and short:
            return [("doorbell", endpoint, 0, value & 0xFFFF)]
        if offset in RX_DOORBELLS and endpoint in self.rx_fetched and short:
            return [("rx_doorbell", endpoint, RX_DOORBELLS.index(offset), value & 0xFFFF)]
        if offset == Aperture.ARM and endpoint in self.pushed | self.fetched and tlp.length == 1 and first == 15:
            return [("arm", endpoint, value >> 16 & 7, value & 0xFFFF)]
        bytes_on = [(offset + n, tlp.data[n]) for n in on]
        if Aperture.SEND_RING <= offset and end <= Aperture.SEND_RING + Aperture.SEND_RING_BYTES and endpoint in self.pushed:
            base = endpoint * Aperture.SEND_RING_BYTES - Aperture.SEND_RING
            slots = {(at - Aperture.SEND_RING) // 16 for at, _ in bytes_on}
            return [*(("byte", "ring", 1, base + at, byte) for at, byte in bytes_on),
                    ("ring_done", endpoint, min(slots), len(slots))]
        for ring in (Aperture.RX_SMALL_RING, Aperture.RX_BIG_RING):
            if ring <= offset and end <= ring + Aperture.RX_SMALL_RING_BYTES and endpoint in self.rx_pushed:
                base = endpoint * 2 * Aperture.RX_SMALL_RING_BYTES - Aperture.RX_SMALL_RING
                return [("byte", "rx", 1, base + at, byte) for at, byte in bytes_on]
        return [("dropped",)]

    def _completion(self, tlp: Tlp) -> list[Entry]:
        read = self.reads.get(tlp.tag)
        if read is None or read.requester != tlp.requester:
            return [("unexpected",)]
        if tlp.status != SC:
            del self.reads[tlp.tag]
            return [("cpl", tlp.tag, 1, Status.READ_UR if tlp.status == UR else Status.READ_CA)]
        if (tlp.byte_count or 4096) != read.left or tlp.lower & 3 != read.address & 3:
            return [("unexpected",)]
        if tlp.kind == CPL:
            del self.reads[tlp.tag]
            return [("cpl", tlp.tag, 1, Status.READ_CA)]
        skip = read.address & 3
        count = min(4 * tlp.length - skip, read.left)
        data = tlp.data[skip : skip + count]
        stored: list[Entry] = []
        if not tlp.poisoned:
            stored = [("byte", read.memory, 0, read.dest + n, byte) for n, byte in enumerate(data)]
        read.dest += count
        read.address += count
        read.left -= count
        if not read.left:
            del self.reads[tlp.tag]
        status = Status.READ_POISONED if tlp.poisoned else Status.OK
        return [*stored, ("cpl", tlp.tag, int(not read.left), status)]
