"""The shrinker on faults that are known: what remains is what they need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tb.uvm.constraints import Constraints
from tb.uvm.plan import Operation, Plan
from tb.uvm.shrink import minimise, shrink
from tests.uvm.support import CONSTRAINTS


@pytest.mark.parametrize("needed", [{3}, {0, 99}, {17, 18, 64}, set(range(0, 100, 9))])
def test_minimise_finds_what_is_needed(needed: set[int]) -> None:
    tried = 0

    def fails(kept: Sequence[int]) -> bool:
        nonlocal tried
        tried += 1
        return needed <= set(kept)

    assert set(minimise(range(100), fails)) == needed
    assert tried < 1000


def test_minimise_of_what_always_fails_is_nothing() -> None:
    assert minimise(range(7), lambda kept: True) == []


def test_a_plan_shrinks_to_the_operation_that_fails(tmp_path: Path) -> None:
    plan = Constraints(CONSTRAINTS / "full.toml").plan(3)

    def culprit(operation: Operation) -> bool:
        return operation.kind == "send" and operation.offload == "tso"

    small = shrink(plan, lambda candidate: any(map(culprit, candidate.operations)))
    assert [operation.offload for operation in small.operations] == ["tso"]
    assert small.machine == {} and len(small.guests) <= 2
    small.write(tmp_path / "small.json")
    assert Plan.read(tmp_path / "small.json") == small
