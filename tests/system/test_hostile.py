"""A hostile guest on the RTL: the victims' frames are complete, and late by no more than the shared engines explain."""

from __future__ import annotations

from pathlib import Path

import pytest

from tb.cosim.run import run_model
from tb.cosim.toolchain import build_machine


@pytest.mark.parametrize("seed", [1, 2, 11, 12])
def test_victims_under_a_storm(tmp_path: Path, seed: int) -> None:
    result = run_model(build_machine(), "tests.system.sim_hostile", tmp_path, seed=seed)
    assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"
