"""`make bench MODES=1`: what is measured in each way of sharing the NIC, and the figures that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
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
FRAMES: Final = 1200
"""Of a run from the line to a guest, and of one from guest to guest."""
PACED: Final = 40
"""Frames that find everybody asleep, each after the one before."""
LINE_MESSAGES: Final = (1, 1500)
"""Bytes behind the header of frames from the line whose latency is measured."""
RUNS: Final = (1, 16)
"""Pages of one registration."""
REGISTERS: Final = (Sharing.NATIVE, Sharing.IOMMU, Sharing.WINDOWS)
"""Where a guest registers its buffers: VALIDATED pins with each descriptor, in SPLIT the control domain's are used."""

WHO: Final = ("guest", "dom0")
"""Whose time and operations are counted."""
SIDES: Final = ("sender", "receiver")
"""Names of the two guests."""
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
    """By the same two, and by each guest's name: `guest` is the sum of theirs."""

    def count(self, *operations: str) -> int:
        """Operations of these names, whoever did them."""
        return sum(count for (_, name), count in self.operations.items() if name in operations)


@dataclass(frozen=True)
class Stream:
    """One run of frames in one direction."""

    frames: int
    gbps: float
    """Bits of the frames themselves, without FCS."""
    spent: Spent


class Flow(StrEnum):
    """Where received frames come from, and the first part of their figures' names."""

    RX = "rx"
    """The line."""
    GUEST_TO_GUEST = "guest_to_guest"
    """The other guest."""


@dataclass(frozen=True)
class Received:
    """Frames of `COUNTED` bytes to a guest."""

    stream: Stream
    """As fast as they come."""
    paced: Stream
    """One by one: the receiver sleeps before each."""


@dataclass(frozen=True)
class ModeMeasurement:
    """What one mode gave. Times in ns."""

    latency: Mapping[int, float]
    """By bytes of the message: from hand-over until the receiver has the last byte."""
    streams: Mapping[int, Stream]
    """By bytes of the frame."""
    registration: Mapping[int, float]
    """By pages of one registration: map and unmap, for each page. Empty in a mode without."""
    received: Mapping[Flow, Received]
    line_latency: Mapping[int, float]
    """By bytes behind the header: from the last bit on the line until the receiver, asleep before, has the frame."""


def break_even(registration_ns: float, copy_byte_ns: float) -> int:
    """Sends of a page after which its registration is cheaper than copying it into a registered buffer each time."""
    return floor(registration_ns / (copy_byte_ns * PAGE_SIZE)) + 1


def rows(sharing: Sharing, measured: ModeMeasurement, costs: CostTable) -> list[Row]:
    """The figures of one mode, named `mode.<mode>.<quantity>`."""
    found = [Row(f"latency_us.{size}", ns / 1000, "us") for size, ns in measured.latency.items()]
    for size, stream in measured.streams.items():
        found.append(Row(f"gbps.{size}", stream.gbps, "Gb/s", wire_gbps(size)))
    found += _packet_rows("packet", measured.streams[COUNTED], WHO)
    for pages, ns in measured.registration.items():
        found.append(Row(f"registration_us.{pages}", ns / 1000, "us/page"))
        found.append(Row(f"break_even_sends.{pages}", break_even(ns, costs["copy_byte"].ns), "sends"))
    found += [Row(f"{Flow.RX}.latency_us.{size}", ns / 1000, "us") for size, ns in measured.line_latency.items()]
    for flow, received in measured.received.items():
        bound = wire_gbps(COUNTED) if flow is Flow.RX else None
        found.append(Row(f"{flow}.gbps.{COUNTED}", received.stream.gbps, "Gb/s", bound))
        # Where two guests work for a frame, each by itself; a native owner is both.
        apart = [who for who in SIDES if who in received.stream.spent.time] if flow is Flow.GUEST_TO_GUEST else []
        found += _packet_rows(f"{flow}.packet", received.stream, [*WHO, *apart])
        found += _entry_rows(f"{flow}.paced", received.paced)
    return [Row(f"mode.{sharing}.{r.name}", r.value, r.unit, r.bound, r.note) for r in found]


def _entry_rows(prefix: str, stream: Stream) -> list[Row]:
    """Who was entered or interrupted for each frame: the hypervisor, and the systems on it."""
    spent, frames = stream.spent, stream.frames
    return [
        Row(f"{prefix}.entries", spent.entries / frames, ""),
        Row(f"{prefix}.hypercalls", spent.hypercalls / frames, ""),
        Row(f"{prefix}.interrupts", spent.interrupts / frames, ""),
        *(
            Row(f"{prefix}.upcalls.{who}", spent.operations.get((who, "interrupt_entry"), 0) / frames, "")
            for who in WHO
        ),
    ]


def _packet_rows(prefix: str, stream: Stream, names: Sequence[str]) -> list[Row]:
    spent, frames = stream.spent, stream.frames
    found = [
        *_entry_rows(prefix, stream),
        *(Row(f"{prefix}.{name}", spent.count(name) / frames, "") for name in (*GRANT_OPERATIONS, "pin_check")),
        *(
            Row(f"{prefix}.bytes_copied.{who}", spent.operations.get((who, "copy_byte"), 0) / frames, "bytes")
            for who in WHO
        ),
        Row(f"{prefix}.bytes_copied.grant_copy", spent.count("grant_copy_byte") / frames, "bytes"),
    ]
    for who in names:
        share = spent.time.get(who, Share())
        for part, ns in (("own", share.own), ("hypervisor", share.hypervisor), ("poll", share.poll)):
            found.append(Row(f"{prefix}.cpu_ns.{who}.{part}", ns / frames, "ns"))
    return found


TITLES: Final = {
    "": "Messages between guests; frames from a guest to the line",
    f"{Flow.RX}.": f"Frames of {COUNTED} bytes from the line to a guest: {Flow.RX}.",
    f"{Flow.GUEST_TO_GUEST}.": f"Frames of {COUNTED} bytes from guest to guest: {Flow.GUEST_TO_GUEST}.",
}
"""Tables by what their quantities' names begin with, which the title says once for all of them."""


def tables(found: Mapping[Sharing, list[Row]]) -> list[Table]:
    """One line for each quantity, one column for each mode."""
    cells: dict[str, dict[tuple[str, str], dict[Sharing, str]]] = {prefix: {} for prefix in TITLES}
    for sharing, figures in found.items():
        for row in figures:
            quantity = row.name.removeprefix(f"mode.{sharing}.")
            prefix = next((p for p in TITLES if p and quantity.startswith(p)), "")
            key = quantity.removeprefix(prefix), row.unit
            cells[prefix].setdefault(key, {})[sharing] = f"{row.value:,.2f}"
    return [_table(TITLES[prefix], list(found), some) for prefix, some in cells.items()]


def _table(title: str, columns: list[Sharing], cells: Mapping[tuple[str, str], Mapping[Sharing, str]]) -> Table:
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("quantity", no_wrap=True)
    shown.add_column("unit", no_wrap=True)
    for sharing in columns:
        shown.add_column(str(sharing), justify="right", no_wrap=True)
    for (quantity, unit), values in cells.items():
        shown.add_row(quantity, unit, *(values.get(sharing, "") for sharing in columns))
    return shown
