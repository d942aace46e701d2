"""Receive side of a vif: packets of the bridge are copied into pages that the front end has posted.

Behaviour as in Linux `xen-netback/rx.c`: grant copy only, queue bounded in bytes, a new page for each 4096 bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from hypervisor_model.dom0.counts import NetbackCounts
from hypervisor_model.dom0.packet import Packet
from sw.guest.hypercalls import GrantCopy, GrantSide
from sw.guest.machine import GuestMachine
from sw.guest.notifier import Notifier
from sw.guest.shared_ring import BackRing
from sw.platform import PAGE_SIZE
from sw.xen.grant_table import GrantStatus
from sw.xen.io.netif import EXTRA_GSO, RX_REQUEST, RX_RESPONSE, ExtraType, GsoType, NetifStatus, RxFlag
from sw.xen.io.vif import FrontKeys
from sw.xen.xen import DOMID_SELF

QUEUE_BYTES: Final = 128 * PAGE_SIZE
"""What waits for buffers: half a ring of pages. Linux: `XENVIF_RX_QUEUE_BYTES`."""
STAGING_PAGES: Final = 64
"""Pages of one round's copies."""


class BackReceiver:
    """Receive side of one connection."""

    def __init__(
        self,
        machine: GuestMachine,
        domid: int,
        ring: BackRing,
        port: int,
        front: FrontKeys,
        max_frame: int,
        *,
        notifier: Notifier,
        counts: NetbackCounts,
        wake: Callable[[], None],
    ) -> None:
        """`port`: event channel in the control domain. `max_frame`: the port's. `wake`: a round is due."""
        self._machine = machine
        self._domid = domid
        self._ring = ring
        self._port = port
        self._front = front
        self._max_frame = max_frame
        self._notifier = notifier
        self._counts = counts
        self._wake = wake
        self._queue: deque[Packet] = deque()
        self._queued_bytes = 0
        self._staging = machine.kernel.allocate_pages(STAGING_PAGES)
        self._pages = [machine.memory.page(self._staging + n) for n in range(STAGING_PAGES)]

    def queue(self, packet: Packet) -> None:
        """Take a packet, in a form that the front end understands, or drop it."""
        front = self._front
        if packet.mss:
            if not front.sg or not (front.gso_tcpv6 if packet.ipv6 else front.gso_tcpv4):
                self._counts.segmented += 1
                self._machine.spend("copy_byte", len(packet.frame))
                for part in packet.segments():
                    self._append(part)
                return
        elif packet.checksum is not None and (not front.ipv6_csum if packet.ipv6 else front.no_csum):
            self._machine.spend("copy_byte", len(packet.frame) - packet.checksum[0])
            packet = packet.completed()
        self._append(packet)

    def _append(self, packet: Packet) -> None:
        size = len(packet.frame)
        limit = self._max_frame if self._front.sg else min(self._max_frame, PAGE_SIZE)
        if size > limit and not packet.mss:
            self._counts.rx_dropped_too_long += 1
        elif self._queued_bytes + size > QUEUE_BYTES:
            self._counts.rx_dropped_no_buffer += 1
        else:
            self._queue.append(packet)
            self._queued_bytes += size
            self._wake()

    async def round(self) -> bool:
        """Copy what fits into posted pages; False when there was nothing to do, without having slept."""
        ring = self._ring
        packets: list[tuple[Packet, list[tuple[int, int]]]] = []
        copies: list[GrantCopy] = []
        while self._queue:
            packet = self._queue[0]
            pages = -(-len(packet.frame) // PAGE_SIZE)
            slots = pages + bool(packet.mss)
            if len(copies) + pages > STAGING_PAGES or (ring.requests() < slots and not ring.arm(slots)):
                break
            self._queue.popleft()
            self._queued_bytes -= len(packet.frame)
            requests = [RX_REQUEST.unpack(ring.take()) for _ in range(slots)]
            packets.append((packet, requests))
            data = iter(reference for n, (_, reference) in enumerate(requests) if not (packet.mss and n == 1))
            for at in range(0, len(packet.frame), PAGE_SIZE):
                part = packet.frame[at : at + PAGE_SIZE]
                gfn = self._staging + len(copies)
                self._pages[len(copies)][: len(part)] = part
                source = GrantSide(DOMID_SELF, 0, gfn=gfn)
                copies.append(GrantCopy(source, GrantSide(self._domid, 0, gref=next(data)), len(part)))
        if not packets:
            return False
        self._counts.grant_copies += len(copies)
        statuses = iter(await self._machine.hypercall.grant_copy(copies))
        for packet, requests in packets:
            self._machine.spend("descriptor_build")
            own = [next(statuses) for _ in range(0, len(packet.frame), PAGE_SIZE)]
            good = all(status is GrantStatus.OKAY for status in own)
            self._respond(packet, [number for number, _ in requests], good=good)
        if ring.push():
            self._notifier.mark(self._port)
        return True

    def close(self) -> None:
        """Drop what is queued, free the pages."""
        self._queue.clear()
        self._pages.clear()
        self._machine.kernel.free_pages(self._staging, STAGING_PAGES)

    def _respond(self, packet: Packet, numbers: list[int], *, good: bool) -> None:
        """Answer each request in its own slot; an extra info follows the first."""
        if good:
            self._counts.rx_packets += 1
            self._counts.rx_bytes += len(packet.frame)
        else:
            self._counts.rx_errors += 1
        flags = RxFlag(0)
        if packet.checksum is not None or packet.mss:
            flags |= RxFlag.CSUM_BLANK | RxFlag.DATA_VALIDATED
        elif packet.validated:
            flags |= RxFlag.DATA_VALIDATED
        extra = RxFlag.EXTRA_INFO if packet.mss else RxFlag(0)
        left = len(packet.frame)
        for n, number in enumerate(numbers):
            if packet.mss and n == 1:
                kind = GsoType.TCPV6 if packet.ipv6 else GsoType.TCPV4
                self._ring.put(EXTRA_GSO.pack(ExtraType.GSO, 0, packet.mss, kind, 0, 0))
                continue
            size = min(left, PAGE_SIZE)
            left -= size
            more = RxFlag.MORE_DATA if left else RxFlag(0)
            status = size if good else NetifStatus.ERROR
            self._ring.put(RX_RESPONSE.pack(number, 0, flags | extra | more, status))
            flags = extra = RxFlag(0)
