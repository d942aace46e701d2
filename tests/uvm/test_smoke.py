"""Each protection mode once: everything that was to be compared was, and nothing differed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.uvm.support import CONSTRAINTS, results, run


@pytest.mark.parametrize("mode", ["iommu", "windows", "validated", "native"])
def test_smoke(tmp_path: Path, mode: str) -> None:
    result = run(tmp_path, constraints=str(CONSTRAINTS / "smoke.toml"), mode=mode)
    assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"
    compared = results(tmp_path)["compared"]
    assert min(compared[name] for name in ("wire frames", "deliveries", "send completions", "counters")) > 10, compared


def test_small_sequences(tmp_path: Path) -> None:
    """Raw accesses of guests without a driver."""
    result = run(tmp_path, "pieces", seed=2)
    assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"
