"""A run's folder as the ledger reads it: `summary.json`, and the hardware's trace in `trace.npy`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from sw.abi.registers import Form
from tb.ledger.decode import EndpointSetup
from tb.ledger.records import TRACE_DTYPE
from tb.ledger.row import LedgerError

TRACE_FILE: Final = "trace.npy"


@dataclass(frozen=True)
class Run:
    """What one run left behind."""

    command: str
    """What repeats it."""
    guests: dict[int, list[str]]
    """Names of those who send by each endpoint."""
    records: npt.NDArray[np.void]
    """`TRACE_DTYPE`, in the order of their cycles."""
    setups: dict[int, EndpointSetup]
    """By endpoint. Endpoints of nobody's, a hostile guest's, are not in it."""


def load(folder: Path) -> Run:
    """Read a run. Raises `LedgerError` that names the file, the field and what is wrong with it."""
    path = folder / "summary.json"
    try:
        summary = json.loads(path.read_text())
        setups = {
            int(number): EndpointSetup(Form[e["form"]], e["send_entries"]) for number, e in summary["endpoints"].items()
        }
        guests: dict[int, list[str]] = {}
        # a run of make tap has no list of guests: they are told by endpoint
        for guest in summary.get("by_guest", []):
            guests.setdefault(guest["endpoint"], []).append(guest["name"])
        command = summary["command"]
    except OSError as error:
        raise LedgerError(f"{path}: {error.strerror}; `make sim` writes it") from error
    except KeyError as error:
        told = ": that run failed" if isinstance(summary, dict) and summary.get("ok") is False else ""
        raise LedgerError(f"{path}: no {error} in it{told}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise LedgerError(f"{path}: not the summary of a run: {error}") from error
    path = folder / TRACE_FILE
    try:
        records = np.load(path)
    except OSError as error:
        raise LedgerError(f"{path}: {error.strerror or error}; `make sim` writes it") from error
    except (ValueError, EOFError) as error:
        raise LedgerError(f"{path}: not an array of trace records: {error}") from error
    if records.dtype != TRACE_DTYPE:
        raise LedgerError(f"{path}: records have type {records.dtype}, not {TRACE_DTYPE}")
    return Run(command, guests, records, setups)
