"""The simulation's end of the control channel, and what it leaves behind."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from sw.platform import CYCLE_NS
from tb.ledger.records import TRACE_DTYPE
from tb.sim import pcapng
from tb.tap import control
from tb.tap.control import ControlError
from tb.tap.pump import Capture, Pump

WIRE_CAPTURE: Final = "wire.pcapng"

Trace = Callable[[], npt.NDArray[np.void]]
Quiet = Callable[[], Awaitable[None]]


class Service:
    """Answers the run: `mark` with cycle and flows since the last one, `stay` by tracing no more; ends on `end`."""

    def __init__(
        self, end: socket.socket, pump: Pump, now: Callable[[], int], quiet: Quiet, trace: Trace | None
    ) -> None:
        """`now` in ns; `quiet` lets the NIC finish; `trace` gives the hardware's records since its last call."""
        self._end = end
        self._quiet = quiet
        self._pump = pump
        self._now = now
        self._trace = trace
        self._records: list[npt.NDArray[np.void]] = []
        self._tracing = True
        self.asked = False
        """The run said `end`: it waits for an answer. False when it is gone."""

    async def poll(self) -> bool:
        """Answer what has come; False when the run has ended."""
        try:
            messages = control.receive(self._end, 0.0)
        except ControlError:
            return False
        for message in messages:
            if message["kind"] in ("stay", "end"):
                # a trace must not end inside a packet
                await self._quiet()
            if message["kind"] == "end":
                self.asked = True
                return False
            self._collect()
            if message["kind"] == "stay":
                self._tracing = False
            control.send(
                self._end,
                {
                    "kind": message["kind"],
                    "flows": self._pump.flows.figures(),
                    "cycle": self._now() // CYCLE_NS,
                },
            )
        if not self._tracing:
            self._collect()
        return True

    def _collect(self) -> None:
        if self._trace is not None:
            records = self._trace()
            if self._tracing:
                self._records.append(records)

    def trace(self) -> npt.NDArray[np.void]:
        """All records, up to `stay` or now."""
        self._collect()
        return np.concatenate([np.empty(0, TRACE_DTYPE), *self._records])


def write_captures(folder: Path, wire: Capture, guests: dict[str, Capture]) -> dict[str, int]:
    """One file for the wire, frames with FCS, and one for each guest; frames by file name."""
    written = {WIRE_CAPTURE: _write(folder / WIRE_CAPTURE, "wire0", wire, pcapng.FCS_BYTES)}
    for name, capture in guests.items():
        written[f"{name}.pcapng"] = _write(folder / f"{name}.pcapng", name, capture, 0)
    return written


def _write(path: Path, name: str, capture: Capture, fcs_bytes: int) -> int:
    return pcapng.write(path, [name], ((0, ns, frame) for ns, frame in capture.in_order()), fcs_bytes=fcs_bytes)
