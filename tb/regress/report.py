"""What a regression leaves: summary.json, JUnit XML, report.html, and a line in history.jsonl."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import jinja2
from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite
from rich.console import Console

from tb.cosim.toolchain import ROOT
from tb.regress import testplan
from tb.regress.signature import LENGTH, first_line
from tb.regress.spec import RunResult
from tb.regress.testplan import Plan

SUMMARY: Final = "summary.json"
JUNIT: Final = "results.xml"
PAGE: Final = "report.html"
HISTORY: Final = "history.jsonl"
TREND: Final = 40
"""Regressions of the same suite in the chart."""
SLOWEST: Final = 10


@dataclass(frozen=True)
class Regression:
    """What ran, and what came of it."""

    folder: Path
    command: str
    suite: str | None
    """None: one test alone, which is no point in the history."""
    started: float
    """Seconds since the epoch."""
    wall_s: float
    results: list[RunResult]
    left: list[str]
    """Names of runs that an interrupt has prevented."""

    @property
    def passed(self) -> bool:
        """Everything ran and passed."""
        return bool(self.results) and not self.left and all(result.passed for result in self.results)

    @property
    def failed(self) -> list[RunResult]:
        """Runs that failed."""
        return [result for result in self.results if not result.passed]

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all runs."""
        return sum(result.cpu_s for result in self.results)


def by_signature(results: list[RunResult]) -> list[tuple[str, list[RunResult]]]:
    """Failed runs by what failed, the most frequent first."""
    groups: dict[str, list[RunResult]] = defaultdict(list)
    for result in results:
        if not result.passed:
            groups[result.signature].append(result)
    return sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))


def commit() -> str:
    """The commit of the tree, `+` behind it when files differ; `unknown` outside a repository."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def write(found: Regression, plan: Plan) -> None:
    """Leave every file of the report; a regression of a suite is a line of the history as well."""
    told = _summary(found, plan)
    folder = found.folder
    (folder / SUMMARY).write_text(json.dumps(told, indent=2) + "\n")
    _junit(found).write(str(folder / JUNIT), pretty=True)
    history = folder.parent / HISTORY
    if found.suite is not None:
        names = ("id", "suite", "when", "commit", "runs_total", "passed", "failed", "left", "cpu_s", "wall_s", "simulated_us")
        with history.open("a") as lines:
            lines.write(json.dumps({name: told[name] for name in names}) + "\n")
    (folder / PAGE).write_text(_page(found, plan, told, _trend(history, found.suite)))


def show(console: Console, found: Regression) -> None:
    """What a person sees at the end."""
    total, failed = len(found.results), len(found.failed)
    left = f", {len(found.left)} not run" if found.left else ""
    console.print(
        f"{total - failed} passed, {failed} failed{left} in {found.wall_s:,.0f} s:"
        f" {sum(r.simulated_ns for r in found.results) / 1e6:,.2f} ms simulated in {found.cpu_s:,.0f} CPU s",
        highlight=False,
    )
    for signature, results in by_signature(found.results):
        first = results[0]
        lines = f"{len(results)} x {signature}", f"    {first_line(first.reason)[:LENGTH]}", f"    {first.repeat}", f"    {first.look}"
        console.print(*lines, sep="\n", markup=False, highlight=False, soft_wrap=True)
    console.print(os.path.relpath(found.folder / PAGE), highlight=False, soft_wrap=True)


def _summary(found: Regression, plan: Plan) -> dict[str, Any]:
    outcomes = testplan.suite_results((r.test, r.passed) for r in found.results)
    touched = {name for result in found.results for name in result.points}
    return {
        "id": found.folder.name,
        "ok": found.passed,
        "suite": found.suite,
        "command": found.command,
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.started)),
        "commit": commit(),
        "runs_total": len(found.results),
        "passed": len(found.results) - len(found.failed),
        "failed": len(found.failed),
        "left": len(found.left),
        "not_run": found.left,
        "wall_s": round(found.wall_s, 1),
        "cpu_s": round(found.cpu_s, 1),
        "simulated_us": round(sum(r.simulated_ns for r in found.results) / 1000),
        "signatures": [
            {"signature": signature, "runs": [r.name for r in runs], "reason": runs[0].reason, "repeat": runs[0].repeat}
            for signature, runs in by_signature(found.results)
        ],
        "points": {point.name: point.status(outcomes) for point in plan.points if point.name in touched},
        "runs": [asdict(result) for result in found.results],
    }


def _junit(found: Regression) -> JUnitXml:
    suite = TestSuite(found.suite or "test")
    for result in found.results:
        case = TestCase(result.name, result.test, result.cpu_s)
        if not result.passed:
            failure = Failure(result.signature)
            failure.text = "\n".join((result.reason, f"log: {result.log}", f"again: {result.repeat}", f"look: {result.look}"))
            case.result = [failure]
        suite.add_testcase(case)
    for name in found.left:
        case = TestCase(name, name.rpartition("-")[0])
        case.result = [Error("interrupted before its end")]
        suite.add_testcase(case)
    whole = JUnitXml()
    whole.add_testsuite(suite)
    return whole


def _trend(history: Path, suite: str | None) -> list[dict[str, Any]]:
    if suite is None or not history.is_file():
        return []
    lines = [json.loads(line) for line in history.read_text().splitlines()]
    return [line for line in lines if line["suite"] == suite][-TREND:]


def templates(folder: Path) -> jinja2.Environment:
    """The pages of a folder: what they are given is escaped, and must be there."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _page(found: Regression, plan: Plan, told: dict[str, Any], trend: list[dict[str, Any]]) -> str:
    from_tests = testplan.pytest_results()
    own = testplan.suite_results((r.test, r.passed) for r in found.results)
    points = [(point, point.status({**from_tests, **own})) for point in plan.points]
    tested = testplan.PYTEST_RESULTS.with_name(SUMMARY)
    return templates(Path(__file__).parent).get_template("report.html.j2").render(
        told=told,
        trend=trend,
        groups=by_signature(found.results),
        points=points,
        tested=json.loads(tested.read_text()) if tested.is_file() else None,
        slowest=sorted(found.results, key=lambda r: -r.cpu_s)[:SLOWEST],
        results=found.results,
    )
