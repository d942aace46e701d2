"""The ledger on traces written by hand: every expected cycle is counted here, not computed by the ledger."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from sw.abi.registers import Form, Status, TraceKind
from tb.ledger.decode import EndpointSetup, decode
from tb.ledger.latency import NIC_SHARE, TOTAL, latencies, nic_share
from tb.ledger.records import TRACE_DTYPE
from tb.ledger.row import LedgerError
from tb.ledger.stages import STAGES, PacketForm, Stamp, stages_of
from tb.ledger.timeline import timeline

K = TraceKind
PUSHED = EndpointSetup(Form.PUSHED, 16)
FETCHED = EndpointSetup(Form.FETCHED, 16)

ENDS = {
    PacketForm.RECEIVED: (Stamp.RX_FIRST, Stamp.RX_CPL_VISIBLE),
    PacketForm.SWITCHED: (Stamp.RX_LOCAL, Stamp.RX_CPL_VISIBLE),
}

Event = tuple[int, TraceKind, int, int, int]
"""cycle, kind, endpoint, index, info"""


def trace(*events: Event) -> npt.NDArray[np.void]:
    return np.array(sorted(events, key=lambda e: e[:2]), dtype=TRACE_DTYPE)


def without(events: list[Event], kind: TraceKind) -> npt.NDArray[np.void]:
    return trace(*(e for e in events if e[1] != kind))


INLINE_PACKET: list[Event] = [
    (100, K.DOORBELL, 2, 5, 5),
    (104, K.GRANT, 2, 5, 0),
    (105, K.AUTHORISED, 2, 5, 0),
    (113, K.DATA_IN, 2, 5, 0),
    (116, K.WIRE_FIRST, 2, 5, 0),
    (130, K.WIRE_LAST, 2, 5, 64),
    (137, K.CPL_OUT, 2, 0, 1),
    (187, K.CPL_VISIBLE, 3, 0, 16),
]

FETCHED_PACKET: list[Event] = [
    (200, K.DOORBELL, 1, 0xFFFF, 0),
    (205, K.FETCH_OUT, 1, 0xFFFD, 2),
    (350, K.FETCH_BACK, 1, 0xFFFD, 2),
    (353, K.GRANT, 1, 0xFFFD, 0),
    (360, K.AUTHORISED, 1, 0xFFFD, 0),
    (366, K.READ_OUT, 1, 0xFFFD, 0),
    (510, K.DATA_IN, 1, 0xFFFD, 0),
    (514, K.WIRE_FIRST, 1, 0xFFFD, 0),
    (530, K.WIRE_LAST, 1, 0xFFFD, 64),
    (540, K.CPL_OUT, 1, 7, 0x41 << 24 | 1),
    (590, K.CPL_VISIBLE, 2, 0x41, 16),
]


def test_stages_of_each_form_lead_from_doorbell_to_visible_without_a_gap() -> None:
    for form in PacketForm:
        chain = stages_of(form)
        assert (chain[0].start, chain[-1].end) == ENDS.get(form, (Stamp.DOORBELL, Stamp.CPL_VISIBLE))
        assert all(a.end == b.start for a, b in pairwise(chain))
    assert len({(s.name, f) for s in STAGES for f in s.forms}) == sum(len(s.forms) for s in STAGES)
    sent = {PacketForm.INLINE, PacketForm.PUSHED, PacketForm.FETCHED}
    assert all({s.end for s in stages_of(f) if s.nic} <= set(list(Stamp)[: list(Stamp).index(Stamp.WIRE_LAST)]) for f in sent)


def test_inline_packet() -> None:
    [packet] = decode(trace(*INLINE_PACKET), {2: PUSHED})
    assert packet.form == PacketForm.INLINE
    assert packet.stages() == {
        "doorbell to grant": 4,
        "authorise": 1,
        "copy": 8,
        "to wire": 3,
        "on wire": 14,
        "to completion": 7,
        "completion visible": 50,
    }
    assert (packet.total, nic_share(packet), packet.frame_bytes) == (87, 16, 64)


def test_fetched_packet_at_the_wrap_of_the_index() -> None:
    [packet] = decode(trace(*FETCHED_PACKET), {1: FETCHED})
    assert packet.form == PacketForm.FETCHED
    assert packet.stages() == {
        "doorbell to fetch": 5,
        "descriptor read": 145,
        "descriptor to grant": 3,
        "authorise": 7,
        "issue read": 6,
        "payload read": 144,
        "to wire": 4,
        "on wire": 16,
        "to completion": 10,
        "completion visible": 50,
    }
    # 5 + 3 + 7 + 6 + 4: the two reads of host memory are not the NIC's
    assert (packet.total, nic_share(packet)) == (390, 25)


def test_pushed_packet_takes_the_last_write_that_covers_its_head() -> None:
    events: list[Event] = [
        (80, K.DOORBELL, 0, 13, 1),  # the head's slot, but it is written again
        (90, K.DOORBELL, 0, 14, 2),  # slots 14 and 15: not the head
        (95, K.DOORBELL, 0, 13, 1),  # slot 13 is head 29 of a ring of 16
        (97, K.DOORBELL, 0, 0, 1),  # another chain's
        (100, K.GRANT, 0, 29, 0),
        (101, K.AUTHORISED, 0, 29, 0),
        (104, K.READ_OUT, 0, 29, 0),
        (250, K.DATA_IN, 0, 29, 0),
        (252, K.WIRE_FIRST, 0, 29, 0),
        (270, K.WIRE_LAST, 0, 29, 64),
        (280, K.CPL_OUT, 0, 3, 1),
        (300, K.CPL_VISIBLE, 1, 0, 16),
    ]
    [packet] = decode(trace(*events), {0: PUSHED})
    assert packet.form == PacketForm.PUSHED
    assert packet.stages()["doorbell to grant"] == 5
    assert nic_share(packet) == 5 + 1 + 3 + 2
    assert packet.total == 205


def test_a_write_of_the_lap_before_does_not_pass_for_a_doorbell() -> None:
    def chain(at: int, head: int) -> list[Event]:
        return [
            (at + 4, K.GRANT, 0, head, 0),
            (at + 5, K.AUTHORISED, 0, head, 0),
            (at + 9, K.DATA_IN, 0, head, 0),
            (at + 11, K.WIRE_FIRST, 0, head, 0),
            (at + 20, K.WIRE_LAST, 0, head, 64),
            (at + 30, K.CPL_OUT, 0, head, 1),
            (at + 40, K.CPL_VISIBLE, 1, 0, 16),
        ]

    first: list[Event] = [(100, K.DOORBELL, 0, 0, 5), *chain(100, 0), (200, K.DOORBELL, 0, 5, 11), *chain(200, 5)]
    second: list[Event] = [(300, K.DOORBELL, 0, 0, 4), *chain(300, 16)]
    # head 20 is slot 4, which only the lap before wrote
    assert len(decode(trace(*first, *second), {0: PUSHED})) == 3
    with pytest.raises(LedgerError, match="endpoint 0 chain 20: granted before"):
        decode(trace(*first, *second, *chain(400, 20)), {0: PUSHED})


def test_one_fetch_and_one_completion_of_several_chains_and_a_fetch_that_ends_inside_a_chain() -> None:
    def chain(head: int, at: int) -> list[Event]:
        return [
            (at, K.GRANT, 0, head, 0),
            (at + 1, K.AUTHORISED, 0, head, 0),
            (at + 2, K.READ_OUT, 0, head, 0),
            (at + 50, K.DATA_IN, 0, head, 0),
            (at + 51, K.WIRE_FIRST, 0, head, 0),
            (at + 60, K.WIRE_LAST, 0, head, 64),
        ]

    events: list[Event] = [
        (10, K.DOORBELL, 0, 1, 0),
        (12, K.DOORBELL, 0, 4, 0),
        (15, K.FETCH_OUT, 0, 0, 3),
        (20, K.FETCH_OUT, 0, 3, 1),
        (60, K.FETCH_BACK, 0, 3, 1),  # out of order: the second fetch is back first
        (70, K.FETCH_BACK, 0, 0, 3),
        *chain(0, 80),  # descriptor 0
        *chain(1, 81),  # descriptors 1 to 3: two fetches
        (200, K.CPL_OUT, 0, 0, 2),
        (220, K.CPL_VISIBLE, 1, 0, 32),
    ]
    first, second = decode(trace(*events), {0: FETCHED})
    assert [first.stamps[s] for s in (Stamp.DOORBELL, Stamp.FETCH_OUT, Stamp.FETCH_BACK)] == [10, 15, 70]
    assert [second.stamps[s] for s in (Stamp.DOORBELL, Stamp.FETCH_OUT, Stamp.FETCH_BACK)] == [12, 15, 70]
    assert first.stamps[Stamp.CPL_VISIBLE] == second.stamps[Stamp.CPL_VISIBLE] == 220
    assert sum(first.stages().values()) == first.total == 210
    assert sum(second.stages().values()) == second.total == 208


def test_failed_chain_has_its_status_and_no_latency() -> None:
    events: list[Event] = [
        (10, K.DOORBELL, 0, 0, 1),
        (14, K.GRANT, 0, 0, 0),
        (20, K.FAILED, 0, 0, Status.READ_UR),
        (30, K.CPL_OUT, 0, 0, 1),
        (40, K.CPL_VISIBLE, 1, 0, 16),
    ]
    [packet] = decode(trace(*events), {0: PUSHED})
    assert packet.status == Status.READ_UR
    assert latencies([packet]) == []
    assert "failed" in timeline(packet)


def test_a_completion_that_was_blocked_is_not_taken_for_the_next() -> None:
    second: list[Event] = [
        (300, K.DOORBELL, 2, 10, 5),
        (304, K.GRANT, 2, 10, 0),
        (305, K.AUTHORISED, 2, 10, 0),
        (313, K.DATA_IN, 2, 10, 0),
        (316, K.WIRE_FIRST, 2, 10, 0),
        (330, K.WIRE_LAST, 2, 10, 64),
        (337, K.CPL_OUT, 2, 1, 0x41 << 24 | 1),
        (387, K.CPL_VISIBLE, 3, 0x41, 16),
    ]
    with pytest.raises(LedgerError, match="endpoint 2 chain 5: its completion left but was never visible"):
        decode(trace(*(e for e in INLINE_PACKET if e[1] != K.CPL_VISIBLE), *second), {2: PUSHED})


def test_a_frame_for_siblings_only() -> None:
    inside = [e for e in INLINE_PACKET if e[1] not in (K.WIRE_FIRST, K.WIRE_LAST)]
    [packet] = decode(trace(*inside, (115, K.RX_LOCAL, 2, 5, 77)), {2: PUSHED})
    assert (packet.path, packet.inside) == ("inline to sibling", True)
    assert packet.stages() == {
        "doorbell to grant": 4,
        "authorise": 1,
        "copy": 8,
        "to switch": 2,
        "delivery and completion": 22,
        "completion visible": 50,
    }
    assert nic_share(packet) == 15


def test_a_segmented_chain_is_one_row() -> None:
    second: list[Event] = [
        (110, K.GRANT, 2, 5, 0),
        (112, K.AUTHORISED, 2, 5, 0),
        (114, K.DATA_IN, 2, 5, 0),
        (131, K.WIRE_FIRST, 2, 5, 0),
        (136, K.WIRE_LAST, 2, 5, 100),
    ]
    [packet] = decode(trace(*INLINE_PACKET, *second), {2: PUSHED})
    assert packet.stages()["on wire"] == 20
    assert (packet.stages()["to wire"], packet.frame_bytes, packet.total) == (3, 164, 87)


def test_other_endpoints_are_left_out() -> None:
    packets = decode(trace(*INLINE_PACKET, *FETCHED_PACKET), {1: FETCHED})
    assert [p.endpoint for p in packets] == [1]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (K.DOORBELL, "granted before a ring write that covers its head"),
        (K.GRANT, "before its GRANT"),
        (K.WIRE_LAST, "left at cycle 137, before it was over"),
        (K.CPL_OUT, "its completion never left"),
        (K.CPL_VISIBLE, "never visible"),
    ],
)
def test_a_missing_event_is_named(missing: TraceKind, message: str) -> None:
    with pytest.raises(LedgerError, match=message):
        decode(without(INLINE_PACKET, missing), {2: PUSHED})


@pytest.mark.parametrize("missing", [K.AUTHORISED, K.DATA_IN, K.WIRE_FIRST])
def test_a_missing_stamp_is_named(missing: TraceKind) -> None:
    [packet] = decode(without(INLINE_PACKET, missing), {2: PUSHED})
    with pytest.raises(LedgerError, match=f"no stamp {missing.name.lower()}"):
        packet.stages()


@pytest.mark.parametrize(
    ("missing", "message"),
    [(K.DOORBELL, "never rung"), (K.FETCH_OUT, "never went out"), (K.FETCH_BACK, "no fetch that brings it")],
)
def test_a_missing_fetch_event_is_named(missing: TraceKind, message: str) -> None:
    with pytest.raises(LedgerError, match=message):
        decode(without(FETCHED_PACKET, missing), {1: FETCHED})


def test_a_negative_stage_is_refused() -> None:
    events = [e if e[1] != K.DATA_IN else (117, K.DATA_IN, 2, 5, 0) for e in INLINE_PACKET]
    [packet] = decode(trace(*events), {2: PUSHED})
    with pytest.raises(LedgerError, match="'to wire' takes -1 cycles"):
        packet.stages()


def test_a_completion_of_the_wrong_size_is_refused() -> None:
    events = [e if e[1] != K.CPL_VISIBLE else (187, K.CPL_VISIBLE, 3, 0, 32) for e in INLINE_PACKET]
    with pytest.raises(LedgerError, match="32 bytes visible"):
        decode(trace(*events), {2: PUSHED})


def test_latency_figures_are_observed_ones() -> None:
    packets = decode(trace(*INLINE_PACKET, *FETCHED_PACKET), {1: FETCHED, 2: PUSHED})
    rows = {(r.form, r.stage): r for r in latencies(packets)}
    share = rows["fetched", NIC_SHARE]
    assert (share.packets, share.min, share.median, share.p99, share.max) == (1, 25, 25, 25, 25)
    assert rows["inline", TOTAL].as_json()["max_ns"] == 348
    assert len(rows) == 7 + 2 + 10 + 2
