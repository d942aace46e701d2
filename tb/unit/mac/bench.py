"""The bench around the line's blocks: beats in and out, a consumer of frames that reads and releases them.

All inputs change at the falling edge of the clock, and what is seen there is what the rising edge before has made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cocotb.clock import Clock
from cocotb.triggers import FallingEdge
from cocotb.utils import get_sim_time

from tb.cosim import bound
from tb.ethernet import with_fcs

PERIOD_NS: Final = 4
CYCLE_BYTES: Final = 5
PREAMBLE: Final = 0xD555555555555555
PREAMBLE_BYTES: Final = 8
GAP: Final = 12
WORDS: Final = 8192
OWN: Final = 0x00607A5B3C1D


@dataclass(frozen=True)
class Beat:
    data: int
    count: int = 8
    first: bool = False
    last: bool = False
    error: bool = False


START: Final = Beat(PREAMBLE, first=True)


def pause_frame(quanta: int, destination: int = 0x0180C2000001, source: int = 0x02C0FFEE0001, opcode: int = 1) -> bytes:
    head = destination.to_bytes(6, "big") + source.to_bytes(6, "big") + b"\x88\x08" + opcode.to_bytes(2, "big")
    return with_fcs((head + quanta.to_bytes(2, "big")).ljust(60, b"\0"))


def beats(data: bytes) -> list[Beat]:
    """A frame (with FCS) as it goes on the line."""
    words = [data[at : at + 8] for at in range(0, len(data), 8)]
    final = len(words) - 1
    return [START, *(Beat(int.from_bytes(word, "little"), len(word), last=n == final) for n, word in enumerate(words))]


def cycle() -> int:
    """Number of the cycle whose inputs are being set; its rising edge is yet to come."""
    return int(get_sim_time("ns")) // PERIOD_NS


@dataclass(frozen=True)
class Taken:
    """A frame as the consumer got it. `offered`: first cycle in which it was there to be taken."""

    data: bytes
    number: int
    header: tuple[int, int, bool, int, int]
    offered: int


@dataclass(frozen=True)
class Sent:
    """A frame of the transmitter: cycles of its preamble and its last beat; data with FCS."""

    first: int
    last: int
    data: bytes
    pause: bool


class Bench:
    """One coroutine per cycle does everything; `step` is the clock."""

    def __init__(self, dut: Any) -> None:
        bound.start()
        self._dut = dut
        self._line: deque[Beat | int] = deque()
        self._debt = 0
        self._reading: list[int] = []
        self._held: deque[tuple[int, int]] = deque()
        self._out: list[bytes] = []
        self._out_first = 0
        self._offered: int | None = None
        self.ready: Callable[[], bool] = lambda: True
        """The consumer takes frames in this cycle."""
        self.release: Callable[[], bool] = lambda: True
        """The consumer releases a frame in this cycle."""
        self.taken: list[Taken] = []
        self.drops: list[tuple[int, int, int]] = []
        """(reason, number, cycle) of each drop."""
        self.sent: list[Sent] = []
        self.ends: list[int] = []
        """Cycle of each beat with `last` that went into the receiver."""

    async def start(self) -> None:
        dut = self._dut
        for name in ("rx_valid", "rx_first", "rx_last", "rx_bytes", "rx_error", "rx_data", "number_take", "frame_ready",
                     "release", "read_addr", "pause_tx", "tx_frame"):
            getattr(dut, f"{name}_i").value = 0
        dut.mac_i.value = OWN
        dut.end_ready_i.value = 1
        dut.xoff_words_i.value, dut.xon_words_i.value = 4096, 1024
        dut.rst_i.value = 1
        Clock(dut.clk_i, PERIOD_NS, unit="ns").start(start_high=False)
        for _ in range(4):
            await FallingEdge(dut.clk_i)
        dut.rst_i.value = 0

    def send(self, what: Iterable[Beat], gap: int = GAP) -> None:
        """Queue beats at 10 Gb/s, and byte times of gap behind them."""
        self._line.extend(what)
        self._line.append(gap)

    async def steps(self, count: int) -> None:
        for _ in range(count):
            await self.step()

    async def drain(self, extra: int = 6) -> None:
        """Until the line is empty, then `extra` cycles."""
        while self._line:
            await self.step()
        await self.steps(extra)

    async def step(self) -> None:
        self._feed()
        consuming = self._consume()
        await FallingEdge(self._dut.clk_i)
        self._finish(consuming)
        self._observe()

    def _feed(self) -> None:
        dut = self._dut
        while self._line and isinstance(self._line[0], int):
            self._debt += int(self._line.popleft())  # type: ignore[arg-type]
        beat = self._line.popleft() if self._line and self._debt < CYCLE_BYTES else None
        dut.rx_valid_i.value = beat is not None
        if isinstance(beat, Beat):
            self._debt += beat.count
            dut.rx_first_i.value, dut.rx_last_i.value = beat.first, beat.last
            dut.rx_error_i.value, dut.rx_bytes_i.value, dut.rx_data_i.value = beat.error, beat.count, beat.data
            if beat.last:
                self.ends.append(cycle())
        self._debt = max(self._debt - CYCLE_BYTES, 0)

    def _consume(self) -> tuple[int, int, int, tuple[int, int, bool, int, int], int] | None:
        """A frame that is taken at the coming edge."""
        dut = self._dut
        frame = None
        valid = bool(dut.frame_valid_o.value)
        if valid and self._offered is None:
            self._offered = cycle()
        ready = self.ready()
        dut.frame_ready_i.value = ready
        released = bool(self._held) and self.release()
        dut.release_i.value = released
        if released:
            self._check_held(*self._held.popleft())
        if valid and ready:
            assert self._offered is not None
            header = (int(dut.dst_o.value), int(dut.src_o.value), bool(dut.has_tag_o.value), int(dut.vid_o.value),
                      int(dut.ethertype_o.value))
            frame = (int(dut.base_o.value), int(dut.len_o.value), int(dut.frame_number_o.value), header, self._offered)
            self._offered = None
        return frame

    def _memory(self, base: int, length: int) -> bytes:
        store = self._dut.u_buffer.mem_q
        words = [int(store[(base + n) % WORDS].value) for n in range(-(-length // 8))]
        return b"".join(word.to_bytes(8, "little") for word in words)[:length]

    def _finish(self, frame: tuple[int, int, int, tuple[int, int, bool, int, int], int] | None) -> None:
        if frame is not None:
            base, length, number, header, offered = frame
            self.taken.append(Taken(self._memory(base, length), number, header, offered))
            self._held.append((base, len(self.taken) - 1))

    def _check_held(self, base: int, index: int) -> None:
        """Nothing has written over a frame until it is released."""
        data = self.taken[index].data
        assert self._memory(base, len(data)) == data, f"frame {index} changed before it was released"

    def _observe(self) -> None:
        dut = self._dut
        if int(dut.drop_o.value):
            self.drops.append((int(dut.reason_o.value), int(dut.drop_number_o.value), cycle()))
        if int(dut.tx_valid_o.value):
            data = int(dut.tx_data_o.value).to_bytes(8, "little")[: int(dut.tx_bytes_o.value)]
            if int(dut.tx_first_o.value):
                self._out, self._out_first = [], cycle()
                assert data == PREAMBLE.to_bytes(8, "little")
            else:
                self._out.append(data)
            if int(dut.tx_last_o.value):
                self.sent.append(Sent(self._out_first, cycle(), b"".join(self._out), bool(dut.tx_pause_o.value)))


def words_of(frames: Sequence[bytes]) -> int:
    """Words in the store of frames with FCS."""
    return sum(-(-(len(frame) - 4) // 8) for frame in frames)
