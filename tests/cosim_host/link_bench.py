"""Cycle by cycle: `myr_link` against the rule written down in its header, under random traffic and stalls."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.handle import SimHandleBase
from cocotb.triggers import FallingEdge, RisingEdge

ACK_INTERVAL = 12
LAST = 1 << 65


class LinkModel:
    """What the link does with the beat of this cycle: a beat is of a TLP, framing, a DLLP, or idle."""

    def __init__(self) -> None:
        self.previous_ended = False
        self.inside = False
        self.since = 0
        self.held: int | None = None

    def ready(self, out_ready: bool, stalled: bool) -> bool:
        dllp = not self.previous_ended and not self.inside and self.since >= ACK_INTERVAL
        return not (self.previous_ended or dllp or stalled) and (self.held is None or out_ready)

    def cycle(self, offered: int | None, out_ready: bool, stalled: bool) -> None:
        taken = offered if self.ready(out_ready, stalled) else None
        if taken is not None:
            self.inside = not taken & LAST
            self.since += 1
            self.previous_ended = bool(taken & LAST)
        elif self.previous_ended:
            self.since += 1
            self.previous_ended = False
        elif not self.inside and (self.since >= ACK_INTERVAL or offered is None):
            self.since = 0
        if taken is not None:
            self.held = taken
        elif out_ready:
            self.held = None


@cocotb.test
async def follows_the_rule(dut: SimHandleBase) -> None:
    """Every cycle: ready, valid and data as the model has them; nothing lost, changed or out of order."""
    link: Any = dut
    rng = random.Random(cocotb.RANDOM_SEED)
    for name in ("stall_i", "in_valid_i", "out_ready_i", "in_i"):
        getattr(link, name).value = 0
    link.rst_i.value = 1
    Clock(link.clk_i, 4, unit="ns").start()
    for _ in range(3):
        await RisingEdge(link.clk_i)
    await FallingEdge(link.clk_i)
    link.rst_i.value = 0
    model = LinkModel()
    offered: int | None = None
    left = 0
    saturated_dllps = 0
    for phase in range(40):
        gap, stall, busy = (0, 0, 0) if phase % 4 == 0 else (rng.randrange(80), rng.randrange(50), rng.randrange(80))
        for _ in range(200):
            if offered is None and (left or rng.randrange(100) >= gap):
                left = left or rng.choice((1, 2, 3, 10, 18, 40))
                left -= 1
                offered = rng.getrandbits(65) | (0 if left else LAST)
            out_ready, stalled = rng.randrange(100) >= busy, rng.randrange(100) < stall
            link.in_valid_i.value = offered is not None
            link.in_i.value = offered or 0
            link.out_ready_i.value = out_ready
            link.stall_i.value = stalled
            await RisingEdge(link.clk_i)
            taken = offered is not None and model.ready(out_ready, stalled)
            assert bool(link.in_ready_o.value) == model.ready(out_ready, stalled)
            assert bool(link.out_valid_o.value) == (model.held is not None)
            if model.held is not None:
                assert int(link.out_o.value) == model.held
            saturated_dllps += model.since >= ACK_INTERVAL and not model.inside and offered is not None
            model.cycle(offered, out_ready, stalled)
            if taken:
                offered = None
            await FallingEdge(link.clk_i)
    assert saturated_dllps > 50
