"""The block bench of arming, moderation and MSI-X: build once, run its cocotb modules."""

from __future__ import annotations

import pytest

from tb.cosim.run import run_block
from tb.cosim.toolchain import ROOT, Model, build
from tb.unit.models import recipe

SEEDS = (1, 2, 3, 4)


@pytest.fixture(scope="module")
def model() -> Model:
    return build(recipe("interrupt"))


def test_directed(model: Model) -> None:
    """Every directed test of `tb/unit/interrupt/test_directed.py`."""
    result = run_block(model, "tb.unit.interrupt.test_directed", ROOT / "build/test/interrupt/directed", seed=1)
    assert result.passed, result.tests


@pytest.mark.parametrize("seed", SEEDS)
def test_random(model: Model, seed: int) -> None:
    """Random arming and arrival against the oracle; no guest sleeps while entries wait."""
    folder = ROOT / f"build/test/interrupt/random-{seed}"
    result = run_block(model, "tb.unit.interrupt.test_random", folder, seed=seed)
    assert result.passed, result.tests
