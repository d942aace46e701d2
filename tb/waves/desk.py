"""From a run's FST and trace to the files that GTKWave opens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from tb.ledger.records import TRACE_DTYPE
from tb.waves.config import WavesConfig
from tb.waves.descriptor_lanes import descriptor_lanes
from tb.waves.dump import PERIOD_PS, Dump, Instance, cycle_at, cycle_start_ps
from tb.waves.lane import Lane, lane
from tb.waves.packet_lanes import (
    Ledger,
    error_lanes,
    guest_lanes,
    interrupt_lanes,
    marks,
    moments,
    packet_lanes,
    stage_lanes,
)
from tb.waves.save_file import Section, write_save_file
from tb.waves.setups import endpoint_lives
from tb.waves.tlp_text import tlp_changes
from tb.waves.view import Group, Lanes, SignalRow

SAVE_FILE: Final = "view.gtkw"
_AROUND: Final = 0.1
"""Of a packet's life, shown before and after it; of the last look at a failure, shown after it."""
_LOOK_PS: Final = 4_000 * PERIOD_PS
"""Shown of a run when no packet was asked for: from the first one on, or before the failure."""
_TIME: Final = (SignalRow("clk_i", "hex"), SignalRow("cycle_q", "dec"))
_MANY: Final = 4
"""More groups of guests than this are closed."""


@dataclass(frozen=True)
class Prepared:
    """What was made."""

    save_file: Path
    packets: int
    """Packets that the ledger knows."""
    left_out: Sequence[str]
    """What it does not know, and why."""


def prepare(folder: Path, fst: Path, trace: Path, config: WavesConfig, failed_ps: int | None = None) -> Prepared:
    """Write the save file and its lanes into `folder`. `failed_ps`: when the run failed.

    Raises `DumpError` (FST or view), `PacketError` (there is no such packet).
    """
    dump = Dump(fst)
    span = dump.span_ps()
    ledger = Ledger.of(np.fromfile(trace, TRACE_DTYPE), endpoint_lives(dump), cycle_at(span[1]))
    top: Sequence[Lane] = ()
    named = [("failure", failed_ps)] if failed_ps is not None else []
    window = _look(span, failed_ps)
    if config.packet is not None:
        packet = ledger.packet(config.packet)
        top = packet_lanes(ledger, config.packet)
        named = [*marks(packet), *named]
        first, last = (cycle_start_ps(edge(moments(packet))) for edge in (min, max))
        around = int((last - first) * _AROUND) + PERIOD_PS
        window = (first - around, last + around)
    elif failed_ps is None and ledger.packets:
        first = max(span[0], cycle_start_ps(min(moments(ledger.packets[0]))))
        window = (first, min(span[1], first + _LOOK_PS))
    sections = [section for group in config.view.groups for section in _sections(group, ledger, dump)]
    path = folder / SAVE_FILE
    write_save_file(path, dump, Section("packet", top, _TIME), sections, window_ps=window, marks=named)
    return Prepared(path, len(ledger.packets), ledger.left_out)


def prepare_block(folder: Path, fst: Path, top: str, failed_ps: int | None = None) -> Prepared:
    """The same for a block's bench, whose top module is `top`: its ports, then a group for each instance. Raises `DumpError`."""
    dump = Dump(fst, top)
    bench, *inner = dump.instances()
    ports = sorted(bench.ports, key=lambda port: port not in ("clk_i", "rst_i"))
    shown = Section("ports", (), _signals(ports))
    own = [Section(top, (), _signals(bench.others), closed=True)] if bench.others else []
    sections = [Section(one.path, (), _signals([*one.ports, *one.others]), closed=True) for one in inner if _has_signals(one)]
    path = folder / SAVE_FILE
    named = [("failure", failed_ps)] if failed_ps is not None else []
    write_save_file(path, dump, shown, [*own, *sections], window_ps=_look(dump.span_ps(), failed_ps), marks=named)
    return Prepared(path, 0, ())


def _look(span: tuple[int, int], failed_ps: int | None) -> tuple[int, int]:
    """The begin of a run, or what came before its failure."""
    if failed_ps is None:
        return span[0], min(span[1], span[0] + _LOOK_PS)
    return max(span[0], failed_ps - _LOOK_PS), failed_ps + int(_LOOK_PS * _AROUND)


def _sections(group: Group, ledger: Ledger, dump: Dump) -> Iterator[Section]:
    if Lanes.GUESTS in group.lanes:
        guests = guest_lanes(ledger)
        for endpoint, lanes in guests:
            yield Section(f"{group.title} of endpoint {endpoint}", lanes, (), closed=len(guests) > _MANY)
        return
    lanes = stage_lanes(ledger, group.stages) if group.stages else []
    if Lanes.DESCRIPTORS in group.lanes:
        lanes += descriptor_lanes(ledger, dump)
    if Lanes.INTERRUPTS in group.lanes:
        lanes += interrupt_lanes(ledger)
    if Lanes.ERRORS in group.lanes:
        lanes += error_lanes(ledger)
    lanes += [lane(f"TLP {stream}", tlp_changes(dump.beats(stream))) for stream in group.tlp]
    yield Section(group.title, lanes, group.signals)


def _has_signals(instance: Instance) -> bool:
    return bool(instance.ports or instance.others)


def _signals(paths: Sequence[str]) -> tuple[SignalRow, ...]:
    return tuple(SignalRow(path, "hex") for path in paths)
