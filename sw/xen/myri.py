"""Our own hypercall: endpoints of the NIC. Commands and argument layouts, in the manner of Xen's public headers.

All arguments are structures in guest memory, little-endian; `out` fields are written by the hypervisor.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Final

from sw.abi.registers import Aperture, Form
from sw.platform import PAGE_SHIFT


class MyriOp(IntEnum):
    """Sub-operations of myri_op."""

    ALLOCATE = 0
    RELEASE = 1
    ENABLE = 2
    DISABLE = 3
    MAP_GRANTS = 4
    UNMAP_GRANTS = 5
    MAP_SUPERPAGE = 6
    SET_RSS = 7
    SET_MODERATION = 8
    MULTICAST = 9
    FILTER = 10
    STATISTICS = 11
    ENQUEUE = 12
    RETIRE = 13


class MapFlag(IntFlag):
    """Flags of MAP_GRANTS and MAP_SUPERPAGE."""

    READONLY = 1


class FilterFlag(IntFlag):
    """Flags of FILTER: what an endpoint receives beyond its own."""

    PROMISCUOUS = 1
    ALL_MULTICAST = 2


class ValidatedRing(IntEnum):
    """`ring` of ENQUEUE."""

    SEND = 0
    SMALL = 1
    BIG = 2


def aperture_pages(form: Form, receive_form: Form | None) -> list[int]:
    """Pages of its aperture that an endpoint's owner gets: the doorbells, and the windows of rings that it pushes."""
    pages = [Aperture.SEND_DOORBELL >> PAGE_SHIFT]
    if form is Form.PUSHED:
        first = Aperture.SEND_RING >> PAGE_SHIFT
        pages += range(first, first + (Aperture.SEND_RING_BYTES >> PAGE_SHIFT))
    if receive_form is Form.PUSHED:
        pages += (Aperture.RX_SMALL_RING >> PAGE_SHIFT, Aperture.RX_BIG_RING >> PAGE_SHIFT)
    return pages


SEND_ONLY: Final = 0xFF
"""`receive_form` of an endpoint that does not receive."""
ALLOCATE: Final = struct.Struct("<BBxxHBxHHHxx6sxxQ")
"""form, receive_form (in); endpoint, mode, inline_max, max_frame, vlan, mac, aperture (guest-physical) (out)."""
ENDPOINT: Final = struct.Struct("<I")
"""RELEASE, DISABLE: endpoint."""
ENABLE: Final = struct.Struct("<IIIIIIIIIIIIQQQQ4Q")
"""endpoint, send_log2, cq_log2, receives (0: no receive side, and the rest is ignored), small_log2, big_log2, queue_log2, buffer_log2,
small_bytes, max_frame, queues, rss, send_base, cq_base, small_base, big_base, queue_bases."""
MAP_GRANT: Final = struct.Struct("<IIIhxxIxxxxQ")
"""endpoint, flags, reference (in); status, handle, device_address (out). MAP_GRANTS takes an array."""
UNMAP_GRANT: Final = struct.Struct("<Ihxx")
"""handle (in); status (out). UNMAP_GRANTS takes an array."""
MAP_SUPERPAGE: Final = struct.Struct("<IIQQ")
"""endpoint, flags, gfn (in); device_address (out)."""
RSS_KEY_BYTES: Final = 40
RSS_TABLE_ENTRIES: Final = 128
SET_RSS: Final = struct.Struct(f"<I{RSS_KEY_BYTES}s{RSS_TABLE_ENTRIES}s")
"""endpoint, Toeplitz key, indirection table (a queue in each byte)."""
SET_MODERATION: Final = struct.Struct("<IQI")
"""endpoint, ns, frames."""
MULTICAST: Final = struct.Struct("<IB6sB")
"""endpoint, join (1) or leave (0), group (in); joined (out): 0 when the NIC's table is full."""
FILTER: Final = struct.Struct("<II")
"""endpoint, flags."""
STATISTICS: Final = struct.Struct("<IIQ")
"""endpoint, counters wanted, guest address of as many 64-bit counters (out), in the order of `STATISTICS_NAMES`."""
STATISTICS_NAMES: Final = (
    "rx_packets",
    "rx_bytes",
    "rx_dropped_no_small",
    "rx_dropped_no_big",
    "rx_dropped_too_long",
    "rx_dropped_refused",
    "tx_dropped_spoofed",
)
ENQUEUE: Final = struct.Struct("<IIIIQ")
"""endpoint, ring, count, 0, guest address of `count` send descriptors or receive buffers with guest-physical addresses."""
ENQUEUE_MAX: Final = 512
"""Entries of one ENQUEUE."""
