"""PCI configuration space, as far as software here uses it. Source: PCI Local Bus 3.0 chapter 6, SR-IOV 1.1 chapter 3."""

from __future__ import annotations

from typing import Final

VENDOR_MYRICOM: Final = 0x14C1
DEVICE_MYRI10G: Final = 0x0008

# Byte offsets of a type 0 header.
VENDOR_ID: Final = 0x00
DEVICE_ID: Final = 0x02
COMMAND: Final = 0x04
STATUS: Final = 0x06
REVISION: Final = 0x08
"""The class code fills the three bytes above it."""
BAR0: Final = 0x10
CAPABILITIES: Final = 0x34
BARS: Final = 6
BAR_BYTES: Final = 4
CONFIG_BYTES: Final = 4096
"""Of a PCI Express function."""

COMMAND_MEMORY: Final = 1 << 1
COMMAND_MASTER: Final = 1 << 2
COMMAND_INTX_DISABLE: Final = 1 << 10
STATUS_CAPABILITIES: Final = 1 << 4
BAR_64_BIT: Final = 0x4
BAR_PREFETCHABLE: Final = 0x8
BAR_FLAGS_M: Final = 0xF
BAR_TYPE_M: Final = 0x6

MAX_CAPABILITIES: Final = 48
"""As many fit: a list that is longer is a loop."""
CAP_PCIE: Final = 0x10
CAP_MSIX: Final = 0x11
CAP_NEXT_M: Final = 0xFC

# Byte offsets from an MSI-X capability.
MSIX_CONTROL: Final = 0x02
MSIX_TABLE: Final = 0x04
MSIX_PBA: Final = 0x08
MSIX_ENABLE: Final = 1 << 15
"""Bits of the control word."""
MSIX_FUNCTION_MASK: Final = 1 << 14
MSIX_SIZE_M: Final = 0x7FF
"""Entries of the table less one."""
MSIX_BIR_M: Final = 0x7
"""Of table and PBA: the BAR; the rest is the offset in it."""


def slot(requester: int) -> str:
    """A requester ID (or 32-bit segment, bus, device, function) as `lspci -D` writes it: 0000:01:00.1."""
    return f"{requester >> 16:04x}:{requester >> 8 & 0xFF:02x}:{requester >> 3 & 0x1F:02x}.{requester & 7:x}"
