"""Latency by stage and form, as data and as a table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from rich import box
from rich.table import Table

from sw.abi.registers import Status
from sw.platform import CYCLE_NS
from tb.ledger.row import Row
from tb.ledger.stages import PacketForm, nic_share_stages

NIC_SHARE: Final = "NIC share"
TOTAL: Final = "end to end"


@dataclass(frozen=True)
class StageLatency:
    """Cycles that one stage took over all packets of a form; each figure is one that was observed."""

    form: str
    stage: str
    packets: int
    min: int
    median: int
    p99: int
    max: int

    def as_json(self) -> dict[str, str | int]:
        return asdict(self) | {f"{k}_ns": getattr(self, k) * CYCLE_NS for k in ("min", "median", "p99", "max")}


def nic_share(packet: Row) -> int:
    """Cycles in which the NIC itself is at work on the packet; see `tb.ledger.stages.STAGES`."""
    cycles = packet.stages()
    return sum(cycles[stage.name] for stage in nic_share_stages(packet.form, inside=packet.inside))


def latencies(packets: Iterable[Row]) -> list[StageLatency]:
    """Each stage of each form, then its NIC share and end-to-end time; failed packets are left out."""
    samples: dict[tuple[int, str], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    forms = list(PacketForm)
    for packet in packets:
        if packet.status == Status.OK:
            taken = samples[forms.index(packet.form), packet.path]
            for name, cycles in packet.stages().items():
                taken[name].append(cycles)
            taken[NIC_SHARE].append(nic_share(packet))
            taken[TOTAL].append(packet.total)
    return [
        _summary(path, name, samples[order, path][name])
        for order, path in sorted(samples)
        for name in samples[order, path]
    ]


def _summary(form: str, name: str, taken: list[int]) -> StageLatency:
    # inverted_cdf picks an observation, so that cycles stay whole
    low, median, p99, high = (int(v) for v in np.percentile(taken, [0, 50, 99, 100], method="inverted_cdf"))
    return StageLatency(form, name, len(taken), low, median, p99, high)


def table(rows: Iterable[StageLatency]) -> Table:
    """The rows as a table, each figure as cycles and ns."""
    shown = Table(title="Latency by stage, cycles / ns", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("stage", no_wrap=True)
    for name in ("min", "median", "p99", "max"):
        shown.add_column(name, justify="right", no_wrap=True)
    form = None
    for row in rows:
        if row.form != form:
            form = row.form
            shown.add_section()
            shown.add_row(f"{form}, {row.packets:,} packets", style="bold")
        figures = (f"{cycles} / {cycles * CYCLE_NS}" for cycles in (row.min, row.median, row.p99, row.max))
        shown.add_row(row.stage, *figures, style="bold" if row.stage in (NIC_SHARE, TOTAL) else None)
    return shown
