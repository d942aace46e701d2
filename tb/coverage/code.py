"""Coverage of the RTL by module: figures, and holes as a person looks for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from tb.coverage.lcov import line_hits
from tb.coverage.verilator import Kind, Point

DIRECTIONS: Final = ("0->1", "1->0")


@dataclass(frozen=True)
class Figure:
    """So many of so many."""

    hit: int
    total: int

    @property
    def percent(self) -> float:
        """100 where there is nothing to hit."""
        return 100 * self.hit / self.total if self.total else 100.0

    def __add__(self, other: Figure) -> Figure:
        return Figure(self.hit + other.hit, self.total + other.total)


@dataclass(frozen=True)
class Hole:
    """Something at a line that never happened."""

    line: int
    what: str


@dataclass(frozen=True)
class Module:
    """One file of the RTL."""

    file: str
    figures: Mapping[Kind, Figure]
    holes: Mapping[Kind, tuple[Hole, ...]]

    @property
    def has_lines(self) -> bool:
        """Not one that only joins others."""
        return self.figures[Kind.LINE].total > 0


def modules(points: Mapping[Point, int]) -> list[Module]:
    """Each file of the points. Lines are counted as lcov does, each once; branches and toggles by point."""
    lines = line_hits(points)
    by_file: dict[str, dict[Kind, list[tuple[Point, int]]]] = defaultdict(lambda: defaultdict(list))
    for point, hits in points.items():
        by_file[point.file][point.kind].append((point, hits))
    return [_module(file, lines.get(file, {}), kinds) for file, kinds in sorted(by_file.items())]


def total(found: Iterable[Module], kind: Kind) -> Figure:
    """Over modules."""
    return sum((module.figures[kind] for module in found), Figure(0, 0))


def _module(file: str, lines: Mapping[int, int], kinds: Mapping[Kind, list[tuple[Point, int]]]) -> Module:
    branches, toggles = kinds.get(Kind.BRANCH, []), kinds.get(Kind.TOGGLE, [])
    figures = {
        Kind.LINE: Figure(sum(hits > 0 for hits in lines.values()), len(lines)),
        Kind.BRANCH: Figure(sum(hits > 0 for _, hits in branches), len(branches)),
        Kind.TOGGLE: Figure(sum(hits > 0 for _, hits in toggles), len(toggles)),
    }
    holes = {
        Kind.LINE: tuple(_blocks(line for line, hits in sorted(lines.items()) if not hits)),
        Kind.BRANCH: tuple(Hole(point.line, point.what) for point, hits in branches if not hits),
        Kind.TOGGLE: tuple(_signals(point for point, hits in toggles if not hits)),
    }
    return Module(file, figures, holes)


def _blocks(lines: Iterable[int]) -> list[Hole]:
    """Lines that follow each other are one hole."""
    blocks: list[list[int]] = []
    for line in lines:
        if blocks and line == blocks[-1][-1] + 1:
            blocks[-1].append(line)
        else:
            blocks.append([line])
    return [Hole(block[0], f"{block[0]} to {block[-1]}" if len(block) > 1 else str(block[0])) for block in blocks]


def _signals(points: Iterable[Point]) -> list[Hole]:
    """Each signal with its bits, those that never change first: `count_q[15:8] never changed; [7] never 1->0`."""
    missing: dict[tuple[int, str], dict[int | None, set[str]]] = defaultdict(lambda: defaultdict(set))
    for point in points:
        bit, _, direction = point.what.rpartition(":")
        signal, bracket, index = bit.rpartition("[")
        number = int(index[:-1]) if bracket and index[:-1].isdecimal() and index.endswith("]") else None
        missing[point.line, bit if number is None else signal][number].add(direction)
    return [Hole(line, f"{signal}{_bits(bits)}") for (line, signal), bits in sorted(missing.items())]


def _bits(bits: Mapping[int | None, set[str]]) -> str:
    told = []
    for directions in (set(DIRECTIONS), {DIRECTIONS[0]}, {DIRECTIONS[1]}):
        what = "never changed" if len(directions) > 1 else f"never {directions.copy().pop()}"
        numbers = sorted((number for number, those in bits.items() if number is not None and those == directions), reverse=True)
        if bits.get(None) == directions:
            told.append(f" {what}")
        elif numbers:
            told.append(f"[{', '.join(_spans(numbers))}] {what}")
    return "; ".join(told)


def _spans(falling: list[int]) -> list[str]:
    spans: list[list[int]] = []
    for number in falling:
        if spans and number == spans[-1][1] - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return [str(high) if high == low else f"{high}:{low}" for high, low in spans]
