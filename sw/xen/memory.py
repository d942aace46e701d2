"""Memory operations and their argument layouts. Source: Xen `xen/include/public/memory.h` (values restated)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final


class MemoryOp(IntEnum):
    """Sub-operations of memory_op."""

    INCREASE_RESERVATION = 0
    DECREASE_RESERVATION = 1
    MAXIMUM_RAM_PAGE = 2
    CURRENT_RESERVATION = 3
    MAXIMUM_RESERVATION = 4
    MACHPHYS_MFN_LIST = 5
    POPULATE_PHYSMAP = 6
    ADD_TO_PHYSMAP = 7
    EXCHANGE = 11
    MACHPHYS_MAPPING = 12
    MAXIMUM_GPFN = 14
    REMOVE_FROM_PHYSMAP = 15
    ADD_TO_PHYSMAP_BATCH = 23
    CLAIM_PAGES = 24
    RESERVED_DEVICE_MEMORY_MAP = 27
    ACQUIRE_RESOURCE = 28


class MapSpace(IntEnum):
    """Where add_to_physmap takes the page from."""

    SHARED_INFO = 0
    GRANT_TABLE = 1
    GMFN = 2
    GMFN_RANGE = 3
    GMFN_FOREIGN = 4


EXTENT_ORDERS: Final = range(10)
"""Extents are of 2^order pages: up to 2 MiB."""
RESERVATION: Final = struct.Struct("<QQIIHxxxxxx")
"""xen_memory_reservation: extent_start (guest address of 64-bit frame numbers), nr_extents, extent_order, mem_flags, domid."""
EXCHANGE: Final = struct.Struct("<" + 2 * "QQIIHxxxxxx" + "Q")
"""xen_memory_exchange: the reservation given, the one taken, nr_exchanged (out)."""
ADD_TO_PHYSMAP: Final = struct.Struct("<HHIQQ")
"""xen_add_to_physmap: domid, size, space, idx, gpfn."""
FRAME: Final = struct.Struct("<Q")
"""xen_pfn_t."""
