"""The stages of a packet, written once. They telescope: each ends where the form's next one begins."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Stamp(StrEnum):
    """Moments in a packet's life, in their order. Each is the cycle of a trace event (see docs/abi.md)."""

    DOORBELL = "doorbell"
    FETCH_OUT = "fetch_out"
    FETCH_BACK = "fetch_back"
    GRANT = "grant"
    AUTHORISED = "authorised"
    READ_OUT = "read_out"
    DATA_IN = "data_in"
    WIRE_FIRST = "wire_first"
    WIRE_LAST = "wire_last"
    CPL_OUT = "cpl_out"
    CPL_VISIBLE = "cpl_visible"


class PacketForm(StrEnum):
    """How the request and its bytes came to the NIC."""

    INLINE = "inline"
    PUSHED = "pushed"
    FETCHED = "fetched"


@dataclass(frozen=True)
class Stage:
    """One stage: from a stamp to a stamp, the forms that have it, and who is waited for."""

    name: str
    start: Stamp
    end: Stamp
    forms: frozenset[PacketForm]
    host_wait: bool = False
    """The NIC waits for a read of host memory: not part of the NIC's share."""


_INLINE: Final = frozenset({PacketForm.INLINE})
_PUSHED: Final = frozenset({PacketForm.PUSHED})
_FETCHED: Final = frozenset({PacketForm.FETCHED})
_READS: Final = _PUSHED | _FETCHED
_ALL: Final = _INLINE | _READS

STAGES: Final = (
    Stage("doorbell to fetch", Stamp.DOORBELL, Stamp.FETCH_OUT, _FETCHED),
    Stage("descriptor read", Stamp.FETCH_OUT, Stamp.FETCH_BACK, _FETCHED, host_wait=True),
    Stage("doorbell to grant", Stamp.DOORBELL, Stamp.GRANT, _INLINE | _PUSHED),
    Stage("descriptor to grant", Stamp.FETCH_BACK, Stamp.GRANT, _FETCHED),
    Stage("authorise", Stamp.GRANT, Stamp.AUTHORISED, _ALL),
    Stage("copy", Stamp.AUTHORISED, Stamp.DATA_IN, _INLINE),
    Stage("issue read", Stamp.AUTHORISED, Stamp.READ_OUT, _READS),
    Stage("payload read", Stamp.READ_OUT, Stamp.DATA_IN, _READS, host_wait=True),
    Stage("to wire", Stamp.DATA_IN, Stamp.WIRE_FIRST, _ALL),
    Stage("on wire", Stamp.WIRE_FIRST, Stamp.WIRE_LAST, _ALL),
    Stage("to completion", Stamp.WIRE_LAST, Stamp.CPL_OUT, _ALL),
    Stage("completion visible", Stamp.CPL_OUT, Stamp.CPL_VISIBLE, _ALL),
)

NIC_SHARE_END: Final = Stamp.WIRE_FIRST
"""The NIC's share of latency ends here; it starts at the doorbell and leaves out the host waits."""


def stages_of(form: PacketForm) -> tuple[Stage, ...]:
    """The stages of one form, in order; they lead from DOORBELL to CPL_VISIBLE without a gap."""
    return tuple(stage for stage in STAGES if form in stage.forms)


def nic_share_stages(form: PacketForm) -> tuple[Stage, ...]:
    """The stages up to the first beat on the wire in which the NIC itself is at work."""
    order = list(Stamp)
    limit = order.index(NIC_SHARE_END)
    return tuple(s for s in stages_of(form) if not s.host_wait and order.index(s.end) <= limit)
