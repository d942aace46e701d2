"""What wire, tags and bus allow, computed. Rates of frames are in millions per second, of bits in Gb/s."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sw.abi.registers import Completion, NicControl, ReceiveCompletion, SendDescriptor
from sw.platform import CYCLE_NS

WIRE_GBPS: Final = 10.0
WIRE_OVERHEAD: Final = 4 + 8 + 12
"""Bytes of each frame beside itself: FCS, preamble, gap."""
MIN_FRAME: Final = 60
READ_TAGS: Final = 15
FETCH_BATCH: Final = NicControl.CAPS_FETCH_BATCH_VALUE
"""Descriptors of one fetch."""
COMPLETION_BATCH: Final = 8
"""Completion entries of one write at most."""
BEAT_BYTES: Final = 8
DW_BYTES: Final = 4
FRAMING_BEATS: Final = 1
"""Of each TLP: sequence number and LCRC."""
DLLP_BEATS: Final = 32
"""A busy link gives one beat in this many and one to acknowledge and credit packets."""
READ_HEADER: Final = 16
WRITE_HEADER: Final = 16
RECEIVE_PAD: Final = 2
"""Bytes of a receive buffer before the frame."""
COMPLETION_HEADER: Final = 12


@dataclass(frozen=True)
class Bound:
    """A limit and what sets it."""

    value: float
    binds: str


def wire_mpps(frame_bytes: int) -> float:
    """Frames without FCS of `frame_bytes` that 10 Gb/s Ethernet carries."""
    return WIRE_GBPS * 1000 / (8 * (max(frame_bytes, MIN_FRAME) + WIRE_OVERHEAD))


def wire_gbps(frame_bytes: int) -> float:
    """The same as bits of the frames themselves, without FCS."""
    return wire_mpps(frame_bytes) * 8 * frame_bytes / 1000


def tag_mpps(read_ns: float) -> float:
    """Fetched frames of one read each: 15 reads at a time take `read_ns`, and one in 16 frames needs one more."""
    return READ_TAGS / (read_ns * (1 + 1 / FETCH_BATCH)) * 1000


def bus_mpps(frame_bytes: int) -> tuple[float, float]:
    """Fetched frames that Gen1 x8 carries downstream (data and descriptors) and upstream (reads, completions)."""
    down: float = _beats(COMPLETION_HEADER + frame_bytes)
    down += _beats(COMPLETION_HEADER + FETCH_BATCH * SendDescriptor.BYTES) / FETCH_BATCH
    up = _beats(READ_HEADER) * (1 + 1 / FETCH_BATCH)
    up += _beats(READ_HEADER + COMPLETION_BATCH * Completion.BYTES) / COMPLETION_BATCH
    cycles_per_us = 1000 / CYCLE_NS
    usable = DLLP_BEATS / (DLLP_BEATS + 1)
    return cycles_per_us * usable / down, cycles_per_us * usable / up


def frame_rate(frame_bytes: int, read_ns: float) -> Bound:
    """The lowest of all limits on fetched frames of one read each, in Mpps."""
    down, up = bus_mpps(frame_bytes)
    limits = {
        "wire": wire_mpps(frame_bytes),
        f"{READ_TAGS} tags at {read_ns:.0f} ns": tag_mpps(read_ns),
        "bus downstream": down,
        "bus upstream": up,
    }
    return _lowest(limits)


def receive_mpps(frame_bytes: int, mps: int, buffer_bytes: int) -> float:
    """Received frames that Gen1 x8 carries upstream: payload writes, completions in full batches, fetches of buffers."""
    up = 0.0
    left, room = frame_bytes, buffer_bytes - RECEIVE_PAD
    while left:
        part = min(left, room)
        # a write covers whole DWs: the first one of a buffer holds the pad
        span = -(-(buffer_bytes - room + part) // DW_BYTES) * DW_BYTES
        up += sum(_beats(WRITE_HEADER + min(mps, span - at)) for at in range(0, span, mps))
        up += _beats(READ_HEADER) / FETCH_BATCH
        left, room = left - part, buffer_bytes
    up += _beats(WRITE_HEADER + COMPLETION_BATCH * ReceiveCompletion.BYTES) / COMPLETION_BATCH
    return 1000 / CYCLE_NS * DLLP_BEATS / (DLLP_BEATS + 1) / up


def receive_rate(frame_bytes: int, mps: int, buffer_bytes: int) -> Bound:
    """The lower of wire and bus for received frames, in Mpps."""
    limits = {"wire": wire_mpps(frame_bytes), "bus upstream": receive_mpps(frame_bytes, mps, buffer_bytes)}
    return _lowest(limits)


def _lowest(limits: dict[str, float]) -> Bound:
    binds = min(limits, key=limits.__getitem__)
    others = ", ".join(f"{name} {value:.2f}" for name, value in limits.items() if name != binds)
    return Bound(limits[binds], f"{binds} ({others})")


def _beats(tlp_bytes: int) -> int:
    return -(-tlp_bytes // BEAT_BYTES) + FRAMING_BEATS
