"""The runner on runs that simulate nothing: every run comes to a result, whatever becomes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tb.cosim.toolchain import ROOT
from tb.regress import runner
from tb.regress.runner import LiveProgress, carry_out
from tb.regress.spec import RunResult, RunSpec
from tests.regress import fakes

WAIT_S = 60


class Seen:
    """A watch."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, result: RunResult, running: int) -> None:
        self.names.append(result.name)


@pytest.mark.parametrize("jobs", [1, 3])
def test_results_come_in_the_order_of_the_runs(tmp_path: Path, jobs: int) -> None:
    specs = [fakes.spec(test, seed) for seed in (1, 2) for test in ("fine", "wrong")]
    seen = Seen()
    ended = carry_out(specs, tmp_path, runner.pool(jobs), fakes.run, seen)
    assert [(r.name, r.passed) for r in ended.results] == [("fine-1", True), ("wrong-1", False), ("fine-2", True), ("wrong-2", False)]
    assert ended.left == [] and sorted(seen.names) == sorted(s.name for s in specs)
    assert (tmp_path / "wrong-2/result.json").is_file()


class Elsewhere(Executor):
    """An engine of another kind: it carries out when it is asked, in this thread."""

    def __init__(self) -> None:
        self.submitted: list[str] = []

    def submit(self, fn: Any, /, *args: Any, **more: Any) -> Future[Any]:
        self.submitted.append(args[0].name)
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **more))
        except OSError as error:
            future.set_exception(error)
        return future


def test_any_executor_will_do_and_a_run_that_raises_is_a_failed_one(tmp_path: Path) -> None:
    specs = [fakes.spec("broken", 3), fakes.spec("fine"), fakes.spec("broken", 4)]
    engine = Elsewhere()
    ended = carry_out(specs, tmp_path, engine, fakes.run, Seen())
    assert engine.submitted == ["broken-3", "fine-1", "broken-4"]
    assert [r.passed for r in ended.results] == [False, True, False]
    first, _, other = ended.results
    assert first.reason == "OSError: no such file: /tmp/3"
    assert first.signature == other.signature == "run: OSError: no such file: #"
    assert first.repeat == "make sim TEST=broken SEED=3"
    assert RunResult.read(tmp_path / "broken-3/result.json") == first


def interrupted(spec: RunSpec, folder: Path) -> RunResult:
    raise KeyboardInterrupt


def test_what_an_interrupt_prevents_is_named(tmp_path: Path) -> None:
    class Interrupts(Seen):
        def __call__(self, result: RunResult, running: int) -> None:
            super().__call__(result, running)
            raise KeyboardInterrupt

    specs = [fakes.spec("fine", seed) for seed in (1, 2, 3)]
    ended = carry_out(specs, tmp_path, ThreadPoolExecutor(1), fakes.run, Interrupts())
    assert len(ended.results) == 1 and len(ended.left) == 2
    assert {r.name for r in ended.results} | set(ended.left) == {"fine-1", "fine-2", "fine-3"}


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_tells_failures_at_once(tmp_path: Path, terminal: bool) -> None:
    out = StringIO()
    console = Console(file=out, force_terminal=terminal, width=200)
    with LiveProgress(console, 20, 2) as watch:
        for seed in range(19):
            watch(fakes.run(fakes.spec("fine", seed), tmp_path / f"{seed}"), 2)
        watch(fakes.run(fakes.spec("wrong", 19), tmp_path / "wrong"), 0)
    told = out.getvalue()
    assert "FAILED wrong-19: tests.fake.run: AssertionError: frame # of guest # at # differs" in told
    if terminal:
        assert "20/20" in told and "1 failed, 0 running" in told
    else:
        assert "18 of 20 runs, 0 failed" in told and told.count("\n") == 10


SCRIPT = """
import signal
import sys
from pathlib import Path
from tb.regress import __main__, one, regression, runner
from tests.regress import fakes

# a shell's background jobs ignore it
signal.signal(signal.SIGINT, signal.default_int_handler)

class Watched(runner.LiveProgress):
    def __call__(self, result, running):
        super().__call__(result, running)
        (Path(sys.argv[1]).parent / f"counted-{result.name}").touch()

runner.LiveProgress = Watched
one.run = fakes.run
regression.build_all = lambda console, specs: None
regression.describe = lambda *rest: [fakes.spec("fine"), fakes.spec("wrong"), *(fakes.spec("slow", n) for n in range(4))]
if __name__ == "__main__":
    sys.exit(__main__.main(["--suite", "smoke", "--jobs", "2", "--folder", sys.argv[1]]))
"""


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_a_complete_report_and_no_process(tmp_path: Path, by: signal.Signals) -> None:
    script = tmp_path / "interrupted.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path / "out")], cwd=ROOT, env=environment,
                               stdout=subprocess.PIPE, text=True)  # fmt: skip
    try:
        limit = time.monotonic() + WAIT_S
        while len([*tmp_path.glob("out/*/runs/slow-*/started"), *tmp_path.glob("counted-*")]) < 4:
            assert process.poll() is None and time.monotonic() < limit, "two quick runs did not end, or two slow ones did not start"
            time.sleep(0.1)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(by)
        told = process.communicate(timeout=WAIT_S)[0]
    finally:
        process.kill()
    assert process.returncode == 130
    assert "1 passed, 1 failed, 4 not run" in told
    [folder] = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["ok"], summary["passed"], summary["failed"], summary["left"]) == (False, 1, 1, 4)
    assert sorted(summary["not_run"]) == [f"slow-{n}" for n in range(4)]
    assert "Interrupted: 4 runs did not end" in (folder / "report.html").read_text()
    assert (folder / "results.xml").is_file() and (folder.parent / "history.jsonl").is_file()
    assert len(children) >= 2
    assert not [pid for pid in children if Path(f"/proc/{pid}/cwd").exists()]
