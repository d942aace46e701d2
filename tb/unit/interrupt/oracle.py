"""When interrupts fire, in plain Python: what the hardware must do in each cycle."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

RINGS = 5
COUNT_MAX = 255
"""A ring's entries are counted up to here, the largest limit."""


@dataclass
class Endpoint:
    """One endpoint's rings and its wait."""

    cycles: int = 0
    limit: int = 0
    enabled: bool = False
    posted: list[int] = field(default_factory=lambda: [0] * RINGS)
    armed: set[int] = field(default_factory=set)
    entries: dict[int, int] = field(default_factory=dict)
    """Rings with an event: entries since they were armed."""
    since: int = 0
    """Cycle of the wait's first event."""

    def fires(self, cycle: int) -> bool:
        """An event of cycle n shows in cycle n + 1 at the earliest."""
        return (
            self.enabled
            and bool(self.entries)
            and (sum(self.entries.values()) >= self.limit or cycle == self.since + 1 + self.cycles)
        )

    def fired(self) -> None:
        self.armed -= set(self.entries)
        self.entries = {}

    def event(self, ring: int, entries: int, cycle: int) -> None:
        if not self.entries:
            self.since = cycle
        self.entries[ring] = min(COUNT_MAX, entries)


@dataclass(frozen=True)
class Post:
    endpoint: int
    ring: int
    index: int
    count: int


@dataclass(frozen=True)
class Arm:
    endpoint: int
    ring: int
    index: int


class Oracle:
    """Call `step` for each cycle: it returns the endpoints that fire in it."""

    def __init__(self) -> None:
        self.endpoints = [Endpoint() for _ in range(64)]
        self._arms: deque[Arm] = deque()

    def start(self, endpoint: int) -> None:
        old = self.endpoints[endpoint]
        self.endpoints[endpoint] = Endpoint(old.cycles, old.limit, enabled=True)

    def step(self, cycle: int, posts: list[Post], arm: Arm | None) -> set[int]:
        firing = {n for n, endpoint in enumerate(self.endpoints) if endpoint.entries and endpoint.fires(cycle)}
        for n in firing:
            self.endpoints[n].fired()
        for post in posts:
            endpoint = self.endpoints[post.endpoint]
            endpoint.posted[post.ring] = post.index
            if post.ring in endpoint.armed:
                endpoint.event(post.ring, endpoint.entries.get(post.ring, 0) + post.count, cycle)
        if self._arms and not posts:
            self._arm(self._arms.popleft(), cycle)
        if arm is not None:
            self._arms.append(arm)
        return firing

    def _arm(self, arm: Arm, cycle: int) -> None:
        endpoint = self.endpoints[arm.endpoint]
        if not endpoint.enabled or arm.ring >= RINGS:
            return
        endpoint.armed.add(arm.ring)
        behind = (endpoint.posted[arm.ring] - arm.index) & 0xFFFF
        if behind:
            endpoint.event(arm.ring, behind, cycle)
        else:
            endpoint.entries.pop(arm.ring, None)
