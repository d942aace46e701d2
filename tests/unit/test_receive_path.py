"""The block bench of the receive side's data path: build once, run its cocotb modules."""

from __future__ import annotations

import pytest

from tb.cosim.run import run_block
from tb.cosim.toolchain import ROOT, Model, build
from tb.unit.models import recipe

SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def model() -> Model:
    return build(recipe("receive"))


def test_directed(model: Model) -> None:
    """Every directed test of `tb/unit/receive/test_directed.py`."""
    result = run_block(model, "tb.unit.receive.test_directed", ROOT / "build/test/receive/directed", seed=1)
    assert result.passed, result.tests


@pytest.mark.parametrize("seed", SEEDS)
def test_random(model: Model, seed: int) -> None:
    """Random frames, buffers and pressure against the oracle."""
    folder = ROOT / f"build/test/receive/random-{seed}"
    result = run_block(model, "tb.unit.receive.test_random", folder, seed=seed)
    assert result.passed, result.tests
