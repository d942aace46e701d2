"""The RTL at its limits: lengths, counts, rings, pages, time-outs, credits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tb.cosim.run import run_model
from tb.cosim.toolchain import build_machine

CASES = ["short_frames", "chain_limits", "doorbell_limits", "ring_of_a_predecessor", "completion_rings", "late_completions",
         "reads_without_credits", "completions_without_credits", "second_doorbell", "first_error"]


@pytest.mark.parametrize("case", CASES)
def test_limits(tmp_path: Path, case: str) -> None:
    result = run_model(build_machine(), "tests.system.sim_limits", tmp_path, seed=1, environment={"MYR_CASE": case})
    assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"
