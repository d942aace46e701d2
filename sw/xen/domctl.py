"""Domain control by the control domain. Source: Xen `xen/include/public/domctl.h` (values restated)."""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Final

INTERFACE_VERSION: Final = 0x17


class DomctlOp(IntEnum):
    """`cmd` of xen_domctl."""

    CREATEDOMAIN = 1
    DESTROYDOMAIN = 2
    PAUSEDOMAIN = 3
    UNPAUSEDOMAIN = 4
    GETDOMAININFO = 5
    MAX_MEM = 11
    IRQ_PERMISSION = 19
    IOMEM_PERMISSION = 20
    ASSIGN_DEVICE = 37
    BIND_PT_IRQ = 38
    MEMORY_MAPPING = 39
    TEST_ASSIGN_DEVICE = 45
    DEASSIGN_DEVICE = 47


class CreateFlag(IntFlag):
    """`flags` of createdomain (XEN_DOMCTL_CDF_*)."""

    HVM = 1 << 0
    HAP = 1 << 1
    IOMMU = 1 << 5


class DomainFlag(IntFlag):
    """`flags` of getdomaininfo (XEN_DOMINF_*); the shutdown reason stands from bit 16 on."""

    DYING = 1 << 0
    HVM_GUEST = 1 << 1
    SHUTDOWN = 1 << 2
    PAUSED = 1 << 3
    BLOCKED = 1 << 4
    RUNNING = 1 << 5


SHUTDOWN_REASON_SHIFT: Final = 16
MAPPING_MAX_FRAMES: Final = 64
"""Frames of one memory_mapping."""
DEVICE_PCI: Final = 0
IRQ_TYPE_MSI: Final = 2

HEADER: Final = struct.Struct("<IIHxxxxxx")
"""xen_domctl: cmd, interface_version, domain; the operation's own structure follows, 128 bytes of room."""
BYTES: Final = HEADER.size + 128
CREATEDOMAIN: Final = struct.Struct("<I16sIIIIiiI")
"""xen_domctl_createdomain, its beginning: ssidref, handle, flags, iommu_opts, max_vcpus, max_evtchn_port, max_grant_frames,
max_maptrack_frames, grant_opts."""
GETDOMAININFO: Final = struct.Struct("<HxxI7QIII16sIBxxxxxxx")
"""xen_domctl_getdomaininfo: domain, flags, tot_pages, max_pages, outstanding_pages, shr_pages, paged_pages, shared_info_frame,
cpu_time (ns), nr_online_vcpus, max_vcpu_id, ssidref, handle, cpupool, gpaddr_bits."""
MAX_MEM: Final = struct.Struct("<Q")
"""xen_domctl_max_mem: max_memkb."""
IRQ_PERMISSION: Final = struct.Struct("<IBxxx")
"""xen_domctl_irq_permission: pirq, allow_access."""
IOMEM_PERMISSION: Final = struct.Struct("<QQBxxxxxxx")
"""xen_domctl_iomem_permission: first_mfn, nr_mfns, allow_access."""
ASSIGN_DEVICE: Final = struct.Struct("<III")
"""xen_domctl_assign_device: dev (type), flags, machine_sbdf."""
BIND_PT_IRQ: Final = struct.Struct("<IIBxxxIQ")
"""xen_domctl_bind_pt_irq of type MSI: machine_irq, irq_type, gvec, gflags, gtable."""
MEMORY_MAPPING: Final = struct.Struct("<QQQIxxxx")
"""xen_domctl_memory_mapping: first_gfn, first_mfn, nr_mfns, add_mapping."""
