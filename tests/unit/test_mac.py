"""The bench of the line's blocks: build once, run every test of its cocotb module."""

from __future__ import annotations

import pytest

from tb.cosim.run import run_block
from tb.cosim.toolchain import ROOT, Model, build_block, rtl_sources

NAMES = ("myr_pkg", "myr_abi_pkg", "myr_nic_pkg", "myr_crc32_pkg", "myr_mac_rx", "myr_rx_buffer", "myr_mac_tx")


@pytest.fixture(scope="module")
def model() -> Model:
    sources = [path for path in rtl_sources() if path.stem in NAMES]
    return build_block("mac", [*sources, ROOT / "tb/unit/mac/myr_mac_bench.sv"], "myr_mac_bench")


@pytest.mark.parametrize("seed", [1, 2])
def test_mac(model: Model, seed: int) -> None:
    result = run_block(model, "tb.unit.mac.test_mac", ROOT / f"build/test/mac-{seed}", seed=seed)
    assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"
