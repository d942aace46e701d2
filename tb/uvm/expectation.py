"""What the scoreboard waits for: chains of an endpoint, frames on their way to endpoints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sw.abi.registers import RxDrop
from tb.model.nic import Outcome

WIRE: Final = -1
"""Source of a frame from the line; an endpoint's number otherwise."""


class Mismatch(NamedTuple):
    """One difference between hardware and reference."""

    endpoint: int | None
    """None: the line or the NIC as a whole."""
    kind: str
    """What differs: two runs with the same kind fail the same way."""
    text: str
    time: int
    """ns."""

    def __str__(self) -> str:
        who = "NIC" if self.endpoint is None else f"endpoint {self.endpoint}"
        return f"{self.time} ns {who}: {self.kind}: {self.text}"


class Fate(NamedTuple):
    """Where the switch sends a frame of an endpoint."""

    wire: bool
    inside: frozenset[int]


def difference(got: bytes, wanted: bytes) -> str:
    """Where two byte strings differ first, without printing them."""
    if len(got) != len(wanted):
        return f"{len(got)} bytes instead of {len(wanted)}"
    at = next(n for n, (a, b) in enumerate(zip(got, wanted, strict=True)) if a != b)
    return f"byte {at} of {len(wanted)} is {got[at]:#04x} instead of {wanted[at]:#04x}"


@dataclass
class SentFrame:
    """One frame of a chain."""

    data: bytes
    """Without padding."""
    fates: list[Fate]
    """Several where the switch was changed meanwhile: each is legal."""
    started: bool = False
    """Its preamble has left: the switch has judged it."""
    on_wire: bool = False
    """It has left whole."""
    handed_over: bool = False

    def allow(self, fate: Fate) -> None:
        """The switch is being changed; that counts for a frame which the switch has not judged."""
        if not (self.started or self.handed_over or fate in self.fates):
            self.fates.append(fate)

    def may_start(self) -> bool:
        """Is there a fate in which it goes to the line now?"""
        return not self.started and any(f.wire and (f.inside or not self.handed_over) for f in self.fates)

    def may_stay(self) -> bool:
        """Is there a fate in which it is handed over to siblings now?"""
        return not self.handed_over and any(f.inside and (f.wire or not self.started) for f in self.fates)

    def done(self) -> bool:
        """Has it gone where it must?"""
        return any(fate.wire == self.on_wire and bool(fate.inside) == self.handed_over for fate in self.fates)


@dataclass
class Chain:
    """One request that was executed."""

    outcome: Outcome
    frames: list[SentFrame]
    since: int
    """ns."""

    def __str__(self) -> str:
        lengths = [len(frame.data) for frame in self.frames]
        sizes = f"{lengths[0]} bytes" if len(set(lengths)) == 1 and len(lengths) == 1 else f"{len(lengths)} frames"
        return f"chain {self.outcome.head} ({sizes}, {self.outcome.status.name})"


@dataclass
class Arrival:
    """One frame that endpoints, or nobody, must get."""

    name: str
    source: int
    """`WIRE` or the endpoint that sent it."""
    data: bytes
    """Without FCS."""
    takers: list[frozenset[int]]
    """Alternatives, as of `SentFrame.fates`; empty: dropped altogether."""
    since: int
    drop: set[RxDrop] = field(default_factory=set)
    """Reasons for which it may be dropped altogether."""
    broken: bool = False
    """The MAC drops it, whatever the switch says."""
    settled: set[int] = field(default_factory=set)
    """Endpoints that have got it or lost it."""
    dropped: bool = False
    writing: int = 0
    """Copies on their way to memory."""
    overflows: bool = False
    """The receive buffer may have been too full for it."""

    @property
    def local(self) -> bool:
        """From a sibling."""
        return self.source != WIRE

    def allow(self, takers: Iterable[int]) -> None:
        """The switch has changed before the frame reached it."""
        wanted = frozenset(takers)
        if wanted not in self.takers:
            self.takers.append(wanted)

    def may_get(self, endpoint: int) -> bool:
        """Is there an alternative in which this endpoint gets it, after those that have?"""
        return not self.dropped and any(self.settled | {endpoint} <= takers for takers in self.takers)

    def must_get(self, endpoint: int) -> bool:
        """In every alternative, and it has not yet."""
        return endpoint not in self.settled and not self.drop and all(endpoint in takers for takers in self.takers)

    def done(self) -> bool:
        """Nobody need wait for it."""
        return self.dropped or frozenset(self.settled) in self.takers

    def missing(self) -> frozenset[int]:
        """Endpoints that have not got it, by the first alternative that is left."""
        return next((takers - self.settled for takers in self.takers if takers >= self.settled), frozenset())


@dataclass
class Delivery:
    """One copy of a frame: what must be in memory when its completion entry is."""

    arrival: Arrival
    endpoint: int
    queue: int
    index: int
    """Of its completion entry."""
    writes: list[tuple[int, bytes]]
    """Address and bytes; the completion entry last."""
    since: int
