"""Views: which lanes and signals GTKWave shows for a story. They are data, in `views.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from tb.ledger.stages import STAGES

VIEWS: Final = Path(__file__).with_name("views.toml")
FORMATS: Final = ("hex", "dec", "bin")
STREAMS: Final = ("nic_tx", "nic_rx", "up", "mem_up", "mem_dn", "dn")
"""TLP streams of `myr_top`, by the name of their beat."""


class Lanes(StrEnum):
    """Rows of text that a group may have beside those of stages and TLPs."""

    GUESTS = "guests"
    """A group for each guest instead of one: its sends, receives and interrupts."""
    DESCRIPTORS = "descriptors"
    """Send descriptors under execution."""
    INTERRUPTS = "interrupts"
    ERRORS = "errors"
    """Failed chains and dropped frames."""


class ViewError(ValueError):
    """The views' file makes no sense; the message names file, entry and what is allowed."""


@dataclass(frozen=True)
class SignalRow:
    """One signal, by its path below `myr_top`."""

    path: str
    format: str
    lsb: int = 0
    """Index of its lowest bit, which is part of its name in GTKWave."""


@dataclass(frozen=True)
class Group:
    """Text lanes, then signals, under one title."""

    title: str
    stages: tuple[str, ...]
    """Stages of the ledger whose packets are shown."""
    tlp: tuple[str, ...]
    """Streams that are decoded."""
    lanes: tuple[Lanes, ...]
    signals: tuple[SignalRow, ...]


@dataclass(frozen=True)
class View:
    """What one story needs."""

    name: str
    story: str
    groups: tuple[Group, ...]


def read_views(path: Path = VIEWS) -> dict[str, View]:
    """All views by name. Raises `ViewError`."""
    try:
        data = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ViewError(f"{path}: {error}") from error
    groups = {name: _group(path, name, entry) for name, entry in data.get("group", {}).items()}
    views = {}
    for name, entry in data.get("view", {}).items():
        names = _take(path, f"view.{name}", entry, "groups", list)
        for group in names:
            _one_of(path, f"view.{name}.groups", group, groups)
        story = _take(path, f"view.{name}", entry, "story", str)
        views[name] = View(name, story, tuple(groups[group] for group in names))
    if not views:
        raise ViewError(f"{path}: it has no [view.NAME]")
    return views


def _group(path: Path, name: str, entry: dict[str, Any]) -> Group:
    where = f"group.{name}"
    stages = {stage.name for stage in STAGES}
    for stage in entry.get("stages", []):
        _one_of(path, f"{where}.stages", stage, stages)
    for stream in entry.get("tlp", []):
        _one_of(path, f"{where}.tlp", stream, STREAMS)
    for lanes in entry.get("lanes", []):
        _one_of(path, f"{where}.lanes", lanes, list(Lanes))
    signals = []
    for signal in entry.get("signals", []):
        shown = signal.get("format", "hex")
        _one_of(path, f"{where}.signals.format", shown, FORMATS)
        signals.append(SignalRow(_take(path, f"{where}.signals", signal, "path", str), shown, signal.get("lsb", 0)))
    return Group(
        _take(path, where, entry, "title", str),
        tuple(entry.get("stages", [])),
        tuple(entry.get("tlp", [])),
        tuple(Lanes(lanes) for lanes in entry.get("lanes", [])),
        tuple(signals),
    )


def _take(path: Path, where: str, entry: dict[str, Any], key: str, kind: type) -> Any:
    if not isinstance(entry.get(key), kind):
        raise ViewError(f"{path}: {where} needs {key}, a {kind.__name__}")
    return entry[key]


def _one_of(path: Path, where: str, value: object, allowed: object) -> None:
    if value not in allowed:  # type: ignore[operator]
        raise ViewError(f"{path}: {where}: {value!r} is none of {', '.join(sorted(allowed))}")  # type: ignore[call-overload]
