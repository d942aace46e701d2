"""Lives and deaths beside busy siblings, in every way of sharing, on the reference NIC: what the RTL runs as well."""

from __future__ import annotations

import pytest

from hypervisor_model.sharing import Sharing
from tb.model.platform import ModelPlatform
from tests.system.life import Scene

ROUNDS = 4
"""Each way to end once."""


@pytest.mark.parametrize("sharing", list(Sharing))
def test_lives_and_deaths_beside_busy_siblings(sharing: Sharing) -> None:
    platform = ModelPlatform()
    [outcome] = platform.run(Scene(platform, platform.start, sharing, seed=1).play(ROUNDS))
    assert sum(outcome.lives.values()) == ROUNDS
