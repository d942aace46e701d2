"""Hypercall numbers, domain ids and the shared-info page. Source: Xen `xen/include/public/xen.h` (values restated)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final


class Hypercall(IntEnum):
    """`__HYPERVISOR_*`: the number by which a guest enters the hypervisor."""

    MMU_UPDATE = 1
    MEMORY_OP = 12
    MULTICALL = 13
    UPDATE_VA_MAPPING = 14
    SET_TIMER_OP = 15
    XEN_VERSION = 17
    GRANT_TABLE_OP = 20
    VCPU_OP = 24
    MMUEXT_OP = 26
    SCHED_OP = 29
    EVENT_CHANNEL_OP = 32
    PHYSDEV_OP = 33
    HVM_OP = 34
    SYSCTL = 35
    DOMCTL = 36
    ARGO_OP = 39
    DM_OP = 41
    MYRI_OP = 55
    """`__HYPERVISOR_arch_7`, which x86 leaves free: the NIC's endpoints (`sw.xen.myri`)."""


MULTICALL_ENTRY: Final = struct.Struct("<8Q")
"""multicall_entry: op, result (out), six arguments."""
DOMID_CONTROL: Final = 0
"""The control domain: owner of the NIC, grantee of every page that a device may reach."""
DOMID_FIRST_RESERVED: Final = 0x7FF0
DOMID_SELF: Final = 0x7FF0
DOMID_IO: Final = 0x7FF1
DOMID_XEN: Final = 0x7FF2
DOMID_COW: Final = 0x7FF3
DOMID_INVALID: Final = 0x7FF4
DOMID_ANY: Final = 0x7FF5
DOMID_IDLE: Final = 0x7FFF


class Virq(IntEnum):
    """`VIRQ_*`: interrupts that Xen itself raises."""

    TIMER = 0
    DEBUG = 1
    CONSOLE = 2
    DOM_EXC = 3
    """A domain has changed: shut down, crashed or gone."""
    TBUF = 4
    DEBUGGER = 6
    XENOPROF = 7
    CON_RING = 8
    PCPU_STATE = 9
    MEM_EVENT = 10
    ARGO = 11
    ENOMEM = 12
    XENPMU = 13


VIRQ_COUNT: Final = 24
"""Numbers from 16 on are the architecture's, global on x86."""
VCPU_VIRQS: Final = frozenset({Virq.TIMER, Virq.DEBUG, Virq.XENOPROF, Virq.XENPMU})
"""Bound for each vCPU by itself. The others are bound once in a domain, on vCPU 0."""
DOMAIN_VIRQS: Final = frozenset({Virq.ARGO})
"""Each domain has its own. Those in neither set are global: the control domain's alone."""

# struct shared_info of a 64-bit guest, 2-level event channels: byte offsets.
VCPU_INFO_BYTES: Final = 64
"""struct vcpu_info, one for each vCPU, from offset 0."""
VCPU_INFO_COUNT: Final = 32
"""vCPUs that have their vcpu_info in the shared-info page."""
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
