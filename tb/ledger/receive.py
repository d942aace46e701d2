"""From trace records to one row per delivery: a frame that arrived at one endpoint, from the wire or from a sibling.

Matching rules:

- a frame is known by its 16-bit number from its first beat (or from the hand-over by the send side) on;
- a delivery is known by receiver and frame number until its last payload write, then by queue and completion index;
- completion writes carry a running count in their tag, so that one that the IOMMU blocked is not taken for another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from sw.abi.registers import ReceiveCompletion, RxDrop, TraceKind
from tb.ledger.records import TRACE_DTYPE
from tb.ledger.row import LedgerError, Row
from tb.ledger.stages import PacketForm, Stamp

RX_KINDS: Final = frozenset(kind for kind in TraceKind if kind.name.startswith(("RX_", "IRQ_")))
_TAG_S: Final = 24
_QUEUE_S: Final = 16
_QUEUE_M: Final = 0x7
_INDEX_M: Final = 0xFFFF


@dataclass(kw_only=True)
class Delivery(Row):
    """One frame at one endpoint."""

    endpoint: int
    number: int
    """Frame number of the trace, 16 bit."""
    sender: tuple[int, int] | None = None
    """(endpoint, chain head) of a sibling's frame."""
    queue: int = 0
    """Receive queue, from 0."""
    index: int = 0
    """Completion index in that queue."""

    def __str__(self) -> str:
        return f"endpoint {self.endpoint} frame {self.number}"


@dataclass
class Drop:
    """A frame that did not arrive: at one endpoint, or at all (`endpoint` None)."""

    cycle: int
    number: int
    reason: RxDrop
    endpoint: int | None


@dataclass
class Received:
    """What the receive side did."""

    deliveries: list[Delivery] = field(default_factory=list)
    """In the order in which they got their buffers."""
    drops: list[Drop] = field(default_factory=list)
    interrupts: list[tuple[int, int]] = field(default_factory=list)
    """(cycle, vector) of each interrupt write."""


_PER_ENDPOINT: Final = frozenset({RxDrop.NO_SMALL, RxDrop.NO_BIG, RxDrop.TOO_LONG, RxDrop.REFUSED, RxDrop.DISABLED})


class _Decoder:
    def __init__(self) -> None:
        self.found = Received()
        self._arrivals: dict[int, dict[Stamp, int]] = {}
        self._senders: dict[int, tuple[int, int]] = {}
        self._writing: dict[tuple[int, int], Delivery] = {}
        self._unposted: dict[tuple[int, int, int], Delivery] = {}
        self._flying: dict[int, list[Delivery]] = {}

    def event(self, cycle: int, kind: TraceKind, endpoint: int, index: int, info: int) -> None:
        match kind:
            case TraceKind.RX_FIRST:
                self._arrivals[index] = {Stamp.RX_FIRST: cycle}
                self._senders.pop(index, None)
            case TraceKind.RX_LAST:
                if index not in self._arrivals:
                    raise LedgerError(f"frame {index}: RX_LAST at cycle {cycle} before its RX_FIRST")
                self._arrivals[index][Stamp.RX_LAST] = cycle
            case TraceKind.RX_LOCAL:
                number = info & _INDEX_M
                self._arrivals[number] = {Stamp.RX_LOCAL: cycle}
                self._senders[number] = (endpoint, index)
            case TraceKind.RX_GRANT:
                self._grant(cycle, endpoint, index, info)
            case TraceKind.RX_WRITE:
                self._delivery(cycle, kind, endpoint, index).stamps[Stamp.RX_WRITE] = cycle
            case TraceKind.RX_DATA_OUT:
                delivery = self._delivery(cycle, kind, endpoint, index)
                delivery.stamps[Stamp.RX_DATA_OUT] = cycle
                delivery.queue, delivery.index = info >> _QUEUE_S & _QUEUE_M, info & _INDEX_M
                del self._writing[endpoint, index]
                self._unposted[endpoint, delivery.queue, delivery.index] = delivery
            case TraceKind.RX_CPL_OUT:
                self._completion_out(cycle, endpoint, index, info)
            case TraceKind.RX_CPL_VISIBLE:
                self._visible(cycle, index, info)
            case TraceKind.RX_DROP:
                reason = RxDrop(info)
                self.found.drops.append(Drop(cycle, index, reason, endpoint if reason in _PER_ENDPOINT else None))
            case TraceKind.IRQ_OUT:
                self.found.interrupts.append((cycle, endpoint))
            case _:
                pass

    def _grant(self, cycle: int, endpoint: int, number: int, size: int) -> None:
        arrival = self._arrivals.get(number)
        if arrival is None:
            raise LedgerError(f"endpoint {endpoint} frame {number}: RX_GRANT at cycle {cycle} before it arrived")
        sender = self._senders.get(number)
        form = PacketForm.RECEIVED if sender is None else PacketForm.SWITCHED
        delivery = Delivery(
            form=form,
            endpoint=endpoint,
            number=number,
            sender=sender,
            frame_bytes=size,
            stamps={**arrival, Stamp.RX_GRANT: cycle},
        )
        self._writing[endpoint, number] = delivery
        self.found.deliveries.append(delivery)

    def _delivery(self, cycle: int, kind: TraceKind, endpoint: int, number: int) -> Delivery:
        delivery = self._writing.get((endpoint, number))
        if delivery is None:
            raise LedgerError(f"endpoint {endpoint} frame {number}: {kind.name} at cycle {cycle} before its RX_GRANT")
        return delivery

    def _completion_out(self, cycle: int, endpoint: int, first: int, info: int) -> None:
        queue, entries = info >> _QUEUE_S & _QUEUE_M, info & _INDEX_M
        batch = []
        for n in range(entries):
            delivery = self._unposted.pop((endpoint, queue, first + n & _INDEX_M), None)
            if delivery is None:
                raise LedgerError(
                    f"endpoint {endpoint} queue {queue}: RX_CPL_OUT of entry {first + n & _INDEX_M} at cycle {cycle},"
                    " but no frame has it"
                )
            delivery.stamps[Stamp.RX_CPL_OUT] = cycle
            batch.append(delivery)
        self._flying[info >> _TAG_S] = batch

    def _visible(self, cycle: int, tag: int, payload: int) -> None:
        batch = self._flying.pop(tag, None)
        if batch is None:
            raise LedgerError(
                f"RX_CPL_VISIBLE with tag {tag:#04x} at cycle {cycle}, but no such completion is in flight"
            )
        if payload != len(batch) * ReceiveCompletion.BYTES:
            raise LedgerError(f"{batch[0]}: {payload} bytes visible at cycle {cycle}, but {len(batch)} entries left")
        for delivery in batch:
            delivery.stamps[Stamp.RX_CPL_VISIBLE] = cycle

    def finish(self) -> Received:
        for rows, what in (
            (self._writing, "its payload was never written"),
            (self._unposted, "its completion never left"),
        ):
            if rows:
                raise LedgerError(f"{next(iter(rows.values()))}: got buffers, but {what}")
        return self.found


def decode_receive(records: npt.NDArray[np.void], *, complete: bool = True) -> Received:
    """Deliveries, drops and interrupts of a trace that starts with the receive side idle.

    A delivery whose completion write was blocked has no stamp RX_CPL_VISIBLE. Of a trace that is not
    `complete`, of a run that broke off, deliveries may lack others: they are kept with the stamps that they have.
    """
    if records.dtype != TRACE_DTYPE:
        raise LedgerError(f"trace records have type {records.dtype}, not {TRACE_DTYPE}")
    decoder = _Decoder()
    wanted = np.isin(records["kind"], [int(kind) for kind in RX_KINDS])
    for cycle, kind, endpoint, index, info in records[wanted].tolist():
        decoder.event(cycle, TraceKind(kind), endpoint, index, info)
    return decoder.finish() if complete else decoder.found
