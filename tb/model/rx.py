"""Receive side of the reference NIC: the MAC's checks, and the placement of frames into the buffers of endpoints."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from sw.abi.registers import NicControl, ReceiveCompletion, Refusal, RxDrop
from sw.platform import CYCLE_NS
from tb.model.clock import Clock
from tb.model.dma import Dma, plain, stale
from tb.model.endpoint import Endpoint
from tb.model.sums import ones_sum
from tb.model.switch import Switch
from tb.model.toeplitz import NO_HASH, Toeplitz, flow_of
from tb.model.windows import RefusedError

MAX_FRAME: Final = NicControl.LIMITS_MAX_FRAME_VALUE
MIN_LINE: Final = 64
"""Bytes with FCS."""
FCS_BYTES: Final = 4
PAD: Final = 2
"""Bytes of the first buffer before the frame."""
HEADER_BYTES: Final = 14
_PAUSE_ADDRESS: Final = bytes.fromhex("0180C2000001")
_PAUSE: Final = bytes.fromhex("88080001")
_COMPLETION = struct.Struct(">IIHHHBB")
_MASK64: Final = (1 << 64) - 1
_RING_LAST: Final = 0xFFFF
_FRAMES, _BYTES, _NO_SMALL, _NO_BIG, _TOO_LONG, _REFUSED = range(6)
_STATISTIC: Final = {
    RxDrop.NO_SMALL: _NO_SMALL,
    RxDrop.NO_BIG: _NO_BIG,
    RxDrop.TOO_LONG: _TOO_LONG,
    RxDrop.REFUSED: _REFUSED,
}
_COUNTER: Final = {
    RxDrop.BAD_FCS: NicControl.RX_BAD_FCS,
    RxDrop.RUNT: NicControl.RX_RUNT,
    RxDrop.OVERSIZE: NicControl.RX_OVERSIZE,
    RxDrop.BAD_FRAMING: NicControl.RX_BAD_FRAMING,
    RxDrop.PAUSE: NicControl.RX_PAUSE,
    RxDrop.FILTERED_UNICAST: NicControl.RX_FILTERED_UNICAST,
    RxDrop.FILTERED_MULTICAST: NicControl.RX_FILTERED_MULTICAST,
    RxDrop.NO_SMALL: NicControl.RX_NO_BUFFER,
    RxDrop.NO_BIG: NicControl.RX_NO_BUFFER,
}
_KEY_WORDS: Final = (NicControl.RSS_TABLE - NicControl.RSS_KEY) // 4


def filtered(frame: bytes) -> RxDrop:
    """Why a frame is dropped that no endpoint takes."""
    return RxDrop.FILTERED_MULTICAST if frame[0] & 1 else RxDrop.FILTERED_UNICAST


class ReceiveRecord(NamedTuple):
    """One frame that was placed."""

    endpoint: int
    queue: int
    buffer: int
    """Index of its first buffer."""
    big: bool
    local: bool
    data: bytes


class DropRecord(NamedTuple):
    """One drop; `endpoint` is None where the frame is dropped altogether."""

    reason: RxDrop
    endpoint: int | None


class _Scaling:
    """Key and indirection table of an endpoint."""

    def __init__(self) -> None:
        self.words = [0] * (NicControl.RSS_STRIDE // 4)
        self.refresh()

    def refresh(self) -> None:
        self.hash = Toeplitz(struct.pack(">10I", *self.words[:10])).hash
        self.queues = [self.words[_KEY_WORDS + n // 16] >> 2 * (n % 16) & 3 for n in range(128)]


class Receiver:
    """From the line, or from siblings, to memory. `posted(endpoint, ring, index)` follows each completion."""

    def __init__(
        self,
        clock: Clock,
        dma: Dma,
        switch: Switch,
        endpoints: Sequence[Endpoint],
        counters: dict[int, int],
        posted: Callable[[int, int, int], None],
    ) -> None:
        self._clock = clock
        self._dma = dma
        self._switch = switch
        self._endpoints = endpoints
        self._counters = counters
        self._posted = posted
        self._scaling = [_Scaling() for _ in endpoints]
        self._statistics = [[0] * (NicControl.STATISTICS_STRIDE // 4) for _ in endpoints]
        self.address = bytes(6)
        """The NIC's own, for pause frames."""
        self.last_drop = 0
        """RX_LAST_DROP."""
        self.received: list[ReceiveRecord] = []
        self.drops: list[DropRecord] = []

    # --- frames ----------------------------------------------------------------------------------

    def line(self, data: bytes, error: bool) -> None:
        """A frame has arrived from the line, with FCS; `error`: the line signalled one in it."""
        reason = self.check(data, error)
        if reason is not None:
            self.drop(reason)
            return
        self._counters[NicControl.RX_FRAMES] += 1
        frame = data[:-FCS_BYTES]
        takers = self._switch.from_wire(frame)
        if takers:
            self.place(frame, takers, local=False)
        else:
            self.drop(filtered(frame))

    def check(self, data: bytes, error: bool) -> RxDrop | None:
        """Why the MAC drops a frame of the line (with FCS); None: it does not."""
        if error:
            return RxDrop.BAD_FRAMING
        if len(data) < MIN_LINE:
            return RxDrop.RUNT
        if len(data) > MAX_FRAME + FCS_BYTES:
            return RxDrop.OVERSIZE
        if zlib.crc32(data[:-FCS_BYTES]) != int.from_bytes(data[-FCS_BYTES:], "little"):
            return RxDrop.BAD_FCS
        if data[12:16] == _PAUSE and data[:6] in (_PAUSE_ADDRESS, self.address):
            return RxDrop.PAUSE
        return None

    def place(self, frame: bytes, takers: Sequence[int], *, local: bool) -> None:
        """Give a frame to endpoints, one after the other."""
        for taker in takers:
            if (reason := self.fill(taker, frame, local=local)) is not None:
                self.drop(reason, taker)

    def fill(self, taker: int, frame: bytes, *, local: bool) -> RxDrop | None:
        """One endpoint's copy; or why it does not get it."""
        endpoint = self._endpoints[taker]
        checksum = ones_sum(frame[HEADER_BYTES:])
        kind, flow = flow_of(frame)
        length = len(frame)
        if not endpoint.enabled or not endpoint.receives or endpoint.stale:
            return RxDrop.DISABLED
        if length > endpoint.max_frame:
            return RxDrop.TOO_LONG
        big = length > endpoint.small_max
        size = 1 << endpoint.buffer_log2
        ring = endpoint.big if big else endpoint.small
        first = ring.index
        addresses = ring.take(-(-(length + PAD) // size) if big else 1)
        if addresses is None:
            return RxDrop.NO_BIG if big else RxDrop.NO_SMALL
        if not ring.pushed and not ring.fetch(endpoint, self._dma):
            endpoint.fetch_failed()
        pieces: list[tuple[int, bytes]] = []
        at, room, offset = 0, size - PAD if big else length, PAD
        for n, named in enumerate(addresses):
            piece = frame[at : at + room]
            address = plain(endpoint.mode, named)
            if stale(endpoint.mode, named, first + n):
                self._dma.refusals.record(endpoint.number, RefusedError(Refusal.STALE, named + offset), write=True)
                endpoint.found_stale()
                return RxDrop.REFUSED
            if not self._dma.allowed(endpoint, address + offset, len(piece), write=True):
                return RxDrop.REFUSED
            pieces.append((address + offset, piece))
            at, room, offset = at + room, size, 0
        for address, piece in pieces:
            self._dma.write(endpoint, address, piece)
        queue, value = 0, 0
        if kind != NO_HASH:
            scaling = self._scaling[endpoint.number]
            value = scaling.hash(flow)
            if endpoint.rss:
                queue = scaling.queues[value & 0x7F]
                queue = queue if queue < endpoint.queues else 0
        flags = (
            ReceiveCompletion.STATUS_RECEIVE_M
            | kind << ReceiveCompletion.STATUS_HASH_KIND_S
            | big << ReceiveCompletion.STATUS_BIG_S
            | local << ReceiveCompletion.STATUS_LOCAL_S
        )
        self._complete(endpoint, queue, value, first, length, checksum, flags)
        statistics = self._statistics[endpoint.number]
        statistics[_FRAMES] += 1
        statistics[_BYTES] += length
        self.received.append(ReceiveRecord(endpoint.number, queue, first, big, local, frame))
        return None

    def _complete(
        self, endpoint: Endpoint, queue: int, value: int, first: int, length: int, checksum: int, flags: int
    ) -> None:
        index = endpoint.rq_indices[queue]
        slot = index & (1 << endpoint.rq_log2) - 1
        phase = ~(index >> endpoint.rq_log2) & 1
        stamp = self._clock.now() // CYCLE_NS & 0xFFFF_FFFF
        entry = _COMPLETION.pack(value, stamp, first, length, checksum, 0, flags | phase)
        address = endpoint.rq_bases[queue] + slot * ReceiveCompletion.BYTES & _MASK64
        if self._dma.allowed(endpoint, address, len(entry), write=True):
            self._dma.write(endpoint, address, entry)
        index = index + 1 & _RING_LAST
        endpoint.rq_indices[queue] = index
        self._posted(endpoint.number, 1 + queue, index)

    def drop(self, reason: RxDrop, endpoint: int | None = None) -> None:
        """Count and record a drop."""
        self.drops.append(DropRecord(reason, endpoint))
        self.last_drop = reason | (endpoint or 0) << NicControl.RX_LAST_DROP_ENDPOINT_S
        if (counter := _COUNTER.get(reason)) is not None:
            self._counters[counter] += 1
        if endpoint is not None and (statistic := _STATISTIC.get(reason)) is not None:
            self._statistics[endpoint][statistic] += 1

    # --- registers -------------------------------------------------------------------------------

    def read(self, offset: int) -> int:
        """A word of RSS_TABLE or RX_STATISTICS, `offset` in the control BAR."""
        if offset < NicControl.STATISTICS_BASE:
            number, at = divmod(offset - NicControl.RSS_BASE, NicControl.RSS_STRIDE)
            return self._scaling[number].words[at // 4]
        number, at = divmod(offset - NicControl.STATISTICS_BASE, NicControl.STATISTICS_STRIDE)
        return self._statistics[number][at // 4] & 0xFFFF_FFFF

    def write(self, offset: int, value: int) -> None:
        """A word of RSS_TABLE."""
        if offset >= NicControl.STATISTICS_BASE:
            return
        number, at = divmod(offset - NicControl.RSS_BASE, NicControl.RSS_STRIDE)
        at //= 4
        scaling = self._scaling[number]
        if at < 10 or _KEY_WORDS <= at < _KEY_WORDS + 8:
            scaling.words[at] = value
            scaling.refresh()
