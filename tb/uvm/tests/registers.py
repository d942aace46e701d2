"""The usual tests of registers, on the machine as it comes out of reset: values, access policies, holes, both doors."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import cocotb
import pyuvm
from pyuvm import ConfigDB, uvm_test

from hypervisor_model.pci import PciBus
from sw.abi.registers import Aperture, NicControl
from tb.cosim.platform import HostConfig, RtlPlatform
from tb.uvm.backdoor import IommuDoor, NicDoor
from tb.uvm.generated.registers import IOMMU, NIC_CONTROL
from tb.uvm.mmio_agent import MmioAgent
from tb.uvm.observed import ObservedPlatform
from tb.uvm.reference import APERTURE_BAR, CONTROL_BAR
from tb.uvm.register_model import ModelBlock, ModelRegister

ELEMENTS: Final = (0, 1, 63)
PATTERNS: Final = (0xFFFF_FFFF, 0, 0x5555_5555, 0xAAAA_AAAA, *(1 << n for n in range(0, 32, 5)))
CLAMPED: Final = {
    "send_log2": (4, 10), "cq_log2": (4, 10), "small_log2": (4, 9), "big_log2": (4, 9), "buffer_log2": (11, 12), "rq_log2": (4, 10),
}
"""Sizes outside these are taken as the nearest allowed one."""
ACTING: Final = frozenset({"CTRL", "FENCE", "GCMD", "IQT_LO"})
"""A write starts something: the device, a fence, a command, an invalidation."""


@pyuvm.test()
class RegisterTest(uvm_test):
    """NIC control, its tables, the apertures and the IOMMU. `MYR_JOB`: `folder` takes the results."""

    def build_phase(self) -> None:
        """A machine and somebody who accesses it."""
        self.job: dict[str, Any] = json.loads(os.environ["MYR_JOB"])
        self.platform = ObservedPlatform(RtlPlatform(cocotb.top, HostConfig(seed=self.job["seed"])))
        ConfigDB().set(None, "*", "platform", self.platform)
        self.mmio = MmioAgent("mmio", self)
        self.wrong: list[str] = []
        self.checks: dict[str, int] = {}

    async def run_phase(self) -> None:
        """All tests, one after the other: the first ones need the values of reset."""
        self.raise_objection()
        machine = self.platform.machine
        device = await PciBus(self.platform, machine.nic_bus << 8).enumerate(max_payload=128, max_read=512)
        self.control, self.apertures = device.bars[CONTROL_BAR][0], device.bars[APERTURE_BAR][0]
        nic = ModelBlock(NIC_CONTROL, self.control, self.mmio.sequencer, elements=ELEMENTS, back_door=NicDoor())
        iommu = ModelBlock(IOMMU, machine.iommu, self.mmio.sequencer, elements=range(8), back_door=IommuDoor())
        for block in (nic, iommu):
            await self.reset_values(block)
        for block in (nic, iommu):
            await self.access_policies(block)
            await self.through_the_back_door(block)
            await self.holes(block)
        await self.aperture_holes()
        self.drop_objection()

    def check(self, what: str, register: str, got: int, wanted: int, mask: int = 0xFFFF_FFFF) -> None:
        """One comparison."""
        self.checks[what] = self.checks.get(what, 0) + 1
        if (got ^ wanted) & mask:
            self.wrong.append(f"{what}: {register} is {got:#010x} instead of {wanted:#010x} (mask {mask:#010x})")

    async def both_doors(self, register: ModelRegister) -> int:
        """Its value at the front door; the back door must say the same of what hardware leaves alone."""
        _, value = await register.read()
        behind = register.look()
        if behind is not None:
            self.check("doors", register.get_full_name(), value, behind, register.mask("RO", "RW", "W1C", volatile=False))
        return int(value)

    async def reset_values(self, block: ModelBlock) -> None:
        """Before anything is written."""
        for register in block.registers:
            if register.mask("RO", "RW", "W1C"):
                value, known = register.reset_value()
                if register.table.name == "ENDPOINT_CTRL":
                    known = NicControl.ENDPOINT_CTRL_ENABLE_M
                self.check("reset", register.get_full_name(), await self.both_doors(register), value, known)

    async def access_policies(self, block: ModelBlock) -> None:
        """Every writable bit takes both values, no other bit changes, and every register is left as it was."""
        for register in block.registers:
            if register.table.name in ACTING:
                continue
            writable = register.mask("RW")
            steady = register.mask("RO", volatile=False) | self.unused(register)
            before = await self.both_doors(register) if register.mask("RO", "RW", "W1C") else 0
            for pattern in PATTERNS:
                written = pattern
                if register.table.name == "ENDPOINT_CTRL":
                    # enabled it would run
                    written &= ~NicControl.ENDPOINT_CTRL_ENABLE_M
                await register.write(written)
                value = await self.both_doors(register)
                self.check("writable bits", register.get_full_name(), value, self.clamped(register, written), writable)
                self.check("other bits", register.get_full_name(), value, before, steady)
                if register.mask("W1C"):
                    self.check("cleared bits", register.get_full_name(), value, 0, register.mask("W1C"))
            if writable:
                await register.write(before)

    async def through_the_back_door(self, block: ModelBlock) -> None:
        """What is stored behind the bus is what is read; a write clears ones, and changes nothing that is read only."""
        for register in block.registers:
            readable = register.stored("RO", "RW", "W1C")
            before = register.look()
            if not readable or before is None or register.table.name in ACTING:
                continue
            name = register.get_full_name()
            for pattern in PATTERNS:
                register.store(pattern)
                self.check("stored bits", name, await self.both_doors(register), pattern, readable)
            if kept := register.stored("RO"):
                register.store(0xFFFF_FFFF)
                await register.write(0)
                self.check("kept bits", name, await self.both_doors(register), kept, kept)
            if clearing := register.stored("W1C"):
                for pattern in PATTERNS:
                    register.store(0xFFFF_FFFF)
                    await register.write(pattern)
                    self.check("cleared bits", name, await self.both_doors(register), ~pattern, clearing)
            register.store(before)

    @staticmethod
    def unused(register: ModelRegister) -> int:
        """Bits that no field has."""
        return ~register.mask("RO", "RW", "WO", "W1C") & 0xFFFF_FFFF

    @staticmethod
    def clamped(register: ModelRegister, value: int) -> int:
        """What is stored of a written value."""
        for field in register.table.fields:
            if field.name in CLAMPED and register.table.name.startswith("ENDPOINT_"):
                low, high = CLAMPED[field.name]
                mask = (1 << field.bits) - 1
                size = min(max(value >> field.lsb & mask, low), high)
                value = value & ~(mask << field.lsb) | size << field.lsb
        return value

    async def holes(self, block: ModelBlock) -> None:
        """Where there is no register: zero, and a write changes nothing that stands beside it."""
        before = {register.offset: register.look() for register in block.registers}
        volatile = {register.offset for register in block.registers if register.mask("RO", volatile=False) != register.mask("RO")}
        for offset in block.holes():
            name = f"{block.table.name}+{offset:#x}"
            self.platform.mmio_write(block.base + offset, b"\xff\xff\xff\xff")
            self.check("holes", name, int.from_bytes(await self.platform.mmio_read(block.base + offset, 4), "little"), 0)
        for register in block.registers:
            was = before[register.offset]
            if register.offset not in volatile and was is not None:
                self.check("beside holes", register.get_full_name(), register.look() or 0, was)

    async def dropped(self) -> int:
        """MMIO_DROPPED."""
        return int.from_bytes(await self.platform.mmio_read(self.control + NicControl.MMIO_DROPPED, 4), "little")

    async def aperture_holes(self) -> None:
        """Apertures read as zero; every write to one whose endpoint is off, and every one between registers, is counted."""
        offsets = [*range(0, 0x40, 4), Aperture.SEND_RING - 4, Aperture.SEND_RING, Aperture.RX_SMALL_RING, Aperture.RX_BIG_RING,
                   Aperture.BYTES, 0xFFFC]
        for number in ELEMENTS:
            base = self.apertures + number * 0x10000
            for offset in offsets:
                had = await self.dropped()
                self.platform.mmio_write(base + offset, b"\1\0\0\0")
                name = f"aperture {number}+{offset:#x}"
                self.check("apertures", name, int.from_bytes(await self.platform.mmio_read(base + offset, 4), "little"), 0)
                self.check("dropped writes", name, await self.dropped(), had + 1)
        had = await self.dropped()
        self.platform.mmio_write(self.control + NicControl.MAC_HI, b"\1\2\3\4\5\6\7\x08")
        self.check("dropped writes", "two control registers at once", await self.dropped(), had + 1)

    def check_phase(self) -> None:
        """Write `uvm.json`; fail with all that is wrong."""
        results = {"signature": self.wrong[0].split(":")[0] if self.wrong else None, "failures": self.wrong, "compared": self.checks}
        (Path(self.job.get("folder", ".")) / "uvm.json").write_text(json.dumps(results, indent=1))
        self.logger.info(f"compared {self.checks}")
        if self.wrong:
            raise AssertionError("\n".join(["", *self.wrong[:40]]))
