"""The files of a run's folder, and the line of progress that the simulation process leaves in one of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

JOB: Final = "MYRMIDON_JOB"
"""Environment variable: the folder of the run."""
CONFIG: Final = "job.pickle"
"""To the simulation: a `SimConfig` with an absolute path of the capture."""
RESULT: Final = "result.pickle"
"""From the simulation: a `ScenarioResult`."""
PROGRESS: Final = "progress"
WIRE: Final = "wire.pcapng"
TRACE: Final = "trace.npy"
WAVES: Final = "dump.fst"
OUTPUTS: Final = (RESULT, PROGRESS, WIRE, TRACE, WAVES)
REPORT_S: Final = 0.1
"""Wall seconds between two lines of progress."""


@dataclass(frozen=True)
class Progress:
    """Where the simulation is."""

    frames: int
    ns: int


class ProgressWriter:
    """Appends `frames ns` lines to a file, not more often than a person can read."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")
        self._next = 0.0

    def __call__(self, frames: int, ns: int) -> None:
        if (now := time.monotonic()) >= self._next:
            self._next = now + REPORT_S
            print(frames, ns, file=self._file, flush=True)


def read_progress(path: Path) -> Progress:
    """The latest line of a progress file; zeros before there is one."""
    lines = path.read_text().splitlines() if path.exists() else []
    words = lines[-1].split() if lines else []
    return Progress(int(words[0]), int(words[1])) if len(words) == 2 else Progress(0, 0)
