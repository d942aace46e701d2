"""Functional coverage of many runs: their `coverage.json` (`tb/uvm/coverage.py`) added up, against what is declared."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tb.coverage.code import Figure
from tb.coverage.verilator import CoverageError
from tb.uvm.points import GROUPS, SCHEMA, Cover, Group


@dataclass(frozen=True)
class Covered:
    """A point or a cross with its hits."""

    cover: Cover
    hits: Counter[str]

    @property
    def holes(self) -> list[str]:
        """Bins that can be hit and were not."""
        return [name for name in self.cover.bins if not self.hits[name] and name not in self.cover.impossible]

    @property
    def wrong(self) -> list[str]:
        """Bins that were hit and are declared impossible."""
        return [name for name in self.cover.impossible if self.hits[name]]

    @property
    def figure(self) -> Figure:
        """Bins hit, of those that can be."""
        possible = len(self.cover.bins) - len(self.cover.impossible)
        return Figure(possible - len(self.holes), possible)


class Functional:
    """Sums over many files."""

    def __init__(self, groups: Sequence[Group] = GROUPS) -> None:
        self.covered = [Covered(cover, Counter()) for group in groups for cover in group.covers()]
        self.files = 0
        """Added."""

    def add(self, path: Path) -> None:
        """The hits of a file on top; all of them, or none and `CoverageError`."""
        try:
            told = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise CoverageError(f"{path}: cannot be read: {error}") from None
        if not isinstance(told, dict) or told.get("schema") != SCHEMA or not isinstance(told.get("points"), dict):
            raise CoverageError(f"{path}: schema: must be {SCHEMA}, with points")
        points = told["points"]
        names = {covered.cover.name for covered in self.covered}
        if strange := sorted(points.keys() ^ names):
            raise CoverageError(f"{path}: {strange[0]}: {'missing' if strange[0] in names else 'not declared'}")
        for covered in self.covered:
            _check(path, covered.cover, points[covered.cover.name])
        for covered in self.covered:
            covered.hits.update(points[covered.cover.name]["bins"])
        self.files += 1


def _check(path: Path, cover: Cover, point: Any) -> None:
    bins = point.get("bins") if isinstance(point, dict) else None
    if not isinstance(bins, dict) or {*bins} != {*cover.bins}:
        raise CoverageError(f"{path}: {cover.name}: its bins are not those that are declared")
    if bad := [name for name, hits in bins.items() if type(hits) is not int or hits < 0]:
        raise CoverageError(f"{path}: {cover.name}.{bad[0]} is {bins[bad[0]]!r}: must be a whole number, 0 or more")
