"""Runs in the simulator: lives and deaths of a guest beside two busy siblings on the RTL."""

from __future__ import annotations

import json
import os

import cocotb
from cocotb.handle import SimHandleBase

from hypervisor_model.sharing import Sharing
from tb.cosim.platform import HostConfig, RtlPlatform
from tests.system.life import Scene


@cocotb.test
async def run(dut: SimHandleBase) -> None:
    job = json.loads(os.environ["MYR_JOB"])
    seed = job["seed"]
    platform = RtlPlatform(dut, HostConfig(seed=seed, peer_pause=True))
    outcome = await Scene(platform, cocotb.start_soon, Sharing(job["sharing"]), seed).play(job["rounds"])
    cocotb.log.info("%s", outcome)
    assert sum(outcome.lives.values()) == job["rounds"]
    outcome.check_share()
