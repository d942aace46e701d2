"""The same scenario on the reference NIC: what the RTL's frames and completions are compared with."""

from __future__ import annotations

from hypervisor_model.sharing import Sharing
from tb.model.platform import ModelPlatform
from tb.sim.scenario import ScenarioResult, run


def run_reference(
    frames: list[bytes], guests: int, seed: int, sharing: Sharing
) -> tuple[ScenarioResult, list[tuple[int, bytes]]]:
    """Result, and (endpoint, frame with padding and FCS) in the order of the wire."""
    platform = ModelPlatform()
    [result] = platform.run(
        run(platform, platform.gather, platform.start, frames, guests, seed, sharing, lambda done, now: None)
    )
    return result, [(frame.endpoint, frame.data) for frame in platform.frames]
