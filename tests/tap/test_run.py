"""`make tap` as a user runs it: ping, iperf3 and curl of this machine, in network namespaces, through the NIC."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest

from tb.cosim.toolchain import ROOT
from tb.tap.config import WIRE
from tb.tap.namespaces import NAMED, missing

LIMIT_S: Final = 600.0
SMALL: Final = ("--stream-bytes", "1000000", "--file-bytes", "200000")

lacks = missing()
pytestmark = pytest.mark.skipif(bool(lacks), reason=f"this machine lacks {'; '.join(lacks)}")


def command(folder: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "tb.tap", "--folder", str(folder), *options]


def run(folder: Path, *options: str) -> dict[str, Any]:
    """A run to its end; its summary."""
    done = subprocess.run(
        command(folder, *options), cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    assert figures["software_costs"] == "none, software takes no time"
    assert "Costs:      none, software takes no time; the stacks take real time\n" in done.stdout
    return figures


def named(number: int) -> list[str]:
    """Namespaces of a process."""
    return [entry.name for entry in NAMED.glob(f"myrmidon-{number}-*")]


def check(figures: dict[str, Any], guests: int) -> None:
    """Everything was seen, nothing was lost, tshark is content; the NIC did the stacks' work."""
    assert figures["ok"] and not figures["failures"]
    hosts = [f"guest{n}" for n in range(guests)] + [WIRE]
    titles = [step["title"] for step in figures["steps"]]
    for program in ("ping -6, discovery", "ping -4", "ping -4 -s 8972", "ping -6 -s 8952", "iperf3 -4", "iperf3 -6"):
        assert program in titles
    for step in figures["steps"]:
        there = [flow for flow in step["simulated"] if (flow["from"], flow["to"]) == (step["from"], step["to"])]
        back = [flow for flow in step["simulated"] if (flow["from"], flow["to"]) == (step["to"], step["from"])]
        assert there[0]["frames"] >= 3 and back[0]["frames"] >= 3
        assert there[0]["lost"] == back[0]["lost"] == 0
        assert 0 < there[0]["min_ns"] <= there[0]["median_ns"] <= there[0]["p99_ns"]
        assert step["stacks"]["retransmissions"] == 0
    assert {step["from"] for step in figures["steps"]} | {step["to"] for step in figures["steps"]} == set(hosts)
    assert figures["stacks"]["retransmissions"] == figures["stacks"]["dropped"] == 0
    assert not any(figures["totals"]["must_be_zero"].values())
    assert all(count > 0 for count in figures["totals"]["offloads"].values())
    assert all(capture["frames"] > 0 and capture["bad"] == 0 for capture in figures["captures"].values())
    assert set(figures["captures"]) == {"wire", *hosts[:-1]}


def test_reference_nic(tmp_path: Path) -> None:
    check(run(tmp_path, "--model", "--guests", "3", *SMALL), guests=3)


def test_rtl(tmp_path: Path) -> None:
    figures = run(tmp_path, *SMALL)
    check(figures, guests=2)
    # the hardware's own trace has every unicast frame of every step; towards the wire a segmented packet is one row
    for step in figures["steps"]:
        traced = {(flow["from"], flow["to"]): flow["frames"] for flow in step["ledger"]}
        for flow in step["simulated"]:
            fewest = 1 if flow["to"] == WIRE else flow["frames"]
            assert traced[flow["from"], flow["to"]] >= fewest


def test_namespaces_go_with_the_run(tmp_path: Path) -> None:
    """After SIGTERM nothing is left; what SIGKILL leaves, the next run removes."""
    for end, left in ((signal.SIGTERM, False), (signal.SIGKILL, True)):
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(command(tmp_path, "--model", "--stay", *SMALL), cwd=ROOT, stdout=log, stderr=log)
        deadline = time.monotonic() + LIMIT_S
        while len(named(process.pid)) < 3:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(process.pid, end)
        process.wait(LIMIT_S)
        assert bool(named(process.pid)) is left
    run(tmp_path, "--model", *SMALL)
    assert not named(process.pid)
