"""Frames in every direction on the reference NIC: the plans that the RTL runs."""

from __future__ import annotations

import pytest

from tb.model.platform import ModelPlatform
from tests.system import exchange


@pytest.mark.parametrize("seed", range(1, 13))
def test_random_exchange(seed: int) -> None:
    plan = exchange.random_plan(seed)
    platform = ModelPlatform()
    [outcome] = platform.run(exchange.run(platform, platform.gather, plan, seed=seed, max_payload=128, max_read=512))
    exchange.check(plan, outcome, [f.data for f in platform.wire_frames()])
