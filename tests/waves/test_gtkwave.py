"""`make waves` on the RTL, and its view in the real GTKWave on a virtual display: what is shown is what the ledger says."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scapy.utils import PcapWriter

from sw.abi.registers import Form, TraceKind
from tb.ledger.decode import EndpointSetup, Packet, decode
from tb.ledger.records import TRACE_DTYPE
from tb.ledger.stages import PacketForm, Stamp
from tb.sim.capture import SHIPPED, load
from tb.sim.rtl_files import WAVES
from tb.waves.__main__ import main
from tb.waves.config import WavesConfig
from tb.waves.desk import SAVE_FILE, prepare
from tb.waves.dump import Dump, cycle_at
from tb.waves.packet_lanes import Ledger
from tb.waves.rerun import TRACE
from tb.waves.setups import endpoint_lives
from tb.waves.view import read_views
from tests.waves.support import ask_gtkwave

GUESTS = 3
WAVES_PIXELS = 1100
"""Width of the waves in the picture, at least."""
X11 = {
    "blue4": (0, 0, 139), "purple4": (85, 26, 139), "darkgreen": (0, 100, 0), "brown4": (139, 35, 35),
    "DarkOrange4": (139, 69, 0), "DeepPink4": (139, 10, 80), "turquoise4": (0, 134, 139), "gray30": (77, 77, 77),
}  # fmt: skip
"""X11's rgb.txt."""
FRAMES = 60
SETTINGS = {"GUESTS": str(GUESTS), "SEED": "5"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A run without any view asked for: its folder, and the settings that repeat it."""
    folder = tmp_path_factory.mktemp("waves")
    capture = folder / "some.pcap"
    with PcapWriter(str(capture), linktype=1) as writer:
        writer.write_header(None)
        for frame in load(SHIPPED)[:FRAMES]:
            writer.write_packet(frame, sec=0, usec=0)
    settings = {**SETTINGS, "PCAP": str(capture)}
    assert main(settings, folder / "first") == 0
    return folder, settings


def packets(folder: Path) -> list[Packet]:
    """The guests' sends, with the rings as the run's summary of itself tells them."""
    records = np.fromfile(folder / TRACE, TRACE_DTYPE)
    forms = [Form.PUSHED, Form.PUSHED, Form.FETCHED]
    return decode(records, {n: EndpointSetup(forms[n], 256) for n in range(GUESTS)})


def ledger(folder: Path) -> Ledger:
    """What `make waves` numbers: sends of all endpoints, the hostile guest's among them."""
    dump = Dump(folder / WAVES)
    return Ledger.of(np.fromfile(folder / TRACE, TRACE_DTYPE), endpoint_lives(dump), cycle_at(dump.span_ps()[1]))


def test_all_signals_of_all_views_are_in_the_design(run: tuple[Path, dict[str, str]]) -> None:
    dump = Dump(run[0] / "first" / WAVES)
    paths = {row.path for view in read_views().values() for group in view.groups for row in group.signals}
    assert len(paths) > 200
    assert [path for path in sorted(paths) if path not in dump] == []


def test_the_waves_tell_the_rings_as_they_were_set_up(run: tuple[Path, dict[str, str]]) -> None:
    lives = endpoint_lives(Dump(run[0] / "first" / WAVES))
    told = {life.endpoint: (life.setup.form, life.setup.send_entries) for life in lives if life.endpoint < GUESTS}
    assert told == {0: (Form.PUSHED, 256), 1: (Form.PUSHED, 256), 2: (Form.FETCHED, 256)}


def test_packets_are_numbered_by_their_doorbells(run: tuple[Path, dict[str, str]]) -> None:
    numbered = ledger(run[0] / "first").packets
    own = [packet for packet in numbered if packet.endpoint < GUESTS]
    assert sorted(own, key=str) == sorted(packets(run[0] / "first"), key=str)
    rung = [packet.stamps[Stamp.DOORBELL] for packet in numbered]
    assert len(rung) >= FRAMES and rung == sorted(rung)


def test_the_trace_is_the_one_that_the_run_has_judged(run: tuple[Path, dict[str, str]]) -> None:
    recorded = np.fromfile(run[0] / "first" / TRACE, TRACE_DTYPE)
    assert np.array_equal(recorded, np.load(run[0] / "first" / "trace.npy"))


@pytest.mark.parametrize("form", [PacketForm.INLINE, PacketForm.PUSHED, PacketForm.FETCHED])
def test_a_packet_in_the_real_gtkwave(run: tuple[Path, dict[str, str]], tmp_path: Path, form: PacketForm) -> None:
    order = ledger(run[0] / "first").packets
    number = next(n for n, packet in enumerate(order) if packet.form is form)
    packet = order[number]
    view = read_views()["send"]
    prepare(tmp_path, run[0] / "first" / WAVES, run[0] / "first" / TRACE, WavesConfig(view, packet=number))
    rows, picture = ask_gtkwave(tmp_path)
    shown = dict(rows)
    # The primary marker is at the doorbell: the hardware's own count of cycles says the same.
    assert shown["cycle_q"] == str(packet.stamps[Stamp.DOORBELL])
    first = {PacketForm.FETCHED: "doorbell to fetch"}.get(form, "doorbell to grant")
    assert rows[0] == (f"packet {number} (endpoint {packet.endpoint})", f"#{number} {first}")
    assert shown["pay_req mode"] == "ModeIommu", "enumerations have their names"
    titles = [group.title for group in view.groups]
    guests = [f"{titles[0]} of endpoint {n}" for n in sorted({packet.endpoint for packet in order})]
    shown_titles = [*guests, *titles[1:]]
    assert [name for name, _ in rows if name in shown_titles] == [title for title in shown_titles for _ in range(2)]
    lines = (tmp_path / SAVE_FILE).read_text()
    marks = next(line for line in lines.splitlines() if line.startswith("*")).split()[1:4]
    stamps = (Stamp.DOORBELL, Stamp.DOORBELL, Stamp.WIRE_FIRST)
    assert marks == [str(packet.stamps[stamp] * 4_000 - 2_000) for stamp in stamps]
    assert "[markername] Adoorbell\n[markername] Bwire\n" in lines
    # The picture shows the longest stage as a bar of its colour.
    stages = packet.stages()
    longest = max(stages, key=lambda name: stages[name])
    text = next(line for line in (tmp_path / "packet.txt").read_text().splitlines() if line.endswith(f"#{number} {longest}"))
    pixels = np.asarray(picture)
    bar = (pixels == np.array(X11[text.split("?")[1]], np.uint8)).all(axis=2).sum(axis=1).max()
    around = 1.2 * packet.total + 2
    assert bar > 0.8 * stages[longest] / around * WAVES_PIXELS, f"{longest}: {bar} pixels"


def test_the_life_of_a_packet_without_a_gap_in_a_window_of_the_run(run: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    first = ledger(run[0] / "first").packets[0]
    end_ns = max(first.stamps.values()) * 4 + 1_000
    assert main({**run[1], "PACKET": "0", "FROM": str(end_ns - 50_000), "TO": str(end_ns)}, tmp_path) == 0
    start, end = Dump(tmp_path / WAVES).span_ps()
    assert (start, end) == ((end_ns - 50_000) * 1_000, end_ns * 1_000 - 2_000)
    times = [int(line[1:].split()[0]) for line in (tmp_path / "packet.txt").read_text().splitlines() if line[0] == "#"]
    stamps = sorted({first.stamps[stamp] for stamp in Stamp if stamp in first.stamps})
    assert times == [0, *(stamp * 4_000 - 2_000 for stamp in stamps)]
    # Every read that the trace knows is among the decoded TLPs, in its own cycle.
    records = np.fromfile(tmp_path / TRACE, TRACE_DTYPE)
    text = (tmp_path / "DMA_reads.txt").read_text()
    lane = text[text.index("$name TLP nic_tx") : text.index("$name TLP nic_rx")].splitlines()
    ends = {int(after[1:].split()[0]) for before, after in pairwise(lane) if "?MRd" in before}
    last_beats = records["cycle"][np.isin(records["kind"], [TraceKind.FETCH_OUT, TraceKind.READ_OUT])]
    seen = [int(cycle) for cycle in last_beats if start < cycle * 4_000 < end]
    assert len(seen) > 0
    assert [cycle for cycle in seen if (cycle + 1) * 4_000 - 2_000 not in ends] == []


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"VIEW": "receiver"}, "VIEW=receiver: must be one of send, receive, protection, revocation, "),
        ({"PACKET": "x"}, "PACKET=x: must be a number from 0 on"),
        ({"FROM": "5", "TO": "5"}, "FROM=5 TO=5: ns, FROM before TO"),
        ({"FROM": "5"}, "FROM=5 TO=: ns, FROM before TO"),
    ],
)
def test_bad_settings_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, str], told: str) -> None:
    assert main(settings, tmp_path) == 2
    assert told in capsys.readouterr().err
