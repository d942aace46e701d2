"""Lines and branches as an lcov tracefile (geninfo(1)), and genhtml's pages of the sources with them."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from tb.cosim.toolchain import ROOT
from tb.coverage.verilator import CoverageError, Kind, Point


def line_hits(points: Mapping[Point, int]) -> dict[str, dict[int, int]]:
    """By file and line: the hits of the block it is in; of several, those of the one that ran most."""
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for point, hits in points.items():
        for line in point.lines:
            found[point.file][line] = max(hits, found[point.file].get(line, 0))
    return found


def tracefile(points: Mapping[Point, int]) -> str:
    """The `.info` text: `DA` of each line, `BRDA` of each branch; files below the tree's root, in order, if they have lines."""
    branches: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for point, hits in points.items():
        if point.kind is Kind.BRANCH:
            branches[point.file][point.line].append(hits)
    lines = line_hits(points)
    text = []
    for file in sorted(lines):
        text += ["TN:", f"SF:{file}"]
        for line, ways in sorted(branches[file].items()):
            # a dash: the decision was never come to
            text += [f"BRDA:{line},0,{way},{hits if any(ways) else '-'}" for way, hits in enumerate(ways)]
        text += [f"DA:{line},{hits}" for line, hits in sorted(lines[file].items())]
        text.append("end_of_record")
    return "\n".join(text) + "\n"


def write_pages(info: Path, folder: Path) -> None:
    """genhtml's pages of a tracefile. Raises `CoverageError` with its words."""
    command = ["genhtml", "--branch-coverage", "--quiet", "--prefix", str(ROOT), "--legend", "--title", "Myrmidon",
               "--output-directory", str(folder.resolve()), str(info.resolve())]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError as error:
        raise CoverageError(f"genhtml is missing ({error}): apt-get install lcov") from None
    if done.returncode:
        raise CoverageError(f"genhtml: {(done.stderr or done.stdout).strip()}")
