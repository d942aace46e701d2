"""Every protection mode carries the same traffic: the plans of the exchange, guests and line as ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sw.abi.registers import Form, Mode
from sw.guest.virtual_nic import SendForm
from tb.model.platform import ModelPlatform
from tests.system import exchange
from tests.system.exchange import Plan


def fetched(plan: Plan) -> Plan:
    """The same with rings that the NIC fetches: a validated guest must not write them."""
    guests = [replace(g, form=SendForm.FETCHED, receive=replace(g.receive, form=Form.FETCHED)) for g in plan.guests]
    return Plan(guests, plan.sends)


@pytest.mark.parametrize("seed", range(1, 9))
@pytest.mark.parametrize("mode", [Mode.WINDOWS, Mode.VALIDATED])
def test_exchange(mode: Mode, seed: int) -> None:
    plan = exchange.random_plan(seed)
    if mode is Mode.VALIDATED:
        plan = fetched(plan)
    platform = ModelPlatform()
    [outcome] = platform.run(
        exchange.run(platform, platform.gather, plan, seed=seed, max_payload=128, max_read=512, mode=mode)
    )
    if mode is Mode.VALIDATED:
        # A batch is a hypercall: that is the price of this mode.
        assert outcome.data_path_entries > 0
        outcome.data_path_entries = 0
    exchange.check(plan, outcome, [f.data for f in platform.wire_frames()])
