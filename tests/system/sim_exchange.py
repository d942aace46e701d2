"""Runs in the simulator: an exchange plan on the RTL, checked against the plan, the reference NIC and the ledger."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cocotb
from cocotb.handle import SimHandleBase
from cocotb.triggers import gather

from sw.abi.registers import Mode
from sw.guest.virtual_nic import ReceivedFrame
from tb.cosim.platform import HostConfig, RtlPlatform
from tb.ledger.receive import decode_receive
from tb.ledger.stages import PacketForm, Stamp
from tb.model.platform import ModelPlatform
from tests.system import exchange
from tests.system.exchange import Outcome, Plan
from tests.system.line import check_line
from tests.system.sim_traffic import disturbances


def only_wire(plan: Plan) -> Plan:
    """The first guest alone, with what concerns it."""
    sends = [s for s in plan.sends if s.source in (exchange.WIRE, 0) and not (isinstance(s.to, int) and s.to > 0)]
    sends = [s for s in sends if s.source == 0 or exchange.receivers(plan, s) <= {0}]
    return replace(plan, guests=plan.guests[:1], sends=sends)


MODES = {"native": Mode.NATIVE, "windows": Mode.WINDOWS, "validated": Mode.VALIDATED}
"""By plan; others: IOMMU."""
PLANS: dict[str, Callable[[int], Plan]] = {
    "random": exchange.random_plan,
    "native": lambda seed: only_wire(exchange.random_plan(seed)),
    "sweep": lambda seed: exchange.sweep_plan(),
    "windows": exchange.random_plan,
    "validated": lambda seed: exchange.fetched(exchange.random_plan(seed)),
}


@cocotb.test
async def run(dut: SimHandleBase) -> None:
    job = json.loads(os.environ["MYR_JOB"])
    seed = job["seed"]
    plan = PLANS[job["plan"]](seed)
    settings = disturbances(seed) if job["disturb"] else {}
    config = HostConfig(seed=seed, peer_pause=True, **settings)
    cocotb.log.info("plan %s seed %d guests %d frames %d %s", job["plan"], seed, len(plan.guests), len(plan.sends), settings)
    mode = MODES.get(job["plan"], Mode.IOMMU)
    link = {"seed": seed, "max_payload": config.mps, "max_read": config.mrrs, "mode": mode}
    platform = RtlPlatform(dut, config)

    async def side_by_side(coroutines: list[Any]) -> None:
        await gather(*coroutines)

    outcome = await exchange.run(platform, side_by_side, plan, **link)
    frames = platform.wire_frames()
    check_line(frames)
    exchange.check(plan, outcome, [f.data for f in frames if f.data[12:14] != b"\x88\x08"], mode)
    check_ledger(plan, outcome, platform.trace())
    check_model(plan, outcome, link)


def check_ledger(plan: Plan, outcome: Outcome, trace: Any) -> None:
    """Every delivery has a row whose stages add up, and there are as many rows as deliveries."""
    received = decode_receive(trace)
    assert len(received.deliveries) == sum(map(len, outcome.received))
    for delivery in received.deliveries:
        stages = delivery.stages()
        assert min(stages.values()) >= 0, delivery
        guest = outcome.endpoints.index(delivery.endpoint)
        assert delivery.queue < plan.guests[guest].receive.queues
    inside = sum(delivery.form == PacketForm.SWITCHED for delivery in received.deliveries)
    assert inside == sum(frame.local for frames in outcome.received for frame in frames)
    stamps = sorted(d.stamps[Stamp.RX_DATA_OUT] & 0xFFFF_FFFF for d in received.deliveries)
    assert stamps == sorted(frame.stamp for frames in outcome.received for frame in frames)


def check_model(plan: Plan, outcome: Outcome, link: dict[str, Any]) -> None:
    """The reference NIC gives every guest the same frames, sums, hashes and completions, and counts the same."""
    model = ModelPlatform()
    [expected] = model.run(exchange.run(model, model.gather, plan, **link))
    exchange.check(plan, expected, [f.data for f in model.wire_frames()], link["mode"])
    for ours, theirs in zip(outcome.received, expected.received, strict=True):
        def key(frame: ReceivedFrame) -> tuple[Any, ...]:
            return exchange.number_of(frame.data), frame.data, frame.checksum, frame.hash, frame.hash_kind, frame.queue
        assert sorted(map(key, ours)) == sorted(map(key, theirs))
    assert outcome.completions == expected.completions
    for ours_s, theirs_s in zip(outcome.statistics, expected.statistics, strict=True):
        for name in ("tx_packets", "rx_packets", "rx_bytes", "nic_rx_packets", "nic_rx_bytes", "rx_dropped_no_big"):
            assert ours_s[name] == theirs_s[name], name
