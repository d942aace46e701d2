"""netfront: the guest's network driver in split mode. It has the shape of `VirtualNic`, and no NIC behind it.

Source: Xen `xen/include/public/io/netif.h`; life as in Linux `xen-netfront.c`, one queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from sw.abi.registers import Status
from sw.guest.granted_pages import GrantedPages
from sw.guest.machine import GuestMachine
from sw.guest.netfront_receive import FrontReceiveCounts, FrontReceiver
from sw.guest.netfront_transmit import FrontTransmitter
from sw.guest.network_device import FEATURES, DeviceDescription
from sw.guest.receive import BUDGET, ReceivedFrame
from sw.guest.shared_ring import FrontRing
from sw.guest.transmit import NicError
from sw.xen.io.netif import RX_SLOT_BYTES, TX_SLOT_BYTES
from sw.xen.io.vif import BackOffer, FrontKeys

MESSAGE_NS: Final = 1_000_000_000
"""Bound of the wait for a back end that is told of a multicast group, simulated."""

_FRAME_OVERHEAD: Final = 18
"""Header and one VLAN tag."""
_ENTRIES: Final = (32, 256)


class VifConnection(Protocol):
    """How a front end meets its back end."""

    async def offer(self) -> BackOffer:
        """Wait until the back end listens; what it offers."""
        ...

    async def connect(self, front: FrontKeys) -> None:
        """Tell it, and wait until it serves the rings."""
        ...

    async def close(self) -> None:
        """Wait until it has let go of rings, pages and ports."""
        ...


class NetFront(FrontTransmitter):
    """One `vif`. Not re-entrant: one sender and one receiver at a time, as under a transmit lock and in NAPI."""

    def __init__(
        self,
        machine: GuestMachine,
        connection: VifConnection,
        *,
        buffer_pages: int = 128,
        entries: int = 128,
        persistent: bool = True,
        receive_gso: bool = False,
        completion_log: list[tuple[int, int, int]] | None = None,
    ) -> None:
        """`buffer_pages`: of the send side, 38 to 256. `entries`: pages posted for receiving, a power of two from 32 to
        256. `persistent`: keep pages granted if the back end agrees. `receive_gso`: get TCP packets of siblings unsegmented, up to 64 KiB.
        `completion_log` collects (number, length, status) in order of completion.
        """
        super().__init__(machine, buffer_pages, completion_log)
        if entries & (entries - 1) or not _ENTRIES[0] <= entries <= _ENTRIES[1]:
            raise NicError(f"entries is {entries}: a power of two from {_ENTRIES[0]} to {_ENTRIES[1]}")
        self._connection = connection
        self._entries = entries
        self._persistent = persistent
        self._receive_gso = receive_gso
        self._offer: BackOffer | None = None
        self._receiver: FrontReceiver | None = None
        self._rings: GrantedPages
        self._rx_pages: GrantedPages
        self._ports: list[int] = []
        self._groups: set[bytes] = set()
        self._held: list[GrantedPages] = []
        self.counts = FrontReceiveCounts()

    @property
    def mac(self) -> bytes:
        """The device's address, as the toolstack chose it; valid while open."""
        return self._opened().mac

    @property
    def mtu(self) -> int:
        """Bytes of an IP packet; valid while open."""
        return self._opened().mtu

    @property
    def vlan(self) -> int:
        """VLAN of the port, 0 for untagged frames; valid while open."""
        return self._opened().vlan

    @property
    def max_frame(self) -> int:
        """Longest frame that is received, without FCS; valid while open."""
        return self._opened().mtu + _FRAME_OVERHEAD

    @property
    def events_sent(self) -> int:
        """Notifications of the back end: one hypercall each."""
        return self._notifier.sent

    # --- set-up and tear-down --------------------------------------------------------------------

    async def open(self) -> None:
        """Meet the back end, make rings and ports, post pages. Raises `NicError` when it is open already."""
        if self._offer is not None:
            raise NicError("the vif is open already")
        machine = self._machine
        self._release_held()
        self._notifier.start()
        offer = await self._connection.offer()
        features = offer.features
        persistent = self._persistent and features.persistent
        self._offer = offer
        self._rings = await self._share(2, readonly=False, persistent=True)
        pages = await self._share(self._buffer_pages, readonly=True, persistent=persistent)
        self._rx_pages = await self._share(self._entries, readonly=False, persistent=persistent)
        count = 2 if features.split_event_channels else 1
        self._ports = [await machine.hypercall.event_alloc_unbound(offer.domid) for _ in range(count)]
        tx_port, rx_port = self._ports[0], self._ports[-1]
        self._open_transmit(FrontRing(self._rings.view(0), TX_SLOT_BYTES), tx_port, pages, features)
        ring = FrontRing(self._rings.view(1), RX_SLOT_BYTES)
        self._receiver = FrontReceiver(
            machine, ring, rx_port, self._rx_pages, self._entries, self._notifier, self.counts
        )
        handlers: list[Callable[[], None]] = [self._signal.notify, self._receiver.interrupt]
        for port, handler in zip(self._ports, handlers if count == 2 else [self._both], strict=True):
            await machine.kernel.bind_event(port, handler)
        self._receiver.start()
        keys = FrontKeys(
            tx_ring=self._rings.grant(0),
            rx_ring=self._rings.grant(1),
            tx_port=tx_port,
            rx_port=rx_port,
            gso_tcpv4=self._receive_gso,
            gso_tcpv6=self._receive_gso,
            multicast_control=features.multicast_control,
            persistent=persistent,
        )
        try:
            await self._connection.connect(keys)
        except Exception:
            await self.close()
            raise
        # What was posted before the back end bound its port.
        self._notifier.mark(rx_port)
        await self._notifier.flush()

    async def run(self) -> None:
        """Send the events that `kick` and `poll` leave due, until `close`: a task of the guest's kernel.

        Calls that sleep send them as well; who never sleeps in this driver needs this.
        """
        await self._notifier.run()

    async def close(self) -> None:
        """Have the back end let go, close ports, revoke grants, free pages. What is in flight is lost."""
        self._opened()
        self._halt()
        self._notifier.stop()
        self._notifier.forget()
        if self._receiver is not None:
            self._receiver.stop()
        self._signal.notify()
        await self._connection.close()
        for port in self._ports:
            await self._machine.kernel.unbind_event(port)
        self._ports = []
        # A back end that died with pages mapped still has them: they stay granted, and are tried again.
        self._held += (self._rings, self._pages, self._rx_pages)
        self._release_held()
        self._offer = None
        self._receiver = None
        self._groups.clear()

    @property
    def pages_held(self) -> bool:
        """A back end that has gone still has pages of an earlier connection mapped."""
        return bool(self._held)

    def _release_held(self) -> None:
        self._held = [pages for pages in self._held if not pages.release()]

    async def _share(self, count: int, *, readonly: bool, persistent: bool) -> GrantedPages:
        pages = GrantedPages(self._machine, self._opened().domid, readonly=readonly, persistent=persistent)
        await pages.allocate(count)
        pages.clear()
        return pages

    def _both(self) -> None:
        """One event channel for both rings."""
        self._signal.notify()
        if self._receiver is not None:
            self._receiver.interrupt()

    def _opened(self) -> BackOffer:
        if self._offer is None:
            raise NicError("the vif is not open")
        return self._offer

    # --- receive ---------------------------------------------------------------------------------

    @property
    def receiver(self) -> FrontReceiver:
        """The receive side; valid while open."""
        self._opened()
        if self._receiver is None:
            raise NicError("the vif is not connected")
        return self._receiver

    def poll(self, budget: int = BUDGET) -> list[ReceivedFrame]:
        """Frames that are there, at most `budget`; never sleeps."""
        return self.receiver.poll(budget)

    async def receive(self, timeout_ns: int, budget: int = BUDGET) -> list[ReceivedFrame]:
        """Frames, at least one; none after `timeout_ns` of simulated time, or when the vif is closed meanwhile."""
        return await self.receiver.receive(timeout_ns, budget)

    async def set_multicast(self, groups: Iterable[bytes]) -> bool:
        """Receive these groups and no others. False when the back end has no room for one: that group is not received.

        Without multicast control every group is received.
        """
        if not self._opened().features.multicast_control:
            return True
        wanted = set(groups)
        for group in sorted(self._groups - wanted):
            await self._set_group(group, join=False, timeout_ns=MESSAGE_NS)
            self._groups.remove(group)
        fits = True
        for group in sorted(wanted - self._groups):
            if await self._set_group(group, join=True, timeout_ns=MESSAGE_NS):
                self._groups.add(group)
            else:
                fits = False
        return fits

    def describe(self) -> DeviceDescription:
        """What `ip link` and `ethtool` show; valid while open."""
        offer = self._opened()
        return DeviceDescription(f"eth{offer.handle}", offer.mac, offer.mtu, offer.vlan, FEATURES, offer.carrier)

    # --- statistics ------------------------------------------------------------------------------

    async def statistics(self) -> dict[str, int]:
        """Counters as `ethtool -S` shows them, named as `VirtualNic` names them."""
        result = {
            "tx_packets": self.completions[Status.OK],
            "tx_bytes": self.bytes_sent,
            "tx_errors": sum(self.completions) - self.completions[Status.OK],
        }
        for status in Status:
            if status is not Status.OK:
                result[f"tx_error_{status.name.lower()}"] = self.completions[status]
        counts = self.counts
        result["tx_dropped_spoofed"] = self.completions[Status.SPOOFED]
        result["rx_packets"] = counts.frames
        result["rx_bytes"] = counts.octets
        result["rx_errors"] = counts.errors
        result["rx_polls"] = counts.polls
        result["rx_interrupts"] = counts.interrupts
        result["rx_arms"] = counts.arms
        result["rx_buffer_posts"] = counts.posts
        result["rx_queue_0_packets"] = counts.frames
        return result
