"""From trace records to one row per packet.

A chain is known by its endpoint and head index (free-running, 16 bit). Matching rules:

- doorbell, PUSHED: the last ring write before the grant that covers the head's slot (the head is written last);
- doorbell, FETCHED: the first doorbell whose producer is past the chain's last fetched descriptor;
- fetch: of the fetches that bring descriptors of the chain, the last one that is back before the grant;
- completions: entries are written in the order in which the endpoint's chains end; a write carries a running count
  in its tag, so that one that the IOMMU blocked is not taken for another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt

from sw.abi.registers import Completion, Form, Status, TraceKind
from tb.ledger.receive import RX_KINDS
from tb.ledger.records import TRACE_DTYPE
from tb.ledger.row import LedgerError, Row
from tb.ledger.stages import PacketForm, Stamp

_CHAIN_STAMPS: Final = {
    TraceKind.GRANT: Stamp.GRANT,
    TraceKind.AUTHORISED: Stamp.AUTHORISED,
    TraceKind.READ_OUT: Stamp.READ_OUT,
    TraceKind.DATA_IN: Stamp.DATA_IN,
    TraceKind.WIRE_FIRST: Stamp.WIRE_FIRST,
    TraceKind.WIRE_LAST: Stamp.WIRE_LAST,
    TraceKind.RX_LOCAL: Stamp.RX_LOCAL,
}
_LAST_STAMPS: Final = {Stamp.WIRE_LAST, Stamp.RX_LOCAL}
"""One of them must have come before a chain without error is over."""
_TAG_S: Final = 24
_ENTRIES_M: Final = 0xFFFF
_SEND_KINDS: Final = [int(kind) for kind in TraceKind if kind not in RX_KINDS or kind == TraceKind.RX_LOCAL]


@dataclass(frozen=True)
class EndpointSetup:
    """What the trace does not say about an endpoint."""

    form: Form
    send_entries: int


@dataclass(kw_only=True)
class Packet(Row):
    """One chain."""

    endpoint: int
    head: int

    def __str__(self) -> str:
        return f"endpoint {self.endpoint} chain {self.head}"


@dataclass
class _Fetch:
    first: int
    count: int
    out: int
    back: int | None = None


@dataclass
class _Endpoint:
    """What has been seen of one endpoint so far."""

    setup: EndpointSetup
    slot_written: dict[int, int] = field(default_factory=dict)
    """Cycle in which a slot was last written; slots of chains that have begun are not in it."""
    next_slot: int = 0
    """Index after the latest chain's head."""
    doorbells: list[tuple[int, int]] = field(default_factory=list)
    fetches: list[_Fetch] = field(default_factory=list)
    reading: dict[tuple[int, int], _Fetch] = field(default_factory=dict)
    chains: list[Packet] = field(default_factory=list)
    running: dict[int, Packet] = field(default_factory=dict)
    """By head, in the order in which they began: that is also the order of their completions."""


def _ahead(a: int, b: int) -> int:
    """`a - b` of two free-running 16-bit indices, as a signed distance."""
    return ((a - b + 0x8000) & 0xFFFF) - 0x8000


def decode(
    records: npt.NDArray[np.void], setups: dict[int, EndpointSetup], *, complete: bool = True
) -> list[Packet]:
    """Rows of the endpoints in `setups`, in the order in which their chains began. Others are left out.

    Of a trace that is not `complete`, of a run that broke off, chains may lack stamps: they are kept with those that they have.
    """
    if records.dtype != TRACE_DTYPE:
        raise LedgerError(f"trace records have type {records.dtype}, not {TRACE_DTYPE}")
    endpoints = {number: _Endpoint(setup) for number, setup in setups.items()}
    flying: dict[int, list[Packet]] = {}
    packets: list[Packet] = []
    for cycle, kind, number, index, info in records[np.isin(records["kind"], _SEND_KINDS)].tolist():
        if kind == TraceKind.CPL_VISIBLE:
            _visible(flying, cycle, index, info)
        elif (endpoint := endpoints.get(number)) is not None:
            if kind == TraceKind.CPL_OUT:
                flying[info >> _TAG_S] = _completion_out(
                    endpoint, number, cycle, index, info & _ENTRIES_M, complete=complete
                )
            else:
                packet = _event(endpoint, number, TraceKind(kind), cycle, index, info)
                if packet is not None:
                    packets.append(packet)
    for number, endpoint in endpoints.items():
        if endpoint.running and complete:
            raise LedgerError(f"{next(iter(endpoint.running.values()))}: its completion never left")
        if endpoint.setup.form == Form.FETCHED:
            _match_fetches(endpoint)
    for packet in packets:
        if Stamp.CPL_VISIBLE not in packet.stamps and complete:
            raise LedgerError(f"{packet}: its completion left but was never visible")
    return packets


def _event(endpoint: _Endpoint, number: int, kind: TraceKind, cycle: int, index: int, info: int) -> Packet | None:
    """Take one event of the endpoint; returns the packet that begins with it, if one does."""
    begun = None
    if kind == TraceKind.DOORBELL:
        endpoint.doorbells.append((cycle, index))
        if endpoint.setup.form == Form.PUSHED:
            for k in range(info):
                endpoint.slot_written[(index + k) % endpoint.setup.send_entries] = cycle
    elif kind == TraceKind.FETCH_OUT:
        endpoint.fetches.append(_Fetch(index, info, cycle))
        endpoint.reading[index, info] = endpoint.fetches[-1]
    elif kind == TraceKind.FETCH_BACK:
        fetch = endpoint.reading.pop((index, info), None)
        if fetch is None:
            raise LedgerError(f"endpoint {number}: FETCH_BACK of {info} from {index} at cycle {cycle}: never went out")
        fetch.back = cycle
    else:
        packet = endpoint.running.get(index)
        if packet is None and kind in (TraceKind.GRANT, TraceKind.FAILED):
            begun = packet = _begin(endpoint, number, index)
        if packet is None:
            raise LedgerError(f"endpoint {number} chain {index}: {kind.name} at cycle {cycle} before its GRANT")
        if kind in _CHAIN_STAMPS:
            _stamp(packet, kind, cycle)
            if kind == TraceKind.READ_OUT and packet.form == PacketForm.INLINE:
                packet.form = PacketForm.PUSHED
        if kind == TraceKind.WIRE_LAST:
            packet.frame_bytes += info
        elif kind == TraceKind.FAILED:
            packet.status, packet.failed_at = Status(info), cycle
    return begun


def _stamp(packet: Packet, kind: TraceKind, cycle: int) -> None:
    """Of a segmented chain: each moment is its first segment's, but the last beat on the wire its last one's."""
    stamp = _CHAIN_STAMPS[kind]
    if stamp not in packet.stamps or stamp == Stamp.WIRE_LAST:
        packet.stamps[stamp] = cycle


def _begin(endpoint: _Endpoint, number: int, head: int) -> Packet:
    # a pushed chain counts as inline until it reads
    form = PacketForm.FETCHED if endpoint.setup.form == Form.FETCHED else PacketForm.INLINE
    packet = Packet(endpoint=number, head=head, form=form)
    if endpoint.setup.form == Form.PUSHED:
        written = None
        # slots passed over are used up: a stale write must not pass for this lap's
        passed = (head - endpoint.next_slot) % endpoint.setup.send_entries
        for k in range(passed + 1):
            written = endpoint.slot_written.pop((endpoint.next_slot + k) % endpoint.setup.send_entries, None)
        endpoint.next_slot = head + 1
        if written is None:
            raise LedgerError(f"{packet}: granted before a ring write that covers its head had arrived whole")
        packet.stamps[Stamp.DOORBELL] = written
    endpoint.running[head] = packet
    endpoint.chains.append(packet)
    return packet


def _completion_out(
    endpoint: _Endpoint, number: int, cycle: int, index: int, entries: int, *, complete: bool
) -> list[Packet]:
    batch = []
    for n in range(entries):
        if not endpoint.running:
            raise LedgerError(
                f"endpoint {number}: completion {index + n} left at cycle {cycle}, but no chain is running"
            )
        packet = endpoint.running.pop(next(iter(endpoint.running)))
        if complete and packet.failed_at is None and not packet.stamps.keys() & _LAST_STAMPS:
            raise LedgerError(f"{packet}: its completion left at cycle {cycle}, before it was over")
        packet.stamps[Stamp.CPL_OUT] = cycle
        batch.append(packet)
    return batch


def _visible(flying: dict[int, list[Packet]], cycle: int, tag: int, payload: int) -> None:
    batch = flying.pop(tag, None)
    if batch is None:
        return  # of an endpoint that is left out
    if payload != len(batch) * Completion.BYTES:
        raise LedgerError(
            f"MWr {tag:#04x}: {payload} bytes visible at cycle {cycle},"
            f" but {len(batch)} entries of {batch[0]} and its successors left"
        )
    for packet in batch:
        packet.stamps[Stamp.CPL_VISIBLE] = cycle


def _match_fetches(endpoint: _Endpoint) -> None:
    """Set DOORBELL, FETCH_OUT and FETCH_BACK of an endpoint's fetched chains."""
    fetch = doorbell = 0
    if endpoint.chains and not endpoint.doorbells:
        raise LedgerError(f"{endpoint.chains[0]}: granted, but its descriptors were never rung")
    for k, packet in enumerate(endpoint.chains):
        if Stamp.GRANT not in packet.stamps:
            continue
        # chains follow each other without a gap, so the next head tells the length
        after = endpoint.chains[k + 1].head if k + 1 < len(endpoint.chains) else endpoint.doorbells[-1][1]
        fetches = endpoint.fetches
        while fetch < len(fetches) and _ahead(fetches[fetch].first + fetches[fetch].count, packet.head) <= 0:
            fetch += 1
        best: tuple[int, _Fetch] | None = None
        for candidate in islice(fetches, fetch, None):
            if _ahead(candidate.first, after) >= 0:
                break
            back = candidate.back
            if back is not None and back <= packet.stamps[Stamp.GRANT] and (best is None or back >= best[0]):
                best = back, candidate
        if best is None:
            raise LedgerError(f"{packet}: granted, but no fetch that brings it was back")
        last = min(_ahead(after, packet.head), _ahead(best[1].first + best[1].count, packet.head)) - 1
        while doorbell < len(endpoint.doorbells) and _ahead(endpoint.doorbells[doorbell][1], packet.head + last) <= 0:
            doorbell += 1
        if doorbell == len(endpoint.doorbells):
            raise LedgerError(f"{packet}: granted, but its descriptors were never rung")
        packet.stamps[Stamp.DOORBELL] = endpoint.doorbells[doorbell][0]
        packet.stamps[Stamp.FETCH_OUT] = best[1].out
        packet.stamps[Stamp.FETCH_BACK] = best[0]
