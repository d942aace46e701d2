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


GRANT_TABLE_STATUS: Final = 1 << 31
"""XENMAPIDX_grant_table_status: an index of space GRANT_TABLE with this bit counts status pages."""
INVALID_FRAME: Final = (1 << 64) - 1
"""INVALID_M2P_ENTRY, INVALID_GFN: no frame."""
POPULATE_ON_DEMAND: Final = 1 << 16
"""XENMEMF_populate_on_demand, of mem_flags."""


class Resource(IntEnum):
    """Types of acquire_resource."""

    IOREQ_SERVER = 0
    GRANT_TABLE = 1


class GrantTableResource(IntEnum):
    """Ids of resource GRANT_TABLE."""

    SHARED = 0
    STATUS = 1


EXTENT_ORDERS: Final = range(10)
"""Extents are of 2^order pages: up to 2 MiB."""
RESERVATION: Final = struct.Struct("<QQIIHxxxxxx")
"""xen_memory_reservation: extent_start (guest address of 64-bit frame numbers), nr_extents, extent_order, mem_flags, domid."""
EXCHANGE: Final = struct.Struct("<" + 2 * "QQIIHxxxxxx" + "Q")
"""xen_memory_exchange: the reservation given, the one taken, nr_exchanged (out)."""
ADD_TO_PHYSMAP: Final = struct.Struct("<HHIQQ")
"""xen_add_to_physmap: domid, size, space, idx, gpfn."""
ADD_TO_PHYSMAP_BATCH: Final = struct.Struct("<HHHHQQQ")
"""xen_add_to_physmap_batch: domid, space, size, foreign_domid, and guest addresses of idxs, gpfns and errs (out)."""
REMOVE_FROM_PHYSMAP: Final = struct.Struct("<HxxxxxxQ")
"""xen_remove_from_physmap: domid, gpfn."""
ACQUIRE_RESOURCE: Final = struct.Struct("<HHIIxxxxQQ")
"""xen_mem_acquire_resource: domid, type, id, nr_frames (in, out), frame, frame_list (guest address of the GFNs to map at; 0: size only)."""
MACHPHYS_MAPPING: Final = struct.Struct("<QQQ")
"""xen_machphys_mapping: v_start, v_end, max_mfn (out)."""
DOMID: Final = struct.Struct("<H")
"""Argument of current_reservation, maximum_reservation and maximum_gpfn."""
FRAME: Final = struct.Struct("<Q")
"""xen_pfn_t, xen_ulong_t."""
ERROR: Final = struct.Struct("<i")
"""An element of `errs`."""
