"""The simulation process of `make sim`: runs the scenario on the RTL and leaves result, wire and trace as files.

cocotb loads this module inside the simulator; the environment names the folder (see `rtl_files`).
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

import cocotb
import numpy as np
from cocotb.handle import SimHandleBase
from cocotb.triggers import gather

from hypervisor_model.hypervisor import MAX_PAYLOAD, MAX_READ
from sw.platform import CYCLE_NS
from tb.cosim.platform import HostConfig, RtlPlatform
from tb.sim import pcapng, rtl_files
from tb.sim.capture import load
from tb.sim.config import SimConfig
from tb.sim.scenario import run

READ_JITTER: Final = 8
"""Mean of the random addition to a read's 550 ns, cycles: the spread that a loaded root complex shows."""


def host_config(seed: int) -> HostConfig:
    """The host of `make sim`: reads take 550 ns and a random addition; completions mix and split at random."""
    return HostConfig(
        seed=seed, mps=MAX_PAYLOAD, mrrs=MAX_READ, read_jitter=READ_JITTER, reorder=True, random_split=True
    )


@cocotb.test
async def simulate(dut: SimHandleBase) -> None:
    folder = Path(os.environ[rtl_files.JOB])
    config: SimConfig = pickle.loads((folder / rtl_files.CONFIG).read_bytes())
    platform = RtlPlatform(dut, host_config(config.seed))

    async def together(coroutines: list[Coroutine[Any, Any, None]]) -> None:
        await gather(*coroutines)

    progress = rtl_files.ProgressWriter(folder / rtl_files.PROGRESS)
    result = await run(
        platform, together, cocotb.start_soon, load(config.pcap), config.guests, config.seed, config.mode, progress
    )
    frames = platform.wire_frames()
    pcapng.write(folder / rtl_files.WIRE, ["wire0"], ((0, f.first_cycle * CYCLE_NS, f.data) for f in frames))
    np.save(folder / rtl_files.TRACE, platform.trace())
    (folder / rtl_files.RESULT).write_bytes(pickle.dumps(result))
