"""What the scoreboard allows a frame of a chain while the switch is being changed."""

from __future__ import annotations

from tb.uvm.expectation import Fate, SentFrame

LINE, BOTH, INSIDE = Fate(True, frozenset()), Fate(True, frozenset({0})), Fate(False, frozenset({0}))


def test_a_change_counts_for_what_the_switch_has_not_judged() -> None:
    waiting, leaving, inside = SentFrame(bytes(142), [LINE]), SentFrame(bytes(142), [LINE]), SentFrame(bytes(142), [INSIDE])
    leaving.started = True
    inside.handed_over = True
    for frame in (waiting, leaving, inside):
        frame.allow(BOTH)
    assert (waiting.fates, leaving.fates, inside.fates) == ([LINE, BOTH], [LINE], [INSIDE])
    # of a broadcast chain, the next frame is the one that is handed over
    assert next(f for f in (leaving, waiting) if f.may_stay()) is waiting


def test_only_what_goes_nowhere_else_may_start_or_stay() -> None:
    frame = SentFrame(bytes(60), [LINE, INSIDE])
    assert frame.may_start() and frame.may_stay() and not frame.done()
    frame.started = True
    assert not frame.may_start() and not frame.may_stay()
    frame.on_wire = True
    assert frame.done()
    frame = SentFrame(bytes(60), [LINE, INSIDE])
    frame.handed_over = True
    assert not frame.may_start() and frame.done()
    frame = SentFrame(bytes(60), [BOTH])
    frame.started = frame.on_wire = True
    assert frame.may_stay() and not frame.done()
