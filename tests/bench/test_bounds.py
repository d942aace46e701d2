"""The computed bounds against published arithmetic and against counts made by hand."""

from __future__ import annotations

import pytest

from tb.bench.bounds import bus_mpps, frame_rate, tag_mpps, wire_gbps, wire_mpps


def test_wire_against_published_figures() -> None:
    # 10GbE: 14.88 Mpps at 64 bytes with FCS, 0.813 Mpps at 1518; 9.84 and 9.97 Gb/s of 1514- and 9014-byte frames
    assert wire_mpps(60) == pytest.approx(14.88, abs=0.005)
    assert wire_mpps(1514) == pytest.approx(0.813, abs=0.0005)
    assert wire_gbps(1514) == pytest.approx(9.84, abs=0.005)
    assert wire_gbps(9014) == pytest.approx(9.97, abs=0.005)


def test_shorter_frames_are_padded() -> None:
    assert wire_mpps(14) == wire_mpps(60)


def test_tags() -> None:
    # 15 tags at 550 ns: 27.3 M reads a second, of which 16 in 17 are payload
    assert tag_mpps(550) == pytest.approx(27.27 * 16 / 17, abs=0.01)


def test_bus_by_hand() -> None:
    down, up = bus_mpps(60)
    # down: 3 DW of header and 15 of data are 9 beats, 1 of framing; 67 DW are 34 beats and 1, for 16 frames
    assert down == pytest.approx(250 * 32 / 33 / (10 + 35 / 16))
    # up: 4 DW are 2 beats and 1, 17 reads for 16 frames; a completion write of 8 entries has 36 DW: 18 beats and 1
    assert up == pytest.approx(250 * 32 / 33 / (3 * 17 / 16 + 19 / 8))


def test_the_lowest_limit_binds_and_is_named() -> None:
    assert frame_rate(60, 550).binds.startswith("wire ")
    slow = frame_rate(60, 4000)
    assert slow.binds.startswith("15 tags at 4000 ns ")
    assert slow.value == tag_mpps(4000)
