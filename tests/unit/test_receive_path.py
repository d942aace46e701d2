"""The block bench of the receive side's data path: build once, run its cocotb modules."""

from __future__ import annotations

import pytest

from tb.cosim.run import run_block
from tb.cosim.toolchain import ROOT, Model, build_block, rtl_sources

SEEDS = (1, 2, 3)
BLOCKS = (
    "myr_pkg",
    "myr_abi_pkg",
    "myr_nic_pkg",
    "myr_fifo",
    "myr_rr_arb",
    "myr_authorise",
    "myr_rx_ring",
    "myr_rx_place",
    "myr_dma_write",
    "myr_rx_sum",
    "myr_toeplitz",
    "myr_rss_table",
    "myr_rx_completion",
    "myr_mwr_arb",
    "myr_tlp_tx",
)


@pytest.fixture(scope="module")
def model() -> Model:
    sources = [path for path in rtl_sources("common", "nic", "regs") if path.stem in BLOCKS]
    return build_block("receive", [*sources, ROOT / "tb/unit/receive/receive_bench.sv"], "receive_bench")


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
