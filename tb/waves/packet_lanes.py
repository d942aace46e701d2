"""Packets as lanes: which packet of which guest is in which stage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from sw.abi.registers import Status
from tb.ledger.decode import Packet, decode
from tb.ledger.receive import Delivery, Drop, Received, decode_receive
from tb.ledger.row import LedgerError, Row
from tb.ledger.stages import STAGES, Stamp, stages_of
from tb.waves.dump import cycle_start_ps
from tb.waves.lane import Change, Lane, lane, rows
from tb.waves.setups import Life

_COLOURS: Final = ("blue4", "purple4", "darkgreen", "brown4", "DarkOrange4", "DeepPink4", "turquoise4", "gray30")
"""Of stages, in their order."""
_FAILED: Final = "red4"
_FAILED_CYCLES: Final = 16
"""For how long a failure is shown."""
_IRQ_CYCLES: Final = 8
_STAGES: Final = tuple(stage.name for stage in STAGES)
_IN_RING: Final = frozenset({"doorbell to fetch", "descriptor read", "doorbell to grant", "descriptor to grant"})
"""Stages before the grant, in which a ring full of packets may be at a time."""


class PacketError(ValueError):
    """There is no such packet; the message says which there are."""


@dataclass(frozen=True)
class Ledger:
    """What the hardware's trace says of a run."""

    packets: Sequence[Packet]
    """Sends by their first moments: a packet's number is its place here."""
    deliveries: Sequence[Delivery]
    drops: Sequence[Drop]
    interrupts: Sequence[tuple[int, int]]
    """(cycle, vector)."""
    end: int
    """The cycle in which the run ended: what was under way then is shown until there."""
    left_out: Sequence[str] = ()
    """Why a life of an endpoint, or the receive side, is not there: traffic of a hostile guest."""

    @classmethod
    def of(cls, records: npt.NDArray[np.void], lives: Sequence[Life], end: int) -> Ledger:
        """Decode a trace, as far as it tells a consistent story."""
        packets: list[Packet] = []
        received = Received()
        left_out = []
        for n, life in enumerate(lives):
            after = next((later.start for later in lives[n + 1 :] if later.endpoint == life.endpoint), None)
            its = records[records["cycle"] >= life.start]
            if after is not None:
                its = its[its["cycle"] < after]
            try:
                packets += decode(its, {life.endpoint: life.setup}, complete=False)
            except LedgerError as error:
                left_out.append(str(error))
        try:
            received = decode_receive(records, complete=False)
        except LedgerError as error:
            left_out.append(str(error))
        packets.sort(key=lambda packet: (min(moments(packet)), packet.endpoint, packet.head))
        return cls(packets, received.deliveries, received.drops, received.interrupts, end, left_out)

    def packet(self, number: int) -> Packet:
        """Packet `number` of the run, from 0. Raises `PacketError`."""
        if not 0 <= number < len(self.packets):
            why = "".join(f"; left out: {why}" for why in self.left_out)
            raise PacketError(f"PACKET={number}: this run has {len(self.packets)} packets, from 0{why}")
        return self.packets[number]

    def rows(self) -> list[tuple[str, Packet | Delivery]]:
        """Sends, then deliveries, with their names."""
        return [*self.sends(), *self.receives()]

    def sends(self) -> Iterator[tuple[str, Packet]]:
        """All sends with their names."""
        return ((f"#{number}", packet) for number, packet in enumerate(self.packets))

    def receives(self) -> Iterator[tuple[str, Delivery]]:
        """All deliveries with their names."""
        return ((f"rx {delivery.number}", delivery) for delivery in self.deliveries)


def moments(row: Row) -> list[int]:
    """Every cycle in which the trace has something of it."""
    return [*row.stamps.values(), *([] if row.failed_at is None else [row.failed_at])]


def stage_lanes(ledger: Ledger, stages: Sequence[str]) -> list[Lane]:
    """A lane for each guest that has packets in one of these stages."""
    by_endpoint: dict[int, list[Change]] = {}
    for name, row in ledger.rows():
        by_endpoint.setdefault(row.endpoint, []).extend(_changes(row, name, stages, ledger.end))
    return [lane(f"endpoint {endpoint}", changes) for endpoint, changes in sorted(by_endpoint.items()) if changes]


def guest_lanes(ledger: Ledger) -> list[tuple[int, list[Lane]]]:
    """By endpoint: its sends from their grants on, its receives, its interrupts, each without overlaps in as many rows as needed."""
    found: dict[int, list[Lane]] = {}
    stages = [name for name in _STAGES if name not in _IN_RING]
    for what, named in (("send", ledger.sends()), ("receive", ledger.receives())):
        by_endpoint: dict[int, list[list[Change]]] = {}
        for name, row in named:
            if life := list(_changes(row, name, stages, ledger.end)):
                by_endpoint.setdefault(row.endpoint, []).append(life)
        for endpoint, lives in sorted(by_endpoint.items()):
            found.setdefault(endpoint, []).extend(rows(what, lives))
    for vector, changes in _interrupts(ledger):
        found.setdefault(vector, []).append(lane("interrupt", changes))
    return sorted(found.items())


def packet_lanes(ledger: Ledger, number: int) -> list[Lane]:
    """The life of one packet, and of its copies at siblings."""
    packet = ledger.packet(number)
    name = f"#{number}"
    lanes = [lane(f"packet {number} (endpoint {packet.endpoint})", _changes(packet, name, _STAGES, ledger.end))]
    for delivery in ledger.deliveries:
        if delivery.sender == (packet.endpoint, packet.head) and _overlap(packet, delivery):
            lanes.append(lane(f"... at endpoint {delivery.endpoint}", _changes(delivery, name, _STAGES, ledger.end)))
    return lanes


def interrupt_lanes(ledger: Ledger) -> list[Lane]:
    """A lane for each vector that was used."""
    return [lane(f"vector {vector}", changes) for vector, changes in _interrupts(ledger)]


def error_lanes(ledger: Ledger) -> list[Lane]:
    """Chains that failed and frames that were dropped, by endpoint; drops that are nobody's under `line`."""
    by_name: dict[str, list[Change]] = {}
    for name, row in ledger.rows():
        by_name.setdefault(f"endpoint {row.endpoint}", []).extend(_failure(row, name))
    for drop in ledger.drops:
        owner = "line" if drop.endpoint is None else f"endpoint {drop.endpoint}"
        text = f"rx {drop.number} {drop.reason.name}"
        by_name.setdefault(owner, []).append(_moment(drop.cycle, _FAILED_CYCLES, text, _FAILED))
    return [lane(name, changes) for name, changes in sorted(by_name.items()) if changes]


def marks(packet: Packet) -> list[tuple[str, int]]:
    """(name, ps) of the moments that are marked: where it began, and where it left."""
    found = []
    for name, stamps in (("doorbell", (Stamp.DOORBELL,)), ("wire", (Stamp.WIRE_FIRST, Stamp.RX_LOCAL))):
        cycle = next((packet.stamps[stamp] for stamp in stamps if stamp in packet.stamps), None)
        if cycle is not None:
            found.append((name, cycle_start_ps(cycle)))
    return found


def _interrupts(ledger: Ledger) -> list[tuple[int, list[Change]]]:
    by_vector: dict[int, list[Change]] = {}
    for count, (cycle, vector) in enumerate(ledger.interrupts):
        by_vector.setdefault(vector, []).append(_moment(cycle, _IRQ_CYCLES, f"interrupt {count}", _COLOURS[0]))
    return sorted(by_vector.items())


def _changes(row: Row, name: str, stages: Sequence[str], end: int) -> Iterable[Change]:
    latest = max(moments(row))
    for stage in stages_of(row.form, inside=row.inside):
        start, until = row.stamps.get(stage.start), row.stamps.get(stage.end)
        open_ = until is None and start == latest and row.status is Status.OK
        if open_:
            # nothing has ended it: it lasts as long as the run
            until = end
        if stage.name in stages and start is not None and until is not None and start < until:
            colour = _COLOURS[_STAGES.index(stage.name) % len(_COLOURS)]
            text = f"{name} {stage.name}{', no end' if open_ else ''}"
            yield Change(cycle_start_ps(start), cycle_start_ps(until), text, colour)
    yield from _failure(row, name)


def _failure(row: Row, name: str) -> Iterable[Change]:
    if row.status is not Status.OK and row.failed_at is not None:
        yield _moment(row.failed_at, _FAILED_CYCLES, f"{name} {row.status.name}", _FAILED)


def _moment(cycle: int, cycles: int, text: str, colour: str) -> Change:
    return Change(cycle_start_ps(cycle), cycle_start_ps(cycle + cycles), text, colour)


def _overlap(packet: Packet, delivery: Delivery) -> bool:
    """The 16-bit heads of two packets may be the same: the copy is made while its packet lives."""
    return min(packet.stamps.values()) <= min(delivery.stamps.values()) <= max(packet.stamps.values())
