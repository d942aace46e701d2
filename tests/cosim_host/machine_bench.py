"""The RTL platform with the real NIC and IOMMU, as software sees it."""

from __future__ import annotations

import cocotb
import numpy as np
from cocotb.handle import SimHandleBase

from sw.abi.registers import Iommu
from sw.platform import CYCLE_NS
from tb.cosim.platform import HostConfig, RtlPlatform

ALL_ONES = b"\xff" * 4


@cocotb.test
async def software_view(dut: SimHandleBase) -> None:
    """Sleep is exact, monitors end by match or time, unclaimed reads are all ones, bad accesses are refused."""
    platform = RtlPlatform(dut, HostConfig(seed=3))
    machine = platform.machine

    await platform.sleep(1000)
    start = platform.now()
    await platform.sleep(36)
    assert platform.now() - start == 36
    await platform.sleep(37)
    assert platform.now() - start == 36 + 40, "rounded up to whole cycles"

    platform.memory.write(0x1000, b"\x12\x34")
    start = platform.now()
    assert await platform.monitor(0x1000, b"\x02\x30", b"\x0f\xf0", 400)
    assert platform.now() == start
    assert not await platform.monitor(0x1000, b"\x03\x30", b"\x0f\xf0", 400)
    assert platform.now() - start == 400

    assert await platform.mmio_read(machine.ecam + (1 << 20), 4) != ALL_ONES
    assert await platform.mmio_read(machine.ecam + (1 << 20) + (0xFF << 12), 4) == ALL_ONES
    assert await platform.mmio_read(machine.ecam + (7 << 20), 4) == ALL_ONES
    assert await platform.mmio_read(0xF000_0000, 4) == ALL_ONES
    assert await platform.mmio_read(machine.iommu + Iommu.VER, 4) not in (ALL_ONES, bytes(4))

    view = platform.memory.view(0x2000, 4)
    platform.memory.write(0x2001, b"\x55")
    assert view[1] == 0x55 and np.frombuffer(view, "u1")[1] == 0x55

    top = machine.ram_bytes
    for what, refused in (
        (IndexError, lambda: platform.memory.read(top - 1, 2)),
        (IndexError, lambda: platform.memory.write(-1, b"x")),
        (IndexError, lambda: platform.memory.view(top, 1)),
        (ValueError, lambda: platform.mmio_write(machine.pci_window, b"")),
        (ValueError, lambda: platform.mmio_write(machine.pci_window, bytes(65))),
        (ValueError, lambda: platform.mmio_write(machine.pci_window + 0xFFE, bytes(4))),
        (ValueError, lambda: platform.mmio_write(machine.ecam + 2, bytes(4))),
        (ValueError, lambda: platform.mmio_write(machine.iommu + 4, bytes(8))),
        (MemoryError, lambda: RtlPlatform(dut, HostConfig())),
    ):
        try:
            refused()
        except what as error:
            assert str(error)
        else:
            raise AssertionError(f"{what.__name__} expected")
    assert platform.wire_frames() == [] and len(platform.trace()) == 0
    assert platform.cycle() * CYCLE_NS == platform.now()
