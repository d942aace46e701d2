"""A run that did not drain fails, and says what it waited for: endpoint, kind, packet, since when."""

from __future__ import annotations

import re
from pathlib import Path

from tb.uvm.plan import GuestPlan, Operation, Plan
from tests.uvm.support import results, run


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    plan = Plan(1, guests=(GuestPlan(), GuestPlan(form="pushed")),
                operations=(Operation(0, "send", 0, 1, 100), Operation(1, "send", 1, 0, 70), Operation(2, "frame", length=200)))
    plan.write(tmp_path / "plan.json")
    result = run(tmp_path, "undrained", plan=str(tmp_path / "plan.json"))
    assert not result.passed
    said = [re.sub(r"^\d+ ns ", "", line) for line in results(tmp_path)["failures"]]
    assert said == [
        "endpoint 0: missing frame: chain 0 (100 bytes, OK): 1 of 1 frames",
        "endpoint 0: missing send completion: chain 0 (100 bytes, OK)",
        "endpoint 1: missing frame: chain 0 (70 bytes, OK): 1 of 1 frames",
        "endpoint 1: missing send completion: chain 0 (70 bytes, OK)",
        "NIC: missing arrival: in 204 bytes",
    ]
    assert all(int(line.split()[0]) > 0 for line in results(tmp_path)["failures"])
