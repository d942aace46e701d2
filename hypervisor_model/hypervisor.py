"""The hypervisor: brings the machine up, creates domains, counts entries, handles faults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hypervisor_model.domains import Domain
from hypervisor_model.endpoints import Endpoints
from hypervisor_model.faults import DeviceFault, Entries, FaultLog, GuestFault
from hypervisor_model.grants import GrantOperations
from hypervisor_model.hypercalls.table import enter, enter_now
from hypervisor_model.interrupts import Interrupts
from hypervisor_model.iommu import IommuDriver
from hypervisor_model.memory import FrameAllocator
from hypervisor_model.pci import PciBus, PciDevice
from hypervisor_model.switch import PortPolicy, SwitchConfig
from sw.abi.registers import Mode
from sw.platform import Platform
from sw.xen.errno import Errno, HypercallError
from sw.xen.event_channel import FIFO_PORTS
from sw.xen.xen import DOMID_CONTROL, Virq

MAX_PAYLOAD: Final = 128
MAX_READ: Final = 512
FIRST_PIRQ: Final = 16
"""Lower physical interrupts are those of the ISA bus."""
FAULT_ROUNDS: Final = 16
"""Rounds of `handle_faults`: a device that faults faster than this is left for the next call."""


@dataclass
class _Pirq:
    domain: Domain
    endpoint: int
    port: int = 0
    """Its event channel; 0 while it has none."""


class Hypervisor:
    """One machine. `boot` first."""

    def __init__(
        self,
        platform: Platform,
        *,
        seed: int = 1,
        max_payload: int = MAX_PAYLOAD,
        max_read: int = MAX_READ,
        switch: SwitchConfig | None = None,
    ) -> None:
        """`seed` scatters guest memory over machine frames; payload and read sizes in bytes."""
        self._platform = platform
        self._max_payload = max_payload
        self._max_read = max_read
        self._switch = switch if switch is not None else SwitchConfig()
        self._pirqs: dict[int, _Pirq] = {}
        self.frames = FrameAllocator(platform.memory, seed)
        self.grants = GrantOperations(self.frames)
        self.iommu = IommuDriver(platform, self.frames)
        self.entries = Entries()
        self.faults = FaultLog()
        self.domains: dict[int, Domain] = {}
        self._last_domid = DOMID_CONTROL

    async def boot(self) -> None:
        """Enumerate the NIC, switch the IOMMU on, start the NIC."""
        requester = self._platform.machine.nic_bus << 8
        bus = PciBus(self._platform, requester)
        self.device: PciDevice = await bus.enumerate(max_payload=self._max_payload, max_read=self._max_read)
        await self.iommu.enable()
        self.endpoints = Endpoints(self._platform, self.device, self.iommu, self.frames)
        await self.endpoints.start(self._switch)
        self.interrupts = Interrupts(self._platform, bus, self.endpoints.write, self._interrupt)

    def create_domain(
        self,
        name: str,
        pages: int,
        *,
        mode: Mode = Mode.IOMMU,
        crash_on_fault: bool = False,
        privileged: bool = False,
        port_policy: PortPolicy | None = None,
        posted: bool = False,
        vcpus: int = 1,
        max_port: int = FIFO_PORTS - 1,
    ) -> Domain:
        """A guest with `pages` of scattered memory.

        `mode`: protection mode of its endpoints; with NATIVE it alone uses the NIC, and is privileged. `crash_on_fault`: an access
        outside its mapped pages kills it; otherwise the access is dropped. `privileged`: it may receive everything.
        `port_policy`: rights of its endpoints on the switch, also of those that only send; without one, endpoints
        that receive get the default, and those that only send may use any source address and VLAN.
        `posted`: interrupts reach its running vCPU without the hypervisor. `vcpus`: 1 to 32. `max_port`: its highest
        event channel (max_evtchn_port of domctl createdomain).
        """
        self._last_domid += 1
        return self._create(
            name,
            self._last_domid,
            pages,
            mode=mode,
            crash_on_fault=crash_on_fault,
            privileged=privileged or mode is Mode.NATIVE,
            port_policy=port_policy,
            posted=posted,
            vcpus=vcpus,
            max_port=max_port,
        )

    def create_control_domain(
        self,
        pages: int,
        *,
        name: str = "dom0",
        mode: Mode = Mode.IOMMU,
        port_policy: PortPolicy | None = None,
        posted: bool = False,
        vcpus: int = 1,
    ) -> Domain:
        """The control domain, number 0, privileged; there is one at most. Arguments as of `create_domain`."""
        if DOMID_CONTROL in self.domains:
            raise HypercallError(Errno.EEXIST, f"the control domain exists: {self.domains[DOMID_CONTROL].name}")
        return self._create(
            name,
            DOMID_CONTROL,
            pages,
            mode=mode,
            crash_on_fault=False,
            privileged=True,
            port_policy=port_policy,
            posted=posted,
            vcpus=vcpus,
            max_port=FIFO_PORTS - 1,
        )

    def _create(
        self,
        name: str,
        domid: int,
        pages: int,
        *,
        mode: Mode,
        crash_on_fault: bool,
        privileged: bool,
        port_policy: PortPolicy | None,
        posted: bool,
        vcpus: int,
        max_port: int,
    ) -> Domain:
        domain = Domain(
            self,
            self._platform,
            self.frames,
            name,
            domid,
            pages,
            mode=mode,
            crash_on_fault=crash_on_fault,
            privileged=privileged,
            port_policy=port_policy,
            posted=posted,
            vcpus=vcpus,
            max_port=max_port,
        )
        self.grants.create(domid, domain.p2m)
        self.domains[domid] = domain
        return domain

    async def enter(self, domain: Domain, number: int, arguments: tuple[int, ...]) -> int:
        """One hypercall of a guest: 0 or more, or a negative errno."""
        return await enter(self, domain, number, arguments)

    def enter_now(self, domain: Domain, number: int, arguments: tuple[int, ...]) -> int:
        """One hypercall that never waits for hardware; -EAGAIN for others."""
        return enter_now(self, domain, number, arguments)

    def iomem_permission(self, domain: Domain, frame: int, *, allow: bool) -> None:
        """domctl iomem_permission, one device page: may it be mapped into the domain?"""
        if allow:
            domain.iomem.add(frame)
        else:
            domain.iomem.discard(frame)

    def memory_mapping(self, domain: Domain, gfn: int, frame: int, *, add: bool) -> None:
        """domctl memory_mapping, one device page: into or out of the domain's P2M."""
        if not add:
            domain.p2m.remove_mmio(gfn)
            return
        if frame not in domain.iomem:
            raise HypercallError(Errno.EPERM, f"{domain.name} has no permission for device frame {frame:#x}")
        domain.p2m.add_mmio(gfn, frame)

    async def map_pirq(self, domain: Domain, endpoint: int) -> int:
        """Make an endpoint's vector a physical interrupt of its owner; its number. The vector stays masked."""
        pirq = FIRST_PIRQ + endpoint
        if pirq in self._pirqs:
            raise HypercallError(Errno.EINVAL, f"the interrupt of endpoint {endpoint} is bound already")
        await self.interrupts.enable()
        self._pirqs[pirq] = _Pirq(domain, endpoint)
        return pirq

    def unmap_pirq(self, domain: Domain, pirq: int) -> None:
        """Undo `map_pirq`; an event channel of it is closed."""
        port = self._own_pirq(domain, pirq).port
        if port:
            domain.events.close(port)
        del self._pirqs[pirq]

    def bind_pirq(self, domain: Domain, pirq: int) -> int:
        """An event channel, masked, for a physical interrupt of its own; the vector is unmasked."""
        own = self._own_pirq(domain, pirq)
        if own.port:
            raise HypercallError(Errno.EEXIST, f"physical interrupt {pirq} is bound already")
        own.port = domain.events.bind_pirq(pirq)
        self.interrupts.route(own.endpoint, domain.domid)
        return own.port

    def pirq_closed(self, pirq: int) -> None:
        """The event channel of a physical interrupt is being closed: mask the vector."""
        own = self._pirqs[pirq]
        self.interrupts.remove(own.endpoint)
        own.port = 0

    def raise_virq(self, domain: Domain, virq: Virq, vcpu: int = 0) -> None:
        """A virtual interrupt of a domain, `vcpu` for those that each vCPU has; lost unless the domain has bound it."""
        if not domain.crashed:
            domain.events.raise_virq(virq, vcpu)

    def unmap_endpoint_interrupt(self, endpoint: int) -> None:
        """The endpoint is given back: nothing of its interrupt stays."""
        own = self._pirqs.get(FIRST_PIRQ + endpoint)
        if own is not None:
            self.unmap_pirq(own.domain, FIRST_PIRQ + endpoint)

    def _own_pirq(self, domain: Domain, pirq: int) -> _Pirq:
        own = self._pirqs.get(pirq)
        if own is None or own.domain is not domain:
            raise HypercallError(Errno.EINVAL, f"{domain.name} has no physical interrupt {pirq}")
        return own

    def _interrupt(self, endpoint: int) -> None:
        """An endpoint's interrupt has arrived at its owner's core."""
        own = self._pirqs[FIRST_PIRQ + endpoint]
        domain = own.domain
        if domain.posted and domain.running:
            self.entries.posted += 1
        else:
            self.entries.interrupts += 1
        if not domain.crashed:
            domain.events.raise_pirq(own.port)

    def guest_fault(self, domain: Domain, gpa: int, kind: str) -> None:
        """A guest touched what is not mapped for it."""
        self.entries.faults += 1
        self.faults.guest.append(GuestFault(self._platform.now(), domain.domid, gpa, kind))
        if domain.crash_on_fault and not domain.crashed:
            domain.crashed = True
            for endpoint in self.endpoints.of_domain(domain.domid):
                if endpoint.enabled:
                    self.endpoints.post_disable(endpoint)
            control = self.domains.get(DOMID_CONTROL)
            if control is not None:
                self.raise_virq(control, Virq.DOM_EXC)

    async def handle_faults(self) -> int:
        """Take the fault records of IOMMU and NIC, charge them to domains; the number taken.

        The device keeps its bus master: one guest's faults must not stop the others.
        """
        taken = 0
        refusal, lost = await self.endpoints.take_refusal()
        self.faults.overflows += lost
        if refusal is not None:
            self.entries.faults += 1
            self.faults.nic.append(refusal)
            taken += 1
        for _ in range(FAULT_ROUNDS):
            records, overflow = await self.iommu.take_faults()
            self.faults.overflows += overflow
            for record in records:
                endpoint = self.endpoints.by_requester(record.requester)
                self.entries.faults += 1
                self.faults.device.append(
                    DeviceFault(
                        self._platform.now(),
                        record.requester,
                        record.address,
                        record.reason,
                        record.is_read,
                        endpoint.domid if endpoint is not None else None,
                    )
                )
            taken += len(records)
            if not records:
                break
        return taken
