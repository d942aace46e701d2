"""The test that carries out a plan: what every other test of a whole system is made from."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import cocotb
from cocotb.triggers import with_timeout
from pyuvm import ConfigDB, uvm_test

from tb.cosim.platform import RtlPlatform
from tb.cosim.toolchain import ROOT
from tb.uvm.bench import Bench
from tb.uvm.constraints import Constraints
from tb.uvm.coverage import Setting
from tb.uvm.environment import Environment
from tb.uvm.expectation import Mismatch
from tb.uvm.observed import ObservedPlatform
from tb.uvm.plan import Plan
from tb.uvm.points import RUN_FILE
from tb.uvm.sequences.traffic import TrafficSequence

RUN_LIMIT_MS = 400
"""Of simulated time, for a whole run."""


def job_plan(job: dict[str, Any]) -> Plan:
    """The plan of a job: `plan` (a file of one), or `constraints` (a file) with `seed` and, if it is to differ, `mode`.

    Files are below the project's root, or absolute.
    """
    if "plan" in job:
        return Plan.read(ROOT / job["plan"])
    return Constraints(ROOT / job["constraints"], job.get("mode")).plan(job["seed"])


class PlanTest(uvm_test):
    """Boots, runs the plan's traffic, waits for what is due, compares counters, closes."""

    def build_phase(self) -> None:
        """Machine and environment. `MYR_JOB` is JSON: see `job_plan`; `folder` takes the results."""
        self.job: dict[str, Any] = json.loads(os.environ["MYR_JOB"])
        self.plan = self.make_plan()
        self.rng = random.Random(self.plan.seed)
        self.platform = ObservedPlatform(RtlPlatform(cocotb.top, self.plan.host_config()))
        ConfigDB().set(None, "*", "platform", self.platform)
        ConfigDB().set(None, "*", "setting", Setting.of(self.plan))
        self.environment = Environment("environment", self)
        self.bench = Bench(self.platform, self.plan)
        self.failures: list[Mismatch] = []

    def make_plan(self) -> Plan:
        """What the job says; a test that is its own plan overrides it."""
        return job_plan(self.job)

    async def run_phase(self) -> None:
        """The run; what software raises is a failure like any other."""
        self.raise_objection()
        self.logger.info(f"seed {self.plan.seed} mode {self.plan.mode} guests {len(self.plan.guests)}"
                         f" operations {len(self.plan.operations)} {self.plan.machine}")
        try:
            await with_timeout(self.traffic(), RUN_LIMIT_MS, "ms")
        except Exception as error:  # noqa: BLE001  whatever it is, the scoreboard's words come first
            self.failures.append(Mismatch(None, f"software {type(error).__name__}", str(error), self.platform.now()))
        self.drop_objection()

    async def traffic(self) -> None:
        """From boot to the last close."""
        await self.bench.boot()
        sequence = TrafficSequence(self.bench, self.environment)
        try:
            await sequence.start()
        finally:
            self.failures += await self.environment.drain()
            sequence.stop()
        await self.environment.check_counters(self.bench.control)
        await self.bench.shut_down()

    def check_phase(self) -> None:
        """Write `uvm.json`; fail with all that is wrong, what happened first first."""
        board = self.environment.scoreboard
        found = [*board.mismatches, *self.failures]
        folder = Path(self.job.get("folder", "."))
        self.plan.write(folder / "uvm.json", signature=found[0].kind if found else None, failures=[str(f) for f in found],
                        compared=dict(board.compared))
        self.environment.coverage.write_file(folder / RUN_FILE)
        self.logger.info(f"compared {dict(board.compared)}")
        if found:
            raise AssertionError("\n".join(["", *map(str, found)]))
