"""What a run of the tests leaves beside its JUnit file, and what the figures make of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tb.bench.verification import regression_rows, rows_of_tests
from tb.cosim.toolchain import ROOT
from tb.regress.report import Regression, commit
from tests.conftest import Summary
from tests.regress import fakes


def test_a_run_of_the_tests_leaves_its_figures(tmp_path: Path) -> None:
    some = "tests/regress/test_signature.py"
    for workers in ("0", "1"):
        junit = tmp_path / workers / "results.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-n", workers, f"--junitxml={junit}", some, "-k", "masked or place"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        told = json.loads((junit.parent / "summary.json").read_text())
        assert told["ok"] and (told["tests"], told["failed"]) == (9, 0)
        assert told["commit"] == commit() and "-k" in told["arguments"]
        [cpu, wall] = rows_of_tests(junit.parent / "summary.json")
        assert (cpu.name, cpu.value, wall.name, wall.value) == ("verif.test_cpu_s", told["cpu_s"], "verif.test_s", told["wall_s"])
        assert told["when"] in cpu.note and told["commit"] in cpu.note and "9 tests, 0 failed" in cpu.note


def test_no_run_of_the_tests_is_no_figure(tmp_path: Path) -> None:
    assert rows_of_tests(tmp_path / "summary.json") == []


def test_runs_for_an_hour_of_cpu(tmp_path: Path) -> None:
    results = [fakes.run(fakes.spec("fine", seed), tmp_path / f"{seed}") for seed in range(4)]
    [row] = regression_rows(Regression(tmp_path, "", "smoke", 0.0, 9.0, results, []))
    # 2.5 CPU s each
    assert (row.name, row.value, row.unit) == ("verif.sims_per_cpu_hour", 1440.0, "runs/h")
    assert row.note == "smoke: 4 runs, 10 CPU s"


def test_time_of_the_processes_that_do_the_work_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = Summary(tmp_path / "summary.json", [])
    monkeypatch.setattr(os, "times", lambda: os.times_result((1.0, 2.0, 30.0, 40.0, 999.0)))
    summary.pytest_unconfigure()
    assert json.loads((tmp_path / "summary.json").read_text())["cpu_s"] == 73.0
