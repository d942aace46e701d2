"""What a hostile guest has tried, and how each attempt ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass
class Attempt:
    """One violation that was tried."""

    name: str
    expected: str
    outcome: str = ""
    caught: bool = False


@dataclass
class HostileResult:
    """What the hostile guest did. `frames` are those it may send, in order, by endpoint."""

    attempts: list[Attempt] = field(default_factory=list)
    frames: dict[int, list[bytes]] = field(default_factory=dict)
    completions: list[tuple[int, int, int]] = field(default_factory=list)
    """(index, length, status) of all its endpoints, in order."""

    def record(self, name: str, expected: str, outcome: str, *, caught: bool) -> None:
        """One more attempt has ended."""
        self.attempts.append(Attempt(name, expected, outcome, caught))


class Hostile(Protocol):
    """A guest that asks for what it has no right to. Each attempt is *caught* when it ends as `expected` says and is on
    record; anything else is *escaped*."""

    result: HostileResult

    async def run(self) -> None:
        """Every attempt, one after the other, beside the other guests' traffic."""
        ...
