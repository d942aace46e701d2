"""Transmit path of the guest's driver: the send ring in its three forms, completions, checksum offload."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import Final

from sw.abi.registers import Completion, SendDescriptor, Status
from sw.guest.checksum import insert_checksum
from sw.guest.machine import DriverMachine
from sw.guest.send_buffers import Piece, SendBuffers
from sw.guest.tso import tso_chain
from sw.platform import PAGE_SHIFT, PAGE_SIZE, PlatformTimeoutError
from sw.xen.myri import ValidatedRing

MAX_PIECES: Final = 12
STOP_BELOW: Final = MAX_PIECES + 1
"""The queue stops when fewer slots are free: the longest chain, or inline frame, might not fit."""
SMALL_FRAME: Final = 1520
BURST: Final = 64
"""A write-combining buffer: bursts never cross a boundary of this many bytes."""
RING_LIMITS: Final = (16, 1024)

_SLOT = SendDescriptor.BYTES
_SLOTS_PER_BURST = BURST // _SLOT
_SLOTS_PER_PAGE = PAGE_SIZE // _SLOT
_CPL = Completion.BYTES
_CPL_PER_PAGE = PAGE_SIZE // _CPL
_DESCRIPTOR = struct.Struct(">QII")
_COMPLETION_TAIL = struct.Struct(">HHI")
_DOORBELL = struct.Struct("<I")
_PLAIN = SendDescriptor.CONTROL_NO_TSO_M
_ONE = 1 << SendDescriptor.CONTROL_RDMA_COUNT_S
_COUNT_S = SendDescriptor.CONTROL_RDMA_COUNT_S
_HEAD = SendDescriptor.CONTROL_NO_TSO_M | SendDescriptor.CONTROL_FIRST_M
_SMALL = SendDescriptor.CONTROL_SMALL_M
_CKSUM = SendDescriptor.CONTROL_CKSUM_M
_ALIGN_ODD = SendDescriptor.CONTROL_ALIGN_ODD_M
_START_S = SendDescriptor.CONTROL_CKSUM_OFFSET_S
_START_MAX = SendDescriptor.CONTROL_CKSUM_OFFSET_M >> SendDescriptor.CONTROL_CKSUM_OFFSET_S
_FIELD_S = SendDescriptor.LENGTH_PSEUDO_HDR_OFFSET_S
_INLINE_HEAD = _HEAD | SendDescriptor.CONTROL_INLINE_M
_FETCH_ERROR = int(Status.FETCH_ERROR)
_PHASE_MASK = Completion.STATUS_PHASE_M.to_bytes(4, "big")


class SendForm(Enum):
    """How send requests reach the NIC."""

    PUSHED = "pushed"
    """Descriptors by PIO into NIC SRAM."""
    INLINE = "inline"
    """Frames by PIO, whole, as far as they fit; else as PUSHED."""
    FETCHED = "fetched"
    """Descriptors in guest memory, one doorbell per batch (`kick`)."""


class NicError(RuntimeError):
    """The driver was used wrongly, or set-up was refused: the message names the endpoint and the reason."""


class NicHaltedError(RuntimeError):
    """The endpoint halted after a failed descriptor fetch; what was in flight never completes."""


def _split(pieces: Sequence[Piece], at: int) -> tuple[list[Piece], list[Piece]]:
    """Pieces before and from byte `at` on."""
    before: list[Piece] = []
    after: list[Piece] = []
    for address, length in pieces:
        part = min(length, at)
        at -= part
        if part:
            before.append((address, part))
        if length > part:
            after.append((address + part, length - part))
    return before, after


class Transmitter:
    """Send side of one endpoint. Not re-entrant: one user at a time, as under a transmit lock."""

    def __init__(
        self,
        machine: DriverMachine,
        form: SendForm,
        ring_entries: int,
        cq_entries: int | None,
        completion_log: list[tuple[int, int, int]] | None,
    ) -> None:
        self._machine = machine
        self.form = form
        self._ring = ring_entries
        self._cq = cq_entries if cq_entries is not None else ring_entries
        for name, value in (("ring_entries", self._ring), ("cq_entries", self._cq)):
            if value & (value - 1) or not RING_LIMITS[0] <= value <= RING_LIMITS[1]:
                raise NicError(f"{name} is {value}: must be a power of two from {RING_LIMITS[0]} to {RING_LIMITS[1]}")
        self._wake_at = max(self._ring // 2, STOP_BELOW)
        self._log = completion_log
        self.completions = [0] * (max(Status) + 1)
        """Completions so far, by status."""
        self.frames_accepted = 0
        self.bytes_sent = 0
        """Bytes of frames that completed well, without padding and FCS."""
        self.halted = False
        # Set by `open`: where things are.
        self._buffers: SendBuffers
        self._inline_max = 0
        self._doorbell = 0
        self._window = 0
        self._cq_base = 0
        self._validated = False
        self._device_pages: dict[int, int] | None = None
        self._ring_pages: list[memoryview] = []
        self._cq_pages: list[memoryview] = []
        self._reset_transmit()

    def _reset_transmit(self) -> None:
        self._producer = 0
        self._consumer = 0
        self._retired = 0
        """Slots before it are free for new descriptors: all that have completed, unless VALIDATED."""
        self._batch = bytearray()
        """Descriptors that the hypervisor is to check (VALIDATED)."""
        self._rung = 0
        self._cq_index = 0
        self._stopped = True
        self._chains: deque[tuple[int, int]] = deque()
        self.halted = False

    @property
    def endpoint(self) -> int:
        """Number of the endpoint; valid while open."""
        raise NicError("the NIC is not open")

    @property
    def ring_entries(self) -> int:
        """Slots of the send ring."""
        return self._ring

    @property
    def ring_bytes(self) -> int:
        """Memory of the send ring, whole pages."""
        return -(-self._ring * _SLOT // PAGE_SIZE) * PAGE_SIZE

    @property
    def cq_bytes(self) -> int:
        """Memory of the completion ring, whole pages."""
        return -(-self._cq * _CPL // PAGE_SIZE) * PAGE_SIZE

    @property
    def stopped(self) -> bool:
        """`xmit` would refuse: fewer than `STOP_BELOW` slots were free, or the endpoint halted."""
        return self._stopped

    @property
    def in_flight(self) -> int:
        """Frames accepted and not yet completed."""
        return len(self._chains)

    @property
    def buffers(self) -> SendBuffers:
        """The driver's mapped pages, for `xmit`; `send` uses them by itself."""
        return self._buffers

    def send(self, frame: bytes, checksum: tuple[int, int] | None = None) -> bool:
        """Copy a frame into the driver's own buffers and `xmit` it; False when queue or buffers are full.

        `checksum`: (first byte to be summed, offset of the 16-bit field, which holds the pseudo-header's sum).
        """
        if self._stopped:
            return False
        if checksum is not None and checksum[0] > _START_MAX:
            frame, checksum = insert_checksum(frame, *checksum), None
        placed = self._buffers.place(frame)
        if placed is None:
            self._stopped = True
            return False
        self._machine.spend("copy_byte", len(frame))
        pieces, held = placed
        if self.xmit(pieces, held, checksum):
            return True
        self._buffers.undo(held)
        return False

    def xmit(self, pieces: Sequence[Piece], held: int = 0, checksum: tuple[int, int] | None = None) -> bool:
        """Queue one frame of 1 to 12 device-mapped pieces; False when the queue is stopped.

        `held` is what `buffers.place` gave, released on completion. FETCHED needs a `kick` after the batch.
        `checksum` as of `send`; its start is at most 255.
        """
        if checksum is not None and not 0 <= checksum[0] <= _START_MAX:
            raise NicError(f"checksum start is {checksum[0]}: 0 to {_START_MAX}")
        if self._stopped:
            return False
        self._machine.spend("descriptor_build", len(pieces))
        count = self._queue_inline(pieces, checksum) if self.form is SendForm.INLINE else 0
        if count == 0:
            count = self._queue_descriptors(pieces, checksum)
        self._accept(count, held)
        return True

    def send_tso(self, header: bytes, payload: bytes, mss: int, tcp_offset: int, *, ipv6: bool) -> bool:
        """Send one big TCP packet that the NIC cuts into segments of `mss` payload bytes; False as of `send`.

        `header` ends with the TCP header, which starts at `tcp_offset`. The chain needs as many slots as it has pieces:
        one for each page of payload. Raises `NicError` for what fits neither ring nor buffers when they are empty.
        """
        if self._stopped:
            return False
        placed = self._buffers.place(header + payload)
        if placed is None:
            self._stopped = True
            return False
        self._machine.spend("copy_byte", len(header) + len(payload))
        pieces, held = placed
        head, body = _split(self.device_pieces(pieces), len(header))
        try:
            chain = tso_chain(head, body, mss, len(header) - tcp_offset if ipv6 else tcp_offset, ipv6=ipv6)
        except ValueError as error:
            self._buffers.undo(held)
            raise NicError(str(error)) from error
        if len(chain) > self._ring:
            self._buffers.undo(held)
            raise NicError(f"TSO packet of {len(chain)} pieces: the send ring has {self._ring} slots")
        if len(chain) > self._ring - self._producer + self._retired:
            self._buffers.undo(held)
            self._stopped = True
            return False
        self._machine.spend("descriptor_build", len(chain))
        self._queue_chain(chain)
        self._accept(len(chain), held)
        return True

    def kick(self) -> None:
        """Ring the doorbell for what was queued since the last one (FETCHED; nothing to do otherwise)."""
        if self.form is SendForm.FETCHED and self._rung != self._producer:
            if self._batch:
                batch, self._batch = bytes(self._batch), bytearray()
                done = self._machine.kernel.endpoints.endpoint_enqueue(self.endpoint, ValidatedRing.SEND, batch)
                if done * _SLOT != len(batch):
                    raise NicError(f"endpoint {self.endpoint}: {done} of {len(batch) // _SLOT} descriptors found room")
            self._rung = self._producer
            self._machine.mmio_write(self._doorbell, _DOORBELL.pack(self._producer & 0xFFFF))

    def reap(self) -> int:
        """Take what has completed, in order; the number of frames. Wakes the queue when half of it is free."""
        entry = self._cq_index
        first = entry
        cq = self._cq
        pages = self._cq_pages
        counts = self.completions
        log = self._log
        chains = self._chains
        unpack = _COMPLETION_TAIL.unpack_from
        released = 0
        slots = 0
        octets = 0
        while True:
            slot = entry & (cq - 1)
            index, length, tail = unpack(pages[slot // _CPL_PER_PAGE], (slot & (_CPL_PER_PAGE - 1)) * _CPL + 8)
            # Phase 1 on even laps, 0 on odd ones.
            if (tail & 1 != 0) is (entry & cq != 0):
                break
            entry += 1
            status = tail >> 8 & 0xFF
            counts[status] += 1
            octets += length
            if log is not None:
                log.append((index, length, status))
            if status == _FETCH_ERROR:
                self.halted = True
                self._stopped = True
                break
            if not chains:
                raise NicError(f"endpoint {self.endpoint}: completion {entry - 1} for a frame that was never sent")
            count, held = chains.popleft()
            slots += count
            released += held
        done = entry - first
        if done:
            self._machine.spend("completion_reap", done)
            self._cq_index = entry
            self.bytes_sent += octets
            self._consumer += slots
            if not self._validated:
                self._retired = self._consumer
            if released:
                self._buffers.free(released)
            if self._stopped and not self.halted and self._has_room(self._retired):
                self._stopped = False
        return done

    async def wait_for_room(self, timeout_ns: int) -> None:
        """Sleep until the queue may run again: half a ring is free. One wake-up, however many frames complete.

        Raises `PlatformTimeoutError` after `timeout_ns` of simulated time, `NicHaltedError` when the endpoint halted.
        """
        self.kick()
        self.reap()
        deadline = self._machine.now() + timeout_ns
        while self._stopped:
            self._check_halted()
            if self._retired != self._consumer and self._has_room(self._consumer):
                await self._retire()
                continue
            wanted = self._producer - self._ring + self._wake_at
            freed = self._consumer
            nth = 0
            for count, _ in self._chains:
                if freed >= wanted and nth * 2 >= len(self._chains):
                    break
                freed += count
                nth += 1
            await self._until_completed(max(nth, 1), deadline, "room in the send queue")

    async def drain(self, timeout_ns: int) -> None:
        """Sleep until every accepted frame has completed; exceptions as of `wait_for_room`."""
        self.kick()
        self.reap()
        deadline = self._machine.now() + timeout_ns
        while self._chains:
            self._check_halted()
            await self._until_completed(len(self._chains), deadline, "all frames to complete")

    async def _until_completed(self, nth: int, deadline: int, purpose: str) -> None:
        """Sleep until the `nth` completion from now has arrived, then reap."""
        entry = self._cq_index + nth - 1
        phase = 0 if entry & self._cq else Completion.STATUS_PHASE_M
        address = self._cq_base + (entry & (self._cq - 1)) * _CPL + Completion.STATUS
        left = deadline - self._machine.now()
        arrived = left > 0 and await self._machine.monitor(address, phase.to_bytes(4, "big"), _PHASE_MASK, left)
        if self.reap():
            return
        self._check_halted()
        if arrived:
            raise NicError(
                f"endpoint {self.endpoint}: completion {entry} is there but completion {self._cq_index} is not"
            )
        raise PlatformTimeoutError(
            f"endpoint {self.endpoint} waited for {purpose}: completion {entry} did not arrive by {deadline} ns "
            f"({len(self._chains)} frames in flight)"
        )

    async def _retire(self) -> None:
        """Have the hypervisor unpin what has completed (VALIDATED): its slots are free again."""
        consumer = self._consumer
        await self._machine.kernel.endpoints.endpoint_retire(self.endpoint)
        self._retired = consumer
        if not self.halted and self._has_room(consumer):
            self._stopped = False

    def _check_halted(self) -> None:
        if self.halted:
            raise NicHaltedError(f"endpoint {self.endpoint} halted with {len(self._chains)} frames in flight")

    def _has_room(self, freed: int) -> bool:
        """Would the queue run again if slots before `freed` were free?"""
        free = self._ring - self._producer + freed
        return free >= self._wake_at and len(self._chains) <= self._cq // 2

    def _accept(self, count: int, held: int) -> None:
        """Account for a chain of `count` slots that was queued."""
        producer = self._producer + count
        self._producer = producer
        self._chains.append((count, held))
        self.frames_accepted += 1
        if self._ring - producer + self._retired < STOP_BELOW or len(self._chains) >= self._cq:
            self._stopped = True

    def _queue_inline(self, pieces: Sequence[Piece], checksum: tuple[int, int] | None) -> int:
        """Put a short frame into the ring itself; slots used, 0 when it is too long."""
        total = 0
        for _, length in pieces:
            total += length
        if not 0 < total <= self._inline_max:
            return 0
        read = self._machine.memory.read
        payload = b"".join([read(gpa, length) for gpa, length in pieces])
        count = 1 + -(-total // _SLOT)
        control = _INLINE_HEAD | _SMALL | count << _COUNT_S
        if checksum is not None:
            control |= _CKSUM | checksum[0] << _START_S
            total |= checksum[1] << _FIELD_S
        head = _DESCRIPTOR.pack(0, total, control)
        self._push(head + payload.ljust((count - 1) * _SLOT, b"\0"))
        return count

    def _queue_descriptors(self, pieces: Sequence[Piece], checksum: tuple[int, int] | None) -> int:
        """Write a chain of descriptors where the form wants it; slots used."""
        pieces = self.device_pieces(pieces)
        count = len(pieces)
        slot = self._producer & (self._ring - 1)
        if count == 1:
            address, length = pieces[0]
            control = _HEAD | _ONE | _SMALL if length <= SMALL_FRAME else _HEAD | _ONE
            if checksum is not None:
                control |= _CKSUM | checksum[0] << _START_S
                length |= checksum[1] << _FIELD_S
            if self._validated:
                self._batch += _DESCRIPTOR.pack(address, length, control)
            elif self.form is SendForm.FETCHED:
                page = self._ring_pages[slot // _SLOTS_PER_PAGE]
                _DESCRIPTOR.pack_into(page, slot % _SLOTS_PER_PAGE * _SLOT, address, length, control)
            else:
                self._machine.mmio_write(self._window + slot * _SLOT, _DESCRIPTOR.pack(address, length, control))
            return 1
        if not 0 < count <= MAX_PIECES:
            raise NicError(f"a frame of {count} pieces: 1 to {MAX_PIECES} are possible")
        self._queue_chain(self._descriptors(pieces, checksum))
        return count

    def _queue_chain(self, chain: list[bytes]) -> None:
        """Write descriptors from the producer on."""
        if self._validated:
            self._batch += b"".join(chain)
            return
        if self.form is not SendForm.FETCHED:
            self._push(b"".join(chain))
            return
        for n, descriptor in enumerate(chain, self._producer):
            at = n & (self._ring - 1)
            offset = at % _SLOTS_PER_PAGE * _SLOT
            self._ring_pages[at // _SLOTS_PER_PAGE][offset : offset + _SLOT] = descriptor

    def _descriptors(self, pieces: Sequence[Piece], checksum: tuple[int, int] | None) -> list[bytes]:
        total = 0
        for _, length in pieces:
            total += length
        common = _PLAIN | _SMALL if total <= SMALL_FRAME else _PLAIN
        start = field = 0
        if checksum is not None:
            common |= _CKSUM
            start, field = checksum[0], checksum[1] << _FIELD_S
        chain = []
        control = common | _HEAD | len(pieces) << _COUNT_S
        before = 0
        for address, length in pieces:
            odd = _ALIGN_ODD if checksum is not None and before & 1 else 0
            chain.append(_DESCRIPTOR.pack(address, length | field, control | odd | max(start - before, 0) << _START_S))
            before += length
            control = common | _ONE
        return chain

    def _push(self, slots: bytes) -> None:
        """Write consecutive slots by PIO, tail first: the burst that holds the head goes last."""
        mask = self._ring - 1
        write = self._machine.mmio_write
        producer = self._producer
        count = len(slots) // _SLOT
        in_head_burst = min(count, _SLOTS_PER_BURST - producer % _SLOTS_PER_BURST)
        done = in_head_burst
        while done < count:
            part = min(_SLOTS_PER_BURST, count - done)
            write(self._window + ((producer + done) & mask) * _SLOT, slots[done * _SLOT : (done + part) * _SLOT])
            done += part
        write(self._window + (producer & mask) * _SLOT, slots[: in_head_burst * _SLOT])

    def device_pieces(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Pieces in device addresses, split where consecutive pages are not consecutive for the device."""
        if self._device_pages is None:
            return pieces
        result: list[Piece] = []
        for gpa, total in pieces:
            done = 0
            while done < total:
                offset = (gpa + done) & (PAGE_SIZE - 1)
                part = min(PAGE_SIZE - offset, total - done)
                address = self._device_pages[(gpa + done) >> PAGE_SHIFT] + offset
                if done and sum(result[-1]) == address:
                    result[-1] = (result[-1][0], result[-1][1] + part)
                else:
                    result.append((address, part))
                done += part
        return result
