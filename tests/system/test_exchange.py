"""Frames in every direction on the RTL: sizes, buffers, alignments of buffers, queues, forms, stalls, seeds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tb.cosim.run import run_model
from tb.cosim.toolchain import build_machine

SEEDS = [1, 2, 3, 4, 5, 6]


def simulate(folder: Path, plan: str, seed: int, *, disturb: bool) -> None:
    print(f"plan {plan} seed {seed} disturb {disturb}")
    job = {"plan": plan, "seed": seed, "disturb": disturb}
    result = run_model(build_machine(), "tests.system.sim_exchange", folder, seed=seed,
                       environment={"MYR_JOB": json.dumps(job)}, timeout_s=900)
    assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"


@pytest.mark.parametrize("seed", SEEDS)
def test_random_exchange_on_an_unfriendly_machine(tmp_path: Path, seed: int) -> None:
    simulate(tmp_path, "random", seed, disturb=True)


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_random_exchange_on_a_friendly_machine(tmp_path: Path, seed: int) -> None:
    simulate(tmp_path, "random", seed, disturb=False)


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_an_owner_of_the_whole_nic(tmp_path: Path, seed: int) -> None:
    simulate(tmp_path, "native", seed, disturb=True)


@pytest.mark.parametrize("seed", SEEDS[:2])
@pytest.mark.parametrize("mode", ["windows", "validated"])
def test_modes_that_the_nic_checks(tmp_path: Path, mode: str, seed: int) -> None:
    simulate(tmp_path, mode, seed, disturb=True)


def test_every_length(tmp_path: Path) -> None:
    simulate(tmp_path, "sweep", 1, disturb=False)
