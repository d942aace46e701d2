"""Modes WINDOWS and VALIDATED on the reference NIC: what the RTL is compared with holds by itself."""

from __future__ import annotations

from typing import Any

import pytest

from tb.model.platform import ModelPlatform
from tests.system.protected_cases import CASES


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_case(name: str, seed: int) -> None:
    platform = ModelPlatform()

    async def job() -> list[Any]:
        return await CASES[name](platform, seed)

    [outcome] = platform.run(job())
    assert outcome
