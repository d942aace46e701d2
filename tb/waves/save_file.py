"""A view as GTKWave's save file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from vcd.gtkw import GTKWFlag, GTKWSave

from tb.waves.dump import Dump
from tb.waves.lane import Lane, write_filter
from tb.waves.view import SignalRow

_ENUM: Final = 1 << 32 | GTKWFlag.bin.value
"""Show the dump's own names of an enumeration: GTKWave's TR_ENUM, which pyvcd does not know. Works in binary only."""
_TEXT: Final = GTKWFlag.ttranslated | GTKWFlag.rjustify | GTKWFlag.hex
"""A row whose filter follows. pyvcd counts filters, but GTKWave reads one digit, and takes no notice of which."""
_CARRIER: Final = "rst_q"
"""Any signal carries text lanes; this one hardly ever changes."""
_SIZE: Final = (1600, 1000)
_NAMES_WIDTH: Final = 330
_FRAMES: Final = 5.5
"""Width of the waves in GTKWave's frames of 200 pixels: a frame shows 2^-zoom time steps."""
_MARKERS: Final = 26


@dataclass(frozen=True)
class Section:
    """A group as GTKWave shows it: rows of text, then signals."""

    title: str
    lanes: Sequence[Lane]
    signals: Sequence[SignalRow]
    closed: bool = False


def write_save_file(
    path: Path,
    dump: Dump,
    top: Section,
    sections: Sequence[Section],
    *,
    window_ps: tuple[int, int],
    marks: Sequence[tuple[str, int]],
) -> None:
    """Write `path` and its filters beside it. `window_ps` is shown, `marks` are named markers, the first the primary one;
    `top` has no head.

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
        _rows(file, save, dump, top, path)
        for section in sections:
            with save.group(section.title, closed=section.closed):
                _rows(file, save, dump, section, path)


def _rows(file: TextIO, save: GTKWSave, dump: Dump, section: Section, path: Path) -> None:
    """The first lane stands on a signal, the others on blank rows below it."""
    if section.lanes:
        script = write_filter(section.lanes, path.with_name(f"{section.title.replace(' ', '_')}.sh"))
        file.write(f"@{_TEXT.value:x}\n^<1 {script}\n+{{{section.lanes[0].name}}} {dump.top}.{_CARRIER}\n")
        for _ in section.lanes[1:]:
            save.blank()
    file.writelines(_row(dump, row) for row in section.signals)


def _row(dump: Dump, row: SignalRow) -> str:
    """One signal. pyvcd refuses the flag of enumerations."""
    width = dump.width(row.path)
    flags = (_ENUM if dump.names(row.path) else GTKWFlag[row.format].value) | GTKWFlag.rjustify.value
    # GTKWave shows of a name what is behind its last dot
    name = row.path.removeprefix("u_nic.").replace(".", " ")
    bits = f"[{row.lsb + width - 1}:{row.lsb}]" if width > 1 else ""
    return f"@{flags:x}\n+{{{name}}} {dump.top}.{row.path}{bits}\n"
