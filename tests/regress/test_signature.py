"""What failed in one line: the same for the same reason, another for another."""

from __future__ import annotations

import pytest

from tb.regress.signature import LENGTH, first_line, masked, reason_of, signature


@pytest.mark.parametrize(("one", "other"), [
    ("AssertionError: guest 0 frame 17", "AssertionError: guest 3 frame 2"),
    ("assert 5 == 1_000", "assert 12 == 7.25"),
    ("MMIO read at 0xfe001000: no answer", "MMIO read at 0x8: no answer"),
    ("endpoint12: 4,096 bytes", "endpoint3: 60 bytes"),
    ("/srv/a/tests/x.py: seed 4", "/home/b/x.py: seed 9"),
    ("got b'\\x00abc' not", "got b'' not"),
    ("differs: ff6d5046fccbb837", "differs: 00af5046fccbb8aa"),
    ("a  b", "a b"),
])  # fmt: skip
def test_what_differs_from_run_to_run_is_masked(one: str, other: str) -> None:
    assert masked(one) == masked(other)


@pytest.mark.parametrize(("one", "other"), [
    ("AssertionError: guest 0", "AssertionError: endpoint 0"),
    ("myr_top.nic.u_fetch: assertion", "myr_top.nic.u_send: assertion"),
    ("no answer at 0x10", "answer at 0x10"),
    ("facade beaded", "decade faced"),
])  # fmt: skip
def test_words_and_modules_stay(one: str, other: str) -> None:
    assert masked(one) != masked(other)


def test_the_place_is_part_of_it_and_the_first_line_alone_counts() -> None:
    assert signature("tests.a.run", "\n frame 3 is late \n more") == "tests.a.run: frame # is late"
    assert signature("tests.a.run", "x") != signature("tests.b.run", "x")
    assert first_line("") == ""
    assert len(masked("word " * 100)) <= LENGTH


def test_the_hardwares_words_come_first_then_a_tests_then_the_logs_then_the_status() -> None:
    log = "start\n%Error: myr_nic.sv:12: Assertion failed in myr_top.nic\nValueError: later\n"
    said = ("myr_nic.sv:12: Assertion failed in myr_top.nic", "another")
    assert reason_of({"t.one": None, "t.two": "late"}, said, log, 0) == ("t.two", said[0])
    assert reason_of({"t.one": None}, said, log, 0) == ("", said[0])
    assert reason_of({"t.one": None, "t.two": "late"}, (), log, 0) == ("t.two", "late")
    assert reason_of({"t.one": None}, (), log, 1) == ("", "%Error: myr_nic.sv:12: Assertion failed in myr_top.nic")
    assert reason_of({}, (), "nothing here\n", 139) == ("", "ended with status 139 and no result")
