"""Times by step and direction, on a trace written by hand: every expected cycle is counted here."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from sw.abi.registers import Form, TraceKind
from tb.ledger.decode import EndpointSetup
from tb.ledger.records import TRACE_DTYPE
from tb.ledger.row import LedgerError
from tb.tap.ledger import figures, times

K = TraceKind
SETUPS = {0: EndpointSetup(Form.PUSHED, 16), 1: EndpointSetup(Form.PUSHED, 16)}
HOSTS = {0: "guest0", 1: "guest1"}
Event = tuple[int, TraceKind, int, int, int]
"""cycle, kind, endpoint, index, info"""


def to_wire(at: int, head: int) -> list[Event]:
    """An inline frame of guest 0: 30 cycles from doorbell to last beat."""
    return [
        (at, K.DOORBELL, 0, head, 1),
        (at + 4, K.GRANT, 0, head, 0),
        (at + 5, K.AUTHORISED, 0, head, 0),
        (at + 13, K.DATA_IN, 0, head, 0),
        (at + 16, K.WIRE_FIRST, 0, head, 0),
        (at + 30, K.WIRE_LAST, 0, head, 64),
        (at + 37, K.CPL_OUT, 0, head, 0x40 << 24 | 1),
        (at + 60, K.CPL_VISIBLE, 1, 0x40, 16),
    ]


def to_sibling(at: int, head: int, frame: int) -> list[Event]:
    """An inline frame of guest 0 for guest 1: 80 cycles from doorbell to completion visible."""
    return [
        (at, K.DOORBELL, 0, head, 1),
        (at + 4, K.GRANT, 0, head, 0),
        (at + 5, K.AUTHORISED, 0, head, 0),
        (at + 13, K.DATA_IN, 0, head, 0),
        (at + 15, K.RX_LOCAL, 0, head, frame),
        (at + 20, K.RX_GRANT, 1, frame, 64),
        (at + 30, K.RX_WRITE, 1, frame, 0),
        (at + 30, K.RX_DATA_OUT, 1, frame, frame),
        (at + 36, K.RX_CPL_OUT, 1, frame, 0x80 + frame << 24 | 1),
        (at + 37, K.CPL_OUT, 0, head, 0x40 << 24 | 1),
        (at + 60, K.CPL_VISIBLE, 1, 0x40, 16),
        (at + 80, K.RX_CPL_VISIBLE, 2, 0x80 + frame, 16),
    ]


def from_wire(at: int, frame: int) -> list[Event]:
    """A frame from the wire to guest 1: 70 cycles from first beat to completion visible."""
    return [
        (at, K.RX_FIRST, 0, frame, 0),
        (at + 14, K.RX_LAST, 0, frame, 60),
        (at + 21, K.RX_GRANT, 1, frame, 60),
        (at + 34, K.RX_WRITE, 1, frame, 0),
        (at + 34, K.RX_DATA_OUT, 1, frame, frame),
        (at + 40, K.RX_CPL_OUT, 1, frame, 0x80 + frame << 24 | 1),
        (at + 70, K.RX_CPL_VISIBLE, 2, 0x80 + frame, 16),
    ]


def trace(*events: Event) -> npt.NDArray[np.void]:
    return np.array(sorted(events, key=lambda e: e[0]), dtype=TRACE_DTYPE)


def test_by_step_and_direction() -> None:
    records = trace(*to_wire(1000, 0), *to_sibling(2000, 1, 0), *from_wire(3000, 1), *to_sibling(4000, 2, 2))
    assert times(records, SETUPS, HOSTS, [900, 2500, 5000]) == [
        {("guest0", "wire"): [120], ("guest0", "guest1"): [320]},
        {("wire", "guest1"): [280], ("guest0", "guest1"): [320]},
    ]


def test_outside_the_steps() -> None:
    records = trace(*to_wire(1000, 0), *to_wire(2000, 1), *to_wire(3000, 2))
    assert times(records, SETUPS, HOSTS, [1500, 2500]) == [{("guest0", "wire"): [120]}]


def test_the_latest_chain_with_a_head_is_the_sender() -> None:
    """Heads come round after 2^16 slots; here, after the ring's 16."""
    records = trace(*to_sibling(1000, 0, 0), *to_sibling(9000, 0, 1))
    assert times(records, SETUPS, HOSTS, [0, 99_999]) == [{("guest0", "guest1"): [320, 320]}]


def test_a_trace_that_lacks_the_end_is_refused() -> None:
    records = trace(*(event for event in from_wire(3000, 1) if event[1] != K.RX_CPL_VISIBLE))
    with pytest.raises(LedgerError, match="never visible"):
        times(records, SETUPS, HOSTS, [0, 5000])


def test_figures() -> None:
    assert figures({("a", "b"): [4, 8, 100]}) == [
        {"from": "a", "to": "b", "frames": 3, "min_ns": 4, "median_ns": 8, "p99_ns": 100}
    ]
