"""The reader of Verilator's files against text written by hand, and its lcov text against lcov itself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tb.cosim.toolchain import ROOT
from tb.coverage import lcov
from tb.coverage.verilator import FIRST_LINE, CoverageError, Hits, Kind, Point

FIFO: Final = "rtl/common/myr_fifo.sv"


def record(kind: str, line: int, what: str, count: int, *, lines: str = "", column: int = 3, page: str = "myr_fifo", file: str = FIFO) -> str:
    """A point as `verilated_cov.cpp` writes it."""
    fields = {"f": ROOT / file, "l": line, "n": column, "t": kind, "page": f"v_{kind}/{page}", "o": what, "S": lines, "h": "top.u"}
    key = "".join(f"\1{name}\2{value}" for name, value in fields.items() if name != "S" or lines)
    return f"C '{key}' {count}\n"


def write(path: Path, *records: str, first: str = FIRST_LINE) -> Path:
    path.write_text(first + "\n" + "".join(records))
    return path


ONE: Final = (
    record("line", 10, "block", 4, lines="10-12,15"),
    record("branch", 12, "if", 0, lines="13-14", column=5),
    record("branch", 12, "else", 4, column=6),
    record("toggle", 8, "full_o:0->1", 2),
    record("toggle", 8, "full_o:1->0", 0),
    record("line", 20, "block", 0, lines="20"),
    record("branch", 21, "if", 0, lines="21", column=5),
    record("branch", 21, "else", 0, lines="22", column=6),
)


def read(*paths: Path) -> dict[Point, int]:
    hits = Hits()
    for path in paths:
        hits.add(path)
    assert hits.files == len(paths)
    return hits.points()


def test_a_file_is_read_point_by_point_in_the_order_of_the_source(tmp_path: Path) -> None:
    found = read(write(tmp_path / "a", *ONE))
    assert list(found.items()) == [
        (Point(FIFO, 8, 3, Kind.TOGGLE, "full_o:0->1", ()), 2),
        (Point(FIFO, 8, 3, Kind.TOGGLE, "full_o:1->0", ()), 0),
        (Point(FIFO, 10, 3, Kind.LINE, "block", (10, 11, 12, 15)), 4),
        (Point(FIFO, 12, 5, Kind.BRANCH, "if", (13, 14)), 0),
        (Point(FIFO, 12, 6, Kind.BRANCH, "else", ()), 4),
        (Point(FIFO, 20, 3, Kind.LINE, "block", (20,)), 0),
        (Point(FIFO, 21, 5, Kind.BRANCH, "if", (21,)), 0),
        (Point(FIFO, 21, 6, Kind.BRANCH, "else", (22,)), 0),
    ]


def test_files_add_up_and_so_do_parameters_of_a_module(tmp_path: Path) -> None:
    """Hits of three files; the third has the same source twice, as two sets of parameters, and a file of its own."""
    other = record("line", 1, "block", 7, lines="1", file="rtl/nic/myr_switch.sv")
    twice = [record("line", 10, "block", n, lines="10-12,15", page=f"myr_fifo__W{n}") for n in (100, 1000)]
    paths = [write(tmp_path / "a", *ONE), write(tmp_path / "b", *ONE), write(tmp_path / "c", *twice, other)]
    found = read(*paths)
    assert {(point.file, point.line, point.what): hits for point, hits in found.items() if hits} == {
        (FIFO, 8, "full_o:0->1"): 4, (FIFO, 10, "block"): 1108, (FIFO, 12, "else"): 8, ("rtl/nic/myr_switch.sv", 1, "block"): 7,
    }  # fmt: skip
    assert len(found) == len(ONE) + 1


@pytest.mark.parametrize(("text", "words"), [
    ("", "line 1: must be # SystemC::Coverage-3"),
    ("# SystemC::Coverage-4\n", "line 1: must be # SystemC::Coverage-3"),
    (f"{FIRST_LINE}\n{ONE[0]}C 'cut off", "line 3: must be C '<key>' <count>"),
    (f"{FIRST_LINE}\n{ONE[0]}{ONE[1].strip()}x\n", "line 3: must be C '<key>' <count>"),
    (f"{FIRST_LINE}\n{ONE[0].replace('C ', 'D ', 1)}", "line 2: must be C '<key>' <count>"),
], ids=["empty", "another version", "cut off", "no number", "no point"])  # fmt: skip
def test_a_damaged_file_is_named_with_its_line_and_adds_nothing(text: str, words: str, tmp_path: Path) -> None:
    hits = Hits()
    hits.add(write(tmp_path / "good", *ONE))
    before = hits.points()
    (tmp_path / "bad").write_text(text)
    with pytest.raises(CoverageError, match=re.escape(f"{tmp_path / 'bad'}: {words}")):
        hits.add(tmp_path / "bad")
    with pytest.raises(CoverageError, match="none: cannot be read"):
        hits.add(tmp_path / "none")
    assert hits.points() == before and hits.files == 1


@pytest.mark.parametrize("damage", [("\x01l\x0210", ""), ("\1t\2line", "\1t\2mcdc"), ("10-12", "10-x")], ids=["no line", "strange kind", "lines"])
def test_a_point_of_another_verilator_is_refused(damage: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(CoverageError, match="without a field, or with one of another Verilator"):
        read(write(tmp_path / "a", ONE[0].replace(*damage)))


def test_the_lcov_text(tmp_path: Path) -> None:
    """Lines of several blocks count as the busiest of them; a decision that was never come to has dashes."""
    shared = record("branch", 15, "cond_then", 9, lines="15", column=8), record("branch", 15, "cond_else", 0, lines="15", column=9)
    text = lcov.tracefile(read(write(tmp_path / "a", *ONE, *shared)))
    assert text.splitlines() == [
        "TN:", f"SF:{FIFO}",
        "BRDA:12,0,0,0", "BRDA:12,0,1,4", "BRDA:15,0,0,9", "BRDA:15,0,1,0", "BRDA:21,0,0,-", "BRDA:21,0,1,-",
        "DA:10,4", "DA:11,4", "DA:12,4", "DA:13,0", "DA:14,0", "DA:15,9", "DA:20,0", "DA:21,0", "DA:22,0",
        "end_of_record",
    ]  # fmt: skip


def test_lcov_reads_the_same_figures(tmp_path: Path) -> None:
    info = tmp_path / "coverage.info"
    info.write_text(lcov.tracefile(read(write(tmp_path / "a", *ONE))))
    command = ["lcov", "--rc", "lcov_branch_coverage=1", "--summary", str(info)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert "(4 of 9 lines)" in told and "(1 of 4 branches)" in told
