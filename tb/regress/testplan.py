"""`python -m tb.regress.testplan`: the points of `tests/testplan.toml` with what the last results say of each.

`--write` makes docs/testplan.md from it, `--check` fails when that page is stale.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from junitparser import JUnitXml
from rich import box
from rich.table import Table

from tb.cosim.toolchain import ROOT
from tb.sim.report import console

TESTPLAN: Final = ROOT / "tests/testplan.toml"
PAGE: Final = ROOT / "docs/testplan.md"
PYTEST_RESULTS: Final = ROOT / "build/test/results.xml"
REGRESSIONS: Final = ROOT / "build/regress"
SUITE: Final = "suite:"
"""In front of the name of a test of `tests/suites.toml`; other references are pytest's: folder, file, file::test."""
STAGES: Final = {
    "V1": "the feature works",
    "V2": "every documented case of it, errors and limits included",
    "V3": "random and adversarial, over many seeds",
}
_FIELDS: Final = ("name", "about", "contract", "stage", "tests")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


class PlanError(ValueError):
    """The plan cannot be read: the message names file, point, field and limit."""


class Status(StrEnum):
    """What results say of a point."""

    PASSED = "passed"
    PARTLY = "passed in part"
    """Nothing failed, but not everything has run."""
    NOT_RUN = "not run"
    FAILED = "failed"

    @property
    def good(self) -> bool:
        """A point without a passing test is not."""
        return self in (Status.PASSED, Status.PARTLY)


@dataclass(frozen=True)
class Point:
    """Something that must hold, and the tests that show it."""

    name: str
    about: str
    contract: tuple[str, ...]
    stage: str
    tests: tuple[str, ...]

    def status(self, results: Mapping[str, bool]) -> Status:
        """From results by test id."""
        found = [[ok for test, ok in results.items() if covers(reference, test)] for reference in self.tests]
        if not all(ok for each in found for ok in each):
            return Status.FAILED
        if all(found):
            return Status.PASSED
        return Status.PARTLY if any(found) else Status.NOT_RUN


@dataclass(frozen=True)
class Plan:
    """`contracts`: name to its sentence."""

    contracts: Mapping[str, str]
    points: tuple[Point, ...]

    def of_suite_test(self, test: str) -> tuple[str, ...]:
        """The points that a test of the suites belongs to."""
        return tuple(p.name for p in self.points if any(covers(reference, SUITE + test) for reference in p.tests))


def covers(reference: str, test: str) -> bool:
    """Whether `reference`, as in the plan, names `test`: the test itself, all its cases, or the file or folder it is in."""
    return test == reference or test.startswith(tuple(reference + more for more in ("[", ".", "::", "/")))


def load(path: Path = TESTPLAN) -> Plan:
    """Read the plan. Raises `PlanError`."""
    try:
        data = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise PlanError(f"{path}: cannot be read: {error}") from None
    if strange := sorted(data.keys() - {"contract", "point"}):
        raise PlanError(f"{path}: {strange[0]}: no such table; there are contract and point")
    contracts = data.get("contract", {})
    for name, sentence in contracts.items():
        if not isinstance(sentence, str):
            raise PlanError(f"{path}: contract.{name}: must be a text")
    points = [_point(path, number, table, contracts) for number, table in enumerate(data.get("point", []), 1)]
    names = [point.name for point in points]
    for name in names:
        if names.count(name) > 1:
            raise PlanError(f"{path}: point {name}: there are two of this name")
    return Plan(contracts, tuple(points))


def _point(path: Path, number: int, table: dict[str, Any], contracts: Mapping[str, str]) -> Point:
    where = f"{path}: point {table.get('name', number)}"
    if strange := sorted(table.keys() - set(_FIELDS)):
        raise PlanError(f"{where}: {strange[0]}: no such field; there are {', '.join(_FIELDS)}")
    if missing := [name for name in _FIELDS if name not in table]:
        raise PlanError(f"{where}: {missing[0]}: missing")
    for field in ("name", "about"):
        if not isinstance(table[field], str) or not table[field].strip():
            raise PlanError(f"{where}: {field}: must be a text")
    if not _NAME.fullmatch(table["name"]):
        raise PlanError(f"{where}: name: must be small letters, digits and _")
    if table["stage"] not in STAGES:
        raise PlanError(f"{where}: stage {table['stage']!r}: must be one of {', '.join(STAGES)}")
    for field in ("contract", "tests"):
        values = table[field]
        if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
            raise PlanError(f"{where}: {field}: must be a list of names, not empty")
    for name in table["contract"]:
        if name not in contracts:
            raise PlanError(f"{where}: contract {name}: must be one of {', '.join(contracts)}")
    about = " ".join(table["about"].split())
    return Point(table["name"], about, tuple(table["contract"]), table["stage"], tuple(table["tests"]))


def missing(plan: Plan, tests: Iterable[str]) -> list[str]:
    """What the plan names and `tests`, ids of all there are, does not have."""
    known = set(tests)
    return [
        f"point {point.name}: {reference}: there is no such test"
        for point in plan.points
        for reference in point.tests
        if not any(covers(reference, test) for test in known)
    ]


def pytest_results(path: Path = PYTEST_RESULTS) -> dict[str, bool]:
    """By node id, from the JUnit file of `make test`; skipped tests are not in it. Empty: there is no file."""
    if not path.is_file():
        return {}
    return {
        f"{(case.classname or '').replace('.', '/')}.py::{case.name}": case.is_passed
        for suite in JUnitXml.fromfile(str(path))
        for case in suite
        if not case.is_skipped
    }


def suite_results(results: Iterable[tuple[str, bool]]) -> dict[str, bool]:
    """By test id, from (test, passed) of runs: a test has passed when all its runs have."""
    found: dict[str, bool] = {}
    for test, passed in results:
        found[SUITE + test] = found.get(SUITE + test, True) and passed
    return found


def last_regression(folder: Path = REGRESSIONS) -> dict[str, bool]:
    """`suite_results` of the last regression of a whole suite; empty: there was none."""
    history = folder / "history.jsonl"
    if not history.is_file():
        return {}
    last = json.loads(history.read_text().splitlines()[-1])
    summary = folder / last["id"] / "summary.json"
    if not summary.is_file():
        return {}
    return suite_results((run["test"], run["passed"]) for run in json.loads(summary.read_text())["runs"])


def table(plan: Plan, results: Mapping[str, bool]) -> Table:
    """The points with their status."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("point", "contract", "stage", "tests", "status"):
        shown.add_column(column, no_wrap=column == "point")
    for point in plan.points:
        status = point.status(results)
        colour = {Status.PASSED: "green", Status.PARTLY: "yellow"}.get(status, "red")
        shown.add_row(
            point.name, " ".join(point.contract), point.stage, str(len(point.tests)), f"[{colour}]{status}[/{colour}]"
        )
    return shown


def page(plan: Plan) -> str:
    """docs/testplan.md."""
    lines = [
        "# Testplan",
        "",
        "Generated from tests/testplan.toml by tb/regress/testplan.py; do not edit.",
        "",
        "What must hold, and the tests that show it. `python -m tb.regress.testplan` prints what the last `make test` and",
        "the last regression say of each point. Stages: "
        + "; ".join(f"**{name}** {what}" for name, what in STAGES.items())
        + ".",
    ]
    for name, sentence in plan.contracts.items():
        lines += ["", f"## {name}", "", sentence, "", "| point | stage | what must hold | tests |", "|---|---|---|---|"]
        # under the first of its contracts
        for point in (p for p in plan.points if p.contract[0] == name):
            also = f" Also {', '.join(point.contract[1:])}." if len(point.contract) > 1 else ""
            tests = "<br>".join(f"`{test}`" for test in point.tests)
            lines.append(f"| {point.name} | {point.stage} | {point.about}{also} | {tests} |")
    return "\n".join([*lines, ""])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tb.regress.testplan", description=__doc__)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--write", action="store_true", help="write docs/testplan.md")
    how.add_argument("--check", action="store_true", help="write nothing; fail when docs/testplan.md is stale")
    options = parser.parse_args(argv)
    try:
        plan = load()
    except PlanError as error:
        print(error, file=sys.stderr)
        return 2
    if options.write:
        PAGE.write_text(page(plan))
        return 0
    if options.check:
        if PAGE.is_file() and PAGE.read_text() == page(plan):
            return 0
        print(f"{PAGE.relative_to(ROOT)}: stale, run `python -m tb.regress.testplan --write`", file=sys.stderr)
        return 1
    results = {**pytest_results(), **last_regression()}
    console().print(table(plan, results))
    return 0 if all(point.status(results).good for point in plan.points) else 1


if __name__ == "__main__":
    raise SystemExit(main())
