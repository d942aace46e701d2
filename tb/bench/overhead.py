"""What watching a run costs: protocol checkers, coverage and an FST, as ratios of CPU time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tb.bench.cases import CHECKED, Case
from tb.bench.figures import Row
from tb.cosim.toolchain import Variant

ROUNDS: Final = 3
"""Runs of each way, in turn: the machine's other load falls on all."""


@dataclass(frozen=True)
class Way:
    """How a case is run."""

    variant: Variant = Variant.PLAIN
    checkers: bool = True

    def case(self, case: Case) -> Case:
        """What the simulation process is told."""
        return case if self.checkers else CHECKED[case]


PLAIN: Final = Way()
UNCHECKED: Final = Way(checkers=False)
COVERAGE: Final = Way(Variant.COVERAGE)
FST: Final = Way(Variant.WAVES)
WAYS: Final = (PLAIN, UNCHECKED, COVERAGE, FST)


@dataclass(frozen=True)
class Ratio:
    """CPU time of a way over that of another."""

    name: str
    way: Way
    other: Way
    note: str
    bound: float | None


RATIOS: Final = (
    Ratio("checkers", PLAIN, UNCHECKED, "on / off", 1.5),
    Ratio("coverage", COVERAGE, PLAIN, "coverage / plain", None),
    Ratio("fst", FST, PLAIN, "FST / plain", 4.0),
)


def rows(cpu_s: Mapping[tuple[Case, Way], list[float]]) -> list[Row]:
    """From CPU seconds of every round: each case at its best, the worst of the cases, with all of them named."""
    found = []
    for ratio in RATIOS:
        of = {case.name: min(cpu_s[case, ratio.way]) / min(cpu_s[case, ratio.other]) for case in CHECKED}
        note = ", ".join(f"{name} {value:.2f}" for name, value in of.items())
        found.append(Row(f"verif.ratio.{ratio.name}", max(of.values()), "", ratio.bound, f"CPU time {ratio.note}: {note}"))
    return found
