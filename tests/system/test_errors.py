"""Failing reads on the RTL."""

from __future__ import annotations

from pathlib import Path

import pytest

from tb.cosim.run import run_model
from tb.cosim.toolchain import build_machine

ERRORS = ["UR", "CA", "POISONED", "DROPPED"]
CASES = ([f"payload {error} {form}" for error in ERRORS for form in ("PUSHED", "FETCHED")]
         + [f"fetch {error}" for error in ERRORS] + ["registers"])


@pytest.mark.parametrize("case", CASES)
def test_errors(tmp_path: Path, case: str) -> None:
    result = run_model(build_machine(), "tests.system.sim_errors", tmp_path, seed=1, environment={"MYR_CASE": case})
    assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"
