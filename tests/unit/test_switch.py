"""The block bench of the switch and the frame buffer: build once, run its cocotb modules."""

from __future__ import annotations

import pytest

from tb.cosim.run import run_block
from tb.cosim.toolchain import ROOT, Model, build
from tb.unit.models import recipe

SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def model() -> Model:
    return build(recipe("switch"))


@pytest.mark.parametrize("module", ["test_switch", "test_frames"])
@pytest.mark.parametrize("seed", SEEDS)
def test_switch(model: Model, module: str, seed: int) -> None:
    """Every test of `tb/unit/switch/<module>.py`."""
    result = run_block(model, f"tb.unit.switch.{module}", ROOT / f"build/test/switch/{module}-{seed}", seed=seed)
    assert result.passed, result.tests
