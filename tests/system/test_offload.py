"""Send offloads on the RTL."""

from __future__ import annotations

from pathlib import Path

import pytest

from tb.cosim.run import run_model
from tb.cosim.toolchain import build_machine


@pytest.mark.parametrize(("case", "seed"), [("example", 1), ("checksum", 1), ("checksum", 2), ("tso", 1), ("tso", 2), ("tso", 3),
                                            ("refused", 1), ("garbage", 2), ("fault", 1), ("damage", 1), ("error UR", 1),
                                            ("error CA", 2), ("error DROPPED", 4)])
def test_offload(tmp_path: Path, case: str, seed: int) -> None:
    result = run_model(build_machine(), "tests.system.sim_offload", tmp_path, seed=seed, environment={"MYR_CASE": case})
    assert result.passed, f"{case}, seed {seed}: {result.tests}; log {result.log}; again: {result.repeat}"
