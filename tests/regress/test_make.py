"""Two verbs of `make -j` that want the same simulator."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Final

from tb.cosim.toolchain import ROOT, verilator_environment

SEED: Final = "977"
BOUND_S: Final = 600
"""Both build, and other tests run beside them."""


def test_two_verbs_side_by_side_both_pass(tmp_path: Path) -> None:
    asked = ["BLOCK=arbiters", "TEST=block_arbiters", f"SEED={SEED}", "JOBS=1", f"args=--folder {tmp_path}"]
    done = subprocess.run(["make", "-j2", "unit", "sim", *asked], cwd=ROOT, env=verilator_environment(), capture_output=True,
                          text=True, timeout=BOUND_S, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    block = json.loads((ROOT / "build/unit/summary.json").read_text())
    assert block["passed"] and block["command"].endswith(f"SEED={SEED}") and len(block["tests"]) > 1
    [run] = tmp_path.glob("*/runs/*/result.json")
    assert json.loads(run.read_text())["passed"] and run.parent.name == f"block_arbiters-{SEED}"
