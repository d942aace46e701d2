"""The RTL against the plan and the reference NIC: sizes, alignments, pieces, rings, stalls, starvation, seeds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tb.cosim.run import run_model
from tb.cosim.toolchain import build_machine

SEEDS = [1, 2, 3, 4, 5, 6]


def simulate(folder: Path, plan: str, seed: int, *, disturb: bool) -> Path:
    """One run of a plan; the folder with its trace and frames."""
    print(f"plan {plan} seed {seed} disturb {disturb}")
    job = {"plan": plan, "seed": seed, "disturb": disturb}
    result = run_model(build_machine(), "tests.system.sim_traffic", folder, seed=seed,
                       environment={"MYR_JOB": json.dumps(job)}, timeout_s=600)
    assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"
    return folder


@pytest.mark.parametrize("seed", SEEDS)
def test_random_guests_on_an_unfriendly_machine(tmp_path: Path, seed: int) -> None:
    simulate(tmp_path, "random", seed, disturb=True)


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_random_guests_on_a_friendly_machine(tmp_path: Path, seed: int) -> None:
    simulate(tmp_path, "random", seed, disturb=False)


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_an_owner_of_the_whole_nic_uses_the_same_driver(tmp_path: Path, seed: int) -> None:
    simulate(tmp_path, "native", seed, disturb=True)


def test_every_alignment_and_piece_count(tmp_path: Path) -> None:
    simulate(tmp_path, "alignment", 1, disturb=False)


def test_every_length(tmp_path: Path) -> None:
    simulate(tmp_path, "sweep", 1, disturb=False)


def test_same_seed_same_bytes_other_seed_other_timing(tmp_path: Path) -> None:
    """The same seed gives the same trace bytes; another gives other timing and the same frames of each guest."""
    def run(name: str, seed: int) -> tuple[bytes, bytes]:
        folder = tmp_path / name
        folder.mkdir()
        job = {"plan": "random", "seed": 7, "disturb": True, "host_seed": seed}
        result = run_model(build_machine(), "tests.system.sim_traffic", folder, seed=seed,
                           environment={"MYR_JOB": json.dumps(job)}, timeout_s=600)
        assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"
        return (folder / "trace.npy").read_bytes(), (folder / "frames.bin").read_bytes()

    first, again, other = run("first", 7), run("again", 7), run("other", 8)
    assert first == again
    assert first[0] != other[0]
