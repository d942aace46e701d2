"""Which engine of the NIC a stage belongs to, and how stages that overlap share the lanes of one engine."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from tb.ledger.stages import STAGES
from tb.timeline.packets import Direction, Span, direction_of


class Engine(StrEnum):
    """Rows of a guest, in the order in which a packet passes them."""

    DOORBELL = "doorbell"
    FETCH = "fetch"
    SCHEDULER = "scheduler"
    AUTHORISE = "authorise"
    DMA_READ = "DMA read"
    FRAME_BUFFER = "frame buffer"
    WIRE = "wire"
    SWITCH = "switch"
    COMPLETION = "completion"
    ARRIVAL = "wire, receive"
    BUFFERS = "receive buffers"
    DMA_WRITE = "DMA write"
    RECEIVE_COMPLETION = "completion, receive"
    ERRORS = "errors"


WAITING: Final = frozenset({Engine.DOORBELL, Engine.SCHEDULER})
"""A whole ring may wait there, a lane for each packet: a group of its own keeps the others readable."""

_SEND: Final = {
    "doorbell to fetch": Engine.DOORBELL,
    "doorbell to grant": Engine.DOORBELL,
    "descriptor read": Engine.FETCH,
    "descriptor to grant": Engine.SCHEDULER,
    "authorise": Engine.AUTHORISE,
    "copy": Engine.DMA_READ,
    "issue read": Engine.DMA_READ,
    "payload read": Engine.DMA_READ,
    "to wire": Engine.FRAME_BUFFER,
    "to switch": Engine.FRAME_BUFFER,
    "on wire": Engine.WIRE,
    "delivery and completion": Engine.SWITCH,
    "to completion": Engine.COMPLETION,
    "completion visible": Engine.COMPLETION,
}
_RECEIVE: Final = {
    "arrival": Engine.ARRIVAL,
    "to buffers": Engine.BUFFERS,
    "to first write": Engine.DMA_WRITE,
    "writes": Engine.DMA_WRITE,
    "to completion": Engine.RECEIVE_COMPLETION,
    "completion visible": Engine.RECEIVE_COMPLETION,
}


ENGINE_OF: Final = {
    stage: (_SEND if direction_of(stage) is Direction.SEND else _RECEIVE)[stage.name] for stage in STAGES
}


def pack(spans: Iterable[Span]) -> list[int]:
    """A lane for each span, from 0: the first one that is free. Spans come in the order of their starts."""
    free_from: list[int] = []
    lanes = []
    for span in spans:
        lane = next((n for n, cycle in enumerate(free_from) if cycle <= span.start), len(free_from))
        # one without length holds its lane for a cycle, else the next one would hide it
        free_from[lane : lane + 1] = [max(span.end, span.start + 1)]
        lanes.append(lane)
    return lanes
