"""Reference NIC: what the hardware does with every send request, one chain at a time, in plain Python."""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from sw.abi.registers import Aperture, Completion, Form, Mode, NicControl, SendDescriptor, Status
from sw.platform import CYCLE_NS, PAGE_SIZE
from tb.model.iommu import ReferenceIommu
from tb.model.pci_config import APERTURE_BAR_BYTES, CONTROL_BAR_BYTES, FIRST_VF_OFFSET, ConfigSpace

MAX_FRAME: Final = NicControl.LIMITS_MAX_FRAME_VALUE
INLINE_MAX: Final = NicControl.LIMITS_INLINE_MAX_VALUE
MAX_PIECES: Final = 12
MIN_FRAME: Final = 60
READ_TAGS: Final = 15
FRAME_SLOTS: Final = NicControl.CAPS_FRAME_SLOTS_VALUE
FETCH_BATCH: Final = NicControl.CAPS_FETCH_BATCH_VALUE
MAGIC: Final = NicControl.ID_MAGIC_VALUE
HOST_READ_NS: Final = 550
WIRE_OVERHEAD: Final = 20
"""Preamble and gap, bytes."""
FCS_BYTES: Final = 4
ADDRESS_LIMIT: Final = 1 << 48

_STRIDE = APERTURE_BAR_BYTES // NicControl.ENDPOINT_COUNT
_SLOT = SendDescriptor.BYTES
_DESCRIPTOR = struct.Struct(">QHHI")
_COMPLETION = struct.Struct(">QHHI")
_COUNT_S = SendDescriptor.CONTROL_RDMA_COUNT_S
_FIRST = SendDescriptor.CONTROL_FIRST_M
_INLINE = SendDescriptor.CONTROL_INLINE_M
_UNSUPPORTED = (
    SendDescriptor.CONTROL_CKSUM_M
    | SendDescriptor.CONTROL_TSO_PLD_M
    | SendDescriptor.CONTROL_ALIGN_ODD_M
    | SendDescriptor.CONTROL_RESERVED_M
)
_NO_TSO = SendDescriptor.CONTROL_NO_TSO_M


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


class Clock(Protocol):
    """What the NIC needs of its machine."""

    def now(self) -> int: ...

    def schedule(self, delay: int, action: Callable[[Any], None], argument: Any) -> None: ...


class _FetchError(Exception):
    """The descriptor fetch faulted."""


class _ChainError(Exception):
    def __init__(self, status: Status, slots: int) -> None:
        self.status = status
        self.slots = slots


class _Endpoint:
    """State of one endpoint; reset when it is enabled."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.control = 0
        self.bases = [0, 0, 0, 0]
        self.slots = bytearray(Aperture.SEND_RING_BYTES)
        self.last_done = 0
        self.in_flight = 0
        self.reset()

    def reset(self) -> None:
        control = self.control
        self.enabled = bool(control & NicControl.ENDPOINT_CTRL_ENABLE_M)
        self.form = Form((control & NicControl.ENDPOINT_CTRL_FORM_M) >> NicControl.ENDPOINT_CTRL_FORM_S)
        self.mode = (control & NicControl.ENDPOINT_CTRL_MODE_M) >> NicControl.ENDPOINT_CTRL_MODE_S
        send_log2 = (control & NicControl.ENDPOINT_CTRL_SEND_LOG2_M) >> NicControl.ENDPOINT_CTRL_SEND_LOG2_S
        self.cq_log2 = (control & NicControl.ENDPOINT_CTRL_CQ_LOG2_M) >> NicControl.ENDPOINT_CTRL_CQ_LOG2_S
        self.mask = (1 << send_log2) - 1
        self.send_base = self.bases[1] << 32 | self.bases[0]
        self.cq_base = self.bases[3] << 32 | self.bases[2]
        self.valid = bytearray(Aperture.SEND_RING_BYTES // _SLOT)
        self.producer = 0
        self.consumer = 0
        self.cq_index = 0
        self.halted = False
        self.error = 0
        self.queued = False
        self.fetched: deque[bytes] = deque()


@dataclass
class _Outcome:
    """A chain on its way to its end."""

    endpoint: _Endpoint
    index: int
    status: Status
    payload: bytes


class ReferenceNic:
    """The device behind its BARs. Frames and completions are collected in order."""

    def __init__(self, clock: Clock, iommu: ReferenceIommu, bus: int) -> None:
        self._clock = clock
        self._iommu = iommu
        self._requester = bus << 8
        self.config = ConfigSpace()
        self._apertures = 0
        self._control = 0
        self._endpoints = [_Endpoint(n) for n in range(NicControl.ENDPOINT_COUNT)]
        self._ready: deque[_Endpoint] = deque()
        self._in_buffer = 0
        self._wire_free = 0
        """In fifths of a cycle: byte times."""
        self._enabled = False
        self._registers: dict[int, int] = {NicControl.READ_TIMEOUT: 12_500}
        self.counters = dict.fromkeys(
            (
                NicControl.FRAMES,
                NicControl.FAILED_CHAINS,
                NicControl.AUTH_CHECKS,
                NicControl.AUTH_DENIED,
                NicControl.READ_ERRORS,
                NicControl.READ_TIMEOUTS,
                NicControl.UNEXPECTED_CPL,
                NicControl.MMIO_DROPPED,
            ),
            0,
        )
        self.frames: list[WireFrame] = []
        self.completions: list[CompletionRecord] = []

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
            if not self._write_aperture(self._endpoints[number], offset, data):
                self.counters[NicControl.MMIO_DROPPED] += 1
        elif self._control and 0 <= address - self._control < CONTROL_BAR_BYTES:
            if len(data) == 4 and not address & 3:
                self._write_control(address - self._control, int.from_bytes(data, "little"))
            else:
                self.counters[NicControl.MMIO_DROPPED] += 1

    def _write_aperture(self, endpoint: _Endpoint, offset: int, data: bytes) -> bool:
        """False: dropped."""
        if not endpoint.enabled:
            return False
        if endpoint.form is Form.FETCHED:
            if offset != Aperture.SEND_DOORBELL or not 2 <= len(data) <= 4:
                return False
            producer = int.from_bytes(data, "little") & Aperture.SEND_DOORBELL_PRODUCER_M
            if producer - endpoint.consumer - len(endpoint.fetched) & 0xFFFF > endpoint.mask + 1:
                return False
            endpoint.producer = producer
            self._offer(endpoint)
            return True
        start = offset - Aperture.SEND_RING
        if start < 0 or start + len(data) > Aperture.SEND_RING_BYTES:
            return False
        endpoint.slots[start : start + len(data)] = data
        # A slot is valid once a write has covered its last byte with flags.
        for at in range(start | _SLOT - 1, start + len(data), _SLOT):
            endpoint.valid[at // _SLOT] = data[at - start] != 0
        self._offer(endpoint)
        return True

    def _read_control(self, offset: int) -> int:
        table = offset - NicControl.ENDPOINT_BASE
        if 0 <= table < NicControl.ENDPOINT_COUNT * NicControl.ENDPOINT_STRIDE:
            number, register = divmod(table, NicControl.ENDPOINT_STRIDE)
            return self._read_endpoint(self._endpoints[number], register + NicControl.ENDPOINT_BASE)
        cycle = self._clock.now() // CYCLE_NS
        fixed = {
            NicControl.ID: MAGIC,
            NicControl.CAPS: NicControl.ENDPOINT_COUNT
            | READ_TAGS << NicControl.CAPS_READ_TAGS_S
            | FRAME_SLOTS << NicControl.CAPS_FRAME_SLOTS_S
            | FETCH_BATCH << NicControl.CAPS_FETCH_BATCH_S,
            NicControl.LIMITS: INLINE_MAX | MAX_FRAME << NicControl.LIMITS_MAX_FRAME_S,
            NicControl.CTRL: int(self._enabled),
            NicControl.CYCLE_LO: cycle & 0xFFFF_FFFF,
            NicControl.CYCLE_HI: cycle >> 32,
        }
        if offset in fixed:
            return fixed[offset]
        if offset in self.counters:
            return self.counters[offset] & 0xFFFF_FFFF
        return self._registers.get(offset, 0)

    def _read_endpoint(self, endpoint: _Endpoint, register: int) -> int:
        if register == NicControl.ENDPOINT_CTRL:
            return endpoint.control
        if register == NicControl.ENDPOINT_STATUS:
            busy = endpoint.in_flight > 0 or (endpoint.queued and endpoint.enabled)
            return (
                int(endpoint.enabled)
                | endpoint.halted << NicControl.ENDPOINT_STATUS_HALTED_S
                | busy << NicControl.ENDPOINT_STATUS_BUSY_S
                | endpoint.error << NicControl.ENDPOINT_STATUS_ERROR_S
            )
        if register == NicControl.ENDPOINT_INDEX:
            return endpoint.producer | endpoint.consumer << NicControl.ENDPOINT_INDEX_CONSUMER_S
        if register == NicControl.ENDPOINT_CQ_INDEX:
            return endpoint.cq_index
        base = (register - NicControl.ENDPOINT_SEND_BASE_LO) // 4
        return endpoint.bases[base] if 0 <= base < len(endpoint.bases) else 0

    def _write_control(self, offset: int, value: int) -> None:
        table = offset - NicControl.ENDPOINT_BASE
        if 0 <= table < NicControl.ENDPOINT_COUNT * NicControl.ENDPOINT_STRIDE:
            number, register = divmod(table, NicControl.ENDPOINT_STRIDE)
            endpoint = self._endpoints[number]
            if register == NicControl.ENDPOINT_CTRL - NicControl.ENDPOINT_BASE:
                endpoint.control = value
                if value & NicControl.ENDPOINT_CTRL_ENABLE_M and not endpoint.enabled:
                    endpoint.reset()
                elif not value & NicControl.ENDPOINT_CTRL_ENABLE_M:
                    endpoint.enabled = False
            base = (register + NicControl.ENDPOINT_BASE - NicControl.ENDPOINT_SEND_BASE_LO) // 4
            if 0 <= base < len(endpoint.bases):
                endpoint.bases[base] = value
        elif offset == NicControl.CTRL:
            self._enabled = bool(value & NicControl.CTRL_ENABLE_M)
            self._run()
        elif offset == NicControl.READ_TIMEOUT:
            self._registers[offset] = value & NicControl.READ_TIMEOUT_CYCLES_M

    # --- execution -------------------------------------------------------------------------------

    def _offer(self, endpoint: _Endpoint) -> None:
        """Queue an endpoint for the scheduler if its consumer slot has a request."""
        if not endpoint.queued and not endpoint.halted and self._has_request(endpoint):
            endpoint.queued = True
            self._ready.append(endpoint)
            self._run()

    @staticmethod
    def _has_request(endpoint: _Endpoint) -> bool:
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

    def _offer_again(self, endpoint: _Endpoint) -> None:
        if self._has_request(endpoint):
            endpoint.queued = True
            self._ready.append(endpoint)

    def _execute(self, endpoint: _Endpoint) -> bool:
        """One chain of an endpoint; False when it has to wait for more descriptors or is halted."""
        status = Status.OK
        payload = b""
        slots = 0
        try:
            chain = self._take_chain(endpoint)
            if chain is None:
                return False
            slots = len(chain)
            payload = self._assemble(endpoint, chain)
        except _ChainError as error:
            status, slots = error.status, error.slots
        except _FetchError:
            status = Status.FETCH_ERROR
            endpoint.halted = True
        self._consume(endpoint, slots)
        outcome = _Outcome(endpoint, endpoint.consumer, status, payload)
        now = self._clock.now()
        if status is Status.OK:
            frame_bytes = max(len(payload), MIN_FRAME) + FCS_BYTES + WIRE_OVERHEAD
            start = max((now + HOST_READ_NS) * 5 // CYCLE_NS, self._wire_free)
            self._wire_free = start + frame_bytes
            done = -(-self._wire_free * CYCLE_NS // 5)
        else:
            done = max(now + HOST_READ_NS, endpoint.last_done)
            endpoint.error = status
        endpoint.last_done = done
        endpoint.in_flight += 1
        self._in_buffer += 1
        self._clock.schedule(done - now, self._finish, outcome)
        return not endpoint.halted

    def _take_chain(self, endpoint: _Endpoint) -> list[bytes] | None:
        """The chain at the consumer, by the rules of the descriptor; None while it is not all there."""
        head = self._peek(endpoint, 0)
        assert head is not None
        (_, _, length, control) = _DESCRIPTOR.unpack(head)
        count = control >> _COUNT_S & 0xFF
        inline = bool(control & _INLINE)
        if not control & _FIRST or not 1 <= count <= MAX_PIECES + inline:
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

    def _peek(self, endpoint: _Endpoint, ahead: int) -> bytes | None:
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
            if self._authorised(endpoint, address, batch * _SLOT):
                data = self._iommu.read(self._requester_of(endpoint), address, batch * _SLOT)
            if data is None:
                raise _FetchError
            endpoint.fetched.extend(data[n : n + _SLOT] for n in range(0, len(data), _SLOT))
        return endpoint.fetched[ahead]

    def _assemble(self, endpoint: _Endpoint, chain: list[bytes]) -> bytes:
        """Bytes of the frame, without padding."""
        (_, _, length, control) = _DESCRIPTOR.unpack(chain[0])
        slots = len(chain)
        if control & _INLINE:
            return b"".join(chain[1:])[:length]
        total = 0
        parts: list[tuple[int, int]] = []
        for n, descriptor in enumerate(chain):
            if endpoint.form is Form.PUSHED and not endpoint.valid[endpoint.consumer + n & endpoint.mask]:
                raise _ChainError(Status.BAD_DESCRIPTOR, slots)
            address, _, length, _ = _DESCRIPTOR.unpack(descriptor)
            total += length
            if length == 0 or total > MAX_FRAME:
                raise _ChainError(Status.BAD_LENGTH, slots)
            if not self._authorised(endpoint, address, length):
                raise _ChainError(Status.NOT_AUTHORISED, slots)
            parts.append((address, length))
        requester = self._requester_of(endpoint)
        read = self._iommu.read
        payload: list[bytes] = []
        for address, length in parts:
            data = read(requester, address, length)
            if data is None:
                self.counters[NicControl.READ_ERRORS] += 1
                raise _ChainError(Status.READ_UR, slots)
            payload.append(data)
        return b"".join(payload)

    def _authorised(self, endpoint: _Endpoint, address: int, length: int) -> bool:
        """May a read or write of this endpoint become a TLP?"""
        self.counters[NicControl.AUTH_CHECKS] += 1
        functions_on = endpoint.mode == Mode.NATIVE or (endpoint.mode == Mode.IOMMU and self.config.vf_enable)
        allowed = self.config.bus_master and functions_on and address + length <= ADDRESS_LIMIT
        if not allowed:
            self.counters[NicControl.AUTH_DENIED] += 1
        return allowed

    def _consume(self, endpoint: _Endpoint, slots: int) -> None:
        for n in range(slots):
            if endpoint.form is Form.PUSHED:
                endpoint.valid[endpoint.consumer + n & endpoint.mask] = 0
            else:
                endpoint.fetched.popleft()
        endpoint.consumer = endpoint.consumer + slots & 0xFFFF

    def _finish(self, outcome: _Outcome) -> None:
        endpoint, payload = outcome.endpoint, outcome.payload
        now = self._clock.now()
        if outcome.status is Status.OK:
            data = payload.ljust(MIN_FRAME, b"\0")
            data += zlib.crc32(data).to_bytes(FCS_BYTES, "little")
            self.frames.append(WireFrame(now, endpoint.number, data))
            self.counters[NicControl.FRAMES] += 1
        else:
            self.counters[NicControl.FAILED_CHAINS] += 1
        lap = endpoint.cq_index >> endpoint.cq_log2
        slot = endpoint.cq_index & (1 << endpoint.cq_log2) - 1
        tail = outcome.status << Completion.STATUS_STATUS_S | (~lap & 1)
        entry = _COMPLETION.pack(now // CYCLE_NS, outcome.index, len(payload), tail)
        address = endpoint.cq_base + slot * Completion.BYTES & (1 << 64) - 1
        if self._authorised(endpoint, address, len(entry)):
            self._iommu.write(self._requester_of(endpoint), address, entry)
        endpoint.cq_index = endpoint.cq_index + 1 & 0xFFFF
        self.completions.append(CompletionRecord(endpoint.number, outcome.index, len(payload), outcome.status))
        endpoint.in_flight -= 1
        self._in_buffer -= 1
        self._run()

    def _requester_of(self, endpoint: _Endpoint) -> int:
        if endpoint.mode == Mode.NATIVE:
            return self._requester
        return self._requester + FIRST_VF_OFFSET + endpoint.number
