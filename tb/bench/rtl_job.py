"""The simulation process of one bench case. cocotb loads it; the environment names the case and the folder."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.handle import SimHandleBase
from cocotb.triggers import gather

from hypervisor_model.hypervisor import MAX_PAYLOAD, MAX_READ, Hypervisor
from sw.abi.registers import Form, TraceKind
from sw.guest.virtual_nic import ReceiveConfig, SendForm, VirtualNic
from tb.bench.cases import CASE_VARIABLE, CASES, RECEIVE_ENTRIES, RESULT, Case, Measurement, Traffic
from tb.cosim.platform import HostConfig, RtlPlatform
from tb.ethernet import on_line
from tb.ledger.decode import EndpointSetup, decode
from tb.ledger.latency import nic_share
from tb.ledger.receive import Delivery, decode_receive
from tb.ledger.stages import PacketForm, Stamp
from tb.sim.scenario import replay

RING_ENTRIES: Final = 1024
DOMAIN_PAGES: Final = 1536
IDLE_NS: Final = 4_000_000
SETTLE_NS: Final = 2_000
MODERATION_NS: Final = 10_000
"""Software takes no time here: without moderation each frame would have an interrupt of its own on the bus."""
LIMIT_NS: Final = 50_000_000
"""Bound of each wait."""
COLD_FRAMES: Final = 4
"""Spaced frames of each guest that fill the IOTLB and are not counted."""
PEER: Final = bytes.fromhex("020000000001")
HEADER: Final = 14


@cocotb.test
async def measure(dut: SimHandleBase) -> None:
    case = CASES[os.environ[CASE_VARIABLE]]
    platform = RtlPlatform(dut, HostConfig(mps=MAX_PAYLOAD, mrrs=MAX_READ, peer_pause=True, checkers=case.checkers,
                                                 skip=case.frames != 0))  # an idle machine is measured cycle by cycle
    hypervisor = Hypervisor(platform)
    await hypervisor.boot()
    receive = None
    if case.traffic is not Traffic.SEND:
        receive = ReceiveConfig(mtu=max(1500, case.frame_bytes - HEADER), entries=RECEIVE_ENTRIES)
    nics = []
    for number, form in enumerate(case.forms):
        domain = hypervisor.create_domain(f"guest{number}", DOMAIN_PAGES)
        nics.append(VirtualNic(domain, form, RING_ENTRIES, buffer_pages=case.buffer_pages, receive=receive))
        await nics[-1].open()
        if receive is not None and not case.spaced:
            await nics[-1].set_moderation(MODERATION_NS)
    await platform.sleep(SETTLE_NS)
    platform.trace()
    start, cpu_start = platform.cycle(), time.process_time()
    await traffic(platform, case, nics)
    cycles, cpu_s = platform.cycle() - start, time.process_time() - cpu_start
    trace = platform.trace()
    both = 2 if case.traffic is Traffic.DUPLEX else 1
    result = Measurement(cycles, cpu_s, case.frames * len(nics) * both)
    if case.traffic is Traffic.SEND:
        result.moments = trace[trace["kind"] == TraceKind.WIRE_FIRST]["cycle"].tolist()
        if case.spaced:
            send_latency(result, trace, nics)
    else:
        deliveries = decode_receive(trace).deliveries
        result.moments = [delivery.stamps[Stamp.RX_DATA_OUT] for delivery in deliveries]
        if case.spaced:
            result.latency = receive_latency(trace, deliveries, nics)
    Path(RESULT).write_bytes(pickle.dumps(result))


def send_latency(result: Measurement, trace: npt.NDArray[np.void], nics: list[VirtualNic]) -> None:
    """The NIC's share by form, and the payload read."""
    packets = decode(trace, {nic.endpoint: setup(nic) for nic in nics})
    reads = []
    for nic in nics:
        warm = [packet for packet in packets if packet.endpoint == nic.endpoint][COLD_FRAMES:]
        result.nic_share[str(warm[0].form)] = max(map(nic_share, warm))
        reads += [packet.stages()["payload read"] for packet in warm if packet.form != PacketForm.INLINE]
    result.payload_read = sorted(reads)[len(reads) // 2]


def receive_latency(trace: npt.NDArray[np.void], deliveries: list[Delivery], nics: list[VirtualNic]) -> int:
    """Cycles until the completion is visible: from the last beat of the wire, or from the sender's doorbell."""
    warm = deliveries[COLD_FRAMES:]
    if warm[0].sender is None:
        return max(d.stamps[Stamp.RX_CPL_VISIBLE] - d.stamps[Stamp.RX_LAST] for d in warm)
    sent = {(p.endpoint, p.head): p for p in decode(trace, {nic.endpoint: setup(nic) for nic in nics})}
    return max(
        d.stamps[Stamp.RX_CPL_VISIBLE] - sent[d.sender].stamps[Stamp.DOORBELL] for d in warm if d.sender is not None
    )


def setup(nic: VirtualNic) -> EndpointSetup:
    return EndpointSetup(Form.FETCHED if nic.form is SendForm.FETCHED else Form.PUSHED, RING_ENTRIES)


async def traffic(platform: RtlPlatform, case: Case, nics: list[VirtualNic]) -> None:
    """What the case says; with no frames, let the clock run."""
    if not case.frames:
        await platform.sleep(IDLE_NS)
        return
    if case.spaced:
        await spaced(platform, case, nics)
        return
    work: list[Coroutine[Any, Any, None]] = []
    if case.traffic in (Traffic.SEND, Traffic.DUPLEX):
        work += [replay(nic, [frame(case, PEER, nic.mac)] * case.frames, LIMIT_NS, lambda: None) for nic in nics]
    if case.traffic in (Traffic.RECEIVE, Traffic.DUPLEX):
        lines = [on_line(frame(case, nic.mac, PEER)) for nic in nics]
        for _ in range(case.frames):
            for line in lines:
                platform.wire_send(line)
        work += [receive_all(nic, case.frames) for nic in nics]
    await gather(*work)


async def spaced(platform: RtlPlatform, case: Case, nics: list[VirtualNic]) -> None:
    """Each frame waits until the one before has completed and the machine is quiet."""
    senders = nics[:1] if case.traffic is Traffic.INSIDE else nics
    to = nics[1].mac if case.traffic is Traffic.INSIDE else PEER
    for nic in senders:
        for _ in range(case.frames):
            if case.traffic is Traffic.RECEIVE:
                platform.wire_send(on_line(frame(case, nic.mac, PEER)))
                await receive_all(nic, 1)
            else:
                await replay(nic, [frame(case, to, nic.mac)], LIMIT_NS, lambda: None)
            if case.traffic is Traffic.INSIDE:
                await receive_all(nics[1], 1)
            await platform.sleep(SETTLE_NS)


async def receive_all(nic: VirtualNic, frames: int) -> None:
    """Take so many frames; raises `TimeoutError` when they do not come."""
    left = frames
    while left:
        got = len(await nic.receive(LIMIT_NS))
        if not got:
            raise TimeoutError(f"endpoint {nic.endpoint}: {frames - left} of {frames} frames came in {LIMIT_NS} ns")
        left -= got


def frame(case: Case, to: bytes, source: bytes) -> bytes:
    """A frame of the case's length, without FCS."""
    return (to + source + b"\x88\xb5" + bytes(n % 251 for n in range(case.frame_bytes)))[: case.frame_bytes]
