"""What `make sim` writes is read back by scapy and tshark, which are not ours."""

from __future__ import annotations

import shutil
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest
from scapy.utils import RawPcapNgReader

from tb.sim.pcapng import write

BODIES = [bytes(range(60)), bytes(k % 251 for k in range(9014)), bytes(61)]
FRAMES = [(k % 2, (1 << 33) + 67 * k + 1, b + zlib.crc32(b).to_bytes(4, "little")) for k, b in enumerate(BODIES)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "wire.pcapng"
    assert write(path, ["wire0", "wire1"], FRAMES) == len(FRAMES)
    return path


def test_scapy_reads_frames_and_nanoseconds(path: Path) -> None:
    with RawPcapNgReader(str(path)) as reader:
        records: list[tuple[bytes, Any]] = list(reader)
    assert [data for data, _ in records] == [frame for _, _, frame in FRAMES]
    assert all(meta.tsresol == 10**9 for _, meta in records)
    assert [(meta.tshigh << 32) + meta.tslow for _, meta in records] == [ns for _, ns, _ in FRAMES]


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_finds_good_fcs_on_named_wires(path: Path) -> None:
    fields = ("frame.time_epoch", "frame.interface_name", "frame.len", "eth.fcs.status")
    told = [part for name in fields for part in ("-e", name)]
    command = ["tshark", "-r", str(path), "-o", "eth.check_fcs:TRUE", "-T", "fields", *told]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split("\t") for line in shown] == [
        ["8.589934593", "wire0", "64", "1"],
        ["8.589934660", "wire1", "9018", "1"],
        ["8.589934727", "wire0", "65", "1"],
    ]


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
def test_tshark_finds_a_bad_fcs(tmp_path: Path) -> None:
    path = tmp_path / "bad.pcapng"
    write(path, ["wire0"], [(0, 0, BODIES[0] + b"\0\0\0\0")])
    command = ["tshark", "-r", str(path), "-o", "eth.check_fcs:TRUE", "-T", "fields", "-e", "eth.fcs.status"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["0"]
