"""The bench of the line's blocks: build once, run every test of its cocotb module."""

from __future__ import annotations

import pytest

from tb.cosim.run import run_block
from tb.cosim.toolchain import ROOT, Model, build
from tb.unit.models import recipe


@pytest.fixture(scope="module")
def model() -> Model:
    return build(recipe("mac"))


@pytest.mark.parametrize("seed", [1, 2])
def test_mac(model: Model, seed: int) -> None:
    result = run_block(model, "tb.unit.mac.test_mac", ROOT / f"build/test/mac-{seed}", seed=seed)
    assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"
