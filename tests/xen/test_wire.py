"""Numbers and layouts, against tables restated from Xen's public headers."""

from __future__ import annotations

import struct

import pytest

from hypervisor_model.xenstore.daemon import XenstoreDaemon
from sw.xen.io import xenbus, xs_wire
from tests.xen.store_support import CONNECTION, ERROR_WORD, FEATURES, Raw, word

TYPES = {
    "control": 0, "directory": 1, "read": 2, "get_perms": 3, "watch": 4, "unwatch": 5, "transaction_start": 6,
    "transaction_end": 7, "introduce": 8, "release": 9, "get_domain_path": 10, "write": 11, "mkdir": 12, "rm": 13,
    "set_perms": 14, "watch_event": 15, "error": 16, "is_domain_introduced": 17, "resume": 18, "set_target": 19,
    "restrict": 20, "reset_watches": 21, "directory_part": 22,
}
STATES = ["unknown", "initialising", "init_wait", "initialised", "connected", "closing", "closed", "reconfiguring",
          "reconfigured"]
ERRORS = [
    "EINVAL", "EACCES", "EEXIST", "EISDIR", "ENOENT", "ENOMEM", "ENOSPC", "EIO", "ENOTEMPTY", "ENOSYS", "EROFS", "EBUSY",
    "EAGAIN", "EISCONN", "E2BIG", "EPERM",
]


def test_numbers() -> None:
    assert {kind.name.lower(): kind.value for kind in xs_wire.MessageType} == TYPES
    assert [state.name.lower() for state in xenbus.XenbusState] == STATES
    assert [state.value for state in xenbus.XenbusState] == list(range(9))
    assert [str(error) for error in xs_wire.Error] == ERRORS
    assert (xs_wire.PAYLOAD_MAX, xs_wire.ABS_PATH_MAX, xs_wire.REL_PATH_MAX) == (4096, 3072, 2048)


def test_ring_page() -> None:
    offsets = (
        xs_wire.REQUEST_RING, xs_wire.RESPONSE_RING, xs_wire.REQUEST_CONSUMER, xs_wire.REQUEST_PRODUCER,
        xs_wire.RESPONSE_CONSUMER, xs_wire.RESPONSE_PRODUCER, xs_wire.SERVER_FEATURES, xs_wire.CONNECTION,
        xs_wire.ERROR_INDICATOR, xs_wire.INTERFACE_BYTES,
    )
    assert offsets == (0, 1024, 2048, 2052, 2056, 2060, 2064, 2068, 2072, 2076)
    assert xs_wire.RING_BYTES == 1024
    raw = Raw(XenstoreDaemon(), 3)
    assert (word(raw.page, FEATURES), word(raw.page, CONNECTION), word(raw.page, ERROR_WORD)) == (3, 0, 0)
    with pytest.raises(ValueError, match="2076 writable bytes"):
        XenstoreDaemon().introduce(1, memoryview(bytearray(2075)), lambda: None)


def test_message() -> None:
    message = xs_wire.Message(11, 0x01020304, 5, b"a\0b")
    assert message.encode() == bytes.fromhex("0b000000 04030201 05000000 03000000") + b"a\0b"


def test_byte_ring_wraps() -> None:
    page = memoryview(bytearray(4096))
    for at in (2048, 2052):
        struct.pack_into("<I", page, at, 0xFFFF_FFF0)
    ring = xs_wire.ByteRing.requests(page)
    data = bytes(n % 251 for n in range(1024))
    assert ring.put(data + b"more") == 1024 and ring.free() == 0
    assert word(page, 2052) == 1024 - 16
    # byte x of the stream lies at x modulo 1024
    assert bytes(page[1008:1024]) == data[:16] and bytes(page[0:1008]) == data[16:]
    assert ring.take(1000) + ring.take(1000) == data and ring.used() == 0
    struct.pack_into("<I", page, 2052, word(page, 2048) + 1025)
    with pytest.raises(xs_wire.RingIndexError, match="1025"):
        ring.take(1)


@pytest.mark.parametrize(("text", "state"), [("4", 4), (None, 0), ("", 0), ("9", 0), ("-1", 0), ("x", 0), ("4\0", 0)])
def test_state_of_nonsense_is_unknown(text: str | None, state: int) -> None:
    assert xenbus.parse_state(text) == state
