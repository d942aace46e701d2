"""How full the NIC's receive buffer may be: frames of the line, which it frees in the order in which they came."""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from typing import Final

from tb.uvm.expectation import Arrival

CAPACITY: Final = 64 << 10
"""Bytes."""


class ReceiveBuffer:
    """Frames whose words may still be in it."""

    def __init__(self) -> None:
        self._frames: deque[Arrival] = deque()

    def begin(self, arrival: Arrival, unfinished: Container[int]) -> None:
        """A frame begins: what is in the buffer now can only become less until its last word. `unfinished`: identities of
        frames that are not at rest.
        """
        while self._frames and id(self._frames[0]) not in unfinished:
            self._frames.popleft()
        held = sum(map(_bytes, self._frames))
        arrival.overflows = held + _bytes(arrival) > CAPACITY
        self._frames.append(arrival)

    def take_back(self, arrival: Arrival) -> None:
        """A frame is not kept: its words are free at once."""
        self._frames = deque(other for other in self._frames if other is not arrival)


def _bytes(arrival: Arrival) -> int:
    """Of a frame with its FCS, in words of 8."""
    return len(arrival.data) + 4 + 7 & -8
