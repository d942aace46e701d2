"""One short run on the RTL with its timeline, and what it says when it is read a second time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scapy.utils import PcapWriter
from selenium.webdriver import Chrome

from tb.sim.__main__ import main as simulate
from tb.sim.capture import SHIPPED, load
from tb.timeline.__main__ import main as timeline
from tests.timeline.browser import chromium
from tests.timeline.reading import Reading, read

FRAMES = 300


@dataclass(frozen=True)
class Made:
    """A run, and the ledger of its own records."""

    folder: Path
    summary: dict[str, Any]
    reading: Reading


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("run")
    with PcapWriter(str(folder / "some.pcap"), linktype=1) as writer:
        writer.write_header(None)
        for frame in load(SHIPPED)[:FRAMES]:
            writer.write_packet(frame, sec=0, usec=0)
    options = ["--guests", "4", "--seed", "9", "--pcap", str(folder / "some.pcap"), "--folder", str(folder)]
    assert simulate(options) == 0
    assert timeline([str(folder)]) == 0
    summary = json.loads((folder / "summary.json").read_text())
    reading = read(folder, summary)
    assert len(reading.sent) == FRAMES
    assert {packet.form for packet in reading.sent} == {"inline", "pushed", "fetched"}
    return Made(folder, summary, reading)


@pytest.fixture
def browser() -> Iterator[Chrome]:
    with chromium() as driver:
        yield driver
