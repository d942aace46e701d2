"""Send side of a vif: requests of the front end become packets of the bridge.

A guest's page is reached in one of three ways (`TxMode`). Whatever the way, the control domain decides on its own copy of a
packet, and looks at nothing twice. Behaviour as in Linux `xen-netback/netback.c`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from hypervisor_model.dom0.bridge import Bridge, BridgePort
from hypervisor_model.dom0.counts import NetbackCounts
from hypervisor_model.dom0.credit import Credit
from hypervisor_model.dom0.foreign import ForeignFrames
from hypervisor_model.dom0.packet import Packet
from hypervisor_model.dom0.port_filter import PortFilter
from hypervisor_model.dom0.requests import FATAL_SLOTS, Request, Slot, next_size, read_request
from sw.guest.headers import locate_transport, tcp_headers
from sw.guest.hypercalls import GrantCopy, GrantSide
from sw.guest.machine import GuestMachine
from sw.guest.notifier import Notifier
from sw.guest.shared_ring import BackRing
from sw.xen.grant_table import GrantStatus
from sw.xen.io.netif import TX_RESPONSE, GsoType, NetifStatus, TxFlag
from sw.xen.xen import DOMID_SELF

BUDGET: Final = 64
"""Packets of one round, as of a NAPI poll."""
STAGING_PAGES: Final = 96
"""Pages that one round's copies go into."""
IN_FLIGHT: Final = 256
"""Slots of packets that wait for the line: who fills it waits. Linux: `MAX_PENDING_REQS`."""
HEADER_BYTES: Final = 128
"""What is copied even where pages are mapped: headers must not change once they are checked. Linux:
`XEN_NETBACK_TX_COPY_LEN`."""
PERSISTENT_MAX: Final = 256
"""Pages of a front end that stay mapped."""
MAX_HEADER: Final = 1024
"""Bytes of the headers of a packet to be cut: the NIC's limit."""


class TxMode(Enum):
    """How pages of the front end are read."""

    COPY = "copy"
    """Copied by the hypervisor (GNTTABOP_copy)."""
    MAP = "map"
    """Headers and short packets are copied, the rest is mapped until the packet has left."""
    PERSISTENT = "persistent"
    """Mapped once and kept, if the front end agrees, and copied by the control domain; else as COPY."""


class _Mapping(NamedTuple):
    gfn: int
    handle: int


class _Part(NamedTuple):
    """Where bytes of a packet are to be found in the control domain."""

    page: int
    offset: int
    size: int


@dataclass(eq=False)
class _Work:
    request: Request
    parts: list[_Part] = field(default_factory=list)
    mappings: list[_Mapping] = field(default_factory=list)
    keepers: int = 0
    """Ports that have not handed the packet on yet."""


class BackTransmitter:
    """Send side of one connection."""

    def __init__(
        self,
        machine: GuestMachine,
        domid: int,
        ring: BackRing,
        port: int,
        mode: TxMode,
        max_frame: int,
        *,
        filter_: PortFilter,
        credit: Credit,
        bridge: Bridge,
        bridge_port: BridgePort,
        foreign: ForeignFrames,
        notifier: Notifier,
        counts: NetbackCounts,
        wake: Callable[[], None],
    ) -> None:
        """`port`: event channel in the control domain. `max_frame`: bytes that the line takes. `wake`: a round is due."""
        self._machine = machine
        self._domid = domid
        self._ring = ring
        self._port = port
        self._mode = mode
        self._max_frame = max_frame
        self._filter = filter_
        self._credit = credit
        self._bridge = bridge
        self._bridge_port = bridge_port
        self._foreign = foreign
        self._notifier = notifier
        self._counts = counts
        self._wake = wake
        self._staging = machine.kernel.allocate_pages(STAGING_PAGES)
        self._persistent: OrderedDict[int, _Mapping] = OrderedDict()
        self._in_flight = 0
        self._mapped: dict[_Work, None] = {}
        """Packets under way with pages mapped."""
        self._sent: list[_Work] = []
        """Packets that have left: to be unmapped and answered."""
        self.credit_wait_ns = 0
        """Time until the rate limit lets the next packet pass; 0: it does not hold one up."""

    async def round(self) -> bool:
        """Serve what is there, a budget at most; False when there was nothing, without having slept."""
        works = self._collect()
        sent, self._sent = self._sent, []
        if not works and not sent:
            return False
        await self._unmap([mapping for work in sent for mapping in work.mappings])
        for work in sent:
            self._mapped.pop(work, None)
            self._respond(work.request)
        packets = [work for work in works if not work.request.message and work.request.status is NetifStatus.OKAY]
        await self._fetch(packets)
        for work in works:
            self._finish(work)
        if self._ring.push():
            self._notifier.mark(self._port)
        return True

    def arm(self) -> bool:
        """Ask for an event with the next request; True when there is one that can be served already."""
        return self._ring.arm() and self._may_collect()

    async def close(self) -> None:
        """Unmap everything, free the pages. Nothing is answered any more."""
        mappings = [mapping for work in self._mapped for mapping in work.mappings]
        self._mapped.clear()
        self._sent.clear()
        await self._unmap(mappings + list(self._persistent.values()))
        self._persistent.clear()
        self._machine.kernel.free_pages(self._staging, STAGING_PAGES)

    # --- requests --------------------------------------------------------------------------------

    def _collect(self) -> list[_Work]:
        works: list[_Work] = []
        slots = 0
        while len(works) < BUDGET and slots + FATAL_SLOTS <= STAGING_PAGES and self._may_collect(slots):
            if not self._ring.requests():
                break
            request = read_request(self._ring)
            self._machine.spend("completion_reap")
            self._credit.take(request.size)
            slots += len(request.slots)
            works.append(_Work(request))
        return works

    def _may_collect(self, slots: int = 0) -> bool:
        """Neither the rate limit nor what waits for the line forbids the next request."""
        self.credit_wait_ns = 0
        if self._in_flight + slots + FATAL_SLOTS > IN_FLIGHT:
            return False
        if self._ring.requests():
            self.credit_wait_ns = self._credit.wait_ns(next_size(self._ring))
        return not self.credit_wait_ns

    def _respond(self, request: Request) -> None:
        """Answer a packet: its first slot, its extra infos, its other slots."""
        first, *rest = request.slots
        self._ring.put(TX_RESPONSE.pack(first.number, request.status))
        for _ in range(request.extras):
            self._ring.put(TX_RESPONSE.pack(0, NetifStatus.NULL))
        for slot in rest:
            self._ring.put(TX_RESPONSE.pack(slot.number, request.status))

    # --- pages -----------------------------------------------------------------------------------

    async def _fetch(self, works: list[_Work]) -> None:
        """Get at the data of all packets: one hypercall for all copies, one for all mappings."""
        copies: list[GrantCopy] = []
        owners: list[_Work] = []
        staging = self._staging

        def copy(work: _Work, slot: Slot, size: int) -> None:
            nonlocal staging
            source = GrantSide(self._domid, slot.offset, gref=slot.reference)
            copies.append(GrantCopy(source, GrantSide(DOMID_SELF, 0, gfn=staging), size))
            owners.append(work)
            work.parts.append(_Part(staging, 0, size))
            staging += 1

        for work in works:
            for number, slot in enumerate(work.request.slots):
                if self._mode is TxMode.PERSISTENT and (mapping := await self._keep(slot.reference)) is not None:
                    work.parts.append(_Part(mapping.gfn, slot.offset, slot.size))
                    self._machine.spend("copy_byte", slot.size)
                    self._counts.bytes_copied += slot.size
                elif self._mode is TxMode.MAP:
                    head = 0 if number else min(slot.size, HEADER_BYTES)
                    if head:
                        copy(work, slot, head)
                    if slot.size > head:
                        await self._map(work, slot, head)
                else:
                    copy(work, slot, slot.size)
        if not copies:
            return
        self._counts.grant_copies += len(copies)
        for work, status in zip(owners, await self._machine.hypercall.grant_copy(copies), strict=True):
            if status is not GrantStatus.OKAY:
                work.request.status = NetifStatus.ERROR

    async def _map(self, work: _Work, slot: Slot, skip: int) -> None:
        """Map a page until the packet has left."""
        mapping = await self._grant_map(slot.reference)
        if mapping is None:
            work.request.status = NetifStatus.ERROR
            return
        self._mapped[work] = None
        work.mappings.append(mapping)
        work.parts.append(_Part(mapping.gfn, slot.offset + skip, slot.size - skip))

    async def _keep(self, reference: int) -> _Mapping | None:
        """The lasting mapping of a page; None if it cannot be had."""
        mapping = self._persistent.get(reference)
        if mapping is not None:
            self._persistent.move_to_end(reference)
            return mapping
        if len(self._persistent) >= PERSISTENT_MAX:
            return None
        mapping = await self._grant_map(reference)
        if mapping is not None:
            self._persistent[reference] = mapping
        return mapping

    async def _grant_map(self, reference: int) -> _Mapping | None:
        gfn = self._foreign.take()
        status, handle = await self._machine.hypercall.grant_map(self._domid, reference, gfn, readonly=True)
        self._counts.grant_maps += 1
        if status is not GrantStatus.OKAY:
            self._foreign.give(gfn)
            return None
        return _Mapping(gfn, handle)

    async def _unmap(self, mappings: list[_Mapping]) -> None:
        if mappings:
            self._counts.grant_unmaps += len(mappings)
            await self._machine.hypercall.grant_unmap(mappings)
            for mapping in mappings:
                self._foreign.give(mapping.gfn)

    # --- packets ---------------------------------------------------------------------------------

    def _finish(self, work: _Work) -> None:
        """Send a packet on, or refuse it; answer it unless it is to be unmapped first."""
        request = work.request
        if request.message:
            self._change_groups(request)
        elif request.status is NetifStatus.OKAY and (packet := self._packet(work)) is not None:
            self._counts.tx_packets += 1
            self._counts.tx_bytes += len(packet.frame)
            self._in_flight += len(request.slots)
            work.keepers = self._bridge.forward(self._bridge_port, packet)
            if not work.keepers:
                self._in_flight -= len(request.slots)
        elif request.status is NetifStatus.ERROR:
            self._counts.tx_errors += 1
        if not work.mappings:
            self._respond(request)
        elif not work.keepers:
            self._sent.append(work)

    def _on_sent(self, work: _Work) -> None:
        work.keepers -= 1
        if not work.keepers:
            self._in_flight -= len(work.request.slots)
            if work.mappings:
                self._sent.append(work)
            self._wake()

    def _packet(self, work: _Work) -> Packet | None:
        """The packet, from the control domain's own copy; None, and the request's status, if it may not go on."""
        request = work.request
        pages = self._machine.memory
        frame = b"".join(bytes(pages.page(page)[offset : offset + size]) for page, offset, size in work.parts)
        if not self._filter.may_send(frame):
            self._counts.tx_dropped_spoofed += 1
            request.status = NetifStatus.DROPPED
            return None
        request.status = NetifStatus.ERROR
        checksum = None
        ipv6 = request.gso is GsoType.TCPV6
        if request.mss:
            found = tcp_headers(frame)
            if found is None or found[1] > MAX_HEADER or found[0].ipv6 is not ipv6:
                return None
            if found[1] + request.mss > self._max_frame:
                return None
        elif len(frame) > self._max_frame:
            return None
        elif request.flags & TxFlag.CSUM_BLANK:
            transport = locate_transport(frame)
            if transport is None or transport.end != len(frame):
                return None
            checksum, ipv6 = (transport.start, transport.field), transport.ipv6
        request.status = NetifStatus.OKAY
        return Packet(
            frame,
            checksum,
            request.mss,
            ipv6,
            validated=bool(request.flags & TxFlag.DATA_VALIDATED),
            on_sent=lambda: self._on_sent(work),
        )

    def _change_groups(self, request: Request) -> None:
        for group in request.leaves:
            self._filter.groups.discard(group)
        for group in request.joins:
            if not self._filter.join(group):
                request.status = NetifStatus.ERROR
