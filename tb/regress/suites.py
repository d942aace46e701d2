"""Reads `tests/suites.toml`: which simulations there are, and how many seeds of each a suite runs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tb.cosim.toolchain import ROOT
from tb.regress import models

SUITES: Final = ROOT / "tests/suites.toml"
MAX_SEEDS: Final = 10_000
MAX_BOUND_US: Final = 10_000_000
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_CONTRACT: Final = re.compile(r"C[1-8]")
_FIELDS: Final = ("name", "module", "model", "job", "vary", "seeds", "directed", "bound_us", "contract")
_NEEDED: Final = ("name", "module", "seeds", "bound_us", "contract")


class SuitesError(ValueError):
    """The file cannot be read: the message names file, entry, field and limit."""


@dataclass(frozen=True)
class SuiteTest:
    """One simulation: a function of its seed."""

    name: str
    """`entry`, or `entry.value` where the entry varies a field of the job."""
    module: str
    model: str
    job: Mapping[str, Any]
    seeds: Mapping[str, int]
    """By suite; a suite that is not here does not run it."""
    directed: bool
    """The seed changes nothing that matters: a suite's number of seeds is not for this test."""
    bound_us: int
    contract: tuple[str, ...]


@dataclass(frozen=True)
class Suites:
    """All suites and tests. `about`: suite to a sentence."""

    about: Mapping[str, str]
    tests: tuple[SuiteTest, ...]

    def of(self, suite: str) -> list[SuiteTest]:
        """The tests of a suite, in the file's order."""
        return [test for test in self.tests if suite in test.seeds]

    def test(self, name: str) -> SuiteTest | None:
        """The test of this name."""
        return next((test for test in self.tests if test.name == name), None)


def load(path: Path = SUITES) -> Suites:
    """Read the file. Raises `SuitesError`."""
    try:
        data = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SuitesError(f"{path}: cannot be read: {error}") from None
    if strange := sorted(data.keys() - {"suite", "test"}):
        raise SuitesError(f"{path}: {strange[0]}: no such table; there are suite and test")
    about = {}
    for name, table in data.get("suite", {}).items():
        if not isinstance(table, dict) or set(table) != {"about"} or not isinstance(table["about"], str):
            raise SuitesError(f"{path}: suite.{name}: must have the field about, a text, and no other")
        about[name] = table["about"]
    tests: list[SuiteTest] = []
    for number, entry in enumerate(data.get("test", []), 1):
        tests += _Entry(path, number, entry, about).tests()
    names = [test.name for test in tests]
    for name in names:
        if names.count(name) > 1:
            raise SuitesError(f"{path}: test {name}: there are two of this name")
    return Suites(about, tuple(tests))


class _Entry:
    """One `[[test]]` table."""

    def __init__(self, path: Path, number: int, entry: dict[str, Any], suites: Mapping[str, str]) -> None:
        self._entry = entry
        self._suites = suites
        self._where = f"{path}: test {entry.get('name', number)}"
        if strange := sorted(entry.keys() - set(_FIELDS)):
            raise self._error(strange[0], f"no such field; there are {', '.join(_FIELDS)}")
        if missing := [name for name in _NEEDED if name not in entry]:
            raise self._error(missing[0], "missing")

    def _error(self, field: str, what: str) -> SuitesError:
        return SuitesError(f"{self._where}: {field}: {what}")

    def tests(self) -> list[SuiteTest]:
        """The test, or one for each value that the entry varies."""
        entry = self._entry
        name = self._text("name")
        if not _NAME.fullmatch(name):
            raise self._error("name", f"{name!r}: must be small letters, digits and _")
        job = entry.get("job", {})
        if not isinstance(job, dict):
            raise self._error("job", f"{job!r}: must be a table")
        jobs = {name: job}
        if vary := entry.get("vary"):
            if not isinstance(vary, dict) or len(vary) != 1:
                raise self._error("vary", f"{vary!r}: must name one field of the job")
            [(field, values)] = vary.items()
            if not isinstance(values, list) or not values:
                raise self._error("vary", f"{field}: must be a list of values")
            jobs = {f"{name}.{re.sub(r'[^A-Za-z0-9]+', '_', str(value))}": {**job, field: value} for value in values}
        directed = entry.get("directed", False)
        if not isinstance(directed, bool):
            raise self._error("directed", f"{directed!r}: must be true or false")
        return [
            SuiteTest(n, self._module(), self._model(), j, self._seeds(), directed, self._bound(), self._contract())
            for n, j in jobs.items()
        ]

    def _text(self, field: str) -> str:
        value = self._entry[field]
        if not isinstance(value, str):
            raise self._error(field, f"{value!r}: must be a text")
        return value

    def _module(self) -> str:
        module = self._text("module")
        place = ROOT / module.replace(".", "/")
        if not place.with_suffix(".py").is_file() and not (place / "__main__.py").is_file():
            raise self._error("module", f"{module}: there is no such module")
        return module

    def _model(self) -> str:
        model = self._entry.get("model", models.MACHINE)
        if model not in models.NAMES:
            raise self._error("model", f"{model!r}: must be one of {', '.join(models.NAMES)}")
        return str(model)

    def _seeds(self) -> dict[str, int]:
        seeds = self._entry["seeds"]
        if not isinstance(seeds, dict) or not seeds:
            raise self._error("seeds", f"{seeds!r}: must be a table, suite to number of seeds")
        for suite, count in seeds.items():
            if suite not in self._suites:
                raise self._error("seeds", f"{suite}: no such suite; there are {', '.join(self._suites)}")
            self._number(f"seeds.{suite}", count, MAX_SEEDS)
        return seeds

    def _bound(self) -> int:
        return self._number("bound_us", self._entry["bound_us"], MAX_BOUND_US)

    def _number(self, field: str, value: Any, most: int) -> int:
        if type(value) is not int or not 1 <= value <= most:
            raise self._error(field, f"{value!r}: must be a whole number from 1 to {most}")
        return value

    def _contract(self) -> tuple[str, ...]:
        contract = self._entry["contract"]
        if not isinstance(contract, list) or not contract or not all(_CONTRACT.fullmatch(str(c)) for c in contract):
            raise self._error("contract", f"{contract!r}: must be a list of C1 to C8")
        return tuple(contract)
