"""Receive path of the guest's driver: buffer rings, receive queues, interrupt and poll as in NAPI."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sw.abi.registers import Aperture, Form, ReceiveBuffer, ReceiveCompletion
from sw.guest.checksum import verify_transport
from sw.guest.machine import DeviceMemory, DriverMachine, ReceiveSetup
from sw.platform import PAGE_SHIFT, PAGE_SIZE
from sw.xen.myri import ValidatedRing

BUDGET: Final = 64
"""Frames that one poll takes at most."""
PAD: Final = 2
"""A frame starts this many bytes after its buffer's address, so that its IP header is aligned."""
RSS_KEY: Final = bytes.fromhex("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa")
"""The key of Microsoft's verification suite."""
RSS_TABLE_ENTRIES: Final = 128
POLL_NS: Final = 1_000
"""Period at which several queues are looked at without interrupts."""

_MTU_LIMITS: Final = (68, 9000)
_ENTRIES: Final = (16, 512)
_QUEUES_MAX: Final = 4
_FRAME_OVERHEAD: Final = 18
"""Header and one VLAN tag: the card's SET_MTU rule."""
_SMALL_OF_1500: Final = 126
_SMALL_OF_JUMBO: Final = 1518
_CACHE_LINE: Final = 64
_GROUP: Final = 8
"""Pushed buffers are posted in groups of this many."""
_ENTRY: Final = struct.Struct(">Q")
_NOT_VALID: Final = b"\xff" * 4
_WORD: Final = struct.Struct("<I")
_COMPLETION: Final = struct.Struct(">IIHHHxB")
_CPL: Final = ReceiveCompletion.BYTES
_CPL_PER_PAGE: Final = PAGE_SIZE // _CPL
_PHASE_MASK: Final = ReceiveCompletion.STATUS_PHASE_M.to_bytes(4, "big")
_BIG: Final = ReceiveCompletion.STATUS_BIG_M
_LOCAL: Final = ReceiveCompletion.STATUS_LOCAL_M
_KIND_M: Final = ReceiveCompletion.STATUS_HASH_KIND_M
_KIND_S: Final = ReceiveCompletion.STATUS_HASH_KIND_S


@dataclass(frozen=True)
class ReceiveConfig:
    """Receive side of a `VirtualNic`. Raises `ValueError` naming field and limit."""

    mtu: int = 1500
    """Bytes of an IP packet; buffer sizes follow from it as in the card's driver."""
    form: Form = Form.FETCHED
    """How buffers reach the NIC: written into its rings by PIO, or fetched by it after a doorbell."""
    entries: int = 128
    """Buffers in each of the two rings, a power of two."""
    queues: int = 1
    """Receive queues; with more than one, frames are spread by their hash."""
    interrupts: bool = True
    """Sleep until an interrupt; otherwise look for frames, without any interrupt."""
    small_bytes: int | None = None
    """Frames of at most this many bytes use small buffers; None: by the MTU; 0: none."""

    def __post_init__(self) -> None:
        if not _MTU_LIMITS[0] <= self.mtu <= _MTU_LIMITS[1]:
            raise ValueError(f"mtu is {self.mtu}: {_MTU_LIMITS[0]} to {_MTU_LIMITS[1]}")
        if self.entries & (self.entries - 1) or not _ENTRIES[0] <= self.entries <= _ENTRIES[1]:
            raise ValueError(f"entries is {self.entries}: a power of two from {_ENTRIES[0]} to {_ENTRIES[1]}")
        if not 1 <= self.queues <= _QUEUES_MAX:
            raise ValueError(f"queues is {self.queues}: 1 to {_QUEUES_MAX}")
        if self.small_bytes is not None and not 0 <= self.small_bytes <= PAGE_SIZE - PAD:
            raise ValueError(f"small_bytes is {self.small_bytes}: 0 to {PAGE_SIZE - PAD}")

    @property
    def max_frame(self) -> int:
        """Longest frame, without FCS."""
        return self.mtu + _FRAME_OVERHEAD

    @property
    def small(self) -> int:
        """Longest frame of a small buffer."""
        if self.small_bytes is not None:
            return min(self.small_bytes, self.max_frame)
        return _SMALL_OF_1500 if self.mtu <= 1500 else min(_SMALL_OF_JUMBO, self.max_frame)

    @property
    def big_bytes(self) -> int:
        """Bytes of a big buffer: one takes a whole frame up to an MTU of 2028, else it is a page."""
        return 2048 if self.max_frame + PAD <= 2048 else PAGE_SIZE


class ReceivedFrame(NamedTuple):
    """One frame, copied out of its buffers."""

    data: bytes
    """Without FCS."""
    checksum: int
    """Ones' complement sum over bytes 14 to the end, by the NIC (CHECKSUM_COMPLETE)."""
    hash: int
    """Toeplitz hash; means something when `hash_kind` is not 0."""
    hash_kind: int
    queue: int
    local: bool
    """From a sibling, not from the wire."""
    stamp: int
    """Cycle in which its last payload write left the NIC, modulo 2^32."""

    def transport_checksum_ok(self) -> bool | None:
        """As `verify_transport`, with the NIC's sum."""
        return verify_transport(self.data, self.checksum)


class BufferRing:
    """One ring of receive buffers. Buffer n always stands in slot n: it is posted again as soon as it is empty."""

    def __init__(
        self, machine: DriverMachine, form: Form, entries: int, size: int, validated: tuple[int, ValidatedRing] | None
    ) -> None:
        """`size` in bytes, what one buffer holds with its pad. `validated`: endpoint and ring of that mode."""
        self._machine = machine
        self._validated = validated
        self._form = form
        self.entries = entries
        self.size = size
        # No buffer crosses a page, each starts a cache line.
        self._stride = max(_CACHE_LINE, 1 << (size - 1).bit_length())
        self.views: list[memoryview] = []
        self._slots = b""
        self.base = 0
        """Device address of the ring (FETCHED)."""
        self._window = 0
        self._doorbell = 0
        self.posted = 0
        """Buffers posted so far."""
        self.released = 0
        """Index before which every buffer is empty again."""
        self._early: set[int] = set()
        self.starved = False
        """VALIDATED: the hypervisor had no room for all that was posted last."""
        self.posts = 0
        """Times that buffers were handed over."""

    async def map(self, pages: DeviceMemory) -> None:
        """Allocate the buffers, and the ring if it lies in memory."""
        per_page = PAGE_SIZE // self._stride
        first = await pages.map_run(-(-self.entries // per_page), readonly=False)
        addresses = []
        for n in range(self.entries):
            page, offset = first + n // per_page, n % per_page * self._stride
            self.views.append(self._machine.memory.page(page)[offset : offset + self.size])
            addresses.append(_ENTRY.pack(pages.addresses[page] + offset))
        self._slots = b"".join(addresses)
        if self._form is Form.FETCHED and self._validated is None:
            ring = await pages.map_run(1, readonly=True, ring=True)
            self._machine.memory.write(ring << PAGE_SHIFT, self._slots)
            self.base = pages.addresses[ring]

    def start(self, window: int, doorbell: int) -> None:
        """Post everything. Guest-physical addresses of the ring's window and of its doorbell."""
        self._window, self._doorbell = window, doorbell
        self._post(self.entries)

    def release(self, index: int, count: int) -> None:
        """`count` buffers from `index` (modulo 2^16) on are empty."""
        # Queues are polled one after the other: a later frame may be done with before an earlier one.
        first = self.released + (index - self.released & 0xFFFF)
        if first != self.released:
            self._early.update(range(first, first + count))
            return
        self.released += count
        while self._early and self.released in self._early:
            self._early.remove(self.released)
            self.released += 1

    def refill(self) -> None:
        """Post what is empty once it is a quarter of the ring, and a whole group of the pushed form."""
        free = self.released + self.entries - self.posted
        if free >= max(self.entries // 4, _GROUP):
            self._post(free if self._form is Form.FETCHED else free & -_GROUP)

    def _post(self, count: int) -> None:
        if self._validated is not None:
            count = self._enqueue(*self._validated, count)
        first, self.posted = self.posted, self.posted + count
        self.posts += 1
        self._machine.spend("descriptor_build", count)
        if self._form is Form.FETCHED:
            self._machine.mmio_write(self._doorbell, _WORD.pack(self.posted & 0xFFFF))
            return
        write = self._machine.mmio_write
        half = _GROUP // 2 * ReceiveBuffer.BYTES
        for n in range(first, self.posted, _GROUP):
            at = (n & self.entries - 1) * ReceiveBuffer.BYTES
            group = self._slots[at : at + 2 * half]
            # The first entry becomes valid last: until then the NIC takes none of the group.
            low = group[ReceiveBuffer.ADDR_LO : ReceiveBuffer.BYTES]
            write(self._window + at, group[: ReceiveBuffer.ADDR_LO] + _NOT_VALID + group[ReceiveBuffer.BYTES : half])
            write(self._window + at + half, group[half:])
            write(self._window + at + ReceiveBuffer.ADDR_LO, low)


    def _enqueue(self, endpoint: int, ring: ValidatedRing, count: int) -> int:
        """Have buffers checked and pinned; how many there was room for."""
        size = ReceiveBuffer.BYTES
        slots = [(self.posted + n & self.entries - 1) * size for n in range(count)]
        entries = b"".join(self._slots[at : at + size] for at in slots)
        done = self._machine.kernel.endpoints.endpoint_enqueue(endpoint, ring, entries)
        self.starved = done < count
        return done


@dataclass
class _Queue:
    number: int
    base: int
    """GPA of the completion ring."""
    pages: list[memoryview]
    index: int = 0
    """Next entry to look at, free-running."""


@dataclass
class ReceiveCounts:
    """What the driver itself has seen."""

    frames: int = 0
    octets: int = 0
    polls: int = 0
    interrupts: int = 0
    arms: int = 0
    queue_frames: list[int] = field(default_factory=list)


class Receiver:
    """Receive side of one open endpoint. One user at a time."""

    def __init__(self, machine: DriverMachine, config: ReceiveConfig, validated: int | None = None) -> None:
        """`validated`: the endpoint's number, in that mode."""
        self._machine = machine
        self._validated = validated
        self.config = config
        self._signal = machine.signal()
        # A frame takes at least one buffer: with as many entries as buffers no queue can overflow.
        self._queue_entries = 2 * config.entries
        self._queues: list[_Queue] = []
        small = None if validated is None else (validated, ValidatedRing.SMALL)
        big = None if validated is None else (validated, ValidatedRing.BIG)
        self._small = (
            BufferRing(machine, config.form, config.entries, config.small + PAD, small) if config.small else None
        )
        self._big = BufferRing(machine, config.form, config.entries, config.big_bytes, big)
        self._arm = 0
        self._turn = 0
        self._running = False
        self.counts = ReceiveCounts(queue_frames=[0] * config.queues)

    async def map(self, pages: DeviceMemory) -> ReceiveSetup:
        """Allocate and map buffers and rings; what the hypervisor is to program."""
        config = self.config
        for ring in self.rings():
            await ring.map(pages)
        per_queue = -(-self._queue_entries * _CPL // PAGE_SIZE)
        bases = []
        for number in range(config.queues):
            gfn = await pages.map_run(per_queue, readonly=False, ring=True)
            memory = [self._machine.memory.page(gfn + n) for n in range(per_queue)]
            for page in memory:
                # Phase 0: nothing has arrived on the first lap.
                page[:] = bytes(PAGE_SIZE)
            self._queues.append(_Queue(number, gfn << PAGE_SHIFT, memory))
            bases.append(pages.addresses[gfn])
        log2 = config.entries.bit_length() - 1
        return ReceiveSetup(
            small_log2=log2,
            big_log2=log2,
            queue_log2=self._queue_entries.bit_length() - 1,
            buffer_log2=config.big_bytes.bit_length() - 1,
            small_bytes=config.small,
            max_frame=config.max_frame,
            queue_bases=tuple(bases),
            small_base=self._small.base if self._small is not None else 0,
            big_base=self._big.base,
            rss=config.queues > 1,
        )

    def start(self, aperture: int) -> None:
        """Post all buffers: the endpoint is enabled. `aperture` is the GPA of its doorbell page."""
        self._arm = aperture + Aperture.ARM
        if self._small is not None:
            self._small.start(aperture + Aperture.RX_SMALL_RING, aperture + Aperture.RX_SMALL_DOORBELL)
        self._big.start(aperture + Aperture.RX_BIG_RING, aperture + Aperture.RX_BIG_DOORBELL)
        self._running = True

    def stop(self) -> None:
        """Whoever waits in `receive` gets nothing any more."""
        self._running = False
        self._signal.notify()

    def interrupt(self) -> None:
        """Event-channel handler: the poll goes on."""
        self.counts.interrupts += 1
        self._signal.notify()

    def poll(self, budget: int = BUDGET) -> list[ReceivedFrame]:
        """Take up to `budget` frames that are there, give their buffers back."""
        frames: list[ReceivedFrame] = []
        if not self._running:
            return frames
        self.counts.polls += 1
        queues = self._queues
        for n in range(len(queues)):
            self._take(queues[(self._turn + n) % len(queues)], budget, frames)
        self._turn += 1
        if frames:
            self.counts.frames += len(frames)
            for ring in self.rings():
                ring.refill()
        return frames

    async def receive(self, timeout_ns: int, budget: int = BUDGET) -> list[ReceivedFrame]:
        """Frames, at least one; sleeps until there are some. None after `timeout_ns`, or when the NIC is closed."""
        deadline = self._machine.now() + timeout_ns
        while True:
            frames = self.poll(budget)
            await self.replenish()
            left = deadline - self._machine.now()
            if frames or left <= 0 or not self._running:
                return frames
            if self.config.interrupts:
                self.arm()
                await self._signal.wait(left)
            else:
                await self._until_entry(left)

    async def replenish(self) -> None:
        """Post what `poll` could not: the hypervisor unpins used buffers first (VALIDATED; else nothing to do)."""
        if self._validated is not None and any(ring.starved for ring in self.rings()):
            await self._machine.kernel.endpoints.endpoint_retire(self._validated)
            for ring in self.rings():
                ring.refill()

    def arm(self) -> None:
        """Ask for one interrupt, from the first entries not yet seen on: at once if there are some already."""
        for queue in self._queues:
            self.counts.arms += 1
            value = (queue.number + 1) << Aperture.ARM_QUEUE_S | queue.index & Aperture.ARM_INDEX_M
            self._machine.mmio_write(self._arm, _WORD.pack(value))

    def rings(self) -> Sequence[BufferRing]:
        """The small ring, if there is one, and the big one."""
        return (self._big,) if self._small is None else (self._small, self._big)

    @property
    def buffer_posts(self) -> int:
        """Times that buffers were handed to the NIC."""
        return sum(ring.posts for ring in self.rings())

    def _take(self, queue: _Queue, budget: int, frames: list[ReceivedFrame]) -> None:
        """Move frames of one queue to `frames` until there are none or `budget` is reached."""
        entry = queue.index
        entries = self._queue_entries
        pages = queue.pages
        octets = 0
        while len(frames) < budget:
            slot = entry & (entries - 1)
            value, stamp, index, length, checksum, flags = _COMPLETION.unpack_from(
                pages[slot // _CPL_PER_PAGE], (slot & (_CPL_PER_PAGE - 1)) * _CPL
            )
            # Phase 1 on even laps, 0 on odd ones.
            if (flags & 1 != 0) is (entry & entries != 0):
                break
            entry += 1
            octets += length
            kind = (flags & _KIND_M) >> _KIND_S
            data = self._copy_out(index, length, big=bool(flags & _BIG))
            frames.append(ReceivedFrame(data, checksum, value, kind, queue.number, bool(flags & _LOCAL), stamp))
        self._machine.spend("completion_reap", entry - queue.index)
        self._machine.spend("copy_byte", octets)
        self.counts.octets += octets
        self.counts.queue_frames[queue.number] += entry - queue.index
        queue.index = entry

    def _copy_out(self, index: int, length: int, *, big: bool) -> bytes:
        """A frame's bytes; its buffers are empty afterwards."""
        ring = self._big if big or self._small is None else self._small
        mask = ring.entries - 1
        end = PAD + length
        if end <= ring.size:
            data = bytes(ring.views[index & mask][PAD:end])
            ring.release(index, 1)
            return data
        count = -(-end // ring.size)
        data = b"".join(ring.views[index + n & mask] for n in range(count))[PAD:end]
        ring.release(index, count)
        return data

    async def _until_entry(self, timeout_ns: int) -> None:
        """Sleep, without interrupts, until a queue may have an entry."""
        if len(self._queues) > 1:
            await self._machine.sleep(min(POLL_NS, timeout_ns))
            return
        (queue,) = self._queues
        phase = 0 if queue.index & self._queue_entries else ReceiveCompletion.STATUS_PHASE_M
        address = queue.base + (queue.index & (self._queue_entries - 1)) * _CPL + ReceiveCompletion.STATUS
        await self._machine.monitor(address, phase.to_bytes(4, "big"), _PHASE_MASK, timeout_ns)
