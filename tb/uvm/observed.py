"""The co-simulation's `Platform` with windows in it: whoever uses it is seen, nobody is changed.

Software runs on it as on `RtlPlatform`. What crosses the machine's edges is told to listeners: accesses by processors
when they are made, and what the hardware did (trace records, frames) before the software that waits for it wakes up,
so that a listener finds memory as the hardware left it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from sw.abi.registers import TraceKind
from sw.platform import MachineMap
from tb.cosim.platform import ReadError, RtlMemory, RtlPlatform, RtlSignal, WireFrame
from tb.ledger.records import TRACE_DTYPE

_KINDS: Final = tuple(TraceKind)


@dataclass(frozen=True, slots=True)
class Record:
    """One trace record; what `index` and `info` are, `trace_kind_e` says."""

    cycle: int
    kind: TraceKind
    endpoint: int
    index: int
    info: int


class ObservedPlatform:
    """Implements `sw.platform.Platform` and the line on an `RtlPlatform`."""

    def __init__(self, platform: RtlPlatform) -> None:
        self._platform = platform
        self.posted = 0
        """MMIO writes so far."""
        self.on_write: list[Callable[[int, bytes], None]] = []
        """Called with address and data of each MMIO write, when it is posted."""
        self.on_read: list[Callable[[int, bytes, int], None]] = []
        """Called with address, data and how many writes had been posted before the read was: all of them have landed."""
        self.on_read_error: list[Callable[[int, ReadError], None]] = []
        self.on_send: list[Callable[[bytes, bool], None]] = []
        """Called with each frame that is queued on the line towards the NIC, and whether the line signals an error."""
        self.on_record: list[Callable[[Record], None]] = []
        self.on_left: list[Callable[[WireFrame, Record | None], None]] = []
        """Called with each frame that has left, and its WIRE_LAST; the NIC's own pause frames have none."""
        self.on_message: list[Callable[[int, int], None]] = []
        """Called with address and data of each interrupt message."""
        self._handler: Callable[[int, int], None] | None = None
        self._chunks: list[npt.NDArray[np.void]] = []
        self._frames: deque[WireFrame] = deque()
        self._unread: list[WireFrame] = []
        platform.on_interrupt(self._interrupt)
        platform.before_wake(self.observe)

    # --- Platform --------------------------------------------------------------------------------

    @property
    def memory(self) -> RtlMemory:
        """Machine memory."""
        return self._platform.memory

    @property
    def machine(self) -> MachineMap:
        """Address map."""
        return self._platform.machine

    def now(self) -> int:
        """Simulated time in ns."""
        return self._platform.now()

    def mmio_write(self, address: int, data: bytes) -> None:
        """Post one write of 1 to 64 bytes."""
        self._platform.mmio_write(address, data)
        self.posted += 1
        for listener in self.on_write:
            listener(address, data)

    async def mmio_read(self, address: int, size: int) -> bytes:
        """Read 4 bytes."""
        posted = self.posted
        data = await self._platform.mmio_read(address, size)
        for listener in self.on_read:
            listener(address, data, posted)
        return data

    async def sleep(self, ns: int) -> None:
        """Let simulated time pass."""
        await self._platform.sleep(ns)

    def call_after(self, ns: int, action: Callable[[], None]) -> None:
        """Call `action()` in `ns`."""
        self._platform.call_after(ns, action)

    async def monitor(self, address: int, expected: bytes, mask: bytes, timeout_ns: int) -> bool:
        """Sleep until memory matches, or for `timeout_ns`."""
        return await self._platform.monitor(address, expected, mask, timeout_ns)

    def on_interrupt(self, handler: Callable[[int, int], None]) -> None:
        """Call handler(address, data) for each interrupt message. One handler: a second one raises `RuntimeError`."""
        if self._handler is not None:
            raise RuntimeError("the platform has an interrupt handler already")
        self._handler = handler

    def signal(self) -> RtlSignal:
        """A new signal."""
        return self._platform.signal()

    # --- the line and the root complex -----------------------------------------------------------

    def wire_send(self, data: bytes, not_before_ns: int = 0, *, error: bool = False) -> None:
        """Queue one frame, with FCS, on the line towards the NIC."""
        self._platform.wire_send(data, not_before_ns, error=error)
        for listener in self.on_send:
            listener(data, error)

    def wire_waiting(self) -> int:
        """Frames of `wire_send` that have not arrived completely."""
        return self._platform.wire_waiting()

    def wire_frames(self) -> list[WireFrame]:
        """Frames that have left completely since the last call."""
        self.observe()
        frames, self._unread = self._unread, []
        return frames

    async def wire_wait(self, timeout_ns: int) -> bool:
        """Sleep until there is a frame that `wire_frames` has not returned yet; False when time was up first."""
        self.observe()
        return bool(self._unread) or await self._platform.wire_wait(timeout_ns)

    def inject_read_error(self, address: int, error: ReadError) -> None:
        """Reads by a device that start in the machine page of `address` end so from now on (`NONE`: well)."""
        self._platform.inject_read_error(address, error)
        for listener in self.on_read_error:
            listener(address, error)

    def trace(self) -> npt.NDArray[np.void]:
        """All trace records so far, of `TRACE_DTYPE`."""
        self.observe()
        return np.concatenate(self._chunks) if self._chunks else np.empty(0, TRACE_DTYPE)

    # --- observation -----------------------------------------------------------------------------

    def observe(self) -> None:
        """Tell listeners what the hardware has done since the last call."""
        frames = self._platform.wire_frames()
        self._frames.extend(frames)
        self._unread += frames
        chunk = self._platform.trace()
        if len(chunk):
            self._chunks.append(chunk)
            for cycle, kind, endpoint, index, info in chunk.tolist():
                self._tell(Record(cycle, _KINDS[kind], endpoint, index, info))
        while self._frames:
            self._left(self._frames.popleft(), None)

    def _tell(self, record: Record) -> None:
        for listener in self.on_record:
            listener(record)
        if record.kind is TraceKind.WIRE_LAST:
            while self._frames and self._frames[0].last_cycle < record.cycle:
                self._left(self._frames.popleft(), None)
            self._left(self._frames.popleft(), record)

    def _left(self, frame: WireFrame, record: Record | None) -> None:
        for listener in self.on_left:
            listener(frame, record)

    def _interrupt(self, address: int, data: int) -> None:
        for listener in self.on_message:
            listener(address, data)
        if self._handler is not None:
            self._handler(address, data)
