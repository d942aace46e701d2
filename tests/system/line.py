"""The wire's own rule: no byte before its time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tb.cosim.platform import WireFrame

CYCLE_BYTES: Final = 5
"""10 Gb/s at 250 MHz."""
PREAMBLE: Final = 8
GAP: Final = 12


def check_line(frames: Sequence[WireFrame]) -> None:
    """The line carries 5 bytes in a cycle, no more: 8 of preamble, the frame and 12 of gap, however frames follow."""
    free = 0
    for number, frame in enumerate(frames):
        start = frame.first_cycle * CYCLE_BYTES
        # a beat leaves in the cycle in which its first byte is due
        assert free < start + CYCLE_BYTES, f"frame {number}, cycle {frame.first_cycle}: {free - start} bytes early"
        free = max(free, start) + PREAMBLE + len(frame.data) + GAP
        took, last_beat = frame.last_cycle - frame.first_cycle, (PREAMBLE + len(frame.data) - 1) // 8 * 8
        assert last_beat // CYCLE_BYTES <= took <= (last_beat + CYCLE_BYTES - 1) // CYCLE_BYTES, f"frame {number}: {took} cycles"
