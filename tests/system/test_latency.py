"""The closed-form latency model equals the RTL, stage by stage, to the cycle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tb.cosim.run import run_model
from tb.cosim.toolchain import build_machine


@pytest.mark.parametrize(("seed", "mps", "mrrs", "read_latency", "native"), [
    (1, 128, 512, 123, False), (2, 128, 4096, 123, False), (3, 256, 512, 123, False), (4, 256, 128, 200, False),
    (5, 128, 2048, 60, False), (6, 128, 512, 123, True)])
def test_uncontended_sends(tmp_path: Path, seed: int, mps: int, mrrs: int, read_latency: int, native: bool) -> None:
    job = {"seed": seed, "mps": mps, "mrrs": mrrs, "read_latency": read_latency, "native": native}
    result = run_model(build_machine(), "tests.system.sim_latency", tmp_path, seed=seed,
                       environment={"MYR_JOB": json.dumps(job)})
    assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"
