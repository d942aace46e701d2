"""Dumps written by hand: what is read from the waves, and the save file that is made for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from vcd import VCDWriter

from sw.abi.registers import Form
from tb.ledger.decode import EndpointSetup, Packet
from tb.ledger.stages import PacketForm, Stamp
from tb.waves.descriptor_lanes import Descriptor, descriptor_lanes, executed
from tb.waves.desk import prepare_block
from tb.waves.dump import Dump, DumpError, cycle_at, cycle_start_ps
from tb.waves.lane import Change, lane
from tb.waves.packet_lanes import Ledger
from tb.waves.save_file import Section, write_save_file
from tb.waves.setups import Life, endpoint_lives
from tb.waves.view import SignalRow

Changes = Sequence[tuple[int, int]]
"""(cycle, value)."""


def dump(path: Path, signals: Mapping[str, tuple[int, Changes]], cycles: int = 100, top: str = "myr_top") -> Dump:
    """Of `cycles` cycles; `signals`: path below the top to width and changes. The clock is the machine's."""
    with path.open("w") as file, VCDWriter(file, timescale="1 ps") as writer:
        handles = {}
        for name, (width, _) in {"clk_i": (1, ()), **signals}.items():
            scope, _, leaf = f"{top}.{name}".rpartition(".")
            handles[name] = writer.register_var(scope, leaf, "wire", width, init=0)
        events = [(cycle_start_ps(c), name, value) for name, (_, changes) in signals.items() for c, value in changes]
        events += [(edge * 2_000, "clk_i", edge % 2) for edge in range(1, 2 * cycles)]
        for time, name, value in sorted(events):
            writer.change(handles[name], time, value)
    return Dump(path, top)


def test_cycles_and_moments(tmp_path: Path) -> None:
    assert [cycle_start_ps(cycle) for cycle in (1, 6543)] == [2_000, 26_170_000]
    assert [cycle_at(ps) for ps in (2_000, 5_999, 6_000)] == [1, 1, 2]
    assert dump(tmp_path / "a.vcd", {}, 10).span_ps() == (0, 38_000)


def test_a_beat_is_taken_in_a_cycle_with_valid_and_ready(tmp_path: Path) -> None:
    found = dump(tmp_path / "a.vcd", {
        "up_valid": (1, [(10, 1), (14, 0), (20, 1)]),
        "up_ready": (1, [(11, 1), (12, 0), (13, 1)]),
        "up.data": (64, [(10, 7), (12, 8), (20, 9)]),
        "up.last": (1, [(13, 1), (20, 0)]),
    }, 22)  # fmt: skip
    beats = [((beat.start_ps + 2_000) // 4_000, beat.data, beat.last) for beat in found.beats("up")]
    assert beats == [(11, 7, False), (13, 8, True), (20, 9, False), (21, 9, False)]


def test_lives_begin_with_an_enabling_and_have_what_the_ring_saw_in_them(tmp_path: Path) -> None:
    found = dump(tmp_path / "a.vcd", {
        "u_nic.enable": (64, [(10, 0b100), (20, 0b101), (40, 0b001), (60, 0b101)]),
        "u_nic.look_ep": (6, [(11, 2), (21, 0), (30, 2), (41, 0), (61, 2)]),
        "u_nic.look_ctrl.enable": (1, [(11, 1)]),
        "u_nic.look_ctrl.form": (1, [(21, 1), (30, 0), (41, 1)]),
        "u_nic.look_ctrl.send_log2": (4, [(11, 8), (21, 5), (30, 8), (41, 5), (61, 4)]),
    })  # fmt: skip
    assert endpoint_lives(found) == [
        Life(2, 10, EndpointSetup(Form(0), 256)),
        Life(0, 20, EndpointSetup(Form(1), 32)),
        Life(2, 60, EndpointSetup(Form(1), 16)),
    ]


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DumpError, match=r"none\.fst"):
        Dump(tmp_path / "none.fst")
    found = dump(tmp_path / "a.vcd", {"u_nic.head": (16, [(3, 1)])})
    assert "u_nic.head" in found and "u_nic.tail" not in found
    with pytest.raises(DumpError, match="no signal myr_top.u_nic.tail"):
        found.changes("u_nic.tail")
    with pytest.raises(DumpError, match="no module other"):
        list(Dump(tmp_path / "a.vcd", "other").instances())


def test_the_save_file(tmp_path: Path) -> None:
    found = dump(tmp_path / "a.vcd", {"u_nic.head": (16, [(3, 1)]), "u_nic.go": (1, [(3, 1)]), "rst_q": (1, [(1, 1)])})
    texts = [lane(name, [Change(10, 20, name, "red")]) for name in ("one", "two", "three")]
    top = Section("packet", texts[:1], (SignalRow("u_nic.go", "hex"),))
    group = Section("a group", texts[1:], (SignalRow("u_nic.head", "dec"), SignalRow("u_nic.go", "bin")))
    last = Section("last", texts[:1], (), closed=True)
    path = tmp_path / "view.gtkw"
    write_save_file(path, found, top, [group, last], window_ps=(-50, 1_350), marks=[("doorbell", 100), ("wire", 700)])
    lines = path.read_text().splitlines()
    assert lines[:2] == [f'[dumpfile] "{tmp_path}/a.vcd"', "[timestart] 0"]
    # 200 pixels show 2^-zoom: 1400 ps on 5.5 times 200
    zoom, primary, a, b, *others = lines[3].removeprefix("*").split()
    assert 2 ** -float(zoom) == pytest.approx(1_400 / 5.5, rel=1e-5)
    assert (primary, a, b, set(others)) == ("100", "100", "700", {"-1"})
    assert lines[4:6] == ["[markername] Adoorbell", "[markername] Bwire"]
    assert lines[8:] == [
        "@10000022", f"^<1 {tmp_path}/packet.sh", "+{one} myr_top.rst_q", "@22", "+{go} myr_top.u_nic.go",
        "@800200", "-a group", "@10000022", f"^<1 {tmp_path}/a_group.sh", "+{two} myr_top.rst_q", "@200", "-",
        "@24", "+{head} myr_top.u_nic.head[15:0]", "@28", "+{go} myr_top.u_nic.go", "@1000200", "-a group",
        "@c00200", "-last", "@10000022", f"^<1 {tmp_path}/last.sh", "+{one} myr_top.rst_q", "@1401200", "-last",
    ]  # fmt: skip
    assert "$name two\n#0\n#10 ?red?two\n#20\n$next\n$name three" in (tmp_path / "a_group.txt").read_text()


def test_the_view_of_a_bench_has_its_ports_and_a_group_for_each_instance(tmp_path: Path) -> None:
    signals: dict[str, tuple[int, Changes]] = {name: (1, [(3, 1)]) for name in ("data_q", "u_fifo.full", "u_fifo.u_ram.we", "u_last.x")}
    dump(tmp_path / "a.vcd", signals, top="bench")
    made = prepare_block(tmp_path, tmp_path / "a.vcd", "bench", 90_000)
    lines = made.save_file.read_text().splitlines()
    assert (made.packets, list(made.left_out)) == (0, [])
    assert [line for line in lines if line[0] in "-+"] == [
        "-bench", "+{clk_i} bench.clk_i", "+{data_q} bench.data_q", "-bench",
        "-u_fifo", "+{u_fifo full} bench.u_fifo.full", "-u_fifo",
        "-u_fifo.u_ram", "+{u_fifo u_ram we} bench.u_fifo.u_ram.we", "-u_fifo.u_ram", "-u_last", "+{u_last x} bench.u_last.x", "-u_last",
    ]  # fmt: skip
    # it opens on the failure
    assert lines[1] == "[timestart] 0" and lines[3].split()[1:4] == ["90000", "90000", "-1"]
    assert "[markername] Afailure" in lines


STATES = {0: "StIdle", 1: "StHead", 2: "StPiece", 3: "StInline"}
NO_SUCH: Changes = ()


def test_descriptors_under_execution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint's ring slot is named one cycle before its descriptor is there; endpoint above 10 bits of slot."""
    monkeypatch.setattr(Dump, "names", lambda self, path: STATES if path.endswith("state_q") else {})
    exec_ = "u_nic.u_exec"
    found = dump(tmp_path / "a.vcd", {
        f"{exec_}.state_q": (3, [(11, 1), (12, 2), (15, 0), (20, 1), (21, 0), (30, 1), (31, 3)]),
        "u_nic.u_tso.state_q": (3, NO_SUCH),
        "u_nic.head": (16, [(11, 0x405), (20, 0x500), (30, 0x407)]),
        "u_nic.ring_read_slot": (16, [(10, 2 << 10 | 5), (11, 2 << 10 | 6), (13, 3 << 10 | 1), (29, 2 << 10 | 7)]),
        f"{exec_}.wait_more": (1, [(20, 1), (21, 0)]),
        f"{exec_}.d.addr": (64, [(11, 0x1000), (12, 0x2000), (20, 0x3000), (30, 0)]),
        f"{exec_}.d.field": (16, [(11, 34)]),
        f"{exec_}.d.len": (16, [(11, 60), (12, 40), (30, 64)]),
        f"{exec_}.d.count": (8, [(11, 2), (12, 1), (30, 5)]),
        f"{exec_}.d.start": (8, [(11, 14)]),
        f"{exec_}.d.flags": (8, [(11, 0x1A), (12, 0x10), (30, 0x52)]),
    }, 40)  # fmt: skip
    told = [(cycle_at(e.start_ps), cycle_at(e.end_ps), e.endpoint, e.head, e.slot, str(e.descriptor)) for e in executed(found)]
    assert told == [
        (11, 12, 2, 0x405, 5, "60 B @0x1000 FIRST|CKSUM|NO_TSO count 2 sum from 14 to 34"),
        (12, 14, 2, 0x405, 6, "40 B @0x2000 NO_TSO count 1"),
        # the slot that was asked for in cycle 13 has the same fields
        (14, 15, 3, 0x405, 1, "40 B @0x2000 NO_TSO count 1"),
        (30, 31, 2, 0x407, 7, "64 B @0x0 FIRST|NO_TSO|INLINE count 5"),
    ]
    packets = [Packet(form=PacketForm.PUSHED, endpoint=2, head=0x405, stamps={Stamp.DOORBELL: at}) for at in (3, 8, 25)]
    packets.append(Packet(form=PacketForm.PUSHED, endpoint=2, head=0x407, stamps={Stamp.DOORBELL: 26}))
    lanes = descriptor_lanes(Ledger(packets, [], [], [], 40), found)
    assert [(one.name, [change.text.split("]")[0] for change in one.changes]) for one in lanes] == [
        ("descriptors of endpoint 2", ["#1 [5", "#1 [6", "#3 [7"]), ("descriptors of endpoint 3", ["- [1"])]  # fmt: skip


@pytest.mark.parametrize(
    ("descriptor", "text"),
    [
        (Descriptor(0x10, 1448, 54, 1, 14, 0x03), "54 B @0x10 SMALL|FIRST count 1 mss 1448"),
        (Descriptor(0x10, 1448, 90, 3, 14, 0x3A), "90 B @0x10 FIRST|TSO_LAST|TSO_CHOP|TSO_PLD count 3"),
        (Descriptor(0x10, 0, 5, 1, 0, 0), "5 B @0x10 no flags count 1"),
        (Descriptor(0x10, 0, 5, 1, 0, 0x94), "5 B @0x10 ALIGN_ODD|NO_TSO|RESERVED count 1"),
    ],
)
def test_fields_of_descriptors(descriptor: Descriptor, text: str) -> None:
    assert str(descriptor) == text
