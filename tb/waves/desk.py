"""From a run's FST and trace to the files that GTKWave opens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tb.ledger.records import TRACE_DTYPE
from tb.waves.config import WavesConfig
from tb.waves.dump import PERIOD_PS, Dump, cycle_start_ps
from tb.waves.lane import Lane, lane
from tb.waves.packet_lanes import Ledger, interrupt_lanes, marks, packet_lanes, stage_lanes
from tb.waves.save_file import write_save_file
from tb.waves.setups import endpoint_setups
from tb.waves.tlp_text import tlp_changes
from tb.waves.view import Group

SAVE_FILE: Final = "view.gtkw"
_AROUND: Final = 0.1
"""Of a packet's life, shown before and after it."""
_FIRST_LOOK_PS: Final = 4_000 * PERIOD_PS
"""Shown of a run when no packet was asked for."""


@dataclass(frozen=True)
class Prepared:
    """What was made."""

    save_file: Path
    packets: int
    """Packets that the ledger knows."""
    left_out: Sequence[str]
    """Endpoints that it does not know, and why."""


def prepare(folder: Path, fst: Path, trace: Path, config: WavesConfig) -> Prepared:
    """Write the save file and its lanes into `folder`.

    Raises `DumpError` (FST or view), `PacketError` (there is no such packet).
    """
    dump = Dump(fst)
    span = dump.span_ps()
    ledger = Ledger.of(np.fromfile(trace, TRACE_DTYPE), endpoint_setups(dump))
    top: Sequence[Lane] = ()
    named: list[tuple[str, int]] = []
    window = (span[0], min(span[1], span[0] + _FIRST_LOOK_PS))
    if config.packet is not None:
        packet = ledger.packet(config.packet)
        top = packet_lanes(ledger, config.packet)
        named = marks(packet)
        first, last = (cycle_start_ps(edge(packet.stamps.values())) for edge in (min, max))
        around = int((last - first) * _AROUND) + PERIOD_PS
        window = (first - around, last + around)
    elif ledger.packets:
        first = cycle_start_ps(min(ledger.ordered()[0].stamps.values()))
        window = (first, min(span[1], first + _FIRST_LOOK_PS))

    def lanes_of(group: Group) -> list[Lane]:
        lanes = stage_lanes(ledger, group.stages)
        if group.irq:
            lanes += interrupt_lanes(ledger)
        return lanes + [lane(f"TLP {stream}", tlp_changes(dump.beats(stream))) for stream in group.tlp]

    path = folder / SAVE_FILE
    write_save_file(path, dump, config.view, top, lanes_of, window_ps=window, marks=named)
    return Prepared(path, len(ledger.packets), ledger.left_out)
