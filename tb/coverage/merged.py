"""The sums over a regression, taken as its runs end."""

from __future__ import annotations

from pathlib import Path

from tb.cosim.toolchain import COVERAGE_FILE
from tb.coverage.functional import Functional
from tb.coverage.verilator import CoverageError, Hits
from tb.regress.spec import RunResult
from tb.uvm.points import RUN_FILE


class Merged:
    """Code coverage of every run, functional coverage of those of the verification environment."""

    def __init__(self) -> None:
        self.code = Hits()
        self.functional = Functional()
        self.problems: list[str] = []
        """What could not be added."""

    def add(self, result: RunResult, folder: Path) -> None:
        """A run has ended: its files in `folder` on top. Its `coverage.dat` (of a whole machine, 15 MB) goes then."""
        code, functional = folder / COVERAGE_FILE, folder / RUN_FILE
        try:
            # a run that was ended from outside has none
            if result.passed or code.is_file():
                self.code.add(code)
                code.unlink()
            if functional.is_file():
                self.functional.add(functional)
        except CoverageError as error:
            self.problems.append(str(error))

    def wrong(self) -> list[str]:
        """What must not be: problems, and bins that were hit though they are declared impossible."""
        hit = [
            f"{covered.cover.name}: {name}: hit {covered.hits[name]} times, declared impossible: {covered.cover.impossible[name]}"
            for covered in self.functional.covered
            for name in covered.wrong
        ]
        return self.problems + hit
