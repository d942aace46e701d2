"""`sw.platform.Platform` on the RTL: Python sleeps, the C++ host does the work of every cycle.

Only to be used inside the simulator's process (cocotb), where the host's C functions are in the executable.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
from asyncio import CancelledError
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import IntEnum
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.handle import LogicObject, SimHandleBase
from cocotb.triggers import Event, ValueChange

from sw.platform import CYCLE_NS, PAGE_SIZE, MachineMap, PlatformTimeoutError
from tb.cosim import bound
from tb.cosim.record import Record
from tb.ledger.records import TRACE_DTYPE

MMIO_WRITE_MAX: Final = 64
MONITOR_MAX: Final = 64
WIRE_SEND_MAX: Final = 1 << 16
"""Bytes of a frame for the NIC at most; far above what it takes, so that its limit can be tried."""
MMIO_READ_TIMEOUT_NS: Final = 1_000_000
"""Longer than any completion time-out of a PCIe root complex that software would wait for."""

_CALLERS: Final = 5
"""Of a wait, so many functions are named, from the one that asked outwards."""

_FRAME_DTYPE: Final = np.dtype([("first_cycle", "<u8"), ("last_cycle", "<u8"), ("offset", "<u8"), ("length", "<u8")])


class HardwareError(RuntimeError):
    """The hardware broke a rule of a bus: the message names the cycle and the rule."""


class ReadError(IntEnum):
    """How a device's read of a page ends."""

    NONE = 0
    UR = 1
    CA = 2
    POISONED = 3
    DROPPED = 4


@dataclass(frozen=True)
class HostConfig:
    """The root complex and its disturbances. Latencies in cycles of 4 ns; `docs/interfaces.md`."""

    seed: int = 1
    machine: MachineMap = field(default_factory=MachineMap)
    read_latency: int = 123
    """Last beat of a read at the root complex to the first beat of its completion there. At the NIC's pins, for 64
    bytes and with the IOMMU off, last beat to last beat is 14 more: 137 cycles, 548 ns."""
    read_jitter: int = 0
    """Mean of a random addition to the read latency, with a tail; 0: constant."""
    write_latency: int = 25
    walk_latency: int = 22
    walk_jitter: int = 0
    credit_latency: int = 32
    """A TLP's last beat leaving the NIC to the return of its credits."""
    mps: int = 128
    mrrs: int = 512
    credit_ph: int = 32
    credit_pd: int = 256
    credit_nph: int = 32
    credit_npd: int = 32
    link_stall_permille: int = 0
    rc_stall_permille: int = 0
    starvation_permille: int = 0
    """Share of time in which credits are not returned, in periods of 64 to 2048 cycles."""
    reorder: bool = False
    """Ready completions of different tags mix in random order; otherwise they keep the order of the requests."""
    random_split: bool = False
    """Completions end at any read completion boundary; otherwise they are as long as MPS allows."""
    peer_pause: bool = False
    """The far end of the line stops for the NIC's pause frames."""

    checkers: bool = True
    """The protocol checkers are on (`docs/checkers.md`)."""
    skip: bool = True
    """Cycles in which the hardware stays as it is are counted, not evaluated; what is simulated is the same."""

    def __post_init__(self) -> None:
        limits = {
            "read_latency": (1, 1 << 20),
            "read_jitter": (0, 1 << 20),
            "write_latency": (0, 1 << 20),
            "walk_latency": (1, 1 << 20),
            "walk_jitter": (0, 1 << 20),
            "credit_latency": (0, 1 << 20),
            "credit_ph": (1, 127),
            "credit_pd": (self.mps // 16, 2047),
            "credit_nph": (1, 127),
            "credit_npd": (1, 2047),
            "link_stall_permille": (0, 999),
            "rc_stall_permille": (0, 999),
            "starvation_permille": (0, 999),
        }
        for name, (low, high) in limits.items():
            if not low <= (value := getattr(self, name)) <= high:
                raise ValueError(f"HostConfig.{name} is {value}: must be {low} to {high}")
        if self.mps not in (128, 256):
            raise ValueError(f"HostConfig.mps is {self.mps}: must be 128 or 256")
        if self.mrrs not in (128, 256, 512, 1024, 2048, 4096):
            raise ValueError(f"HostConfig.mrrs is {self.mrrs}: must be a power of two, 128 to 4096")


class _Config(ctypes.Structure):
    """tb/cosim/config.h."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in ("ram_bytes", "seed", "pci_window", "pci_window_bytes", "ecam", "ecam_bytes", "iommu")
    ]
    _fields_ += [
        (name, ctypes.c_uint32)
        for name in (
            "nic_bus",
            "read_latency",
            "read_jitter",
            "write_latency",
            "walk_latency",
            "walk_jitter",
            "credit_latency",
            "mps",
            "mrrs",
            "credit_ph",
            "credit_pd",
            "credit_nph",
            "credit_npd",
            "link_stall_permille",
            "rc_stall_permille",
            "starvation_permille",
            "reorder",
            "random_split",
            "peer_pause",
            "checkers",
            "skip",
        )
    ]


class _Event(ctypes.Structure):
    """tb/cosim/waits.h: the wait `id` has ended, or an interrupt was written to address `id`."""

    _fields_ = [("id", ctypes.c_uint64), ("status", ctypes.c_uint32), ("data", ctypes.c_uint32)]


_INTERRUPT: Final = 2
"""Status of an event that is an interrupt."""


@dataclass(frozen=True)
class WireFrame:
    """A frame that has left: bytes with FCS, without preamble; the cycles of its preamble and of its last FCS byte."""

    first_cycle: int
    last_cycle: int
    data: bytes


class RtlMemory:
    """`sw.platform.HostMemory`: the host's RAM itself."""

    def __init__(self, base: int, size: int) -> None:
        self._view = memoryview((ctypes.c_uint8 * size).from_address(base)).cast("B")
        self._size = size

    @property
    def size(self) -> int:
        return self._size

    def _check(self, address: int, size: int) -> None:
        if address < 0 or size < 0 or address + size > self._size:
            raise IndexError(f"machine address {address:#x} with {size} bytes is outside RAM of {self._size:#x} bytes")

    def read(self, address: int, size: int) -> bytes:
        self._check(address, size)
        return bytes(self._view[address : address + size])

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        self._check(address, len(data))
        self._view[address : address + len(data)] = data

    def view(self, address: int, size: int) -> memoryview:
        self._check(address, size)
        return self._view[address : address + size]


class _Wait:
    """What one sleeping coroutine waits for."""

    __slots__ = ("asked_by", "data", "deadline", "done", "status", "what")

    def __init__(self, what: str, deadline: int) -> None:
        self.done = Event()
        self.status = 0
        self.data = 0
        self.what = what
        self.deadline = deadline
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename == __file__:
            frame = frame.f_back
        # the frames themselves would keep their variables alive
        self.asked_by: list[tuple[CodeType, int]] = []
        while frame is not None and len(self.asked_by) < _CALLERS:
            self.asked_by.append((frame.f_code, frame.f_lineno))
            frame = frame.f_back

    def __str__(self) -> str:
        callers = (f"{code.co_qualname} ({Path(code.co_filename).name}:{line})" for code, line in self.asked_by)
        return f"{' in '.join(callers)}: {self.what}, until cycle {self.deadline}"


class RtlSignal:
    """Implements `sw.platform.Signal`."""

    def __init__(self, platform: RtlPlatform) -> None:
        self._platform = platform
        self._waits: dict[int, _Wait] = {}

    def notify(self) -> None:
        """Wake everybody who waits now."""
        waits, self._waits = self._waits, {}
        for ident, wait in waits.items():
            self._platform.wake(ident, wait)

    async def wait(self, timeout_ns: int) -> bool:
        """Sleep until the next `notify`, or for `timeout_ns`."""
        if timeout_ns <= 0:
            return False
        ident, wait = self._platform.begin_timer(timeout_ns, "a signal")
        self._waits[ident] = wait
        await self._platform.sleep_on(wait)
        return self._waits.pop(ident, None) is None


_SIGNATURES: Final[dict[str, tuple[Any, list[Any]]]] = {
    "create": (ctypes.c_void_p, [ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint64]),
    "memory": (ctypes.c_void_p, [ctypes.c_void_p]),
    "now": (ctypes.c_void_p, [ctypes.c_void_p]),
    "skipped": (ctypes.c_uint64, [ctypes.c_void_p]),
    "error": (ctypes.c_char_p, [ctypes.c_void_p]),
    "state": (ctypes.c_char_p, [ctypes.c_void_p]),
    "mmio_write": (None, [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_char_p, ctypes.c_uint32]),
    "mmio_read": (None, [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64]),
    "timer": (None, [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64]),
    "monitor": (
        ctypes.c_int32,
        [
            ctypes.c_void_p,
            ctypes.c_uint64,
            ctypes.c_uint64,
            ctypes.c_uint64,
            ctypes.c_char_p,
            ctypes.c_char_p,
            ctypes.c_uint32,
        ],
    ),
    "events": (ctypes.c_uint32, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32]),
    "inject": (None, [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32]),
    "trace_count": (ctypes.c_uint64, [ctypes.c_void_p]),
    "trace_records": (ctypes.c_void_p, [ctypes.c_void_p]),
    "trace_clear": (None, [ctypes.c_void_p]),
    "frame_count": (ctypes.c_uint64, [ctypes.c_void_p]),
    "frames": (ctypes.c_void_p, [ctypes.c_void_p]),
    "frame_bytes": (ctypes.c_void_p, [ctypes.c_void_p]),
    "frames_drain": (None, [ctypes.c_void_p]),
    "wire_send": (None, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint32]),
    "wire_waiting": (ctypes.c_uint64, [ctypes.c_void_p]),
    "wire_wait": (ctypes.c_int32, [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64]),
}


class RtlPlatform:
    """The machine with RTL NIC and IOMMU. Create it before the simulation's first time step, one per `host_id`."""

    _EVENTS: Final = 64

    def __init__(self, dut: SimHandleBase, config: HostConfig, host_id: int = 0) -> None:
        library = ctypes.CDLL(None)
        self._call: dict[str, Any] = {}
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, f"myr_host_{name}")
            function.restype, function.argtypes = result, arguments
            self._call[name] = function
        machine = config.machine
        values = {f.name: int(getattr(config, f.name)) for f in fields(config) if f.name != "machine"}
        values |= {f.name: getattr(machine, f.name) for f in fields(machine)}
        native = _Config(**values)
        self._host = self._call["create"](host_id, ctypes.addressof(native), ctypes.sizeof(native))
        if not self._host:
            raise MemoryError(f"host {host_id}: exists already, or no {machine.ram_bytes} bytes for its RAM")
        self._machine = machine
        self._memory = RtlMemory(self._call["memory"](self._host), machine.ram_bytes)
        self._now = ctypes.c_uint64.from_address(self._call["now"](self._host))
        self._waits: dict[int, _Wait] = {}
        self._ids = itertools.count(1)
        self._events = (_Event * self._EVENTS)()
        self._failure: HardwareError | None = None
        self._over = False
        self._interrupt: Callable[[int, int], None] | None = None
        self._observers: list[Callable[[], None]] = []
        # the hot calls, looked up once
        self._monitor, self._mmio_write, self._timer = (self._call[n] for n in ("monitor", "mmio_write", "timer"))
        self._wake: LogicObject = getattr(dut, "wake")  # noqa: B009  a handle has no typed attributes
        self._record = Record()
        self._dispatcher = cocotb.start_soon(self._dispatch())
        bound.start(self.state)

    @property
    def memory(self) -> RtlMemory:
        return self._memory

    @property
    def machine(self) -> MachineMap:
        return self._machine

    def cycle(self) -> int:
        """The cycle that has just ended."""
        return self._now.value

    def skipped(self) -> int:
        """Cycles so far that were counted, not evaluated."""
        return int(self._call["skipped"](self._host))

    def now(self) -> int:
        return self._now.value * CYCLE_NS

    def mmio_write(self, address: int, data: bytes) -> None:
        size = len(data)
        m = self._machine
        if not 1 <= size <= MMIO_WRITE_MAX or (address & (PAGE_SIZE - 1)) + size > PAGE_SIZE:
            raise ValueError(f"MMIO write of {size} bytes at {address:#x}: 1 to {MMIO_WRITE_MAX} bytes within a page")
        in_dw = (address & 3) + size <= 4
        if m.ecam <= address < m.ecam + m.ecam_bytes and not in_dw:
            raise ValueError(f"configuration write of {size} bytes at {address:#x}: must lie in one DW")
        if m.iommu <= address < m.iommu + PAGE_SIZE and (size != 4 or not in_dw):
            raise ValueError(f"IOMMU register write of {size} bytes at {address:#x}: must be an aligned DW")
        self._check()
        self._mmio_write(self._host, address, data, size)

    async def mmio_read(self, address: int, size: int) -> bytes:
        if size != 4 or address & 3:
            raise ValueError(f"MMIO read of {size} bytes at {address:#x}: must be an aligned DW")
        ident, wait = self._begin(f"MMIO read at {address:#x}", MMIO_READ_TIMEOUT_NS)
        self._call["mmio_read"](self._host, ident, wait.deadline, address)
        if not await self._sleep(wait):
            raise PlatformTimeoutError(f"MMIO read at {address:#x}: no answer in {MMIO_READ_TIMEOUT_NS} ns")
        return wait.data.to_bytes(4, "little")

    async def sleep(self, ns: int) -> None:
        if ns <= 0:
            return
        _, wait = self.begin_timer(ns, "time")
        await self._sleep(wait)

    def call_after(self, ns: int, action: Callable[[], None]) -> None:
        async def wait() -> None:
            await self.sleep(ns)
            action()

        cocotb.start_soon(wait())

    async def monitor(self, address: int, expected: bytes, mask: bytes, timeout_ns: int) -> bool:
        size = len(expected)
        if size != len(mask) or not 1 <= size <= MONITOR_MAX or (address & (PAGE_SIZE - 1)) + size > PAGE_SIZE:
            raise ValueError(
                f"monitor of {size} bytes (mask {len(mask)}) at {address:#x}: 1 to {MONITOR_MAX} in a page"
            )
        self._memory._check(address, size)
        ident, wait = self._begin(f"{size} bytes at {address:#x} in memory", timeout_ns)
        if self._monitor(self._host, ident, wait.deadline, address, expected, mask, size):
            del self._waits[ident]
            return True
        return await self._sleep(wait)

    def on_interrupt(self, handler: Callable[[int, int], None]) -> None:
        if self._interrupt is not None:
            raise RuntimeError("the platform has an interrupt handler already")
        self._interrupt = handler

    def before_wake(self, observer: Callable[[], None]) -> None:
        """Call `observer` each time that sleepers are to be woken, before any of them is: memory is as the hardware left it."""
        self._observers.append(observer)

    def signal(self) -> RtlSignal:
        return RtlSignal(self)

    def begin_timer(self, ns: int, what: str) -> tuple[int, _Wait]:
        """Start a wait that ends after `ns`, or by `wake`; `what` is for a person."""
        ident, wait = self._begin(what, ns)
        self._timer(self._host, ident, wait.deadline)
        return ident, wait

    async def sleep_on(self, wait: _Wait) -> None:
        """Sleep until a wait ends."""
        await self._sleep(wait)

    def wake(self, ident: int, wait: _Wait) -> None:
        """End a wait before its time."""
        if self._waits.pop(ident, None) is not None:
            wait.done.set()

    def inject_read_error(self, address: int, error: ReadError) -> None:
        """Reads by a device that start in the machine page of `address` end so from now on (`NONE`: well)."""
        self._call["inject"](self._host, address, int(error))

    def state(self) -> str:
        """For a person: who waits for what, and what is under way in the root complex."""
        waits = [f"waits: {wait}" for wait in self._waits.values()]
        return "\n".join([f"cycle {self._now.value}", *waits, self._call["state"](self._host).decode().rstrip()])

    def wire_frames(self) -> list[WireFrame]:
        """Frames that have left completely since the last call."""
        self._check()
        return self._take_frames()

    def _take_frames(self) -> list[WireFrame]:
        count = self._call["frame_count"](self._host)
        if not count:
            return []
        rows = self._array("frames", count, _FRAME_DTYPE)
        data = self._array("frame_bytes", int(rows[-1]["offset"] + rows[-1]["length"]), np.dtype("u1"))
        frames = [
            WireFrame(int(first), int(last), data[offset : offset + length].tobytes())
            for first, last, offset, length in rows.tolist()
        ]
        self._call["frames_drain"](self._host)
        self._record.wire(rows, data)
        return frames

    async def wire_wait(self, timeout_ns: int) -> bool:
        """Sleep until there is a frame that `wire_frames` has not returned yet; False when time was up first."""
        ident, wait = self._begin("a frame on the wire", timeout_ns)
        if self._call["wire_wait"](self._host, ident, wait.deadline):
            del self._waits[ident]
            return True
        return await self._sleep(wait)

    def wire_send(self, data: bytes, not_before_ns: int = 0, *, error: bool = False) -> None:
        """Queue one frame, with FCS, on the line towards the NIC: 10 Gb/s, in order, 12 bytes of gap.

        Its preamble arrives at `not_before_ns` (simulated time) at the earliest. `error`: the line signals an error
        in the frame's middle beat. Length and FCS may be wrong.
        """
        if not 1 <= len(data) <= WIRE_SEND_MAX:
            raise ValueError(f"wire_send of {len(data)} bytes: must be 1 to {WIRE_SEND_MAX}")
        if not_before_ns < 0:
            raise ValueError(f"wire_send not before {not_before_ns} ns: must not be negative")
        self._check()
        self._call["wire_send"](self._host, data, len(data), -(-not_before_ns // CYCLE_NS), int(error))

    def wire_waiting(self) -> int:
        """Frames of `wire_send` that have not arrived completely."""
        return int(self._call["wire_waiting"](self._host))

    def trace(self) -> npt.NDArray[np.void]:
        """Trace records since the last call, of `TRACE_DTYPE`."""
        self._check()
        return self._take_trace()

    def _take_trace(self) -> npt.NDArray[np.void]:
        count = self._call["trace_count"](self._host)
        records = self._array("trace_records", count, TRACE_DTYPE) if count else np.empty(0, TRACE_DTYPE)
        self._call["trace_clear"](self._host)
        self._record.trace(records)
        return records

    def _array(self, name: str, count: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        address = self._call[name](self._host)
        return np.frombuffer(ctypes.string_at(address, count * dtype.itemsize), dtype)

    def _deadline(self, ns: int) -> int:
        # round up: never early
        return self._now.value + max(1, -(-ns // CYCLE_NS))

    def _begin(self, what: str, ns: int) -> tuple[int, _Wait]:
        if self._over:
            # time stands still: what is being cancelled and waits in a `finally` would keep the process for ever
            raise CancelledError(f"{what}: the simulation is over")
        self._check()
        ident, wait = next(self._ids), _Wait(what, self._deadline(ns))
        self._waits[ident] = wait
        return ident, wait

    async def _sleep(self, wait: _Wait) -> bool:
        """True when what was waited for came, False when time was up."""
        await wait.done.wait()
        self._check()
        return wait.status == 0

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _dispatch(self) -> None:
        change = ValueChange(self._wake)
        events, take, host = self._events, self._call["events"], self._host
        address = ctypes.addressof(events)
        try:
            while True:
                await change
                for observer in self._observers:
                    observer()
                while count := take(host, address, self._EVENTS):
                    for event in events[:count]:
                        if event.status == _INTERRUPT:
                            if self._interrupt is not None:
                                self._interrupt(event.id, event.data)
                        elif event.id == 0:
                            self._fail()
                        elif (wait := self._waits.pop(event.id, None)) is not None:
                            wait.status, wait.data = event.status, event.data
                            wait.done.set()
        finally:
            # the test is over, or the simulator ends it
            self._over = True
            self._take_frames()
            self._take_trace()
            self._record.write(self._now.value)

    def _fail(self) -> None:
        """Every sleeper wakes up to the error."""
        self._failure = HardwareError(self._call["error"](self._host).decode())
        for wait in self._waits.values():
            wait.done.set()
        self._waits.clear()
