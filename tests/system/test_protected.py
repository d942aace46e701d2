"""Protection modes WINDOWS and VALIDATED on the RTL."""

from __future__ import annotations

from pathlib import Path

import pytest

from tb.cosim.run import run_model
from tb.cosim.toolchain import build_machine

CASES = [("traffic", 1), ("traffic disturb", 2), ("traffic disturb", 3), ("refused_reads", 1), ("refused_writes", 1),
         ("stale_sends", 1), ("stale_buffers", 1), ("revocation", 1), ("revocation", 2), ("held_reads", 1),
         ("fence_timeout", 1), ("latency", 1), ("latency", 2), ("rates", 1), ("wrap", 1)]


@pytest.mark.parametrize(("case", "seed"), CASES)
def test_protected(tmp_path: Path, case: str, seed: int) -> None:
    result = run_model(build_machine(), "tests.system.sim_protected", tmp_path, seed=seed, environment={"MYR_CASE": case})
    assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"
