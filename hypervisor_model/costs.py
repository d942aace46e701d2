"""The cost table: how much simulated time each operation of software takes, and where the number is from (`costs.toml`)."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

COSTS_FILE: Final = Path(__file__).with_name("costs.toml")
MAX_NS: Final = 1_000_000_000
"""No single operation takes longer than a second."""
PS: Final = 1000
"""Costs are kept in picoseconds: bytes take less than a nanosecond."""
VERSIONS: Final = (1,)


class CostError(ValueError):
    """The table is wrong: the message names file, key and limit."""


class Certainty(StrEnum):
    """How well a number is known, as in the list of published figures."""

    READ = "R"
    SECOND_HAND = "S"
    COMPUTED = "C"
    RECALLED_CHECKED = "M+"
    RECALLED = "M"


class Payer(StrEnum):
    """Whose time an operation is."""

    GUEST = "guest"
    HYPERVISOR = "hypervisor"


@dataclass(frozen=True)
class Cost:
    """One operation."""

    operation: str
    picoseconds: int
    per: str
    """What is counted: `call`, `page`, `byte`."""
    payer: Payer
    what: str
    source: str
    certainty: Certainty

    @property
    def ns(self) -> float:
        """Nanoseconds for each `per`."""
        return self.picoseconds / PS


class CostTable(Mapping[str, Cost]):
    """Operation to cost; immutable."""

    def __init__(self, version: int, costs: Mapping[str, Cost], changed: Mapping[str, float], *, is_free: bool) -> None:
        self.version = version
        self._costs = MappingProxyType(dict(costs))
        self.changed = MappingProxyType(dict(changed))
        """Operations whose ns are not the file's, with the file's ns."""
        self.is_free = is_free
        """Software takes no time at all."""

    @classmethod
    def load(cls, path: Path = COSTS_FILE, overrides: Mapping[str, float] | None = None) -> CostTable:
        """Read a table; `overrides` replaces ns of operations. Raises `CostError`."""
        version, costs = _read(path)
        changed = {}
        for operation, ns in (overrides or {}).items():
            if operation not in costs:
                raise CostError(f"override of {operation!r}: {path} has no such operation")
            picoseconds = _picoseconds(ns, f"override of {operation}")
            if picoseconds != costs[operation].picoseconds:
                changed[operation] = costs[operation].ns
                costs[operation] = replace(costs[operation], picoseconds=picoseconds)
        return cls(version, costs, changed, is_free=False)

    @classmethod
    def free(cls) -> CostTable:
        """The operations of the shipped table, all at no cost: what is measured is the hardware alone."""
        return _free()

    def __getitem__(self, operation: str) -> Cost:
        try:
            return self._costs[operation]
        except KeyError:
            raise KeyError(f"the cost table has no operation {operation!r}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._costs)

    def __len__(self) -> int:
        return len(self._costs)

    def describe(self) -> str:
        """One line for reports: version and what was changed."""
        if self.is_free:
            return "none, software takes no time"
        changes = [f"{name} {was:g} -> {self[name].ns:g} ns" for name, was in sorted(self.changed.items())]
        return f"version {self.version}, " + (", ".join(changes) if changes else "nothing changed")


@cache
def _free() -> CostTable:
    version, costs = _read(COSTS_FILE)
    return CostTable(version, {name: replace(cost, picoseconds=0) for name, cost in costs.items()}, {}, is_free=True)


_KEYS: Final = {"ns", "per", "time", "what", "source", "certainty"}


def _read(path: Path) -> tuple[int, dict[str, Cost]]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CostError(f"{path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise CostError(f"{path}: {error}") from error
    version = data.pop("version", None)
    if version not in VERSIONS:
        raise CostError(f"{path}: version is {version!r}: must be {' or '.join(map(str, VERSIONS))}")
    return version, {name: _cost(path, name, entry) for name, entry in data.items()}


def _cost(path: Path, name: str, entry: Any) -> Cost:
    where = f"{path}: {name}"
    if not isinstance(entry, dict):
        raise CostError(f"{where}: must be a table of {', '.join(sorted(_KEYS))}")
    for problem, keys in (("is missing", _KEYS - entry.keys()), ("is unknown", entry.keys() - _KEYS)):
        if keys:
            raise CostError(f"{where}.{min(keys)} {problem}")
    for key in ("per", "what", "source"):
        if not isinstance(entry[key], str) or not entry[key].strip():
            raise CostError(f"{where}.{key} is {entry[key]!r}: must be text")
    for key, kind in (("time", Payer), ("certainty", Certainty)):
        if entry[key] not in list(kind):
            raise CostError(f"{where}.{key} is {entry[key]!r}: must be one of {', '.join(kind)}")
    return Cost(
        name,
        _picoseconds(entry["ns"], f"{where}.ns"),
        entry["per"],
        Payer(entry["time"]),
        entry["what"],
        entry["source"],
        Certainty(entry["certainty"]),
    )


def _picoseconds(ns: object, where: str) -> int:
    if isinstance(ns, bool) or not isinstance(ns, int | float) or not 0 <= ns <= MAX_NS:
        raise CostError(f"{where} is {ns!r}: must be 0 to {MAX_NS} ns")
    picoseconds = round(ns * PS)
    if abs(picoseconds - ns * PS) > 1e-3:
        raise CostError(f"{where} is {ns!r}: must be a multiple of 0.001 ns")
    return picoseconds
