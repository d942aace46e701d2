"""A machine that stands still most of the time, and everything in it that happens at a time of its own."""

from __future__ import annotations

import json
import os
from typing import Final

import cocotb
from cocotb.handle import SimHandleBase

from hypervisor_model.hypervisor import Hypervisor
from sw.abi.registers import NicControl, Status
from sw.guest.receive import ReceiveConfig
from sw.guest.virtual_nic import SendForm, VirtualNic
from sw.platform import PAGE_SHIFT
from tb.cosim.platform import HostConfig, ReadError, RtlPlatform
from tb.ethernet import on_line
from tb.uvm.backdoor import NicDoor

MODERATION_NS: Final = 300_000
TIMEOUT_CYCLES: Final = 60_000
WAIT_NS: Final = 4_000_000
LONG_NS: Final = 2_000_000
SETTLE_NS: Final = 10_000


@cocotb.test
async def what_waits(dut: SimHandleBase) -> None:
    """A moderated interrupt, a read that times out, a register changed behind the bus, a frame announced for later."""
    job = json.loads(os.environ["MYR_JOB"])
    platform = RtlPlatform(dut, HostConfig(seed=5, **job))
    hypervisor = Hypervisor(platform)
    await hypervisor.boot()
    hypervisor.endpoints.write(NicControl.READ_TIMEOUT, TIMEOUT_CYCLES)
    domain = hypervisor.create_domain("guest", 512)
    nic = VirtualNic(domain, SendForm.PUSHED, 64, receive=ReceiveConfig(entries=16))
    await nic.open()
    await nic.set_moderation(MODERATION_NS)
    frame = on_line(nic.mac + bytes(6) + b"\x88\xb5" + bytes(46))

    # the NIC fetches its buffers meanwhile
    await platform.sleep(SETTLE_NS)
    platform.wire_send(frame)
    before = platform.now()
    assert len(await nic.receive(WAIT_NS)) == 1
    assert platform.now() - before > MODERATION_NS, "the interrupt was moderated"

    data = b"\2" * 12 + b"\x88\xb5" + bytes(186)
    placed = nic.buffers.place(data)
    assert placed is not None
    page = domain.p2m.frame(placed[0][0][0] >> PAGE_SHIFT)
    assert page is not None
    platform.inject_read_error(page << PAGE_SHIFT, ReadError.DROPPED)
    nic.xmit(*placed)
    await nic.drain(WAIT_NS)
    assert nic.completions[Status.READ_TIMEOUT] == 1

    await platform.sleep(LONG_NS)
    platform.wire_send(frame, not_before_ns=platform.now() + LONG_NS)
    assert len(await nic.receive(WAIT_NS)) == 1
    platform.trace()
    await platform.sleep(LONG_NS)
    share = platform.skipped() / platform.cycle()
    assert share > 0.5 if job["skip"] else share == 0, share

    control, _ = hypervisor.device.bars[4]
    NicDoor().store(NicControl.MAC_LO, 0x1234)
    await platform.sleep(SETTLE_NS)
    assert await platform.mmio_read(control + NicControl.MAC_LO, 4) == (0x1234).to_bytes(4, "little")
