"""Command line and environment of `make sim`: values, precedence, refusals that name the field and its limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from sw.guest.virtual_nic import SendForm
from tb.cosim.toolchain import Variant
from tb.sim.capture import SHIPPED
from tb.sim.config import SimConfig, form_of, parse


def test_defaults() -> None:
    assert parse([], {}) == SimConfig(guests=4, pcap=SHIPPED, seed=1, waves=False)


def test_environment_and_options() -> None:
    environment = {"GUESTS": "8", "PCAP": "mine.pcap", "SEED": "7", "WAVES": "1"}
    assert parse([], environment) == SimConfig(8, Path("mine.pcap"), 7, waves=True)
    assert parse(["--guests", "64", "--seed", "0"], environment) == SimConfig(64, Path("mine.pcap"), 0, waves=True)
    assert parse([], environment).command == "make sim GUESTS=8 SEED=7 PCAP=mine.pcap WAVES=1"


def test_the_simulator_is_one_of_three(capsys: pytest.CaptureFixture[str]) -> None:
    variants = [parse(options, {}).variant for options in ([], ["--waves", "1"], ["--coverage"])]
    assert variants == [Variant.PLAIN, Variant.WAVES, Variant.COVERAGE]
    with pytest.raises(SystemExit):
        parse(["--coverage"], {"WAVES": "1"})
    assert "WAVES=1 and --coverage are two simulators" in capsys.readouterr().err


def test_mode_is_one_of_five() -> None:
    for name in ("native", "iommu", "windows", "validated", "split"):
        config = parse([], {"MODE": name})
        assert config.mode == name
        assert ("MODE" in config.command) is (name != "iommu")
    assert parse(["--mode", "split"], {"MODE": "native"}).command == "make sim GUESTS=4 SEED=1 MODE=split"


def test_another_mode_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse([], {"MODE": "sriov"})
    assert stop.value.code == 2
    assert "MODE=sriov: must be one of native, iommu, windows, validated, split" in capsys.readouterr().err


def test_the_window_of_the_waves() -> None:
    assert parse(["--window", "5:90"], {}).window_ns == (5, 90)


@pytest.mark.parametrize("text", ["5", "5:", ":5", "5:5", "9:5", "a:5"])
def test_a_window_that_makes_no_sense_is_refused(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(["--window", text], {})
    assert stop.value.code == 2
    assert f"--window {text}: must be two times in ns, the earlier first" in capsys.readouterr().err


def test_empty_variables_are_unset() -> None:
    assert parse([], {"GUESTS": "", "PCAP": "", "SEED": "", "WAVES": "", "MODE": ""}) == SimConfig()


@pytest.mark.parametrize(
    ("field", "value", "limits"),
    [
        ("GUESTS", "0", "1 to 64"),
        ("GUESTS", "65", "1 to 64"),
        ("GUESTS", "four", "1 to 64"),
        ("GUESTS", "-1", "1 to 64"),
        ("SEED", "4294967296", "0 to 4294967295"),
        ("SEED", "1.5", "0 to 4294967295"),
        ("WAVES", "yes", "0 to 1"),
    ],
)
def test_bad_values_are_named(field: str, value: str, limits: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse([], {field: value})
    assert stop.value.code == 2
    assert f"{field}={value}: must be a number from {limits}" in capsys.readouterr().err


def test_forms_repeat_over_the_guests() -> None:
    assert [form_of(n) for n in range(6)] == [
        SendForm.INLINE,
        SendForm.PUSHED,
        SendForm.FETCHED,
        SendForm.FETCHED,
        SendForm.INLINE,
        SendForm.PUSHED,
    ]
