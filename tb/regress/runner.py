"""Carries out runs through a `concurrent.futures.Executor`: here a pool of processes, elsewhere another engine."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tb.regress.signature import signature
from tb.regress.spec import RESULT_FILE, RunResult, RunSpec

PLAIN_STEPS: Final = 10
"""Lines of progress when nobody watches a terminal."""


@dataclass(frozen=True)
class Ended:
    """What came of a regression. `left`: names of runs that an interrupt has prevented."""

    results: list[RunResult]
    left: list[str]


class Watch(Protocol):
    """Is told after every run."""

    def __call__(self, result: RunResult, running: int) -> None: ...


def pool(jobs: int) -> Executor:
    """`jobs` processes of this machine."""
    # not forked: the progress display is a thread
    return ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=os.setpgrp)


def carry_out(
    specs: Sequence[RunSpec],
    folder: Path,
    executor: Executor,
    run: Callable[[RunSpec, Path], RunResult],
    watch: Watch,
) -> Ended:
    """`run` every spec in a folder of its own below `folder`. An interrupt (SIGINT) ends what runs and returns."""
    futures: dict[Future[RunResult], RunSpec] = {}
    results: list[RunResult] = []
    done: set[str] = set()
    try:
        for spec in specs:
            futures[executor.submit(run, spec, folder / spec.name)] = spec
        for future in as_completed(futures):
            spec = futures[future]
            error = future.exception()
            result = future.result() if error is None else _lost(spec, folder / spec.name, error)
            results.append(result)
            done.add(spec.name)
            watch(result, sum(other.running() for other in futures))
    except KeyboardInterrupt:
        end_processes()
    finally:
        executor.shutdown(cancel_futures=True)
    order = {spec.name: number for number, spec in enumerate(specs)}
    results.sort(key=lambda result: order[result.name])
    return Ended(results, [spec.name for spec in specs if spec.name not in done])


def end_processes() -> None:
    """End the pool's processes, each with the simulation it waits for: a process leads a group (`pool`)."""
    for process in multiprocessing.active_children():
        if process.pid is not None:
            try:
                os.killpg(process.pid, signal.SIGTERM)
            except ProcessLookupError:
                continue


def _lost(spec: RunSpec, folder: Path, error: BaseException) -> RunResult:
    """The result of a run that did not come to one."""
    reason = f"{type(error).__name__}: {error}"
    result = RunResult(
        name=spec.name,
        test=spec.test,
        seed=spec.seed,
        passed=False,
        signature=signature("run", reason),
        reason=reason,
        simulated_ns=0.0,
        cpu_s=0.0,
        digest="",
        log="",
        repeat=spec.repeat,
        look=spec.look,
        points=spec.points,
    )
    folder.mkdir(parents=True, exist_ok=True)
    result.write(folder / RESULT_FILE)
    return result


class LiveProgress:
    """A `Watch` that shows a person how far the regression is; a context manager."""

    def __init__(self, console: Console, total: int, jobs: int) -> None:
        columns = (
            TextColumn("simulating"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("done, {task.fields[failed]} failed, {task.fields[running]} running,"),
            TimeElapsedColumn(),
            TextColumn("so far,"),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        self._console = console
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._jobs = jobs
        self._total = total
        self._done = 0
        self._failed = 0
        self._task = self._bar.add_task("simulating", total=total, failed=0, running=min(jobs, total))

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, result: RunResult, running: int) -> None:
        self._done += 1
        self._failed += not result.passed
        # the pool calls those running that its processes take next
        self._bar.update(self._task, completed=self._done, failed=self._failed, running=min(self._jobs, running))
        if not result.passed:
            self._console.print(f"FAILED {result.name}: {result.signature}", markup=False, highlight=False, soft_wrap=True)
        elif not self._console.is_terminal and self._step(self._done) > self._step(self._done - 1):
            self._console.print(f"{self._done} of {self._total} runs, {self._failed} failed")

    def _step(self, done: int) -> int:
        return done * PLAIN_STEPS // self._total
