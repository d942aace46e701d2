"""The page: one HTML file with its data, its code and the plotting library in it. It asks the network for nothing."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from sw.platform import CYCLE_NS
from tb.ledger.stages import STAGES
from tb.timeline.packets import Direction, Entry, View, direction_of
from tb.timeline.rates import Rates

HERE: Final = Path(__file__).parent
COLOURS: Final = {
    # waiting for its turn
    "doorbell to fetch": "#c9ced6",
    "doorbell to grant": "#aab2bf",
    "descriptor to grant": "#8791a1",
    # the link, the IOMMU and host memory
    "descriptor read": "#f2a541",
    "payload read": "#e8743b",
    "completion visible": "#f6cf71",
    # the NIC at work
    "authorise": "#19a979",
    "copy": "#7cc6a4",
    "issue read": "#0f6e51",
    "to wire": "#4f9bd9",
    "to switch": "#86b8e6",
    "to completion": "#945ecf",
    "delivery and completion": "#c3a3e8",
    "to buffers": "#13a4b4",
    "to first write": "#68c9d3",
    "writes": "#0b6d78",
    # the wire
    "on wire": "#1f5fa8",
    "arrival": "#3c3c8c",
}
"""One colour for each stage, by what is waited for."""
GAP: Final = -1
"""Stands for the time of a failed packet in which it was in no stage."""
_STAGE_NUMBERS: Final = {
    key: number for number, key in enumerate(dict.fromkeys((direction_of(s), s.name) for s in STAGES))
}


def render(shown: View, curves: Rates, command: str) -> str:
    """The page as text."""
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment.get_template("page.html").render(
        command=command,
        style=(HERE / "page.css").read_text(),
        code=(HERE / "page.js").read_text(),
        plotly=get_plotlyjs(),
        data=data(shown, curves),
    )


def data(shown: View, curves: Rates) -> dict[str, Any]:
    """What the page shows: names once, packets as columns of numbers, times in cycles."""
    guests = {guest: number for number, guest in enumerate(shown.guests)}
    directions = {direction: number for number, direction in enumerate(Direction)}
    forms = {form: number for number, form in enumerate(sorted({e.form for e in shown.entries}))}
    errors = {error: number for number, error in enumerate(sorted({"", *(e.error for e in shown.entries)}))}
    paths: dict[tuple[int, ...], int] = {}
    packets: dict[str, list[Any]] = defaultdict(list)
    for entry in shown.entries:
        path, cycles = _path(entry)
        row = {
            "guest": guests[entry.guest],
            "number": entry.number,
            "direction": directions[entry.direction],
            "form": forms[entry.form],
            "bytes": entry.frame_bytes,
            "start": entry.start,
            "total": entry.end - entry.start,
            "nic": entry.nic_cycles,
            "error": errors[entry.error],
            "error_at": entry.error_at,
            "path": paths.setdefault(path, len(paths)),
            "cycles": cycles,
        }
        for name, value in row.items():
            packets[name].append(value)
    return {
        "cycle_ns": CYCLE_NS,
        "guests": list(guests),
        "directions": list(directions),
        "forms": list(forms),
        "errors": list(errors),
        "stages": [
            {"name": name, "direction": directions[direction], "colour": COLOURS[name]}
            for direction, name in _STAGE_NUMBERS
        ],
        "paths": list(paths),
        "packets": packets,
        "rates": {
            "start_ns": curves.start_ns,
            "bin_ns": curves.bin_ns,
            "curves": [
                {"guest": guests[guest], "direction": directions[direction], "gbps": gbps}
                for (guest, direction), gbps in curves.gbps.items()
            ],
        },
    }


def _path(entry: Entry) -> tuple[tuple[int, ...], list[int]]:
    """Numbers of the packet's stages and their cycles; gaps are stages too, so that cycles add up to its total."""
    path, cycles, at = [], [], entry.start
    for span in entry.spans:
        if span.start > at:
            path.append(GAP)
            cycles.append(span.start - at)
        path.append(_STAGE_NUMBERS[direction_of(span.stage), span.stage.name])
        cycles.append(span.end - span.start)
        at = span.end
    return tuple(path), cycles
