"""What verification takes: from a smoke regression that is run now, and from what the last `make test` left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from rich.console import Console

from tb.bench.figures import Row
from tb.cosim.toolchain import ROOT
from tb.regress import config
from tb.regress.regression import regress
from tb.regress.report import Regression

SUITE: Final = "smoke"
TESTED: Final = ROOT / "build/test/summary.json"


def rows(console: Console) -> list[Row] | None:
    """The figures; None when the regression failed."""
    found = regress(console, config.parse(["--suite", SUITE], {}))
    return [*regression_rows(found), *rows_of_tests(TESTED)] if found.passed else None


def regression_rows(found: Regression) -> list[Row]:
    """Of a regression: runs for an hour of CPU, builds of models not counted."""
    return [
        Row(
            "verif.sims_per_cpu_hour",
            len(found.results) * 3600 / found.cpu_s,
            "runs/h",
            None,
            f"{found.suite}: {len(found.results)} runs, {found.cpu_s:,.0f} CPU s",
        )
    ]


def rows_of_tests(path: Path) -> list[Row]:
    """Of the last `make test`, with its day and commit; nothing when there was none."""
    if not path.is_file():
        return []
    told = json.loads(path.read_text())
    note = f"{told['tests']:,} tests, {told['failed']} failed; {told['when']}, commit {told['commit']}"
    return [Row("verif.test_cpu_s", told["cpu_s"], "s", None, note), Row("verif.test_s", told["wall_s"], "s", None, note)]
