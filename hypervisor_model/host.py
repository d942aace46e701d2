"""A whole host as `xl` runs it: hypervisor, control domain, xenstore, toolstack, and guests with a network device each."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from hypervisor_model.dom0.bridge import Bridge
from hypervisor_model.dom0.foreign import ForeignFrames
from hypervisor_model.dom0.netback_transmit import TxMode
from hypervisor_model.dom0.uplink import Uplink
from hypervisor_model.dom0.vif import VifDrivers
from hypervisor_model.domains import Domain
from hypervisor_model.faults import DomainCrashedError
from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.pciback import PciDrivers
from hypervisor_model.sharing import Sharing
from hypervisor_model.switch import PortPolicy, endpoint_mac
from hypervisor_model.toolstack import NetworkConfig, Toolstack, VifConfig, VmyriConfig
from hypervisor_model.vmyri import VmyriBackEnd
from hypervisor_model.xenbus import BackEndBus
from hypervisor_model.xenstore.daemon import XenstoreDaemon
from sw.guest.netfront import NetFront
from sw.guest.network_device import PluggedDevice
from sw.guest.pcifront import KIND as PCI
from sw.guest.pcifront import PciFront
from sw.guest.receive import ReceiveConfig
from sw.guest.transmit import SendForm
from sw.guest.vif import XenbusVif
from sw.guest.virtual_nic import VirtualNic
from sw.guest.vmyri import VmyriNic
from sw.guest.xenbus import wait_for_device
from sw.guest.xenstore import Xenstore
from sw.platform import PAGE_SIZE, Platform, PlatformTimeoutError
from sw.xen.grant_table import GrantStatus
from sw.xen.xen import DOMID_CONTROL

CONTROL_PAGES: Final = 256
UPLINK_PAGES: Final = 12288
"""Of a control domain that drives the NIC: 160 for each vif of as many guests as the NIC has endpoints, and more."""
UPLINK_RING: Final = 64
"""Slots of the NIC's send ring: what is in it is past the fair queue, so it is kept short, as byte queue limits do in Linux."""
DRAIN_POLL_NS: Final = 1_000
PLUG_NS: Final = 1_000_000_000
"""Bound of the wait of a guest for its device."""

Start = Callable[[Coroutine[Any, Any, Any]], object]
"""Runs a coroutine as a task."""


@dataclass(frozen=True)
class DeviceConfig:
    """A guest's network device and its driver's resources."""

    form: SendForm = SendForm.FETCHED
    """How requests reach the NIC, where the way of sharing leaves the choice."""
    ring_entries: int = 256
    buffer_pages: int = 64
    mtu: int = 1500
    receive_entries: int = 128


@dataclass(frozen=True)
class StoreRing:
    """What a guest's xenstore page holds, to be given back."""

    reference: int
    """The guest's grant of the page."""
    control_gfn: int
    """Where the control domain has mapped it."""
    handle: int
    """Of that mapping."""
    control_port: int
    """The control domain's end of the event channel."""


@dataclass(frozen=True)
class Plug:
    """A guest's xenstore and its plugged network device, whose driver is still to come."""

    store: Xenstore
    ring: StoreRing
    config: NetworkConfig
    handle: int
    function: int | None
    """Requester ID of the PCI function that it has, if it has one."""


@dataclass
class Guest:
    """A running guest."""

    domain: Domain
    store: Xenstore
    device: PluggedDevice
    config: NetworkConfig
    handle: int
    ring: StoreRing
    function: int | None
    """As of `Plug`."""


class Host:
    """One machine whose NIC is shared in one way. `boot` first; `shut_down` ends its tasks."""

    def __init__(self, hypervisor: Hypervisor, platform: Platform, start: Start, sharing: Sharing, mtu: int = 1500) -> None:
        """`hypervisor` is booted. `mtu`: of the line, for a control domain that drives the NIC."""
        self._hv = hypervisor
        self._platform = platform
        self._start = start
        self.sharing = sharing
        self._mtu = mtu
        self.guests: dict[int, Guest] = {}
        self.control: Domain
        self.daemon: XenstoreDaemon
        self.tools: Toolstack
        self.uplink: VirtualNic
        """The control domain's own device, in mode split."""
        self._bus: BackEndBus
        self._uplink: Uplink | None = None

    async def boot(self) -> None:
        """Control domain, xenstore, back ends; in mode split also its own driver of the NIC, and the bridge."""
        platform = self._platform
        split = self.sharing is Sharing.SPLIT
        self.control = self._hv.create_control_domain(
            UPLINK_PAGES if split else CONTROL_PAGES,
            mode=self.sharing.mode if split else Sharing.IOMMU.mode,
            port_policy=PortPolicy(check_mac=False, check_vlan=False),
        )
        self.daemon = XenstoreDaemon(spend=lambda operations: self.control.spend("xenstore_op", operations))
        self._foreign = ForeignFrames(self.control.layout)
        bridge = Bridge(platform.now, self.control.spend)
        self.vifs = VifDrivers(self.control, bridge, self._foreign, self._start, tx=TxMode.MAP, policy=self._policy)
        pci = PciDrivers(self._hv, self.control, self._foreign, self._start)
        self._bus = BackEndBus(self.daemon.open(), platform.signal, {"vmyri": VmyriBackEnd, "vif": self.vifs, PCI: pci})
        self._start(self._bus.run())
        self.tools = Toolstack(self.daemon.local, platform.signal, platform.now)
        if split:
            receive = ReceiveConfig(mtu=self._mtu, entries=256)
            nic = self.uplink = VirtualNic(self.control, SendForm.FETCHED, UPLINK_RING, buffer_pages=128, receive=receive)
            await nic.open()
            await nic.set_promiscuous(True)
            self._uplink = Uplink(self.control, nic, bridge)
            self._start(self._uplink.run_receive())
            self._start(self._uplink.run_transmit())

    async def add_guest(
        self,
        domain: Domain,
        device: DeviceConfig,
        completion_log: list[tuple[int, int, int]] | None = None,
    ) -> Guest:
        """`plug`, and the guest's own driver; the device is open when this returns."""
        plug = await self.plug(domain, device.mtu)
        driver: VmyriNic | NetFront
        if self.sharing is Sharing.SPLIT:
            driver = NetFront(
                domain,
                XenbusVif(plug.store, plug.handle),
                buffer_pages=max(device.buffer_pages, 38),
                entries=device.receive_entries,
                completion_log=completion_log,
            )
        else:
            driver = VmyriNic(
                domain,
                plug.store,
                plug.handle,
                SendForm.FETCHED if self.sharing is Sharing.VALIDATED else device.form,
                device.ring_entries,
                buffer_pages=device.buffer_pages,
                receive=ReceiveConfig(mtu=device.mtu, entries=device.receive_entries),
                completion_log=completion_log,
                bus=None if plug.function is None else PciFront(domain, plug.store),
            )
        await driver.open()
        if isinstance(driver, NetFront):
            self._start(self._live(driver.run()))
        guest = Guest(domain, plug.store, driver, plug.config, plug.handle, plug.ring, plug.function)
        self.guests[domain.domid] = guest
        return guest

    async def plug(self, domain: Domain, mtu: int) -> Plug:
        """Give a built domain its xenstore, and plug a network device, in mode iommu with a PCI function of its own."""
        store, ring = await self._connect_store(domain)
        function = await self._give_function(domain, store) if self.sharing is Sharing.IOMMU else None
        mac = endpoint_mac(domain.mac_id, 0)
        config: NetworkConfig = (
            VifConfig(mac, mtu=mtu)
            if self.sharing is Sharing.SPLIT
            else VmyriConfig(mac, self.sharing.mode, mtu=mtu)
        )
        handle = await self.tools.network_attach(domain.domid, config)
        await wait_for_device(store, config.kind, handle, PLUG_NS)
        return Plug(store, ring, config, handle, function)

    async def remove_guest(self, guest: Guest) -> bool:
        """Unplug the device of a guest that has closed it, and forget the guest in xenstore. True: all in order."""
        orderly = await self.tools.network_detach(guest.domain.domid, guest.config.kind, guest.handle)
        if guest.function is not None:
            orderly &= await self.tools.pci_detach(guest.domain.domid)
            self._hv.deassign_device(guest.domain, guest.function)
        orderly &= await self._disconnect_store(guest)
        await self.tools.destroy_domain(guest.domain.domid)
        return orderly and guest.domain.kernel.end_access(guest.ring.reference)

    async def bury_guest(self, guest: Guest) -> bool:
        """What `xl destroy` does to a guest that runs, has crashed or has shut down. True: all in order.

        Order of libxl: it stands still, its devices are taken from the back ends, it is destroyed, and xenstore lets go of it.
        """
        domid = guest.domain.domid
        if not guest.domain.stopped:
            guest.domain.pause()
        await self.tools.destroy_domain(domid)
        await self._hv.destroy_domain(domid)
        return await self._disconnect_store(guest)

    async def drain(self, timeout_ns: int) -> None:
        """Until the control domain has sent what guests have handed over (mode split). Raises `PlatformTimeoutError`."""
        if self._uplink is None:
            return
        deadline = self._platform.now() + timeout_ns
        while self._uplink.queued:
            if self._platform.now() >= deadline:
                raise PlatformTimeoutError(f"the uplink still held {self._uplink.queued} packets after {timeout_ns} ns")
            await self._platform.sleep(DRAIN_POLL_NS)
        # Its loop sleeps until there is a packet: nobody else uses the device now.
        await self.uplink.drain(timeout_ns)

    async def shut_down(self) -> None:
        """End the tasks of the control domain. Guests have closed their devices."""
        self._bus.stop()
        if self._uplink is not None:
            await self._uplink.close()

    @staticmethod
    async def _live(work: Coroutine[Any, Any, None]) -> None:
        """A task of a guest's kernel: it ends with the guest."""
        with suppress(DomainCrashedError):
            await work

    async def _disconnect_store(self, guest: Guest) -> bool:
        """Undo `_connect_store`, as far as it is the control domain's. True: the page could be unmapped."""
        domid, ring = guest.domain.domid, guest.ring
        self.daemon.release(domid)
        await self.control.kernel.unbind_event(ring.control_port)
        [status] = await self.control.hypercall.grant_unmap([(ring.control_gfn, ring.handle)])
        self._foreign.give(ring.control_gfn)
        del self.guests[domid]
        return status is GrantStatus.OKAY

    async def _give_function(self, domain: Domain, store: Xenstore) -> int:
        """Assign a virtual function and plug it; its requester ID."""
        number = next(iter(self._hv.endpoints.assignable()), None)
        if number is None:
            raise RuntimeError(f"{domain.name}: all virtual functions are in use")
        requester = self._hv.device.vf_requester(number)
        self._hv.assign_device(domain, requester)
        await self.tools.pci_attach(domain.domid, requester)
        await wait_for_device(store, PCI, 0, PLUG_NS)
        return requester

    def _policy(self, domid: int) -> PortPolicy | None:
        return self._hv.domains[domid].port_policy

    async def _connect_store(self, domain: Domain) -> tuple[Xenstore, StoreRing]:
        """xenstore's page and event channel, as the domain builder makes them."""
        control = self.control
        gfn = domain.kernel.allocate_pages(1)
        domain.memory.page(gfn)[:] = bytes(PAGE_SIZE)
        reference = await domain.kernel.grant_access(gfn, readonly=False, domid=DOMID_CONTROL)
        control_gfn = self._foreign.take()
        status, handle = await control.hypercall.grant_map(domain.domid, reference, control_gfn, readonly=False)
        if status is not GrantStatus.OKAY:
            raise RuntimeError(f"xenstore ring of {domain.name}: mapping it gave {status.name}")
        port = await domain.hypercall.event_alloc_unbound(DOMID_CONTROL)
        control_port = await control.hypercall.event_bind_interdomain(domain.domid, port)
        self.tools.create_domain(domain.domid, domain.name, len(domain.ram) * PAGE_SIZE >> 10, gfn, port)

        async def send() -> None:
            await domain.hypercall.event_send(port)

        store = Xenstore(domain.memory.page(gfn), send, domain.signal, domain.now)
        self.daemon.introduce(
            domain.domid, control.memory.page(control_gfn), lambda: control.hypercall.event_send_now(control_port)
        )
        await control.kernel.bind_event(control_port, lambda: self.daemon.event(domain.domid))
        await domain.kernel.bind_event(port, store.event)
        return store, StoreRing(reference, control_gfn, handle, control_port)
