"""The hypervisor: brings the machine up, creates domains, counts entries, handles faults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hypervisor_model import lifecycle, receive_side
from hypervisor_model.conf_space import FunctionResources
from hypervisor_model.costs import CostTable
from hypervisor_model.domains import Domain
from hypervisor_model.endpoints import Endpoint, Endpoints
from hypervisor_model.faults import DeviceFault, Entries, FaultLog, GuestFault
from hypervisor_model.grants import GrantOperations
from hypervisor_model.hypercalls.table import enter, enter_now
from hypervisor_model.interrupts import Interrupts
from hypervisor_model.iommu import IommuDriver
from hypervisor_model.memory import FrameAllocator
from hypervisor_model.pci import PciBus, PciDevice
from hypervisor_model.scheduler import SLICE_NS, Scheduler
from hypervisor_model.switch import PortPolicy, SwitchConfig
from hypervisor_model.vcpus import Vcpu, VcpuState
from sw.abi.registers import Mode
from sw.pci import slot
from sw.platform import PAGE_SHIFT, Platform
from sw.xen.errno import Errno, HypercallError
from sw.xen.event_channel import FIFO_PORTS
from sw.xen.sched import ShutdownReason
from sw.xen.xen import DOMID_CONTROL, DOMID_FIRST_RESERVED, Virq

MAX_PAYLOAD: Final = 128
MAX_READ: Final = 512
FIRST_PIRQ: Final = 16
"""Lower physical interrupts are those of the ISA bus."""
MAX_VCPUS: Final = 32
"""As many as the shared-info page has room for."""
MAC_ID_LIMIT: Final = 0xFFFF
"""The last one is in the address of the NIC's own pause frames."""
CORES: Final = 8
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
        costs: CostTable | None = None,
        cores: int = CORES,
        slice_ns: int = SLICE_NS,
    ) -> None:
        """`seed` scatters guest memory over machine frames; payload and read sizes in bytes.

        `costs`: what software costs, on how many `cores` it runs and with what time slice; without one software takes no
        time, and there are as many cores as it wants.
        """
        self._platform = platform
        self.costs = costs if costs is not None else CostTable.free()
        self.scheduler = None if self.costs.is_free else Scheduler(platform.now, cores, slice_ns)
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
        self.last_domid = DOMID_CONTROL
        """Numbers up to this one have been given; none is given twice."""

    def now(self) -> int:
        """System time: ns since the machine was switched on."""
        return self._platform.now()

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
        affinity: frozenset[int] | None = None,
        mac_id: int | None = None,
    ) -> Domain:
        """A guest with `pages` of scattered memory.

        `mode`: protection mode of its endpoints; with NATIVE it alone uses the NIC, and is privileged. `crash_on_fault`: an access
        outside its mapped pages kills it; otherwise the access is dropped. `privileged`: it may receive everything.
        `port_policy`: rights of its endpoints on the switch, also of those that only send; without one, endpoints
        that receive get the default, and those that only send may use any source address and VLAN.
        `posted`: interrupts reach its running vCPU without the hypervisor; it then does not halt (`Vcpu.halts`).
        `vcpus`: 1 to 32; software runs on vCPU 0. `max_port`: its highest event channel (max_evtchn_port of
        domctl createdomain). `affinity`: cores that its vCPUs may use; None: any.
        `mac_id`: middle 16 bits of its endpoints' addresses, its number unless a new domain takes the place of an old one.
        """
        if self.last_domid + 1 >= DOMID_FIRST_RESERVED:
            raise HypercallError(Errno.ENOSPC, f"all domain numbers up to {self.last_domid} have been used")
        domain = self._create(
            name,
            self.last_domid + 1,
            pages,
            mode=mode,
            crash_on_fault=crash_on_fault,
            privileged=privileged,
            port_policy=port_policy,
            posted=posted,
            vcpus=vcpus,
            max_port=max_port,
            affinity=affinity,
            mac_id=self.last_domid + 1 if mac_id is None else mac_id,
        )
        self.last_domid += 1
        return domain

    def create_control_domain(
        self,
        pages: int,
        *,
        name: str = "dom0",
        mode: Mode = Mode.IOMMU,
        port_policy: PortPolicy | None = None,
        posted: bool = False,
        vcpus: int = 1,
        affinity: frozenset[int] | None = None,
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
            affinity=affinity,
            mac_id=DOMID_CONTROL,
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
        affinity: frozenset[int] | None,
        mac_id: int,
    ) -> Domain:
        self._check_new(vcpus, affinity, mac_id)
        domain = Domain(
            self,
            self._platform,
            self.frames,
            name,
            domid,
            pages,
            [
                Vcpu(
                    self._platform,
                    self.costs,
                    self.scheduler,
                    f"vCPU {number} of {name}",
                    domid,
                    number,
                    halts=not posted,
                    affinity=affinity,
                )
                for number in range(vcpus)
            ],
            mode=mode,
            crash_on_fault=crash_on_fault,
            privileged=privileged,
            port_policy=port_policy,
            posted=posted,
            max_port=max_port,
            mac_id=mac_id,
        )
        self.grants.create(domid, domain.p2m)
        self.domains[domid] = domain
        return domain

    def _check_new(self, vcpus: int, affinity: frozenset[int] | None, mac_id: int) -> None:
        if not 1 <= vcpus <= MAX_VCPUS:
            raise HypercallError(Errno.EINVAL, f"vcpus is {vcpus}: 1 to {MAX_VCPUS}")
        if affinity is not None and self.scheduler is not None:
            cores = range(len(self.scheduler.cores))
            if not affinity or not affinity <= set(cores):
                raise HypercallError(Errno.EINVAL, f"affinity is {sorted(affinity)}: cores are 0 to {cores.stop - 1}")
        if not 0 <= mac_id < MAC_ID_LIMIT:
            raise HypercallError(Errno.EINVAL, f"mac_id is {mac_id:#x}: 0 to {MAC_ID_LIMIT - 1:#x}")
        other = next((domain for domain in self.domains.values() if domain.mac_id == mac_id), None)
        if other is not None:
            raise HypercallError(Errno.EEXIST, f"mac_id is {mac_id:#x}: {other.name} has it")

    async def destroy_domain(self, domid: int) -> None:
        """End a domain and take back what it has (contract C4); what others have mapped of it stays until they unmap it.

        Raises `HypercallError` for the control domain, for one that does not exist and one that is being destroyed.
        """
        await lifecycle.destroy(self, self._platform, domid)

    def leaks(self, domid: int) -> list[str]:
        """What there still is of a dead domain, in words."""
        return lifecycle.leaks(self, domid)

    def shut_down(self, domain: Domain, reason: ShutdownReason) -> None:
        """The domain runs no more, but is still there. One that has crashed is taken off the NIC at once."""
        if domain.stopped:
            return
        domain.shut_down(reason)
        if domain.crashed:
            for endpoint in self.endpoints.of_domain(domain.domid):
                if endpoint.enabled:
                    self.endpoints.post_disable(endpoint)
        self.tell_of_death()

    async def enter(self, domain: Domain, number: int, arguments: tuple[int, ...]) -> int:
        """One hypercall of a guest: 0 or more, or a negative errno."""
        return await enter(self, domain, number, arguments)

    def enter_now(self, domain: Domain, number: int, arguments: tuple[int, ...]) -> int:
        """One hypercall that never waits for hardware; -EAGAIN for others."""
        return enter_now(self, domain, number, arguments)

    async def release_endpoint(self, domain: Domain, endpoint: Endpoint) -> None:
        """Free a disabled endpoint: its interrupt, its context entry, its pages wherever they are mapped."""
        frames = {frame for _, frame in self.endpoints.aperture_pages(endpoint)}
        self.unmap_endpoint_interrupt(endpoint.number)
        receive_side.reset_moderation(self.endpoints.write, endpoint.number)
        await self.endpoints.release(endpoint)
        for owner in (domain, *self.domains.values()):
            owner.iomem -= frames
            for gfn in [gfn for gfn, frame in owner.p2m.mmio.items() if frame in frames]:
                owner.p2m.remove_mmio(gfn)

    def aperture_gfn(self, domain: Domain, endpoint: int) -> int:
        """Where an endpoint's aperture begins in its owner's address space."""
        return domain.layout.device + endpoint * self.endpoints.stride_pages

    def iomem_permission(self, domain: Domain, frame: int, *, allow: bool) -> None:
        """domctl iomem_permission, one device page: may it be mapped into the domain?"""
        if allow:
            domain.iomem.add(frame)
        else:
            domain.iomem.discard(frame)

    def irq_permission(self, domain: Domain, pirq: int, *, allow: bool) -> None:
        """domctl irq_permission: may an endpoint's physical interrupt be bound to the domain?"""
        if pirq not in range(FIRST_PIRQ, FIRST_PIRQ + self.endpoints.count):
            raise HypercallError(Errno.EINVAL, f"there is no physical interrupt {pirq}")
        if allow:
            domain.irqs.add(pirq)
        else:
            domain.irqs.discard(pirq)

    async def bind_pt_irq(self, domain: Domain, pirq: int) -> None:
        """domctl bind_pt_irq: an endpoint's interrupt becomes one of the domain that owns the endpoint."""
        if pirq not in domain.irqs:
            raise HypercallError(Errno.EPERM, f"{domain.name} has no permission for physical interrupt {pirq}")
        self.endpoints.owned(pirq - FIRST_PIRQ, domain.domid)
        await self.map_pirq(domain, pirq - FIRST_PIRQ)

    @property
    def native_owner(self) -> Domain | None:
        """The domain that the whole NIC is assigned to."""
        return next((domain for domain in self.domains.values() if domain.mode is Mode.NATIVE), None)

    def check_assignable(self, requester: int) -> None:
        """domctl test_assign_device: ENODEV for anything but a function of the NIC, EBUSY while it is in use."""
        number = self.device.vf_number(requester)
        if number is not None:
            self.endpoints.check_unused(number)
        elif requester != self.device.requester:
            raise HypercallError(Errno.ENODEV, f"there is no device {requester:#06x} to assign")
        owner = self.native_owner
        shared = 0 if number is not None else self.endpoints.in_use + self.endpoints.functions.in_use
        if owner is not None or shared:
            who = f"assigned to {owner.name}" if owner is not None else f"shared: {shared} endpoints and functions are in use"
            raise HypercallError(Errno.EBUSY, f"the NIC is {who}")

    def assign_device(self, domain: Domain, requester: int) -> None:
        """domctl assign_device. The physical function: from now on the domain alone uses the NIC, with machine addresses.

        A virtual function: its endpoint is kept for the domain, whose endpoints must be in mode IOMMU.
        """
        self.check_assignable(requester)
        number = self.device.vf_number(requester)
        if number is None:
            domain.mode = Mode.NATIVE
        elif domain.mode is not Mode.IOMMU:
            raise HypercallError(Errno.EINVAL, f"endpoints of {domain.name} are in mode {domain.mode.name}: no function is theirs")
        else:
            self.endpoints.functions.assign(number, domain.domid)

    def deassign_device(self, domain: Domain, requester: int) -> None:
        """domctl deassign_device: NIC or virtual function can be used by others again. EBUSY while the domain uses it."""
        number = self.device.vf_number(requester)
        if number is not None:
            self.endpoints.deassign(number, domain.domid)
            return
        if requester != self.device.requester or domain.mode is not Mode.NATIVE:
            raise HypercallError(Errno.ENODEV, f"device {requester:#06x} is not assigned to {domain.name}")
        if self.endpoints.of_domain(domain.domid):
            raise HypercallError(Errno.EBUSY, f"{domain.name} uses the NIC")
        domain.mode = Mode.IOMMU

    def function_resources(self, domid: int, requester: int) -> FunctionResources:
        """An assigned virtual function by the addresses of its domain. ENODEV if it is not assigned to that."""
        domain, number = self._assigned(domid, requester)
        return FunctionResources(
            self.device.vf_identity,
            self.device.revision_class,
            self.aperture_gfn(domain, number) << PAGE_SHIFT,
            self.endpoints.stride_pages << PAGE_SHIFT,
        )

    async def set_bus_master(self, domid: int, requester: int, *, on: bool) -> None:
        """Bus-master bit of an assigned virtual function: see `Endpoints.set_bus_master`."""
        domain, number = self._assigned(domid, requester)
        await self.endpoints.set_bus_master(number, domain.domid, on=on)

    def _assigned(self, domid: int, requester: int) -> tuple[Domain, int]:
        domain, number = self.domains.get(domid), self.device.vf_number(requester)
        if domain is None or number not in self.endpoints.functions.of_domain(domid):
            raise HypercallError(Errno.ENODEV, f"function {slot(requester)} is not assigned to domain {domid}")
        return domain, number

    def memory_mapping(self, domain: Domain, gfn: int, frame: int, *, add: bool) -> None:
        """domctl memory_mapping, one device page: into or out of the domain's P2M."""
        if not add:
            if domain.p2m.mmio.get(gfn) != frame:
                raise HypercallError(Errno.EINVAL, f"{domain.name} has not mapped device frame {frame:#x} at {gfn:#x}")
            domain.p2m.remove_mmio(gfn)
            return
        if domain.p2m.is_mapped(gfn):
            raise HypercallError(Errno.EEXIST, f"guest frame {gfn:#x} of {domain.name} is mapped already")
        if frame not in domain.iomem:
            raise HypercallError(Errno.EPERM, f"{domain.name} has no permission for device frame {frame:#x}")
        domain.p2m.add_mmio(gfn, frame)

    async def map_pirq(self, domain: Domain, endpoint: int) -> int:
        """Make an endpoint's vector a physical interrupt of its owner; its number. The vector stays masked."""
        await self.interrupts.enable()
        pirq = FIRST_PIRQ + endpoint
        if pirq in self._pirqs:
            raise HypercallError(Errno.EINVAL, f"the interrupt of endpoint {endpoint} is bound already")
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
        if not domain.stopped:
            domain.events.raise_virq(virq, vcpu)

    def tell_of_death(self) -> None:
        """VIRQ_DOM_EXC: the control domain looks for domains that run no more."""
        control = self.domains.get(DOMID_CONTROL)
        if control is not None:
            self.raise_virq(control, Virq.DOM_EXC)

    def pirqs_of(self, domid: int) -> list[int]:
        """Physical interrupts that a domain has mapped."""
        return [pirq for pirq, own in sorted(self._pirqs.items()) if own.domain.domid == domid]

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
        if domain.posted and domain.vcpu.state is VcpuState.RUNNING:
            self.entries.posted += 1
        else:
            self.entries.interrupts += 1
        if not domain.stopped:
            domain.events.raise_pirq(own.port)

    def guest_fault(self, domain: Domain, gpa: int, kind: str) -> None:
        """A guest touched what is not mapped for it."""
        self.entries.faults += 1
        self.faults.guest.append(GuestFault(self._platform.now(), domain.domid, gpa, kind))
        if domain.crash_on_fault:
            self.shut_down(domain, ShutdownReason.CRASH)

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
