"""The line towards the NIC: rate, bad frames, pause in both directions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tb.cosim.run import run_model
from tb.cosim.toolchain import build_machine

CASES = ["rate", "earliest", "bad_frames", "pause_received", "peer_stops"]


@pytest.mark.parametrize("case", CASES)
def test_line(tmp_path: Path, case: str) -> None:
    result = run_model(build_machine(), "tests.system.sim_line", tmp_path, seed=1, environment={"MYR_CASE": case})
    assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"
