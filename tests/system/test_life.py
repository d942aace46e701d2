"""Lives and deaths of a guest beside two busy siblings on the RTL; in mode native, of an application of the NIC's owner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hypervisor_model.sharing import Sharing
from tb.cosim.run import run_model
from tb.cosim.toolchain import build_machine

ROUNDS = 50


@pytest.mark.parametrize("sharing", list(Sharing))
def test_lives_and_deaths_beside_busy_siblings(tmp_path: Path, sharing: Sharing) -> None:
    job = {"sharing": sharing, "seed": 1, "rounds": ROUNDS}
    result = run_model(build_machine(), "tests.system.sim_life", tmp_path, seed=1,
                       environment={"MYR_JOB": json.dumps(job)}, timeout_s=300)
    assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"
