"""Runs of the verification environment, started as any other simulation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tb.cosim.run import RunResult, run_model
from tb.cosim.toolchain import ROOT, Model, build_machine

CONSTRAINTS: Final = ROOT / "tests/constraints"


def run(folder: Path, module: str = "random", *, model: Model | None = None, seed: int = 1, **job: Any) -> RunResult:
    """One test of `tb/uvm/tests`, its results in `folder`; the seed is printed."""
    folder.mkdir(parents=True, exist_ok=True)
    print(f"tb.uvm.tests.{module} seed {seed} {job}")
    job |= {"seed": seed, "folder": str(folder)}
    return run_model(model or build_machine(), f"tb.uvm.tests.{module}", folder, seed=seed,
                     environment={"MYR_JOB": json.dumps(job)}, timeout_s=600)


def results(folder: Path) -> dict[str, Any]:
    """What the run left behind: `uvm.json`."""
    found: dict[str, Any] = json.loads((folder / "uvm.json").read_text())
    return found
