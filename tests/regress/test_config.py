"""Command line, environment and Makefile: what becomes a regression, and of what."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tb.cosim.toolchain import ROOT, Variant
from tb.regress import suites
from tb.regress.config import parse
from tb.regress.regression import UsageError, describe
from tb.regress.suites import Suites, SuiteTest
from tb.regress.testplan import Plan, Point

PLAN = Plan({"C1": "one"}, (Point("p", "x", ("C1",), "V1", ("suite:a",)),))
SUITES = Suites(
    {"quick": "q"},
    (
        SuiteTest("a", "tests.system.sim_limits", "machine", {"case": "x"}, {"quick": 2}, False, 50, ("C1",)),
        SuiteTest("b", "tests.system.sim_limits", "machine", {}, {"quick": 1}, True, 60, ("C1",)),
        SuiteTest("c", "tb.sim", "machine", {}, {}, False, 70, ("C1",)),
    ),
)


def runs(options: list[str]) -> list[tuple[str, int]]:
    return [(spec.test, spec.seed) for spec in describe(parse(options, {}), SUITES, PLAN)]


def test_a_suite_is_its_tests_with_their_seeds_one_seed_after_the_other() -> None:
    assert runs(["--suite", "quick"]) == [("a", 1), ("b", 1), ("a", 2)]
    assert runs(["--suite", "quick", "--seeds", "3", "--seed", "10"]) == [("a", 10), ("b", 10), ("a", 11), ("a", 12)]
    assert runs(["--test", "c", "--seed", "7"]) == [("c", 7)]
    assert runs(["--test", "a", "--seeds", "2"]) == [("a", 1), ("a", 2)]


def test_a_description_has_everything() -> None:
    [first, second] = describe(parse(["--test", "a", "--seeds", "2", "--waves", "1"], {}), SUITES, PLAN)
    assert (first.module, first.model, first.job, first.bound_us) == ("tests.system.sim_limits", "machine", {"case": "x"}, 50)
    assert first.variant is Variant.WAVES and first.points == ("p",)
    # another seed is no other model, another variant is
    assert first.model_hash == second.model_hash
    [plain] = describe(parse(["--test", "a"], {}), SUITES, PLAN)
    assert plain.model_hash != first.model_hash


def test_what_is_not_there_is_named_with_what_is() -> None:
    with pytest.raises(UsageError, match="SUITE=slow: must be one of quick"):
        runs(["--suite", "slow"])
    with pytest.raises(UsageError, match="TEST=z: must be one of a, b, c"):
        runs(["--test", "z"])


def test_options_win_over_the_environment() -> None:
    environment = {"SUITE": "smoke", "SEEDS": "50", "JOBS": "2", "SEED": "5"}
    config = parse([], environment)
    assert (config.suite, config.seeds, config.jobs, config.first_seed, config.variant) == ("smoke", 50, 2, 5, Variant.PLAIN)
    assert parse(["--seeds", "3"], environment).seeds == 3
    assert config.command == "make sim SUITE=smoke SEEDS=50 SEED=5"
    assert parse(["--test", "a"], {}).command == "make sim TEST=a SEED=1"


def test_regressions_with_a_planted_bug_lie_beside_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse(["--suite", "smoke"], {}).folder == ROOT / "build/regress"
    monkeypatch.setenv("PLANT", "fetch_wrap")
    found = parse(["--suite", "smoke"], {})
    assert found.folder == ROOT / "build/planted/runs/fetch_wrap/regress"
    assert found.command == "PLANT=fetch_wrap make sim SUITE=smoke"


def test_coverage_is_of_smoke_when_nothing_is_said() -> None:
    config = parse([], {"SEEDS": "2"}, coverage=True)
    assert (config.suite, config.variant, config.folder) == ("smoke", Variant.COVERAGE, ROOT / "build/cov")
    assert config.command == "make cov SUITE=smoke SEEDS=2"
    one = parse([], {"TEST": "a", "WAVES": "1"}, coverage=True)
    assert (one.suite, one.test, one.variant) == (None, "a", Variant.COVERAGE) and one.command == "make cov TEST=a SEED=1"
    done = subprocess.run(["make", "-n", "cov", "SUITE=regress"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "-m tb.coverage " in done.stdout + " "


@pytest.mark.parametrize(("environment", "words"), [
    ({}, "one of SUITE and TEST"),
    ({"SUITE": "a", "TEST": "b"}, "one of SUITE and TEST"),
    ({"SUITE": "a", "SEEDS": "0"}, "SEEDS=0: must be a number from 1 to 10000"),
    ({"SUITE": "a", "JOBS": "many"}, "JOBS=many: must be a number from 1 to 256"),
    ({"SUITE": "a", "SEED": "-1"}, "SEED=-1: must be a number from 0 to 4294967295"),
    ({"SUITE": "a", "WAVES": "2"}, "WAVES=2: must be a number from 0 to 1"),
], ids=str)  # fmt: skip
def test_bad_values_are_named(environment: dict[str, str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([], environment)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(("variables", "module"), [
    ([], "tb.sim"),
    (["SEED=3", "MODE=split"], "tb.sim"),
    (["SUITE=smoke", "SEEDS=2"], "tb.regress"),
    (["TEST=traffic.random", "SEED=4"], "tb.regress"),
], ids=str)  # fmt: skip
def test_make_sim_is_a_regression_when_suite_or_test_is_given(variables: list[str], module: str) -> None:
    done = subprocess.run(["make", "-n", "sim", *variables], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"-m {module} " in done.stdout + " "


def test_the_shipped_suites(tmp_path: Path) -> None:
    known = suites.load()
    assert list(known.about) == ["smoke", "regress", "nightly"]
    names = {suite: {test.name for test in known.of(suite)} for suite in known.about}
    assert names["smoke"] < names["regress"] <= names["nightly"] == {test.name for test in known.tests}
