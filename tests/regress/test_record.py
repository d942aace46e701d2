"""Digests of what a machine did: of every byte, record and cycle, however they are taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tb.cosim.platform import _FRAME_DTYPE
from tb.cosim.record import Record
from tb.ledger.records import TRACE_DTYPE


def told(record: Record, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(folder)
    record.write(7)
    found: dict[str, Any] = json.loads((folder / "machine.json").read_text())
    return found


def test_pieces_do_not_matter_and_every_byte_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = np.arange(6 * TRACE_DTYPE.itemsize, dtype="u1").view(TRACE_DTYPE)
    rows = np.array([(1, 9, 0, 3), (10, 20, 3, 2)], _FRAME_DTYPE)
    data = np.array([1, 2, 3, 4, 5], "u1")
    whole, pieces = Record(), Record()
    whole.trace(records)
    whole.wire(rows, data)
    for part in (records[:1], records[1:4], records[4:]):
        pieces.trace(part)
    pieces.wire(rows[:1], data[:3])
    # taken by itself, a frame starts at 0
    pieces.wire(np.array([(10, 20, 0, 2)], _FRAME_DTYPE), data[3:])
    first = told(whole, tmp_path, monkeypatch)
    assert told(pieces, tmp_path, monkeypatch) == first
    assert (first["cycles"], first["records"], first["frames"]) == (7, 6, 2)

    def changed(field: str, value: int) -> str:
        other = rows.copy()
        other[field][1] = value
        record = Record()
        record.wire(other, data)
        return str(told(record, tmp_path, monkeypatch)["wire"])

    wires = {first["wire"], changed("first_cycle", 11), changed("last_cycle", 21), changed("length", 1)}
    spoilt = Record()
    spoilt.wire(rows, data ^ np.uint8(1))
    wires.add(told(spoilt, tmp_path, monkeypatch)["wire"])
    assert len(wires) == 5
    records["info"][5] ^= 1
    late = Record()
    late.trace(records)
    assert told(late, tmp_path, monkeypatch)["trace"] != first["trace"]
