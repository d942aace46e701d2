"""Closed-form latency of an uncontended send or receive: each stage to the cycle, from sizes, addresses and the machine's settings.

Uncontended: nothing else moves, the IOTLB hits, latencies are constant. Stages are those of `tb.ledger.stages`. The
constants are properties of the RTL, each with the blocks that spend it; a test holds RTL and model equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sw.abi.registers import SendDescriptor
from tb.ledger.stages import PacketForm

DOORBELL_TO_GRANT: Final = 5
"""myr_tlp_rx 2, myr_send_ring: note, look and ready 3; the grant is in the cycle after."""
DOORBELL_TO_FETCH: Final = 7
"""myr_tlp_rx 2, myr_fetch: note and pick 2, myr_dma_read 1, two beats of MRd 2. A fetch that follows another comes as
long after the last beat of that one."""
GRANT_TO_READ: Final = 2
"""myr_send_exec reads the descriptor and hands it over; myr_dma_read authorises it in its first cycle."""
GRANT_TO_COPY: Final = 1
ISSUE: Final = 2
"""The two beats of the first MRd."""
MRD_BEATS: Final = 2
COPY_BYTES: Final = 8
"""Bytes of an inline frame that move in a cycle."""
COPY_TO_WIRE: Final = 4
"""myr_frame_buffer: complete, looked up in myr_switch and queued 3, myr_mac_tx 1."""
DATA_TO_WIRE: Final = 6
"""myr_tlp_rx 2, myr_frame_buffer and myr_switch 3, myr_mac_tx 1."""
WIRE_TO_COMPLETION: Final = 8
"""myr_mac_tx, myr_frame_buffer 1, myr_completion: pick, address 3, four beats of MWr 4."""
TAG_TO_READ: Final = 5
"""A completion's last beat to the last beat of the MRd that waited for its tag: myr_tlp_rx 2, tag free 1, MRd 2."""
RESERVED_TAGS: Final = 2
"""Tags that only descriptor fetches take (myr_dma_read)."""
LAST_TO_GRANT: Final = 5
"""myr_mac_rx 1, myr_rx_buffer 1, myr_rx_dispatch 1, myr_rx_place: check, entry of the first buffer 2; each further
buffer is one cycle more."""
GRANT_TO_WRITE: Final = 6
"""To the first beat of the first write: myr_rx_place 1, myr_dma_write: two words read and joined 3, myr_mwr_arb and
myr_tlp_tx 2."""
WRITE_TO_COMPLETION: Final = 8
"""myr_rx_completion: formed, picked, address 3, myr_tlp_tx 1, four beats of MWr 4."""
LOOKUP: Final = 1
"""Mode WINDOWS: myr_window_table, before each descriptor fetch, a frame's first read, each receive buffer and each write of
completions; that of a later read is made while the one before it leaves."""
LINK: Final = 1
"""Register of each direction of the link (myr_link)."""
IOMMU: Final = 3
"""A request through the IOMMU when it hits (myr_iommu_front); completions pass without delay."""
FRAMING: Final = 1
HEADER_DWS: Final = 3
"""Of a completion."""
RCB: Final = 64
WIRE_CYCLE_BYTES: Final = 5
BEAT_BYTES: Final = 8
MIN_FRAME: Final = 60
FCS: Final = 4


@dataclass(frozen=True)
class Machine:
    """What the latency depends on beside the NIC: cycles of 4 ns and bytes; see `HostConfig`."""

    read_latency: int
    write_latency: int
    mps: int
    mrrs: int
    read_tags: int
    ack_interval: int = 32
    lookup: int = 0
    """`LOOKUP` for an endpoint in mode WINDOWS."""


@dataclass(frozen=True)
class Ring:
    """A send ring: bus address of its first descriptor, and entries."""

    address: int
    entries: int


@dataclass(frozen=True)
class _Read:
    """One MRd: bus address, bytes, and where in the frame they go."""

    address: int
    length: int
    offset: int


class _Link:
    """One direction of the link: when each TLP's beats are taken (myr_link)."""

    def __init__(self, ack_interval: int) -> None:
        self._ack = ack_interval
        self._free = 0
        self._count = 0

    def take(self, ready: int, beats: int) -> int:
        """Cycle of the last beat of a TLP that is offered from `ready` on."""
        if self._count >= self._ack:
            self._free += 1
            self._count = 0
        start = max(ready, self._free)
        if start > self._free:
            self._count = 0  # an idle beat carries acknowledge and credit packets for free
        last = start + beats - 1
        self._count += beats + FRAMING
        self._free = last + 1 + FRAMING
        return last


def _reads(pieces: Sequence[tuple[int, int]], mrrs: int) -> list[_Read]:
    """The MRds of a frame: each piece up to the next boundary of MRRS."""
    found = []
    offset = 0
    for address, length in pieces:
        while length:
            part = min(length, mrrs - address % mrrs)
            found.append(_Read(address, part, offset))
            address, length, offset = address + part, length - part, offset + part
    return found


def _completions(read: _Read, mps: int) -> list[_Read]:
    """The CplDs of a read: as long as MPS allows, ending at read completion boundaries."""
    found = []
    address, left, offset = read.address, read.length, read.offset
    while left:
        part = min(left, mps - (address & ~3) % RCB - address % 4)
        found.append(_Read(address, part, offset))
        address, left, offset = address + part, left - part, offset + part
    return found


def _beats(completion: _Read) -> int:
    dws = -(-(completion.address % 4 + completion.length) // 4)
    return -(-(HEADER_DWS + dws) // 2)


def _late(completion: _Read) -> int:
    """1 when alignment to the destination needs one word more than beats carry it (myr_tlp_rx)."""
    start = 4 + completion.address % 4
    at = completion.offset % BEAT_BYTES
    beats = -(-(start + completion.length) // BEAT_BYTES)
    words = -(-(at + completion.length) // BEAT_BYTES)
    return int(words > beats - (at < start))


def _payload_read(pieces: Sequence[tuple[int, int]], machine: Machine) -> tuple[int, int]:
    """Cycles from the first MRd's last beat to the last byte, and whether that byte's word was late."""
    up, down = _Link(machine.ack_interval), _Link(machine.ack_interval)
    tags = machine.read_tags - RESERVED_TAGS
    freed: list[int] = []
    first = end = late = 0
    for number, read in enumerate(_reads(pieces, machine.mrrs)):
        ready = 0 if number < tags else freed[number - tags] - (MRD_BEATS - 1)
        sent = up.take(ready, MRD_BEATS)
        if number == 0:
            first = sent
        ready = sent + LINK + IOMMU + machine.read_latency
        for completion in _completions(read, machine.mps):
            taken = down.take(ready, _beats(completion))
            end, late = taken + LINK, _late(completion)
        freed.append(end + TAG_TO_READ + late)
    return end - first, late


def _descriptor_fetches(ring: Ring, slot: int, count: int, machine: Machine) -> list[int]:
    """Cycles of each descriptor read of a chain: a fetch ends at the ring's end and at boundaries of MRRS."""
    found = []
    while count:
        address = ring.address + slot * SendDescriptor.BYTES
        to_bound = (machine.mrrs - address % machine.mrrs) // SendDescriptor.BYTES
        part = min(count, ring.entries - slot, to_bound)
        down = _Link(machine.ack_interval)
        arrived = 0
        for completion in _completions(_Read(address, part * SendDescriptor.BYTES, 0), machine.mps):
            arrived = down.take(0, _beats(completion))
        found.append(LINK + IOMMU + machine.read_latency + arrived + LINK)
        slot, count = (slot + part) % ring.entries, count - part
    return found


def on_wire(length: int) -> int:
    """Cycles from the preamble's beat to the beat with the last FCS byte: 5 byte times a cycle."""
    beats = -(-(max(length, MIN_FRAME) + FCS) // BEAT_BYTES)
    return beats * BEAT_BYTES // WIRE_CYCLE_BYTES


def stages(form: PacketForm, length: int, pieces: Sequence[tuple[int, int]], machine: Machine, ring: Ring, head: int
           ) -> dict[str, int]:
    """Cycles of each stage of one frame of `length` bytes, in order.

    `pieces`: bus address and bytes of each descriptor (not used when INLINE). `head`: index of the chain's first
    descriptor in `ring` (used when FETCHED).
    """
    found: dict[str, int] = {}
    if form is PacketForm.FETCHED:
        *before, last = _descriptor_fetches(ring, head % ring.entries, len(pieces), machine)
        to_fetch = DOORBELL_TO_FETCH + machine.lookup
        found["doorbell to fetch"] = to_fetch + sum(cycles + to_fetch for cycles in before)
        found["descriptor read"] = last
        found["descriptor to grant"] = DOORBELL_TO_GRANT
    else:
        found["doorbell to grant"] = DOORBELL_TO_GRANT
    if form is PacketForm.INLINE:
        found["authorise"] = GRANT_TO_COPY
        found["copy"] = -(-length // COPY_BYTES)
        found["to wire"] = COPY_TO_WIRE
    else:
        found["authorise"] = GRANT_TO_READ + machine.lookup
        found["issue read"] = ISSUE
        read, late = _payload_read(pieces, machine)
        found["payload read"] = read
        found["to wire"] = DATA_TO_WIRE + late
    found["on wire"] = on_wire(length)
    found["to completion"] = WIRE_TO_COMPLETION + machine.lookup
    found["completion visible"] = LINK + IOMMU + machine.write_latency
    return found


def _write_beats(address: int, length: int) -> int:
    """Beats of a payload write: header, then whole DWs."""
    header = 4 if address >> 32 else 3
    dws = -(-(address % 4 + length) // 4)
    return -(-(header + dws) // 2)


def _writes(buffers: Sequence[tuple[int, int]], mps: int) -> list[int]:
    """Beats of each payload write of a frame: each buffer up to the next boundary of MPS."""
    found = []
    for start, size in buffers:
        address, left = start, size
        while left:
            part = min(left, mps - address % mps)
            found.append(_write_beats(address, part))
            address, left = address + part, left - part
    return found


def receive_stages(length: int, buffers: Sequence[tuple[int, int]], machine: Machine) -> dict[str, int]:
    """Cycles of each stage of one frame of `length` bytes from the wire, in order.

    `buffers`: bus address of the first byte and bytes in each receive buffer that it takes. A frame from a sibling is
    never uncontended: its sender's completion takes the same link.
    """
    link = _Link(machine.ack_interval)
    sent = [link.take(0, beats) for beats in _writes(buffers, machine.mps)]
    return {
        "arrival": on_wire(length),
        "to buffers": LAST_TO_GRANT + len(buffers) - 1 + machine.lookup * len(buffers),
        "to first write": GRANT_TO_WRITE + sent[0],
        "writes": sent[-1] - sent[0],
        "to completion": WRITE_TO_COMPLETION + machine.lookup,
        "completion visible": LINK + IOMMU + machine.write_latency,
    }
