"""`make waves TEST=name`: a test of the suites again, one that fails among them, and a block's bench."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tb.cosim.toolchain import Variant
from tb.regress import config as regress_config
from tb.regress import models, one
from tb.regress.spec import RunSpec
from tb.sim.rtl_files import WAVES
from tb.waves.__main__ import main
from tb.waves.config import WavesConfig
from tb.waves.desk import SAVE_FILE, prepare
from tb.waves.dump import Dump
from tb.waves.failure import failed_ps
from tb.waves.rerun import TRACE
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


def test_descriptors_are_those_that_the_guest_wrote(interrupt: Path, tmp_path: Path) -> None:
    """The bench sends 60 bytes from a page of its own; the packet's own descriptor stands at its grant."""
    prepare(tmp_path, interrupt / WAVES, interrupt / TRACE, WavesConfig(read_views()["send"], packet=2))
    lines = (tmp_path / "descriptor_fetch.txt").read_text().splitlines()
    text = [line.split("?")[2] for line in lines[lines.index("$name descriptors of endpoint 37") :] if "?" in line]
    print(text)
    assert [line.split()[0] for line in text] == ["#0", "#1", "#2", "#3", "#4", "#5"]


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
    assert "[markername] Adoorbell" in lines and lines[3].split()[-25:].count("60000000") == 1
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
    assert [name for name, _ in rows[:2]] == ["clk_i", "rst_i"] and "u_msix state_q" in shown
    assert {"interrupt_bench", "u_interrupt", "u_msix"} <= shown.keys()
    # of the two tests of the module the first has failed
    assert (tmp_path / SAVE_FILE).read_text().splitlines()[3].split()[1] == "2000000"
    assert main({"TEST": "block", "PACKET": "1"}, tmp_path) == 2
    assert "PACKET=1: block is the bench of a block, which has no packets" in capsys.readouterr().err


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
