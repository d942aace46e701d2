"""The judge of `make sim` finds what it must find. CRCs are zlib's."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

import pytest

from tb.sim.verify import by_sender, check_all, check_sender


def wire(frame: bytes) -> bytes:
    padded = frame + bytes(max(0, 60 - len(frame)))
    return padded + zlib.crc32(padded).to_bytes(4, "little")


SENT = [bytes([n]) * (14 + 50 * n) for n in range(5)]


def test_good_frames_are_verified() -> None:
    check = check_sender(SENT, [wire(f) for f in SENT])
    assert (check.ok, check.sent, check.verified, check.sent_bytes) == (True, 5, 5, 5 * 14 + 50 * 10)


@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        (lambda w: w[:4], "frame 4: never left the wire"),
        (lambda w: [*w, w[0]], "frame 5: left the wire .64 bytes. and was never sent"),
        (lambda w: [w[0], w[2], w[1], *w[3:]], "frame 1: 114 bytes on the wire, 64 expected"),
        (lambda w: [w[0], w[1][:-1] + bytes([w[1][-1] ^ 1]), *w[2:]], "frame 1: FCS is"),
        (lambda w: [w[0][:59] + b"\x01" + w[0][60:], *w[1:]], "frame 0: byte 59 is 0x01, 0x00 was sent"),
        (lambda w: [w[0], w[0], *w[1:]], "frame 1: 60 bytes on the wire, 64 expected"),
    ],
)
def test_each_fault_is_found(spoil: Callable[[list[bytes]], list[bytes]], finding: str) -> None:
    check = check_sender(SENT, spoil([wire(f) for f in SENT]))
    assert not check.ok
    assert re.search(finding, check.findings[0]), check.findings


def test_a_frame_in_anothers_name_is_found_at_both() -> None:
    checks = check_all({0: SENT, 1: SENT}, [wire(f) for f in [*SENT, *SENT]], [0, 0, 0, 0, 1, 0, 1, 1, 1, 1])
    assert not checks[0].ok
    assert not checks[1].ok


def test_a_sender_that_sent_nothing_may_not_be_seen() -> None:
    checks = check_all({0: []}, [wire(SENT[0])], [7])
    assert not checks[7].ok


def test_frames_and_trace_must_agree_in_number() -> None:
    with pytest.raises(ValueError, match="2 frames left the wire, but the trace has 1"):
        by_sender([b"", b""], [0])
