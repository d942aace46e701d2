"""Lanes of traces written by hand: every cycle and moment is counted here."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from sw.abi.registers import Form, RxDrop, Status, TraceKind
from tb.ledger.decode import EndpointSetup
from tb.ledger.records import TRACE_DTYPE
from tb.waves.lane import Change, rows
from tb.waves.packet_lanes import (
    Ledger,
    PacketError,
    error_lanes,
    guest_lanes,
    interrupt_lanes,
    marks,
    packet_lanes,
    stage_lanes,
)
from tb.waves.setups import Life

K = TraceKind
Event = tuple[int, TraceKind, int, int, int]
"""cycle, kind, endpoint, index, info"""
PUSHED = EndpointSetup(Form.PUSHED, 16)
END = 1_000
"""Cycle in which the run ended."""


def send(first: int, endpoint: int = 2, head: int = 5, completion: int = 0) -> list[Event]:
    """An inline frame of one slot, its doorbell in cycle `first`."""
    return [
        (first, K.DOORBELL, endpoint, head, 1),
        (first + 4, K.GRANT, endpoint, head, 0),
        (first + 5, K.AUTHORISED, endpoint, head, 0),
        (first + 13, K.DATA_IN, endpoint, head, 0),
        (first + 16, K.WIRE_FIRST, endpoint, head, 0),
        (first + 30, K.WIRE_LAST, endpoint, head, 64),
        (first + 37, K.CPL_OUT, endpoint, completion, completion << 24 | 1),
        (first + 87, K.CPL_VISIBLE, endpoint + 1, completion, 16),
    ]


def ledger(*events: Event, lives: tuple[Life, ...] = (Life(2, 0, PUSHED),)) -> Ledger:
    return Ledger.of(np.array(sorted(events, key=lambda e: e[:2]), dtype=TRACE_DTYPE), lives, END)


def spans(changes: tuple[Change, ...]) -> list[tuple[float, float, str]]:
    """In cycles; a cycle c begins 2 ns before c * 4 ns."""
    return [((c.start_ps + 2_000) / 4_000, (c.end_ps + 2_000) / 4_000, c.text) for c in changes]


def test_the_life_of_a_packet() -> None:
    [lane] = packet_lanes(ledger(*send(100)), 0)
    assert lane.name == "packet 0 (endpoint 2)"
    assert spans(lane.changes) == [
        (100, 104, "#0 doorbell to grant"), (104, 105, "#0 authorise"), (105, 113, "#0 copy"), (113, 116, "#0 to wire"),
        (116, 130, "#0 on wire"), (130, 137, "#0 to completion"), (137, 187, "#0 completion visible"),
    ]  # fmt: skip
    assert all(one.colour != following.colour for one, following in pairwise(lane.changes))
    assert marks(ledger(*send(100)).packet(0)) == [("doorbell", 398_000), ("wire", 462_000)]


def test_a_frame_for_a_sibling_is_marked_where_it_is_handed_over_and_its_copy_is_shown() -> None:
    inside = [e for e in send(100) if e[1] not in (K.WIRE_FIRST, K.WIRE_LAST)]
    copy: list[Event] = [
        (115, K.RX_LOCAL, 2, 5, 77),
        (117, K.RX_GRANT, 3, 77, 60),
        (120, K.RX_WRITE, 3, 77, 0),
        (122, K.RX_DATA_OUT, 3, 77, 0),
        (126, K.RX_CPL_OUT, 3, 0, 0x80 << 24 | 1),
        (150, K.RX_CPL_VISIBLE, 4, 0x80, 16),
    ]
    # the same head again, in the next lap of its 16 bits
    again = [e for e in send(400, completion=1) if e[1] not in (K.WIRE_FIRST, K.WIRE_LAST)]
    later = [(cycle + 300, *event) for cycle, *event in copy]
    found = ledger(*inside, *copy, *again, *later)  # type: ignore[arg-type]
    own, at_sibling = packet_lanes(found, 0)
    assert spans(own.changes)[3:5] == [(113, 115, "#0 to switch"), (115, 137, "#0 delivery and completion")]
    assert at_sibling.name == "... at endpoint 3"
    assert spans(at_sibling.changes)[0] == (115, 117, "#0 to buffers")
    assert marks(found.packet(0)) == [("doorbell", 398_000), ("wire", 458_000)]


def test_packets_are_numbered_by_their_first_moments() -> None:
    found = ledger(*send(200, head=5), *send(150, 3, 0, 1), *send(300, head=6, completion=2),
                   lives=(Life(2, 0, PUSHED), Life(3, 0, PUSHED)))  # fmt: skip
    assert [(packet.endpoint, packet.head) for packet in found.packets] == [(3, 0), (2, 5), (2, 6)]
    assert found.packet(1).head == 5
    for number in (-1, 3):
        with pytest.raises(PacketError, match=f"PACKET={number}: this run has 3 packets, from 0"):
            found.packet(number)
    lanes = stage_lanes(found, ["on wire"])
    assert [(lane.name, [text for _, _, text in spans(lane.changes)]) for lane in lanes] == [
        ("endpoint 2", ["#1 on wire", "#2 on wire"]), ("endpoint 3", ["#0 on wire"])]  # fmt: skip


def test_what_was_under_way_is_shown_until_the_end_of_the_run() -> None:
    broken_off = [e for e in send(100) if e[0] <= 116]
    [lane] = packet_lanes(ledger(*broken_off), 0)
    assert spans(lane.changes)[-2:] == [(113, 116, "#0 to wire"), (116, END, "#0 on wire, no end")]
    assert ledger(*broken_off).left_out == []


def test_a_chain_whose_frame_nobody_gets_has_an_end() -> None:
    dropped = [e for e in send(100) if e[1] not in (K.WIRE_FIRST, K.WIRE_LAST)]
    [lane] = packet_lanes(ledger(*dropped), 0)
    assert spans(lane.changes)[-2:] == [(105, 113, "#0 copy"), (137, 187, "#0 completion visible")]


def test_an_endpoint_that_was_opened_anew_has_two_lives() -> None:
    """Its second life begins at slot 0 again, in another ring."""
    fetched: list[Event] = [
        (500, K.DOORBELL, 2, 1, 0), (505, K.FETCH_OUT, 2, 0, 1), (550, K.FETCH_BACK, 2, 0, 1), (553, K.GRANT, 2, 0, 0),
        (560, K.AUTHORISED, 2, 0, 0), (566, K.READ_OUT, 2, 0, 0), (610, K.DATA_IN, 2, 0, 0), (614, K.WIRE_FIRST, 2, 0, 0),
        (630, K.WIRE_LAST, 2, 0, 64), (640, K.CPL_OUT, 2, 0, 1 << 24 | 1), (690, K.CPL_VISIBLE, 3, 1, 16),
    ]  # fmt: skip
    again = Life(2, 500, EndpointSetup(Form.FETCHED, 32))
    found = ledger(*send(100), *fetched, lives=(Life(2, 0, PUSHED), again))
    assert found.left_out == [] and [packet.form for packet in found.packets] == ["inline", "fetched"]
    late = ledger(*send(100), *fetched, lives=(Life(2, 0, PUSHED), Life(2, 501, again.setup)))
    assert late.left_out == ["endpoint 2 chain 0: granted, but its descriptors were never rung"]


def test_a_story_that_does_not_hold_is_left_out_and_told() -> None:
    lost = [e for e in send(100) if e[1] != K.DOORBELL]
    found = ledger(*lost, *send(150, 3, 0, 1), lives=(Life(2, 0, PUSHED), Life(3, 0, PUSHED)))
    [why] = found.left_out
    assert [packet.endpoint for packet in found.packets] == [3]
    with pytest.raises(PacketError, match=f"this run has 1 packets, from 0; left out: {why}"):
        found.packet(7)


def test_failures_drops_and_interrupts() -> None:
    failed: list[Event] = [*send(100)[:3], (120, K.FAILED, 2, 5, Status.NOT_AUTHORISED), *send(100)[6:]]
    drops: list[Event] = [
        (200, K.RX_FIRST, 0, 9, 0), (209, K.RX_DROP, 0, 9, RxDrop.BAD_FCS), (220, K.RX_DROP, 4, 10, RxDrop.NO_BIG),
    ]  # fmt: skip
    irqs: list[Event] = [(300, K.IRQ_OUT, 2, 0, 0), (400, K.IRQ_OUT, 4, 0, 0), (420, K.IRQ_OUT, 2, 0, 0)]
    found = ledger(*failed, *drops, *irqs)
    assert [(lane.name, spans(lane.changes)) for lane in error_lanes(found)] == [
        ("endpoint 2", [(120, 136, "#0 NOT_AUTHORISED")]),
        ("endpoint 4", [(220, 236, "rx 10 NO_BIG")]),
        ("line", [(209, 225, "rx 9 BAD_FCS")]),
    ]
    assert [(lane.name, spans(lane.changes)) for lane in interrupt_lanes(found)] == [
        ("vector 2", [(300, 308, "interrupt 0"), (420, 428, "interrupt 2")]), ("vector 4", [(400, 408, "interrupt 1")])]  # fmt: skip
    by_guest = {endpoint: [lane.name for lane in lanes] for endpoint, lanes in guest_lanes(found)}
    assert by_guest == {2: ["send", "interrupt"], 4: ["interrupt"]}


def test_packets_of_a_guest_stand_in_rows_without_overlaps_from_their_grants_on() -> None:
    found = ledger(*send(100), *send(150, head=6, completion=1), *send(187, head=7, completion=2))
    [(endpoint, lanes)] = guest_lanes(found)
    assert endpoint == 2
    assert [(lane.name, [(s, t) for s, _, t in spans(lane.changes) if "authorise" in t]) for lane in lanes] == [
        ("send", [(104, "#0 authorise"), (191, "#2 authorise")]), ("send 2", [(154, "#1 authorise")])]  # fmt: skip
    assert not any("grant" in change.text for lane in lanes for change in lane.changes)


def test_rows_are_packed() -> None:
    first, second, third = Change(0, 10, "a", "red"), Change(9, 20, "b", "red"), Change(10, 12, "c", "red")
    assert [(row.name, [change.text for change in row.changes]) for row in rows("x", [[third], [first], [second]])] == [
        ("x", ["a", "c"]), ("x 2", ["b"])]  # fmt: skip
    # of a life, the latest end counts, whichever change has it
    assert [len(row.changes) for row in rows("x", [[Change(0, 10, "a", "red"), Change(2, 4, "b", "red")], [third], [Change(5, 6, "d", "red")]])] == [3, 1]
