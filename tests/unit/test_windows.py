"""The block bench of window table, authorisation and fence: build once, run its cocotb modules."""

from __future__ import annotations

import pytest

from tb.cosim.run import run_block
from tb.cosim.toolchain import ROOT, Model, build
from tb.unit.models import recipe

SEEDS = (1, 2, 3, 4)


@pytest.fixture(scope="module")
def model() -> Model:
    return build(recipe("windows"))


def test_directed(model: Model) -> None:
    """Every directed test of `tb/unit/windows/test_directed.py`."""
    result = run_block(model, "tb.unit.windows.test_directed", ROOT / "build/test/windows/directed", seed=1)
    assert result.passed, result.tests


@pytest.mark.parametrize("seed", SEEDS)
def test_random(model: Model, seed: int) -> None:
    """Random windows, ranges, accesses and fences against the oracle."""
    result = run_block(model, "tb.unit.windows.test_random", ROOT / f"build/test/windows/random-{seed}", seed=seed)
    assert result.passed, result.tests
