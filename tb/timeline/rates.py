"""Bytes carried over time, by guest and direction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Final

from sw.platform import CYCLE_NS
from tb.timeline.packets import Direction, Entry

MAX_BINS: Final = 100
"""Points of a curve: more are hard to tell apart."""
MIN_BIN_NS: Final = 1000
"""About one frame of 1514 bytes on the wire."""


@dataclass(frozen=True)
class Rates:
    """Curves over bins of equal width."""

    start_ns: int
    """Where the first bin begins: a multiple of the width."""
    bin_ns: int
    gbps: dict[tuple[str, Direction], list[float]]
    """Bits of the bytes that went by in each bin, by ns."""


def rates(entries: Sequence[Entry]) -> Rates:
    """The bytes of a frame are spread evenly over `Entry.carried`; each counts where it ends."""
    frames = [
        (entry, entry.carried[0] * CYCLE_NS, entry.carried[1] * CYCLE_NS)
        for entry in entries
        if entry.carried is not None and entry.frame_bytes
    ]
    if not frames:
        return Rates(0, MIN_BIN_NS, {})
    first, last = min(start for _, start, _ in frames), max(end for _, _, end in frames)
    width = _width(last - first)
    start_ns = first // width * width
    counts: dict[tuple[str, Direction], list[int]] = {}
    for entry, start, end in frames:
        own = counts.setdefault((entry.guest, entry.direction), [0] * ((last - start_ns) // width + 1))
        for number, size in _spread(entry.frame_bytes, start - start_ns, end - start_ns, width):
            own[number] += size
    return Rates(start_ns, width, {key: [8 * size / width for size in own] for key, own in sorted(counts.items())})


def _spread(size: int, start: int, end: int, width: int) -> Iterator[tuple[int, int]]:
    """(bin, bytes) of a frame that goes by from `start` to `end`."""
    before = 0
    for number in range(start // width, end // width + 1):
        edge = (number + 1) * width
        gone = size if edge > end else size * (edge - start) // (end - start)
        yield number, gone - before
        before = gone


def _width(span_ns: int) -> int:
    """The least of 1, 2, 5, 10, 20 ... us with which the span touches no more than MAX_BINS bins."""
    width, steps = MIN_BIN_NS, cycle((2, 5, 10))
    decade = MIN_BIN_NS
    while span_ns > width * (MAX_BINS - 1):
        step = next(steps)
        width = decade * step
        decade = width if step == 10 else decade
    return width
