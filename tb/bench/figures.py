"""One figure of a report, and the file that holds all of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One figure; `bound` is the computed limit where there is one, `note` what sets it."""

    name: str
    value: float
    unit: str
    bound: float | None = None
    note: str = ""


def write(path: Path, rows: Sequence[Row], costs: str) -> None:
    """All figures as JSON, in order, and what software cost (`CostTable.describe`)."""
    figures = [{"name": r.name, "value": r.value, "unit": r.unit, "bound": r.bound} for r in rows]
    path.write_text(json.dumps({"software_costs": costs, "figures": figures}, indent=2) + "\n")
