"""Configuration accesses of a guest to its devices: the page that pcifront and pciback share, and its keys.

Source: Xen `xen/include/public/io/pciif.h`, and Linux's copy of it for what MSI-X adds (values restated).
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

MAGIC: Final = "7"
"""XEN_PCI_MAGIC, of the `magic` key."""
ACTIVE: Final = 0
"""XEN_PCIF_active, a bit of xen_pci_sharedinfo.flags, the page's first 32: the front end sets it when an op is in the page, the back
end clears it when the answer is."""
OP_AT: Final = 4
"""xen_pci_sharedinfo.op. Byte offset in the page."""
OP: Final = struct.Struct("<IiIIIiiII")
"""xen_pci_op: cmd, err (out), domain, bus, devfn, offset, size, value (in, out), info; the vectors follow."""
OP_ERR: Final = 4
"""Byte offsets in it of what a back end writes."""
OP_VALUE: Final = 28
VECTORS_AT: Final = OP.size
"""xen_pci_op.msix_entries."""
VECTOR: Final = struct.Struct("<HH")
"""xen_msix_entry: vector (out: a physical interrupt of the guest's), entry (of the function's table)."""
MAX_VECTORS: Final = 128
"""SH_INFO_MAX_VEC."""
OP_BYTES: Final = OP.size + MAX_VECTORS * VECTOR.size


class PciOp(IntEnum):
    """`cmd` (XEN_PCI_OP_*)."""

    CONF_READ = 0
    CONF_WRITE = 1
    ENABLE_MSI = 2
    DISABLE_MSI = 3
    ENABLE_MSIX = 4
    """`value`: vectors wanted; 0 when all were given."""
    DISABLE_MSIX = 5


class PciErr(IntEnum):
    """`err` (XEN_PCI_ERR_*). Of ENABLE_MSIX it may also be a negative errno."""

    SUCCESS = 0
    DEV_NOT_FOUND = -1
    INVALID_OFFSET = -2
    ACCESS_DENIED = -3
    NOT_IMPLEMENTED = -4
    OP_FAILED = -5
