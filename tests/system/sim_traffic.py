"""Runs in the simulator: a traffic plan on the RTL, checked against the plan and the reference NIC."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.handle import SimHandleBase
from cocotb.triggers import gather

from sw.abi.registers import Form, Mode, Status
from sw.guest.virtual_nic import MAX_PIECES, SendForm
from tb.cosim.platform import HostConfig, RtlPlatform
from tb.ethernet import without_fcs
from tb.ledger.decode import EndpointSetup, decode
from tb.ledger.stages import Stamp, stages_of
from tb.model.platform import ModelPlatform
from tests.system import traffic
from tests.system.line import check_line
from tests.system.traffic import Guest, Outcome


def sweep_plan() -> list[Guest]:
    """Every length from 60 to 9014 once, with every alignment and piece count in turn, over four guests."""
    rng = random.Random(9014)
    forms = [SendForm.FETCHED, SendForm.PUSHED, SendForm.FETCHED, SendForm.INLINE]
    guests = [Guest(form, 128, 128, 1, []) for form in forms]
    for number, length in enumerate(range(60, 9015)):
        data = traffic.payload(rng, number % 4, number, length)
        frame = traffic.cut(rng, data, 1 + number % MAX_PIECES, 0)
        first = number * 5 % 64, frame.pieces[0][1]
        guests[number % 4].frames.append(traffic.Frame(data, (first, *frame.pieces[1:])))
    return guests


def alignment_plan() -> list[Guest]:
    """Short frames: every alignment with every piece count, each piece at its own alignment."""
    rng = random.Random(768)
    guests = [Guest(form, 64, 64, 64, []) for form in (SendForm.PUSHED, SendForm.FETCHED)]
    for alignment in range(64):
        for count in range(1, MAX_PIECES + 1):
            for number, guest in enumerate(guests):
                frame = traffic.cut(rng, traffic.payload(rng, number, len(guest.frames), rng.randint(60, 400)), count, 9)
                guest.frames.append(traffic.Frame(frame.data, ((alignment, frame.pieces[0][1]), *frame.pieces[1:])))
    return guests


def native_plan(seed: int) -> list[Guest]:
    return traffic.random_plan(seed)[:1]


def disturbances(seed: int) -> dict[str, Any]:
    """A machine that is unfriendly in every way that PCIe allows."""
    rng = random.Random(seed)
    return {"read_jitter": rng.choice([0, 20, 200]), "walk_jitter": rng.choice([0, 40]), "reorder": rng.random() < 0.8,
            "random_split": rng.random() < 0.8, "link_stall_permille": rng.choice([0, 100, 500]),
            "rc_stall_permille": rng.choice([0, 100, 400]), "starvation_permille": rng.choice([0, 200, 600]),
            "credit_ph": rng.choice([1, 4, 32]), "credit_pd": rng.choice([16, 64]), "credit_nph": rng.choice([1, 3, 32]),
            "mps": rng.choice([128, 256]), "mrrs": rng.choice([128, 256, 512, 1024, 2048, 4096])}


PLANS = {"sweep": lambda seed: sweep_plan(), "alignment": lambda seed: alignment_plan(), "native": native_plan,
         "random": traffic.random_plan}


@cocotb.test
async def run(dut: SimHandleBase) -> None:
    job = json.loads(os.environ["MYR_JOB"])
    seed = job["seed"]
    guests = PLANS[job["plan"]](seed)
    settings = disturbances(seed) if job["disturb"] else {}
    # another host seed changes the machine's timing alone: the frames are the same, as every run checks
    config = HostConfig(seed=job.get("host_seed", seed), **settings)
    cocotb.log.info("plan %s seed %d guests %d %s", job["plan"], seed, len(guests), settings)
    link = {"seed": seed, "max_payload": config.mps, "max_read": config.mrrs, "mode": Mode.NATIVE if job["plan"] == "native" else Mode.IOMMU}

    platform = RtlPlatform(dut, config)

    async def side_by_side(coroutines: list[Any]) -> None:
        await gather(*coroutines)

    outcome = await traffic.run(platform, side_by_side, guests, **link)
    frames = platform.wire_frames()
    trace = platform.trace()
    np.save("trace.npy", trace)
    check_line(frames)
    check_wire(guests, [frame.data for frame in frames])
    check_completions(guests, outcome)
    check_model(guests, outcome, link)
    check_ledger(guests, outcome, trace)
    Path("frames.bin").write_bytes(b"".join(frame.data for frame in frames))


def check_wire(guests: list[Guest], frames: list[bytes]) -> None:
    """Every frame left once, in its guest's order, bit-exact, with an FCS that zlib agrees with."""
    for number, guest in enumerate(guests):
        seen = [without_fcs(data) for data in frames if traffic.owner(data) == number]
        sent = traffic.on_wire(guest.frames)
        assert len(seen) == len(sent), f"guest {number}: {len(seen)} of {len(sent)} frames left"
        for index, (a, b) in enumerate(zip(seen, sent, strict=True)):
            assert a == b, f"guest {number} frame {index} ({len(b)} bytes, {guest.form}, {guest.frames[index].pieces})"
    assert len(frames) == sum(len(guest.frames) for guest in guests)


def check_completions(guests: list[Guest], outcome: Outcome) -> None:
    for guest, log in zip(guests, outcome.completions, strict=True):
        assert [(length, status) for _, length, status in log] == [(len(f.data), Status.OK) for f in guest.frames]
    assert outcome.data_path_entries == 0, "the hypervisor was entered on the data path"
    assert outcome.faults == 0
    assert outcome.counters.pop("FRAMES") == sum(len(guest.frames) for guest in guests)
    assert not any(outcome.counters.values()), outcome.counters


def check_model(guests: list[Guest], outcome: Outcome, link: dict[str, Any]) -> None:
    """The reference NIC, on the same plan, tells the guests the same and sends the same."""
    model = ModelPlatform()
    [expected] = model.run(traffic.run(model, model.gather, guests, **link))
    assert outcome.completions == expected.completions
    check_wire(guests, [frame.data for frame in model.frames])


def check_ledger(guests: list[Guest], outcome: Outcome, trace: Any) -> None:
    """Every packet has a row; its stages are not negative and sum to its end-to-end cycles."""
    setups = {endpoint: EndpointSetup(Form.FETCHED if guest.form is SendForm.FETCHED else Form.PUSHED, guest.ring)
              for endpoint, guest in zip(outcome.endpoints, guests, strict=True)}
    packets = decode(trace, setups)
    assert len(packets) == sum(len(guest.frames) for guest in guests)
    for packet in packets:
        cycles = [packet.stamps[stage.end] - packet.stamps[stage.start] for stage in stages_of(packet.form)]
        assert min(cycles) >= 0, packet
        assert sum(cycles) == packet.stamps[Stamp.CPL_VISIBLE] - packet.stamps[Stamp.DOORBELL]
