"""Every protection mode carries the same traffic: the plans of the exchange, guests and line as ever."""

from __future__ import annotations

import pytest

from sw.abi.registers import Mode
from tb.model.platform import ModelPlatform
from tests.system import exchange


@pytest.mark.parametrize("seed", range(1, 9))
@pytest.mark.parametrize("mode", [Mode.WINDOWS, Mode.VALIDATED])
def test_exchange(mode: Mode, seed: int) -> None:
    plan = exchange.random_plan(seed)
    if mode is Mode.VALIDATED:
        plan = exchange.fetched(plan)
    platform = ModelPlatform()
    [outcome] = platform.run(
        exchange.run(platform, platform.gather, plan, seed=seed, max_payload=128, max_read=512, mode=mode)
    )
    exchange.check(plan, outcome, [f.data for f in platform.wire_frames()], mode)
