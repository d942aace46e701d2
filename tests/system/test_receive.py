"""Frames from the line into the buffers of an endpoint, through the whole machine."""

from __future__ import annotations

from pathlib import Path

from tb.cosim.run import run_model
from tb.cosim.toolchain import build_machine


def test_receive(tmp_path: Path) -> None:
    result = run_model(build_machine(), "tests.system.sim_receive", tmp_path, seed=1)
    assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"
