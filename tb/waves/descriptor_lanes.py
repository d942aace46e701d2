"""Send descriptors as text, in the cycles in which the NIC executes them. Fields as in docs/abi.md, send descriptor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from sw.abi.registers import SendDescriptor
from tb.waves.dump import PERIOD_PS, Dump, cycle_at
from tb.waves.lane import Change, Lane, lane
from tb.waves.packet_lanes import Ledger, moments

_FLAGS: Final = {
    SendDescriptor.CONTROL_SMALL_M: "SMALL",
    SendDescriptor.CONTROL_FIRST_M: "FIRST",
    SendDescriptor.CONTROL_ALIGN_ODD_M: "ALIGN_ODD",
    SendDescriptor.CONTROL_CKSUM_M: "CKSUM",
    SendDescriptor.CONTROL_NO_TSO_M: "NO_TSO",
    SendDescriptor.CONTROL_TSO_PLD_M: "TSO_PLD",
    SendDescriptor.CONTROL_INLINE_M: "INLINE",
    SendDescriptor.CONTROL_RESERVED_M: "RESERVED",
}
_PAYLOAD_FLAGS: Final = {SendDescriptor.CONTROL_CKSUM_M: "TSO_LAST", SendDescriptor.CONTROL_NO_TSO_M: "TSO_CHOP"}
"""What two flags are in a TSO chain's payload."""
_FIELDS: Final = tuple(f"u_nic.u_exec.d.{name}" for name in ("addr", "field", "len", "count", "start", "flags"))
_EXEC: Final = "u_nic.u_exec.state_q"
_TSO: Final = "u_nic.u_tso.state_q"
_HEAD: Final = "u_nic.head"
_SLOT: Final = "u_nic.ring_read_slot"
"""Endpoint and slot of the descriptor that is there one cycle later."""
_AT_WORK: Final = {_EXEC: {"StHead", "StPiece"}, _TSO: {"StHead", "StLook", "StHeader", "StPiece"}}
_PUT_BACK: Final = "u_nic.u_exec.wait_more"
"""In a head's cycle: the chain is not all there yet, and what stands in its slot is an older one."""
_SLOT_BITS: Final = 10
_PLAIN: Final = "turquoise4"
_SEGMENTED: Final = "DarkOrange4"


@dataclass(frozen=True)
class Descriptor:
    """Fields of `send_desc_t`."""

    addr: int
    field: int
    """pseudo_hdr_offset; MSS in a TSO chain's head."""
    len: int
    count: int
    start: int
    """cksum_offset."""
    flags: int

    def __str__(self) -> str:
        payload = self.flags & SendDescriptor.CONTROL_TSO_PLD_M
        names = _FLAGS | _PAYLOAD_FLAGS if payload else _FLAGS
        flags = "|".join(name for mask, name in names.items() if self.flags & mask)
        text = f"{self.len} B @0x{self.addr:x} {flags or 'no flags'} count {self.count}"
        if payload or not self.flags & SendDescriptor.CONTROL_FIRST_M:
            return text
        if not self.flags & (SendDescriptor.CONTROL_NO_TSO_M | SendDescriptor.CONTROL_INLINE_M):
            return f"{text} mss {self.field}"
        return f"{text} sum from {self.start} to {self.field}" if self.flags & SendDescriptor.CONTROL_CKSUM_M else text


@dataclass(frozen=True)
class Executed:
    """A descriptor under execution, from a moment to another."""

    start_ps: int
    end_ps: int
    endpoint: int
    head: int
    """Of its chain, free-running."""
    slot: int
    descriptor: Descriptor
    tso: bool


def executed(dump: Dump) -> Iterator[Executed]:
    """All descriptors that the two executors have worked on, in their order."""
    paths = (_EXEC, _TSO, _HEAD, _SLOT, _PUT_BACK, *_FIELDS)
    at_work = {path: {value for value, name in dump.names(path).items() if name in names} for path, names in _AT_WORK.items()}
    [head] = [value for value, name in dump.names(_EXEC).items() if name == "StHead"]
    changes: dict[int, list[tuple[str, int]]] = {}
    for path in paths:
        for time, value in dump.changes(path):
            changes.setdefault(time, []).append((path, value))
            if path == _SLOT:
                changes.setdefault(time + PERIOD_PS, [])
    now = dict.fromkeys(paths, 0)
    last: Executed | None = None
    for time in sorted(changes):
        slot = now[_SLOT]
        now |= dict(changes[time])
        tso = now[_TSO] in at_work[_TSO]
        seen = None
        put_back = now[_PUT_BACK] and now[_EXEC] == head
        if tso or (now[_EXEC] in at_work[_EXEC] and not put_back):
            endpoint, place = divmod(slot, 1 << _SLOT_BITS)
            fields = Descriptor(*(now[path] for path in _FIELDS))
            seen = Executed(time, time, endpoint, now[_HEAD], place, fields, tso)
        if last is not None and (seen is None or replace(seen, start_ps=last.start_ps, end_ps=last.end_ps) != last):
            yield replace(last, end_ps=time)
            last = None
        last = last or seen
    if last is not None:
        yield replace(last, end_ps=dump.span_ps()[1])


def descriptor_lanes(ledger: Ledger, dump: Dump) -> list[Lane]:
    """A lane for each guest: packet (`-`: of none that the ledger knows), slot of its ring, fields."""
    packets: dict[tuple[int, int], list[tuple[int, str]]] = {}
    for name, packet in ledger.sends():
        packets.setdefault((packet.endpoint, packet.head), []).append((min(moments(packet)), name))
    by_endpoint: dict[int, list[Change]] = {}
    for one in executed(dump):
        # heads come again after 65,536 descriptors and in another life of the endpoint
        begun = [name for cycle, name in packets.get((one.endpoint, one.head), []) if cycle <= cycle_at(one.start_ps)]
        text = f"{begun[-1] if begun else '-'} [{one.slot}] {one.descriptor}"
        colour = _SEGMENTED if one.tso else _PLAIN
        by_endpoint.setdefault(one.endpoint, []).append(Change(one.start_ps, one.end_ps, text, colour))
    return [lane(f"descriptors of endpoint {endpoint}", changes) for endpoint, changes in sorted(by_endpoint.items())]
