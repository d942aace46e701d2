"""The simulation process of `make tap`: cocotb loads this module inside the simulator (see `job`)."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import cocotb
from cocotb.handle import SimHandleBase
from cocotb.triggers import gather

from sw.platform import CYCLE_NS
from tb.cosim.platform import RtlPlatform
from tb.sim.rtl_job import host_config
from tb.tap.job import load, serve


@cocotb.test
async def join(dut: SimHandleBase) -> None:
    folder, job = load()
    platform = RtlPlatform(dut, host_config(job.config.seed))

    async def together(coroutines: list[Coroutine[Any, Any, None]]) -> None:
        await gather(*coroutines)

    def left() -> list[tuple[int, bytes]]:
        return [(frame.first_cycle * CYCLE_NS, frame.data) for frame in platform.wire_frames()]

    await serve(platform, left, together, folder, job, platform.trace)
