"""Bytes carried over time, by guest and direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

import numpy as np

from sw.platform import CYCLE_NS
from tb.timeline.packets import Direction, Entry

MAX_BINS: Final = 100
"""Points of a curve: more are not told apart on a screen."""
MIN_BIN_NS: Final = 1000
"""About one frame of 1514 bytes on the wire."""


@dataclass(frozen=True)
class Rates:
    """Curves over bins of equal width."""

    start_ns: int
    """Where the first bin begins: a multiple of the width."""
    bin_ns: int
    gbps: dict[tuple[str, Direction], list[float]]
    """Bits of the frames that were carried in each bin, by ns."""


def rates(entries: Sequence[Entry]) -> Rates:
    """A frame counts whole in the bin of its last moment: see `Entry.counted_at`."""
    carried = [e for e in entries if e.counted_at is not None and e.frame_bytes]
    if not carried:
        return Rates(0, MIN_BIN_NS, {})
    moments = [e.counted_at * CYCLE_NS for e in carried if e.counted_at is not None]
    first, last = min(e.start for e in carried) * CYCLE_NS, max(moments)
    width = _width(last - first)
    start = first // width * width
    bins = (last - start) // width + 1
    total: dict[tuple[str, Direction], np.ndarray[tuple[int], np.dtype[np.int64]]] = {}
    for entry, moment in zip(carried, moments, strict=True):
        key = entry.guest, entry.direction
        total.setdefault(key, np.zeros(bins, np.int64))[(moment - start) // width] += entry.frame_bytes
    return Rates(start, width, {key: (8 * carried_bytes / width).tolist() for key, carried_bytes in sorted(total.items())})


def _width(span_ns: int) -> int:
    """The least of 1, 2, 5, 10 ... us with which the span touches no more than MAX_BINS bins."""
    widths = (MIN_BIN_NS * step * 10**power for power in count() for step in (1, 2, 5))
    return next(width for width in widths if span_ns <= width * (MAX_BINS - 1))
