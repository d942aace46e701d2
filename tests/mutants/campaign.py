"""Plant one bug, let a test of the regression find it, and look for the message that points to it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from tb.cosim.plant import PATCHES, ROOT
from tb.regress import suites
from tb.regress.report import SUMMARY
from tb.regress.suites import SuiteTest

SUITE: Final = "regress"
"""What finds every bug: each is tried with a test of it, and the seeds that it runs."""
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
    test: SuiteTest
    """Of the regression."""
    message: str
    """Regular expression that the signature of a failure must match: it points to the right block."""

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
    """The signature that matched; else all signatures, or the last lines of what could not run."""
    log: Path


def read_mutants(path: Path = LIST) -> list[Mutant]:
    """All of them. Raises `MutantError`."""
    try:
        entries = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise MutantError(f"{path}: {error}") from error
    tests = {test.name: test for test in suites.load().of(SUITE)}
    found = []
    for name, entry in entries.items():
        for field in _FIELDS:
            if not isinstance(entry.get(field), str):
                raise MutantError(f"{path}: [{name}] needs {field}, a string")
        if unknown := sorted(entry.keys() - set(_FIELDS)):
            raise MutantError(f"{path}: [{name}] has {', '.join(unknown)}: only {', '.join(_FIELDS)} are known")
        if entry["test"] not in tests:
            raise MutantError(f"{path}: [{name}] test {entry['test']}: it is not in the suite {SUITE} of {suites.SUITES}")
        mutant = Mutant(name, entry["bug"], entry["module"], tests[entry["test"]], entry["message"])
        if not mutant.patch.is_file():
            raise MutantError(f"{path}: [{name}] has no {mutant.patch.name}")
        found.append(mutant)
    if strays := sorted({patch.stem for patch in PATCHES.glob("*.patch")} - {mutant.name for mutant in found}):
        raise MutantError(f"{path}: no entry for {', '.join(strays)}")
    return found


def run(mutant: Mutant) -> Outcome:
    """Plant it and run its test with the seeds of the regression; what that prints stays in the log."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{mutant.name}.log"
    with tempfile.TemporaryDirectory(dir=LOGS) as folder:
        text = _regress(mutant, folder)
        log.write_text(text)
        summary = next(Path(folder).glob(f"*/{SUMMARY}"), None)
        told = json.loads(summary.read_text()) if summary is not None else None
    verdict, said = judge(mutant, told)
    return Outcome(mutant, verdict, said or " ".join(text.split("\n")[-4:]).strip(), log)


def judge(mutant: Mutant, told: Mapping[str, Any] | None) -> tuple[Verdict, str]:
    """What the summary of the regression says of it; None: nothing was run."""
    if told is None:
        return Verdict.BROKEN, ""
    signatures = [entry["signature"] for entry in told["signatures"]]
    if told["ok"]:
        return Verdict.SURVIVED, f"{told['passed']} runs passed"
    match = next((text for text in signatures if re.search(mutant.message, text)), None)
    return (Verdict.SILENT, " | ".join(signatures)) if match is None else (Verdict.CAUGHT, match)


def _regress(mutant: Mutant, folder: str) -> str:
    command = [
        sys.executable, "-m", "tb.regress", f"--test={mutant.test.name}", f"--seeds={mutant.test.seeds[SUITE]}", "--seed=1",
        "--jobs=1", f"--folder={folder}",
    ]  # fmt: skip
    environment = {**os.environ, "PLANT": mutant.name, "SUITE": ""}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False, timeout=LIMIT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        return f"{error.stdout!r}\nno end in {LIMIT_S} s"
    return done.stdout
