"""Event channels: operations and argument layouts. Source: Xen `xen/include/public/event_channel.h` (values restated)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class EventOp(IntEnum):
    """Sub-operations of event_channel_op."""

    BIND_INTERDOMAIN = 0
    BIND_VIRQ = 1
    BIND_PIRQ = 2
    CLOSE = 3
    SEND = 4
    STATUS = 5
    ALLOC_UNBOUND = 6
    BIND_IPI = 7
    BIND_VCPU = 8
    UNMASK = 9
    RESET = 10
    INIT_CONTROL = 11
    EXPAND_ARRAY = 12
    SET_PRIORITY = 13


class EventStatus(IntEnum):
    """What a port is bound to, as evtchn_status says it."""

    CLOSED = 0
    UNBOUND = 1
    """Reserved for a remote domain, which has not bound it."""
    INTERDOMAIN = 2
    PIRQ = 3
    VIRQ = 4
    IPI = 5


@dataclass(frozen=True)
class PortStatus:
    """Answer of evtchn_status."""

    status: EventStatus
    vcpu: int = 0
    detail: int = 0
    """Remote domain, physical or virtual interrupt."""
    remote_port: int = 0


BIND_INTERDOMAIN: Final = struct.Struct("<HxxII")
"""evtchn_bind_interdomain: remote_dom, remote_port, local_port (out)."""
BIND_VIRQ: Final = struct.Struct("<III")
"""evtchn_bind_virq: virq, vcpu, port (out)."""
BIND_PIRQ: Final = struct.Struct("<III")
"""evtchn_bind_pirq: pirq, flags (bit 0 WILL_SHARE: others may bind the line too), port (out)."""
PORT: Final = struct.Struct("<I")
"""evtchn_close, evtchn_send, evtchn_unmask: port."""
STATUS: Final = struct.Struct("<HxxIIIII")
"""evtchn_status: dom, port, then out: status, vcpu, union of remote domain, pirq and virq, remote port."""
ALLOC_UNBOUND: Final = struct.Struct("<HHI")
"""evtchn_alloc_unbound: dom, remote_dom, port (out)."""
BIND_IPI: Final = struct.Struct("<II")
"""evtchn_bind_ipi: vcpu, port (out)."""
BIND_VCPU: Final = struct.Struct("<II")
"""evtchn_bind_vcpu: port, vcpu."""
RESET: Final = struct.Struct("<H")
"""evtchn_reset: dom."""
INIT_CONTROL: Final = struct.Struct("<QIIB7x")
"""evtchn_init_control: control_gfn, offset in that page, vcpu, link_bits (out)."""
EXPAND_ARRAY: Final = struct.Struct("<Q")
"""evtchn_expand_array: array_gfn."""
SET_PRIORITY: Final = struct.Struct("<II")
"""evtchn_set_priority: port, priority."""

# FIFO ABI. Event words and control blocks are 32-bit words in pages of the guest.
FIFO_WORD: Final = struct.Struct("<I")
FIFO_PENDING: Final = 31
"""Bits of an event word."""
FIFO_MASKED: Final = 30
FIFO_LINKED: Final = 29
FIFO_BUSY: Final = 28
"""Xen is about to write the link: the guest may not unmask by itself."""
FIFO_LINK_BITS: Final = 17
FIFO_LINK_MASK: Final = (1 << FIFO_LINK_BITS) - 1
"""The next port of the queue, 0 at its tail."""
FIFO_PORTS: Final = 1 << FIFO_LINK_BITS
FIFO_WORDS_PER_PAGE: Final = 1024
FIFO_PRIORITIES: Final = 16
"""Queues of a vCPU; 0 is served first."""
FIFO_PRIORITY_DEFAULT: Final = 7
FIFO_READY: Final = 0
"""evtchn_fifo_control_block.ready: one bit for each queue that is not empty. Byte offset."""
FIFO_HEADS: Final = 8
"""evtchn_fifo_control_block.head: the first port of each queue. Byte offset."""
FIFO_CONTROL_BYTES: Final = FIFO_HEADS + FIFO_PRIORITIES * FIFO_WORD.size
