"""The simulation process of `make tap args="--model"`: the reference NIC, no simulator (see `job`)."""

from __future__ import annotations

from tb.model.platform import ModelPlatform
from tb.tap.job import load, serve
from tb.tap.pump import LINE_GBPS

LIMIT_NS = 1 << 62
"""The run ends when its parent says so, or is gone."""


def frames_left(platform: ModelPlatform) -> list[tuple[int, bytes]]:
    """As `tb.tap.pump.Left`."""
    return [(frame.time - len(frame.data) * 8 // LINE_GBPS, frame.data) for frame in platform.wire_frames()]


def main() -> None:
    folder, job = load()
    platform = ModelPlatform()
    platform.run(serve(platform, lambda: frames_left(platform), platform.gather, folder, job), limit_ns=LIMIT_NS)


if __name__ == "__main__":
    main()
