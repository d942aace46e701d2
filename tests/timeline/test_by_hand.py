"""Receives, failures, drops and interrupts, on a trace written by hand: every expected ns is counted here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sw.abi.registers import RxDrop, Status, TraceKind
from tb.ledger.records import TRACE_DTYPE
from tb.ledger.run import load
from tb.ledger.stages import STAGES
from tb.timeline.__main__ import main
from tb.timeline.lanes import ENGINE_OF, pack
from tb.timeline.packets import Direction, Entry, Span, View, view
from tb.timeline.page import COLOURS, data
from tb.timeline.rates import MAX_BINS, Rates, rates

K = TraceKind
Event = tuple[int, TraceKind, int, int, int]
"""cycle, kind, endpoint, index, info"""

FROM_WIRE: list[Event] = [
    (1000, K.RX_FIRST, 0, 9, 0),
    (1014, K.RX_LAST, 0, 9, 60),
    (1021, K.RX_GRANT, 1, 9, 60),
    (1034, K.RX_WRITE, 1, 9, 0),
    (1034, K.RX_DATA_OUT, 1, 9, 2 << 16 | 7),
    (1040, K.RX_CPL_OUT, 1, 7, 0x85 << 24 | 2 << 16 | 1),
    (1046, K.IRQ_OUT, 3, 0, 0),
    (1070, K.RX_CPL_VISIBLE, 4, 0x85, 16),
]
TO_SIBLING: list[Event] = [
    (1100, K.DOORBELL, 0, 5, 5),
    (1104, K.GRANT, 0, 5, 0),
    (1105, K.AUTHORISED, 0, 5, 0),
    (1113, K.DATA_IN, 0, 5, 0),
    (1115, K.RX_LOCAL, 0, 5, 40),
    (1119, K.RX_GRANT, 1, 40, 100),
    (1140, K.RX_WRITE, 1, 40, 0),
    (1150, K.RX_DATA_OUT, 1, 40, 8),
    (1156, K.RX_CPL_OUT, 1, 8, 0x86 << 24 | 1),  # the IOMMU blocks it: never visible
    (1160, K.CPL_OUT, 0, 0, 1),
    (1170, K.CPL_VISIBLE, 1, 0, 16),
]
FAILS: list[Event] = [
    (1200, K.DOORBELL, 0, 10, 1),
    (1203, K.GRANT, 0, 10, 0),
    (1207, K.AUTHORISED, 0, 10, 0),
    (1209, K.READ_OUT, 0, 10, 0),
    (1250, K.FAILED, 0, 10, Status.READ_UR),
    (1260, K.CPL_OUT, 0, 1, 1 << 24 | 1),
    (1280, K.CPL_VISIBLE, 1, 1, 16),
]
ELSEWHERE: list[Event] = [
    (1300, K.RX_FIRST, 0, 11, 0),
    (1310, K.RX_DROP, 0, 11, RxDrop.BAD_FCS),
    (1320, K.RX_DROP, 1, 12, RxDrop.NO_BIG),
    (1330, K.FAILED, 6, 0, Status.BAD_DESCRIPTOR),  # no guest's
]
EVENTS = [*FROM_WIRE, *TO_SIBLING, *FAILS, *ELSEWHERE]


def run(folder: Path, events: list[Event] = EVENTS) -> Path:
    folder.mkdir(exist_ok=True)
    np.save(folder / "trace.npy", np.array(sorted(events, key=lambda e: e[0]), dtype=TRACE_DTYPE))
    setup = {"form": "PUSHED", "send_entries": 16}
    guests = [{"name": "alpha", "endpoint": 0}, {"name": "beta", "endpoint": 1}]
    summary = {"command": "by hand", "by_guest": guests, "endpoints": {"0": setup, "1": setup}}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


@pytest.fixture
def shown(tmp_path: Path) -> View:
    return view(load(run(tmp_path)))


def told(entry: Entry) -> tuple[Any, ...]:
    spans = [(span.stage.name, span.start, span.end) for span in entry.spans]
    return (entry.guest, entry.direction, entry.number, entry.form, entry.frame_bytes, entry.error, entry.error_at, spans)


def test_every_kind_of_packet(shown: View) -> None:
    assert shown.guests == ["alpha", "beta", "endpoint 6", "NIC"]
    assert [told(entry) for entry in shown.entries] == [
        ("beta", "receive", 0, "received", 60, "", 1070, [
            ("arrival", 1000, 1014), ("to buffers", 1014, 1021), ("to first write", 1021, 1034), ("writes", 1034, 1034),
            ("to completion", 1034, 1040), ("completion visible", 1040, 1070),
        ]),
        ("alpha", "send", 0, "inline to sibling", 0, "", 1170, [
            ("doorbell to grant", 1100, 1104), ("authorise", 1104, 1105), ("copy", 1105, 1113), ("to switch", 1113, 1115),
            ("delivery and completion", 1115, 1160), ("completion visible", 1160, 1170),
        ]),
        ("beta", "receive", 1, "switched", 100, "completion blocked", 1156, [
            ("to buffers", 1115, 1119), ("to first write", 1119, 1140), ("writes", 1140, 1150), ("to completion", 1150, 1156),
        ]),
        ("alpha", "send", 1, "pushed", 0, "READ_UR", 1250, [
            ("doorbell to grant", 1200, 1203), ("authorise", 1203, 1207), ("issue read", 1207, 1209),
            ("completion visible", 1260, 1280),
        ]),
        ("NIC", "receive", 0, "unknown", 0, "dropped: BAD_FCS", 1310, []),
        ("beta", "receive", 2, "unknown", 0, "dropped: NO_BIG", 1320, []),
        ("endpoint 6", "send", 0, "unknown", 0, "BAD_DESCRIPTOR", 1330, []),
    ]  # fmt: skip
    assert [entry.nic_cycles for entry in shown.entries] == [26, 15, 41, 9, 0, 0, 0]
    assert shown.interrupts == [(1046, 3)]


def test_the_trace_shows_them_with_their_errors_and_interrupts(tmp_path: Path) -> None:
    assert main([str(run(tmp_path))]) == 0
    events = json.loads((tmp_path / "timeline.json").read_text())["traceEvents"]
    groups = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    rows = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    marks = {(groups[e["pid"]], rows[e["tid"]], e["name"], e["ts"]) for e in events if e["ph"] == "i"}
    assert marks == {
        ("beta", "errors", "completion blocked", 4.624),
        ("alpha", "errors", "READ_UR", 5.0),
        ("NIC", "errors", "dropped: BAD_FCS", 5.24),
        ("beta", "errors", "dropped: NO_BIG", 5.28),
        ("endpoint 6", "errors", "BAD_DESCRIPTOR", 5.32),
        ("interrupts", "vector 3", "interrupt", 4.184),
    }
    beta = [(rows[e["tid"]], e["name"], e["ts"], e["dur"]) for e in events if e["ph"] == "X" and groups[e["pid"]] == "beta"]
    assert beta[:6] == [
        ("wire, receive", "arrival", 4.0, 0.056),
        ("receive buffers", "to buffers", 4.056, 0.028),
        ("DMA write", "to first write", 4.084, 0.052),
        ("DMA write", "writes", 4.136, 0.0),
        ("completion, receive", "to completion", 4.136, 0.024),
        ("completion, receive", "completion visible", 4.16, 0.12),
    ]
    waiting = {rows[e["tid"]] for e in events if e["ph"] == "X" and groups[e["pid"]] == "alpha, waiting"}
    assert waiting == {"doorbell"}
    counters = {(groups[e["pid"]], e["name"], e["ts"], e["args"]["Gb/s"]) for e in events if e["ph"] == "C"}
    # 60 bytes at 4.136 us, 100 from 4.56 to 4.6 us, in bins of 1 us
    assert counters == {("beta", "receive", 4.0, 1.28), ("beta", "receive", 5.0, 0.0)}


def test_the_page_has_gaps_where_no_stage_is_known(shown: View) -> None:
    made = data(shown, Rates(0, 1000, {}))
    names = [stage["name"] for stage in made["stages"]] + ["gap"]
    failed = made["packets"]["error"].index(made["errors"].index("READ_UR"))
    path = made["paths"][made["packets"]["path"][failed]]
    assert [(names[s], c) for s, c in zip(path, made["packets"]["cycles"][failed], strict=True)] == [
        *(("doorbell to grant", 3), ("authorise", 4), ("issue read", 2), ("gap", 51), ("completion visible", 20)),
    ]  # fmt: skip
    for cycles, total in zip(made["packets"]["cycles"], made["packets"]["total"], strict=True):
        assert sum(cycles) == total


def test_every_stage_has_an_engine_and_a_colour_of_its_own() -> None:
    assert ENGINE_OF.keys() == set(STAGES)
    assert COLOURS.keys() == {stage.name for stage in STAGES}
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_lanes_are_reused_as_soon_as_they_are_free() -> None:
    spans = [Span(STAGES[0], a, b) for a, b in ((0, 10), (2, 5), (4, 6), (5, 8), (6, 6), (6, 9), (10, 11))]
    assert pack(spans) == [0, 1, 2, 1, 2, 3, 0]


def test_who_shares_an_endpoint_is_named_or_counted(tmp_path: Path) -> None:
    for guests, name in ((2, "dom0 for guest0, guest1"), (9, "dom0 for 9 guests")):
        folder = run(tmp_path, FROM_WIRE)
        summary = json.loads((folder / "summary.json").read_text())
        summary["by_guest"] = [{"name": f"guest{n}", "endpoint": 1} for n in range(guests)]
        (folder / "summary.json").write_text(json.dumps(summary))
        assert view(load(folder)).guests == ["endpoint 0", name]


@pytest.mark.parametrize(("span_ns", "width"), [(0, 1000), (99_000, 1000), (99_004, 2000), (9_900_000, 100_000), (10**12, 2 * 10**10)])
def test_bins_are_few_and_hold_everything(span_ns: int, width: int) -> None:
    start = 6996  # just before a bin ends
    entries = [
        Entry("guest", n, Direction.SEND, "inline", start // 4, at // 4, frame_bytes=100, carried=(at // 4, at // 4))
        for n, at in enumerate((start, start + span_ns))
    ]
    made = rates(entries)
    [curve] = made.gbps.values()
    assert made.bin_ns == width and made.start_ns % width == 0 and made.start_ns <= start
    assert len(curve) <= MAX_BINS
    assert sum(curve) * width == pytest.approx(1600)


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        folder = run(tmp_path / name)
        assert main([str(folder)]) == 0
        made.append([(folder / f).read_bytes() for f in ("timeline.json", "timeline.html")])
    assert made[0] == made[1]


def test_run_is_taken_from_the_environment(tmp_path: Path) -> None:
    assert main([], {"RUN": str(run(tmp_path))}) == 0
    assert (tmp_path / "timeline.html").is_file()


def test_a_trace_without_packets_is_no_error(tmp_path: Path) -> None:
    assert main([str(run(tmp_path, []))]) == 0


def test_names_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    folder = run(tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    summary["command"] = "</title><script>alert(1)</script>"
    summary["by_guest"][0]["name"] = "</script><script>alert(2)</script>"
    (folder / "summary.json").write_text(json.dumps(summary))
    assert main([str(folder)]) == 0
    assert "<script>alert" not in (folder / "timeline.html").read_text()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("summary.json", None, "summary.json: No such file or directory; `make sim` writes it"),
        ("summary.json", b"no json", "summary.json: not the summary of a run: Expecting value"),
        ("summary.json", b"[]", "summary.json: not the summary of a run"),
        ("summary.json", b'{"ok": false}', "summary.json: no 'endpoints' in it: that run failed"),
        ("summary.json", b'{"endpoints": {"0": {"form": "PUSHED"}}}', "summary.json: no 'send_entries' in it"),
        ("summary.json", b'{"endpoints": {}}', "summary.json: no 'command' in it"),
        ("trace.npy", None, "trace.npy: No such file or directory; `make sim` writes it"),
        ("trace.npy", b"no array", "trace.npy: not an array of trace records"),
        ("trace.npy", b"", "trace.npy: not an array of trace records"),
    ],
)
def test_what_is_wrong_with_a_run_is_named(
    file: str, content: bytes | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run(tmp_path) / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit) as end:
        main([str(tmp_path)])
    assert end.value.code == 2
    assert f"{tmp_path / message}" in capsys.readouterr().err
    assert not (tmp_path / "timeline.json").exists()


def test_a_trace_that_does_not_add_up_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(tmp_path, [e for e in EVENTS if e[1] != K.DATA_IN])
    with pytest.raises(SystemExit):
        main([str(folder)])
    said = capsys.readouterr().err
    assert f"{folder / 'trace.npy'}: endpoint 0 chain 5" in said and "no stamp data_in" in said


def test_a_frame_across_bins_is_shared_out_byte_by_byte() -> None:
    # 10 bytes from 900 to 2900 ns, 200 ns each: the first one ends at 1100, the fifth at 1900, the last at 2900
    frame = Entry("guest", 0, Direction.SEND, "inline", 225, 725, frame_bytes=10, carried=(225, 725))
    made = rates([frame])
    assert (made.start_ns, made.gbps) == (0, {("guest", Direction.SEND): [0.0, 0.04, 0.04]})
