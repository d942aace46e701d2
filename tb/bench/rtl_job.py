"""The simulation process of one bench case. cocotb loads it; the environment names the case and the folder."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import cocotb
from cocotb.handle import SimHandleBase
from cocotb.triggers import gather

from hypervisor_model.hypervisor import MAX_PAYLOAD, MAX_READ, Hypervisor
from sw.abi.registers import Form, TraceKind
from sw.guest.virtual_nic import SendForm, VirtualNic
from tb.bench.cases import CASE_VARIABLE, CASES, RESULT, Case, Measurement
from tb.cosim.platform import HostConfig, RtlPlatform
from tb.ledger.decode import EndpointSetup, decode
from tb.ledger.latency import nic_share
from tb.ledger.stages import PacketForm
from tb.sim.scenario import replay

RING_ENTRIES: Final = 1024
DOMAIN_PAGES: Final = 512
IDLE_NS: Final = 4_000_000
SETTLE_NS: Final = 2_000
LIMIT_NS: Final = 50_000_000
"""Bound of each wait."""
COLD_FRAMES: Final = 4
"""Spaced frames of each guest that fill the IOTLB and are not counted."""


@cocotb.test
async def measure(dut: SimHandleBase) -> None:
    case = CASES[os.environ[CASE_VARIABLE]]
    platform = RtlPlatform(dut, HostConfig(mps=MAX_PAYLOAD, mrrs=MAX_READ))
    hypervisor = Hypervisor(platform)
    await hypervisor.boot()
    nics = []
    for number, form in enumerate(case.forms):
        domain = hypervisor.create_domain(f"guest{number}", DOMAIN_PAGES)
        nics.append(VirtualNic(domain, form, RING_ENTRIES, buffer_pages=case.buffer_pages))
        await nics[-1].open()
    await platform.sleep(SETTLE_NS)
    platform.trace()
    start, cpu_start = platform.cycle(), time.process_time()
    await traffic(platform, case, nics)
    cycles, cpu_s = platform.cycle() - start, time.process_time() - cpu_start
    trace = platform.trace()
    first_beats = trace[trace["kind"] == TraceKind.WIRE_FIRST]["cycle"].tolist()
    result = Measurement(cycles, cpu_s, case.frames * len(nics), first_beats)
    if case.spaced:
        setups = {
            nic.endpoint: EndpointSetup(Form.FETCHED if nic.form is SendForm.FETCHED else Form.PUSHED, RING_ENTRIES)
            for nic in nics
        }
        packets = decode(trace, setups)
        reads = []
        for nic in nics:
            warm = [packet for packet in packets if packet.endpoint == nic.endpoint][COLD_FRAMES:]
            result.nic_share[str(warm[0].form)] = max(map(nic_share, warm))
            reads += [packet.stages()["payload read"] for packet in warm if packet.form != PacketForm.INLINE]
        result.payload_read = sorted(reads)[len(reads) // 2]
    Path(RESULT).write_bytes(pickle.dumps(result))


async def traffic(platform: RtlPlatform, case: Case, nics: list[VirtualNic]) -> None:
    """Send what the case says; with no frames, let the clock run."""
    frame = bytes(n % 251 for n in range(case.frame_bytes))
    if not case.frames:
        await platform.sleep(IDLE_NS)
    elif case.spaced:
        for nic in nics:
            for _ in range(case.frames):
                await replay(nic, [frame], LIMIT_NS, lambda: None)
                await platform.sleep(SETTLE_NS)
    else:
        sends: list[Coroutine[Any, Any, None]] = [
            replay(nic, [frame] * case.frames, LIMIT_NS, lambda: None) for nic in nics
        ]
        await gather(*sends)
