"""State of one endpoint of the reference NIC, and its rings of receive buffers."""

from __future__ import annotations

import struct
from collections import deque
from itertools import takewhile
from typing import Final

from sw.abi.registers import Aperture, Form, Mode, NicControl, ReceiveBuffer, SendDescriptor, Status
from sw.platform import PAGE_SIZE
from tb.model.dma import Dma

FETCH_BATCH: Final = NicControl.CAPS_FETCH_BATCH_VALUE
QUEUES: Final = 4
_ENTRY: Final = ReceiveBuffer.BYTES
_ADDRESS = struct.Struct(">Q")
_MASK64: Final = (1 << 64) - 1
_TABLE: Final = NicControl.ENDPOINT_BASE
_CTRL_WRITABLE: Final = (
    NicControl.ENDPOINT_CTRL_ENABLE_M
    | NicControl.ENDPOINT_CTRL_FORM_M
    | NicControl.ENDPOINT_CTRL_MODE_M
    | NicControl.ENDPOINT_CTRL_SEND_LOG2_M
    | NicControl.ENDPOINT_CTRL_CQ_LOG2_M
)
_RX_CTRL_WRITABLE: Final = (
    NicControl.ENDPOINT_RX_CTRL_ENABLE_M
    | NicControl.ENDPOINT_RX_CTRL_FORM_M
    | NicControl.ENDPOINT_RX_CTRL_RSS_M
    | NicControl.ENDPOINT_RX_CTRL_QUEUES_M
    | NicControl.ENDPOINT_RX_CTRL_SMALL_LOG2_M
    | NicControl.ENDPOINT_RX_CTRL_BIG_LOG2_M
    | NicControl.ENDPOINT_RX_CTRL_BUFFER_LOG2_M
    | NicControl.ENDPOINT_RX_CTRL_RQ_LOG2_M
)
_BASES = (
    NicControl.ENDPOINT_SEND_BASE_LO,
    NicControl.ENDPOINT_CQ_BASE_LO,
    NicControl.ENDPOINT_RX_SMALL_BASE_LO,
    NicControl.ENDPOINT_RX_BIG_BASE_LO,
    NicControl.ENDPOINT_RQ0_BASE_LO,
    NicControl.ENDPOINT_RQ1_BASE_LO,
    NicControl.ENDPOINT_RQ2_BASE_LO,
    NicControl.ENDPOINT_RQ3_BASE_LO,
)
_WRITABLE: Final = {
    NicControl.ENDPOINT_CTRL: _CTRL_WRITABLE,
    NicControl.ENDPOINT_RX_CTRL: _RX_CTRL_WRITABLE,
    NicControl.ENDPOINT_RX_SIZES: NicControl.ENDPOINT_RX_SIZES_SMALL_M | NicControl.ENDPOINT_RX_SIZES_MAX_FRAME_M,
    **{base + half: 0xFFFF_FFFF for base in _BASES for half in (0, 4)},
}


def _field(word: int, mask: int, shift: int) -> int:
    return (word & mask) >> shift


class ReceiveRing:
    """Buffers of one size that wait for frames, in order."""

    def __init__(self) -> None:
        self.slots = bytearray(Aperture.RX_SMALL_RING_BYTES)
        self.reset(Form.PUSHED, 0, 0)

    def reset(self, form: int, log2: int, base: int) -> None:
        """No buffers; entries, log2, and where they are in the guest's memory (FETCHED)."""
        self.pushed = form == Form.PUSHED
        self._mask = (1 << log2) - 1
        self._base = base
        self._valid = bytearray(Aperture.RX_SMALL_RING_BYTES // _ENTRY)
        self._fetched: deque[int] = deque()
        self._producer = 0
        self.index = 0
        """Next buffer to use, free-running."""

    def push(self, start: int, data: bytes) -> None:
        """A write into the ring's window: an entry is valid once its last byte is written with bit 0 zero."""
        self.slots[start : start + len(data)] = data
        for at in range(start | _ENTRY - 1, start + len(data), _ENTRY):
            self._valid[at // _ENTRY] = not data[at - start] & 1

    def ring(self, producer: int) -> bool:
        """A doorbell; False: it names more entries than the ring has."""
        if producer - self.index - len(self._fetched) & 0xFFFF > self._mask + 1:
            return False
        self._producer = producer
        return True

    def fetch(self, owner: Endpoint, dma: Dma) -> bool:
        """Bring descriptors in while some are posted and less than two batches are here; False: a read failed."""
        fetched = self._fetched
        while len(fetched) <= FETCH_BATCH:
            first = self.index + len(fetched)
            posted = self._producer - first & 0xFFFF
            if not posted:
                break
            slot = first & self._mask
            address = self._base + slot * _ENTRY & _MASK64
            to_page = (PAGE_SIZE - (address & PAGE_SIZE - 1)) // _ENTRY
            batch = min(FETCH_BATCH, posted, self._mask + 1 - slot, to_page)
            data = None
            if dma.allowed(owner, address, batch * _ENTRY):
                data = dma.read(owner, address, batch * _ENTRY)
            if data is None:
                return False
            fetched.extend(value for (value,) in _ADDRESS.iter_unpack(data))
        return True

    @property
    def posted(self) -> int:
        """Buffers that software has posted and no frame has taken."""
        if not self.pushed:
            return self._producer - self.index & 0xFFFF
        slots = (self.index + n & self._mask for n in range(self._mask + 1))
        return sum(1 for _ in takewhile(self._valid.__getitem__, slots))

    def take(self, count: int) -> list[int] | None:
        """Addresses of the next buffers; None, and nothing taken, when there are not as many."""
        if self.pushed:
            slots = [self.index + n & self._mask for n in range(count)]
            if count > self._mask + 1 or not all(self._valid[slot] for slot in slots):
                return None
            addresses = [_ADDRESS.unpack_from(self.slots, slot * _ENTRY)[0] for slot in slots]
            for slot in slots:
                self._valid[slot] = 0
        else:
            if len(self._fetched) < count:
                return None
            addresses = [self._fetched.popleft() & ~1 for _ in range(count)]
        self.index = self.index + count & 0xFFFF
        return addresses


class Endpoint:
    """Registers, rings and indices; reset when it is enabled."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._words = dict.fromkeys(_WRITABLE, 0)
        self.slots = bytearray(Aperture.SEND_RING_BYTES)
        self.small = ReceiveRing()
        self.big = ReceiveRing()
        self.last_done = 0
        self.in_flight = 0
        self.reset()

    def reset(self) -> None:
        """As when it is enabled, from what its registers say."""
        control = self._words[NicControl.ENDPOINT_CTRL]
        self.enabled = bool(control & NicControl.ENDPOINT_CTRL_ENABLE_M)
        self.form = Form(_field(control, NicControl.ENDPOINT_CTRL_FORM_M, NicControl.ENDPOINT_CTRL_FORM_S))
        self.mode = _field(control, NicControl.ENDPOINT_CTRL_MODE_M, NicControl.ENDPOINT_CTRL_MODE_S)
        send_log2 = _field(control, NicControl.ENDPOINT_CTRL_SEND_LOG2_M, NicControl.ENDPOINT_CTRL_SEND_LOG2_S)
        self.cq_log2 = _field(control, NicControl.ENDPOINT_CTRL_CQ_LOG2_M, NicControl.ENDPOINT_CTRL_CQ_LOG2_S)
        self.mask = (1 << send_log2) - 1
        self.send_base = self._base(NicControl.ENDPOINT_SEND_BASE_LO)
        self.cq_base = self._base(NicControl.ENDPOINT_CQ_BASE_LO)
        self.valid = bytearray(Aperture.SEND_RING_BYTES // SendDescriptor.BYTES)
        self.producer = 0
        self.consumer = 0
        self.cq_index = 0
        self.halted = False
        self.stale = False
        """Halted for a stale descriptor or buffer: it does not receive, either."""
        self.error = 0
        self.queued = False
        self.fetched: deque[bytes] = deque()
        self._reset_receive()

    def _reset_receive(self) -> None:
        control = self._words[NicControl.ENDPOINT_RX_CTRL]
        sizes = self._words[NicControl.ENDPOINT_RX_SIZES]
        form = _field(control, NicControl.ENDPOINT_RX_CTRL_FORM_M, NicControl.ENDPOINT_RX_CTRL_FORM_S)
        self.receives = bool(control & NicControl.ENDPOINT_RX_CTRL_ENABLE_M) and self._may(form)
        self.rss = bool(control & NicControl.ENDPOINT_RX_CTRL_RSS_M)
        self.queues = _field(control, NicControl.ENDPOINT_RX_CTRL_QUEUES_M, NicControl.ENDPOINT_RX_CTRL_QUEUES_S) + 1
        self.buffer_log2 = _field(
            control, NicControl.ENDPOINT_RX_CTRL_BUFFER_LOG2_M, NicControl.ENDPOINT_RX_CTRL_BUFFER_LOG2_S
        )
        self.rq_log2 = _field(control, NicControl.ENDPOINT_RX_CTRL_RQ_LOG2_M, NicControl.ENDPOINT_RX_CTRL_RQ_LOG2_S)
        self.small_max = _field(sizes, NicControl.ENDPOINT_RX_SIZES_SMALL_M, NicControl.ENDPOINT_RX_SIZES_SMALL_S)
        self.max_frame = _field(
            sizes, NicControl.ENDPOINT_RX_SIZES_MAX_FRAME_M, NicControl.ENDPOINT_RX_SIZES_MAX_FRAME_S
        )
        form = _field(control, NicControl.ENDPOINT_RX_CTRL_FORM_M, NicControl.ENDPOINT_RX_CTRL_FORM_S)
        small_log2 = _field(control, NicControl.ENDPOINT_RX_CTRL_SMALL_LOG2_M, NicControl.ENDPOINT_RX_CTRL_SMALL_LOG2_S)
        big_log2 = _field(control, NicControl.ENDPOINT_RX_CTRL_BIG_LOG2_M, NicControl.ENDPOINT_RX_CTRL_BIG_LOG2_S)
        self.small.reset(form, small_log2, self._base(NicControl.ENDPOINT_RX_SMALL_BASE_LO))
        self.big.reset(form, big_log2, self._base(NicControl.ENDPOINT_RX_BIG_BASE_LO))
        self.rq_bases = [self._base(NicControl.ENDPOINT_RQ0_BASE_LO + 8 * n) for n in range(QUEUES)]
        self.rq_indices = [0] * QUEUES

    def _may(self, form: int) -> bool:
        """VALIDATED allows no ring that a guest could write."""
        control = self._words[NicControl.ENDPOINT_CTRL]
        mode = _field(control, NicControl.ENDPOINT_CTRL_MODE_M, NicControl.ENDPOINT_CTRL_MODE_S)
        return mode != Mode.VALIDATED or form == Form.FETCHED

    def _base(self, low: int) -> int:
        return self._words[low] | self._words[low + 4] << 32

    def fetch_failed(self) -> None:
        """It stands still until it is enabled anew."""
        self.halted = True
        self.error = Status.FETCH_ERROR

    def found_stale(self) -> None:
        """Nothing of it moves until it is enabled anew."""
        self.halted = self.stale = True
        self.error = Status.STALE_DESCRIPTOR

    def read(self, register: int) -> int:
        """`register`: as of endpoint 0."""
        if register == NicControl.ENDPOINT_STATUS:
            busy = self.in_flight > 0 or (self.queued and self.enabled)
            return (
                int(self.enabled)
                | self.halted << NicControl.ENDPOINT_STATUS_HALTED_S
                | busy << NicControl.ENDPOINT_STATUS_BUSY_S
                | self.error << NicControl.ENDPOINT_STATUS_ERROR_S
            )
        if register == NicControl.ENDPOINT_INDEX:
            return self.producer | self.consumer << NicControl.ENDPOINT_INDEX_CONSUMER_S
        if register == NicControl.ENDPOINT_CQ_INDEX:
            return self.cq_index
        if register == NicControl.ENDPOINT_RX_INDEX:
            return self.small.index | self.big.index << NicControl.ENDPOINT_RX_INDEX_BIG_S
        return self._words.get(register, 0)

    def write(self, register: int, value: int) -> bool:
        """`register`: as of endpoint 0. True: the endpoint has been enabled or disabled."""
        if register not in _WRITABLE:
            return False
        self._words[register] = value & _WRITABLE[register]
        if register != NicControl.ENDPOINT_CTRL:
            return False
        form = _field(value, NicControl.ENDPOINT_CTRL_FORM_M, NicControl.ENDPOINT_CTRL_FORM_S)
        enable = bool(value & NicControl.ENDPOINT_CTRL_ENABLE_M) and self._may(form)
        if not enable:
            self._words[register] &= ~NicControl.ENDPOINT_CTRL_ENABLE_M
        if enable == self.enabled:
            return False
        if enable:
            self.reset()
        self.enabled = enable
        return True
