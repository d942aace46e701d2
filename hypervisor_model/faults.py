"""What the hypervisor counts and records: its own entries, faults of guests and of devices."""

from __future__ import annotations

from dataclasses import dataclass, field


class HypercallError(RuntimeError):
    """A hypercall was refused; `errno` is the (positive) Linux number that Xen would give."""

    def __init__(self, errno: int, reason: str) -> None:
        super().__init__(reason)
        self.errno = errno


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
    hypercalls: dict[str, int] = field(default_factory=dict)
    """By name, set-up and data path together."""


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
    guest: list[GuestFault] = field(default_factory=list)
    overflows: int = 0
    """Times that the IOMMU had no free record: at least one fault was lost each time."""
