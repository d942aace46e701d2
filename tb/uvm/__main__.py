"""One run: `python -m tb.uvm tests/constraints/full.toml --seed 7`, or of a plan: `python -m tb.uvm build/uvm/uvm.json`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tb.cosim.run import run_model
from tb.cosim.toolchain import ROOT, build_machine
from tb.uvm.constraints import MODES, ConstraintError, Constraints
from tb.uvm.plan import Plan, PlanError


def main() -> int:
    """0: nothing differed."""
    parser = argparse.ArgumentParser(prog="python -m tb.uvm", description=__doc__)
    parser.add_argument("what", type=Path, help="constraints (.toml) or a plan (.json)")
    parser.add_argument("--seed", type=int, default=1, help="of a constraint file's run")
    parser.add_argument("--mode", choices=MODES, help="instead of the file's")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/uvm", help="for uvm.json, coverage.json and the log")
    arguments = parser.parse_args()
    what = arguments.what.resolve()
    job: dict[str, Any] = {"folder": str(arguments.folder.resolve())}
    try:
        if what.suffix == ".json":
            seed = Plan.read(what).seed
            job["plan"] = str(what)
        else:
            seed = arguments.seed
            Constraints(what, arguments.mode).plan(seed)
            job |= {"constraints": str(what), "seed": seed} | ({"mode": arguments.mode} if arguments.mode else {})
    except (ConstraintError, PlanError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    result = run_model(build_machine(), "tb.uvm.tests.random", arguments.folder.resolve(), seed=seed,
                       environment={"MYR_JOB": json.dumps(job)}, timeout_s=900)
    if result.passed:
        print(f"passed, seed {seed}: {json.loads((arguments.folder / 'uvm.json').read_text())['compared']}")
    return 0 if result.passed else 1


if __name__ == "__main__":
    sys.exit(main())
