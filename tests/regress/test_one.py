"""One run from its description, on the RTL: the same description gives the same digest, and a hung one ends at its bound."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tb.cosim.toolchain import ROOT, Variant
from tb.regress import models, one
from tb.regress.spec import RunResult, RunSpec, SpecError


def spec(model: str = "machine", module: str = "tests.system.sim_exchange", seed: int = 1, bound_us: int = 100_000) -> RunSpec:
    job = {"plan": "random", "disturb": False} if model == "machine" else {}
    content = models.recipe(model, Variant.PLAIN).content()
    return RunSpec("some", module, model, job, seed, bound_us, Variant.PLAIN, content, ("a_point",))


def test_a_description_says_everything(tmp_path: Path) -> None:
    """By the command from the file alone, and again in this process: the same digest; by another seed, another."""
    path = tmp_path / "first/run.json"
    path.parent.mkdir()
    spec().write(path)
    done = subprocess.run([sys.executable, "-m", "tb.regress.one", str(path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "passed: some-1" in done.stdout
    first = RunResult.read(path.with_name("result.json"))
    executable = models.recipe("machine", Variant.PLAIN).folder() / "sim"
    built = executable.stat().st_mtime_ns
    again = one.run(spec(), tmp_path / "again")
    other = one.run(spec(seed=2), tmp_path / "other")
    assert first.passed and again.passed and other.passed
    assert first.digest == again.digest != other.digest
    assert (first.simulated_ns, first.points) == (again.simulated_ns, ("a_point",))
    assert first.simulated_ns > 10_000 and again.cpu_s > 0.1
    assert RunSpec.read(tmp_path / "again/run.json") == spec()
    # another seed is no other model
    assert executable.stat().st_mtime_ns == built
    # what is in the digest is what the machine did
    told = json.loads((tmp_path / "again/machine.json").read_text())
    assert told["records"] > 100 and told["frames"] > 10


def test_a_run_of_other_rtl_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANT", "runt_limit")
    with pytest.raises(SpecError, match=r"some-1: it is of the RTL with PLANT=, and PLANT=runt_limit is set"):
        one.run(spec("mac"), tmp_path)


def test_a_random_system_leaves_its_description_and_its_plan(tmp_path: Path) -> None:
    """Both repeat it: the one here, the other by itself and for the shrinker."""
    job = {"constraints": "tests/constraints/smoke.toml", "mode": "iommu"}
    result = one.run(replace(spec(module="tb.uvm.tests.random"), job=job), tmp_path)
    assert result.passed
    assert RunSpec.read(tmp_path / "run.json").job == job
    assert json.loads((tmp_path / "uvm.json").read_text())["signature"] is None


def test_a_hung_machine_ends_at_its_bound_and_says_who_waits_for_what(tmp_path: Path) -> None:
    result = one.run(spec(bound_us=40), tmp_path)
    assert not result.passed and result.simulated_ns == 40_000
    assert result.signature == "tests.system.sim_exchange.run: not done after # ns of simulated time"
    for words in ("waits: ", "until cycle", "credits of the NIC: ", "to the NIC: ", "processors: ", "line: "):
        assert words in result.reason, words
    assert result.repeat == "make sim TEST=some SEED=1"
    assert RunResult.read(tmp_path / "result.json") == result


def test_a_hung_block_ends_at_its_bound(tmp_path: Path) -> None:
    result = one.run(spec("windows", "tb.unit.windows.test_random", bound_us=2), tmp_path / "hung")
    assert not result.passed and "not done after 2000 ns of simulated time" in result.reason
    fine = one.run(spec("windows", "tb.unit.windows.test_random"), tmp_path / "fine")
    assert fine.passed and fine.signature == "" == fine.reason and fine.digest


def test_other_sources_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strange = replace(spec(), model_hash="0123456789abcdef")
    with pytest.raises(SpecError, match="model machine is .* in this tree, the description is of 0123456789abcdef"):
        one.run(strange, tmp_path)
    path = tmp_path / "run.json"
    strange.write(path)
    assert one.main([str(path)]) == 2
    assert "sources, flags or tools differ" in capsys.readouterr().err
    assert one.main([str(tmp_path / "none.json")]) == 2
    assert not (tmp_path / "result.json").exists()


def test_a_module_that_cannot_be_loaded_is_a_failed_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.json"
    spec(module="tests.regress.nothing").write(path)
    assert one.main([str(path)]) == 1
    result = RunResult.read(tmp_path / "result.json")
    assert not result.passed and "ModuleNotFoundError" in result.signature
    assert "again: make sim TEST=some SEED=1" in capsys.readouterr().err


def test_the_digest_is_of_the_trace_the_wire_the_fates_and_the_times(tmp_path: Path) -> None:
    told = {"cycles": 1, "records": 1, "trace": "a", "frames": 1, "wire": "b"}

    def digest(machine: dict[str, object], why: str | None = None, ns: float = 5.0) -> str:
        (tmp_path / "machine.json").write_text(json.dumps(machine))
        return one._digest(one._Outcome({"t": why}, {"t": ns}, tmp_path / "log", 0), tmp_path)

    digests = [digest(told), digest(told | {"trace": "c"}), digest(told | {"wire": "c"}), digest(told, ns=6.0), digest(told, "late")]
    assert len(set(digests)) == len(digests) and digest(told) == digests[0]
    # words may name addresses of this process
    assert digest(told, "late by 0x7f00") == digests[-1]
    (tmp_path / "machine.json").unlink()
    assert one._digest(one._Outcome({}, {}, tmp_path / "log", 1), tmp_path) == ""


def test_make_sim_that_breaks_off_tells_what_the_simulation_said(tmp_path: Path) -> None:
    """Its bound is over long before the guests have booted; a whole one is in the suites."""
    short = replace(spec(module="tb.sim", bound_us=20), job={"guests": 1})
    result = one.run(short, tmp_path)
    assert not result.passed and result.simulated_ns == 20_000
    assert result.signature == "tb.sim.rtl_job.simulate: not done after # ns of simulated time"
    assert "waits: " in result.reason and result.log.endswith("run.log")
