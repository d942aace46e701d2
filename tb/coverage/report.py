"""What `make cov` leaves: summary.json, coverage.info, the pages of the sources, and index.html, which leads to their lines."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from tb.cosim.toolchain import ROOT
from tb.coverage import lcov
from tb.coverage.code import Figure, Module, modules, total
from tb.coverage.functional import Covered
from tb.coverage.merged import Merged
from tb.coverage.verilator import Kind
from tb.regress.report import PAGE as REGRESSION_PAGE
from tb.regress.report import Regression, commit, templates
from tb.uvm.points import FILE as POINTS

SUMMARY: Final = "summary.json"
INFO: Final = "coverage.info"
PAGE: Final = "index.html"
SOURCES: Final = "source"
"""Folder of the sources' pages."""
NAMES: Final = {Kind.LINE: "lines", Kind.BRANCH: "branches", Kind.TOGGLE: "toggles"}


def write(folder: Path, found: Regression, merged: Merged, wrong: Sequence[str]) -> None:
    """Leave every file in `folder`; the pages of a regression before are replaced. Raises `CoverageError`."""
    folder.mkdir(parents=True, exist_ok=True)
    points = merged.code.points()
    (folder / INFO).write_text(lcov.tracefile(points))
    code = modules(points)
    covered = merged.functional.covered
    told = summary(found, code, covered, wrong) | {"runs_merged": merged.code.files, "runs_functional": merged.functional.files}
    (folder / SUMMARY).write_text(json.dumps(told, indent=2) + "\n")
    pages = templates(Path(__file__).parent)
    shutil.rmtree(folder / SOURCES, ignore_errors=True)
    if any(module.has_lines for module in code):
        lcov.write_pages(folder / INFO, folder / SOURCES)
    declared = str(POINTS.relative_to(ROOT))
    # genhtml has no page for a file without lines
    for file in (declared, *(module.file for module in code if not module.has_lines)):
        page = folder / SOURCES / f"{file}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        lines = (ROOT / file).read_text().splitlines()
        page.write_text(pages.get_template("source.html.j2").render(file=file, lines=lines))
    (folder / PAGE).write_text(
        pages.get_template("index.html.j2").render(
            told=told,
            modules=code,
            kinds=NAMES,
            covered=covered,
            figures=overall(code, covered),
            source=source_page,
            declared=declared,
            points_page=f"{SOURCES}/{declared}.html",
            regression=os.path.relpath(found.folder / REGRESSION_PAGE, folder),
        )
    )


def source_page(module: Module, line: int) -> str:
    """Address of a line of the RTL, from the page; lcov 1.16 names an anchor as the line is numbered."""
    return f"{SOURCES}/{module.file}" + (f".gcov.html#{line}" if module.has_lines else f".html#L{line}")


def overall(code: Sequence[Module], covered: Sequence[Covered]) -> dict[str, Figure]:
    """Lines, branches and toggles; bins of points and of crosses."""
    points = [one.figure for one in covered if len(one.cover.fields) == 1]
    crosses = [one.figure for one in covered if len(one.cover.fields) > 1]
    return {
        **{name: total(code, kind) for kind, name in NAMES.items()},
        "points": sum(points, Figure(0, 0)),
        "crosses": sum(crosses, Figure(0, 0)),
    }


def summary(found: Regression, code: Sequence[Module], covered: Sequence[Covered], wrong: Sequence[str]) -> dict[str, Any]:
    """Figures and functional holes, for programs."""
    return {
        "id": found.folder.name,
        "ok": found.passed and not wrong,
        "wrong": list(wrong),
        "command": found.command,
        "commit": commit(),
        "runs_total": len(found.results),
        "failed": len(found.failed),
        "left": len(found.left),
        "wall_s": round(found.wall_s, 1),
        "cpu_s": round(found.cpu_s, 1),
        "figures": {name: _told(figure) for name, figure in overall(code, covered).items()},
        "modules": {module.file: {NAMES[kind]: _told(module.figures[kind]) for kind in Kind} for module in code},
        "functional": {
            one.cover.name: {**_told(one.figure), "impossible": len(one.cover.impossible), "holes": one.holes} for one in covered
        },
    }


def _told(figure: Figure) -> dict[str, float]:
    return {"hit": figure.hit, "total": figure.total, "percent": round(figure.percent, 2)}


def show(console: Console, folder: Path) -> None:
    """What a person sees at the end."""
    told: Mapping[str, Any] = json.loads((folder / SUMMARY).read_text())
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("coverage", "hit", "of", "%"):
        shown.add_column(column, justify="left" if column == "coverage" else "right")
    for name, figure in told["figures"].items():
        shown.add_row(name, f"{figure['hit']:,}", f"{figure['total']:,}", f"{figure['percent']:.1f}")
    console.print(shown)
    console.print(os.path.relpath(folder / PAGE), highlight=False, soft_wrap=True)
