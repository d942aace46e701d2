"""The block bench of window table, authorisation and fence: build once, run its cocotb modules."""

from __future__ import annotations

import pytest

from tb.cosim.run import run_block
from tb.cosim.toolchain import ROOT, Model, build_block, rtl_sources

SEEDS = (1, 2, 3, 4)
BLOCKS = ("myr_abi_pkg", "myr_nic_pkg", "myr_rr_arb", "myr_window_table", "myr_authorise", "myr_fence", "myr_refusal_log")


@pytest.fixture(scope="module")
def model() -> Model:
    sources = [path for path in rtl_sources("common", "nic", "regs") if path.stem in BLOCKS]
    return build_block("windows", [*sources, ROOT / "tb/unit/windows/windows_bench.sv"], "windows_bench")


def test_directed(model: Model) -> None:
    """Every directed test of `tb/unit/windows/test_directed.py`."""
    result = run_block(model, "tb.unit.windows.test_directed", ROOT / "build/test/windows/directed", seed=1)
    assert result.passed, result.tests


@pytest.mark.parametrize("seed", SEEDS)
def test_random(model: Model, seed: int) -> None:
    """Random windows, ranges, accesses and fences against the oracle."""
    result = run_block(model, "tb.unit.windows.test_random", ROOT / f"build/test/windows/random-{seed}", seed=seed)
    assert result.passed, result.tests
