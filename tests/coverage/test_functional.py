"""Functional points: declared bins and reasons, sums of many files, holes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from tb.coverage.code import Figure
from tb.coverage.functional import Functional
from tb.coverage.verilator import CoverageError
from tb.uvm import points
from tb.uvm.points import FILE, GROUPS, Group, Impossible, PointsError

GROUP: Final = Group(
    "g",
    {"a": (("x", "y"), 11), "b": (("1", "2", "3"), 12)},
    {("a", "b"): 13},
    (Impossible("y has no 2", {"a": ["y"], "b": ["2"]}), Impossible("no 3 at all", {"b": ["3"]})),
)
HITS: Final[dict[str, dict[str, int]]] = {
    "g.a": {"x": 2, "y": 0},
    "g.b": {"1": 2, "2": 0, "3": 0},
    "g.a x b": {"x/1": 2, "x/2": 0, "x/3": 0, "y/1": 0, "y/2": 0, "y/3": 0},
}


def write(path: Path, hits: dict[str, Any], schema: int = 1) -> Path:
    points = {name: {"kind": "cross" if " x " in name else "point", "of": [], "bins": bins} for name, bins in hits.items()}
    path.write_text(json.dumps({"schema": schema, "points": points}))
    return path


def test_a_rule_holds_for_every_point_and_cross_that_has_its_fields() -> None:
    one, other, cross = GROUP.covers()
    assert (one.name, one.bins, one.impossible, one.line) == ("g.a", ("x", "y"), {}, 11)
    assert (other.name, other.impossible) == ("g.b", {"3": "no 3 at all"})
    assert cross.name == "g.a x b" and cross.bins == ("x/1", "x/2", "x/3", "y/1", "y/2", "y/3") and cross.line == 13
    assert cross.impossible == {"x/3": "no 3 at all", "y/2": "y has no 2", "y/3": "no 3 at all"}


@pytest.mark.parametrize("values", [{"c": ["x"]}, {"a": ["z"]}], ids=["field", "bin"])
def test_a_rule_about_nothing_is_refused(values: dict[str, list[str]]) -> None:
    with pytest.raises(PointsError, match=f"g: impossible {next(iter(values))}"):
        Group("g", GROUP.points, GROUP.crosses, (Impossible("w", values),)).covers()


def test_files_add_up_and_what_is_left_is_a_hole(tmp_path: Path) -> None:
    found = Functional([GROUP])
    found.add(write(tmp_path / "a", HITS))
    more = {name: dict(bins) for name, bins in HITS.items()}
    more["g.a"]["y"] = more["g.a x b"]["y/1"] = 5
    found.add(write(tmp_path / "b", more))
    a, b, cross = found.covered
    assert found.files == 2 and a.hits == {"x": 4, "y": 5} and cross.hits["x/1"] == 4 and cross.hits["y/1"] == 5
    assert (a.holes, b.holes, cross.holes) == ([], ["2"], ["x/2"])
    assert (a.figure, b.figure, cross.figure) == (Figure(2, 2), Figure(1, 2), Figure(2, 3))
    assert not (a.wrong or b.wrong or cross.wrong)


def test_an_impossible_bin_that_was_hit_is_wrong_and_no_hit(tmp_path: Path) -> None:
    hits = {name: dict(bins) for name, bins in HITS.items()}
    hits["g.a x b"]["y/2"] = 1
    found = Functional([GROUP])
    found.add(write(tmp_path / "a", hits))
    cross = found.covered[2]
    assert cross.wrong == ["y/2"] and cross.figure == Figure(1, 3)


@pytest.mark.parametrize(("change", "words"), [
    ({"g.a": {"x": 2}}, "g.a: its bins are not those that are declared"),
    ({"g.a": {"x": 2, "y": 0, "z": 0}}, "g.a: its bins are not those that are declared"),
    ({"g.a": {"x": 2, "y": -1}}, "g.a.y is -1: must be a whole number, 0 or more"),
    ({"g.a": {"x": 2, "y": "1"}}, "g.a.y is '1': must be a whole number, 0 or more"),
    ({"g.c": {}}, "g.c: not declared"),
], ids=["a bin less", "a bin more", "negative", "text", "strange"])  # fmt: skip
def test_a_file_that_is_not_of_these_points_is_named_and_adds_nothing(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    found = Functional([GROUP])
    with pytest.raises(CoverageError, match=re.escape(f"{tmp_path / 'a'}: {words}")):
        found.add(write(tmp_path / "a", {**HITS, **change}))
    with pytest.raises(CoverageError, match="schema: must be 1"):
        found.add(write(tmp_path / "b", HITS, schema=2))
    with pytest.raises(CoverageError, match="g.b: missing"):
        found.add(write(tmp_path / "c", {"g.a": HITS["g.a"], "g.a x b": HITS["g.a x b"]}))
    assert found.files == 0 and not any(covered.hits for covered in found.covered)


def test_the_declarations_of_the_environment() -> None:
    """Each stands at a line of its own, which names its fields; the crosses that are asked for are there, and have reasons."""
    text = FILE.read_text().splitlines()
    covers = [cover for group in GROUPS for cover in group.covers()]
    assert len({cover.line for cover in covers}) == len(covers)
    for cover in covers:
        assert all(f'"{name}"' in text[cover.line - 1] for name in cover.fields), cover.name
    crossed = {frozenset(cover.fields) for cover in covers if len(cover.fields) > 1}
    for other in ("size", "alignment", "pieces", "mode", "pressure", "fault"):
        assert {"form", other} in crossed
    impossible = {cover.name: set(cover.impossible) for cover in covers}
    assert impossible["sent.form x offload"] == {"inline/tso"}
    assert impossible["sent.form x mode"] == {"inline/validated", "pushed/validated"}
    # 192 bytes at most
    assert "inline/129 to 255" not in impossible["sent.form x size"] and "inline/256 to 511" in impossible["sent.form x size"]
    assert impossible["dropped.reason x mode"] == {"REFUSED/native", "REFUSED/validated"}
    assert all(why for cover in covers for why in cover.impossible.values())
    assert len(points.SIZES) == 13
