"""The report of runs that simulate nothing, read back by what others read it with."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from tb.regress import report, testplan
from tb.regress.report import Regression, by_signature
from tb.regress.testplan import Plan, Point
from tests.regress import fakes

PLAN = Plan(
    {"C1": "one"},
    (
        Point("a_point", "what <must> hold", ("C1",), "V1", ("suite:fine",)),
        Point("wrong_point", "this too", ("C1",), "V2", ("suite:wrong",)),
        Point("other", "elsewhere", ("C1",), "V3", ("tests/x.py",)),
    ),
)


@pytest.fixture(autouse=True)
def no_tests_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What `make test` has left in this tree is not part of these."""
    monkeypatch.setattr(testplan, "PYTEST_RESULTS", tmp_path / "build/results.xml")


def regression(folder: Path, names: list[tuple[str, int]], left: list[str] | None = None) -> Regression:
    runs = folder / "1/runs"
    results = [fakes.run(fakes.spec(test, seed, PLAN.of_suite_test(test)), runs / f"{test}-{seed}") for test, seed in names]
    return Regression(folder / "1", "make sim SUITE=quick", "quick", 1_700_000_000.0, 12.0, results, left or [])


class Page(HTMLParser):
    """Text and addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = ""
        self.links: list[str] = []
        self.bars = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        self.bars += tag == "g"

    def handle_data(self, data: str) -> None:
        self.text += data


def test_summary_counts(tmp_path: Path) -> None:
    found = regression(tmp_path, [("fine", 1), ("wrong", 1), ("wrong", 30)])
    report.write(found, PLAN)
    told = json.loads((tmp_path / "1/summary.json").read_text())
    assert (told["ok"], told["runs_total"], told["passed"], told["failed"], told["left"]) == (False, 3, 1, 2, 0)
    assert (told["cpu_s"], told["simulated_us"], told["when"]) == (7.5, 3, "2023-11-14T22:13:20Z")
    # one signature for both, whatever the seed
    [group] = told["signatures"]
    assert group["runs"] == ["wrong-1", "wrong-30"] and group["repeat"] == "make sim TEST=wrong SEED=1"
    assert told["points"] == {"a_point": "passed", "wrong_point": "failed"}
    assert [run["name"] for run in told["runs"]] == ["fine-1", "wrong-1", "wrong-30"]


def test_groups_are_by_signature_the_most_frequent_first(tmp_path: Path) -> None:
    found = regression(tmp_path, [("fine", 1), ("wrong", 1), ("wrong", 2)])
    rare = replace(found.results[1], signature="a", name="rare")
    groups = by_signature([rare, *found.results])
    assert [(signature, [r.name for r in runs]) for signature, runs in groups] == [
        ("tests.fake.run: AssertionError: frame # of guest # at # differs", ["wrong-1", "wrong-2"]), ("a", ["rare"])]  # fmt: skip


def test_junit_is_read_by_others(tmp_path: Path) -> None:
    report.write(regression(tmp_path, [("fine", 1), ("wrong", 1)], ["slow-1"]), PLAN)
    [suite] = ElementTree.parse(tmp_path / "1/results.xml").getroot().iter("testsuite")
    assert (suite.get("name"), suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("quick", "3", "1", "1")
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert list(cases) == ["fine-1", "wrong-1", "slow-1"]
    failure = cases["wrong-1"].find("failure")
    assert failure is not None and failure.get("message") == "tests.fake.run: AssertionError: frame # of guest # at # differs"
    assert "again: make sim TEST=wrong SEED=1\nlook: make waves TEST=wrong SEED=1" in (failure.text or "")
    assert len(cases["fine-1"]) == 0 and cases["fine-1"].get("time") == str(fakes.CPU_S)


def test_page_is_whole_and_safe(tmp_path: Path) -> None:
    found = regression(tmp_path, [("fine", 1), ("wrong", 1), ("wrong", 2)])
    hostile = replace(found.results[1], reason="<script>alert(1)</script>")
    report.write(replace(found, results=[found.results[0], hostile, found.results[2]]), PLAN)
    text = (tmp_path / "1/report.html").read_text()
    page = Page(text)
    assert page.links == [] and "<script" not in text
    assert "<script>alert(1)</script>" in page.text
    assert "make sim TEST=wrong SEED=1" in page.text and "make sim TEST=wrong SEED=2" in page.text
    assert "make waves TEST=wrong SEED=1" in page.text
    assert "what <must> hold" in page.text and "it has not been run here" in page.text
    rows = [" ".join(row.split()) for row in text.split("<tr>")]
    assert any("a_point" in row and 'class="good">passed<' in row for row in rows)
    assert any("wrong_point" in row and 'class="bad">failed<' in row for row in rows)
    assert any("<td>other<" in row and 'class="bad">not run<' in row for row in rows)


def test_trend_is_of_the_same_suite(tmp_path: Path) -> None:
    found = regression(tmp_path, [("fine", 1), ("wrong", 1)])
    report.write(found, PLAN)
    assert Page((tmp_path / "1/report.html").read_text()).bars == 1
    report.write(replace(found, suite="other"), PLAN)
    # one test alone is no point of the history
    report.write(replace(found, suite=None), PLAN)
    assert Page((tmp_path / "1/report.html").read_text()).bars == 0
    report.write(found, PLAN)
    assert Page((tmp_path / "1/report.html").read_text()).bars == 2
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [(line["suite"], line["passed"], line["failed"]) for line in lines] == [
        ("quick", 1, 1), ("other", 1, 1), ("quick", 1, 1)]  # fmt: skip


def test_passed_means_that_all_ran_and_passed(tmp_path: Path) -> None:
    found = regression(tmp_path, [("fine", 1)])
    assert found.passed
    assert not replace(found, left=["x-1"]).passed
    assert not replace(found, results=[]).passed
    assert not regression(tmp_path, [("wrong", 1)]).passed


def test_a_person_sees_groups_and_the_command(tmp_path: Path) -> None:
    out = StringIO()
    report.show(Console(file=out, width=100), regression(tmp_path, [("fine", 1), ("wrong", 4), ("wrong", 5)]))
    told = out.getvalue()
    assert "1 passed, 2 failed in 12 s" in told
    assert "2 x tests.fake.run: AssertionError: frame # of guest # at # differs\n    AssertionError: frame 4 of guest 3 at 0x4 differs\n    make sim TEST=wrong SEED=4\n    make waves TEST=wrong SEED=4\n" in told

