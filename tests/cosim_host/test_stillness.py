"""Cycles that are counted instead of evaluated: to the bit, the machine does what it does without."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tb.cosim import record
from tb.cosim.run import run_model
from tb.cosim.toolchain import build_machine
from tb.uvm.constraints import Constraints
from tests.uvm.support import CONSTRAINTS
from tests.uvm.support import run as run_uvm


def recorded(folder: Path) -> dict[str, Any]:
    """Cycles, and digests of every record and of the wire."""
    told: dict[str, Any] = json.loads((folder / record.FILE).read_text())
    assert told["records"] > 0
    return told


@pytest.mark.parametrize("stalls", [0, 100])
def test_what_happens_at_a_time_of_its_own(tmp_path: Path, stalls: int) -> None:
    for skip in (True, False):
        folder = tmp_path / str(skip)
        folder.mkdir()
        job = json.dumps({"skip": skip, "link_stall_permille": stalls, "rc_stall_permille": stalls})
        result = run_model(build_machine(), "tests.cosim_host.stillness_bench", folder, seed=1, environment={"MYR_JOB": job})
        assert result.passed, f"{result.tests}; log {result.log}"
    assert recorded(tmp_path / "True") == recorded(tmp_path / "False")


@pytest.mark.parametrize(("constraints", "mode", "seed"), [("full", "iommu", 4), ("starved", "windows", 5), ("flood", "validated", 6)])
def test_random_systems(tmp_path: Path, constraints: str, mode: str, seed: int) -> None:
    plan = Constraints(CONSTRAINTS / f"{constraints}.toml", mode).plan(seed)
    for skip in (True, False):
        path = tmp_path / f"{skip}.json"
        replace(plan, machine=plan.machine | {"skip": skip}).write(path)
        assert run_uvm(tmp_path / str(skip), seed=seed, plan=str(path)).passed
    assert recorded(tmp_path / "True") == recorded(tmp_path / "False")
