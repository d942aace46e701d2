"""Event channels: operations and argument layouts. Source: Xen `xen/include/public/event_channel.h` (values restated)."""

from __future__ import annotations

import struct
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


PORT: Final = struct.Struct("<I")
"""evtchn_close, evtchn_send, evtchn_unmask: port."""
BIND_PIRQ: Final = struct.Struct("<III")
"""evtchn_bind_pirq: pirq, flags, port (out)."""
