"""`make bench MODES=1`: what is measured in each way of sharing the NIC, and the figures that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor
from typing import Final

from rich import box
from rich.table import Table

from hypervisor_model.costs import CostTable
from hypervisor_model.sharing import Sharing
from sw.platform import PAGE_SIZE
from tb.bench.bounds import wire_gbps
from tb.bench.figures import Row

MODE_VARIABLE: Final = "MYRMIDON_BENCH_MODE"
"""Environment of the simulation process: the way of sharing."""
RESULT: Final = "result.pickle"
"""A `ModeMeasurement`, in the folder of the mode."""
MESSAGES: Final = (1, 64, 256, 1024, 1500, 4096, 16384, 65536)
"""Bytes of the messages between guests."""
MTU: Final = 9000
"""Longer messages are several frames."""
ROUNDS: Final = 5
"""Of which the median counts."""
STREAMS: Final = ((1514, 1200), (9014, 400))
"""Frame bytes without FCS, and frames, of the runs from guest to wire: MTU 1500 and jumbo."""
COUNTED: Final = 1514
"""Bytes of the frames whose costs are counted for each packet."""
RUNS: Final = (1, 16)
"""Pages of one registration."""
REGISTERS: Final = (Sharing.NATIVE, Sharing.IOMMU, Sharing.WINDOWS)
"""Where a guest registers its buffers: VALIDATED pins with each descriptor, in SPLIT the control domain's are used."""

GRANT_OPERATIONS: Final = ("grant_map", "grant_unmap", "grant_copy")


@dataclass(frozen=True)
class Share:
    """Time of a domain's vCPUs, ns."""

    own: float = 0.0
    """Its own software."""
    hypervisor: float = 0.0
    """The hypervisor, on its behalf."""
    poll: float = 0.0
    """Waiting for the device on a core."""


@dataclass(frozen=True)
class Spent:
    """What happened between two moments."""

    entries: int
    """Into the hypervisor: hypercalls, faults, interrupts."""
    hypercalls: int
    interrupts: int
    operations: Mapping[tuple[str, str], int]
    """Operations of the cost table by who did them, `guest` or `dom0`, and name; a batch counts each of its parts."""
    time: Mapping[str, Share]
    """By the same two."""

    def count(self, *operations: str) -> int:
        """Operations of these names, whoever did them."""
        return sum(count for (_, name), count in self.operations.items() if name in operations)


@dataclass(frozen=True)
class Stream:
    """One run from guest to wire."""

    frames: int
    gbps: float
    """Bits of the frames themselves, without FCS."""
    spent: Spent


@dataclass(frozen=True)
class ModeMeasurement:
    """What one mode gave. Times in ns."""

    latency: Mapping[int, float]
    """By bytes of the message: from hand-over until the receiver has the last byte."""
    streams: Mapping[int, Stream]
    """By bytes of the frame."""
    registration: Mapping[int, float]
    """By pages of one registration: map and unmap, for each page. Empty in a mode without."""


def break_even(registration_ns: float, copy_byte_ns: float) -> int:
    """Sends of a page after which its registration is cheaper than copying it into a registered buffer each time."""
    return floor(registration_ns / (copy_byte_ns * PAGE_SIZE)) + 1


def rows(sharing: Sharing, measured: ModeMeasurement, costs: CostTable) -> list[Row]:
    """The figures of one mode, named `mode.<mode>.<quantity>`."""
    found = [Row(f"latency_us.{size}", ns / 1000, "us") for size, ns in measured.latency.items()]
    for size, stream in measured.streams.items():
        found.append(Row(f"gbps.{size}", stream.gbps, "Gb/s", wire_gbps(size)))
    found += _packet_rows(measured.streams[COUNTED])
    for pages, ns in measured.registration.items():
        found.append(Row(f"registration_us.{pages}", ns / 1000, "us/page"))
        found.append(Row(f"break_even_sends.{pages}", break_even(ns, costs["copy_byte"].ns), "sends"))
    return [Row(f"mode.{sharing}.{r.name}", r.value, r.unit, r.bound, r.note) for r in found]


def _packet_rows(stream: Stream) -> list[Row]:
    spent, frames = stream.spent, stream.frames
    found = [
        Row("packet.entries", spent.entries / frames, ""),
        Row("packet.hypercalls", spent.hypercalls / frames, ""),
        Row("packet.interrupts", spent.interrupts / frames, ""),
        *(Row(f"packet.{name}", spent.count(name) / frames, "") for name in (*GRANT_OPERATIONS, "pin_check")),
        *(
            Row(f"packet.bytes_copied.{who}", spent.operations.get((who, "copy_byte"), 0) / frames, "bytes")
            for who in ("guest", "dom0")
        ),
        Row("packet.bytes_copied.grant_copy", spent.count("grant_copy_byte") / frames, "bytes"),
    ]
    for who in ("guest", "dom0"):
        share = spent.time.get(who, Share())
        for part, ns in (("own", share.own), ("hypervisor", share.hypervisor), ("poll", share.poll)):
            found.append(Row(f"packet.cpu_ns.{who}.{part}", ns / frames, "ns"))
    return found


def table(found: Mapping[Sharing, list[Row]], costs: CostTable) -> Table:
    """One line for each quantity, one column for each mode."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=f"software costs: {costs.describe()}", caption_justify="left")
    shown.add_column("quantity", no_wrap=True)
    shown.add_column("unit", no_wrap=True)
    cells: dict[tuple[str, str], dict[Sharing, str]] = {}
    for sharing, figures in found.items():
        shown.add_column(str(sharing), justify="right", no_wrap=True)
        for row in figures:
            quantity = row.name.removeprefix(f"mode.{sharing}.")
            cells.setdefault((quantity, row.unit), {})[sharing] = f"{row.value:,.2f}"
    for (quantity, unit), values in cells.items():
        shown.add_row(quantity, unit, *(values.get(sharing, "") for sharing in found))
    return shown
