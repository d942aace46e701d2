"""An endpoint that is closed with frames on their way: until it is at rest it does what it did, in its own mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from tb.uvm.plan import GuestPlan, Operation, Plan
from tests.uvm.support import results, run


@pytest.mark.parametrize("form", ["pushed", "fetched"])
def test_closed_in_flight(tmp_path: Path, form: str) -> None:
    guests = (GuestPlan(form=form, mtu=9000), GuestPlan(mtu=9000))
    sends = tuple(Operation(n, "send", 0, 1, length=9000, pieces=6) for n in range(4))
    plan = Plan(1, guests=guests, operations=(*sends, Operation(4, "reopen", 0), Operation(5, "send", 0, 1, length=300)))
    plan.write(tmp_path / "plan.json")
    result = run(tmp_path, plan=str(tmp_path / "plan.json"))
    assert result.passed, f"{results(tmp_path)['failures']}; log {result.log}; again: {result.repeat}"
