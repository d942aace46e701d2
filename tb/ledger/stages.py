"""The stages of a packet, written once. They telescope: each ends where the form's next one begins."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
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
    RX_FIRST = "rx_first"
    RX_LAST = "rx_last"
    RX_LOCAL = "rx_local"
    RX_GRANT = "rx_grant"
    RX_WRITE = "rx_write"
    RX_DATA_OUT = "rx_data_out"
    RX_CPL_OUT = "rx_cpl_out"
    RX_CPL_VISIBLE = "rx_cpl_visible"


class PacketForm(StrEnum):
    """How the request and its bytes came to the NIC."""

    INLINE = "inline"
    PUSHED = "pushed"
    FETCHED = "fetched"
    RECEIVED = "received"
    """From the wire to a guest."""
    SWITCHED = "switched"
    """From a sibling to a guest, without the wire."""


@dataclass(frozen=True)
class Stage:
    """One stage: from a stamp to a stamp, the forms that have it, and who is waited for."""

    name: str
    start: Stamp
    end: Stamp
    forms: frozenset[PacketForm]
    inside: bool | None = None
    """Of sends: only those that stay inside the NIC (True), only those that take the wire (False), or both."""
    nic: bool = False
    """Part of the NIC's share of latency: the NIC itself is at work, not the wire, the link or host memory."""


_INLINE: Final = frozenset({PacketForm.INLINE})
_PUSHED: Final = frozenset({PacketForm.PUSHED})
_FETCHED: Final = frozenset({PacketForm.FETCHED})
_READS: Final = _PUSHED | _FETCHED
_SENDS: Final = _INLINE | _READS
_RECEIVED: Final = frozenset({PacketForm.RECEIVED})
_SWITCHED: Final = frozenset({PacketForm.SWITCHED})
_RECEIVES: Final = _RECEIVED | _SWITCHED

STAGES: Final = (
    Stage("doorbell to fetch", Stamp.DOORBELL, Stamp.FETCH_OUT, _FETCHED, nic=True),
    Stage("descriptor read", Stamp.FETCH_OUT, Stamp.FETCH_BACK, _FETCHED),
    Stage("doorbell to grant", Stamp.DOORBELL, Stamp.GRANT, _INLINE | _PUSHED, nic=True),
    Stage("descriptor to grant", Stamp.FETCH_BACK, Stamp.GRANT, _FETCHED, nic=True),
    Stage("authorise", Stamp.GRANT, Stamp.AUTHORISED, _SENDS, nic=True),
    Stage("copy", Stamp.AUTHORISED, Stamp.DATA_IN, _INLINE, nic=True),
    Stage("issue read", Stamp.AUTHORISED, Stamp.READ_OUT, _READS, nic=True),
    Stage("payload read", Stamp.READ_OUT, Stamp.DATA_IN, _READS),
    Stage("to wire", Stamp.DATA_IN, Stamp.WIRE_FIRST, _SENDS, inside=False, nic=True),
    Stage("on wire", Stamp.WIRE_FIRST, Stamp.WIRE_LAST, _SENDS, inside=False),
    Stage("to completion", Stamp.WIRE_LAST, Stamp.CPL_OUT, _SENDS, inside=False),
    Stage("to switch", Stamp.DATA_IN, Stamp.RX_LOCAL, _SENDS, inside=True, nic=True),
    Stage("delivery and completion", Stamp.RX_LOCAL, Stamp.CPL_OUT, _SENDS, inside=True),
    Stage("completion visible", Stamp.CPL_OUT, Stamp.CPL_VISIBLE, _SENDS),
    Stage("arrival", Stamp.RX_FIRST, Stamp.RX_LAST, _RECEIVED),
    Stage("to buffers", Stamp.RX_LAST, Stamp.RX_GRANT, _RECEIVED, nic=True),
    Stage("to buffers", Stamp.RX_LOCAL, Stamp.RX_GRANT, _SWITCHED, nic=True),
    Stage("to first write", Stamp.RX_GRANT, Stamp.RX_WRITE, _RECEIVES, nic=True),
    Stage("writes", Stamp.RX_WRITE, Stamp.RX_DATA_OUT, _RECEIVES, nic=True),
    Stage("to completion", Stamp.RX_DATA_OUT, Stamp.RX_CPL_OUT, _RECEIVES, nic=True),
    Stage("completion visible", Stamp.RX_CPL_OUT, Stamp.RX_CPL_VISIBLE, _RECEIVES),
)
"""A send's NIC share runs from the doorbell to the first beat on the wire without the waits for host reads; a
receive's from the last beat of the frame to the last beat of its completion."""


@cache
def stages_of(form: PacketForm, *, inside: bool = False) -> tuple[Stage, ...]:
    """The stages of one form, in order; they lead from its first stamp to its last without a gap.

    `inside`: of a send that goes to siblings only.
    """
    return tuple(s for s in STAGES if form in s.forms and s.inside in (None, inside))


def nic_share_stages(form: PacketForm, *, inside: bool = False) -> tuple[Stage, ...]:
    """The stages of one form in which the NIC itself is at work."""
    return tuple(stage for stage in stages_of(form, inside=inside) if stage.nic)
