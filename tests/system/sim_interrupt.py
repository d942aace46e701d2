"""Runs in the simulator: a send completion interrupts, through the whole machine."""

from __future__ import annotations

import struct

import cocotb
import numpy as np
from cocotb.handle import SimHandleBase

from hypervisor_model.pci import PciBus
from sw.abi.registers import Aperture, Completion, Form, Mode, NicControl, SendDescriptor, TraceKind
from tb.cosim.platform import HostConfig, RtlPlatform

ENDPOINT = 37
CQ = 0x10_0000
MSIX_CAPABILITY = 0x50
ADDRESS = 0xFEE0_3000
DATA = 0x51
FRAME = bytes(range(60))
_HEAD = SendDescriptor.CONTROL_NO_TSO_M | SendDescriptor.CONTROL_FIRST_M | SendDescriptor.CONTROL_INLINE_M
_SLOTS = 5
WAIT_NS = 20_000
OFFERED_TO_LEFT = 2
"""Two beats: a header of three DWs and the data. Cycles from a write of one DW on offer to its last beat, with nothing else to send and no stall."""
POST_TO_OFFERED = 4


@cocotb.test
async def completion_then_interrupt(dut: SimHandleBase) -> None:
    """Native and own function: masked it stays pending, else it follows its entry; seen entries do not interrupt."""
    platform = RtlPlatform(dut, HostConfig(seed=1))
    got: list[tuple[int, int]] = []
    entries: list[int] = []

    def handler(address: int, data: int) -> None:
        got.append((address, data))
        entries.append(int.from_bytes(platform.memory.read(CQ + 16 * entries_written + 12, 4), "big"))

    entries_written = 0
    platform.on_interrupt(handler)
    try:
        platform.on_interrupt(handler)
    except RuntimeError as error:
        assert "handler" in str(error)
    else:
        raise AssertionError("a second handler was taken")
    machine = platform.machine
    config = machine.ecam + (machine.nic_bus << 20)
    device = await PciBus(platform, machine.nic_bus << 8).enumerate(max_payload=128, max_read=512)
    aperture = device.bars[2][0] + ENDPOINT * 0x1_0000
    control = device.bars[4][0]

    capability = await platform.mmio_read(config + MSIX_CAPABILITY, 4)
    assert int.from_bytes(capability, "little") == 0x003F_0011
    assert await platform.mmio_read(config + MSIX_CAPABILITY + 4, 4) == (0x7004).to_bytes(4, "little")
    assert await platform.mmio_read(config + MSIX_CAPABILITY + 8, 4) == (0x7404).to_bytes(4, "little")
    platform.mmio_write(config + MSIX_CAPABILITY + 2, b"\xff\xff")
    assert await platform.mmio_read(config + MSIX_CAPABILITY, 4) == b"\x11\x00\x3f\xc0"

    def write(register: int, value: int) -> None:
        platform.mmio_write(control + register, value.to_bytes(4, "little"))

    async def read(register: int) -> int:
        return int.from_bytes(await platform.mmio_read(control + register, 4), "little")

    def arm(index: int, queue: int = 0) -> None:
        platform.mmio_write(aperture + Aperture.ARM, (queue << 16 | index).to_bytes(4, "little"))

    async def send(slot: int) -> None:
        base = aperture + Aperture.SEND_RING + slot * 16
        platform.mmio_write(base + 16, FRAME + bytes(4))
        platform.mmio_write(base, struct.pack(">QII", 0, len(FRAME), _HEAD | _SLOTS << SendDescriptor.CONTROL_RDMA_COUNT_S))
        phase = Completion.STATUS_PHASE_M.to_bytes(4, "big")
        assert await platform.monitor(CQ + 16 * entries_written + 12, phase, phase, WAIT_NS), "no completion"

    vector = ENDPOINT * NicControl.MSIX_STRIDE
    for mode in (Mode.NATIVE, Mode.IOMMU):
        platform.memory.write(CQ, bytes(4096))
        entries_written = 0
        write(NicControl.CTRL, 1)
        ep = ENDPOINT * NicControl.ENDPOINT_STRIDE
        write(ep + NicControl.ENDPOINT_CQ_BASE_LO, CQ)
        write(ep + NicControl.ENDPOINT_CTRL, 1 | Form.PUSHED << NicControl.ENDPOINT_CTRL_FORM_S
              | mode << NicControl.ENDPOINT_CTRL_MODE_S | 6 << NicControl.ENDPOINT_CTRL_SEND_LOG2_S
              | 6 << NicControl.ENDPOINT_CTRL_CQ_LOG2_S)
        write(NicControl.MSIX_ADDRESS_LO + vector, ADDRESS)
        write(NicControl.MSIX_DATA + vector, DATA)
        write(NicControl.MSIX_CONTROL + vector, 1)
        platform.mmio_write(config + MSIX_CAPABILITY + 2, b"\x00\x80")
        await platform.sleep(WAIT_NS)  # its ring is being cleared
        assert not await read(NicControl.ENDPOINT_STATUS + ep) & NicControl.ENDPOINT_STATUS_BUSY_M
        platform.trace()
        before = await read(NicControl.INTERRUPTS)
        got.clear()
        entries.clear()

        # masked: pending, then sent
        arm(0)
        await send(0)
        await platform.sleep(WAIT_NS)
        assert got == [] and await read(NicControl.PBA_HI) == 1 << (ENDPOINT - 32)
        write(NicControl.MSIX_CONTROL + vector, 0)
        await platform.sleep(WAIT_NS)
        assert got == [(ADDRESS, DATA)] and await read(NicControl.PBA_HI) == 0

        # polled, then armed with what was there already, then armed with nothing new
        entries_written = 1
        await send(_SLOTS)
        await platform.sleep(WAIT_NS)
        assert len(got) == 1
        arm(1)
        await platform.sleep(WAIT_NS)
        assert len(got) == 2
        arm(2)
        await platform.sleep(WAIT_NS)
        assert len(got) == 2
        platform.trace()
        entries_written = 2
        await send(2 * _SLOTS)
        await platform.sleep(WAIT_NS)
        assert got == [(ADDRESS, DATA)] * 3 and await read(NicControl.INTERRUPTS) == before + 3
        assert entries[-1] & Completion.STATUS_PHASE_M, "the entry was not there when its interrupt came"

        trace = platform.trace()
        rows = {TraceKind(k): trace[trace["kind"] == k] for k in np.unique(trace["kind"])}
        for kind in (TraceKind.CPL_OUT, TraceKind.CPL_VISIBLE, TraceKind.IRQ_OUT, TraceKind.IRQ_VISIBLE):
            assert len(rows[kind]) == 1, kind
        out, visible = rows[TraceKind.IRQ_OUT][0], rows[TraceKind.IRQ_VISIBLE][0]
        assert out["endpoint"] == ENDPOINT and out["index"] == (2 if mode == Mode.NATIVE else 5)
        assert visible["endpoint"] == (0 if mode == Mode.NATIVE else ENDPOINT + 1) and visible["info"] == DATA
        assert rows[TraceKind.CPL_VISIBLE][0]["cycle"] < visible["cycle"]
        latency = int(out["cycle"] - rows[TraceKind.CPL_OUT][0]["cycle"])
        assert latency == POST_TO_OFFERED + OFFERED_TO_LEFT, latency
        write(ep + NicControl.ENDPOINT_CTRL, 0)
        await platform.sleep(WAIT_NS)
