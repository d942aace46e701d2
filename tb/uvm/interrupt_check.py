"""The rule of interrupts: none without cause, none lost (docs/hardware.md)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tb.model.interrupts import RINGS

LATE_NS: Final = 20_000
"""So long after a ring was armed anew a message for the arming before it may arrive."""
LOST_NS: Final = 30_000
"""So long after a message is due, and the moderation's time, it has arrived."""
_HALF: Final = 0x8000


@dataclass
class _Ring:
    armed: int | None = None
    """First entry not seen; None: not armed."""
    told: bool = False
    """A message may have been for it: it need not be armed any more."""
    before: list[tuple[int, int]] = field(default_factory=list)
    """Earlier armings that may have led to a message of their own: first entry, when the next one followed."""
    posted: int = 0
    """Entries in memory, free-running modulo 2^16."""
    since: int = 0
    """When it came to be due, or was armed."""

    def has(self, index: int | None) -> bool:
        """Is there an entry from `index` on?"""
        return index is not None and 0 < (self.posted - index & 0xFFFF) < _HALF

    def late(self, now: int) -> bool:
        """Take back an earlier arming that explains a message now; False: there is none."""
        self.before = [(index, until) for index, until in self.before if now - until <= LATE_NS]
        found = next((arming for arming in self.before if self.has(arming[0])), None)
        if found is not None:
            self.before.remove(found)
        return found is not None


@dataclass
class InterruptCheck:
    """One vector."""

    rings: list[_Ring] = field(default_factory=lambda: [_Ring() for _ in range(RINGS)])
    arms: int = 0
    messages: int = 0

    def arm(self, ring: int, index: int, now: int) -> None:
        """Software asks for one message, from entry `index` on."""
        self.arms += 1
        state = self.rings[ring]
        if state.armed is not None:
            state.before.append((state.armed, now))
        state.armed, state.told, state.since = index, False, now

    def posted(self, ring: int, index: int, now: int) -> None:
        """Entries before `index` are in memory."""
        state = self.rings[ring]
        was = state.has(state.armed)
        state.posted = index
        if not was:
            state.since = now

    def message(self, now: int) -> str | None:
        """A message has arrived: what is wrong with it."""
        self.messages += 1
        if self.messages > self.arms:
            return f"{self.messages} messages, but it was armed {self.arms} times"
        due = [ring for ring in self.rings if ring.has(ring.armed)]
        fresh = any(not ring.told for ring in due)
        for ring in due:
            ring.told = True
        if fresh or any(ring.late(now) for ring in self.rings) or due:
            return None
        return "no armed ring has an entry that software has not seen"

    def waiting(self) -> list[tuple[int, int]]:
        """Rings for which a message is due, and since when."""
        return [(n, ring.since) for n, ring in enumerate(self.rings) if ring.has(ring.armed) and not ring.told]

    def overdue(self, ring: int, now: int, moderation_ns: int) -> bool:
        """Has a ring's message been due for too long?"""
        state = self.rings[ring]
        return state.has(state.armed) and not state.told and now - state.since > LOST_NS + moderation_ns
