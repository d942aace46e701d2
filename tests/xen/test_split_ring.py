"""The shared ring: notifications against a brute-force oracle, no lost wake-up, and a peer that writes what it likes."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sw.guest.shared_ring import BackRing, FrontRing, RingBrokenError
from sw.xen.io.ring import must_notify

MASK = 0xFFFF_FFFF
REQ_PROD, REQ_EVENT, RSP_PROD, RSP_EVENT = 0, 4, 8, 12


def put(page: memoryview, at: int, value: int) -> None:
    struct.pack_into("<I", page, at, value & MASK)


def get(page: memoryview, at: int) -> int:
    return int(struct.unpack_from("<I", page, at)[0])


@given(st.integers(0, MASK), st.integers(0, 300), st.integers(-600, 600))
@example(MASK, 1, 1)
@example(0, 0, 0)
def test_notify_rule_is_that_the_producer_passes_the_event_index(old: int, count: int, distance: int) -> None:
    event = old + distance & MASK
    passed = any(old + n & MASK == event for n in range(1, count + 1))
    assert must_notify(old, old + count & MASK, event) is passed


class Pair:
    """Both ends of one ring, started at any index, and a count of what each owes the other."""

    def __init__(self, start: int, slot_bytes: int = 500) -> None:
        self.page = memoryview(bytearray(4096))
        self.front = FrontRing(self.page, slot_bytes)
        for at, value in ((REQ_PROD, start), (RSP_PROD, start), (REQ_EVENT, start + 1), (RSP_EVENT, start + 1)):
            put(self.page, at, value)
        self.front.produced = self.front.consumed = self.front._pushed = start & MASK
        self.back = BackRing(self.page, slot_bytes)


Step = Callable[[], None]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1 << 32), st.sampled_from([500, 1000]))
@example(1, 1000)
def test_no_wake_up_is_lost_and_none_is_for_nothing(seed: int, slot_bytes: int) -> None:
    """Producers and consumers in random order. A consumer that sleeps has armed; it wakes by a notification only, and at
    every moment a consumer that sleeps has fewer entries before it than it asked for."""
    rng = random.Random(seed)
    pair = Pair(rng.choice([0, MASK - 3, rng.getrandbits(32)]), slot_bytes)
    front, back = pair.front, pair.back
    asleep: dict[str, int] = {}
    sent = 0
    answered = 0
    expected = 0
    for _ in range(400):
        action = rng.choice(["put", "serve", "take", "sleep front", "sleep back"])
        if action == "put":
            for _ in range(rng.randint(0, front.free)):
                front.put(struct.pack("<I", sent))
                sent += 1
            notify = front.push()
            if "back" in asleep:
                wanted = back.requests() >= asleep["back"]
                assert notify is wanted, "a back end sleeps beside its work, or is woken for nothing"
                if notify:
                    del asleep["back"]
        elif action == "serve" and "back" not in asleep:
            for _ in range(rng.randint(0, back.requests())):
                number = struct.unpack_from("<I", back.peek())[0]
                assert back.take()[:4] == struct.pack("<I", number) and number == answered
                answered += 1
                back.put(struct.pack("<I", number ^ MASK))
            notify = back.push()
            if "front" in asleep:
                wanted = front.responses() >= asleep["front"]
                assert notify is wanted, "a front end sleeps beside its responses, or is woken for nothing"
                if notify:
                    del asleep["front"]
        elif action == "take" and "front" not in asleep:
            for _ in range(rng.randint(0, front.responses())):
                assert front.take()[:4] == struct.pack("<I", expected ^ MASK)
                expected += 1
        elif action == "sleep front" and "front" not in asleep:
            count = rng.randint(1, 4)
            there = front.responses()
            assert front.arm(count) is (there >= count)
            if there < count:
                asleep["front"] = count
        elif action == "sleep back" and "back" not in asleep:
            count = rng.randint(1, 4)
            there = back.requests()
            assert back.arm(count) is (there >= count)
            if there < count:
                asleep["back"] = count
    assert sent >= answered >= expected


def test_ends_do_not_run_past_each_other() -> None:
    pair = Pair(MASK)
    assert pair.front.entries == 8 and pair.front.free == 8
    for n in range(8):
        pair.front.put(bytes([n]))
    with pytest.raises(IndexError, match="full"):
        pair.front.put(b"x")
    assert pair.back.requests() == 0 and pair.front.responses() == 0
    pair.front.push()
    assert pair.back.requests() == 8
    with pytest.raises(IndexError, match="no request"):
        pair.back.put(b"x")
    for n in range(8):
        assert pair.back.take()[0] == n
        pair.back.put(bytes([n]))
    assert pair.front.responses() == 0 and pair.front.free == 0
    pair.back.push()
    assert pair.front.responses() == 8 and pair.front.take()[0] == 0 and pair.front.free == 1


@pytest.mark.parametrize("jump", [9, 256, 1 << 31, MASK])
def test_a_front_end_whose_index_jumps_breaks_the_ring_for_good(jump: int) -> None:
    pair = Pair(5)
    put(pair.page, REQ_PROD, 5 + jump)
    with pytest.raises(RingBrokenError, match="8 are possible"):
        pair.back.requests()
    put(pair.page, REQ_PROD, 5)
    for call in (pair.back.requests, pair.back.arm, pair.back.push):
        with pytest.raises(RingBrokenError):
            call()
    assert pair.back.broken


def test_requests_over_ones_that_wait_for_their_answer_break_the_ring() -> None:
    pair = Pair(0)
    put(pair.page, REQ_PROD, 8)
    for _ in range(3):
        pair.back.take()
    put(pair.page, REQ_PROD, 9)
    with pytest.raises(RingBrokenError, match="6 requests: 5"):
        pair.back.requests()


@pytest.mark.parametrize("jump", [2, 8, 1 << 31, MASK - 1])
def test_a_back_end_that_answers_more_than_was_asked_breaks_the_ring(jump: int) -> None:
    pair = Pair(0)
    pair.front.put(b"a")
    pair.front.put(b"b")
    pair.front.push()
    pair.front.put(b"not pushed")
    put(pair.page, RSP_PROD, 1)
    assert pair.front.responses() == 1
    put(pair.page, RSP_PROD, jump + 1)
    with pytest.raises(RingBrokenError, match="to 2 requests"):
        pair.front.responses()
    with pytest.raises(RingBrokenError):
        pair.front.push()


def test_a_back_end_that_comes_back_goes_on_where_the_answers_end() -> None:
    pair = Pair(1000)
    for _ in range(4):
        pair.front.put(b"x")
    pair.front.push()
    pair.back.take()
    pair.back.put(b"y")
    pair.back.push()
    again = BackRing(pair.page, 500)
    assert again.requests() == 3
    put(pair.page, REQ_PROD, 1000 + 10)
    with pytest.raises(RingBrokenError):
        BackRing(pair.page, 500)


def test_a_request_is_a_copy() -> None:
    pair = Pair(0)
    pair.front.put(b"before")
    pair.front.push()
    taken = pair.back.take()
    pair.page[64:70] = b"after!"
    assert taken[:6] == b"before"
