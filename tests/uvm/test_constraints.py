"""Constraint files: what is wrong is said with file, field and limit; a seed gives the same plan."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tb.uvm.constraints import MODES, ConstraintError, Constraints
from tests.uvm.support import CONSTRAINTS


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[frames]\npackets = 0", "frames.packets is 0: must be a whole number, 1 to 5000"),
        ("[frames]\nlength = [60, 9019]", "frames.length is [60, 9019]: must be [least, most] within 60 to 9018"),
        ("[frames]\nlength = [100, 60]", "frames.length is [100, 60]: must be [least, most] within 60 to 9018"),
        ("[frames]\nflaw = 1.5", "frames.flaw is 1.5: must be a number, 0 to 1"),
        ("[frames]\noffloads = { lro = 1 }", "must give weights of 0 to 1000, not all 0, to some of none, checksum, tso"),
        ("[guests]\nmode = 'split'", "guests.mode is 'split': must be one of native, iommu, windows, validated"),
        ("[guests]\nqueues = [5]", "guests.queues is [5]: must be a list of some of 1, 2, 3, 4"),
        ("[guests]\nspeed = 3", "guests.speed is no field of this section"),
        ("[machines]\nprofile = 'friendly'", "machines is no section"),
        ("[machine]\nprofile = 'rude'", "machine.profile is 'rude': must be one of friendly, unfriendly, starved, flooded"),
        ("[guests]\nmode = 'native'\n[events]\nhostile = 0.1", "events.hostile is 0.1: must be 0 with mode native"),
        ("[guests", "Expected"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ConstraintError, match=re.escape(complaint)) as told:
        Constraints(path)
    assert str(path) in str(told.value)


@pytest.mark.parametrize("path", sorted(CONSTRAINTS.glob("*.toml")), ids=lambda path: str(path.stem))
def test_a_seed_gives_one_plan(path: Path) -> None:
    constraints = Constraints(path)
    assert constraints.plan(5) == constraints.plan(5) != constraints.plan(6)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_has_plans(mode: str) -> None:
    plan = Constraints(CONSTRAINTS / "smoke.toml", mode).plan(1)
    assert plan.mode == mode
    assert len(plan.guests) == (1 if mode == "native" else 3)
