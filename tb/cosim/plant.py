"""Planted bugs: the RTL with one of the patches of `tests/mutants`, for tests of the tests and for practice.

`PLANT=name` in the environment builds every simulator from that RTL.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PATCHES: Final = ROOT / "tests/mutants"
_PLANTED: Final = ROOT / "build/planted"


class PlantError(RuntimeError):
    """There is no such bug, or its patch does not apply; the message says which."""


def planted() -> str:
    """The bug that PLANT names; empty: none."""
    return os.environ.get("PLANT", "")


def prefix(bug: str) -> str:
    """What stands before a command that is to run with it; empty: none."""
    return f"PLANT={bug} " if bug else ""


def with_bug(sources: Iterable[Path]) -> list[Path]:
    """Sources in their order; the one with the bug that PLANT names is that of a copy. Raises `PlantError`."""
    name = planted()
    if not name:
        return list(sources)
    rtl = ROOT / "rtl"
    copy = _planted(name)
    # a model without the bug is the one that is there
    found = ((file, copy / file.relative_to(rtl) if file.is_relative_to(rtl) else file) for file in sources)
    return [file if file.read_bytes() == other.read_bytes() else other for file, other in found]


def results_root() -> Path:
    """Folder for what runs leave behind: `build`, or one beside it for each bug, so that they can run side by side."""
    name = planted()
    return _PLANTED / "runs" / name if name else ROOT / "build"


def _planted(name: str) -> Path:
    patch = PATCHES / f"{name}.patch"
    if not patch.is_file():
        known = ", ".join(sorted(path.stem for path in PATCHES.glob("*.patch")))
        raise PlantError(f"PLANT={name}: must be one of {known}")
    # one copy for each state of the RTL: a path is part of a model's content
    digest = hashlib.sha256(patch.read_bytes())
    for file in sorted((ROOT / "rtl").rglob("*")):
        if file.is_file():
            digest.update(file.read_bytes())
    folder = _PLANTED / f"{name}-{digest.hexdigest()[:12]}"
    _PLANTED.mkdir(parents=True, exist_ok=True)
    with (_PLANTED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(ROOT / "rtl", folder / "rtl", ignore=shutil.ignore_patterns("__pycache__"))
            _apply(patch, folder)
            (folder / "complete").touch()
    return folder / "rtl"


def _apply(patch: Path, folder: Path) -> None:
    # inside a repository git would look for the paths from its root on
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(_PLANTED)}
    try:
        done = subprocess.run(
            ["git", "apply", str(patch)], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise PlantError("git is missing: apt-get install git") from None
    if done.returncode != 0:
        raise PlantError(f"{patch}: {done.stderr.strip()}")
