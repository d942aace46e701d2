"""States of the two halves of a split device.

Source: Xen `xen/include/public/io/xenbus.h` (values restated).
"""

from __future__ import annotations

from enum import IntEnum


class XenbusState(IntEnum):
    """Value of a half's `state` node, as a decimal string. A missing node reads as UNKNOWN."""

    UNKNOWN = 0
    INITIALISING = 1
    INIT_WAIT = 2
    """Set up as far as it goes without the other half."""
    INITIALISED = 3
    CONNECTED = 4
    CLOSING = 5
    CLOSED = 6
    RECONFIGURING = 7
    RECONFIGURED = 8


def parse_state(text: str | None) -> XenbusState:
    """State of a node's text; UNKNOWN for what is no state, for the other half may write what it likes."""
    try:
        return XenbusState(int(text or "0"))
    except ValueError:
        return XenbusState.UNKNOWN
