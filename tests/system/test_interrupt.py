"""Interrupts through the whole machine: NIC, IOMMU, root complex, platform."""

from __future__ import annotations

from pathlib import Path

from tb.cosim.run import run_model
from tb.cosim.toolchain import build_machine


def test_completion_then_interrupt(tmp_path: Path) -> None:
    assert run_model(build_machine(), "tests.system.sim_interrupt", tmp_path, seed=1).passed
