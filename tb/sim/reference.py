"""The same scenario on the reference NIC: what the RTL's frames and completions are compared with."""

from __future__ import annotations

from tb.model.platform import ModelPlatform
from tb.sim.scenario import ScenarioResult, run


def run_reference(frames: list[bytes], guests: int, seed: int) -> tuple[ScenarioResult, list[tuple[int, bytes]]]:
    """Result, and (endpoint, frame with padding and FCS) in the order of the wire."""
    platform = ModelPlatform()
    [result] = platform.run(run(platform, platform.gather, frames, guests, seed, lambda done, now: None))
    return result, [(frame.endpoint, frame.data) for frame in platform.frames]
