"""Text lanes: what GTKWave's filter gets, and TLP headers against the specification's own examples."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tb.waves.dump import Beat
from tb.waves.lane import Change, filter_text, lane, write_filter
from tb.waves.tlp_text import tlp_changes, tlp_text


def test_lanes_in_the_words_of_the_manual() -> None:
    first = lane("a", [Change(30, 40, "late", "red"), Change(10, 20, "early", "blue")])
    second = lane("b", [Change(10, 50, "long", "red"), Change(20, 30, "over it", "blue"), Change(30, 35, "next", "red")])
    assert filter_text([first, second]).splitlines() == [
        "$name a", "#0", "#10 ?blue?early", "#20", "#30 ?red?late", "#40",
        "$next", "$name b", "#0", "#10 ?red?long", "#20 ?blue?over it", "#30 ?red?next", "#35", "$finish",
    ]  # fmt: skip


def test_the_filter_answers_each_question_once(tmp_path: Path) -> None:
    lanes = [lane("it's a lane", [Change(0, 8, "text", "red")])]
    script = write_filter(lanes, tmp_path / "with space.sh")
    question = "$comment data_start 0x1 $end\n#0\n01\n$comment data_end 0x1 $end\n"
    answer = subprocess.run([script], input=question * 2, capture_output=True, text=True, check=True, timeout=10).stdout
    assert answer == filter_text(lanes) * 2


def dw(*octets: int) -> int:
    """A header DW: byte 0 in bits 31:24, as PCIe draws it."""
    return int.from_bytes(bytes(octets), "big")


@pytest.mark.parametrize(
    ("header", "text"),
    [
        # PCIe 3.0, figures 2-15 (64-bit) and 2-16 (32-bit memory request), 2-22 (completion), 2-17 (configuration)
        ((dw(0x20, 0, 0, 16), dw(1, 0x09, 5, 0xFF), 0x1, 0x2345_6000), "MRd64 64 B @0x123456000 be f/f by 01:01.1 tag 5"),
        ((dw(0x00, 0, 0, 1), dw(0, 0, 7, 0x03), 0xFEE0_0000, 0), "MRd32 4 B @0xfee00000 be 3/0 by 00:00.0 tag 7"),
        ((dw(0x60, 0, 0, 0), dw(2, 0x10, 9, 0xF8), 0x0, 0x1000), "MWr64 4096 B @0x1000 be 8/f by 02:02.0 tag 9"),
        ((dw(0x4A, 0, 0, 32), dw(0, 0, 0x01, 0x00), dw(1, 0x0A, 5, 0x40), 0), "CplD SC for 01:01.2 tag 5 128 B of 256 left"),
        ((dw(0x4A, 0, 0, 32), dw(0, 0, 0x00, 0x00), dw(1, 0x0A, 5, 0x40), 0), "CplD SC for 01:01.2 tag 5 128 B of 4096 left"),
        ((dw(0x0A, 0, 0, 0), dw(0, 0, 0x20, 0x04), dw(1, 0, 6, 0), 0), "Cpl UR for 01:00.0 tag 6"),
        ((dw(0x44, 0, 0, 1), dw(0, 0, 3, 0x0F), dw(1, 0x08, 0x00, 0x04), 0), "CfgWr0 01:01.0 reg 0x4 by 00:00.0 tag 3"),
        ((dw(0x7F, 0, 0, 1), 0, 0, 0), "TLP 7f?"),
    ],
)  # fmt: skip
def test_headers_by_the_specification(header: tuple[int, int, int, int], text: str) -> None:
    assert tlp_text(header[0] | header[1] << 32, header[2] | header[3] << 32)[0] == text


def test_a_tlp_lasts_from_its_first_beat_to_the_end_of_its_last() -> None:
    mrd = dw(0x00, 0, 0, 1) | dw(0, 0, 7, 0x0F) << 32
    beats = [Beat(4_000, mrd, False), Beat(12_000, 0x1000, True), Beat(16_000, mrd, False), Beat(20_000, 0, True)]
    changes = list(tlp_changes(beats))
    assert [(change.start_ps, change.end_ps) for change in changes] == [(4_000, 16_000), (16_000, 24_000)]
    assert changes[0].text == "MRd32 4 B @0x1000 be f/0 by 00:00.0 tag 7"
