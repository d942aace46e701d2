"""What the privileged BAR's registers must hold: policies from the register source's generated table, endpoints by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from sw.abi.registers import Form, Mode, NicControl, Status
from tb.unit.packed import Packed, lanes
from tb.uvm.generated.registers import NIC_CONTROL
from tb.uvm.register_table import Array, Register

SIZE: Final = NIC_CONTROL.size
TABLES: Final = {"PORT": (0, 0x400), "GROUP": (1, 0x200), "IRQ": (2, 0x100), "MSIX": (3, 0x408), "RSS": (4, 0x2000),
                 "STATISTICS": (5, 0x800), "WINDOW": (6, 0x40000)}
"""Of each table that the bench stands for: its number, and bytes; the pending bits are in that of the vectors."""
ARRAYS: Final[dict[str, Array]] = {array.name: array for array in NIC_CONTROL.arrays}
PLAIN: Final[dict[int, Register]] = {register.address: register for register in NIC_CONTROL.registers
                                     if not ARRAYS["MSIX"].base <= register.address < ARRAYS["MSIX"].base + TABLES["MSIX"][1]}
RX_CTRL: Final = Packed("enable:1 form:1 mode:3 rss:1 queues:2 small_log2:4 big_log2:4 buffer_log2:4 rq_log2:4 small_max:14 max_frame:14")
ENDPOINT: Final = ARRAYS["ENDPOINT"]
WRITABLE: Final = [register for register in ENDPOINT.registers if any(part.policy == "RW" for part in register.fields)]
LIMITS: Final = {
    ("ENDPOINT_CTRL", "send_log2"): (4, 10), ("ENDPOINT_CTRL", "cq_log2"): (4, 10), ("ENDPOINT_RX_CTRL", "small_log2"): (4, 9),
    ("ENDPOINT_RX_CTRL", "big_log2"): (4, 9), ("ENDPOINT_RX_CTRL", "buffer_log2"): (11, 12), ("ENDPOINT_RX_CTRL", "rq_log2"): (4, 10),
}
"""Sizes outside these are taken as the nearest allowed one: rings of 16 to 1024 entries, receive rings to 512, 2 or 4 KiB."""
PRODUCER: Final = 0x2A1 << 6
CONSUMER: Final = 0x0F3 << 6
CQ_INDEX: Final = 0x1C7 << 6
RX_SMALL: Final = 0x0AA << 6
RX_BIG: Final = 0x155 << 6
"""What the bench's rings tell, each with the endpoint in its low bits."""


def table_at(address: int) -> tuple[str, int] | None:
    """Table and offset in it; None: none of those that the bench stands for."""
    for name, (_, size) in TABLES.items():
        base = ARRAYS[name].base
        if base <= address < base + size:
            return name, address - base
    return None


@dataclass
class Endpoint:
    """One endpoint's set-up and state."""

    number: int
    words: dict[int, int] = field(default_factory=dict)
    """By offset, as they read back."""
    halted: bool = False
    stale: bool = False
    error: int = Status.OK
    flight: int = 0

    def field(self, register: str, name: str) -> int:
        entry = next(r for r in ENDPOINT.registers if r.name == register)
        part = next(f for f in entry.fields if f.name == name)
        return self.words.get(entry.address - ENDPOINT.base, 0) >> part.lsb & (1 << part.bits) - 1

    def base(self, register: str) -> int:
        """64-bit address."""
        return self.field(f"{register}_HI", "hi") << 32 | self.field(f"{register}_LO", "lo")

    @property
    def known(self) -> bool:
        """All of its set-up has been written: no reset clears it."""
        return all(register.address - ENDPOINT.base in self.words for register in WRITABLE)

    @property
    def enabled(self) -> bool:
        return bool(self.field("ENDPOINT_CTRL", "enable"))

    @property
    def receives(self) -> bool:
        """A ring that the guest could write is not one that the hypervisor has validated."""
        validated = self.field("ENDPOINT_CTRL", "mode") == Mode.VALIDATED
        pushed = self.field("ENDPOINT_RX_CTRL", "form") == Form.PUSHED
        return self.enabled and bool(self.field("ENDPOINT_RX_CTRL", "enable")) and not (validated and pushed)

    @property
    def ctrl(self) -> dict[str, int]:
        return {name: self.field("ENDPOINT_CTRL", name) for name in ("enable", "form", "mode", "send_log2", "cq_log2")}

    @property
    def rx_ctrl(self) -> dict[str, int]:
        names = ("form", "rss", "queues", "small_log2", "big_log2", "buffer_log2", "rq_log2")
        return {**{name: self.field("ENDPOINT_RX_CTRL", name) for name in names}, "enable": int(self.receives),
                "mode": self.field("ENDPOINT_CTRL", "mode"), "small_max": self.field("ENDPOINT_RX_SIZES", "small"),
                "max_frame": self.field("ENDPOINT_RX_SIZES", "max_frame")}

    def ring(self, *, big: bool) -> dict[str, int]:
        """A receive ring's set-up, in the fields of a send ring's."""
        return {**self.ctrl, "form": self.field("ENDPOINT_RX_CTRL", "form"),
                "send_log2": self.field("ENDPOINT_RX_CTRL", "big_log2" if big else "small_log2")}

    def start(self) -> None:
        self.halted = self.stale = False
        self.error = Status.OK

    def read(self, offset: int) -> int:
        at = ENDPOINT.base + offset
        told = {NicControl.ENDPOINT_STATUS: int(self.enabled) | self.halted << 1 | (self.flight > 0) << 2 | self.error << 8,
                NicControl.ENDPOINT_INDEX: (CONSUMER | self.number) << 16 | PRODUCER | self.number,
                NicControl.ENDPOINT_CQ_INDEX: CQ_INDEX | self.number,
                NicControl.ENDPOINT_RX_INDEX: (RX_BIG | self.number) << 16 | RX_SMALL | self.number}
        return told.get(at, self.words.get(offset, 0))

    def write(self, offset: int, data: int) -> bool:
        """A write of all four bytes; True: it enables the endpoint."""
        register = next((r for r in ENDPOINT.registers if r.address - ENDPOINT.base == offset), None)
        if register is None:
            return False
        value = 0
        for part in register.fields:
            if part.policy == "RW":
                code = data >> part.lsb & (1 << part.bits) - 1
                low, high = LIMITS.get((register.name, part.name), (0, code))
                value |= min(max(code, low), high) << part.lsb
        before = self.enabled
        if register.name == "ENDPOINT_CTRL":
            validated = value & NicControl.ENDPOINT_CTRL_MODE_M == Mode.VALIDATED << NicControl.ENDPOINT_CTRL_MODE_S
            if validated and not value & NicControl.ENDPOINT_CTRL_FORM_M:
                value &= ~NicControl.ENDPOINT_CTRL_ENABLE_M
        self.words[offset] = value
        return self.enabled and not before


@dataclass
class Map:
    """All of the BAR."""

    values: dict[int, int] = field(default_factory=lambda: {
        address: sum((part.reset or 0) << part.lsb for part in register.fields) for address, register in PLAIN.items()})
    endpoints: list[Endpoint] = field(default_factory=lambda: [Endpoint(n) for n in range(ENDPOINT.count)])
    writes: list[tuple[int, int, int]] = field(default_factory=list)
    """(table, offset, data) of each write that a table must get."""
    starts: list[int] = field(default_factory=list)
    """Endpoints that are enabled, in order."""

    def read(self, address: int) -> int:
        if ENDPOINT.base <= address < ENDPOINT.base + ENDPOINT.count * ENDPOINT.stride:
            number, offset = divmod(address - ENDPOINT.base, ENDPOINT.stride)
            return self.endpoints[number].read(offset)
        if table := table_at(address):
            return 1 << 25 + TABLES[table[0]][0] | table[1]
        return self.values.get(address, 0)

    def write(self, address: int, data: int, be: int) -> None:
        if not be:
            return  # a write of no byte has no effect (PCIe 3.0, 2.2.5)
        if ENDPOINT.base <= address < ENDPOINT.base + ENDPOINT.count * ENDPOINT.stride:
            number, offset = divmod(address - ENDPOINT.base, ENDPOINT.stride)
            if self.endpoints[number].write(offset, data):
                self.starts.append(number)
                self.endpoints[number].start()
        elif table := table_at(address):
            self.writes.append((TABLES[table[0]][0], table[1], data))
        elif register := PLAIN.get(address):
            self._write_plain(register, data, lanes(be))

    def _write_plain(self, register: Register, data: int, enabled: int) -> None:
        value = self.values[register.address]
        for part in register.fields:
            mask = ((1 << part.bits) - 1 << part.lsb) & enabled
            if part.policy == "RW":
                value = value & ~mask | data & mask
            elif part.policy == "W1C":
                value &= ~(data & mask)
        self.values[register.address] = value
