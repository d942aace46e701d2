"""What `make bench` leaves: every result says what software cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hypervisor_model.costs import CostTable
from tb.bench import __main__ as bench
from tb.bench.figures import Row

FOUND = [Row("nic.gbps.tx", 9.8, "Gb/s", 9.84, "wire"), Row("nic.cycles.inline", 18.0, "cycles")]


@pytest.mark.parametrize(
    ("options", "costs"),
    [
        ([], "none, software takes no time"),
        (["--modes", "1"], "version 1, exit 680 -> 1500 ns"),
    ],
)
def test_the_cost_table_is_named(
    options: list[str], costs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = CostTable.load(overrides={"exit": 1500})

    def measure(*arguments: Any) -> list[Row]:
        return FOUND

    monkeypatch.setattr(bench, "FOLDER", tmp_path)
    monkeypatch.setattr(bench, "build_machine", lambda *, variant: None)
    monkeypatch.setattr(bench, "measure_cases" if not options else "measure_modes", measure)
    monkeypatch.setattr(CostTable, "load", lambda: changed)
    assert bench.main(options) == 0
    assert f"Costs:      {costs}\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "summary.json").read_text()) == {
        "software_costs": costs,
        "figures": [
            {"name": "nic.gbps.tx", "value": 9.8, "unit": "Gb/s", "bound": 9.84},
            {"name": "nic.cycles.inline", "value": 18.0, "unit": "cycles", "bound": None},
        ],
    }
