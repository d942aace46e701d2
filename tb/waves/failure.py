"""When a run failed, in simulated time: what the view opens on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from tb.cosim.run import read_results
from tb.waves.dump import cycle_start_ps

_CHECKER: Final = re.compile(r"\[myr_check_\w+\] cycle (\d+) ")
"""A protocol checker names the cycle (docs/checkers.md)."""
_ASSERTION: Final = re.compile(r"^\[(\d+)\] %Error:", re.MULTILINE)
"""An assertion of the hardware: Verilator puts the time before it, in steps of 1 ps."""


def failed_ps(folder: Path) -> int | None:
    """From a run's `results.xml` and `sim.log`. None: the simulation itself did not fail, or says nothing about it."""
    log = folder / "sim.log"
    text = log.read_text(errors="replace") if log.is_file() else ""
    if checker := _CHECKER.search(text):
        return cycle_start_ps(int(checker[1]))
    if assertion := _ASSERTION.search(text):
        return int(assertion[1])
    passed_ns = 0.0
    # tests of a module follow each other
    for why, ns in read_results(folder / "results.xml").values():
        passed_ns += ns
        if why is not None:
            return round(passed_ns * 1000)
    return None
