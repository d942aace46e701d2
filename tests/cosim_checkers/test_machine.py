"""The protocol checkers in the whole machine: they are there, they count, they can be switched off, and they end a run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tb.cosim.checkers import generate
from tb.cosim.run import RunResult, run_model
from tb.cosim.toolchain import build_machine
from tests.cosim_checkers.sim_machine import JOB

# Of the rules that one guest's traffic cannot touch: nothing pauses here.
UNTOUCHED = {"ETH-PAUSE"}


def simulate(folder: Path, **config: int) -> RunResult:
    return run_model(build_machine(), "tests.cosim_checkers.sim_machine", folder, seed=1,
                     environment={JOB: json.dumps(config)}, timeout_s=120)


def applied(result: RunResult) -> dict[tuple[str, str], int]:
    """Stream and rule to how often, from the report at the end of a run."""
    found = re.findall(r"^\[myr_check_\w+\] ([^:]+): (\S+) checked (\d+) times$", result.log.read_text(), re.MULTILINE)
    return {(stream, rule): int(times) for stream, rule, times in found}


def test_every_rule_is_applied_to_good_traffic(tmp_path: Path) -> None:
    result = simulate(tmp_path)
    assert result.passed, result
    found = applied(result)
    assert {rule for _, rule in found} == {rule.ident for rule in generate.load()}
    touched = {rule for (_, rule), times in found.items() if times}
    assert touched == {rule.ident for rule in generate.load()} - UNTOUCHED
    # what passes the NIC's pins upstream passes the IOMMU: each header of a write once on either side
    assert found["nic.up", "TLP-TYPE"] == found["mem.up", "TLP-TYPE"] > 0


def test_a_rule_that_is_broken_ends_the_run_and_is_in_the_summary(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # software configures 128 bytes; this root complex returns 256 at once
    result = simulate(tmp_path, mps=256)
    assert not result.passed and result.tests, "the process did not end by itself"
    assert any(re.search(r"\[myr_check_tlp\] cycle \d+ mem\.dn: TLP-MPS No payload is longer than", e) for e in result.errors)
    summary = capfd.readouterr().err
    assert "TLP-MPS" in summary and result.repeat in summary


def test_switched_off(tmp_path: Path) -> None:
    result = simulate(tmp_path, mps=256, checkers=0)
    assert result.passed and not applied(result)
