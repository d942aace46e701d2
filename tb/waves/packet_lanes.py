"""Packets as lanes: which packet of which guest is in which stage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from sw.abi.registers import Status
from tb.ledger.decode import EndpointSetup, Packet, decode
from tb.ledger.receive import Delivery, Received, decode_receive
from tb.ledger.row import LedgerError, Row
from tb.ledger.stages import STAGES, Stamp, stages_of
from tb.waves.dump import cycle_start_ps
from tb.waves.lane import Change, Lane, lane

_COLOURS: Final = ("blue4", "purple4", "darkgreen", "brown4", "DarkOrange4", "DeepPink4", "turquoise4", "gray30")
"""Of stages, in their order."""
_FAILED: Final = "red4"
_FAILED_CYCLES: Final = 16
"""For how long a failure is shown."""
_IRQ_CYCLES: Final = 8


class PacketError(ValueError):
    """There is no such packet; the message says which there are."""


@dataclass(frozen=True)
class Ledger:
    """What the hardware's trace says of a run."""

    packets: Sequence[Packet]
    """Sends, in the order of the endpoints' grants."""
    deliveries: Sequence[Delivery]
    interrupts: Sequence[tuple[int, int]]
    """(cycle, vector)."""
    left_out: Sequence[str] = ()
    """Why an endpoint, or the receive side, is not there: a hostile guest's traffic, or a run that broke off."""

    @classmethod
    def of(cls, records: npt.NDArray[np.void], setups: dict[int, EndpointSetup]) -> Ledger:
        """Decode a trace, as far as it tells a consistent story."""
        packets: list[Packet] = []
        received = Received()
        left_out = []
        for number, setup in sorted(setups.items()):
            try:
                packets += decode(records, {number: setup})
            except LedgerError as error:
                left_out.append(str(error))
        try:
            received = decode_receive(records)
        except LedgerError as error:
            left_out.append(str(error))
        return cls(packets, received.deliveries, received.interrupts, left_out)

    def packet(self, number: int) -> Packet:
        """Packet `number` of the run, from 0, in the order of their first stamps. Raises `PacketError`."""
        ordered = self.ordered()
        if not 0 <= number < len(ordered):
            raise PacketError(f"PACKET={number}: this run has {len(ordered)} packets, from 0{self._why()}")
        return ordered[number]

    def _why(self) -> str:
        return "".join(f"; left out: {why}" for why in self.left_out)

    def ordered(self) -> list[Packet]:
        """All sends by their first stamp: a packet's number is its place in this list."""
        return sorted(self.packets, key=lambda packet: (min(packet.stamps.values()), packet.endpoint, packet.head))


def stage_lanes(ledger: Ledger, stages: Sequence[str]) -> list[Lane]:
    """A lane for each guest that has packets in one of these stages."""
    by_endpoint: dict[int, list[Change]] = {}
    for number, packet in enumerate(ledger.ordered()):
        by_endpoint.setdefault(packet.endpoint, []).extend(_changes(packet, f"#{number}", stages))
    for delivery in ledger.deliveries:
        by_endpoint.setdefault(delivery.endpoint, []).extend(_changes(delivery, f"rx {delivery.number}", stages))
    return [lane(f"endpoint {endpoint}", changes) for endpoint, changes in sorted(by_endpoint.items()) if changes]


def packet_lanes(ledger: Ledger, number: int) -> list[Lane]:
    """The life of one packet, and of its copies at siblings."""
    packet = ledger.packet(number)
    everything = [stage.name for stage in STAGES]
    lanes = [lane(f"packet {number} (endpoint {packet.endpoint})", _changes(packet, f"#{number}", everything))]
    for delivery in ledger.deliveries:
        if delivery.sender == (packet.endpoint, packet.head) and _overlap(packet, delivery):
            lanes.append(lane(f"... at endpoint {delivery.endpoint}", _changes(delivery, f"#{number}", everything)))
    return lanes


def interrupt_lanes(ledger: Ledger) -> list[Lane]:
    """A lane for each vector that was used."""
    by_vector: dict[int, list[Change]] = {}
    for count, (cycle, vector) in enumerate(ledger.interrupts):
        text = f"interrupt {count}"
        change = Change(cycle_start_ps(cycle), cycle_start_ps(cycle + _IRQ_CYCLES), text, _COLOURS[0])
        by_vector.setdefault(vector, []).append(change)
    return [lane(f"vector {vector}", changes) for vector, changes in sorted(by_vector.items())]


def marks(packet: Packet) -> list[tuple[str, int]]:
    """(name, ps) of the moments that are marked: where it began, and where it left."""
    found = []
    for name, stamps in (("doorbell", (Stamp.DOORBELL,)), ("wire", (Stamp.WIRE_FIRST, Stamp.RX_LOCAL))):
        cycle = next((packet.stamps[stamp] for stamp in stamps if stamp in packet.stamps), None)
        if cycle is not None:
            found.append((name, cycle_start_ps(cycle)))
    return found


def _changes(row: Row, name: str, stages: Sequence[str]) -> Iterable[Change]:
    order = [stage.name for stage in STAGES]
    for stage in stages_of(row.form, inside=row.inside):
        if stage.name in stages and stage.start in row.stamps and stage.end in row.stamps:
            colour = _COLOURS[order.index(stage.name) % len(_COLOURS)]
            start, end = cycle_start_ps(row.stamps[stage.start]), cycle_start_ps(row.stamps[stage.end])
            if start < end:
                yield Change(start, end, f"{name} {stage.name}", colour)
    if row.status is not Status.OK and row.failed_at is not None:
        start = cycle_start_ps(row.failed_at)
        yield Change(start, cycle_start_ps(row.failed_at + _FAILED_CYCLES), f"{name} {row.status.name}", _FAILED)


def _overlap(packet: Packet, delivery: Delivery) -> bool:
    """The 16-bit heads of two packets may be the same: the copy is made while its packet lives."""
    return min(packet.stamps.values()) <= min(delivery.stamps.values()) <= max(packet.stamps.values())
