"""Drives `steps.sv` for five rising edges of its clock: at 2, 6, 10, 14 and 18 ns."""

from __future__ import annotations

import os
from typing import Any

import cocotb
from cocotb.triggers import Timer


@cocotb.test
async def five_edges(dut: Any) -> None:
    """`way_i[0]` is set at two of them; as `STEPS` says, it fails then."""
    dut.add_i.value = 1
    await Timer(8, "ns")
    dut.way_i.value = 1
    await Timer(8, "ns")
    dut.way_i.value = 0
    dut.fail_i.value = int(os.environ["STEPS"] == "error")
    await Timer(5, "ns")
    assert os.environ["STEPS"] != "assert"
