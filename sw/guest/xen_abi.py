"""The part of Xen's public interface that guests and hypervisor share: numbers and layouts, no behaviour.

Source: Xen `xen/include/public/grant_table.h`, `event_channel.h` and `xen.h` (values restated).
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Final

DOMID_CONTROL: Final = 0
"""The control domain: owner of the NIC, grantee of every page that a device may reach."""
DOMID_FIRST_RESERVED: Final = 0x7FF0

GRANT_ENTRY_V1: Final = struct.Struct("<HHI")
"""flags, domid, frame (GFN): 8 bytes, little-endian."""
GRANT_ENTRIES_PER_PAGE: Final = 4096 // GRANT_ENTRY_V1.size
GRANT_RESERVED_ENTRIES: Final = 8
"""References 0 to 7 belong to console, xenstore and the like."""
GRANT_MAX_FRAMES: Final = 64

# struct shared_info of a 64-bit guest, 2-level event channels: byte offsets. vCPU 0 comes first.
UPCALL_PENDING: Final = 0
"""vcpu_info.evtchn_upcall_pending, one byte."""
UPCALL_MASK: Final = 1
"""vcpu_info.evtchn_upcall_mask, one byte."""
PENDING_SELECTOR: Final = 8
"""vcpu_info.evtchn_pending_sel, 64 bits: words of the pending array to look at."""
EVENT_PENDING: Final = 2048
"""evtchn_pending: 64 words of 64 bits, after 32 vcpu_info of 64 bytes."""
EVENT_MASK: Final = 2560
"""evtchn_mask, likewise."""
EVENT_WORDS: Final = 64
EVENT_WORD_BITS: Final = 64
EVENT_PORTS: Final = EVENT_WORDS * EVENT_WORD_BITS


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
    NO_DEVICE_SPACE = -7
    PERMISSION_DENIED = -8
    BAD_PAGE = -9
    EAGAIN = -12
    NO_SPACE = -13


class GrantMapFlag(IntFlag):
    """Flags of a map operation."""

    DEVICE = 1
    HOST = 2
    READONLY = 4
