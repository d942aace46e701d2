"""Receive side of netfront: pages posted on the shared ring, responses assembled into frames.

Source: Xen `xen/include/public/io/netif.h`; use of the ring as in Linux `xen-netfront.c`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sw.guest.checksum import insert_checksum, ones_sum, pseudo_sum
from sw.guest.granted_pages import GrantedPages, GrantHeldError
from sw.guest.headers import ETHERNET_BYTES, locate_transport
from sw.guest.machine import GuestMachine
from sw.guest.notifier import Notifier
from sw.guest.receive import BUDGET, ReceivedFrame
from sw.guest.shared_ring import FrontRing, RingBrokenError
from sw.platform import CYCLE_NS, PAGE_SIZE
from sw.xen.io.netif import EXTRA, EXTRA_MORE, MAX_SLOTS, RX_REQUEST, RX_RESPONSE, ExtraType, RxFlag

_ID_MASK: Final = 0xFF
_STAMP_MASK: Final = 0xFFFF_FFFF


@dataclass
class FrontReceiveCounts:
    """What the driver has seen."""

    frames: int = 0
    octets: int = 0
    polls: int = 0
    interrupts: int = 0
    arms: int = 0
    posts: int = 0
    """Times that buffers were handed over."""
    errors: int = 0
    """Packets with an error response, or more slots than a packet may have."""


class FrontReceiver:
    """Receive side of one connection. One user at a time. Request n always has page n modulo their number."""

    def __init__(
        self,
        machine: GuestMachine,
        ring: FrontRing,
        port: int,
        pages: GrantedPages,
        entries: int,
        notifier: Notifier,
        counts: FrontReceiveCounts,
    ) -> None:
        """`entries`: pages that are posted."""
        self._machine = machine
        self._ring = ring
        self._port = port
        self._pages = pages
        self._entries = entries
        self._notifier = notifier
        self._signal = machine.signal()
        self._running = True
        self.halted = False
        """The back end has broken the protocol: nothing is received any more."""
        self.counts = counts

    def start(self) -> None:
        """Post all pages."""
        self._post(self._entries)

    def stop(self) -> None:
        """Whoever waits in `receive` gets nothing any more."""
        self._running = False
        self._signal.notify()

    def interrupt(self) -> None:
        """Event-channel handler: the poll goes on."""
        self.counts.interrupts += 1
        self._signal.notify()

    def poll(self, budget: int = BUDGET) -> list[ReceivedFrame]:
        """Take up to `budget` frames that are there, post their pages again."""
        frames: list[ReceivedFrame] = []
        if not self._running or self.halted:
            return frames
        self.counts.polls += 1
        try:
            left = self._ring.responses()
            while left and len(frames) < budget:
                left = self._take(left, frames)
            if self._entries - self._ring.outstanding >= self._entries // 4:
                self._post(self._entries - self._ring.outstanding)
        except (RingBrokenError, GrantHeldError):
            self.halted = True
        self.counts.frames += len(frames)
        return frames

    async def receive(self, timeout_ns: int, budget: int = BUDGET) -> list[ReceivedFrame]:
        """Frames, at least one; sleeps until there are some. None after `timeout_ns`, or when closed or halted."""
        deadline = self._machine.now() + timeout_ns
        while True:
            await self._notifier.flush()
            frames = self.poll(budget)
            left = deadline - self._machine.now()
            if frames or left <= 0 or not self._running or self.halted:
                return frames
            if self._armed():
                continue
            await self._signal.wait(left)

    def _armed(self) -> bool:
        """Ask for an event with the next response; True when there is no need to wait."""
        self.counts.arms += 1
        try:
            return self._ring.arm()
        except RingBrokenError:
            self.halted = True
            return True

    def _post(self, count: int) -> None:
        self.counts.posts += 1
        for _ in range(count):
            index = self._ring.produced
            self._machine.spend("descriptor_build")
            self._ring.put(RX_REQUEST.pack(index & _ID_MASK, self._pages.grant(index % self._entries)))
        if self._ring.push():
            self._notifier.mark(self._port)

    def _take(self, left: int, frames: list[ReceivedFrame]) -> int:
        """One packet of at most `left` responses; how many are left after it."""
        parts: list[bytes] = []
        blank = gso = False
        good = True
        first = True
        while True:
            if not left:
                raise self._ring.fail("a packet whose last response is not there")
            left -= 1
            data, flags = self._response()
            if data is None:
                good = False
            else:
                parts.append(data)
            if first:
                blank = bool(flags & RxFlag.CSUM_BLANK)
                while flags & RxFlag.EXTRA_INFO:
                    if not left:
                        raise self._ring.fail("an extra info that is not there")
                    left -= 1
                    kind, more = self._extra()
                    gso |= kind == ExtraType.GSO
                    if not more:
                        break
                first = False
            if not flags & RxFlag.MORE_DATA:
                break
        data = b"".join(parts)
        self._machine.spend("completion_reap")
        if not good or len(parts) > MAX_SLOTS or len(data) < ETHERNET_BYTES:
            self.counts.errors += 1
            return left
        frames.append(self._frame(_completed(data, whole=gso) if blank or gso else data))
        self.counts.octets += len(data)
        return left

    def _response(self) -> tuple[bytes | None, int]:
        """Data, None for an error, and flags of the next response; its page is given back."""
        index = self._ring.consumed
        number, offset, flags, status = RX_RESPONSE.unpack(self._ring.take())
        if number != index & _ID_MASK:
            raise self._ring.fail(f"response to request {number} in slot {index & _ID_MASK}")
        page = index % self._entries
        self._pages.end(page)
        if status < 0 or offset + status > PAGE_SIZE:
            return None, flags
        if self._pages.persistent:
            # Else the page itself goes up the stack.
            self._machine.spend("copy_byte", status)
        return bytes(self._pages.view(page)[offset : offset + status]), flags

    def _extra(self) -> tuple[int, bool]:
        """Type of the next extra info, and whether another follows. Its page comes back unused."""
        index = self._ring.consumed
        kind, flags, _ = EXTRA.unpack(self._ring.take())
        self._pages.end(index % self._entries)
        return kind, bool(flags & EXTRA_MORE)

    def _frame(self, data: bytes) -> ReceivedFrame:
        stamp = self._machine.now() // CYCLE_NS & _STAMP_MASK
        return ReceivedFrame(data, ones_sum(data[ETHERNET_BYTES:]), 0, 0, 0, True, stamp)


def _completed(data: bytes, *, whole: bool) -> bytes:
    """With the checksum that nobody needed inside this machine: applications see frames as they are on a wire."""
    transport = locate_transport(data, whole=whole)
    if transport is None:
        return data
    field, end = transport.field, transport.end
    if whole:
        data = data[:field] + pseudo_sum(data, transport).to_bytes(2, "big") + data[field + 2 :]
    return insert_checksum(data[:end], transport.start, field) + data[end:]
