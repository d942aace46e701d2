"""The trace: JSON of the Trace Event Format, which both Perfetto's UI and Chrome's viewers open.

Perfetto's own binary format is smaller, but only Perfetto opens it. One event on a line; times are us with three
decimals, so every ns is exact.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from sw.platform import CYCLE_NS
from tb.timeline.lanes import ENGINE_OF, WAITING, Engine, pack
from tb.timeline.packets import Entry, Span, View
from tb.timeline.rates import Rates

Event = dict[str, Any]
INTERRUPTS: Final = "interrupts"
"""The group of the interrupt writes, a row for each vector."""
_NS_PER_US: Final = 1000
_FIRST_ROW: Final = 1000
"""Numbers of rows are never those of groups: Perfetto takes such a row for its group's main thread."""


class _Rows:
    """Numbers of groups (pid) and of rows (tid), in the order in which they are shown. Perfetto keeps 0 for idle."""

    def __init__(self) -> None:
        self._groups: dict[str, int] = {}
        self._rows: dict[tuple[str, str], int] = {}

    def group(self, name: str) -> int:
        return self._groups.setdefault(name, 1 + len(self._groups))

    def place(self, group: str, row: str) -> Event:
        return {"pid": self.group(group), "tid": self._rows.setdefault((group, row), _FIRST_ROW + len(self._rows))}

    def names(self) -> Iterator[Event]:
        for name, pid in self._groups.items():
            yield {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": name}}
            yield {"ph": "M", "name": "process_sort_index", "pid": pid, "args": {"sort_index": pid}}
        for (group, name), tid in self._rows.items():
            place = {"pid": self._groups[group], "tid": tid}
            yield {"ph": "M", "name": "thread_name", **place, "args": {"name": name}}
            yield {"ph": "M", "name": "thread_sort_index", **place, "args": {"sort_index": tid}}


def write(path: Path, shown: View, curves: Rates, command: str, entries: Iterable[Entry]) -> None:
    """Write the trace of a run. `entries` are the view's, through whatever shows how far it is."""
    encode = json.JSONEncoder(separators=(",", ":")).encode
    head = {"command": command, "time": "simulated", "cycle": f"{CYCLE_NS} ns"}
    with path.open("w") as file:
        file.write(f'{{"displayTimeUnit":"ns","otherData":{encode(head)},"traceEvents":[')
        for number, event in enumerate(events(shown, curves, entries)):
            file.write((",\n" if number else "\n") + encode(event))
        file.write("\n]}\n")


def events(shown: View, curves: Rates, entries: Iterable[Entry]) -> Iterator[Event]:
    """All events: names of the rows, then packet by packet its slices, then interrupts and counters."""
    rows = _Rows()
    places = _places(shown, rows)
    interrupts = [(cycle, rows.place(INTERRUPTS, f"vector {vector}")) for cycle, vector in shown.interrupts]
    yield from rows.names()
    for number, entry in enumerate(entries):
        yield from _slices(entry, number, places)
        if entry.error:
            place = rows.place(entry.guest, Engine.ERRORS)
            yield {"ph": "i", "s": "t", "name": entry.error, **place, "ts": _us(entry.error_at), "args": _args(entry)}
    for cycle, place in interrupts:
        yield {"ph": "i", "s": "t", "name": "interrupt", **place, "ts": _us(cycle)}
    for (guest, direction), gbps in curves.gbps.items():
        for bin_number, value in enumerate([*gbps, 0.0]):
            ts = (curves.start_ns + bin_number * curves.bin_ns) / _NS_PER_US
            yield {"ph": "C", "name": direction, "pid": rows.group(guest), "ts": ts, "args": {"Gb/s": value}}


def _us(cycles: int) -> float:
    return cycles * CYCLE_NS / _NS_PER_US


def _args(entry: Entry) -> Event:
    packet = f"{entry.guest} {entry.direction} {entry.number}"
    return {"packet": packet, "form": entry.form, "bytes": entry.frame_bytes}


def _places(shown: View, rows: _Rows) -> dict[tuple[int, int], Event]:
    """Where each span is drawn, by number of its packet and of the span in it."""
    found: dict[tuple[int, int], Event] = {}
    by_engine: dict[tuple[str, Engine], list[tuple[int, int, Span]]] = defaultdict(list)
    for number, entry in enumerate(shown.entries):
        for k, span in enumerate(entry.spans):
            by_engine[entry.guest, ENGINE_OF[span.stage]].append((number, k, span))
    failed = {entry.guest for entry in shown.entries if entry.error}
    for guest in shown.guests:
        # the working engines first, then those where packets only wait
        for engine in sorted(Engine, key=lambda e: e in WAITING):
            if engine is Engine.ERRORS and guest in failed:
                rows.place(guest, engine)
            group = f"{guest}, waiting" if engine in WAITING else guest
            spans = sorted(by_engine[guest, engine], key=lambda s: s[2].start)
            lanes = pack(span for _, _, span in spans)
            drawn = [rows.place(group, f"{engine} {lane}" if lane else engine) for lane in range(max(lanes, default=-1) + 1)]
            found |= {(number, k): drawn[lane] for (number, k, _), lane in zip(spans, lanes, strict=True)}
    return found


def _slices(entry: Entry, number: int, places: dict[tuple[int, int], Event]) -> Iterator[Event]:
    """One slice for each stage, each with an arrow to the next one."""
    last = len(entry.spans) - 1
    for k, span in enumerate(entry.spans):
        event = {
            "ph": "X",
            "cat": entry.direction,
            "name": span.stage.name,
            **places[number, k],
            "ts": _us(span.start),
            "dur": _us(span.end - span.start),
            "args": {**_args(entry), "cycle": span.start, "cycles": span.end - span.start},
        }
        if last:
            event["bind_id"] = f"{number + 1:#x}"
        if k > 0:
            event["flow_in"] = True
        if k < last:
            event["flow_out"] = True
        yield event
