"""Virtual CPUs: operations and argument layouts. Source: Xen `xen/include/public/vcpu.h` (values restated)."""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Final


class VcpuOp(IntEnum):
    """Sub-operations of vcpu_op; the second argument is the vCPU's number."""

    INITIALISE = 0
    UP = 1
    DOWN = 2
    IS_UP = 3
    GET_RUNSTATE_INFO = 4
    REGISTER_RUNSTATE_MEMORY_AREA = 5
    SET_PERIODIC_TIMER = 6
    STOP_PERIODIC_TIMER = 7
    SET_SINGLESHOT_TIMER = 8
    STOP_SINGLESHOT_TIMER = 9
    REGISTER_VCPU_INFO = 10
    SEND_NMI = 11
    GET_PHYSID = 12
    REGISTER_VCPU_TIME_MEMORY_AREA = 13


class RunstateState(IntEnum):
    """`state` of vcpu_runstate_info, and the index of its times."""

    RUNNING = 0
    RUNNABLE = 1
    BLOCKED = 2
    OFFLINE = 3


RUNSTATE_INFO: Final = struct.Struct("<ixxxxQ4Q")
"""vcpu_runstate_info: state, state_entry_time (ns), time in each state (ns)."""


class SingleshotFlag(IntFlag):
    """`flags` of vcpu_set_singleshot_timer (VCPU_SSHOTTMR_*)."""

    FUTURE = 1
    """A time that has passed is refused (ETIME)."""


SET_SINGLESHOT_TIMER: Final = struct.Struct("<QIxxxx")
"""vcpu_set_singleshot_timer: timeout_abs_ns (system time), flags."""
SET_PERIODIC_TIMER: Final = struct.Struct("<Q")
"""vcpu_set_periodic_timer: period_ns."""
