"""What the hypervisor counts and records: its own entries, faults of guests and of devices."""

from __future__ import annotations

from dataclasses import dataclass, field

from sw.abi.registers import Refusal


class GuestFaultError(RuntimeError):
    """A guest touched guest-physical memory that is not its RAM."""


class DomainCrashedError(RuntimeError):
    """The domain was crashed by the hypervisor and runs no more."""


@dataclass
class Entries:
    """Times that a guest, or a fault, entered the hypervisor."""

    setup: int = 0
    data_path: int = 0
    """Hypercalls for endpoints in operation, other than those that make, stop or configure one."""
    faults: int = 0
    """MMIO traps, guest page faults and IOMMU faults."""
    interrupts: int = 0
    """Device interrupts that the hypervisor took and turned into event-channel notifications."""
    posted: int = 0
    """Notifications that reached a running vCPU without an entry: not part of any other count."""
    hypercalls: dict[tuple[int, str], int] = field(default_factory=dict)
    """By domain and name (`grant_table_op.copy`), set-up and data path together."""

    @property
    def total(self) -> int:
        """Every entry: hypercalls, faults, interrupts."""
        return self.setup + self.data_path + self.faults + self.interrupts

    def count(self, domid: int, name: str, *, data_path: bool) -> None:
        """One hypercall."""
        if data_path:
            self.data_path += 1
        else:
            self.setup += 1
        self.hypercalls[domid, name] = self.hypercalls.get((domid, name), 0) + 1


@dataclass(frozen=True)
class DeviceFault:
    """One IOMMU fault record."""

    time: int
    """When the hypervisor read it, ns."""
    requester: int
    address: int
    """Page address."""
    reason: int
    is_read: bool
    domid: int | None
    """Owner of the endpoint with that requester ID, if any."""


@dataclass(frozen=True)
class NicRefusal:
    """One record of the NIC: a DMA that it refused before a TLP was built."""

    time: int
    """When the hypervisor read it, ns."""
    endpoint: int
    domid: int | None
    """Owner of the endpoint, if it still has one."""
    address: int
    """First byte, as the descriptor, buffer or ring base says it."""
    reason: Refusal
    is_read: bool


@dataclass(frozen=True)
class GuestFault:
    """One access of a guest outside what is mapped for it."""

    time: int
    domid: int
    gpa: int
    kind: str
    """`mmio write`, `mmio read`, `memory read` or `memory write`."""


@dataclass
class FaultLog:
    """Every fault since boot, in order."""

    device: list[DeviceFault] = field(default_factory=list)
    nic: list[NicRefusal] = field(default_factory=list)
    guest: list[GuestFault] = field(default_factory=list)
    overflows: int = 0
    """Times that IOMMU or NIC had no free record: at least one fault was lost each time."""
