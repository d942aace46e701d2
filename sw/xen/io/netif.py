"""Network interface rings: messages, flags, status. Source: Xen `xen/include/public/io/netif.h` (values restated)."""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import Final

TX_REQUEST: Final = struct.Struct("<IHHHH")
"""netif_tx_request: gref, offset, flags, id, size (of the packet in its first request, else of the slot): 12 bytes."""
TX_RESPONSE: Final = struct.Struct("<Hh")
"""netif_tx_response: id, status: 4 bytes."""
RX_REQUEST: Final = struct.Struct("<HxxI")
"""netif_rx_request: id, gref: 8 bytes."""
RX_RESPONSE: Final = struct.Struct("<HHHh")
"""netif_rx_response: id, offset, flags, status (0 or more: bytes): 8 bytes."""
EXTRA: Final = struct.Struct("<BB6s")
"""netif_extra_info: type, flags, what the type says: 8 bytes."""
EXTRA_GSO: Final = struct.Struct("<BBHBBH")
"""netif_extra_info of type GSO: type, flags, segment payload, GSO type, padding, features: 8 bytes."""
EXTRA_MCAST: Final = struct.Struct("<BB6s")
"""netif_extra_info of types MCAST_ADD and MCAST_DEL: type, flags, group address: 8 bytes."""
EXTRA_HASH: Final = struct.Struct("<BBBB4s")
"""netif_extra_info of type HASH: type, flags, hash type, algorithm, value: 8 bytes."""
TX_SLOT_BYTES: Final = TX_REQUEST.size
RX_SLOT_BYTES: Final = RX_RESPONSE.size
MAX_SLOTS: Final = 18
"""XEN_NETIF_NR_SLOTS_MIN: slots of a packet that every back end takes, its extra infos not counted."""
MAX_TX_BYTES: Final = 0xFFFF
"""XEN_NETIF_MAX_TX_SIZE: bytes of a packet."""


class TxFlag(IntFlag):
    """NETTXF of a request."""

    CSUM_BLANK = 1
    """The transport checksum field holds the pseudo-header's sum only."""
    DATA_VALIDATED = 2
    MORE_DATA = 4
    """The packet goes on in the next request."""
    EXTRA_INFO = 8
    """An extra info follows in the next slot."""


class RxFlag(IntFlag):
    """NETRXF of a response."""

    DATA_VALIDATED = 1
    CSUM_BLANK = 2
    MORE_DATA = 4
    EXTRA_INFO = 8
    GSO_PREFIX = 16


class NetifStatus(IntEnum):
    """NETIF_RSP."""

    DROPPED = -2
    ERROR = -1
    OKAY = 0
    NULL = 1
    """Answers an extra info."""


class ExtraType(IntEnum):
    """XEN_NETIF_EXTRA_TYPE."""

    NONE = 0
    GSO = 1
    MCAST_ADD = 2
    MCAST_DEL = 3
    HASH = 4
    XDP = 5


EXTRA_MORE: Final = 1
"""XEN_NETIF_EXTRA_FLAG_MORE: another extra info follows."""


class GsoType(IntEnum):
    """XEN_NETIF_GSO_TYPE."""

    NONE = 0
    TCPV4 = 1
    TCPV6 = 2
