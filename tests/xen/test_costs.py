"""The cost table: what is in it, what it refuses, and that without it nothing takes time."""

from __future__ import annotations

from pathlib import Path

import pytest

from hypervisor_model.costs import COSTS_FILE, Certainty, CostError, CostTable, Payer
from hypervisor_model.hypervisor import Hypervisor
from sw.guest.virtual_nic import SendForm
from tb.model.platform import ModelPlatform
from tests.model.model_support import machine
from tests.xen.cpu_support import exchange, free_machine

GOOD = """
version = 1
[trap]
ns = 2
per = "call"
time = "guest"
what = "w"
source = "s"
certainty = "R"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "costs.toml"
    path.write_text(text)
    return path


def test_shipped_numbers_are_those_of_their_sources() -> None:
    """Against the published figures and the arithmetic that the sources name."""
    table = CostTable.load()
    assert (table["exit"].ns, table["exit"].certainty) == (680, Certainty.READ)
    assert 2000 / 2.93 == pytest.approx(table["exit"].ns, rel=0.01)
    assert (table["hypercall"].ns, table["event_to_running"].ns, table["event_to_blocked"].ns) == (200, 1000, 5000)
    assert 11_000 / 2.1 == pytest.approx(table["event_to_blocked"].ns, rel=0.05)
    assert table["page_registration"].ns == 300
    # one CPU's 8.3 points over the packets of 1867 Mb/s
    assert 0.083 / (1867e6 / 8 / 1500) * 1e9 == pytest.approx(table["pin_check"].ns, rel=0.01)
    assert 1e3 / 0.684 - 1e3 / 2.49 == pytest.approx(table["grant_copy"].ns, rel=0.01)
    # 64 bytes, 16 of header, 8 of framing at 2 bytes a ns
    assert (64 + 16 + 8) / 2 == table["mmio_write_combined"].ns
    recalled = {name for name, cost in table.items() if cost.certainty is Certainty.RECALLED}
    assert {"hypercall", "event_to_running", "event_to_blocked"} <= recalled
    assert all(cost.source.strip() and cost.what.strip() and cost.picoseconds > 0 for cost in table.values())
    assert table["copy_byte"].picoseconds == 100
    assert table["hypercall"].payer is Payer.HYPERVISOR and table["descriptor_build"].payer is Payer.GUEST


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("version = 1", ""), r"version is None: must be 1"),
        (GOOD.replace("version = 1", "version = 2"), r"version is 2: must be 1"),
        (GOOD.replace("ns = 2", "ns = -1"), r"trap\.ns is -1: must be 0 to 1000000000 ns"),
        (GOOD.replace("ns = 2", "ns = 1e10"), r"trap\.ns is 1e\+10|trap\.ns is 10000000000\.0: must be 0 to"),
        (GOOD.replace("ns = 2", "ns = nan"), r"trap\.ns is nan: must be 0 to"),
        (GOOD.replace("ns = 2", "ns = true"), r"trap\.ns is True: must be 0 to"),
        (GOOD.replace("ns = 2", 'ns = "2"'), r"trap\.ns is '2': must be 0 to"),
        (GOOD.replace("ns = 2", "ns = 0.0001"), r"trap\.ns is 0\.0001: must be a multiple of 0\.001 ns"),
        (GOOD.replace("ns = 2\n", ""), r"trap\.ns is missing"),
        (GOOD.replace('source = "s"\n', ""), r"trap\.source is missing"),
        (GOOD.replace('source = "s"', 'source = " "'), r"trap\.source is ' ': must be text"),
        (GOOD.replace('"R"', '"M-"'), r"trap\.certainty is 'M-': must be one of R, S, C, M\+, M"),
        (GOOD.replace('"guest"', '"dom0"'), r"trap\.time is 'dom0': must be one of guest, hypervisor"),
        (GOOD + "cycles = 3\n", r"trap\.cycles is unknown"),
        ("trap = 3\nversion = 1\n", r"trap: must be a table"),
        ("version = \n", r"costs\.toml: "),
    ],
)
def test_a_wrong_table_is_refused_by_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(CostError, match=message) as raised:
        CostTable.load(path)
    assert str(path) in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CostError, match=r"absent\.toml: No such file"):
        CostTable.load(tmp_path / "absent.toml")


def test_overrides_are_remembered_and_told() -> None:
    table = CostTable.load(overrides={"exit": 1500, "copy_byte": 0.25, "hypercall": 200})
    assert table["exit"].ns == 1500 and table["copy_byte"].picoseconds == 250
    assert dict(table.changed) == {"exit": 680, "copy_byte": 0.1}
    assert table.describe() == "version 1, copy_byte 0.1 -> 0.25 ns, exit 680 -> 1500 ns"
    assert CostTable.load().describe() == "version 1, nothing changed"
    assert CostTable.load()["exit"].ns == 680
    with pytest.raises(CostError, match=r"override of 'exits'.*has no such operation"):
        CostTable.load(overrides={"exits": 1})
    with pytest.raises(CostError, match=r"override of exit is -3: must be 0 to"):
        CostTable.load(overrides={"exit": -3})


def test_a_table_cannot_be_changed() -> None:
    table = CostTable.load()
    for attempt in (
        lambda: table.changed.__setitem__("exit", 1),  # type: ignore[index]
        lambda: table.__setitem__("exit", table["exit"]),  # type: ignore[index]
        lambda: setattr(table["exit"], "picoseconds", 1),
    ):
        with pytest.raises((TypeError, AttributeError)):
            attempt()


def test_the_free_table_has_every_operation_at_no_cost() -> None:
    free = CostTable.free()
    assert free.is_free and free.describe() == "none, software takes no time"
    assert set(free) == set(CostTable.load(COSTS_FILE))
    assert not any(cost.picoseconds for cost in free.values())
    _, hv = machine()
    assert hv.costs.is_free and hv.scheduler is None
    dom = hv.create_domain("guest", 16)
    for table_of in (dom, Hypervisor(ModelPlatform(), costs=CostTable.load()).create_domain("timed", 16)):
        table_of.spend("descriptor_build", 3)
        with pytest.raises(KeyError, match="no operation 'sneeze'"):
            table_of.spend("sneeze")


@pytest.mark.parametrize("form", list(SendForm))
@pytest.mark.parametrize("interrupts", [True, False])
def test_no_cost_means_no_time(form: SendForm, interrupts: bool) -> None:
    """Cores and accounts without costs change no time on the wire and of no completion."""
    free = exchange(free_machine(), form, interrupts=interrupts)
    nothing = dict.fromkeys(CostTable.load(), 0.0)
    timed = ModelPlatform()
    hv = Hypervisor(timed, costs=CostTable.load(overrides=nothing), cores=8)
    timed.run(hv.boot())
    other = exchange((timed, hv), form, interrupts=interrupts)
    assert other.frames == free.frames and other.completions == free.completions
    assert other.end == free.end
    assert other.entries == free.entries
