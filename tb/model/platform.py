"""The machine without a simulator: memory, a virtual clock, tasks, the reference NIC behind the reference IOMMU."""

from __future__ import annotations

import heapq
import mmap
from collections.abc import Callable, Coroutine, Generator, Iterable
from dataclasses import dataclass
from typing import Any, Final

from sw.platform import CYCLE_NS, MachineMap, PlatformTimeoutError
from tb.model.bus import Bus
from tb.model.iommu import ReferenceIommu
from tb.model.nic import CompletionRecord, ReferenceNic, WireFrame

POSTED_NS: Final = 150
"""From the CPU to the device, posted write or read request."""
READ_RETURN_NS: Final = 350
RUN_LIMIT_NS: Final = 10_000_000_000
"""Bound of `run`, simulated."""
WIRE_SEND_MAX: Final = 1 << 16
"""Bytes of a frame on the line towards the NIC, the same as in the co-simulation."""
PREAMBLE_BYTES: Final = 8
GAP_BYTES: Final = 12
_BLOCK_SHIFT: Final = 4


class ModelMemory:
    """Machine memory."""

    def __init__(self, size: int) -> None:
        pages = mmap.mmap(-1, size)
        # Guests lie scattered: with huge pages every one of their pages would cost 2 MiB of zeroing.
        pages.madvise(mmap.MADV_NOHUGEPAGE)
        self._data = memoryview(pages)
        self._size = size

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    def read(self, address: int, size: int) -> bytes:
        """Copy out. `IndexError` outside memory."""
        self._check(address, size)
        return self._data[address : address + size].tobytes()

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Copy in. `IndexError` outside memory."""
        self._check(address, len(data))
        self._data[address : address + len(data)] = data

    def view(self, address: int, size: int) -> memoryview:
        """A writable window. `IndexError` outside memory."""
        self._check(address, size)
        return self._data[address : address + size]

    def _check(self, address: int, size: int) -> None:
        if address < 0 or size < 0 or address + size > self._size:
            raise IndexError(f"{size} bytes at {address:#x}: machine memory has {self._size:#x} bytes")


class Task:
    """A coroutine under the model's clock."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self.coroutine = coroutine
        self.done = False
        self.result: Any = None
        self.waiters: list[Callable[[Any], None]] = []
        """Resume those who wait for the end."""


class _Suspend:
    """Awaited by a task: hands `arm` the function that resumes it with a value."""

    __slots__ = ("_arm",)

    def __init__(self, arm: Callable[[Callable[[Any], None]], None]) -> None:
        self._arm = arm

    def __await__(self) -> Generator[Callable[[Callable[[Any], None]], None], Any, Any]:
        return (yield self._arm)


@dataclass(eq=False)
class _Monitor:
    address: int
    expected: int
    mask: int
    size: int
    resume: Callable[[Any], None]


class ModelSignal:
    """Implements `sw.platform.Signal`."""

    def __init__(self, platform: ModelPlatform) -> None:
        self._platform = platform
        self._waiting: dict[int, Callable[[Any], None]] = {}
        self._next = 0

    def notify(self) -> None:
        """Wake everybody who waits now."""
        waiting, self._waiting = self._waiting, {}
        for resume in waiting.values():
            self._platform.schedule(0, resume, True)

    async def wait(self, timeout_ns: int) -> bool:
        """Sleep until the next `notify`, or for `timeout_ns`."""
        if timeout_ns <= 0:
            return False

        def arm(resume: Callable[[Any], None]) -> None:
            self._next += 1
            self._waiting[self._next] = resume
            self._platform.schedule(timeout_ns, self._expire, self._next)

        return bool(await _Suspend(arm))

    def _expire(self, number: int) -> None:
        if (resume := self._waiting.pop(number, None)) is not None:
            resume(False)


class ModelPlatform:
    """Implements `sw.platform.Platform` in plain Python; deterministic."""

    def __init__(self, machine: MachineMap | None = None) -> None:
        self._machine = machine if machine is not None else MachineMap()
        self._memory = ModelMemory(self._machine.ram_bytes)
        self._time = 0
        self._sequence = 0
        self._events: list[tuple[int, int, Callable[[Any], None], Any]] = []
        self._running = 0
        self._failure: BaseException | None = None
        self._monitors: dict[int, list[_Monitor]] = {}
        self._interrupt: Callable[[int, int], None] | None = None
        self._line_free = 0
        """In fifths of a cycle: byte times."""
        self._frames_returned = 0
        self._wire_waits: list[Callable[[], None]] = []
        self.iommu = ReferenceIommu(self)
        self.nic = ReferenceNic(self, self.iommu, self._machine.nic_bus)
        self.nic.on_frame = self._frames_left
        self._bus = Bus(self._machine, self.iommu, self.nic)

    # --- Platform --------------------------------------------------------------------------------

    @property
    def memory(self) -> ModelMemory:
        """Machine memory."""
        return self._memory

    @property
    def machine(self) -> MachineMap:
        """Address map."""
        return self._machine

    def now(self) -> int:
        """Simulated time in ns."""
        return self._time

    def mmio_write(self, address: int, data: bytes) -> None:
        """Post a write of 1 to 64 bytes."""
        if not 1 <= len(data) <= 64:
            raise ValueError(f"MMIO write of {len(data)} bytes at {address:#x}: 1 to 64 are possible")
        self.schedule(POSTED_NS, self._deliver_write, (address, data))

    async def mmio_read(self, address: int, size: int) -> bytes:
        """Read 4 bytes."""
        if size != 4:
            raise ValueError(f"MMIO read of {size} bytes at {address:#x}: 4 are possible")

        def arm(resume: Callable[[Any], None]) -> None:
            self.schedule(POSTED_NS, self._deliver_read, (address, resume))

        return bytes(await _Suspend(arm))

    async def sleep(self, ns: int) -> None:
        """Let simulated time pass."""
        await _Suspend(lambda resume: self.schedule(ns, resume, None))

    def call_after(self, ns: int, action: Callable[[], None]) -> None:
        """Call `action()` in `ns`."""
        self.schedule(max(ns, 0), lambda _: action(), None)

    async def monitor(self, address: int, expected: bytes, mask: bytes, timeout_ns: int) -> bool:
        """Sleep until a device has made memory match, or for `timeout_ns`."""
        size = len(expected)
        self._memory.view(address, size)
        if len(mask) != size:
            raise ValueError(f"monitor at {address:#x}: {size} bytes expected, mask of {len(mask)}")
        mask_bits = int.from_bytes(mask, "little")
        wanted = int.from_bytes(expected, "little") & mask_bits

        def arm(resume: Callable[[Any], None]) -> None:
            watch = _Monitor(address, wanted, mask_bits, size, resume)
            if self._matches(watch):
                self.schedule(0, resume, True)
                return
            for block in self._blocks(watch):
                self._monitors.setdefault(block, []).append(watch)
            self.schedule(timeout_ns, self._expire, watch)

        return bool(await _Suspend(arm))

    def signal(self) -> ModelSignal:
        """A new signal."""
        return ModelSignal(self)

    def on_interrupt(self, handler: Callable[[int, int], None]) -> None:
        """Call `handler(address, data)` for each interrupt message. One handler: a second one raises `RuntimeError`."""
        if self._interrupt is not None:
            raise RuntimeError("the platform has an interrupt handler already")
        self._interrupt = handler

    def interrupt(self, address: int, data: int) -> None:
        """A message has reached the interrupt controller."""
        if self._interrupt is not None:
            self._interrupt(address, data)

    # --- the line --------------------------------------------------------------------------------

    def wire_send(self, data: bytes, not_before_ns: int = 0, *, error: bool = False) -> None:
        """Queue one frame, with FCS, on the line towards the NIC: 10 Gb/s, in order, 12 bytes of gap.

        Its preamble arrives at `not_before_ns` (simulated time) at the earliest. `error`: the line signals an error
        in the frame. Length and FCS may be wrong.
        """
        if not 1 <= len(data) <= WIRE_SEND_MAX:
            raise ValueError(f"wire_send of {len(data)} bytes: must be 1 to {WIRE_SEND_MAX}")
        if not_before_ns < 0:
            raise ValueError(f"wire_send not before {not_before_ns} ns: must not be negative")
        start = max(max(self._time, not_before_ns) * 5 // CYCLE_NS, self._line_free)
        last = start + PREAMBLE_BYTES + len(data)
        self._line_free = last + GAP_BYTES
        self.schedule(-(-last * CYCLE_NS // 5) - self._time, self._arrive, (bytes(data), error))

    def wire_frames(self) -> list[WireFrame]:
        """Frames that have left completely since the last call."""
        frames = self.nic.frames[self._frames_returned :]
        self._frames_returned += len(frames)
        return frames

    async def wire_wait(self, timeout_ns: int) -> bool:
        """Sleep until there is a frame that `wire_frames` has not returned yet; False when time was up first."""
        if len(self.nic.frames) > self._frames_returned:
            return True

        def arm(resume: Callable[[Any], None]) -> None:
            def left() -> None:
                self.schedule(0, resume, True)

            self._wire_waits.append(left)
            self.schedule(timeout_ns, expire, (left, resume))

        def expire(wait: tuple[Callable[[], None], Callable[[Any], None]]) -> None:
            left, resume = wait
            if left in self._wire_waits:
                self._wire_waits.remove(left)
                resume(False)

        return bool(await _Suspend(arm))

    def _frames_left(self) -> None:
        waits, self._wire_waits = self._wire_waits, []
        for left in waits:
            left()

    def _arrive(self, frame: tuple[bytes, bool]) -> None:
        self.nic.receive(*frame)

    # --- tasks -----------------------------------------------------------------------------------

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> Task:
        """Run a coroutine from the current time on; it makes progress inside `run`."""
        task = Task(coroutine)
        self._running += 1
        self.schedule(0, lambda value: self._step(task, value), None)
        return task

    def run(self, *coroutines: Coroutine[Any, Any, Any], limit_ns: int = RUN_LIMIT_NS) -> list[Any]:
        """Start coroutines and run until every started task has ended; their results.

        Raises what a task raised, `PlatformTimeoutError` after `limit_ns` of simulated time or when every task waits
        for something that cannot happen any more.
        """
        tasks = [self.start(coroutine) for coroutine in coroutines]
        deadline = self._time + limit_ns
        events = self._events
        while self._running:
            if not events:
                raise PlatformTimeoutError(f"{self._running} tasks wait and nothing is scheduled at {self._time} ns")
            time, _, action, argument = heapq.heappop(events)
            if time > deadline:
                raise PlatformTimeoutError(f"{self._running} tasks have not ended after {limit_ns} ns")
            self._time = time
            action(argument)
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
        return [task.result for task in tasks]

    async def gather(self, coroutines: Iterable[Coroutine[Any, Any, Any]]) -> list[Any]:
        """Inside a task: run coroutines side by side until all have ended; their results."""
        tasks = [self.start(coroutine) for coroutine in coroutines]
        for task in tasks:
            if not task.done:
                await _Suspend(task.waiters.append)
        return [task.result for task in tasks]

    def settle(self) -> None:
        """Let the hardware finish what it has; no task may be running."""
        while self._events:
            self._time, _, action, argument = heapq.heappop(self._events)
            action(argument)

    def schedule(self, delay: int, action: Callable[[Any], None], argument: Any) -> None:
        """Call `action(argument)` after `delay` ns; events of one time keep their order."""
        self._sequence += 1
        heapq.heappush(self._events, (self._time + delay, self._sequence, action, argument))

    def _step(self, task: Task, value: Any) -> None:
        try:
            arm = task.coroutine.send(value)
        except StopIteration as stop:
            task.done, task.result = True, stop.value
            self._running -= 1
            for resume in task.waiters:
                self.schedule(0, resume, None)
        except BaseException as error:  # noqa: BLE001 - `run` raises it
            self._running -= 1
            self._failure = error
        else:
            arm(lambda result: self._step(task, result))

    # --- results ---------------------------------------------------------------------------------

    @property
    def frames(self) -> list[WireFrame]:
        """What left on the wire, in order."""
        return self.nic.frames

    @property
    def completions(self) -> list[CompletionRecord]:
        """Completions in the order in which they were written."""
        return self.nic.completions

    # --- devices ---------------------------------------------------------------------------------

    def device_read(self, address: int, size: int) -> bytes | None:
        """DMA read of machine memory; None outside RAM."""
        if address + size > self._machine.ram_bytes:
            return None
        return self._memory.read(address, size)

    def device_write(self, address: int, data: bytes) -> bool:
        """DMA write of machine memory; False outside RAM. Wakes monitors."""
        if address + len(data) > self._machine.ram_bytes:
            return False
        self._memory.write(address, data)
        if self._monitors:
            for block in range(address >> _BLOCK_SHIFT, (address + len(data) - 1 >> _BLOCK_SHIFT) + 1):
                for watch in self._monitors.get(block, ()):
                    if self._matches(watch):
                        self._forget(watch)
                        self.schedule(0, watch.resume, True)
                        break
        return True

    def _deliver_write(self, write: tuple[int, bytes]) -> None:
        self._bus.write(*write)

    def _deliver_read(self, read: tuple[int, Callable[[Any], None]]) -> None:
        address, resume = read
        value = self._bus.read(address)
        data = b"\xff" * 4 if value is None else value.to_bytes(4, "little")
        self.schedule(READ_RETURN_NS, resume, data)

    def _matches(self, watch: _Monitor) -> bool:
        data = self._memory.read(watch.address, watch.size)
        return int.from_bytes(data, "little") & watch.mask == watch.expected

    def _blocks(self, watch: _Monitor) -> range:
        return range(watch.address >> _BLOCK_SHIFT, (watch.address + watch.size - 1 >> _BLOCK_SHIFT) + 1)

    def _forget(self, watch: _Monitor) -> bool:
        found = False
        for block in self._blocks(watch):
            watching = self._monitors.get(block, [])
            if watch in watching:
                found = True
                watching.remove(watch)
                if not watching:
                    del self._monitors[block]
        return found

    def _expire(self, watch: _Monitor) -> None:
        if self._forget(watch):
            watch.resume(self._matches(watch))
