"""The test that docs/uvm.md shows runs as it stands there."""

from __future__ import annotations

import json
import os
import re
import textwrap
from pathlib import Path

from tb.cosim.run import run_model
from tb.cosim.toolchain import ROOT, build_machine
from tests.uvm.support import results


def test_the_pages_example_runs(tmp_path: Path) -> None:
    """Its frames reach both guests, and the scoreboard says so without being told."""
    found = re.search(r"^    # tb/uvm/tests/knock\.py\n(?:    .*\n|\n)+", (ROOT / "docs/uvm.md").read_text(), re.MULTILINE)
    assert found is not None, "docs/uvm.md has no tb/uvm/tests/knock.py"
    (tmp_path / "knock.py").write_text(textwrap.dedent(found[0]))
    environment = {"MYR_JOB": json.dumps({"seed": 1, "folder": str(tmp_path)}), "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    result = run_model(build_machine(), "knock", tmp_path, seed=1, environment=environment)
    assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"
    compared = results(tmp_path)["compared"]
    # each of the two frames is somebody's: delivered, or dropped for a reason
    assert compared["deliveries"] + compared["drops"] >= 2, compared
