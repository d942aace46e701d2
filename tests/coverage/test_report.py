"""What `make cov` leaves: every hole's link leads to a line that is there; sums as runs end; how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from tb.cosim.toolchain import COVERAGE_FILE, ToolchainError, Variant
from tb.coverage import __main__ as cov
from tb.coverage import report
from tb.coverage.merged import Merged
from tb.regress.config import RegressConfig
from tb.regress.regression import UsageError
from tb.regress.report import Regression
from tb.regress.spec import RunResult
from tb.uvm.points import FILE, GROUPS, RUN_FILE
from tests.coverage.test_verilator import FIFO, ONE, record, write
from tests.regress import fakes

SWITCH = "rtl/nic/myr_switch.sv"


class Page(HTMLParser):
    """Links of class `hole`, all anchors, and the text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.holes: list[str] = []
        self.anchors: set[str] = set()
        self.text = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := values.get(name))}
        if tag == "a" and values.get("class") == "hole":
            self.holes.append(values["href"] or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def functional(path: Path, hit: dict[str, str]) -> Path:
    """A run's file: no hits but those, of point to bin."""
    points = {
        cover.name: {"bins": {name: int(hit.get(cover.name) == name) for name in cover.bins}} for group in GROUPS for cover in group.covers()
    }
    path.write_text(json.dumps({"schema": 1, "points": points}))
    return path


def ended(folder: Path, name: str, *, passed: bool = True, code: bool = True, hit: dict[str, str] | None = None) -> tuple[RunResult, Path]:
    """A run that has ended, with its files."""
    run = folder / name
    result = fakes.run(replace(fakes.spec("fine" if passed else "wrong"), variant=Variant.COVERAGE), run)
    if code:
        write(run / COVERAGE_FILE, *ONE, record("toggle", 30, "count_q[7]:0->1", 0, file=SWITCH))
    if hit is not None:
        functional(run / RUN_FILE, hit)
    return result, run


def test_files_of_runs_are_added_as_they_end_and_the_big_ones_go(tmp_path: Path) -> None:
    merged = Merged()
    merged.add(*ended(tmp_path, "a", hit={"sent.form": "inline"}))
    merged.add(*ended(tmp_path, "b", passed=False))
    merged.add(*ended(tmp_path, "killed", passed=False, code=False))
    assert (merged.code.files, merged.functional.files, merged.problems) == (2, 1, [])
    assert {point.what: hits for point, hits in merged.code.points().items() if hits} == {"full_o:0->1": 4, "block": 8, "else": 8}
    assert merged.functional.covered[0].hits["inline"] == 1
    assert not list(tmp_path.glob(f"*/{COVERAGE_FILE}")) and (tmp_path / "a" / RUN_FILE).is_file()


def test_a_run_that_passed_without_telling_and_a_hit_that_cannot_be_are_wrong(tmp_path: Path) -> None:
    merged = Merged()
    merged.add(*ended(tmp_path, "silent", code=False))
    merged.add(*ended(tmp_path, "odd", hit={"sent.form x offload": "inline/tso"}))
    missing, impossible = merged.wrong()
    assert str(tmp_path / "silent" / COVERAGE_FILE) in missing
    assert impossible.startswith("sent.form x offload: inline/tso: hit 1 times, declared impossible: an inline frame")


@pytest.fixture
def page(tmp_path: Path) -> Page:
    merged = Merged()
    result, run = ended(tmp_path / "id/runs", "a", hit={"sent.form": "inline", "sent.size": "64"})
    merged.add(result, run)
    found = Regression(tmp_path / "id", "make cov SUITE=smoke", "smoke", 0.0, 1.0, [result], [])
    report.write(tmp_path, found, merged, ["something is wrong"])
    return Page(tmp_path / report.PAGE)


def test_every_hole_leads_to_its_line(page: Page, tmp_path: Path) -> None:
    """Two holes in lines, three in branches, one toggle of one module, one of another; and each point or cross with a hole."""
    pages: dict[str, Page] = {}
    for href in page.holes:
        address, _, anchor = unquote(href).partition("#")
        target = pages.setdefault(address, Page(tmp_path / address))
        assert anchor in target.anchors, href
    code = [href for href in page.holes if href.startswith("source/rtl/")]
    assert [href.rpartition("/")[2] for href in code] == [
        "myr_fifo.sv.gcov.html#13", "myr_fifo.sv.gcov.html#20",
        "myr_fifo.sv.gcov.html#12", "myr_fifo.sv.gcov.html#21", "myr_fifo.sv.gcov.html#21",
        "myr_fifo.sv.gcov.html#8", "myr_switch.sv.html#L30",
    ]  # fmt: skip
    points_page = "source/tb/uvm/points.py.html"
    declared = [href for href in page.holes if href.startswith(points_page)]
    holes = [cover for group in GROUPS for cover in group.covers() if len(cover.bins) > len(cover.impossible)]
    assert len(declared) == len(holes) == len(set(declared))
    assert FILE.read_text().splitlines()[10] in pages[points_page].text
    # a way that was never taken, beside its line
    assert 'title="Branch 0 was not taken"' in (tmp_path / f"source/{FIFO}.gcov.html").read_text()


def test_the_page_and_the_summary_have_the_figures(page: Page, tmp_path: Path) -> None:
    told = json.loads((tmp_path / report.SUMMARY).read_text())
    assert told["figures"]["lines"] == {"hit": 4, "total": 9, "percent": 44.44}
    assert told["figures"]["branches"] == {"hit": 1, "total": 4, "percent": 25.0}
    assert told["figures"]["toggles"] == {"hit": 1, "total": 3, "percent": 33.33}
    assert told["figures"]["points"]["hit"] == 2 and told["figures"]["crosses"]["hit"] == 0
    assert told["modules"][FIFO]["toggles"] == {"hit": 1, "total": 2, "percent": 50.0}
    assert told["functional"]["sent.form"] == {"hit": 1, "total": 3, "percent": 33.33, "impossible": 0, "holes": ["pushed", "fetched"]}
    assert told["functional"]["sent.form x offload"]["impossible"] == 1
    assert not told["ok"] and told["wrong"] == ["something is wrong"] and told["runs_merged"] == told["runs_functional"] == 1
    for text in ("4 of 9", "44.4 %", "full_o never 1->0", "count_q[7] never 0->1", "13 to 14", "something is wrong", "make cov SUITE=smoke",
                 "cannot be: longer than an inline frame may be"):  # fmt: skip
        assert text in page.text, text
    assert (tmp_path / report.INFO).read_text().startswith(f"TN:\nSF:{FIFO}\n")
    assert (tmp_path / "source/index.html").is_file()


@pytest.mark.parametrize(("passed", "code", "left", "status"), [
    (True, True, [], 0), (False, True, [], 1), (True, False, [], 1), (True, True, ["b-1"], 130),
], ids=["passed", "failed", "without a file", "interrupted"])  # fmt: skip
def test_how_it_ends(
    passed: bool, code: bool, left: list[str], status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def regress(_: Any, config: RegressConfig, told: Callable[[RunResult, Path], None]) -> Regression:
        assert config.variant is Variant.COVERAGE and config.suite == "smoke"
        result, run = ended(tmp_path / "id/runs", "a", passed=passed, code=code)
        told(result, run)
        return Regression(tmp_path / "id", config.command, config.suite, 0.0, 1.0, [result], left)

    monkeypatch.setattr(cov, "regress", regress)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert cov.main(["--folder", str(tmp_path)]) == status
    out = capsys.readouterr()
    assert ("coverage.dat: cannot be read" in out.err) is not code
    assert "index.html" in out.out and json.loads((tmp_path / report.SUMMARY).read_text())["ok"] is (status == 0)


@pytest.mark.parametrize(("error", "status"), [(UsageError("SUITE=slow"), 2), (ToolchainError("g++"), 2), (KeyboardInterrupt(), 130)])
def test_what_was_not_run(error: BaseException, status: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def regress(*_: Any) -> Regression:
        raise error

    monkeypatch.setattr(cov, "regress", regress)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert cov.main([]) == status
    assert str(error) in capsys.readouterr().err
