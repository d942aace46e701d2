"""What a machine has done, as digests: two runs that agree in them left the same trace and the same wire."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

FILE: Final = "machine.json"
"""In the folder that the simulation runs in: cycles, records, frames, SHA-256 of the trace and of the wire."""


class Record:
    """Adds up what is taken from a machine, in pieces of any size."""

    def __init__(self) -> None:
        self._trace = hashlib.sha256()
        self._frame = {name: hashlib.sha256() for name in ("first_cycle", "last_cycle", "length")}
        self._bytes = hashlib.sha256()
        self._records = 0
        self._frames = 0

    def trace(self, records: npt.NDArray[np.void]) -> None:
        """Trace records, as taken."""
        self._records += len(records)
        self._trace.update(records.tobytes())

    def wire(self, rows: npt.NDArray[Any], data: npt.NDArray[np.uint8]) -> None:
        """Frames: of each its cycles and length, and the bytes of all, one behind the other."""
        self._frames += len(rows)
        for name in ("first_cycle", "last_cycle", "length"):
            self._frame[name].update(rows[name].tobytes())
        self._bytes.update(data.tobytes())

    def write(self, cycle: int) -> None:
        """Leave the digests, and the last `cycle`, as a file."""
        told = {
            "cycles": cycle,
            "records": self._records,
            "trace": self._trace.hexdigest(),
            "frames": self._frames,
            "wire": hashlib.sha256(b"".join(h.digest() for h in (*self._frame.values(), self._bytes))).hexdigest(),
        }
        Path(FILE).write_text(json.dumps(told, indent=2) + "\n")
