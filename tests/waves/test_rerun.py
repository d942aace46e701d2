"""`make waves TEST=name`: a test of the suites again, one that fails among them, and a block's bench."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from sw.abi.registers import RxDrop, TraceKind
from tb.cosim.toolchain import Variant
from tb.ledger.records import TRACE_DTYPE
from tb.regress import config as regress_config
from tb.regress import models, one
from tb.regress.spec import RunSpec
from tb.sim.rtl_files import WAVES
from tb.waves.__main__ import main
from tb.waves.config import WavesConfig
from tb.waves.desk import SAVE_FILE, prepare
from tb.waves.dump import Dump, cycle_at, cycle_start_ps
from tb.waves.failure import failed_ps
from tb.waves.packet_lanes import Ledger
from tb.waves.rerun import TRACE
from tb.waves.setups import endpoint_lives
from tb.waves.view import read_views
from tests.waves.support import ask_gtkwave

SUITES = """
[suite.all]
about = "Everything here."
[[test]]
name = "hung"
module = "tests.system.sim_exchange"
job = { plan = "random", disturb = false }
seeds = { all = 1 }
bound_us = 60
contract = ["C1"]
[[test]]
name = "unjudged"
module = "tb.sim"
job = { guests = 1 }
seeds = { all = 1 }
bound_us = 20
contract = ["C1"]
[[test]]
name = "dropped"
module = "tests.system.sim_line"
job = { case = "bad_frames" }
seeds = { all = 1 }
bound_us = 200_000
contract = ["C1"]
[[test]]
name = "block"
module = "tb.unit.interrupt.test_random"
model = "interrupt"
seeds = { all = 1 }
bound_us = 2
contract = ["C1"]
"""


@pytest.fixture
def suites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests whose bounds are over long before they are."""
    path = tmp_path / "suites.toml"
    path.write_text(SUITES)
    monkeypatch.setattr(regress_config, "SUITES", path)


@pytest.fixture(scope="module")
def interrupt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a test that passes: its folder."""
    folder = tmp_path_factory.mktemp("interrupt")
    assert main({"TEST": "interrupt", "SEED": "3", "VIEW": "interrupt", "PACKET": "2"}, folder) == 0
    return folder


def test_a_test_of_the_suites_is_the_same_simulation(interrupt: Path, tmp_path: Path) -> None:
    told = json.loads((interrupt / "summary.json").read_text())
    assert told["run"] == "interrupt, seed 3" and told["ok"] and told["left_out"] == []
    described = RunSpec.read(interrupt / "run.json")
    plain = RunSpec(
        described.test, described.module, described.model, described.job, described.seed, described.bound_us,
        Variant.PLAIN, models.recipe("machine", Variant.PLAIN).content(),
    )  # fmt: skip
    assert told["digest"] == one.run(plain, tmp_path).digest != ""


@pytest.mark.parametrize("view", list(read_views()))
def test_every_view_in_the_real_gtkwave(interrupt: Path, tmp_path: Path, view: str) -> None:
    wanted = read_views()[view]
    made = prepare(tmp_path, interrupt / WAVES, interrupt / TRACE, WavesConfig(wanted, packet=1))
    rows, _ = ask_gtkwave(tmp_path)
    assert made.packets > 2
    names = [name for name, _ in rows]
    paths = [row.path.removeprefix("u_nic.").replace(".", " ") for group in wanted.groups for row in group.signals]
    assert [path for path in paths if path not in names] == []
    assert rows[0][0] == "packet 1 (endpoint 37)" and rows[0][1].startswith("#1 doorbell to ")


def test_the_window_is_the_life_of_the_packet_and_the_rows_of_text_are_there(interrupt: Path, tmp_path: Path) -> None:
    dump = Dump(interrupt / WAVES)
    ledger = Ledger.of(np.fromfile(interrupt / TRACE, TRACE_DTYPE), endpoint_lives(dump), cycle_at(dump.span_ps()[1]))
    stamps = ledger.packet(2).stamps.values()
    first, last = cycle_start_ps(min(stamps)), cycle_start_ps(max(stamps))
    prepare(tmp_path, interrupt / WAVES, interrupt / TRACE, WavesConfig(read_views()["send"], packet=2))
    lines = (tmp_path / SAVE_FILE).read_text().splitlines()
    # a tenth and a cycle on each side
    around = (last - first) // 10 + 4_000
    assert lines[1] == f"[timestart] {first - around}"
    assert 2 ** -float(lines[3].split()[0].removeprefix("*")) == pytest.approx((last - first + 2 * around) / 5.5, rel=1e-5)
    text = (tmp_path / "descriptor_fetch.txt").read_text()
    lane = text[text.index("$name descriptors of endpoint 37") :].splitlines()
    # a head is looked at for one cycle, the frame follows in its ring
    assert [line.split("?")[2].split()[0] for line in lane if "?" in line] == [f"#{n}" for n in range(len(ledger.packets))]
    assert "?interrupt 0" in (tmp_path / "interrupt.txt").read_text()
    drawn = next(n for n, line in enumerate(lines) if line.endswith("packets_of_endpoint_37.sh"))
    assert lines[drawn + 1] == "+{send} myr_top.rst_q"


def test_lanes_of_errors(suites: None, tmp_path: Path) -> None:
    assert main({"TEST": "dropped", "SEED": "1", "VIEW": "errors"}, tmp_path) == 0
    text = (tmp_path / "failures.txt").read_text()
    records = np.fromfile(tmp_path / TRACE, TRACE_DTYPE)
    drops = records[records["kind"] == TraceKind.RX_DROP]
    assert len(drops) > 10
    for _, _, _, number, reason in drops.tolist():
        assert f"?rx {number} {RxDrop(reason).name}" in text


def test_a_run_that_fails_opens_on_the_failure(
    suites: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main({"TEST": "hung", "SEED": "1"}, tmp_path) == 1
    out, err = capsys.readouterr()
    assert "hung, seed 1: FAILED" in out and "not done after 60000 ns of simulated time" in err
    assert "gtkwave --dark --save" in out
    # the last 16 us are shown, and the failure is the primary marker
    lines = (tmp_path / SAVE_FILE).read_text().splitlines()
    assert "[markername] Afailure" in lines and lines[1] == "[timestart] 44000000" and lines[3].split()[1] == "60000000"
    # beside a packet it is the last of the markers
    prepare(tmp_path, tmp_path / WAVES, tmp_path / TRACE, WavesConfig(read_views()["send"], packet=0), 60_000_000)
    lines = (tmp_path / SAVE_FILE).read_text().splitlines()
    names = [line.removeprefix("[markername] ") for line in lines if line.startswith("[markername]")]
    assert [name[1:] for name in names] in (["doorbell", "failure"], ["doorbell", "wire", "failure"])
    assert lines[3].split()[1] == lines[3].split()[2] != "60000000" == lines[3].split()[1 + len(names)]
    # what was under way then is shown until the end of the run
    rows, _ = ask_gtkwave(tmp_path, 59_900_000)
    assert any(value.endswith(", no end") for _, value in rows)


def test_make_sim_as_a_test_is_recorded_as_well(suites: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main({"TEST": "unjudged", "SEED": "1", "FROM": "5000", "TO": "9000"}, tmp_path) == 1
    assert "not done after 20000 ns of simulated time" in capsys.readouterr().err
    assert Dump(tmp_path / WAVES).span_ps() == (5_000_000, 8_998_000)
    assert failed_ps(tmp_path) == 20_000_000


def test_a_block_has_its_ports_and_instances(suites: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main({"TEST": "block", "SEED": "1"}, tmp_path) == 1
    assert "not done after 2000 ns of simulated time" in capsys.readouterr().err
    rows, _ = ask_gtkwave(tmp_path)
    shown = dict(rows)
    assert [name for name, _ in rows[:2]] == ["clk_i", "rst_i"]
    assert {"interrupt_bench", "u_interrupt", "u_msix"} <= shown.keys()
    # of the two tests of the module the first has failed
    lines = (tmp_path / SAVE_FILE).read_text().splitlines()
    assert lines[3].split()[1] == "2000000"
    # a state has its name: the flags of an enumeration, binary, justified to the right
    assert lines[lines.index("+{u_msix state_q} interrupt_bench.u_msix.state_q[1:0]") - 1] == "@100000028"
    assert main({"TEST": "block", "PACKET": "1"}, tmp_path) == 2
    assert "PACKET=1: block is the bench of a block, which has no packets" in capsys.readouterr().err


def test_settings() -> None:
    views = read_views()
    config = WavesConfig.parse(views, {"VIEW": "line", "TEST": "a", "PACKET": "0", "FROM": "5", "TO": "90"})
    assert config == WavesConfig(views["line"], "a", packet=0, window_ns=(5, 90))
    assert WavesConfig.parse(views, {"TO": "7"}) == WavesConfig(views["send"], window_ns=(0, 7))
    assert WavesConfig.parse(views, {}) == WavesConfig(views["send"])


def test_a_packet_that_is_not_there(interrupt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    count = json.loads((interrupt / "summary.json").read_text())["packets"]
    assert count > 2 and main({"TEST": "interrupt", "PACKET": str(count)}, tmp_path) == 2
    assert f"PACKET={count}: this run has {count} packets, from 0" in capsys.readouterr().err


def test_what_is_asked_for_must_be_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main({"TEST": "interupt"}, tmp_path) == 2
    assert "TEST=interupt: must be one of make_sim.iommu, " in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main({"TEST": "interrupt", "SEED": "x"}, tmp_path)
    assert stop.value.code == 2 and "SEED=x: must be a number from 0 to 4294967295" in capsys.readouterr().err


CHECKER = """[1000] %Error: myr_check_tlp.sv:47: Assertion failed in myr_top: [myr_check_tlp] cycle 500 nic.tx: TLP-4K: header
"""
ASSERTION = """   100.00ns INFO cocotb  test started
[332746003] %Error: myr_rx_buffer.sv:110: Assertion failed in bench.u_buffer: myr_rx_buffer: more words in use than there are
%Error: myr_rx_buffer.sv:110: Verilog $stop
[400000000] %Error: later.sv:1: Assertion failed
"""
RESULTS = """<testsuites><testsuite>
<testcase classname="t" name="a"><properties><property name="sim_time_duration" value="100.5"/></properties></testcase>
<testcase classname="t" name="b"><properties><property name="sim_time_duration" value="20"/></properties>
  <failure error_msg="no"/></testcase>
<testcase classname="t" name="c"><properties><property name="sim_time_duration" value="7"/></properties>
  <failure error_msg="no"/></testcase>
</testsuite></testsuites>"""


@pytest.mark.parametrize(
    ("log", "results", "ps"),
    [
        (CHECKER + ASSERTION, RESULTS, 1_998_000),
        (ASSERTION, RESULTS, 332_746_003),
        ("fine", RESULTS, 120_500),
        ("fine", RESULTS.replace("failure", "other"), None),
        ("", None, None),
    ],
)
def test_the_moment_of_the_first_error(tmp_path: Path, log: str, results: str | None, ps: int | None) -> None:
    if log:
        (tmp_path / "sim.log").write_text(log)
    if results:
        (tmp_path / "results.xml").write_text(results)
    assert failed_ps(tmp_path) == ps


PLAN = """{"seed": 3, "mode": "native", "machine": {}, "guests": [{"form": "fetched", "ring": 16}], "operations": [
{"id": 0, "kind": "send", "guest": 0, "pieces": 11}, {"id": 1, "kind": "send", "guest": 0, "pieces": 10}]}"""


def test_a_random_system_from_its_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two frames of one guest, the second over the end of its ring of 16: each slot holds what was sent from it."""
    plan = tmp_path / "two.json"
    plan.write_text(PLAN)
    assert main({"PLAN": str(plan), "PACKET": "1"}, tmp_path / "out") == 0
    assert "two.json, seed 3: passed" in capsys.readouterr().out
    lines = (tmp_path / "out/descriptor_fetch.txt").read_text().splitlines()
    slots = re.findall(r"\?#(\d) \[(\d+)\]", "\n".join(lines[lines.index("$name descriptors of endpoint 0") :]))
    assert [(int(packet), int(slot)) for packet, slot in slots] == [
        *((0, n) for n in range(11)), *((1, (11 + n) % 16) for n in range(10))]  # fmt: skip


@pytest.mark.parametrize(("settings", "told"), [
    ({"PLAN": "none.json"}, "none.json"),
    ({"PLAN": "none.json", "TEST": "hung"}, "TEST=hung PLAN=none.json: one of them"),
])  # fmt: skip
def test_a_plan_that_cannot_be_shown_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, str], told: str
) -> None:
    assert main(settings, tmp_path) == 2
    assert told in capsys.readouterr().err
