"""The closed form of a received frame's latency equals the RTL, stage by stage and to the cycle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tb.cosim.run import run_model
from tb.cosim.toolchain import build_machine

DEFAULT = {"seed": 1, "mps": 128, "write_latency": 25, "native": False}


@pytest.mark.parametrize(
    "change", [{}, {"mps": 256, "seed": 2}, {"write_latency": 100, "seed": 3}, {"native": True, "seed": 4}], ids=str
)
def test_closed_form(tmp_path: Path, change: dict[str, Any]) -> None:
    job = DEFAULT | change
    result = run_model(build_machine(), "tests.system.sim_receive_latency", tmp_path, seed=job["seed"],
                       environment={"MYR_JOB": json.dumps(job)}, timeout_s=600)
    assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"
