"""One event-channel port: what it is bound to, which vCPU it notifies, at what priority."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sw.xen.event_channel import FIFO_PRIORITY_DEFAULT, EventStatus, PortStatus

if TYPE_CHECKING:
    from hypervisor_model.events.channels import EventChannels


@dataclass(frozen=True)
class Unbound:
    """Reserved for a domain, which has not bound it yet, or no longer."""

    remote: int


@dataclass(frozen=True)
class Interdomain:
    """One end of a channel."""

    remote: EventChannels
    port: int
    """The other end."""


@dataclass(frozen=True)
class PhysicalIrq:
    """A physical interrupt of the domain's."""

    pirq: int


@dataclass(frozen=True)
class VirtualIrq:
    """An interrupt that the hypervisor raises."""

    virq: int


@dataclass(frozen=True)
class Ipi:
    """From the domain to one of its own vCPUs."""


Binding = Unbound | Interdomain | PhysicalIrq | VirtualIrq | Ipi


@dataclass
class Port:
    """A port in use. A new one notifies vCPU 0."""

    number: int
    binding: Binding
    vcpu: int = 0
    priority: int = FIFO_PRIORITY_DEFAULT
    """Queue of the FIFO ABI, from the next event on."""


def status_of(port: Port) -> PortStatus:
    """What evtchn_status says of a port in use."""
    match port.binding:
        case Unbound(remote):
            return PortStatus(EventStatus.UNBOUND, port.vcpu, remote)
        case Interdomain(remote, number):
            return PortStatus(EventStatus.INTERDOMAIN, port.vcpu, remote.domid, number)
        case PhysicalIrq(pirq):
            return PortStatus(EventStatus.PIRQ, port.vcpu, pirq)
        case VirtualIrq(virq):
            return PortStatus(EventStatus.VIRQ, port.vcpu, virq)
        case Ipi():
            return PortStatus(EventStatus.IPI, port.vcpu)
