"""The bypass driver on the bus: what xenstore says of the device, then an endpoint by hypercall, then Connected.

An endpoint that is a function of its own is found on the guest's PCI bus beforehand: identity, BAR, bus master and MSI-X are as
of any PCI device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sw import pci
from sw.guest.machine import EndpointGrant, GuestMachine
from sw.guest.network_device import FEATURES, DeviceDescription
from sw.guest.pcifront import PciFront, PciFunction
from sw.guest.receive import ReceiveConfig
from sw.guest.transmit import NicError, SendForm
from sw.guest.virtual_nic import VirtualNic
from sw.guest.xenbus import FrontEnd
from sw.guest.xenstore import Xenstore
from sw.platform import PAGE_SHIFT

KIND = "vmyri"
APERTURE_BAR: Final = 2


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
        bus: PciFront | None = None,
    ) -> None:
        """Arguments as of `VirtualNic`; `receive` must use interrupts, whose port the back end is told.

        `bus`: where the driver finds its device, for an endpoint that is a PCI function of the guest's.
        """
        super().__init__(
            machine, form, ring_entries, buffer_pages=buffer_pages, receive=receive, completion_log=completion_log
        )
        self._guest = machine
        self._bus = bus
        self._function: PciFunction | None = None
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
        if self._bus is not None:
            await self._bus.open()
            self._function = await self._bus.find(pci.VENDOR_MYRICOM, pci.DEVICE_MYRI10G)
            await self._function.command(on=pci.COMMAND_MEMORY | pci.COMMAND_INTX_DISABLE)
        await super().open()
        if self.mac != mac:
            await self.close()
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
        if self._bus is not None:
            await self._bus.close()
        await self._front.close()
        await self._front.detach()

    def describe(self) -> DeviceDescription:
        """What `ip link` and `ethtool` show; valid while open."""
        return DeviceDescription(f"eth{self._handle}", self.mac, self.mtu, self.vlan, FEATURES, self._carrier)

    async def _bind_interrupt(self, grant: EndpointGrant, handler: Callable[[], None]) -> int:
        function = self._function
        if function is None:
            return await super()._bind_interrupt(grant, handler)
        address, _ = await function.memory_bar(APERTURE_BAR)
        if address != grant.aperture:
            raise NicError(f"the function's BAR is at {address:#x}, the endpoint's aperture at {grant.aperture:#x}")
        if not await function.command(on=pci.COMMAND_MASTER) & pci.COMMAND_MASTER:
            raise NicError(f"endpoint {grant.endpoint}: the back end does not let it be bus master")
        [pirq] = await function.enable_msix([0])
        return await self._guest.kernel.bind_pirq(pirq, handler)

    async def _unbind_interrupt(self, port: int) -> None:
        function = self._function
        if function is None:
            await super()._unbind_interrupt(port)
            return
        await self._guest.kernel.unbind_event(port)
        await function.disable_msix()
        await function.command(off=pci.COMMAND_MASTER | pci.COMMAND_MEMORY)

    async def wait_unplugged(self, timeout_ns: int) -> bool:
        """Until the toolstack wants the device back: True; False when the time was up first."""
        return await self._front.wait_closing(timeout_ns)
