"""Figures and holes of a module, from points written by hand."""

from __future__ import annotations

from tb.coverage.code import Figure, Hole, modules, total
from tb.coverage.verilator import Kind, Point

FILE = "rtl/x.sv"


def line(first: int, *lines: int) -> Point:
    return Point(FILE, first, 3, Kind.LINE, "block", lines)


def toggles(number: int, *what: str) -> list[Point]:
    return [Point(FILE, number, 3, Kind.TOGGLE, one, ()) for one in what]


def test_each_line_counts_once_and_lines_in_a_row_are_one_hole() -> None:
    points = {line(1, 1, 2, 3): 0, line(2, 2): 4, line(7, 7, 8): 0, line(9, 9): 0, line(20, 20): 1}
    [module] = modules(points)
    assert module.figures[Kind.LINE] == Figure(2, 7)
    assert module.holes[Kind.LINE] == (Hole(1, "1"), Hole(3, "3"), Hole(7, "7 to 9"))
    assert module.figures[Kind.BRANCH] == Figure(0, 0) and Figure(0, 0).percent == 100.0 and Figure(1, 8).percent == 12.5


def test_branches_count_by_way() -> None:
    points = {Point(FILE, 5, column, Kind.BRANCH, what, ()): hits for column, what, hits in ((5, "if", 3), (6, "else", 0), (9, "if", 0))}
    [module] = modules(points)
    assert module.figures[Kind.BRANCH] == Figure(1, 3)
    assert module.holes[Kind.BRANCH] == (Hole(5, "else"), Hole(5, "if"))


def test_bits_that_never_change_are_told_by_signal_and_span() -> None:
    both = [f"a_q[{bit}]:{way}" for bit in (0, 1, 2, 5) for way in ("0->1", "1->0")]
    missed = [*toggles(4, *both, "a_q[9]:1->0", "a_q[7]:0->1", "mem[3][0]:0->1"), *toggles(6, "go_i:1->0", "s.f:0->1", "s.f:1->0")]
    hit = toggles(4, "a_q[9]:0->1", "a_q[7]:1->0")
    [module] = modules(dict.fromkeys(missed, 0) | dict.fromkeys(hit, 1))
    assert module.figures[Kind.TOGGLE] == Figure(2, 16)
    assert module.holes[Kind.TOGGLE] == (
        Hole(4, "a_q[5, 2:0] never changed; [7] never 0->1; [9] never 1->0"),
        Hole(4, "mem[3][0] never 0->1"),
        Hole(6, "go_i never 1->0"),
        Hole(6, "s.f never changed"),
    )


def test_totals_are_of_all_modules() -> None:
    other = Point("rtl/y.sv", 1, 1, Kind.LINE, "block", (1, 2))
    found = modules({line(1, 1): 1, other: 0})
    assert [module.file for module in found] == [FILE, "rtl/y.sv"]
    assert total(found, Kind.LINE) == Figure(1, 3) and total(found, Kind.TOGGLE) == Figure(0, 0)
