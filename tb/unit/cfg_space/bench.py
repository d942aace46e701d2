"""The bench around the configuration space: what each bit is, as data, and a port that is compared in every cycle.

Attributes are those of PCI Express 3.0 (7.5 header, 7.7 MSI-X as in PCI 3.0 6.8.2, 7.8 capability) and of SR-IOV 1.1 (3.3).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Final

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from sw.abi.registers import NicControl
from tb.unit.packed import lanes
from tb.unit.streams import PATTERNS, Cycles, PatternDriver, cycle, settle, start

SPACE: Final = 4096
PCIE: Final = 0x5C
MSIX: Final = 0x50
SRIOV: Final = 0x100
ENDPOINTS: Final = 64
BAR2_BYTES: Final = 4 << 20
BAR4_BYTES: Final = 1 << 20
INPUTS: Final = ("write_i", "addr_i", "be_i", "data_i", "bus_i")


@dataclass(frozen=True)
class Limited:
    """A read-write field whose codes above `most` are taken as `most`."""

    lsb: int
    bits: int
    most: int

    def settle(self, value: int) -> int:
        mask = (1 << self.bits) - 1
        code = min(value >> self.lsb & mask, self.most)
        return value & ~(mask << self.lsb) | code << self.lsb


@dataclass(frozen=True)
class Register:
    """A DW: its value after reset, and which bits can be written. All others are read-only, or hardwired to 0."""

    reset: int
    writable: int = 0
    limits: tuple[Limited, ...] = ()


REGISTERS: Final = {
    0x00: Register(0x0008_14C1),  # device, vendor
    0x04: Register(0x0010_0000, 0b110),  # status: capabilities list; command: bus master, memory space
    0x08: Register(0x0200_0000),  # class: Ethernet; revision 0
    0x18: Register(0xC, -BAR2_BYTES & 0xFFFF_FFFF),  # BAR2: 64 bit, prefetchable
    0x1C: Register(0, 0xFFFF_FFFF),
    0x20: Register(0xC, -BAR4_BYTES & 0xFFFF_FFFF),  # BAR4 likewise
    0x24: Register(0, 0xFFFF_FFFF),
    0x2C: Register(0x000A_14C1),  # subsystem
    0x34: Register(PCIE),  # capabilities pointer
    PCIE: Register(0x0002_0010 | MSIX << 8),  # endpoint, version 2
    PCIE + 0x4: Register(1 << 15 | 1),  # role-based error reporting; payload up to 256 bytes
    PCIE + 0x8: Register(2 << 12, 7 << 12 | 7 << 5, (Limited(5, 3, 1), Limited(12, 3, 5))),  # status; MRRS, MPS
    PCIE + 0xC: Register(8 << 4 | 1),  # x8, 2.5 GT/s
    PCIE + 0x10: Register((8 << 4 | 1) << 16),  # link status: as negotiated
    MSIX: Register((ENDPOINTS - 1) << 16 | 0x11, 3 << 30),  # enable, function mask; table size; last in the list
    MSIX + 0x4: Register(NicControl.MSIX_BASE | 4),  # table in BAR4
    MSIX + 0x8: Register(NicControl.PBA_LO | 4),  # pending bits in BAR4
    SRIOV: Register(1 << 16 | 0x0010),  # version 1, last in the list
    SRIOV + 0x8: Register(0, 1),  # control: VF enable
    SRIOV + 0xC: Register(ENDPOINTS << 16 | ENDPOINTS),  # TotalVFs, InitialVFs
    SRIOV + 0x10: Register(0, 0xFFFF),  # NumVFs
    SRIOV + 0x14: Register(1 << 16 | 1),  # VF stride, first VF offset
    SRIOV + 0x18: Register(0x0008 << 16),  # VF device ID
    SRIOV + 0x1C: Register(1),  # supported page sizes: 4 KiB
    SRIOV + 0x20: Register(1),  # system page size
}
"""Everything else reads as 0."""


@dataclass(frozen=True)
class Write:
    address: int
    data: int
    be: int = 15
    bus: int = 1


@dataclass
class Space:
    """What software must see."""

    values: dict[int, int] = field(default_factory=lambda: {at: register.reset for at, register in REGISTERS.items()})
    bus: int = 0

    def read(self, address: int) -> int:
        return self.values.get(address, 0)

    def write(self, access: Write) -> None:
        self.bus = access.bus  # captured by every configuration write (2.2.6.2)
        register = REGISTERS.get(access.address)
        if register is None:
            return
        mask = register.writable & lanes(access.be)
        value = self.values[access.address] & ~mask | access.data & mask
        for limit in register.limits:
            value = limit.settle(value)
        self.values[access.address] = value

    @property
    def outputs(self) -> dict[str, int]:
        """What the other blocks are told."""
        command, control, msix = self.read(0x04), self.read(PCIE + 0x8), self.read(MSIX)
        return {
            "bar2": (self.read(0x1C) << 32 | self.read(0x18)) // BAR2_BYTES, "bar4": (self.read(0x24) << 32 | self.read(0x20)) // BAR4_BYTES,
            "mem_enable": command >> 1 & 1, "bus_master": command >> 2 & 1, "mrrs": control >> 12 & 7,
            "mps_256": int(control >> 5 & 7 == 1), "bus": self.bus, "msix_enable": msix >> 31, "msix_mask": msix >> 30 & 1,
            "vf_enable": int(self.read(SRIOV + 0x8) & 1 and self.read(SRIOV + 0x10) == ENDPOINTS),
        }


class Port(PatternDriver):
    """Writes, one after another; between them the port shows another address in each cycle, with data that mean nothing."""

    def __init__(self, dut: Any, rng: random.Random, pattern: Cycles) -> None:
        self._signals = {"valid": "write_i", "address": "addr_i", "be": "be_i", "data": "data_i", "bus_number": "bus_i"}
        self._random = rng
        self.done = 0
        super().__init__(dut, "", pattern)

    def queue(self, access: Write) -> None:
        self._queued += 1
        self.append(access)

    @property
    def idle(self) -> bool:
        return self.done == self._queued

    async def _driver_send(self, transaction: Write, sync: bool = True, **_: Any) -> None:
        await self._idle_cycles(sync=sync)
        self.bus.valid.value = 1
        self.bus.address.value, self.bus.be.value = transaction.address, transaction.be
        self.bus.data.value, self.bus.bus_number.value = transaction.data, transaction.bus
        await FallingEdge(self.clock)
        self.bus.valid.value = 0
        rng = self._random
        self.bus.address.value, self.bus.be.value = rng.choice((transaction.address, 4 * rng.randrange(SPACE // 4))), rng.randrange(16)
        self.bus.data.value, self.bus.bus_number.value = rng.getrandbits(32), rng.getrandbits(8)
        self.done += 1


@dataclass
class TB:
    dut: Any
    random: random.Random
    idle: str = "always"
    space: Space = field(default_factory=Space)

    async def start(self) -> None:
        await start(self.dut, INPUTS)
        self.port = Port(self.dut, self.random, PATTERNS[self.idle](self.random))
        cocotb.start_soon(self._watch())

    async def finish(self) -> None:
        await settle(self.dut, lambda: self.port.idle, "every write is made")
        await FallingEdge(self.dut.clk_i)

    async def read(self, address: int) -> int:
        """The DW there, once all writes are made."""
        await self.finish()
        self.dut.addr_i.value = address
        await ReadOnly()
        value = int(self.dut.data_o.value)
        await FallingEdge(self.dut.clk_i)
        return value

    async def _watch(self) -> None:
        dut = self.dut
        while True:
            await FallingEdge(dut.clk_i)
            await ReadOnly()
            address = int(dut.addr_i.value)
            found, expected = int(dut.data_o.value), self.space.read(address)
            assert found == expected, f"cycle {cycle()}: {address:#05x} is {found:#010x}, not {expected:#010x}"
            for name, value in self.space.outputs.items():
                told = int(getattr(dut, f"{name}_o").value)
                assert told == value, f"cycle {cycle()}: {name}_o is {told:#x}, not {value:#x}"
            if int(dut.rst_i.value):
                self.space = Space()
            elif int(dut.write_i.value):
                self.space.write(Write(address, int(dut.data_i.value), int(dut.be_i.value), int(dut.bus_i.value)))
