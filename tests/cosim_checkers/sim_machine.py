"""Runs in the simulator: one guest sends and receives a few frames, with what the environment says of the checkers."""

from __future__ import annotations

import json
import os
from typing import Final

import cocotb
from cocotb.handle import SimHandleBase
from cocotb.triggers import gather

from hypervisor_model.hypervisor import MAX_PAYLOAD, Hypervisor
from sw.guest.virtual_nic import ReceiveConfig, SendForm, VirtualNic
from tb.cosim.platform import HostConfig, RtlPlatform
from tb.ethernet import on_line
from tb.sim.scenario import replay

JOB: Final = "MYR_JOB"
"""Environment: HostConfig's fields."""
PEER: Final = bytes.fromhex("020000000001")
LIMIT_NS: Final = 1_000_000
READY_NS: Final = 5_000
"""After open: the NIC fetches the first buffers."""
QUIET_NS: Final = 8_000
"""Longer than the checkers wait for credits to come back."""


@cocotb.test
async def run(dut: SimHandleBase) -> None:
    platform = RtlPlatform(dut, HostConfig(peer_pause=True, **json.loads(os.environ[JOB])))
    # the software's choice, whatever the root complex does
    hypervisor = Hypervisor(platform, max_payload=MAX_PAYLOAD)
    await hypervisor.boot()
    domain = hypervisor.create_domain("guest", 1536)
    nic = VirtualNic(domain, SendForm.FETCHED, 64, buffer_pages=16, receive=ReceiveConfig())
    await nic.open()
    await platform.sleep(READY_NS)
    frames = [(PEER + nic.mac + b"\x88\xb5").ljust(size, b"\x5a") for size in (60, 300, 1514)]
    for frame in frames:
        platform.wire_send(on_line(nic.mac + frame[:6] + frame[12:]))
    received = 0

    async def receive() -> None:
        nonlocal received
        while received < len(frames):
            found = await nic.receive(LIMIT_NS)
            if not found:
                raise TimeoutError(f"{received} of {len(frames)} frames came in {LIMIT_NS} ns")
            received += len(found)

    async def traffic() -> None:
        try:
            await gather(replay(nic, frames, LIMIT_NS, lambda: None), receive())
        finally:
            # software tidies up, whether or not time still goes on
            await platform.sleep(QUIET_NS)

    await gather(traffic())
