"""Scheduling operations and their argument layouts. Source: Xen `xen/include/public/sched.h` (values restated)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final


class SchedOp(IntEnum):
    """Sub-operations of sched_op."""

    YIELD = 0
    BLOCK = 1
    SHUTDOWN = 2
    POLL = 3
    REMOTE_SHUTDOWN = 4
    SHUTDOWN_CODE = 5
    WATCHDOG = 6
    PIN_OVERRIDE = 7


class ShutdownReason(IntEnum):
    """Why a domain runs no more."""

    POWEROFF = 0
    REBOOT = 1
    SUSPEND = 2
    CRASH = 3
    WATCHDOG = 4
    SOFT_RESET = 5


POLL_MAX_PORTS: Final = 128
SHUTDOWN: Final = struct.Struct("<I")
"""sched_shutdown: reason."""
POLL: Final = struct.Struct("<QIxxxxQ")
"""sched_poll: ports (guest address of 32-bit ports), nr_ports, timeout (system time in ns; 0: none)."""
REMOTE_SHUTDOWN: Final = struct.Struct("<HxxI")
"""sched_remote_shutdown: domain_id, reason."""
