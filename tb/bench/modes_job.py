"""The simulation process of one way of sharing. cocotb loads it; the environment names the way, the folder is its own."""

from __future__ import annotations

import os
import pickle
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import cocotb
from cocotb.handle import SimHandleBase
from cocotb.triggers import gather

from hypervisor_model.costs import CostTable
from hypervisor_model.hypervisor import MAX_PAYLOAD, MAX_READ
from hypervisor_model.sharing import Sharing
from sw.platform import CYCLE_NS
from tb.bench.modes import (
    FRAMES,
    LINE_MESSAGES,
    MESSAGES,
    MODE_VARIABLE,
    PACED,
    REGISTERS,
    RESULT,
    ROUNDS,
    RUNS,
    STREAMS,
    Flow,
    ModeMeasurement,
)
from tb.bench.modes_run import Bench, Pair
from tb.cosim.platform import HostConfig, RtlPlatform


@cocotb.test
async def measure(dut: SimHandleBase) -> None:
    platform = RtlPlatform(dut, HostConfig(mps=MAX_PAYLOAD, mrrs=MAX_READ))

    async def together(coroutines: list[Coroutine[Any, Any, None]]) -> None:
        await gather(*coroutines)

    def wire() -> list[tuple[int, bytes]]:
        return [(frame.first_cycle * CYCLE_NS, frame.data) for frame in platform.wire_frames()]

    bench = Bench(platform, together, cocotb.start_soon, wire, platform.wire_send)
    pair = Pair(bench, Sharing(os.environ[MODE_VARIABLE]), CostTable.load())
    await pair.build()
    latency = {size: await pair.latency(size, ROUNDS) for size in MESSAGES}
    streams = {size: await pair.stream(size, frames) for size, frames in STREAMS}
    runs = RUNS if pair.sharing in REGISTERS else ()
    registration = {pages: await pair.registration(pages, ROUNDS) for pages in runs}
    received = {flow: await pair.received(flow, FRAMES, PACED) for flow in Flow}
    line_latency = {size: await pair.line_latency(size, ROUNDS) for size in LINE_MESSAGES}
    await pair.close()
    measured = ModeMeasurement(latency, streams, registration, received, line_latency)
    Path(RESULT).write_bytes(pickle.dumps(measured))
