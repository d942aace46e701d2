"""The IOMMU's block bench: build once, run its cocotb modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from tb.cosim.run import run_block
from tb.cosim.toolchain import ROOT, Model, build
from tb.unit.models import recipe

SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def model() -> Model:
    return build(recipe("iommu"))


def test_directed(model: Model) -> None:
    """Every directed test of `tb/unit/iommu/test_directed.py`."""
    result = run_block(model, "tb.unit.iommu.test_directed", ROOT / "build/test/iommu/directed", seed=1)
    assert result.passed, result.tests


@pytest.mark.parametrize("seed", SEEDS)
def test_random(model: Model, seed: int) -> None:
    """Constrained random traffic against the reference walk."""
    folder: Path = ROOT / f"build/test/iommu/random-{seed}"
    result = run_block(model, "tb.unit.iommu.test_random", folder, seed=seed)
    assert result.passed, result.tests
