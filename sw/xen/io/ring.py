"""Shared rings: page layout, sizes and the rule for notifications. Source: Xen `xen/include/public/io/ring.h` (restated)."""

from __future__ import annotations

from typing import Final

REQ_PROD: Final = 0
"""Requests that the front end has put in, free-running modulo 2^32. Byte offset, as the next three."""
REQ_EVENT: Final = 4
"""The back end wants an event when `REQ_PROD` reaches this."""
RSP_PROD: Final = 8
"""Responses that the back end has put in."""
RSP_EVENT: Final = 12
"""The front end wants an event when `RSP_PROD` reaches this."""
HEADER_BYTES: Final = 64
"""Indices, private area and padding; the slots follow."""
INDEX_MASK: Final = 0xFFFF_FFFF


def ring_entries(slot_bytes: int, ring_bytes: int = 4096) -> int:
    """Slots of a ring: the largest power of two that fits behind the header."""
    return 1 << ((ring_bytes - HEADER_BYTES) // slot_bytes).bit_length() - 1


def must_notify(old: int, new: int, event: int) -> bool:
    """A producer moves from `old` to `new`: does the other side, which waits for `event`, want to be told?"""
    return (new - event) & INDEX_MASK < (new - old) & INDEX_MASK
