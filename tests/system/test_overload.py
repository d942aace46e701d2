"""Guests without receive buffers lose their own frames, counted, and delay nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from tb.cosim.run import run_model
from tb.cosim.toolchain import build_machine

CASES = ["from_wire", "from_wire_fetched", "from_sibling", "both_sides", "send_beside", "unmapped_rings"]


@pytest.mark.parametrize("case", CASES)
def test_overload(tmp_path: Path, case: str) -> None:
    result = run_model(build_machine(), "tests.system.sim_overload", tmp_path, seed=1, environment={"MYR_CASE": case},
                       timeout_s=300)
    assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"
