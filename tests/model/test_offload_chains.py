"""The chains of the send offloads on the reference NIC: what the RTL runs."""

from __future__ import annotations

import pytest

from tb.model.platform import ModelPlatform
from tests.system.offload import CASES, Bench

SEED = 5


@pytest.mark.parametrize("name", CASES)
def test_chains(name: str) -> None:
    print(f"seed {SEED}")
    platform = ModelPlatform()

    async def case() -> None:
        await CASES[name](await Bench.boot(platform, platform.gather, SEED))

    platform.run(case())
