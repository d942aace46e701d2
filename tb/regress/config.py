"""What a regression is: read from the command line and the environment."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tb.cosim.plant import planted, prefix, results_root
from tb.cosim.toolchain import Variant
from tb.regress.spec import words
from tb.regress.suites import MAX_SEEDS, SUITES
from tb.sim.config import MAX_SEED

MAX_JOBS: Final = 256


@dataclass(frozen=True)
class RegressConfig:
    """A suite, or one test of the suites."""

    suite: str | None
    test: str | None
    seeds: int | None
    """Of each test that is not directed; None: what the suite says."""
    first_seed: int
    jobs: int
    variant: Variant
    suites: Path
    folder: Path

    @property
    def command(self) -> str:
        """The command that repeats this regression."""
        what = f"TEST={self.test}" if self.test else f"SUITE={self.suite}"
        seeds = f" SEEDS={self.seeds}" if self.seeds else ""
        seed = f" SEED={self.first_seed}" if self.first_seed != 1 or self.test else ""
        verb, waves = words(self.variant)
        return f"{prefix(planted())}make {verb} {what}{seeds}{seed}{waves}"


def parse(
    argv: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ, *, coverage: bool = False
) -> RegressConfig:
    """Options win over the environment (SUITE, TEST, SEEDS, SEED, JOBS, WAVES), that over the defaults.

    `coverage`: of `make cov`, which runs suite smoke when nothing is said. A bad value ends the program with status 2
    and a line that names the field and its limits.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m tb.{'coverage' if coverage else 'regress'}",
        description=f"Many simulations of tests/suites.toml, and {'what they cover' if coverage else 'one report'}.",
    )
    place = "cov" if coverage else "regress"
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--suite", metavar="NAME", help="the suite (SUITE)")
    parser.add_argument("--test", metavar="NAME", help="one test instead (TEST)")
    parser.add_argument("--seeds", metavar="N", help="seeds of each test that is not directed (SEEDS; as the suite says)")
    parser.add_argument("--seed", metavar="N", help="the first seed (SEED; 1)")
    parser.add_argument("--jobs", metavar="N", help=f"simulations at a time (JOBS; {cores}, the cores)")
    if not coverage:
        parser.add_argument("--waves", metavar="0|1", help="1: each run leaves an FST (WAVES; 0)")
    parser.add_argument("--suites", metavar="FILE", type=Path, default=SUITES, help="(tests/suites.toml)")
    parser.add_argument("--folder", metavar="DIR", type=Path, default=results_root() / place, help=f"(build/{place})")
    options = vars(parser.parse_args(argv))

    def value(name: str) -> str:
        return options[name] if options[name] is not None else environment.get(name.upper(), "")

    def number(name: str, low: int, high: int) -> int | None:
        text = value(name)
        if not text:
            return None
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            parser.error(f"{name.upper()}={text}: must be a number from {low} to {high}")
        return int(text)

    suite, test = value("suite") or None, value("test") or None
    if coverage:
        variant = Variant.COVERAGE
        suite = suite if suite or test else "smoke"
    else:
        variant = Variant.WAVES if number("waves", 0, 1) else Variant.PLAIN
    if (suite is None) is (test is None):
        parser.error("one of SUITE and TEST must be given")
    first_seed = number("seed", 0, MAX_SEED)
    return RegressConfig(
        suite=suite,
        test=test,
        seeds=number("seeds", 1, MAX_SEEDS),
        first_seed=1 if first_seed is None else first_seed,
        jobs=number("jobs", 1, MAX_JOBS) or cores,
        variant=variant,
        suites=options["suites"],
        folder=options["folder"],
    )
