"""A virtual function behind PCI front and back end, and timers of vCPUs, on the RTL."""

from __future__ import annotations

from pathlib import Path

from tb.cosim.run import run_model
from tb.cosim.toolchain import build_machine


def test_a_guest_finds_its_function_and_its_time(tmp_path: Path) -> None:
    result = run_model(build_machine(), "tests.system.sim_pci", tmp_path, seed=1)
    assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"
