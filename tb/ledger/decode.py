"""From trace records to one row per packet.

A chain is known by its endpoint and head index (free-running, 16 bit). Matching rules:

- doorbell, PUSHED: the last ring write before the grant that covers the head's slot (the head is written last);
- doorbell, FETCHED: the first doorbell whose producer is past the chain's last fetched descriptor;
- fetch: of the fetches that bring descriptors of the chain, the last one that is back before the grant;
- completions: entries are written in the order in which the endpoint's chains end, and a requester's writes
  become visible in the order in which they leave.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt

from sw.abi.registers import Completion, Form, Mode, Status, TraceKind
from tb.ledger.records import TRACE_DTYPE
from tb.ledger.stages import PacketForm, Stamp, stages_of

_CHAIN_STAMPS: Final = {
    TraceKind.GRANT: Stamp.GRANT,
    TraceKind.AUTHORISED: Stamp.AUTHORISED,
    TraceKind.READ_OUT: Stamp.READ_OUT,
    TraceKind.DATA_IN: Stamp.DATA_IN,
    TraceKind.WIRE_FIRST: Stamp.WIRE_FIRST,
    TraceKind.WIRE_LAST: Stamp.WIRE_LAST,
}


class LedgerError(ValueError):
    """The trace does not tell one consistent story; the message names endpoint, chain and event."""


@dataclass(frozen=True)
class EndpointSetup:
    """What the trace does not say about an endpoint."""

    form: Form
    mode: Mode
    send_entries: int

    def requester(self, endpoint: int) -> int:
        """Low byte of the requester ID that carries the endpoint's completions."""
        return endpoint + 1 if self.mode == Mode.IOMMU else 0


@dataclass
class Packet:
    """One chain: what it was, when each thing happened (cycles), and how it ended."""

    endpoint: int
    head: int
    form: PacketForm
    frame_bytes: int = 0
    """Bytes as `WIRE_LAST` reports them."""
    status: Status = Status.OK
    stamps: dict[Stamp, int] = field(default_factory=dict)
    failed_at: int | None = None

    def __str__(self) -> str:
        return f"endpoint {self.endpoint} chain {self.head}"

    @property
    def total(self) -> int:
        """End-to-end cycles, doorbell to completion visible."""
        return self.stamps[Stamp.CPL_VISIBLE] - self.stamps[Stamp.DOORBELL]

    def stages(self) -> dict[str, int]:
        """Cycles by stage. Raises `LedgerError` when a stamp is missing, a stage is negative or they do not add up."""
        cycles: dict[str, int] = {}
        for stage in stages_of(self.form):
            for stamp in (stage.start, stage.end):
                if stamp not in self.stamps:
                    raise LedgerError(f"{self} ({self.form}): no stamp {stamp}; it has {self.stamps}")
            cycles[stage.name] = self.stamps[stage.end] - self.stamps[stage.start]
            if cycles[stage.name] < 0:
                raise LedgerError(f"{self} ({self.form}): stage {stage.name!r} takes {cycles[stage.name]} cycles")
        if sum(cycles.values()) != self.total:
            raise LedgerError(f"{self} ({self.form}): stages add up to {sum(cycles.values())}, not to {self.total}")
        return cycles


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
    ended: deque[Packet] = field(default_factory=deque)


def _ahead(a: int, b: int) -> int:
    """`a - b` of two free-running 16-bit indices, as a signed distance."""
    return ((a - b + 0x8000) & 0xFFFF) - 0x8000


def decode(records: npt.NDArray[np.void], setups: dict[int, EndpointSetup]) -> list[Packet]:
    """Rows of the endpoints in `setups`, in the order in which their chains began. Others are left out."""
    if records.dtype != TRACE_DTYPE:
        raise LedgerError(f"trace records have type {records.dtype}, not {TRACE_DTYPE}")
    endpoints = {number: _Endpoint(setup) for number, setup in setups.items()}
    flying: dict[int, deque[list[Packet]]] = defaultdict(deque)
    requesters = {setup.requester(number) for number, setup in setups.items()}
    packets: list[Packet] = []
    for cycle, kind, number, index, info in records.tolist():
        if kind == TraceKind.CPL_VISIBLE:
            if number in requesters:
                _visible(flying[number], cycle, number, info)
        elif (endpoint := endpoints.get(number)) is not None:
            if kind == TraceKind.CPL_OUT:
                batch = _completion_out(endpoint, number, cycle, index, info)
                flying[endpoint.setup.requester(number)].append(batch)
            else:
                packet = _event(endpoint, number, TraceKind(kind), cycle, index, info)
                if packet is not None:
                    packets.append(packet)
    for number, endpoint in endpoints.items():
        if endpoint.running:
            raise LedgerError(f"{next(iter(endpoint.running.values()))}: still running when the trace ends")
        if endpoint.ended:
            raise LedgerError(f"{endpoint.ended[0]}: ended, but its completion never left")
        if endpoint.setup.form == Form.FETCHED:
            _match_fetches(endpoint)
    for packet in packets:
        if Stamp.CPL_VISIBLE not in packet.stamps:
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
            stamp = _CHAIN_STAMPS[kind]
            if stamp in packet.stamps:
                raise LedgerError(f"{packet}: second {kind.name} at cycle {cycle}")
            packet.stamps[stamp] = cycle
            if kind == TraceKind.READ_OUT and packet.form == PacketForm.INLINE:
                packet.form = PacketForm.PUSHED
        if kind == TraceKind.WIRE_LAST:
            packet.frame_bytes = info
        elif kind == TraceKind.FAILED:
            packet.status, packet.failed_at = Status(info), cycle
        if kind in (TraceKind.WIRE_LAST, TraceKind.FAILED):
            endpoint.ended.append(endpoint.running.pop(index))
    return begun


def _begin(endpoint: _Endpoint, number: int, head: int) -> Packet:
    # a pushed chain counts as inline until it reads
    form = PacketForm.FETCHED if endpoint.setup.form == Form.FETCHED else PacketForm.INLINE
    packet = Packet(number, head, form)
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


def _completion_out(endpoint: _Endpoint, number: int, cycle: int, index: int, entries: int) -> list[Packet]:
    if entries > len(endpoint.ended):
        raise LedgerError(
            f"endpoint {number}: CPL_OUT of {entries} entries from {index} at cycle {cycle},"
            f" but only {len(endpoint.ended)} chains have ended"
        )
    batch = [endpoint.ended.popleft() for _ in range(entries)]
    for packet in batch:
        packet.stamps[Stamp.CPL_OUT] = cycle
    return batch


def _visible(flying: deque[list[Packet]], cycle: int, requester: int, payload: int) -> None:
    if not flying:
        raise LedgerError(f"requester {requester}: CPL_VISIBLE at cycle {cycle}, but no completion is in flight")
    batch = flying.popleft()
    if payload != len(batch) * Completion.BYTES:
        raise LedgerError(
            f"requester {requester}: {payload} bytes visible at cycle {cycle},"
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
