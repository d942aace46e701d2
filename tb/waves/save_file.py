"""A view as GTKWave's save file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from vcd.gtkw import GTKWFlag, GTKWSave

from tb.waves.dump import TOP, Dump
from tb.waves.lane import Lane, write_filter
from tb.waves.view import Group, SignalRow, View

_ENUM: Final = 1 << 32 | GTKWFlag.bin.value
"""Show the dump's own names of an enumeration: GTKWave's TR_ENUM, which pyvcd does not know. Works in binary only."""
_CARRIER: Final = "rst_q"
"""Any signal carries text lanes; this one hardly ever changes."""
_TIME: Final = (SignalRow("clk_i", "hex"), SignalRow("cycle_q", "dec"))
_SIZE: Final = (1600, 1000)
_NAMES_WIDTH: Final = 330
_FRAMES: Final = 5.5
"""Width of the waves in GTKWave's frames of 200 pixels: a frame shows 2^-zoom time steps."""
_MARKERS: Final = 26

Lanes = Callable[[Group], Sequence[Lane]]


def write_save_file(
    path: Path,
    dump: Dump,
    view: View,
    top_lanes: Sequence[Lane],
    lanes_of: Lanes,
    *,
    window_ps: tuple[int, int],
    marks: Sequence[tuple[str, int]],
) -> None:
    """Write `path` and its filters beside it. `window_ps` is shown, `marks` are named markers, the first the primary one.

    Raises `DumpError` when the design does not have a signal of the view.
    """
    start, end = window_ps
    zoom = -math.log2(max(1.0, (end - start) / _FRAMES))
    with path.open("w") as file:
        save = GTKWSave(file)
        save.dumpfile(str(dump.path.resolve()))
        save.timestart(max(0, start))
        save.size(*_SIZE)
        named = {chr(ord("a") + n): ps for n, (_, ps) in enumerate(marks[:_MARKERS])}
        save.zoom_markers(zoom, marks[0][1] if marks else -1, **named)
        for n, (name, _) in enumerate(marks[:_MARKERS]):
            file.write(f"[markername] {chr(ord('A') + n)}{name}\n")
        save.signals_width(_NAMES_WIDTH)
        save.sst_expanded(False)
        if top_lanes:
            _lanes(save, top_lanes, path.with_name("packet.sh"))
        for row in _TIME:
            file.write(_row(dump, row))
        for group in view.groups:
            with save.group(group.title):
                _lanes(save, lanes_of(group), path.with_name(f"{group.title.replace(' ', '_')}.sh"))
                for row in group.signals:
                    file.write(_row(dump, row))


def _row(dump: Dump, row: SignalRow) -> str:
    """One signal. pyvcd refuses the flag of enumerations."""
    width = dump.width(row.path)
    flags = (_ENUM if dump.is_enum(row.path) else GTKWFlag[row.format].value) | GTKWFlag.rjustify.value
    # GTKWave shows of a name what is behind its last dot
    name = row.path.removeprefix("u_nic.").replace(".", " ")
    return f"@{flags:x}\n+{{{name}}} {TOP}.{row.path}{f'[{width - 1}:0]' if width > 1 else ''}\n"


def _lanes(save: GTKWSave, lanes: Sequence[Lane], script: Path) -> None:
    """The first lane stands on a signal, the others on blank rows below it."""
    if not lanes:
        return
    filter_path = write_filter(lanes, script)
    save.trace(f"{TOP}.{_CARRIER}", lanes[0].name, transaction_filter_proc=str(filter_path))
    for _ in lanes[1:]:
        save.blank()
