"""The hypervisor: brings the machine up, creates domains, counts entries, handles faults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hypervisor_model.domains import Domain
from hypervisor_model.endpoints import Endpoints
from hypervisor_model.faults import DeviceFault, DomainCrashedError, Entries, FaultLog, GuestFault, HypercallError
from hypervisor_model.grants import GrantOperations
from hypervisor_model.iommu import IommuDriver
from hypervisor_model.memory import FrameAllocator
from hypervisor_model.pci import PciBus, PciDevice
from sw.platform import Platform

MAX_PAYLOAD: Final = 128
MAX_READ: Final = 512
FAULT_ROUNDS: Final = 16
"""Rounds of `handle_faults`: a device that faults faster than this is left for the next call."""
_EPERM = 1


class Hypervisor:
    """One machine. `boot` first."""

    def __init__(
        self, platform: Platform, *, seed: int = 1, max_payload: int = MAX_PAYLOAD, max_read: int = MAX_READ
    ) -> None:
        """`seed` scatters guest memory over machine frames; payload and read sizes in bytes."""
        self._platform = platform
        self._max_payload = max_payload
        self._max_read = max_read
        self.frames = FrameAllocator(platform.memory, seed)
        self.grants = GrantOperations(self.frames)
        self.iommu = IommuDriver(platform, self.frames)
        self.entries = Entries()
        self.faults = FaultLog()
        self.domains: dict[int, Domain] = {}

    async def boot(self) -> None:
        """Enumerate the NIC, switch the IOMMU on, start the NIC."""
        requester = self._platform.machine.nic_bus << 8
        bus = PciBus(self._platform, requester)
        self.device: PciDevice = await bus.enumerate(max_payload=self._max_payload, max_read=self._max_read)
        await self.iommu.enable()
        self.endpoints = Endpoints(self._platform, self.device, self.iommu, self.frames)
        await self.endpoints.start()

    def create_domain(
        self, name: str, pages: int, *, owns_device: bool = False, crash_on_fault: bool = False
    ) -> Domain:
        """A guest with `pages` of scattered memory.

        `owns_device`: it alone uses the NIC, with machine addresses (mode NATIVE). `crash_on_fault`: an access
        outside its mapped pages kills it; otherwise the access is dropped.
        """
        domid = 1 + len(self.domains)
        domain = Domain(
            self,
            self._platform,
            self.frames,
            name,
            domid,
            pages,
            owns_device=owns_device,
            crash_on_fault=crash_on_fault,
        )
        self.grants.create(domid, domain.p2m)
        self.domains[domid] = domain
        return domain

    def enter(self, domain: Domain, name: str, endpoints: Sequence[int], *, lifecycle: bool) -> None:
        """Count a hypercall.

        It is data path when every endpoint that it concerns (all the caller's, if it names none) is enabled.
        `lifecycle`: it makes or stops an endpoint, which never is.
        """
        if domain.crashed:
            raise DomainCrashedError(f"{domain.name} has crashed: no hypercall {name}")
        own = self.endpoints.of_domain(domain.domid)
        concerned = [e for e in own if e.number in endpoints] if endpoints else own
        if concerned and all(e.enabled for e in concerned) and not lifecycle:
            self.entries.data_path += 1
        else:
            self.entries.setup += 1
        self.entries.hypercalls[name] = self.entries.hypercalls.get(name, 0) + 1

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
            raise HypercallError(_EPERM, f"{domain.name} has no permission for device frame {frame:#x}")
        domain.p2m.add_mmio(gfn, frame)

    def guest_fault(self, domain: Domain, gpa: int, kind: str) -> None:
        """A guest touched what is not mapped for it."""
        self.entries.faults += 1
        self.faults.guest.append(GuestFault(self._platform.now(), domain.domid, gpa, kind))
        if domain.crash_on_fault and not domain.crashed:
            domain.crashed = True
            for endpoint in self.endpoints.of_domain(domain.domid):
                if endpoint.enabled:
                    self.endpoints.post_disable(endpoint)

    async def handle_faults(self) -> int:
        """Take the IOMMU's fault records, charge them to domains; the number taken.

        The device keeps its bus master: one guest's faults must not stop the others.
        """
        taken = 0
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
