"""The computed bounds against published arithmetic and against counts made by hand."""

from __future__ import annotations

import pytest

from tb.bench.bounds import bus_mpps, frame_rate, receive_mpps, receive_rate, tag_mpps, wire_gbps, wire_mpps


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


def test_receive_by_hand() -> None:
    # 60 bytes behind 2 of pad are 16 DWs: 20 with the header, 10 beats and 1; a read of 16 buffers is 3 beats; a
    # completion write of 8 entries is 18 beats and 1
    assert receive_mpps(60, 128, 2048) == pytest.approx(250 * 32 / 33 / (11 + 3 / 16 + 19 / 8))
    # 1514: 1516 bytes are 11 writes of 128 (18 + 1 beats) and one of 108 (15.5, so 16, + 1)
    assert receive_mpps(1514, 128, 2048) == pytest.approx(250 * 32 / 33 / (11 * 19 + 17 + 3 / 16 + 19 / 8))
    # 9014 in buffers of 4096: 32 writes, 32 writes, and 824 bytes: 6 of 128 and one of 56 (9 + 1 beats)
    assert receive_mpps(9014, 128, 4096) == pytest.approx(250 * 32 / 33 / (70 * 19 + 10 + 9 / 16 + 19 / 8))


def test_receive_is_bound_by_the_wire_or_the_bus() -> None:
    assert receive_rate(60, 128, 2048).binds.startswith("wire ")
    assert receive_rate(1514, 128, 2048).value == wire_mpps(1514)
