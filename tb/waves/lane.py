"""Text lanes beside the signals, and the program from which GTKWave gets them (a transaction filter)."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Change:
    """A text that is shown from a moment to another, ps."""

    start_ps: int
    end_ps: int
    text: str
    colour: str
    """Background, an X11 name."""


@dataclass(frozen=True)
class Lane:
    """One row. Where texts overlap, the one that began last is shown."""

    name: str
    changes: tuple[Change, ...]


def lane(name: str, changes: Iterable[Change]) -> Lane:
    return Lane(name, tuple(sorted(changes, key=lambda change: (change.start_ps, change.end_ps))))


def rows(name: str, lives: Iterable[Sequence[Change]]) -> list[Lane]:
    """As many lanes as it takes to show every life (changes, none empty) without overlaps, each in the first that is free."""
    packed: list[list[Change]] = []
    ends: list[int] = []
    for life in sorted(lives, key=lambda life: life[0].start_ps):
        row = next((n for n, end in enumerate(ends) if end <= life[0].start_ps), len(packed))
        if row == len(packed):
            packed.append([])
            ends.append(0)
        packed[row] += life
        ends[row] = max(change.end_ps for change in life)
    return [lane(f"{name} {n + 1}" if n else name, changes) for n, changes in enumerate(packed)]


def filter_text(lanes: Sequence[Lane]) -> str:
    """What a transaction filter writes: GTKWave manual, "Transaction Filters Process"."""
    parts = []
    for number, one in enumerate(lanes):
        parts += ["$next"] if number else []
        parts += [f"$name {one.name}", "#0"]
        for n, change in enumerate(one.changes):
            parts.append(f"#{change.start_ps} ?{change.colour}?{change.text}")
            following = one.changes[n + 1].start_ps if n + 1 < len(one.changes) else None
            if following is None or change.end_ps < following:
                parts.append(f"#{change.end_ps}")
    return "\n".join([*parts, "$finish", ""])


def write_filter(lanes: Sequence[Lane], path: Path) -> Path:
    """Write a filter that shows these lanes, whatever signal it stands on; its texts are beside it."""
    texts = path.with_suffix(".txt").resolve()
    texts.write_text(filter_text(lanes))
    path.write_text(
        "#!/bin/sh\n# GTKWave sends a signal's changes and takes the lanes for an answer.\n"
        f"while read -r line; do case $line in '$comment data_end'*) cat {shlex.quote(str(texts))} ;; esac; done\n"
    )
    path.chmod(0o755)
    return path.resolve()
