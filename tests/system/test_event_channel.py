"""The NIC's interrupts as events of guests, on the RTL."""

from __future__ import annotations

from pathlib import Path

from tb.cosim.run import run_model
from tb.cosim.toolchain import build_machine


def test_armed_completions_wake_the_guest(tmp_path: Path) -> None:
    assert run_model(build_machine(), "tests.system.sim_event_channel", tmp_path, seed=1).passed
