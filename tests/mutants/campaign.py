"""Plant one bug, run the test that must find it, and look for the message that points to it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from tb.cosim.plant import PATCHES, ROOT

LIST: Final = PATCHES / "mutants.toml"
LOGS: Final = ROOT / "build/mutants"
LIMIT_S: Final = 1800
"""Wall time of one mutant, its build included: a last resort, since runs are bounded in simulated time."""

_FIELDS: Final = ("bug", "module", "test", "message")


class MutantError(ValueError):
    """The list of mutants or a patch makes no sense; the message names file and entry."""


class Verdict(StrEnum):
    """What became of a planted bug."""

    CAUGHT = "caught"
    """The test failed, and its message points to the bug."""
    SILENT = "failed without the message"
    SURVIVED = "survived"
    BROKEN = "not built"
    """It is no bug of the design: the patch does not apply, or what it makes does not compile."""


@dataclass(frozen=True)
class Mutant:
    """One bug."""

    name: str
    bug: str
    """What is wrong, for people."""
    module: str
    """RTL module that is patched."""
    test: str
    """Arguments of pytest."""
    message: str
    """Regular expression that the failure must match: it points to the right block."""

    @property
    def patch(self) -> Path:
        return PATCHES / f"{self.name}.patch"

    @property
    def command(self) -> str:
        """The command that repeats this one."""
        return f"make mutants ONLY={self.name}"


@dataclass(frozen=True)
class Outcome:
    """One bug and what the test said."""

    mutant: Mutant
    verdict: Verdict
    said: str
    """The line that matched, or the last lines of the test."""
    log: Path


def read_mutants(path: Path = LIST) -> list[Mutant]:
    """All of them. Raises `MutantError`."""
    try:
        entries = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise MutantError(f"{path}: {error}") from error
    found = []
    for name, entry in entries.items():
        for field in _FIELDS:
            if not isinstance(entry.get(field), str):
                raise MutantError(f"{path}: [{name}] needs {field}, a string")
        if unknown := sorted(entry.keys() - set(_FIELDS)):
            raise MutantError(f"{path}: [{name}] has {', '.join(unknown)}: only {', '.join(_FIELDS)} are known")
        mutant = Mutant(name, **entry)
        if not mutant.patch.is_file():
            raise MutantError(f"{path}: [{name}] has no {mutant.patch.name}")
        found.append(mutant)
    if strays := sorted({patch.stem for patch in PATCHES.glob("*.patch")} - {mutant.name for mutant in found}):
        raise MutantError(f"{path}: no entry for {', '.join(strays)}")
    return found


def run(mutant: Mutant) -> Outcome:
    """Plant it and run its test; what that prints stays in the log."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{mutant.name}.log"
    code, text = _test(mutant)
    log.write_text(text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    match = next((line for line in lines if re.search(mutant.message, line)), None)
    if code > 1 or "PlantError" in text or "build failed" in text:
        return Outcome(mutant, Verdict.BROKEN, " ".join(lines[-3:]), log)
    if code == 0:
        return Outcome(mutant, Verdict.SURVIVED, lines[-1] if lines else "", log)
    if match is None:
        return Outcome(mutant, Verdict.SILENT, " ".join(lines[-3:]), log)
    return Outcome(mutant, Verdict.CAUGHT, match, log)


def _test(mutant: Mutant) -> tuple[int, str]:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutant.test.split()]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment["PLANT"] = mutant.name
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False, timeout=LIMIT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        return 1, f"{error.stdout!r}\nno end in {LIMIT_S} s"
    return done.returncode, done.stdout
