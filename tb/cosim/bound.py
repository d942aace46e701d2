"""The bound of a run in simulated time: a simulation that hangs ends with a failure that says what it waited for."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import cocotb
from cocotb.simtime import get_sim_time
from cocotb.task import Task
from cocotb.triggers import Timer

BOUND: Final = "MYR_BOUND_NS"
"""Environment variable: nanoseconds of simulated time, counted from the simulation's start; unset: no bound."""


class BoundError(RuntimeError):
    """The run's simulated time is over: the message says what was under way."""


def start(describe: Callable[[], str] = lambda: "") -> Task[None] | None:
    """Start to watch over the running test; when time is over it fails, with what `describe` says then."""
    bound = os.environ.get(BOUND)
    return cocotb.start_soon(_watch(int(bound), describe)) if bound else None


async def _watch(bound_ns: int, describe: Callable[[], str]) -> None:
    left = bound_ns - get_sim_time("ns")
    if left > 0:
        await Timer(left, "ns")
    raise BoundError("\n".join(filter(None, (f"not done after {bound_ns} ns of simulated time", describe()))))
