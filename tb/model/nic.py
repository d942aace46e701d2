"""Reference NIC: what the hardware does with every request and every frame, one at a time, in plain Python."""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from sw.abi.registers import Aperture, Completion, Form, NicControl, Refusal, SendDescriptor, Status
from sw.platform import CYCLE_NS, PAGE_SIZE
from tb.model.clock import Clock
from tb.model.dma import Dma, plain, stale
from tb.model.endpoint import FETCH_BATCH, Endpoint
from tb.model.interrupts import RINGS, Interrupts
from tb.model.iommu import ReferenceIommu
from tb.model.offload import BadOffloadError, Segmenter, TsoChain, insert_checksum, walk_tso
from tb.model.pci_config import APERTURE_BAR_BYTES, CONTROL_BAR_BYTES, ConfigSpace
from tb.model.rx import FCS_BYTES, MAX_FRAME, Receiver
from tb.model.switch import Switch
from tb.model.windows import WINDOWS, RefusedError

INLINE_MAX: Final = NicControl.LIMITS_INLINE_MAX_VALUE
MAX_PIECES: Final = 12
MIN_FRAME: Final = 60
READ_TAGS: Final = 15
FRAME_SLOTS: Final = NicControl.CAPS_FRAME_SLOTS_VALUE
MAGIC: Final = NicControl.ID_MAGIC_VALUE
HOST_READ_NS: Final = 550
WIRE_OVERHEAD: Final = 20
"""Preamble and gap, bytes."""

_INTERRUPT_CONTROLLER: Final = 0xFEE
"""Address bits 31:20."""
_STRIDE = APERTURE_BAR_BYTES // NicControl.ENDPOINT_COUNT
_STATISTICS_END: Final = NicControl.STATISTICS_BASE + NicControl.STATISTICS_COUNT * NicControl.STATISTICS_STRIDE
_SLOT = SendDescriptor.BYTES
_DESCRIPTOR = struct.Struct(">QHHI")
_COMPLETION = struct.Struct(">QHHI")
_COUNT_S = SendDescriptor.CONTROL_RDMA_COUNT_S
_START_S = SendDescriptor.CONTROL_CKSUM_OFFSET_S
_FIRST = SendDescriptor.CONTROL_FIRST_M
_INLINE = SendDescriptor.CONTROL_INLINE_M
_CKSUM = SendDescriptor.CONTROL_CKSUM_M
_NO_TSO = SendDescriptor.CONTROL_NO_TSO_M
_UNSUPPORTED = SendDescriptor.CONTROL_TSO_PLD_M | SendDescriptor.CONTROL_RESERVED_M
_COUNTERS: Final = (
    NicControl.FRAMES,
    NicControl.FAILED_CHAINS,
    NicControl.AUTH_CHECKS,
    NicControl.AUTH_DENIED,
    NicControl.READ_ERRORS,
    NicControl.READ_TIMEOUTS,
    NicControl.UNEXPECTED_CPL,
    NicControl.MMIO_DROPPED,
    NicControl.RX_FRAMES,
    NicControl.RX_BAD_FCS,
    NicControl.RX_RUNT,
    NicControl.RX_OVERSIZE,
    NicControl.RX_BAD_FRAMING,
    NicControl.RX_PAUSE,
    NicControl.RX_OVERFLOW,
    NicControl.RX_FILTERED_UNICAST,
    NicControl.RX_FILTERED_MULTICAST,
    NicControl.TX_PAUSE,
    NicControl.LOCAL_FRAMES,
    NicControl.SPOOFED_FRAMES,
    NicControl.RX_NO_BUFFER,
)
_WRITABLE: Final = {
    NicControl.READ_TIMEOUT: NicControl.READ_TIMEOUT_CYCLES_M,
    NicControl.SWITCH_CTRL: NicControl.SWITCH_CTRL_POLICY_M
    | NicControl.SWITCH_CTRL_PAUSE_RX_M
    | NicControl.SWITCH_CTRL_PAUSE_TX_M,
    NicControl.MAC_HI: NicControl.MAC_HI_ADDRESS_M,
    NicControl.MAC_LO: NicControl.MAC_LO_ADDRESS_M,
    NicControl.PAUSE_LIMITS: NicControl.PAUSE_LIMITS_XOFF_M | NicControl.PAUSE_LIMITS_XON_M,
}
_REFUSAL: Final = (NicControl.REFUSAL, NicControl.REFUSAL_ADDRESS_LO, NicControl.REFUSAL_ADDRESS_HI)
_RECEIVE_DOORBELLS: Final = (Aperture.RX_SMALL_DOORBELL, Aperture.RX_BIG_DOORBELL)


class WireFrame(NamedTuple):
    """One frame on the wire."""

    time: int
    """Its last byte, ns."""
    endpoint: int
    data: bytes
    """With padding and FCS."""


class CompletionRecord(NamedTuple):
    """One completion, as written."""

    endpoint: int
    next_index: int
    """Send-ring index after the chain."""
    length: int
    status: Status


class _FetchError(Exception):
    """The descriptor fetch faulted."""


class _StaleError(Exception):
    """A descriptor is stale."""

    def __init__(self, address: int) -> None:
        self.address = address


class _ChainError(Exception):
    def __init__(self, status: Status, slots: int) -> None:
        self.status = status
        self.slots = slots


@dataclass(slots=True)
class Outcome:
    """A chain on its way to its end."""

    endpoint: Endpoint
    head: int
    """Send-ring index of its first descriptor."""
    descriptor: bytes
    """The first one; nothing where the fetch failed."""
    index: int
    """Send-ring index after the chain."""
    status: Status
    length: int
    frames: list[bytes]
    """All that it sends, without padding, in order."""
    wire: list[tuple[int, bytes]]
    """Frames that leave, without padding; their last byte in fifths of a cycle."""
    inside: list[tuple[tuple[int, ...], bytes]]
    """Frames for siblings."""
    injected: bool = False
    """A bench had a read of it fail."""


class ReferenceNic:
    """The device behind its BARs. Frames and completions are collected in order."""

    def __init__(self, clock: Clock, iommu: ReferenceIommu, bus: int) -> None:
        self._clock = clock
        self._requester = bus << 8
        self.config = ConfigSpace()
        self._apertures = 0
        self._control = 0
        self.counters = dict.fromkeys(_COUNTERS, 0)
        self._dma = Dma(iommu, self.config, self._requester, self.counters)
        self.endpoints = [Endpoint(n) for n in range(NicControl.ENDPOINT_COUNT)]
        self.switch = Switch()
        self.interrupts = Interrupts(clock, self.config, self._message)
        self.receiver = Receiver(clock, self._dma, self.switch, self.endpoints, self.counters, self.interrupts.posted)
        self._ready: deque[Endpoint] = deque()
        self._in_buffer = 0
        self._wire_free = 0
        """In fifths of a cycle: byte times."""
        self._enabled = False
        self._fences = 0
        self._registers: dict[int, int] = {
            NicControl.READ_TIMEOUT: 12_500,
            NicControl.SWITCH_CTRL: 0,
            NicControl.MAC_HI: 0,
            NicControl.MAC_LO: 0,
            NicControl.PAUSE_LIMITS: 4096 | 1024 << NicControl.PAUSE_LIMITS_XON_S,
        }
        self.frames: list[WireFrame] = []
        self.completions: list[CompletionRecord] = []
        self.on_frame: Callable[[], None] | None = None
        """Called when frames have left."""
        self.on_outcome: Callable[[Outcome], None] | None = None
        """Called, when set, with each chain that has been executed: it ends not in this NIC's own time, but when the
        caller calls `complete`, and the frame buffer has room for all of them."""

    def receive(self, data: bytes, error: bool = False) -> None:
        """A frame has come from the line, with FCS; `error`: the line signalled one in it."""
        self.receiver.line(data, error)

    def _message(self, vector: int, address: int, data: int) -> None:
        if address >> 20 == _INTERRUPT_CONTROLLER:
            self._clock.interrupt(address, data)
        else:
            self._dma.message(self.endpoints[vector], address, data)

    # --- configuration ---------------------------------------------------------------------------

    def config_read(self, requester: int, offset: int) -> int | None:
        """A word of configuration space, None where no function answers."""
        if requester != self._requester:
            return None
        return int.from_bytes(self.config.read(offset), "little")

    def config_write(self, requester: int, offset: int, data: bytes) -> None:
        """1 to 4 bytes of configuration space."""
        if requester == self._requester and len(data) <= 4:
            self.config.write(offset, data)
            self._apertures = self.config.bar(2)
            self._control = self.config.bar(4)
            self.interrupts.refresh()

    # --- MMIO ------------------------------------------------------------------------------------

    def mmio_read(self, address: int) -> int | None:
        """A control register; zeros in the apertures; None outside the BARs."""
        if self._control and 0 <= address - self._control < CONTROL_BAR_BYTES:
            return self._read_control(address - self._control)
        if self._apertures and 0 <= address - self._apertures < APERTURE_BAR_BYTES:
            return 0
        return None

    def mmio_write(self, address: int, data: bytes) -> None:
        """One posted write."""
        if self._apertures and 0 <= address - self._apertures < APERTURE_BAR_BYTES:
            number, offset = divmod(address - self._apertures, _STRIDE)
            if not self._write_aperture(self.endpoints[number], offset, data):
                self.counters[NicControl.MMIO_DROPPED] += 1
        elif self._control and 0 <= address - self._control < CONTROL_BAR_BYTES:
            if len(data) == 4 and not address & 3:
                self._write_control(address - self._control, int.from_bytes(data, "little"))
            else:
                self.counters[NicControl.MMIO_DROPPED] += 1

    def _write_aperture(self, endpoint: Endpoint, offset: int, data: bytes) -> bool:
        """False: dropped."""
        if not endpoint.enabled:
            return False
        if offset >= Aperture.RX_SMALL_RING:
            return self._push_buffers(endpoint, offset, data)
        if offset >= Aperture.SEND_RING:
            return self._push(endpoint, offset - Aperture.SEND_RING, data)
        if not 2 <= len(data) <= 4:
            return False
        value = int.from_bytes(data, "little")
        if offset == Aperture.ARM:
            ring = (value & Aperture.ARM_QUEUE_M) >> Aperture.ARM_QUEUE_S
            if len(data) < 3 or ring >= RINGS:
                return False
            self.interrupts.arm(endpoint.number, ring, value & Aperture.ARM_INDEX_M)
            return True
        producer = value & Aperture.SEND_DOORBELL_PRODUCER_M
        if offset == Aperture.SEND_DOORBELL:
            if endpoint.form is not Form.FETCHED:
                return False
            if producer - endpoint.consumer - len(endpoint.fetched) & 0xFFFF > endpoint.mask + 1:
                return False
            endpoint.producer = producer
            self._offer(endpoint)
            return True
        if offset not in _RECEIVE_DOORBELLS or not endpoint.receives:
            return False
        buffers = endpoint.small if offset == Aperture.RX_SMALL_DOORBELL else endpoint.big
        if buffers.pushed or not buffers.ring(producer):
            return False
        if not endpoint.halted and not buffers.fetch(endpoint, self._dma):
            endpoint.fetch_failed()
        return True

    def _push(self, endpoint: Endpoint, start: int, data: bytes) -> bool:
        if endpoint.form is not Form.PUSHED or start + len(data) > Aperture.SEND_RING_BYTES:
            return False
        endpoint.slots[start : start + len(data)] = data
        # A slot is valid once a write has covered its last byte with flags.
        for at in range(start | _SLOT - 1, start + len(data), _SLOT):
            endpoint.valid[at // _SLOT] = data[at - start] != 0
        self._offer(endpoint)
        return True

    @staticmethod
    def _push_buffers(endpoint: Endpoint, offset: int, data: bytes) -> bool:
        ring, base = endpoint.small, Aperture.RX_SMALL_RING
        if offset >= Aperture.RX_BIG_RING:
            ring, base = endpoint.big, Aperture.RX_BIG_RING
        start = offset - base
        if not endpoint.receives or not ring.pushed or start + len(data) > len(ring.slots):
            return False
        ring.push(start, data)
        return True

    def _read_control(self, offset: int) -> int:
        if offset >= NicControl.ENDPOINT_BASE:
            return self._read_table(offset)
        cycle = self._clock.now() // CYCLE_NS
        fixed = {
            NicControl.ID: MAGIC,
            NicControl.CAPS: NicControl.ENDPOINT_COUNT
            | READ_TAGS << NicControl.CAPS_READ_TAGS_S
            | FRAME_SLOTS << NicControl.CAPS_FRAME_SLOTS_S
            | FETCH_BATCH << NicControl.CAPS_FETCH_BATCH_S,
            NicControl.WINDOW_LIMITS: WINDOWS,
            # nothing here is in flight between two events
            NicControl.FENCE: self._fences << NicControl.FENCE_ENDED_S,
            NicControl.LIMITS: INLINE_MAX | MAX_FRAME << NicControl.LIMITS_MAX_FRAME_S,
            NicControl.CTRL: int(self._enabled),
            NicControl.CYCLE_LO: cycle & 0xFFFF_FFFF,
            NicControl.CYCLE_HI: cycle >> 32,
            NicControl.INTERRUPTS: self.interrupts.messages & 0xFFFF_FFFF,
            NicControl.RX_LAST_DROP: self.receiver.last_drop,
        }
        if offset in fixed:
            return fixed[offset]
        if offset in _REFUSAL:
            return self._dma.refusals.read(offset)
        if offset in self.counters:
            return self.counters[offset] & 0xFFFF_FFFF
        return self._registers.get(offset, 0)

    def _read_table(self, offset: int) -> int:
        if offset < NicControl.PORT_BASE:
            number, register = divmod(offset - NicControl.ENDPOINT_BASE, NicControl.ENDPOINT_STRIDE)
            return self.endpoints[number].read(register + NicControl.ENDPOINT_BASE)
        if offset < NicControl.GROUP_BASE + NicControl.GROUP_COUNT * NicControl.GROUP_STRIDE:
            return self.switch.read(offset)
        if NicControl.IRQ_BASE <= offset < NicControl.RSS_BASE:
            return self.interrupts.read(offset)
        if NicControl.WINDOW_BASE <= offset < NicControl.BYTES:
            return self._dma.windows.read(offset)
        if NicControl.RSS_BASE <= offset < _STATISTICS_END:
            return self.receiver.read(offset)
        return 0

    def _write_control(self, offset: int, value: int) -> None:
        if offset >= NicControl.ENDPOINT_BASE:
            self._write_table(offset, value)
        elif offset == NicControl.CTRL:
            self._enabled = bool(value & NicControl.CTRL_ENABLE_M)
            self._run()
        elif offset == NicControl.REFUSAL:
            self._dma.refusals.clear(value)
        elif offset == NicControl.FENCE:
            self._fences = self._fences + (value & NicControl.FENCE_START_M) & 0xFFFF
        elif offset in _WRITABLE:
            self._registers[offset] = value & _WRITABLE[offset]
            self.switch.policy = self._registers[NicControl.SWITCH_CTRL] & NicControl.SWITCH_CTRL_POLICY_M
            address = self._registers[NicControl.MAC_HI] << 16 | self._registers[NicControl.MAC_LO]
            self.receiver.address = address.to_bytes(6, "big")

    def _write_table(self, offset: int, value: int) -> None:
        if offset < NicControl.PORT_BASE:
            number, register = divmod(offset - NicControl.ENDPOINT_BASE, NicControl.ENDPOINT_STRIDE)
            endpoint = self.endpoints[number]
            if endpoint.write(register + NicControl.ENDPOINT_BASE, value):
                self.interrupts.enable(number, enabled=endpoint.enabled)
        elif offset < NicControl.GROUP_BASE + NicControl.GROUP_COUNT * NicControl.GROUP_STRIDE:
            self.switch.write(offset, value)
        elif NicControl.IRQ_BASE <= offset < NicControl.RSS_BASE:
            self.interrupts.write(offset, value)
        elif NicControl.WINDOW_BASE <= offset < NicControl.BYTES:
            self._dma.windows.write(offset, value)
        elif NicControl.RSS_BASE <= offset < _STATISTICS_END:
            self.receiver.write(offset, value)

    # --- execution -------------------------------------------------------------------------------

    def _offer(self, endpoint: Endpoint) -> None:
        """Queue an endpoint for the scheduler if its consumer slot has a request."""
        if not endpoint.queued and not endpoint.halted and self._has_request(endpoint):
            endpoint.queued = True
            self._ready.append(endpoint)
            self._run()

    @staticmethod
    def _has_request(endpoint: Endpoint) -> bool:
        if endpoint.form is Form.FETCHED:
            return endpoint.producer != endpoint.consumer
        return bool(endpoint.valid[endpoint.consumer & endpoint.mask])

    def _run(self) -> None:
        """Serve endpoints in turn, a chain each, while the frame buffer has room."""
        if not self._enabled:
            return
        while self._ready and self._in_buffer < FRAME_SLOTS:
            endpoint = self._ready.popleft()
            endpoint.queued = False
            # It may have been disabled, even enabled anew, since it was queued.
            if not endpoint.enabled or endpoint.halted or not self._has_request(endpoint):
                continue
            if self._execute(endpoint):
                self._offer_again(endpoint)

    def _offer_again(self, endpoint: Endpoint) -> None:
        if self._has_request(endpoint):
            endpoint.queued = True
            self._ready.append(endpoint)

    def _execute(self, endpoint: Endpoint) -> bool:
        """One chain of an endpoint; False when it has to wait for more descriptors or is halted."""
        status = Status.OK
        frames: list[bytes] = []
        slots = 0
        first = endpoint.consumer
        head: bytes | None = None
        try:
            head = self._peek(endpoint, 0)
            assert head is not None
            (address, field, _, control) = _DESCRIPTOR.unpack(head)
            self._check_fresh(endpoint, 0, address)
            if not control & _FIRST:
                raise _ChainError(Status.BAD_DESCRIPTOR, 1)
            if control & (_NO_TSO | _INLINE):
                chain = self._take_chain(endpoint, head)
                if chain is None:
                    return False
                slots = len(chain)
                payload = self._assemble(endpoint, chain)
                if control & _CKSUM:
                    payload = insert_checksum(payload, control >> _START_S & 0xFF, field)
                frames.append(payload)
            else:
                tso = walk_tso(
                    lambda n: self._peek(endpoint, n),
                    lambda n: self._present(endpoint, n),
                    lambda n, address: self._stale(endpoint, n, address),
                )
                if tso is None:
                    return False
                slots = tso.slots
                status = self._segment(endpoint, tso, frames)
                if tso.stale is not None:
                    self._found_stale(endpoint, tso.stale)
                    status = Status.STALE_DESCRIPTOR
        except _ChainError as error:
            status, slots = error.status, error.slots
        except BadOffloadError:
            status = Status.BAD_OFFLOAD
        except _FetchError:
            status = Status.FETCH_ERROR
            endpoint.halted = True
        except _StaleError as error:
            self._found_stale(endpoint, error.address)
            status, slots = Status.STALE_DESCRIPTOR, 0
        self._consume(endpoint, slots)
        self._send(endpoint, first, head or b"", status, frames)
        return not endpoint.halted

    def _segment(self, endpoint: Endpoint, chain: TsoChain, frames: list[bytes]) -> Status:
        """Frames of a TSO chain: where it fails, those before are good."""
        offset = 0
        for number, pieces in enumerate(chain.segments):
            try:
                # every segment reads the header again
                header = b"".join(self._read(endpoint, *piece) for piece in chain.header)
                data = b"".join(self._read(endpoint, *piece) for piece in pieces)
            except _ChainError as error:
                return error.status
            last = not chain.broken and chain.stale is None and number == len(chain.segments) - 1
            frames.append(Segmenter(header, chain.start).segment(number, offset, data, last=last))
            offset += len(data)
        return Status.BAD_OFFLOAD if chain.broken else Status.OK

    def _send(self, endpoint: Endpoint, head: int, descriptor: bytes, status: Status, frames: list[bytes]) -> None:
        """Frames of one chain through the switch and on their way."""
        now = self._clock.now()
        done = now + HOST_READ_NS
        wire: list[tuple[int, bytes]] = []
        inside: list[tuple[tuple[int, ...], bytes]] = []
        for number, frame in enumerate(frames):
            to_wire, siblings, spoofed = self.switch.from_endpoint(endpoint.number, frame)
            if spoofed:
                self.counters[NicControl.SPOOFED_FRAMES] += 1
                status = Status.SPOOFED
                frames = frames[:number]
                break
            if to_wire:
                frame_bytes = max(len(frame), MIN_FRAME) + FCS_BYTES + WIRE_OVERHEAD
                start = max((now + HOST_READ_NS) * 5 // CYCLE_NS, self._wire_free)
                self._wire_free = start + frame_bytes
                wire.append((self._wire_free, frame))
            if siblings:
                inside.append((siblings, frame))
        if wire:
            done = -(-self._wire_free * CYCLE_NS // 5)
        done = max(done, endpoint.last_done)
        if status is not Status.OK:
            endpoint.error = status
        endpoint.last_done = done
        length = len(frames[-1]) if status is Status.OK else 0
        outcome = Outcome(endpoint, head, descriptor, endpoint.consumer, status, length, frames, wire, inside)
        if self.on_outcome is not None:
            self.on_outcome(outcome)
            return
        endpoint.in_flight += 1
        self._in_buffer += 1
        self._clock.schedule(done - now, self._finish, outcome)

    def _take_chain(self, endpoint: Endpoint, head: bytes) -> list[bytes] | None:
        """The plain chain at the consumer, by the rules of the descriptor; None while it is not all there."""
        (_, _, length, control) = _DESCRIPTOR.unpack(head)
        count = control >> _COUNT_S & 0xFF
        inline = bool(control & _INLINE)
        if not 1 <= count <= MAX_PIECES + inline:
            raise _ChainError(Status.BAD_DESCRIPTOR, 1)
        chain = [head]
        for n in range(1, count):
            slot = self._peek(endpoint, n)
            if slot is None:
                return None
            chain.append(slot)
        if control & _UNSUPPORTED or not control & _NO_TSO:
            raise _ChainError(Status.UNSUPPORTED, count)
        if inline:
            if not 1 <= length <= INLINE_MAX:
                raise _ChainError(Status.BAD_LENGTH, count)
            if count != 1 + -(-length // _SLOT):
                raise _ChainError(Status.BAD_DESCRIPTOR, count)
        return chain

    @staticmethod
    def _stale(endpoint: Endpoint, ahead: int, address: int) -> bool:
        """Is the address of slot `consumer + ahead` too old?"""
        return stale(endpoint.mode, address, endpoint.consumer + ahead)

    def _check_fresh(self, endpoint: Endpoint, ahead: int, address: int) -> None:
        if self._stale(endpoint, ahead, address):
            raise _StaleError(address)

    def _found_stale(self, endpoint: Endpoint, address: int) -> None:
        self._dma.refusals.record(endpoint.number, RefusedError(Refusal.STALE, address), write=False)
        endpoint.found_stale()

    @staticmethod
    def _present(endpoint: Endpoint, ahead: int) -> bool:
        """Has slot `consumer + ahead` been written?"""
        return endpoint.form is Form.FETCHED or bool(endpoint.valid[endpoint.consumer + ahead & endpoint.mask])

    def _peek(self, endpoint: Endpoint, ahead: int) -> bytes | None:
        """Slot `consumer + ahead`; None (FETCHED) when the producer does not cover it. Raises `_FetchError`."""
        if endpoint.form is Form.PUSHED:
            at = (endpoint.consumer + ahead & endpoint.mask) * _SLOT
            return bytes(endpoint.slots[at : at + _SLOT])
        covered = endpoint.producer - endpoint.consumer & 0xFFFF
        if ahead >= covered:
            return None
        while len(endpoint.fetched) <= ahead:
            first = endpoint.consumer + len(endpoint.fetched) & endpoint.mask
            address = endpoint.send_base + first * _SLOT & (1 << 64) - 1
            to_page = (PAGE_SIZE - (address & PAGE_SIZE - 1)) // _SLOT
            batch = min(FETCH_BATCH, covered - len(endpoint.fetched), endpoint.mask + 1 - first, to_page)
            data = None
            if self._dma.allowed(endpoint, address, batch * _SLOT):
                data = self._dma.read(endpoint, address, batch * _SLOT)
            if data is None:
                raise _FetchError
            endpoint.fetched.extend(data[n : n + _SLOT] for n in range(0, len(data), _SLOT))
        return endpoint.fetched[ahead]

    def _assemble(self, endpoint: Endpoint, chain: list[bytes]) -> bytes:
        """Bytes of the frame, without padding."""
        (_, _, length, control) = _DESCRIPTOR.unpack(chain[0])
        slots = len(chain)
        if control & _INLINE:
            return b"".join(chain[1:])[:length]
        total = 0
        parts: list[tuple[int, int]] = []
        for n, descriptor in enumerate(chain):
            address, _, length, _ = _DESCRIPTOR.unpack(descriptor)
            self._check_fresh(endpoint, n, address)
            if not self._present(endpoint, n):
                raise _ChainError(Status.BAD_DESCRIPTOR, slots)
            address = plain(endpoint.mode, address)
            total += length
            if length == 0 or total > MAX_FRAME:
                raise _ChainError(Status.BAD_LENGTH, slots)
            if not self._dma.allowed(endpoint, address, length):
                raise _ChainError(Status.NOT_AUTHORISED, slots)
            parts.append((address, length))
        read = self._dma.read
        payload: list[bytes] = []
        for address, length in parts:
            data = read(endpoint, address, length)
            if data is None:
                self.counters[NicControl.READ_ERRORS] += 1
                raise _ChainError(Status.READ_UR, slots)
            payload.append(data)
        return b"".join(payload)

    def _read(self, endpoint: Endpoint, address: int, length: int) -> bytes:
        """One piece of a TSO chain."""
        address = plain(endpoint.mode, address)
        if not self._dma.allowed(endpoint, address, length):
            raise _ChainError(Status.NOT_AUTHORISED, 0)
        data = self._dma.read(endpoint, address, length)
        if data is None:
            self.counters[NicControl.READ_ERRORS] += 1
            raise _ChainError(Status.READ_UR, 0)
        return data

    def _consume(self, endpoint: Endpoint, slots: int) -> None:
        for n in range(slots):
            if endpoint.form is Form.PUSHED:
                endpoint.valid[endpoint.consumer + n & endpoint.mask] = 0
            else:
                endpoint.fetched.popleft()
        endpoint.consumer = endpoint.consumer + slots & 0xFFFF

    def _finish(self, outcome: Outcome) -> None:
        endpoint = outcome.endpoint
        for last, frame in outcome.wire:
            data = frame.ljust(MIN_FRAME, b"\0")
            data += zlib.crc32(data).to_bytes(FCS_BYTES, "little")
            self.frames.append(WireFrame(-(-last * CYCLE_NS // 5), endpoint.number, data))
        if outcome.wire:
            self.counters[NicControl.FRAMES] += len(outcome.wire)
            if self.on_frame is not None:
                self.on_frame()
        for siblings, frame in outcome.inside:
            self.counters[NicControl.LOCAL_FRAMES] += 1
            self.receiver.place(frame, siblings, local=True)
        self.complete(outcome)
        endpoint.in_flight -= 1
        self._in_buffer -= 1
        self._run()

    def complete(self, outcome: Outcome) -> None:
        """Write a chain's completion entry."""
        endpoint, status = outcome.endpoint, outcome.status
        now = self._clock.now()
        if status is not Status.OK:
            self.counters[NicControl.FAILED_CHAINS] += 1
        lap = endpoint.cq_index >> endpoint.cq_log2
        slot = endpoint.cq_index & (1 << endpoint.cq_log2) - 1
        tail = status << Completion.STATUS_STATUS_S | (~lap & 1)
        entry = _COMPLETION.pack(now // CYCLE_NS, outcome.index, outcome.length, tail)
        address = endpoint.cq_base + slot * Completion.BYTES & (1 << 64) - 1
        if self._dma.allowed(endpoint, address, len(entry), write=True):
            self._dma.write(endpoint, address, entry)
        endpoint.cq_index = endpoint.cq_index + 1 & 0xFFFF
        self.interrupts.posted(endpoint.number, 0, endpoint.cq_index)
        self.completions.append(CompletionRecord(endpoint.number, outcome.index, outcome.length, status))
