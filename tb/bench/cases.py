"""What is measured: each case is one simulation by itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from sw.guest.virtual_nic import SendForm
from sw.platform import CYCLE_NS
from tb.sim.config import FORMS

CASE_VARIABLE: Final = "MYRMIDON_BENCH_CASE"
"""Environment of the simulation process: the case's name."""
RESULT: Final = "result.pickle"
"""A `Measurement`, in the folder of the case."""


@dataclass(frozen=True)
class Case:
    """One simulation: every guest sends `frames` frames of `frame_bytes` as fast as its ring takes them."""

    name: str
    forms: tuple[SendForm, ...]
    frame_bytes: int = 0
    frames: int = 0
    """Of each guest; 0: only the clock runs."""
    buffer_pages: int = 128
    """Each guest's send buffers; with its rings (8 pages) they are its working set in the IOTLB of 64 entries."""
    spaced: bool = False
    """Each frame waits until the one before has completed and the machine is quiet."""


@dataclass
class Measurement:
    """What a case gave. Cycles are simulated, `cpu_s` is the simulation process's own time during traffic."""

    cycles: int
    cpu_s: float
    frames: int
    first_beats: list[int] = field(default_factory=list)
    """Cycle of each frame's first beat on the wire."""
    nic_share: dict[str, int] = field(default_factory=dict)
    """By form, of spaced frames after the first ones: the longest."""
    payload_read: int = 0
    """Of the same frames: median cycles of the payload read."""

    @property
    def cycles_per_cpu_s(self) -> float:
        return self.cycles / self.cpu_s

    def frames_per_us(self) -> float:
        """Rate on the wire without the first quarter, in which the pipeline fills and the IOTLB is cold."""
        beats = self.first_beats[len(self.first_beats) // 4 :]
        return (len(beats) - 1) / ((beats[-1] - beats[0]) * CYCLE_NS / 1000)


IDLE: Final = Case("idle", FORMS)
LATENCY: Final = Case("latency", (SendForm.INLINE, SendForm.PUSHED, SendForm.FETCHED), 60, 12, 16, spaced=True)
TX_1514_4G: Final = Case("tx_1514_4g", FORMS, 1514, 600)
TX_60_4G: Final = Case("tx_60_4g", FORMS, 60, 6000, 16)
TX_1514_1G: Final = Case("tx_1514_1g", (SendForm.FETCHED,), 1514, 800)
TX_1514_8G: Final = Case("tx_1514_8g", (SendForm.FETCHED,) * 8, 1514, 100)
TX_60_1G: Final = Case("tx_60_1g", (SendForm.FETCHED,), 60, 8000, 16)
TX_60_8G: Final = Case("tx_60_8g", (SendForm.FETCHED,) * 8, 60, 2000, 16)
CASES: Final = {
    case.name: case for case in (IDLE, LATENCY, TX_1514_4G, TX_60_4G, TX_1514_1G, TX_1514_8G, TX_60_1G, TX_60_8G)
}
