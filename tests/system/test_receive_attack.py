"""Attacks on receivers and on the wire, line faults, and interrupts from the line to the guest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tb.cosim.run import run_model
from tb.cosim.toolchain import build_machine

CASES = ["mac_flood", "pause_attack", "pause_from_wire", "moderation", "short_frames", "send_only"]
SEEDED = ["vlan_escape", "filters", "line_faults", "wake_ups"]
SEEDS = [1, 2, 3]


def simulate(folder: Path, case: str, seed: int) -> None:
    result = run_model(build_machine(), "tests.system.sim_receive_attack", folder, seed=seed,
                       environment={"MYR_CASE": case}, timeout_s=300)
    assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"


@pytest.mark.parametrize("case", CASES)
def test_case(tmp_path: Path, case: str) -> None:
    simulate(tmp_path, case, 1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case", SEEDED)
def test_random(tmp_path: Path, case: str, seed: int) -> None:
    simulate(tmp_path, case, seed)
