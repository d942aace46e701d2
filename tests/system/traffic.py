"""Traffic as data: what each guest sends, cut into which pieces. Runs on any `Platform`."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from hypervisor_model.hypervisor import Hypervisor
from sw.abi.registers import Mode, NicControl
from sw.guest.virtual_nic import MAX_PIECES, SendForm, VirtualNic
from sw.platform import Platform

MAX_FRAME: Final = 9018
MIN_WIRE: Final = 60
WAIT_NS: Final = 20_000_000
"""Bound of each wait: a full ring of the longest frames of eight guests takes less."""

Gather = Callable[[list[Coroutine[Any, Any, None]]], Awaitable[object]]


@dataclass(frozen=True)
class Frame:
    """Bytes, and where each piece of them starts and ends: gap before the piece, length."""

    data: bytes
    pieces: tuple[tuple[int, int], ...]


@dataclass
class Guest:
    """One guest's driver set-up and frames."""

    form: SendForm
    ring: int
    cq: int
    alignment: int
    frames: list[Frame]
    kick_every: int = 4


@dataclass
class Outcome:
    """What the guests were told, and what the hardware counted."""

    completions: list[list[tuple[int, int, int]]] = field(default_factory=list)
    endpoints: list[int] = field(default_factory=list)
    data_path_entries: int = 0
    faults: int = 0
    counters: dict[str, int] = field(default_factory=dict)


def cut(rng: random.Random, data: bytes, count: int, gap: int) -> Frame:
    """`data` in `count` pieces with up to `gap` bytes between them, so that each starts at any alignment."""
    count = min(count, len(data))
    cuts = sorted(rng.sample(range(1, len(data)), count - 1))
    bounds = [0, *cuts, len(data)]
    return Frame(data, tuple((rng.randint(0, gap), b - a) for a, b in pairwise(bounds)))


def payload(rng: random.Random, guest: int, number: int, length: int) -> bytes:
    """A frame that names its guest and number, so that a stray one is recognised by its bytes alone."""
    return (bytes([2, 0, 0, 0, 1, 0, 2, 0, 0, 0, 0, guest]) + number.to_bytes(4, "big") + rng.randbytes(length))[:length]


def owner(data: bytes) -> int:
    """The guest that a wire frame names."""
    return data[11]


def random_plan(seed: int) -> list[Guest]:
    """Two to eight guests with random forms, rings, sizes, alignments and pieces; edges are frequent."""
    rng = random.Random(seed)
    edges = [60, 61, 63, 64, 65, 127, 128, 129, 191, 192, 193, 255, 256, 257, 511, 512, 513, 1514, 1518, 4095, 4096, 4097,
             8191, 8192, 9000, 9014, 9017, 9018]
    guests = []
    for number in range(rng.randint(2, 8)):
        frames = []
        for index in range(rng.randint(20, 60)):
            length = rng.choice([rng.choice(edges), rng.randint(60, 300), rng.randint(60, MAX_FRAME)])
            count = rng.choice([1, 1, rng.randint(1, MAX_PIECES)])
            frames.append(cut(rng, payload(rng, number, index, length), count, 70))
        guests.append(Guest(rng.choice(list(SendForm)), 1 << rng.randint(4, 10), 1 << rng.randint(4, 10),
                            1 << rng.randint(0, 7), frames, rng.randint(1, 8)))
    return guests


def place(nic: VirtualNic, frame: Frame) -> tuple[list[tuple[int, int]], int] | None:
    """Put the pieces, gaps between them, into the driver's mapped pages; one piece may cross pages."""
    blob = bytearray()
    offsets = []
    at = 0
    for gap, length in frame.pieces:
        blob += bytes(gap)
        offsets.append((len(blob), length))
        blob += frame.data[at : at + length]
        at += length
    placed = nic.buffers.place(bytes(blob))
    if placed is None:
        return None
    parts, held = placed
    return [(parts[0][0] + offset, length) for offset, length in offsets], held


async def send_all(nic: VirtualNic, guest: Guest) -> None:
    """Send every frame, ring every `kick_every`, wait for all completions."""
    for number, frame in enumerate(guest.frames, 1):
        while True:
            placed = None if nic.stopped else place(nic, frame)
            if placed is not None:
                assert nic.xmit(*placed)
                break
            await (nic.drain(WAIT_NS) if not nic.stopped else nic.wait_for_room(WAIT_NS))
        if number % guest.kick_every == 0:
            nic.kick()
    await nic.drain(WAIT_NS)


async def run(platform: Platform, gather: Gather, guests: list[Guest], *, seed: int, max_payload: int, max_read: int,
              mode: Mode = Mode.IOMMU) -> Outcome:
    """Boot, open a NIC for each guest, send everything, close. `mode`: its protection."""
    hypervisor = Hypervisor(platform, seed=seed, max_payload=max_payload, max_read=max_read)
    await hypervisor.boot()
    # where the link stalls half of the time a completion may take longer than the default allows
    hypervisor.endpoints.write(NicControl.READ_TIMEOUT, NicControl.READ_TIMEOUT_CYCLES_M)
    outcome = Outcome()
    nics = []
    for number, guest in enumerate(guests):
        domain = hypervisor.create_domain(f"guest{number}", 128, mode=mode)
        log: list[tuple[int, int, int]] = []
        outcome.completions.append(log)
        nic = VirtualNic(domain, guest.form, guest.ring, cq_entries=guest.cq, buffer_pages=24,
                         buffer_alignment=guest.alignment, completion_log=log)
        await nic.open()
        nics.append(nic)
        outcome.endpoints.append(nic.endpoint)
    await gather([send_all(nic, guest) for nic, guest in zip(nics, guests, strict=True)])
    await hypervisor.handle_faults()
    outcome.data_path_entries = hypervisor.entries.data_path
    outcome.faults = hypervisor.entries.faults + len(hypervisor.faults.device)
    for name in ("FRAMES", "FAILED_CHAINS", "READ_ERRORS", "READ_TIMEOUTS", "UNEXPECTED_CPL", "MMIO_DROPPED"):
        outcome.counters[name] = await hypervisor.endpoints.read(getattr(NicControl, name))
    for nic in nics:
        await nic.close()
    return outcome


def on_wire(frames: Iterable[Frame]) -> list[bytes]:
    """Frames as they must leave, without FCS."""
    return [frame.data.ljust(MIN_WIRE, b"\0") for frame in frames]
