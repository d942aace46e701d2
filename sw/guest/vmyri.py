"""The bypass driver on the bus: what xenstore says of the device, then an endpoint by hypercall, then Connected."""

from __future__ import annotations

from sw.guest.machine import GuestMachine
from sw.guest.network_device import FEATURES, DeviceDescription
from sw.guest.receive import ReceiveConfig
from sw.guest.transmit import NicError, SendForm
from sw.guest.virtual_nic import VirtualNic
from sw.guest.xenbus import FrontEnd
from sw.guest.xenstore import Xenstore
from sw.platform import PAGE_SHIFT

KIND = "vmyri"


class VmyriNic(VirtualNic):
    """One `vmyri` device. Can be opened again after `close`."""

    def __init__(
        self,
        machine: GuestMachine,
        store: Xenstore,
        handle: int,
        form: SendForm,
        ring_entries: int,
        *,
        buffer_pages: int,
        receive: ReceiveConfig,
        completion_log: list[tuple[int, int, int]] | None = None,
    ) -> None:
        """Arguments as of `VirtualNic`; `receive` must use interrupts, whose port the back end is told."""
        super().__init__(
            machine, form, ring_entries, buffer_pages=buffer_pages, receive=receive, completion_log=completion_log
        )
        self._store = store
        self._front = FrontEnd(store, KIND, handle)
        self._handle = handle
        self._carrier = False
        self.mtu = 0
        """Bytes of an IP packet, by the toolstack; valid while open."""

    async def open(self) -> None:
        """Wait for the back end, open the endpoint, connect. Raises `NicError` when the NIC gave another address."""
        front = self._front = FrontEnd(self._store, KIND, self._handle)
        await front.open()
        await front.ready()
        self._carrier = await front.read_backend("carrier") == "1"
        self.mtu = int(await self._store.read(f"{front.path}/mtu"))
        mac = bytes.fromhex((await self._store.read(f"{front.path}/mac")).replace(":", ""))
        await super().open()
        if self.mac != mac:
            await super().close()
            raise NicError(f"{front.path}: the toolstack says {mac.hex(':')}, the NIC says {self.mac.hex(':')}")
        await front.connect(
            {
                "event-channel": str(self.port),
                "doorbell-gfn": str(self.aperture >> PAGE_SHIFT),
                "endpoint-first": str(self.endpoint),
                "endpoint-count": "1",
            }
        )

    async def close(self) -> None:
        """Give the endpoint back, then say so."""
        await super().close()
        await self._front.close()
        await self._front.detach()

    def describe(self) -> DeviceDescription:
        """What `ip link` and `ethtool` show; valid while open."""
        return DeviceDescription(f"eth{self._handle}", self.mac, self.mtu, self.vlan, FEATURES, self._carrier)

    async def wait_unplugged(self, timeout_ns: int) -> bool:
        """Until the toolstack wants the device back: True; False when the time was up first."""
        return await self._front.wait_closing(timeout_ns)
