"""One regression: from what was asked for to its report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from tb.cosim.plant import planted
from tb.cosim.toolchain import build
from tb.regress import models, one, report, runner, suites, testplan
from tb.regress.config import RegressConfig
from tb.regress.report import Regression
from tb.regress.spec import RunResult, RunSpec
from tb.regress.suites import Suites, SuiteTest
from tb.regress.testplan import Plan


class UsageError(ValueError):
    """What was asked for is not there: the message says what is."""


def describe(config: RegressConfig, known: Suites, plan: Plan) -> list[RunSpec]:
    """Every run of the regression, one seed of all tests after the other."""
    hashes: dict[str, str] = {}
    specs: list[tuple[int, RunSpec]] = []
    for test, seeds in _wanted(config, known):
        if test.model not in hashes:
            hashes[test.model] = models.recipe(test.model, config.variant).content()
        points = plan.of_suite_test(test.name)
        for turn in range(seeds):
            spec = RunSpec(
                test=test.name,
                module=test.module,
                model=test.model,
                job=dict(test.job),
                seed=config.first_seed + turn,
                bound_us=test.bound_us,
                variant=config.variant,
                model_hash=hashes[test.model],
                points=points,
                plant=planted(),
            )
            specs.append((turn, spec))
    # a suite cut short has seen every test
    return [spec for _, spec in sorted(specs, key=lambda item: item[0])]


def _wanted(config: RegressConfig, known: Suites) -> list[tuple[SuiteTest, int]]:
    """Tests with their numbers of seeds."""
    if config.suite is not None:
        if config.suite not in known.about:
            raise UsageError(f"SUITE={config.suite}: must be one of {', '.join(known.about)}")
        return [
            (test, config.seeds if config.seeds and not test.directed else test.seeds[config.suite])
            for test in known.of(config.suite)
        ]
    test = known.test(config.test or "")
    if test is None:
        names = ", ".join(test.name for test in known.tests)
        raise UsageError(f"TEST={config.test}: must be one of {names}")
    return [(test, config.seeds or 1)]


def build_all(console: Console, specs: Sequence[RunSpec]) -> None:
    """Have every model that the runs need compiled: it is done once, and not while processes wait for it."""
    for name, variant in dict.fromkeys((spec.model, spec.variant) for spec in specs):
        made_of = models.recipe(name, variant)
        if not (made_of.folder() / "complete").is_file():
            console.print(f"building the simulator of {name}")
        build(made_of)


def regress(
    console: Console, config: RegressConfig, ended: Callable[[RunResult, Path], None] = lambda result, folder: None
) -> Regression:
    """Build what is missing, run everything, leave and show the report. `ended` is told of each run, with its folder.

    Raises `UsageError`, `SuitesError`, `PlanError` or `ToolchainError` before anything runs.
    """
    plan = testplan.load()
    specs = describe(config, suites.load(config.suites), plan)
    build_all(console, specs)
    what = config.suite or config.test or ""
    started = time.time()
    folder = _folder(config.folder, what, started)
    console.print(f"{what}: {len(specs)} runs, {config.jobs} at a time")
    with runner.LiveProgress(console, len(specs), config.jobs) as progress:

        def watch(result: RunResult, running: int) -> None:
            ended(result, folder / "runs" / result.name)
            progress(result, running)

        done = runner.carry_out(specs, folder / "runs", runner.pool(config.jobs), one.run, watch)
    found = Regression(
        folder=folder,
        command=config.command,
        suite=config.suite,
        started=started,
        wall_s=time.time() - started,
        results=done.results,
        left=done.left,
    )
    report.write(found, plan)
    report.show(console, found)
    return found


def _folder(parent: Path, what: str, started: float) -> Path:
    """A new folder, named by time and suite."""
    name = time.strftime("%Y%m%d-%H%M%S", time.gmtime(started)) + f"-{what}"
    for more in ("", *(f"-{n}" for n in range(2, 100))):
        try:
            (parent / (name + more)).mkdir(parents=True)
        except FileExistsError:
            continue
        return parent / (name + more)
    raise FileExistsError(f"{parent / name}: there are 99 of this name: remove {os.path.relpath(parent)}")
