"""The testplan: every test it names is there, every test of the suites is in it, and results become the status of points."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tb.cosim.toolchain import ROOT
from tb.regress import suites, testplan
from tb.regress.testplan import PAGE, STAGES, SUITE, Plan, PlanError, Point, Status, covers, missing, page

GOOD = """
[contract]
C1 = "one"
C2 = "two"
[[point]]
name = "first"
about = "what holds"
contract = ["C2", "C1"]
stage = "V1"
tests = ["tests/a.py::test_x", "suite:limits"]
[[point]]
name = "second"
about = "what holds too"
contract = ["C1"]
stage = "V3"
tests = ["tests/a.py"]
"""


@pytest.fixture(scope="module")
def collected() -> list[str]:
    """Every test that pytest finds."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_every_test_that_the_plan_names_is_there(collected: list[str]) -> None:
    named = [SUITE + test.name for test in suites.load().tests]
    assert missing(testplan.load(), [*collected, *named]) == []


def test_every_test_of_the_suites_belongs_to_a_point() -> None:
    plan = testplan.load()
    assert [test.name for test in suites.load().tests if not plan.of_suite_test(test.name)] == []


def test_contracts_of_a_suites_test_and_of_its_points_meet() -> None:
    plan = testplan.load()
    points = {point.name: point for point in plan.points}
    for test in suites.load().tests:
        of_points = {contract for name in plan.of_suite_test(test.name) for contract in points[name].contract}
        assert of_points & set(test.contract), f"{test.name}: {test.contract}, its points: {of_points}"


def test_every_contract_has_points_of_every_stage() -> None:
    plan = testplan.load()
    assert list(plan.contracts) == [f"C{n}" for n in range(1, 9)]
    assert 60 <= len(plan.points) <= 100
    for contract in plan.contracts:
        assert {point.stage for point in plan.points if contract in point.contract} == set(STAGES), contract


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(testplan.load()), "run `python -m tb.regress.testplan --write`"


def test_a_stale_page_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(testplan, "ROOT", tmp_path)
    monkeypatch.setattr(testplan, "PAGE", tmp_path / "docs.md")
    assert testplan.main(["--check"]) == 1
    assert "docs.md: stale, run" in capsys.readouterr().err
    assert testplan.main(["--write"]) == 0 and testplan.main(["--check"]) == 0
    (tmp_path / "docs.md").write_text("old")
    assert testplan.main(["--check"]) == 1


def load(folder: Path, text: str) -> Plan:
    path = folder / "plan.toml"
    path.write_text(text)
    return testplan.load(path)


@pytest.mark.parametrize(("reference", "test", "is_of"), [
    ("tests/a.py::test_x", "tests/a.py::test_x", True),
    ("tests/a.py::test_x", "tests/a.py::test_x[1-b]", True),
    ("tests/a.py::test_x", "tests/a.py::test_xy", False),
    ("tests/a.py", "tests/a.py::test_x", True),
    ("tests/a", "tests/a/b.py::test_x", True),
    ("tests/a", "tests/ab.py::test_x", False),
    ("suite:limits", "suite:limits.short", True),
    ("suite:limits.short", "suite:limits", False),
    ("suite:limits", "suite:limits_more", False),
])  # fmt: skip
def test_covers(reference: str, test: str, *, is_of: bool) -> None:
    assert covers(reference, test) is is_of


@pytest.mark.parametrize(("results", "status"), [
    ({}, Status.NOT_RUN),
    ({"tests/b.py::test_x": True}, Status.NOT_RUN),
    ({"tests/a.py::test_x[1]": True}, Status.PARTLY),
    ({"tests/a.py::test_x[1]": True, "suite:limits.a": True}, Status.PASSED),
    ({"tests/a.py::test_x[1]": True, "tests/a.py::test_x[2]": False, "suite:limits.a": True}, Status.FAILED),
    ({"suite:limits.a": False}, Status.FAILED),
])  # fmt: skip
def test_status(tmp_path: Path, results: dict[str, bool], status: Status) -> None:
    first = load(tmp_path, GOOD).points[0]
    assert first.status(results) is status
    assert status.good is (status in (Status.PASSED, Status.PARTLY))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    plan = load(tmp_path, GOOD)
    assert missing(plan, ["tests/a.py::test_y", "suite:limits.b"]) == ["point first: tests/a.py::test_x: there is no such test"]
    assert plan.of_suite_test("limits.b") == ("first",) and plan.of_suite_test("other") == ()


@pytest.mark.parametrize(("old", "new", "words"), [
    ('name = "second"', 'name = "first"', "point first: there are two of this name"),
    ('name = "second"', 'name = "The second"', "point The second: name: must be small letters"),
    ('contract = ["C1"]', 'contract = ["C3"]', "point second: contract C3: must be one of C1, C2"),
    ('contract = ["C1"]', "contract = []", "point second: contract: must be a list of names, not empty"),
    ('stage = "V3"', 'stage = "V4"', "point second: stage 'V4': must be one of V1, V2, V3"),
    ('tests = ["tests/a.py"]', 'tests = ""', "point second: tests: must be a list of names"),
    ('tests = ["tests/a.py"]', "", "point second: tests: missing"),
    ('about = "what holds too"', "about = ' '", "point second: about: must be a text"),
    ('stage = "V3"', 'stage = "V3"\nowner = "me"', "point second: owner: no such field"),
    ('C1 = "one"', "C1 = 1", "contract.C1: must be a text"),
    ("[contract]", "[contracts]", "contracts: no such table"),
    ("[contract]", "[contract", "cannot be read"),
])  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in GOOD
    with pytest.raises(PlanError, match=rf"{tmp_path}/plan\.toml: {words}"):
        load(tmp_path, GOOD.replace(old, new))


JUNIT = """<?xml version="1.0"?><testsuites><testsuite name="pytest" tests="3">
<testcase classname="tests.a.test_b" name="test_x[1-&lt;]" time="0.1"/>
<testcase classname="tests.a.test_b" name="test_y"><failure message="no">no</failure></testcase>
<testcase classname="tests.a.test_b" name="test_e"><error message="no">no</error></testcase>
<testcase classname="tests.a.test_b" name="test_z"><skipped/></testcase>
</testsuite></testsuites>"""


def test_results_of_pytest_and_of_the_last_regression(tmp_path: Path) -> None:
    assert testplan.pytest_results(tmp_path / "none.xml") == {} and testplan.last_regression(tmp_path) == {}
    (tmp_path / "results.xml").write_text(JUNIT)
    assert testplan.pytest_results(tmp_path / "results.xml") == {
        "tests/a/test_b.py::test_x[1-<]": True, "tests/a/test_b.py::test_y": False, "tests/a/test_b.py::test_e": False}  # fmt: skip
    for name, passed in (("1", False), ("2", True)):
        (tmp_path / name).mkdir()
        runs = [{"test": "t.a", "passed": passed}, {"test": "t.a", "passed": True}, {"test": "u", "passed": True}]
        (tmp_path / name / "summary.json").write_text(json.dumps({"runs": runs}))
        with (tmp_path / "history.jsonl").open("a") as history:
            history.write(json.dumps({"id": name}) + "\n")
        assert testplan.last_regression(tmp_path) == {"suite:t.a": passed, "suite:u": True}


def test_a_point_without_a_passing_test_is_red(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plan = load(tmp_path, GOOD)
    monkeypatch.setattr(testplan, "load", lambda: plan)
    monkeypatch.setattr(testplan, "pytest_results", lambda: {"tests/a.py::test_x": True})
    monkeypatch.setattr(testplan, "last_regression", dict)
    assert testplan.main([]) == 0
    cells = list(testplan.table(plan, {"tests/a.py::test_y": True}).columns[-1].cells)
    assert cells == ["[red]not run[/red]", "[green]passed[/green]"]
    monkeypatch.setattr(testplan, "pytest_results", lambda: {"tests/a.py::test_y": True})
    assert testplan.main([]) == 1


def test_points_are_under_their_first_contract() -> None:
    shown = page(Plan({"C1": "one", "C2": "two"}, (Point("p", "holds", ("C2", "C1"), "V1", ("a",)),)))
    assert shown.index("## C2") < shown.index("| p | V1 | holds Also C1. | `a` |")
