"""The guest's network driver: one endpoint of the NIC, driven without the hypervisor.

Shape of a real driver: `open`, `xmit` (never blocks; False when the queue is stopped), `reap` of completions,
`wait_for_room` and `drain` (sleep until the hardware has got there), `receive` (interrupt, then poll), `close`. The
same code serves a guest that owns the NIC alone and one that shares it: only the device addresses that the grant
hypercall returns differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sw.abi.registers import Aperture, Form, Mode, Status
from sw.guest.machine import DeviceMemory, DriverMachine, EndpointGrant
from sw.guest.receive import (
    BUDGET,
    RSS_KEY,
    RSS_TABLE_ENTRIES,
    ReceiveConfig,
    ReceivedFrame,
    Receiver,
)
from sw.guest.send_buffers import SendBuffers
from sw.guest.transmit import MAX_PIECES, NicError, NicHaltedError, SendForm, Transmitter
from sw.platform import PAGE_SHIFT, PAGE_SIZE

__all__ = [
    "MAX_PIECES",
    "NicError",
    "NicHaltedError",
    "ReceiveConfig",
    "ReceivedFrame",
    "SendForm",
    "VirtualNic",
]

_WORD = 4


class VirtualNic(Transmitter):
    """One endpoint. Not re-entrant: one sender and one receiver at a time, as under a transmit lock and in NAPI."""

    def __init__(
        self,
        machine: DriverMachine,
        form: SendForm,
        ring_entries: int = 256,
        *,
        cq_entries: int | None = None,
        buffer_pages: int = 128,
        buffer_alignment: int = 64,
        completion_log: list[tuple[int, int, int]] | None = None,
        receive: ReceiveConfig | None = None,
    ) -> None:
        """`cq_entries` defaults to `ring_entries`; `completion_log` collects (index, length, status) in order.

        Without `receive` the NIC only sends.
        """
        super().__init__(machine, form, ring_entries, cq_entries, completion_log)
        self._buffer_pages = buffer_pages
        self._buffer_alignment = buffer_alignment
        self._receive_config = receive
        self.ring_gfn = 0
        """First page of the send ring in guest memory (FETCHED, while open)."""
        self._endpoint: EndpointGrant | None = None
        self._receiver: Receiver | None = None
        self._port = 0
        self._groups: set[bytes] = set()
        self._promiscuous = False
        self._all_multicast = False

    # --- set-up and tear-down --------------------------------------------------------------------

    @property
    def endpoint(self) -> int:
        """Number of the endpoint; valid while open."""
        return self._opened().endpoint

    @property
    def mac(self) -> bytes:
        """The endpoint's address, fixed by the hypervisor; valid while open."""
        return self._opened().mac

    @property
    def vlan(self) -> int:
        """The endpoint's VLAN, 0 for untagged frames; valid while open."""
        return self._opened().vlan

    @property
    def port(self) -> int:
        """Event channel of its interrupt, 0 for none; valid while open."""
        return self._port

    @property
    def aperture(self) -> int:
        """Guest-physical address of its doorbell page; valid while open."""
        return self._opened().aperture

    async def open(self) -> None:
        """Allocate an endpoint, grant and map rings and buffers, enable. Raises `NicError` when refused."""
        if self._endpoint is not None:
            raise NicError(f"endpoint {self._endpoint.endpoint} is open already")
        machine, calls = self._machine, self._machine.kernel.endpoints
        config = self._receive_config
        fetched = self.form is SendForm.FETCHED
        grant = await calls.endpoint_allocate(
            Form.FETCHED if fetched else Form.PUSHED, config.form if config is not None else None
        )
        self._endpoint = grant
        self._validated = grant.mode is Mode.VALIDATED
        self._reset_transmit()
        self._pages = machine.kernel.device_pages(grant)
        ring, cq, buffers = await self._map_transmit(self._pages, fetched=fetched)
        self._buffers = SendBuffers(machine, buffers, self._buffer_pages, self._buffer_alignment)
        self._inline_max = grant.inline_max
        self._doorbell = grant.aperture + Aperture.SEND_DOORBELL
        self._window = grant.aperture + Aperture.SEND_RING
        setup = None
        if config is not None:
            self._receiver = Receiver(machine, config, grant.endpoint if self._validated else None)
            setup = await self._receiver.map(self._pages)
            if config.queues > 1:
                table = [n % config.queues for n in range(RSS_TABLE_ENTRIES)]
                await calls.endpoint_rss(grant.endpoint, RSS_KEY, table)
            if config.interrupts:
                self._port = await self._bind_interrupt(grant, self._receiver.interrupt)
        await calls.endpoint_enable(
            grant.endpoint,
            self._ring.bit_length() - 1,
            self._cq.bit_length() - 1,
            self._pages.addresses.get(ring, 0),
            self._pages.addresses[cq],
            setup,
        )
        if self._receiver is not None:
            self._receiver.start(grant.aperture)
            # A read pushes the posted writes: from here on the NIC knows of the buffers.
            await machine.mmio_read(grant.aperture, _WORD)
        self._stopped = False

    async def close(self) -> None:
        """Disable the endpoint, unmap and revoke every grant, free the pages. What is in flight is lost."""
        grant = self._opened()
        calls = self._machine.kernel.endpoints
        self._stopped = True
        if self._receiver is not None:
            self._receiver.stop()
        await calls.endpoint_disable(grant.endpoint)
        if self._port:
            await self._unbind_interrupt(self._port)
            self._port = 0
        await self._pages.release()
        await calls.endpoint_release(grant.endpoint)
        self._endpoint = None
        self._receiver = None
        self._groups.clear()
        self._promiscuous = self._all_multicast = False

    async def _bind_interrupt(self, grant: EndpointGrant, handler: Callable[[], None]) -> int:
        """The port of the endpoint's interrupt; the endpoint is enabled afterwards."""
        return await self._machine.kernel.bind_interrupt(grant.endpoint, handler)

    async def _unbind_interrupt(self, port: int) -> None:
        """Undo `_bind_interrupt`; the endpoint has been disabled."""
        await self._machine.kernel.unbind_interrupt(port)

    async def _map_transmit(self, pages: DeviceMemory, *, fetched: bool) -> tuple[int, int, int]:
        """Send ring (0 when it is pushed), completion ring and buffers: their first GFNs."""
        memory = self._machine.memory
        ring_pages = self.ring_bytes // PAGE_SIZE if fetched else 0
        cq_pages = self.cq_bytes // PAGE_SIZE
        # Of a validated endpoint the hypervisor has the send ring.
        ring = await pages.map_run(0 if self._validated else ring_pages, readonly=True, ring=True)
        cq = await pages.map_run(cq_pages, readonly=False, ring=True)
        buffers = await pages.map_run(self._buffer_pages, readonly=True)
        identity = all(address == gfn << PAGE_SHIFT for gfn, address in pages.addresses.items())
        self._device_pages = None if identity else pages.addresses
        self.ring_gfn = ring
        self._ring_pages = [memory.page(ring + n) for n in range(ring_pages if ring else 0)]
        self._cq_base = cq << PAGE_SHIFT
        self._cq_pages = [memory.page(cq + n) for n in range(cq_pages)]
        for page in self._cq_pages:
            # Phase 0: nothing has arrived on the first lap.
            page[:] = bytes(PAGE_SIZE)
        return ring, cq, buffers

    def _opened(self) -> EndpointGrant:
        if self._endpoint is None:
            raise NicError("the NIC is not open")
        return self._endpoint

    # --- receive ---------------------------------------------------------------------------------

    @property
    def receiver(self) -> Receiver:
        """The receive side; valid while open. Raises `NicError` for a NIC that only sends."""
        self._opened()
        if self._receiver is None:
            raise NicError(f"endpoint {self.endpoint} only sends")
        return self._receiver

    def poll(self, budget: int = BUDGET) -> list[ReceivedFrame]:
        """Frames that are there, at most `budget`; never sleeps."""
        return self.receiver.poll(budget)

    async def receive(self, timeout_ns: int, budget: int = BUDGET) -> list[ReceivedFrame]:
        """Frames, at least one; none after `timeout_ns` of simulated time, or when the NIC is closed meanwhile."""
        return await self.receiver.receive(timeout_ns, budget)

    async def replenish(self) -> None:
        """Give the NIC the buffers that `poll` could not hand over: in mode VALIDATED that may wait for hardware."""
        await self.receiver.replenish()

    async def set_moderation(self, ns: int, frames: int = 0) -> None:
        """Interrupt `ns` after the first completion or with the `frames`-th (0: by time alone); `ns` 0: at once."""
        await self._machine.kernel.endpoints.endpoint_moderation(self.endpoint, ns, frames)

    async def set_rss(self, key: bytes, table: Sequence[int]) -> None:
        """Hash key (40 bytes) and indirection table (128 queue numbers)."""
        await self._machine.kernel.endpoints.endpoint_rss(self.endpoint, key, table)

    async def set_promiscuous(self, on: bool) -> None:
        """Receive every frame; raises `HypercallError` unless the domain is privileged."""
        await self._filter(on, self._all_multicast)

    async def set_multicast(self, groups: Iterable[bytes]) -> bool:
        """Receive these groups and no others. False when they do not fit: then every multicast frame is received.

        Errors of the hypercalls other than a full table are raised.
        """
        calls = self._machine.kernel.endpoints
        wanted = set(groups)
        for group in sorted(self._groups - wanted):
            await calls.endpoint_multicast(self.endpoint, group, join=False)
            self._groups.remove(group)
        fits = True
        for group in sorted(wanted - self._groups):
            if not await calls.endpoint_multicast(self.endpoint, group, join=True):
                fits = False
                break
            self._groups.add(group)
        if self._all_multicast is fits:
            await self._filter(self._promiscuous, not fits)
        return fits

    async def _filter(self, promiscuous: bool, all_multicast: bool) -> None:
        await self._machine.kernel.endpoints.endpoint_filter(
            self.endpoint, promiscuous=promiscuous, all_multicast=all_multicast
        )
        self._promiscuous, self._all_multicast = promiscuous, all_multicast

    # --- statistics ------------------------------------------------------------------------------

    async def statistics(self) -> dict[str, int]:
        """Counters as `ethtool -S` shows them: the driver's, and the NIC's (`nic_`) since the endpoint was opened."""
        result = {
            "tx_packets": self.completions[Status.OK],
            "tx_bytes": self.bytes_sent,
            "tx_errors": sum(self.completions) - self.completions[Status.OK],
        }
        for status in Status:
            if status is not Status.OK:
                result[f"tx_error_{status.name.lower()}"] = self.completions[status]
        if self._receiver is not None:
            counts = self._receiver.counts
            result["rx_packets"] = counts.frames
            result["rx_bytes"] = counts.octets
            result["rx_polls"] = counts.polls
            result["rx_interrupts"] = counts.interrupts
            result["rx_arms"] = counts.arms
            result["rx_buffer_posts"] = self._receiver.buffer_posts
            for queue, frames in enumerate(counts.queue_frames):
                result[f"rx_queue_{queue}_packets"] = frames
        for name, value in (await self._machine.kernel.endpoints.endpoint_statistics(self.endpoint)).items():
            result[f"nic_{name}" if name in result else name] = value
        return result
