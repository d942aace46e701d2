"""The ledger's rows as a person looks at them: whose packet, which way, where its time went, how it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from sw.abi.registers import Status, TraceKind
from tb.ledger.decode import Packet, decode
from tb.ledger.receive import Delivery, Drop, decode_receive
from tb.ledger.row import Row
from tb.ledger.run import Run
from tb.ledger.stages import PacketForm, Stage, Stamp, stages_of

NIC: Final = "NIC"
"""Owner of what belongs to no endpoint."""
BLOCKED: Final = "completion blocked"
"""The completion left the NIC and was never visible."""
NO_FORM: Final = "unknown"
"""Form of what the ledger has no row for: a dropped frame, a refused chain of an endpoint that no summary describes."""
_MAX_NAMES: Final = 3
"""More guests than this behind one endpoint are counted, not named."""


class Direction(StrEnum):
    """Which half of the NIC."""

    SEND = "send"
    RECEIVE = "receive"


def direction_of(stage: Stage) -> Direction:
    """Whose stage it is; some names are in both halves."""
    return Direction.RECEIVE if stage.forms <= {PacketForm.RECEIVED, PacketForm.SWITCHED} else Direction.SEND


@dataclass(frozen=True)
class Span:
    """One stage of one packet, in cycles."""

    stage: Stage
    start: int
    end: int


@dataclass(frozen=True)
class Entry:
    """One packet: a chain, a delivery, a drop or a refusal."""

    guest: str
    """Who owns the endpoint."""
    number: int
    """Of the guest's packets of this direction, from 0."""
    direction: Direction
    form: str
    start: int
    """Cycle of the first thing that the trace has of it."""
    end: int
    spans: tuple[Span, ...] = ()
    """Its stages, in order. Of a packet that failed, those of which the trace has both ends."""
    frame_bytes: int = 0
    """Sends with FCS, receives without, as the trace counts them; 0: it does not say."""
    carried: tuple[int, int] | None = None
    """Cycles in which its bytes went by: on the wire, or in payload writes to the receiver's memory."""
    error: str = ""
    error_at: int = 0
    """Cycle at which that was clear, where there is an error."""

    @property
    def nic_cycles(self) -> int:
        """The NIC's share, see docs/ledger.md."""
        return sum(span.end - span.start for span in self.spans if span.stage.nic)


@dataclass(frozen=True)
class View:
    """Everything that trace and page show."""

    guests: list[str]
    """Owners, those of endpoints first, in the endpoints' order."""
    entries: list[Entry]
    """In the order of their first cycles."""
    interrupts: list[tuple[int, int]] = field(default_factory=list)
    """(cycle, vector)."""


def view(run: Run) -> View:
    """All packets of a run. Raises `LedgerError` when the trace does not add up."""
    received = decode_receive(run.records)
    refused = run.records[run.records["kind"] == TraceKind.FAILED]
    others = [r for r in refused.tolist() if r[2] not in run.setups]
    receivers = {d.endpoint for d in received.deliveries} | {d.endpoint for d in received.drops if d.endpoint is not None}
    endpoints = {*run.setups, *(r[2] for r in others), *receivers}
    owners = {endpoint: _name(endpoint, run.guests.get(endpoint, [])) for endpoint in endpoints}
    found = [
        *(_send(packet, owners) for packet in decode(run.records, run.setups)),
        *(_delivery(delivery, owners) for delivery in received.deliveries),
        *(_drop(drop, owners) for drop in received.drops),
        *(_refusal(cycle, owners[endpoint], info) for cycle, _, endpoint, _, info in others),
    ]
    guests = [owners[endpoint] for endpoint in sorted(owners)]
    guests += [NIC] if any(entry.guest == NIC for entry in found) else []
    return View(guests, _numbered(found), received.interrupts)


def _name(endpoint: int, guests: list[str]) -> str:
    match guests:
        case []:
            return f"endpoint {endpoint}"
        case [guest]:
            return guest
        case _ if len(guests) <= _MAX_NAMES:
            return f"dom0 for {', '.join(guests)}"
        case _:
            return f"dom0 for {len(guests)} guests"


def _numbered(entries: Iterable[Entry]) -> list[Entry]:
    """In the order of time, numbers set. Numbers of sends are those of `python -m tb.ledger --packet`."""
    count: Counter[tuple[str, Direction]] = Counter()
    numbered = []
    for entry in entries:
        key = entry.guest, entry.direction
        numbered.append(replace(entry, number=count[key]))
        count[key] += 1
    return sorted(numbered, key=lambda e: (e.start, e.guest, e.direction, e.number))


def _spans(row: Row) -> tuple[Span, ...]:
    """The row's stages. A row without error has all of them, and they add up: `Row.stages` checks it."""
    stages = stages_of(row.form, inside=row.inside)
    if row.status == Status.OK and stages[-1].end in row.stamps:
        row.stages()
    ends = ((s, row.stamps.get(s.start), row.stamps.get(s.end)) for s in stages)
    return tuple(Span(stage, a, b) for stage, a, b in ends if a is not None and b is not None)


def _entry(row: Row, guest: str, direction: Direction, first: Stamp, end: Stamp) -> Entry:
    last = stages_of(row.form, inside=row.inside)[-1].end
    error = row.status.name if row.status != Status.OK else "" if last in row.stamps else BLOCKED
    moments = [*row.stamps.values(), *([] if row.failed_at is None else [row.failed_at])]
    return Entry(
        guest=guest,
        number=0,
        direction=direction,
        form=row.path,
        start=min(moments),
        end=max(moments),
        spans=_spans(row),
        frame_bytes=row.frame_bytes,
        carried=(row.stamps[first], row.stamps[end]) if end in row.stamps else None,
        error=error,
        error_at=max(moments) if row.failed_at is None else row.failed_at,
    )


def _send(packet: Packet, owners: Mapping[int, str]) -> Entry:
    return _entry(packet, owners[packet.endpoint], Direction.SEND, Stamp.WIRE_FIRST, Stamp.WIRE_LAST)


def _delivery(delivery: Delivery, owners: Mapping[int, str]) -> Entry:
    return _entry(delivery, owners[delivery.endpoint], Direction.RECEIVE, Stamp.RX_WRITE, Stamp.RX_DATA_OUT)


def _drop(drop: Drop, owners: Mapping[int, str]) -> Entry:
    owner = NIC if drop.endpoint is None else owners[drop.endpoint]
    return _moment(owner, Direction.RECEIVE, drop.cycle, f"dropped: {drop.reason.name}")


def _refusal(cycle: int, owner: str, status: int) -> Entry:
    return _moment(owner, Direction.SEND, cycle, Status(status).name)


def _moment(owner: str, direction: Direction, cycle: int, error: str) -> Entry:
    return Entry(owner, 0, direction, NO_FORM, cycle, cycle, error=error, error_at=cycle)
