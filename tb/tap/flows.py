"""Who sent what to whom, and how long it took in simulated time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

GROUP: Final = 1
"""Bit of a destination address's first byte: a group, not one host."""


@dataclass
class Flow:
    """Unicast frames from one host to another. Times in ns, simulated."""

    pending: deque[list[int]] = field(default_factory=deque)
    """Of each packet on its way: when it was handed over, frames still to arrive."""
    latencies: list[int] = field(default_factory=list)
    frames: int = 0
    bytes: int = 0
    first_ns: int = 0
    last_ns: int = 0
    lost: int = 0

    def restart(self) -> None:
        """Begin a new account; what is on its way stays."""
        self.latencies.clear()
        self.frames = self.bytes = self.first_ns = self.last_ns = self.lost = 0

    def figures(self) -> dict[str, Any]:
        """The account as JSON; `busy_ns` is from the first frame handed over to the last one delivered."""
        low, median, p99 = (
            (int(v) for v in np.percentile(self.latencies, [0, 50, 99], method="inverted_cdf"))
            if self.latencies
            else (0, 0, 0)
        )
        taken = self.last_ns - self.first_ns
        return {
            "frames": self.frames,
            "bytes": self.bytes,
            "min_ns": low,
            "median_ns": median,
            "p99_ns": p99,
            "busy_ns": taken,
            "lost": self.lost,
        }


class Flows:
    """All pairs of hosts. Frames between two hosts keep their order, so the oldest pending is the one that arrives."""

    def __init__(self, macs: dict[bytes, str]) -> None:
        self._hosts = macs
        self._flows: dict[tuple[str, str], Flow] = {}
        self.outstanding = 0
        """Frames on their way to a known host."""

    def sent(self, frame: bytes, frames: int, now: int) -> None:
        """A packet that becomes `frames` unicast frames is handed to NIC or line; groups are not followed."""
        flow = self._flow(frame)
        if flow is not None:
            flow.pending.append([now, frames])
            self.outstanding += frames

    def arrived(self, frame: bytes, now: int) -> None:
        """A frame is handed to the stack of its destination."""
        flow = self._flow(frame)
        if flow is None:
            return
        flow.frames += 1
        flow.bytes += len(frame)
        flow.last_ns = now
        if flow.pending:
            oldest = flow.pending[0]
            if flow.frames == 1:
                flow.first_ns = oldest[0]
            flow.latencies.append(now - oldest[0])
            self.outstanding -= 1
            oldest[1] -= 1
            if not oldest[1]:
                flow.pending.popleft()

    def give_up(self) -> int:
        """Count what is still on its way as lost; the number of frames."""
        lost = self.outstanding
        if lost:
            for flow in self._flows.values():
                flow.lost += sum(left for _, left in flow.pending)
                flow.pending.clear()
            self.outstanding = 0
        return lost

    def figures(self) -> list[dict[str, Any]]:
        """Accounts with traffic since the last call; begins new ones."""
        found = []
        for (source, target), flow in sorted(self._flows.items()):
            if flow.frames or flow.lost:
                found.append({"from": source, "to": target, **flow.figures()})
            flow.restart()
        return found

    def _flow(self, frame: bytes) -> Flow | None:
        source, target = self._hosts.get(frame[6:12]), self._hosts.get(frame[:6])
        if source is None or target is None:
            return None
        return self._flows.setdefault((source, target), Flow())
