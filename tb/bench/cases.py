"""What is measured: each case is one simulation by itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from sw.guest.virtual_nic import SendForm
from sw.platform import CYCLE_NS
from tb.sim.config import FORMS

CASE_VARIABLE: Final = "MYRMIDON_BENCH_CASE"
"""Environment of the simulation process: the case's name."""
RECEIVE_ENTRIES: Final = 256
"""Buffers in each receive ring of a guest."""
RESULT: Final = "result.pickle"
"""A `Measurement`, in the folder of the case."""


class Traffic(Enum):
    """Where frames come from and go to."""

    SEND = "send"
    """Every guest to the wire."""
    RECEIVE = "receive"
    """The wire to every guest, back to back."""
    DUPLEX = "duplex"
    """Both at once."""
    INSIDE = "inside"
    """The first guest to the second, through the switch."""


@dataclass(frozen=True)
class Case:
    """One simulation: every guest sends or receives `frames` frames of `frame_bytes`, as fast as ring and line allow."""

    name: str
    forms: tuple[SendForm, ...]
    frame_bytes: int = 0
    frames: int = 0
    """Of each guest and direction; 0: only the clock runs."""
    buffer_pages: int = 128
    """Each guest's send buffers; with its rings (8 pages) they are its working set in the IOTLB of 64 entries."""
    traffic: Traffic = Traffic.SEND
    spaced: bool = False
    """Each frame waits until the one before has completed and the machine is quiet."""
    checkers: bool = True
    """The protocol checkers are on."""

    @property
    def buffer_bytes(self) -> int:
        """Of a big receive buffer."""
        return 2048 if self.frame_bytes + 2 <= 2048 else 4096


@dataclass
class Measurement:
    """What a case gave. Cycles are simulated, `cpu_s` is the simulation process's own time during traffic."""

    cycles: int
    cpu_s: float
    frames: int
    moments: list[int] = field(default_factory=list)
    """Cycle of each frame's first beat on the wire; of received ones, in which its last payload write left."""
    latency: int = 0
    """Of spaced received frames: cycles from the last beat on the wire, of spaced frames between guests from the
    doorbell, until the completion is visible; the longest."""
    nic_share: dict[str, int] = field(default_factory=dict)
    """By form, of spaced frames after the first ones: the longest."""
    payload_read: int = 0
    """Of the same frames: median cycles of the payload read."""

    @property
    def cycles_per_cpu_s(self) -> float:
        return self.cycles / self.cpu_s

    def frames_per_us(self) -> float:
        """Rate without the first quarter, in which the pipeline fills and the IOTLB is cold."""
        beats = self.moments[len(self.moments) // 4 :]
        return (len(beats) - 1) / ((beats[-1] - beats[0]) * CYCLE_NS / 1000)


IDLE: Final = Case("idle", FORMS)
LATENCY: Final = Case("latency", (SendForm.INLINE, SendForm.PUSHED, SendForm.FETCHED), 60, 12, 16, spaced=True)
TX_1514_4G: Final = Case("tx_1514_4g", FORMS, 1514, 600)
TX_60_4G: Final = Case("tx_60_4g", FORMS, 60, 6000, 16)
TX_1514_1G: Final = Case("tx_1514_1g", (SendForm.FETCHED,), 1514, 800)
TX_1514_8G: Final = Case("tx_1514_8g", (SendForm.FETCHED,) * 8, 1514, 100)
TX_60_1G: Final = Case("tx_60_1g", (SendForm.FETCHED,), 60, 8000, 16)
TX_60_8G: Final = Case("tx_60_8g", (SendForm.FETCHED,) * 8, 60, 2000, 16)
RX_1514_1G: Final = Case("rx_1514_1g", (SendForm.FETCHED,), 1514, 800, 4, Traffic.RECEIVE)
RX_1514_8G: Final = Case("rx_1514_8g", (SendForm.FETCHED,) * 8, 1514, 100, 4, Traffic.RECEIVE)
RX_9014_8G: Final = Case("rx_9014_8g", (SendForm.FETCHED,) * 8, 9014, 25, 4, Traffic.RECEIVE)
RX_60_8G: Final = Case("rx_60_8g", (SendForm.FETCHED,) * 8, 60, 1000, 4, Traffic.RECEIVE)
DUPLEX_1514_4G: Final = Case("duplex_1514_4g", FORMS, 1514, 500, 16, Traffic.DUPLEX)
WIRE_TO_MEMORY: Final = Case("wire_to_memory", (SendForm.FETCHED,), 60, 12, 4, Traffic.RECEIVE, spaced=True)
GUEST_TO_GUEST: Final = Case("guest_to_guest", (SendForm.INLINE,) * 2, 60, 12, 4, Traffic.INSIDE, spaced=True)
SEND_CASES: Final = (IDLE, LATENCY, TX_1514_4G, TX_60_4G, TX_1514_1G, TX_1514_8G, TX_60_1G, TX_60_8G)
RECEIVE_CASES: Final = (
    RX_1514_1G, RX_1514_8G, RX_9014_8G, RX_60_8G, DUPLEX_1514_4G, WIRE_TO_MEMORY, GUEST_TO_GUEST,
)  # fmt: skip
CHECKED: Final = {case: replace(case, name=f"{case.name}_unchecked", checkers=False) for case in (TX_1514_4G, DUPLEX_1514_4G)}
"""Cases that tell what watching costs, and the same without protocol checkers."""
CASES: Final = {case.name: case for case in (*SEND_CASES, *RECEIVE_CASES, *CHECKED.values())}
