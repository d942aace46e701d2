"""The daemon behind a ring page: parts, wrap, back-pressure, reconnection, and pages of nonsense."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypervisor_model.xenstore.daemon import XenstoreDaemon
from hypervisor_model.xenstore.quotas import Quotas
from tests.xen.store_support import (
    CONNECTION,
    DIRECTORY,
    END,
    ERROR_WORD,
    FEATURES,
    READ,
    REQ_CONS,
    REQ_PROD,
    RSP_CONS,
    RSP_PROD,
    START,
    WATCH,
    WRITE,
    Raw,
    put_word,
    word,
)

OK = b"OK\0"


def owner(daemon: XenstoreDaemon, domid: int, start: int = 0) -> Raw:
    daemon.local.mkdir(f"/local/domain/{domid}")
    daemon.local.set_permissions(f"/local/domain/{domid}", f"n{domid}")
    return Raw(daemon, domid, start)


def request(kind: int, payload: bytes, number: int = 1) -> bytes:
    return struct.pack("<IIII", kind, number, 0, len(payload)) + payload


@pytest.mark.parametrize("start", [0, 1, 1009, 1023, 0xFFFF_FFFF, 0xFFFF_FE00])
def test_long_messages_wrap(start: int) -> None:
    daemon = XenstoreDaemon(Quotas(node_bytes=8192))
    one = owner(daemon, 1, start)
    rng = random.Random(start)
    for size in (4096 - 2, 1024, 1023, 1025, 4000, 16, 1008, 1007, 1006, 0, 2000):
        value = rng.randbytes(size)
        assert one.ask(WRITE, b"a\0" + value) == OK
        assert one.ask(READ, b"a\0") == value
    assert word(one.page, ERROR_WORD) == 0


def test_every_split_of_a_request() -> None:
    daemon = XenstoreDaemon()
    one = owner(daemon, 1)
    data = request(WRITE, b"key\0value")
    for cut in range(1, len(data)):
        one.put(data[:cut])
        assert one.messages() == []
        one.put(data[cut:])
        assert one.messages() == [(WRITE, 1, 0, OK)]
        assert daemon.local.read("/local/domain/1/key") == "value"
        daemon.local.remove("/local/domain/1/key")


def test_who_takes_no_replies_is_not_served_and_hears_once_what_repeats() -> None:
    daemon = XenstoreDaemon(Quotas(outstanding=3))
    one, two = owner(daemon, 1), owner(daemon, 2)
    daemon.local.write("/local/domain/1/a", "x" * 600)
    one.ask(WATCH, b"n\0t\0")
    one.heard()
    for n in range(10):
        one.put(request(READ, b"a\0", n))
    for _ in range(5):
        daemon.event(1)
    # one reply is in the ring, a part of the second, and two more are queued: the rest waits in the request ring
    consumed = word(one.page, REQ_CONS)
    assert (word(one.page, REQ_PROD) - consumed) // 18 == 6
    assert word(one.page, RSP_PROD) - word(one.page, RSP_CONS) == 1024
    for n in range(5):
        daemon.local.write("/local/domain/1/n", str(n))
        daemon.local.write("/local/domain/1/n/x", str(n))
    # others are served all the same
    assert two.ask(WRITE, b"b\0v") == OK
    messages = one.messages()
    assert [reply[1] for reply in messages if reply[1] or len(reply[3]) > 100] == list(range(10))
    assert [reply[3] for reply in messages if reply[0] == 15] == [b"n\0t\0", b"n/x\0t\0"]


def test_special_events_all_count_though_they_wait_and_look_alike() -> None:
    daemon = XenstoreDaemon()
    daemon.local.set_permissions("@releaseDomain", "n0", "r1")
    one = owner(daemon, 1)
    token = "t" * 600
    one.ask(WATCH, b"@releaseDomain\0" + token.encode() + b"\0")
    one.ask(WATCH, b"a\0" + token.encode() + b"\0")
    one.heard()
    for domid in range(2, 7):
        Raw(daemon, domid)
        daemon.release(domid)
        daemon.local.write("/local/domain/1/a", "v")
    heard = one.heard()
    assert heard.count(("@releaseDomain", token)) == 5 and heard.count(("a", token)) < 5


def test_events_for_who_never_reads_are_bounded() -> None:
    daemon = XenstoreDaemon(Quotas(queued_bytes=5000))
    one = owner(daemon, 1)
    one.ask(WATCH, b"/local/domain/1\0t\0")
    for n in range(2000):
        daemon.local.write(f"/local/domain/1/n{n}", "")
    heard = one.heard()
    assert 5000 // 45 < len(heard) <= (1024 + 5000) // 35
    assert heard[1:4] == [(f"/local/domain/1/n{n}", "t") for n in range(3)]
    assert one.ask(WRITE, b"n1999\0again") == OK
    assert one.heard() == [("/local/domain/1/n1999", "t")]


@pytest.mark.parametrize(("at", "value"), [(REQ_PROD, 1025), (REQ_CONS, 1), (RSP_PROD, 1 << 31), (RSP_CONS, 1)])
def test_impossible_indices_stop_the_connection(at: int, value: int) -> None:
    daemon = XenstoreDaemon()
    one, two = owner(daemon, 1), owner(daemon, 2)
    one.ask(WATCH, b"x\0t\0")
    one.heard()
    open_transaction = int(one.ask(START)[:-1])
    put_word(one.page, at, word(one.page, at) + value)
    notified = one.notified
    # a response index is looked at when there is something to say
    daemon.local.write("/local/domain/1/x", "v")
    daemon.event(1)
    assert word(one.page, ERROR_WORD) == 2 and one.notified > notified
    notified = one.notified
    before = bytes(one.page)
    daemon.local.write("/local/domain/1/x", "w")
    daemon.event(1)
    assert bytes(one.page) == before and one.notified == notified, "nobody touches a stopped page"
    assert daemon.watches_of(1) == 0 and daemon.is_introduced(1)
    assert two.ask(WRITE, b"b\0v") == OK
    # it can begin anew
    put_word(one.page, CONNECTION, 1)
    assert one.messages() == []
    assert (word(one.page, CONNECTION), word(one.page, ERROR_WORD)) == (0, 0)
    assert [word(one.page, index) for index in (REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD)] == [0] * 4
    assert one.ask(READ, b"x\0") == b"w" and one.ask(END, b"T\0", open_transaction) == b"ENOENT"


def test_payload_too_long_stops_the_connection() -> None:
    daemon = XenstoreDaemon()
    one, two = owner(daemon, 1), owner(daemon, 2)
    assert one.ask(WRITE, b"a\0" + bytes(4094)) == b"ENOSPC"
    one.put(struct.pack("<IIII", WRITE, 1, 0, 4097))
    assert one.messages() == [] and word(one.page, ERROR_WORD) == 3
    one.put(request(READ, b"a\0"))
    assert one.messages() == []
    assert two.ask(READ, b"a\0") == b"ENOENT"


def test_reconnection_drops_what_was_under_way() -> None:
    daemon = XenstoreDaemon()
    one = owner(daemon, 1, 500)
    one.ask(WATCH, b"a\0t\0")
    one.heard()
    one.put(request(WRITE, b"a\0long value")[:20])
    one.messages()
    daemon.local.write("/local/domain/1/b", "x" * 2000)
    one.put(request(READ, b"b\0")[:10])
    put_word(one.page, CONNECTION, 1)
    notified = one.notified
    assert one.messages() == [] and one.notified == notified + 1
    assert word(one.page, REQ_PROD) == 0 and word(one.page, FEATURES) == 3
    daemon.local.write("/local/domain/1/a", "v")
    assert one.messages() == [], "its watches are gone"
    assert one.ask(READ, b"a\0") == b"v"


def test_introduced_again_with_another_page() -> None:
    daemon = XenstoreDaemon()
    one = owner(daemon, 1)
    one.ask(WATCH, b"a\0t\0")
    one.heard()
    # what was half-way out begins again on the new page
    daemon.local.write("/local/domain/1/b", "x" * 1500)
    one.put(request(READ, b"b\0", 77))
    daemon.event(1)
    one.page = memoryview(bytearray(4096))
    calls: list[int] = []
    daemon.introduce(1, one.page, lambda: calls.append(1))
    assert one.messages() == [(READ, 77, 0, b"x" * 1500)] and calls
    daemon.local.write("/local/domain/1/a", "v")
    assert one.heard() == [("a", "t")]
    # a connection that was stopped is served again
    one.put(struct.pack("<IIII", WRITE, 1, 0, 4097))
    assert one.messages() == [] and word(one.page, ERROR_WORD) == 3
    one.page = memoryview(bytearray(4096))
    daemon.introduce(1, one.page, lambda: None)
    assert one.ask(READ, b"a\0") == b"v" and word(one.page, ERROR_WORD) == 0
    daemon.release(1)
    daemon.event(1)
    daemon.event(77)


def test_requests_that_wait_when_a_domain_is_introduced() -> None:
    daemon = XenstoreDaemon()
    page = memoryview(bytearray(4096))
    data = request(DIRECTORY, b"/\0")
    page[: len(data)] = data
    put_word(page, REQ_PROD, len(data))
    daemon.introduce(1, page, lambda: None)
    assert word(page, REQ_CONS) == len(data) and bytes(page[1024:1028]) == b"\x10\0\0\0"


WORDS = st.one_of(st.integers(0, 1 << 11), st.integers(0, (1 << 32) - 1), st.sampled_from([0, 1023, 1024, 1025]))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    rounds=st.lists(
        st.tuples(
            st.lists(st.tuples(st.integers(0, 2200), st.binary(min_size=1, max_size=40)), max_size=6),
            st.lists(st.tuples(st.integers(REQ_CONS, ERROR_WORD + 4), WORDS), max_size=4),
            st.booleans(),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_nonsense_in_the_page_hurts_nobody_else(
    rounds: list[tuple[list[tuple[int, bytes]], list[tuple[int, int]], bool]],
) -> None:
    daemon = XenstoreDaemon()
    bad, good = owner(daemon, 1), owner(daemon, 2)
    good.ask(WATCH, b"k\0t\0")
    good.heard()
    for n, (scribbles, words, reconnect) in enumerate(rounds):
        if reconnect:
            put_word(bad.page, CONNECTION, 1)
            daemon.event(1)
        for at, data in scribbles:
            bad.page[at : at + len(data)] = data
        for at, value in words:
            put_word(bad.page, at, value)
        daemon.event(1)
        daemon.event(1)
        text = b"%d" % n
        assert good.ask(WRITE, b"k\0" + text) == OK and good.ask(READ, b"k\0") == text
        assert good.heard() == [("k", "t")]
        assert word(good.page, ERROR_WORD) == 0


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 24),
            st.integers(0, 3),
            st.one_of(
                st.binary(max_size=60),
                st.lists(
                    st.sampled_from(
                        [b"/", b"k", b"/local/domain/2", b"/local/domain/2/k", b"@releaseDomain", b"T", b"2", b"n1", b""]
                    ),
                    max_size=3,
                ).map(lambda parts: b"".join(part + b"\0" for part in parts)),
            ),
        ),
        max_size=40,
    )
)
def test_well_framed_nonsense_is_answered_and_reaches_nobody(requests: list[tuple[int, int, bytes]]) -> None:
    daemon = XenstoreDaemon()
    bad, good = owner(daemon, 1), owner(daemon, 2)
    assert good.ask(WRITE, b"k\0mine") == OK
    for kind, transaction, payload in requests:
        bad.ask(kind, payload, transaction)
    assert word(bad.page, ERROR_WORD) == 0
    assert good.ask(READ, b"k\0") == b"mine" and good.ask(DIRECTORY, b"/local/domain/2\0") == b"k\0"
    assert daemon.is_introduced(2) and daemon.local.permissions("/local/domain/2/k") == ["n2"]
