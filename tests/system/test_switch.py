"""Sending through the switch, in the whole machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tb.cosim.run import run_model
from tb.cosim.toolchain import build_machine


@pytest.mark.parametrize("seed", [1, 2])
def test_switch(tmp_path: Path, seed: int) -> None:
    result = run_model(build_machine(), "tests.system.sim_switch", tmp_path, seed=seed)
    assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"
