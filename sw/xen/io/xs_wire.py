"""xenstore's wire: message header, types, errors, and the page of two byte rings between a domain and the daemon.

Source: Xen `xen/include/public/io/xs_wire.h`, `docs/misc/xenstore.txt`, `docs/misc/xenstore-ring.txt` (values restated).
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag, StrEnum
from typing import Final, NamedTuple

HEADER: Final = struct.Struct("<IIII")
"""type, request id, transaction id, bytes of payload."""
PAYLOAD_MAX: Final = 4096
ABS_PATH_MAX: Final = 3072
REL_PATH_MAX: Final = 2048
"""Of a path relative to /local/domain/<domid>/."""

RING_BYTES: Final = 1024
REQUEST_RING: Final = 0
RESPONSE_RING: Final = 1024
REQUEST_CONSUMER: Final = 2048
REQUEST_PRODUCER: Final = 2052
RESPONSE_CONSUMER: Final = 2056
RESPONSE_PRODUCER: Final = 2060
SERVER_FEATURES: Final = 2064
CONNECTION: Final = 2068
ERROR_INDICATOR: Final = 2072
INTERFACE_BYTES: Final = 2076
"""Bytes of struct xenstore_domain_interface; the rest of the page is unused."""
WORD: Final = struct.Struct("<I")
_INDEX_MASK: Final = (1 << 32) - 1


class MessageType(IntEnum):
    """enum xsd_sockmsg_type."""

    CONTROL = 0
    DIRECTORY = 1
    READ = 2
    GET_PERMS = 3
    WATCH = 4
    UNWATCH = 5
    TRANSACTION_START = 6
    TRANSACTION_END = 7
    INTRODUCE = 8
    RELEASE = 9
    GET_DOMAIN_PATH = 10
    WRITE = 11
    MKDIR = 12
    RM = 13
    SET_PERMS = 14
    WATCH_EVENT = 15
    ERROR = 16
    IS_DOMAIN_INTRODUCED = 17
    RESUME = 18
    SET_TARGET = 19
    RESTRICT = 20
    RESET_WATCHES = 21
    DIRECTORY_PART = 22


class Error(StrEnum):
    """Payload of an ERROR reply, without its final zero byte: the names in xsd_errors."""

    EINVAL = "EINVAL"
    EACCES = "EACCES"
    EEXIST = "EEXIST"
    EISDIR = "EISDIR"
    ENOENT = "ENOENT"
    ENOMEM = "ENOMEM"
    ENOSPC = "ENOSPC"
    EIO = "EIO"
    ENOTEMPTY = "ENOTEMPTY"
    ENOSYS = "ENOSYS"
    EROFS = "EROFS"
    EBUSY = "EBUSY"
    EAGAIN = "EAGAIN"
    EISCONN = "EISCONN"
    E2BIG = "E2BIG"
    EPERM = "EPERM"


class ServerFeature(IntFlag):
    """Bits of the server-features word."""

    RECONNECTION = 1
    ERROR = 2
    """The error indicator is valid."""


class ConnectionState(IntEnum):
    """Value of the connection word."""

    CONNECTED = 0
    RECONNECT = 1
    """Set by the guest: it asks for empty rings and a connection without watches or transactions."""


class ConnectionError_(IntEnum):
    """Value of the error indicator: why the daemon has stopped talking to this domain."""

    NONE = 0
    COMM = 1
    RING_INDEX = 2
    PROTOCOL = 3
    """A payload above PAYLOAD_MAX."""


class RingIndexError(ValueError):
    """Producer and consumer are further apart than the ring is long."""


class PayloadTooLongError(ValueError):
    """A header announces more than PAYLOAD_MAX bytes."""


class Message(NamedTuple):
    """One request, reply or event. `type` may be any 32-bit number until it is checked."""

    type: int
    request: int
    transaction: int
    payload: bytes

    def encode(self) -> bytes:
        """Header and payload."""
        return HEADER.pack(self.type, self.request, self.transaction, len(self.payload)) + self.payload


class ByteRing:
    """One of the two rings of a page. Indices run freely modulo 2^32; each side reads the other's anew each time."""

    def __init__(self, page: memoryview, data: int, consumer: int, producer: int) -> None:
        """`data`, `consumer` and `producer` are byte offsets in the page."""
        self._page = page
        self._data = data
        self._consumer = consumer
        self._producer = producer

    @classmethod
    def requests(cls, page: memoryview) -> ByteRing:
        """From the domain to the daemon."""
        return cls(page, REQUEST_RING, REQUEST_CONSUMER, REQUEST_PRODUCER)

    @classmethod
    def responses(cls, page: memoryview) -> ByteRing:
        """From the daemon to the domain."""
        return cls(page, RESPONSE_RING, RESPONSE_CONSUMER, RESPONSE_PRODUCER)

    def used(self) -> int:
        """Bytes produced and not consumed. Raises `RingIndexError`."""
        used = self._word(self._producer) - self._word(self._consumer) & _INDEX_MASK
        if used > RING_BYTES:
            raise RingIndexError(f"ring holds {used} bytes by its indices: at most {RING_BYTES} fit")
        return used

    def free(self) -> int:
        """Bytes that can be produced. Raises `RingIndexError`."""
        return RING_BYTES - self.used()

    def take(self, limit: int) -> bytes:
        """Consume up to `limit` bytes. Raises `RingIndexError`."""
        size = min(limit, self.used())
        index = self._word(self._consumer)
        first = index % RING_BYTES
        straight = min(size, RING_BYTES - first)
        at = self._data
        data = bytes(self._page[at + first : at + first + straight]) + bytes(self._page[at : at + size - straight])
        WORD.pack_into(self._page, self._consumer, index + size & _INDEX_MASK)
        return data

    def put(self, data: bytes) -> int:
        """Produce as many bytes as there is room for; how many. Raises `RingIndexError`."""
        size = min(len(data), self.free())
        index = self._word(self._producer)
        first = index % RING_BYTES
        straight = min(size, RING_BYTES - first)
        at = self._data
        self._page[at + first : at + first + straight] = data[:straight]
        self._page[at : at + size - straight] = data[straight:size]
        # The index last: bytes below it must be there.
        WORD.pack_into(self._page, self._producer, index + size & _INDEX_MASK)
        return size

    def empty(self) -> None:
        """Back to the start, with nothing inside."""
        WORD.pack_into(self._page, self._consumer, 0)
        WORD.pack_into(self._page, self._producer, 0)

    def _word(self, at: int) -> int:
        return int(WORD.unpack_from(self._page, at)[0])


class MessageReader:
    """Puts messages together from a ring that may hold only a part of one."""

    def __init__(self, ring: ByteRing) -> None:
        self._ring = ring
        self._header = b""
        self._payload = b""

    def read(self) -> Message | None:
        """The next message; None until it is whole. Raises `RingIndexError`, `PayloadTooLongError`."""
        if len(self._header) < HEADER.size:
            self._header += self._ring.take(HEADER.size - len(self._header))
            if len(self._header) < HEADER.size:
                return None
        kind, request, transaction, size = HEADER.unpack(self._header)
        if size > PAYLOAD_MAX:
            raise PayloadTooLongError(f"payload of {size} bytes: at most {PAYLOAD_MAX}")
        self._payload += self._ring.take(size - len(self._payload))
        if len(self._payload) < size:
            return None
        message = Message(kind, request, transaction, self._payload)
        self.forget()
        return message

    def forget(self) -> None:
        """Drop what has been read of an unfinished message."""
        self._header = self._payload = b""
