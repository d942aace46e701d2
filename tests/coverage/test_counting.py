"""A compiled model counts what its stimulus makes it do, and tells it also when the run fails."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import pytest

from tb.cosim.run import run_model
from tb.cosim.toolchain import COSIM, COVERAGE_FILE, ROOT, Model, Variant, build, recipe
from tb.coverage.lcov import line_hits
from tb.coverage.verilator import Hits, Kind, Point
from tb.regress import models

SOURCE: Final = Path(__file__).with_name("steps.sv")
FILE: Final = str(SOURCE.relative_to(ROOT))
WIDTH: Final = re.compile(r"\[(\d+):0\]")


@pytest.fixture(scope="module")
def model() -> Model:
    """The counter under the main program of the machine, without its back door."""
    cpp = sorted(set(COSIM.glob("*.cpp")) - {COSIM / "peek.cpp"})
    headers = sorted(COSIM.glob("*.h"))
    return build(recipe("steps", "steps", [SOURCE], cpp=cpp, headers=headers, variant=Variant.COVERAGE, public=True))


def points(model: Model, folder: Path, how: str) -> dict[Point, int]:
    done = run_model(model, "tests.coverage.steps", folder, seed=1, environment={"STEPS": how})
    assert done.passed is (how == "fine"), done
    hits = Hits()
    hits.add(folder / COVERAGE_FILE)
    return hits.points()


def said(word: str) -> dict[int, str]:
    """What the source's comments say, by line."""
    found = {}
    for number, line in enumerate(SOURCE.read_text().splitlines(), 1):
        code, _, comment = line.partition("//")
        if code.strip() and comment.strip().startswith(word):
            found[number] = comment.strip().removeprefix(word)
    return found


def test_every_count_is_that_of_the_stimulus(model: Model, tmp_path: Path) -> None:
    found = points(model, tmp_path, "fine")
    assert {point.file for point in found} == {FILE}
    lines = line_hits(found)[FILE]
    expected = {line: int(text) for line, text in said("runs").items()}
    assert len(expected) == 7 and expected == {line: lines[line] for line in expected}
    # both ways out of the two decisions that are pairs
    [way] = {point.line for point in found if point.kind is Kind.BRANCH and point.line in expected and expected[point.line] == 2}
    assert {point.what: hits for point, hits in found.items() if point.kind is Kind.BRANCH and point.line == way} == {"if": 2, "else": 3}


def test_every_toggle_is_that_of_the_stimulus(model: Model, tmp_path: Path) -> None:
    toggles = {(point.line, point.what): hits for point, hits in points(model, tmp_path, "fine").items() if point.kind is Kind.TOGGLE}
    text = SOURCE.read_text().splitlines()
    compared = 0
    for line, bits in said("toggles").items():
        declaration = text[line - 1].partition("//")[0].rstrip(" ,;")
        name = declaration.split()[-1]
        for bit, pair in enumerate(bits.split(",")):
            up, down = map(int, pair.split())
            signal = f"{name}[{bit}]" if WIDTH.search(declaration) else name
            assert (toggles[line, f"{signal}:0->1"], toggles[line, f"{signal}:1->0"]) == (up, down), signal
            compared += 1
    assert compared == 20


@pytest.mark.parametrize(("how", "toggles"), [("assert", 8), ("error", 7)])
def test_a_run_that_fails_tells_what_it_has_reached(how: str, toggles: int, model: Model, tmp_path: Path) -> None:
    """An assertion of the hardware ends the process at the fifth edge, before the counter changes."""
    found = points(model, tmp_path, how)
    assert sum(hits for point, hits in found.items() if point.what.startswith("sum_q")) == toggles


def test_the_rtl_counts_and_nothing_else() -> None:
    """Of every simulator: modules of rtl/ but the generated ones; packages have functions at most."""
    left_out = re.findall(r'^coverage_off -file "(.*)"$', (COSIM / "coverage.vlt").read_text(), re.MULTILINE)
    sources = {file for name in models.NAMES for file in models.recipe(name, Variant.COVERAGE).inputs if file.suffix == ".sv"}
    counted = {file for file in sources if not any(fnmatch(str(file), pattern) for pattern in left_out)}
    rtl = {file for folder in ("nic", "iommu", "common") for file in (ROOT / "rtl" / folder).glob("*.sv") if not file.stem.endswith("_pkg")}
    assert counted == rtl
