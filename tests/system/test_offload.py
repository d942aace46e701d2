"""Send offloads on the RTL."""

from __future__ import annotations

from pathlib import Path

import pytest

from tb.cosim.run import run_model
from tb.cosim.toolchain import build_machine


@pytest.mark.parametrize(("case", "seed"), [("example", 1), ("checksum", 1), ("checksum", 2), ("tso", 1), ("tso", 2), ("tso", 3),
                                            ("hostile", 1), ("hostile", 2)])
def test_offload(tmp_path: Path, case: str, seed: int) -> None:
    result = run_model(build_machine(), "tests.system.sim_offload", tmp_path, seed=seed, environment={"MYR_CASE": case})
    assert result.passed, f"{case}, seed {seed}: {result.tests}; log {result.log}; again: {result.repeat}"
