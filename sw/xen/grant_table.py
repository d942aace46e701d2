"""Grant tables: layouts, flags and operations. Source: Xen `xen/include/public/grant_table.h` (values restated)."""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Final

GRANT_ENTRY_V1: Final = struct.Struct("<HHI")
"""flags, domid, frame (GFN): 8 bytes."""
GRANT_ENTRY_V2: Final = struct.Struct("<HHxxxxQ")
"""full_page: flags, domid, frame (GFN): 16 bytes."""
GRANT_ENTRY_V2_SUB_PAGE: Final = struct.Struct("<HHHHQ")
"""sub_page: flags, domid, page_off, length, frame (GFN)."""
GRANT_ENTRY_V2_TRANSITIVE: Final = struct.Struct("<HHHxxIxxxx")
"""transitive: flags, domid, trans_domid, gref (of trans_domid's table)."""
GRANT_STATUS_BYTES: Final = 2
"""Version 2: the in-use bits of an entry stand in a 16-bit word of their own, in the status pages."""
GRANT_ENTRIES_PER_PAGE: Final = 4096 // GRANT_ENTRY_V1.size
GRANT_ENTRIES_PER_PAGE_V2: Final = 4096 // GRANT_ENTRY_V2.size
GRANT_STATUS_PER_PAGE: Final = 4096 // GRANT_STATUS_BYTES
GRANT_RESERVED_ENTRIES: Final = 8
"""References 0 to 7 belong to console, xenstore and the like."""
GRANT_MAX_FRAMES: Final = 64
GRANT_MAX_STATUS_FRAMES: Final = GRANT_MAX_FRAMES * GRANT_ENTRIES_PER_PAGE_V2 // GRANT_STATUS_PER_PAGE

MAP_GRANT_REF: Final = struct.Struct("<QIIHhIQ")
"""gnttab_map_grant_ref: host_addr, flags, ref, dom (in); status, handle, dev_bus_addr (out)."""
UNMAP_GRANT_REF: Final = struct.Struct("<QQIhxx")
"""gnttab_unmap_grant_ref: host_addr, dev_bus_addr, handle (in); status (out). unmap_and_replace: new_addr for dev_bus_addr."""
SETUP_TABLE: Final = struct.Struct("<HxxIhxxxxxxQ")
"""gnttab_setup_table: dom, nr_frames, status (out), frame_list (guest address of 64-bit frame numbers, out)."""
TRANSFER: Final = struct.Struct("<QHxxIhxxxxxx")
"""gnttab_transfer: mfn (GFN of a translated guest), domid, ref (in); status (out)."""
COPY: Final = struct.Struct("<" + 2 * "QHHxxxx" + "HHhxx")
"""gnttab_copy: source, dest (gref in the low 32 bits, or gmfn; domid, offset); len, flags (in); status (out)."""
QUERY_SIZE: Final = struct.Struct("<HxxIIhxx")
"""gnttab_query_size: dom (in); nr_frames, max_nr_frames, status (out)."""
SET_VERSION: Final = struct.Struct("<I")
"""gnttab_set_version: version (in, out)."""
GET_STATUS_FRAMES: Final = struct.Struct("<IHhQ")
"""gnttab_get_status_frames: nr_frames, dom (in); status (out), frame_list (guest address of 64-bit frame numbers, out)."""
GET_VERSION: Final = struct.Struct("<HxxI")
"""gnttab_get_version: dom (in), version (out)."""
SWAP_GRANT_REF: Final = struct.Struct("<IIhxx")
"""gnttab_swap_grant_ref: ref_a, ref_b (in); status (out)."""
CACHE_FLUSH: Final = struct.Struct("<QHHI")
"""gnttab_cache_flush: machine address or reference, offset, length, op."""


class GrantOp(IntEnum):
    """Sub-operations of grant_table_op."""

    MAP_GRANT_REF = 0
    UNMAP_GRANT_REF = 1
    SETUP_TABLE = 2
    TRANSFER = 4
    COPY = 5
    QUERY_SIZE = 6
    UNMAP_AND_REPLACE = 7
    SET_VERSION = 8
    GET_STATUS_FRAMES = 9
    GET_VERSION = 10
    SWAP_GRANT_REF = 11
    CACHE_FLUSH = 12


class GrantFlag(IntFlag):
    """Flags word of an entry. Version 2 has READING and WRITING in the status word."""

    INVALID = 0
    PERMIT_ACCESS = 1
    ACCEPT_TRANSFER = 2
    TRANSITIVE = 3
    TYPE_MASK = 3
    READONLY = 4
    TRANSFER_COMMITTED = 4
    """Of ACCEPT_TRANSFER: Xen has begun."""
    READING = 8
    TRANSFER_COMPLETED = 8
    """Of ACCEPT_TRANSFER: the page is there."""
    WRITING = 16
    PWT = 32
    PCD = 64
    PAT = 128
    SUB_PAGE = 256


class GrantStatus(IntEnum):
    """Per-operation status of the grant hypercalls."""

    OKAY = 0
    GENERAL_ERROR = -1
    BAD_DOMAIN = -2
    BAD_GREF = -3
    BAD_HANDLE = -4
    BAD_VIRT_ADDR = -5
    BAD_DEV_ADDR = -6
    NO_DEVICE_SPACE = -7
    PERMISSION_DENIED = -8
    BAD_PAGE = -9
    BAD_COPY_ARG = -10
    ADDRESS_TOO_BIG = -11
    EAGAIN = -12
    NO_SPACE = -13


class GrantMapFlag(IntFlag):
    """Flags of a map operation."""

    DEVICE = 1
    HOST = 2
    READONLY = 4
    APPLICATION = 8
    CONTAINS_PTE = 16


class GrantCopyFlag(IntFlag):
    """Flags of a copy operation: which sides are named by reference."""

    SOURCE_GREF = 1
    DEST_GREF = 2


class CacheFlush(IntFlag):
    """`op` of cache_flush."""

    CLEAN = 1
    INVALIDATE = 2
    SOURCE_GREF = 1 << 31
