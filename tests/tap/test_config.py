"""Command line, environment and addresses of `make tap`; what a machine without root is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tb.tap import namespaces
from tb.tap.config import TapConfig, addresses, parse


def test_defaults_environment_options() -> None:
    assert parse([], {}) == TapConfig()
    assert parse([], {"GUESTS": "3", "SEED": "9"}) == TapConfig(guests=3, seed=9)
    assert parse(["--guests", "4", "--stay"], {"GUESTS": "3"}) == TapConfig(guests=4, stay=True)
    assert parse([], {"GUESTS": ""}) == TapConfig()


def test_command_repeats_the_run() -> None:
    assert TapConfig().command == "make tap GUESTS=2 SEED=1"
    config = TapConfig(guests=3, stream_bytes=1000, model=True, stay=True)
    assert config.command == 'make tap GUESTS=3 SEED=1 args="--stream-bytes 1000 --model --stay"'


@pytest.mark.parametrize(
    ("argv", "environment", "said"),
    [
        ([], {"GUESTS": "1"}, "GUESTS=1: must be a number from 2 to 8"),
        ([], {"GUESTS": "9"}, "GUESTS=9: must be a number from 2 to 8"),
        (["--seed", "-1"], {}, "SEED=-1: must be a number from 0"),
        (["--stream-bytes", "0"], {}, "--stream-bytes=0: must be a number from 1"),
        (["--file-bytes", "1M"], {}, "--file-bytes=1M: must be a number from 1"),
    ],
)
def test_bad_values_are_named(
    argv: list[str], environment: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(argv, environment)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_addresses() -> None:
    assert [addresses(n, 4) for n in range(4)] == [
        ("10.77.0.1", "fd77::1"),
        ("10.77.0.2", "fd77::2"),
        ("10.77.0.3", "fd77::3"),
        ("10.77.0.254", "fd77::fe"),
    ]


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "_capabilities", lambda: 0)
    monkeypatch.setattr(namespaces, "TUN", Path("/dev/no/such/device"))
    said = namespaces.missing()
    assert said[0].startswith("root: CAP_NET_ADMIN")
    assert said[1].startswith("/dev/no/such/device: modprobe tun")


def test_missing_programs_name_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert namespaces.missing()[-1] == "programs: apt-get install iproute2 iputils-ping iperf3 curl tshark"
