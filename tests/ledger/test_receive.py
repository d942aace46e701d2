"""The receive ledger on traces written by hand: every expected cycle is counted here."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from sw.abi.registers import RxDrop, TraceKind
from tb.ledger.latency import NIC_SHARE, TOTAL, latencies, nic_share
from tb.ledger.receive import decode_receive
from tb.ledger.records import TRACE_DTYPE
from tb.ledger.row import LedgerError
from tb.ledger.stages import PacketForm, Stamp
from tb.ledger.timeline import timeline

K = TraceKind
Event = tuple[int, TraceKind, int, int, int]
"""cycle, kind, endpoint, index, info"""

FROM_WIRE: list[Event] = [
    (100, K.RX_FIRST, 0, 0xFFFF, 0),
    (114, K.RX_LAST, 0, 0xFFFF, 60),
    (121, K.RX_GRANT, 3, 0xFFFF, 60),
    (134, K.RX_WRITE, 3, 0xFFFF, 0),
    (134, K.RX_DATA_OUT, 3, 0xFFFF, 2 << 16 | 7),
    (140, K.RX_CPL_OUT, 3, 7, 0x85 << 24 | 2 << 16 | 1),
    (146, K.IRQ_OUT, 3, 0, 0),
    (170, K.RX_CPL_VISIBLE, 4, 0x85, 16),
]
FROM_SIBLING: list[Event] = [
    (200, K.RX_LOCAL, 1, 40, 0),
    (204, K.RX_GRANT, 2, 0, 1514),
    (225, K.RX_WRITE, 2, 0, 0),
    (460, K.RX_DATA_OUT, 2, 0, 0),
    (204, K.RX_DROP, 5, 0, RxDrop.NO_BIG),
    (466, K.RX_CPL_OUT, 2, 0, 0x86 << 24 | 1),
    (500, K.RX_CPL_VISIBLE, 3, 0x86, 16),
]


def trace(*events: Event) -> npt.NDArray[np.void]:
    return np.array(sorted(events, key=lambda e: e[0]), dtype=TRACE_DTYPE)


def test_a_frame_from_the_wire() -> None:
    received = decode_receive(trace(*FROM_WIRE))
    [delivery] = received.deliveries
    assert (delivery.form, delivery.endpoint, delivery.number, delivery.frame_bytes) == (PacketForm.RECEIVED, 3, 0xFFFF, 60)
    assert (delivery.queue, delivery.index, delivery.sender) == (2, 7, None)
    assert delivery.stages() == {
        "arrival": 14,
        "to buffers": 7,
        "to first write": 13,
        "writes": 0,
        "to completion": 6,
        "completion visible": 30,
    }
    assert (delivery.total, nic_share(delivery)) == (70, 26)
    assert received.interrupts == [(146, 3)]
    assert "endpoint 3 frame 65535: received, 60 bytes, OK" in timeline(delivery)


def test_a_frame_from_a_sibling_and_a_receiver_without_buffers() -> None:
    received = decode_receive(trace(*FROM_SIBLING))
    [delivery] = received.deliveries
    assert (delivery.form, delivery.sender) == (PacketForm.SWITCHED, (1, 40))
    assert list(delivery.stages().values()) == [4, 21, 235, 6, 34]
    [drop] = received.drops
    assert (drop.cycle, drop.endpoint, drop.number, drop.reason) == (204, 5, 0, RxDrop.NO_BIG)


def test_one_completion_write_for_two_frames() -> None:
    second = [(c + 10, k, e, 1, i) for c, k, e, _, i in FROM_WIRE[:4]]
    events = [*FROM_WIRE[:5], *second, (150, K.RX_DATA_OUT, 3, 1, 2 << 16 | 8)]
    events += [(160, K.RX_CPL_OUT, 3, 7, 0x80 << 24 | 2 << 16 | 2), (190, K.RX_CPL_VISIBLE, 4, 0x80, 32)]
    rows = decode_receive(trace(*events)).deliveries
    assert [row.stamps[Stamp.RX_CPL_VISIBLE] for row in rows] == [190, 190]
    table = {row.stage: row for row in latencies(rows)}
    assert (table["to completion"].min, table["to completion"].max) == (10, 26)
    assert (table[NIC_SHARE].packets, table[TOTAL].max) == (2, 90)


def test_drops_of_the_line_belong_to_nobody() -> None:
    [drop] = decode_receive(trace((5, K.RX_FIRST, 0, 9, 0), (9, K.RX_DROP, 0, 9, RxDrop.BAD_FCS))).drops
    assert (drop.endpoint, drop.reason) == (None, RxDrop.BAD_FCS)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (K.RX_FIRST, "RX_LAST at cycle 114 before its RX_FIRST"),
        (K.RX_GRANT, "RX_WRITE at cycle 134 before its RX_GRANT"),
        (K.RX_DATA_OUT, "RX_CPL_OUT of entry 7 at cycle 140, but no frame has it"),
        (K.RX_CPL_OUT, "no such completion is in flight"),
    ],
)
def test_a_missing_event_is_named(missing: TraceKind, message: str) -> None:
    with pytest.raises(LedgerError, match=message):
        decode_receive(trace(*(e for e in FROM_WIRE if e[1] != missing)))


def test_an_unfinished_frame_is_named() -> None:
    with pytest.raises(LedgerError, match="endpoint 3 frame 65535: got buffers, but its payload was never written"):
        decode_receive(trace(*FROM_WIRE[:4]))
    with pytest.raises(LedgerError, match="its completion never left"):
        decode_receive(trace(*FROM_WIRE[:5]))
