"""Grant tables: layouts, flags and operations. Source: Xen `xen/include/public/grant_table.h` (values restated)."""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Final

GRANT_ENTRY_V1: Final = struct.Struct("<HHI")
"""flags, domid, frame (GFN): 8 bytes."""
GRANT_ENTRIES_PER_PAGE: Final = 4096 // GRANT_ENTRY_V1.size
GRANT_RESERVED_ENTRIES: Final = 8
"""References 0 to 7 belong to console, xenstore and the like."""
GRANT_MAX_FRAMES: Final = 64
SETUP_TABLE: Final = struct.Struct("<HxxIhxxxxxxQ")
"""gnttab_setup_table: dom, nr_frames, status (out), frame_list (guest address of 64-bit frame numbers, out)."""


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
    """Flags word of a version 1 entry."""

    PERMIT_ACCESS = 1
    TYPE_MASK = 3
    READONLY = 4
    READING = 8
    WRITING = 16


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
