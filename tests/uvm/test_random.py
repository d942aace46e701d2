"""Constrained random whole systems on the RTL; seeds are printed, and the same seed is the same run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.uvm.support import CONSTRAINTS, results, run


@pytest.mark.parametrize(("constraints", "mode", "seed"), [
    ("full", "iommu", 1), ("full", "iommu", 3), ("full", "windows", 2), ("starved", "iommu", 1), ("starved", "validated", 2),
    ("flood", "iommu", 1),
])
def test_random(tmp_path: Path, constraints: str, mode: str, seed: int) -> None:
    result = run(tmp_path, seed=seed, constraints=str(CONSTRAINTS / f"{constraints}.toml"), mode=mode)
    assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"


def test_the_same_seed_is_the_same_run(tmp_path: Path) -> None:
    """From constraints, and again from the plan that the run has left behind."""
    first, again = tmp_path / "first", tmp_path / "again"
    assert run(first, seed=9, constraints=str(CONSTRAINTS / "starved.toml")).passed
    assert run(again, seed=9, plan=str(first / "uvm.json")).passed
    assert results(first) == results(again)
    assert (first / "coverage.json").read_bytes() == (again / "coverage.json").read_bytes()
