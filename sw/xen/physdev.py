"""Physical interrupts of guests: operations and layouts. Source: Xen `xen/include/public/physdev.h` (values restated)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final


class PhysdevOp(IntEnum):
    """Sub-operations of physdev_op."""

    EOI = 12
    MAP_PIRQ = 13
    UNMAP_PIRQ = 14
    PCI_DEVICE_ADD = 25
    PCI_DEVICE_REMOVE = 26
    PREPARE_MSIX = 30
    RELEASE_MSIX = 31


MAP_PIRQ_TYPE_MSI: Final = 0
MAP_PIRQ: Final = struct.Struct("<HxxiiiiiixxxxQ")
"""physdev_map_pirq: domid, type, index, pirq (in: -1 for any; out), bus, devfn, entry_nr, table_base (not 0: MSI-X)."""
UNMAP_PIRQ: Final = struct.Struct("<Hxxi")
"""physdev_unmap_pirq: domid, pirq."""
