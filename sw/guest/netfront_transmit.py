"""Send side of netfront: frames become requests on the shared ring, responses free them.

Source: Xen `xen/include/public/io/netif.h`; use of the ring as in Linux `xen-netfront.c`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sw.abi.registers import Status
from sw.guest.checksum import insert_checksum, ones_sum, pseudo_sum
from sw.guest.granted_pages import GrantedPages, GrantHeldError
from sw.guest.gso import MIN_MSS, segment
from sw.guest.headers import ETHERNET_BYTES, Transport, locate_transport, tcp_headers
from sw.guest.machine import GuestMachine
from sw.guest.notifier import Notifier
from sw.guest.shared_ring import FrontRing, RingBrokenError
from sw.guest.transmit import NicError, NicHaltedError
from sw.platform import PAGE_SIZE, PlatformTimeoutError, Signal
from sw.xen.io.netif import (
    EXTRA_GSO,
    EXTRA_MCAST,
    MAX_SLOTS,
    MAX_TX_BYTES,
    TX_REQUEST,
    TX_RESPONSE,
    ExtraType,
    GsoType,
    NetifStatus,
    TxFlag,
)
from sw.xen.io.vif import BackFeatures

STOP_BELOW: Final = MAX_SLOTS + 1
"""The queue stops when fewer slots are free: the longest packet and its extra info might not fit."""
BUFFER_LIMITS: Final = (2 * STOP_BELOW, 256)
STATUSES: Final = {
    NetifStatus.OKAY: Status.OK,
    NetifStatus.DROPPED: Status.SPOOFED,
    NetifStatus.ERROR: Status.BAD_DESCRIPTOR,
}
"""Response to completion status: a back end drops what is forged, and answers what it cannot use with an error."""


@dataclass
class _Packet:
    """One packet on the ring."""

    number: int
    length: int
    slots: int
    """Requests with an id that have not been answered."""
    status: Status = Status.OK
    counted: bool = True
    """A frame of the application's, not a message to the back end."""


class FrontTransmitter:
    """Send side of one connection. Not re-entrant: one user at a time, as under a transmit lock."""

    def __init__(
        self,
        machine: GuestMachine,
        buffer_pages: int,
        completion_log: list[tuple[int, int, int]] | None,
    ) -> None:
        if not BUFFER_LIMITS[0] <= buffer_pages <= BUFFER_LIMITS[1]:
            raise NicError(f"buffer_pages is {buffer_pages}: {BUFFER_LIMITS[0]} to {BUFFER_LIMITS[1]}")
        self._machine = machine
        self._buffer_pages = buffer_pages
        self._log = completion_log
        self._signal: Signal = machine.signal()
        self.completions = [0] * (max(Status) + 1)
        """Completions so far, by status."""
        self.frames_accepted = 0
        self.bytes_sent = 0
        """Bytes of frames that completed well."""
        self.halted = False
        """The back end has broken the protocol: nothing is sent any more."""
        self._stopped = True
        self._in_flight = 0
        self._features = BackFeatures()
        self._notifier = Notifier(machine)
        # Set by `_open_transmit`.
        self._ring: FrontRing
        self._port = 0
        self._pages: GrantedPages
        self._free: list[int] = []
        self._owners: list[_Packet | None] = []

    def _open_transmit(self, ring: FrontRing, port: int, pages: GrantedPages, features: BackFeatures) -> None:
        """A new connection: slot id n has page n."""
        self._ring, self._port, self._pages, self._features = ring, port, pages, features
        self._free = list(reversed(range(self._buffer_pages)))
        self._owners = [None] * self._buffer_pages
        self._in_flight = 0
        self.halted = False
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """`send` would refuse: the queue is full, broken or closed."""
        return self._stopped

    @property
    def in_flight(self) -> int:
        """Frames accepted and not yet completed."""
        return self._in_flight

    def send(self, frame: bytes, checksum: tuple[int, int] | None = None) -> bool:
        """Copy a frame into the driver's own pages and queue it; False when the queue is stopped. `kick` after the batch.

        `checksum`: (first byte to be summed, offset of the 16-bit field, which holds the pseudo-header's sum). What the
        back end cannot be told is summed here. Raises `NicError` for a frame that no ring takes.
        """
        if self._stopped:
            return False
        flags = TxFlag(0)
        if checksum is not None:
            if self._blank(frame, checksum):
                flags = TxFlag.CSUM_BLANK | TxFlag.DATA_VALIDATED
            else:
                # To sum bytes takes as long as to copy them.
                self._machine.spend("copy_byte", len(frame) - checksum[0])
                frame = insert_checksum(frame, *checksum)
        return self._queue(frame, flags)

    def send_tso(self, header: bytes, payload: bytes, mss: int, tcp_offset: int, *, ipv6: bool) -> bool:
        """Send one big TCP packet that somebody else cuts into segments of `mss` payload bytes; False as of `send`.

        `header` ends with the TCP header, which starts at `tcp_offset`. Raises `NicError` for what no ring takes.
        """
        if self._stopped:
            return False
        frame = header + payload
        found = tcp_headers(frame)
        if found is None or (found[0].start, found[0].ipv6, found[1]) != (tcp_offset, ipv6, len(header)):
            raise NicError(f"TSO packet of {len(frame)} bytes: no TCP header from {tcp_offset} to {len(header)}")
        if not MIN_MSS <= mss <= 0xFFFF or len(frame) > MAX_TX_BYTES:
            raise NicError(
                f"TSO packet of {len(frame)} bytes, mss {mss}: at most {MAX_TX_BYTES}, and {MIN_MSS} to 65535"
            )
        frame = _whole(frame, found[0])
        if self._features.gso_tcpv6 if ipv6 else self._features.gso_tcpv4:
            extra = EXTRA_GSO.pack(ExtraType.GSO, 0, mss, GsoType.TCPV6 if ipv6 else GsoType.TCPV4, 0, 0)
            return self._queue(frame, TxFlag.CSUM_BLANK | TxFlag.DATA_VALIDATED, extra)
        frames = list(segment(frame, mss))
        if len(frames) > self._buffer_pages:
            raise NicError(f"TSO packet of {len(frames)} segments: the driver has {self._buffer_pages} pages")
        if not self._fits(sum(-(-len(one) // PAGE_SIZE) for one in frames)):
            return False
        self._machine.spend("copy_byte", len(payload))
        for one in frames:
            self._put(one, TxFlag(0), b"", counted=True)
        return True

    def kick(self) -> None:
        """Show the back end what was queued. If it wants an event, `run` or the next call that sleeps sends it."""
        if not self.halted and self._ring.push():
            self._notifier.mark(self._port)

    def reap(self) -> int:
        """Take what has completed; the number of frames. Wakes the queue when half of it is free."""
        done = 0
        try:
            for _ in range(self._ring.responses()):
                done += self._complete(*TX_RESPONSE.unpack_from(self._ring.take()))
        except (RingBrokenError, GrantHeldError):
            self._halt()
        if self._stopped and not self.halted and self._room() >= self._wake_at:
            self._stopped = False
        return done

    async def wait_for_room(self, timeout_ns: int) -> None:
        """Sleep until the queue may run again: half of it is free. One wake-up, however many frames complete.

        Raises `PlatformTimeoutError` after `timeout_ns` of simulated time, `NicHaltedError` when the back end broke it.
        """
        await self._until(
            lambda: not self._stopped,
            # Extra infos and the frames of a page share the ring: ask again if it was too few.
            lambda: self._wake_at - self._room(),
            timeout_ns,
            "room in the send queue",
        )

    async def drain(self, timeout_ns: int) -> None:
        """Sleep until every accepted frame has completed; exceptions as of `wait_for_room`."""
        await self._until(
            lambda: not self._ring.outstanding, lambda: self._ring.outstanding, timeout_ns, "all frames to complete"
        )

    async def _until(
        self, done: Callable[[], bool], missing: Callable[[], int], timeout_ns: int, purpose: str
    ) -> None:
        deadline = self._machine.now() + timeout_ns
        ring = self._ring
        self.kick()
        while True:
            # An event takes time to send: look after it, and sleep only on what was seen then.
            await self._notifier.flush()
            if self._ring is not ring:
                raise NicHaltedError("the vif was closed, and opened again: what was in flight is lost")
            self.reap()
            if self.halted:
                raise NicHaltedError(f"{self._in_flight} frames are lost: the back end broke the protocol, or the vif was closed")
            if done():
                return
            left = deadline - self._machine.now()
            if self._armed(max(1, min(missing(), self._ring.outstanding))):
                continue
            if left <= 0 or not await self._signal.wait(left):
                raise PlatformTimeoutError(
                    f"netfront waited for {purpose}: {self._in_flight} frames are in flight after {timeout_ns} ns"
                )

    def _armed(self, count: int) -> bool:
        """Ask for an event after `count` responses; True when there is no need to wait."""
        try:
            return self._ring.arm(count)
        except RingBrokenError:
            self._halt()
            return True

    async def _message(self, extra: bytes, timeout_ns: int) -> bool:
        """Tell the back end something that is no packet; was it taken?"""
        while not self._fits(1, extras=1):
            await self.wait_for_room(timeout_ns)
        packet = self._put(bytes(ETHERNET_BYTES), TxFlag(0), extra, counted=False)
        await self.drain(timeout_ns)
        return packet.status is Status.OK

    async def _set_group(self, group: bytes, *, join: bool, timeout_ns: int) -> bool:
        kind = ExtraType.MCAST_ADD if join else ExtraType.MCAST_DEL
        return await self._message(EXTRA_MCAST.pack(kind, 0, group), timeout_ns)

    @property
    def _wake_at(self) -> int:
        return max(self._buffer_pages // 2, STOP_BELOW)

    def _room(self) -> int:
        return min(self._ring.free, len(self._free))

    def _halt(self) -> None:
        self.halted = True
        self._stopped = True

    def _blank(self, frame: bytes, checksum: tuple[int, int]) -> bool:
        """The back end finds these offsets by itself."""
        transport = locate_transport(frame)
        return (
            transport is not None
            and (transport.start, transport.field) == checksum
            and transport.end == len(frame)
            and (self._features.ipv6_csum or not transport.ipv6)
        )

    def _queue(self, frame: bytes, flags: TxFlag, extra: bytes = b"") -> bool:
        slots = -(-len(frame) // PAGE_SIZE)
        most = MAX_SLOTS if self._features.sg else 1
        if not ETHERNET_BYTES <= len(frame) <= MAX_TX_BYTES or slots > most:
            raise NicError(
                f"packet of {len(frame)} bytes: {ETHERNET_BYTES} to {min(MAX_TX_BYTES, most * PAGE_SIZE)} are possible"
            )
        if not self._fits(slots, extras=1 if extra else 0):
            return False
        self._put(frame, flags, extra, counted=True)
        return True

    def _fits(self, slots: int, *, extras: int = 0) -> bool:
        if slots <= len(self._free) and slots + extras <= self._ring.free:
            return True
        self._stopped = True
        return False

    def _put(self, frame: bytes, flags: TxFlag, extra: bytes, *, counted: bool) -> _Packet:
        """Write the requests of one packet; there is room."""
        pages = range(0, len(frame), PAGE_SIZE)
        packet = _Packet(self.frames_accepted, len(frame), len(pages), counted=counted)
        size = len(frame)
        flags |= TxFlag.EXTRA_INFO if extra else 0
        for at in pages:
            part = frame[at : at + PAGE_SIZE]
            more = TxFlag.MORE_DATA if at + PAGE_SIZE < len(frame) else 0
            slot = self._free.pop()
            self._owners[slot] = packet
            self._pages.view(slot)[: len(part)] = part
            reference = self._pages.grant(slot)
            self._ring.put(TX_REQUEST.pack(reference, 0, flags | more, slot, size or len(part)))
            if extra:
                self._ring.put(extra)
                extra = b""
            flags, size = TxFlag(0), 0
        self._machine.spend("descriptor_build", packet.slots)
        if self._pages.persistent:
            # Else the stack's own pages are granted.
            self._machine.spend("copy_byte", len(frame))
        if counted:
            self.frames_accepted += 1
            self._in_flight += 1
        if self._room() < STOP_BELOW:
            self._stopped = True
        return packet

    def _complete(self, slot: int, status: int) -> int:
        """Take one response; 1 if it was a frame's last."""
        if status == NetifStatus.NULL:
            return 0
        packet = self._owners[slot] if slot < len(self._owners) else None
        if packet is None or status not in STATUSES:
            raise self._ring.fail(f"response {status} to slot {slot}, which is not in use")
        self._pages.end(slot)
        self._owners[slot] = None
        self._free.append(slot)
        if packet.status is Status.OK:
            packet.status = STATUSES[NetifStatus(status)]
        packet.slots -= 1
        if packet.slots or not packet.counted:
            return 0
        self._machine.spend("completion_reap")
        self._in_flight -= 1
        self.completions[packet.status] += 1
        if packet.status is Status.OK:
            self.bytes_sent += packet.length
        if self._log is not None:
            self._log.append((packet.number & 0xFFFF, packet.length, packet.status))
        return 1


def _whole(frame: bytes, transport: Transport) -> bytes:
    """As the kernel's stack leaves a packet that is to be cut: lengths of the whole, the pseudo-header's sum in TCP's field."""
    head = bytearray(frame[: transport.field + 2])
    at, start = transport.network, transport.start
    if transport.ipv6:
        head[at + 4 : at + 6] = (len(frame) - start).to_bytes(2, "big")
    else:
        head[at + 2 : at + 4] = (len(frame) - at).to_bytes(2, "big")
        head[at + 10 : at + 12] = b"\0\0"
        head[at + 10 : at + 12] = (~ones_sum(bytes(head[at:start])) & 0xFFFF).to_bytes(2, "big")
    head[transport.field :] = pseudo_sum(frame, transport).to_bytes(2, "big")
    return bytes(head) + frame[transport.field + 2 :]
