"""Event channels of one domain: ports, what they are bound to, and their delivery by the ABI that the guest chose.

The order of checks and the error numbers are Xen's (`xen/common/event_channel.c`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush

from hypervisor_model.events.fifo import Fifo
from hypervisor_model.events.ports import (
    Binding,
    Interdomain,
    Ipi,
    PhysicalIrq,
    Port,
    Unbound,
    VirtualIrq,
    status_of,
)
from hypervisor_model.events.two_level import TwoLevel
from hypervisor_model.guest_pages import GuestPages
from sw.xen.errno import Errno, HypercallError
from sw.xen.event_channel import FIFO_PORTS, FIFO_PRIORITIES, EventStatus, PortStatus
from sw.xen.xen import (
    DOMAIN_VIRQS,
    DOMID_CONTROL,
    UPCALL_MASK,
    UPCALL_PENDING,
    VCPU_INFO_BYTES,
    VCPU_INFO_COUNT,
    VCPU_VIRQS,
    VIRQ_COUNT,
)


class EventChannels:
    """Ports of one domain; port 0 is never valid. A new port is masked, and pending only if it is interdomain."""

    def __init__(
        self,
        domid: int,
        shared: memoryview,
        upcalls: Sequence[Callable[[int], None]],
        pages: GuestPages,
        pirq_closed: Callable[[int], None],
        max_port: int = FIFO_PORTS - 1,
        became_pending: Callable[[], None] | None = None,
    ) -> None:
        """`shared` is the domain's shared-info page; `upcalls[n](n)` runs the event handler of vCPU n, 1 to 32 of them.

        `pages` are those of the FIFO ABI; `pirq_closed` is told of each physical interrupt that loses its port;
        `max_port` is the highest port the domain may have. `became_pending` is told of each event that was not pending yet,
        after its upcall if it has one.
        """
        if not 1 <= len(upcalls) <= VCPU_INFO_COUNT:
            raise ValueError(f"{len(upcalls)} vCPUs: 1 to {VCPU_INFO_COUNT} have a place in the shared-info page")
        self.domid = domid
        self._shared = shared
        self._vcpus = upcalls
        self._pages = pages
        self._pirq_closed = pirq_closed
        self._max_port = max_port
        self._became_pending = became_pending
        self._ports: dict[int, Port] = {}
        self._virqs: dict[tuple[int, int], Port] = {}
        self._two_level = TwoLevel(shared, self._notify)
        self._fifo: Fifo | None = None
        self._destroyed = False
        self._restart_numbers()
        self.sends = 0
        """Events that its ports took."""
        self.coalesced = 0
        """Those of them that found their port pending."""
        self.upcalls = 0
        """Times that a vCPU was kicked: fewer than events, because pending bits coalesce."""

    # --- operations of the guest -----------------------------------------------------------------

    def alloc_unbound(self, remote: int) -> int:
        """A port that domain `remote` may bind."""
        return self._allocate(Unbound(remote)).number

    def bind_interdomain(self, remote: EventChannels, remote_port: int) -> int:
        """The other end of a port that was reserved for this domain. It starts pending: sends may have been lost."""
        other = remote._ports.get(remote_port)
        if other is None or other.binding != Unbound(self.domid):
            raise HypercallError(
                Errno.EINVAL, f"event channel {remote_port} of domain {remote.domid} is not reserved for {self.domid}"
            )
        port = self._allocate(Interdomain(remote, remote_port))
        other.binding = Interdomain(self, port.number)
        self._fire(port)
        return port.number

    def bind_virq(self, virq: int, vcpu: int) -> int:
        """A port for an interrupt that the hypervisor raises."""
        if virq >= VIRQ_COUNT:
            raise HypercallError(Errno.EINVAL, f"there is no virtual interrupt {virq}: 0 to {VIRQ_COUNT - 1}")
        if virq not in VCPU_VIRQS and vcpu:
            raise HypercallError(Errno.EINVAL, f"virtual interrupt {virq} is bound on vCPU 0, not {vcpu}")
        self._check_vcpu(vcpu)
        if virq not in VCPU_VIRQS | DOMAIN_VIRQS and self.domid != DOMID_CONTROL:
            raise HypercallError(Errno.EPERM, f"virtual interrupt {virq} is the control domain's")
        if (vcpu, virq) in self._virqs:
            raise HypercallError(Errno.EEXIST, f"virtual interrupt {virq} of vCPU {vcpu} is bound already")
        port = self._allocate(VirtualIrq(virq), vcpu)
        self._virqs[vcpu, virq] = port
        return port.number

    def bind_pirq(self, pirq: int) -> int:
        """A port for a physical interrupt, which the caller has checked."""
        return self._allocate(PhysicalIrq(pirq)).number

    def bind_ipi(self, vcpu: int) -> int:
        """A port by which the domain interrupts its own vCPU."""
        self._check_vcpu(vcpu)
        return self._allocate(Ipi(), vcpu).number

    def close(self, number: int) -> None:
        """Free a port. The other end of an interdomain channel is unbound again."""
        port = self._used(number)
        match port.binding:
            case Interdomain(remote, remote_port):
                remote._ports[remote_port].binding = Unbound(self.domid)
            case PhysicalIrq(pirq):
                self._pirq_closed(pirq)
            case VirtualIrq():
                self._virqs = {key: bound for key, bound in self._virqs.items() if bound is not port}
        del self._ports[number]
        self._abi.clear_pending(number)
        heappush(self._free, number)

    def send(self, number: int) -> None:
        """Send to the other end, or to an own vCPU. An unbound channel drops the event."""
        port = self._used(number)
        match port.binding:
            case Interdomain(remote, remote_port):
                remote._fire(remote._ports[remote_port])
            case Ipi():
                self._fire(port)
            case PhysicalIrq() | VirtualIrq():
                raise HypercallError(Errno.EINVAL, f"event channel {number} is an interrupt: the guest cannot send it")

    def status(self, number: int) -> PortStatus:
        """Any port within the limit has one. EINVAL beyond."""
        port = self._ports.get(number)
        if port is not None:
            return status_of(port)
        self._check_number(number)
        return PortStatus(EventStatus.CLOSED)

    def bind_vcpu(self, number: int, vcpu: int) -> None:
        """From now on the port notifies `vcpu`. An event that is pending stays where it was notified."""
        self._check_vcpu(vcpu)
        port = self._used(number)
        match port.binding:
            case VirtualIrq(virq) if virq in VCPU_VIRQS:
                raise HypercallError(Errno.EINVAL, f"virtual interrupt {virq} belongs to vCPU {port.vcpu}")
            case Ipi():
                raise HypercallError(Errno.EINVAL, f"event channel {number} is the interrupt of vCPU {port.vcpu}")
        port.vcpu = vcpu

    def unmask(self, number: int) -> None:
        """Clear the mask; an event that is pending is notified now."""
        self._abi.unmask(self._used(number))

    def reset(self) -> None:
        """Close every port and go back to the 2-level ABI."""
        for number in list(self._ports):
            self.close(number)
        self._fifo = None
        self._pages.release()
        self._restart_numbers()

    def init_control(self, gfn: int, offset: int, vcpu: int) -> None:
        """Queues of a vCPU at `offset` in a guest page; the first call switches to the FIFO ABI. Pending events stay so."""
        self._check_vcpu(vcpu)
        if self._fifo is None:
            pending = [number for number in self._ports if self._two_level.is_pending(number)]
            fifo = Fifo(self._pages, self._notify, pending)
            fifo.add_control_block(vcpu, gfn, offset)
            self._fifo = fifo
        else:
            self._fifo.add_control_block(vcpu, gfn, offset)

    def expand_array(self, gfn: int) -> None:
        """A guest page for 1024 more event words."""
        if self._fifo is None:
            raise HypercallError(Errno.EOPNOTSUPP, "expand_array before init_control")
        self._fifo.add_array_page(gfn, self._ports)

    def set_priority(self, number: int, priority: int) -> None:
        """Queue of the port's next events, 0 (first) to 15."""
        self._check_number(number)
        if self._fifo is None:
            raise HypercallError(Errno.ENOSYS, "the 2-level ABI has no priorities")
        port = self._ports.get(number)
        if port is None:
            raise HypercallError(Errno.EACCES, f"event channel {number} is closed")
        if priority >= FIFO_PRIORITIES:
            raise HypercallError(Errno.EINVAL, f"priority {priority}: 0 to {FIFO_PRIORITIES - 1}")
        port.priority = priority

    # --- the hypervisor's own --------------------------------------------------------------------

    @property
    def ports(self) -> dict[int, Binding]:
        """What each port in use is bound to."""
        return {number: port.binding for number, port in self._ports.items()}

    def is_pending(self, number: int) -> bool:
        """The event waits for the guest, masked or not. EINVAL for a number that no port can have."""
        if number < 1:
            raise HypercallError(Errno.EINVAL, "there is no event channel 0")
        self._check_number(number)
        return self._abi.is_pending(number)

    def raise_pirq(self, number: int) -> None:
        """The physical interrupt that the port is bound to has arrived."""
        self._fire(self._used(number))

    def raise_virq(self, virq: int, vcpu: int = 0) -> None:
        """A virtual interrupt; nobody hears it unless it is bound."""
        port = self._virqs.get((vcpu, virq))
        if port is not None:
            self._fire(port)

    def destroy(self) -> None:
        """The domain goes: all ports are closed, its pages released, and no port is given out any more."""
        self.reset()
        self._destroyed = True

    def _fire(self, port: Port) -> None:
        self.sends += 1
        was = self._abi.set_pending(port)
        self.coalesced += was
        if not was and self._became_pending is not None:
            self._became_pending()

    def _notify(self, vcpu: int) -> None:
        info = vcpu * VCPU_INFO_BYTES
        self._shared[info + UPCALL_PENDING] = 1
        if not self._shared[info + UPCALL_MASK]:
            self.upcalls += 1
            self._vcpus[vcpu](vcpu)

    @property
    def _abi(self) -> TwoLevel | Fifo:
        return self._two_level if self._fifo is None else self._fifo

    @property
    def _limit(self) -> int:
        return min(self._abi.limit - 1, self._max_port)

    def _allocate(self, binding: Binding, vcpu: int = 0) -> Port:
        if self._destroyed:
            raise HypercallError(Errno.EINVAL, f"domain {self.domid} is gone")
        number = self._free_number()
        if number is None:
            raise HypercallError(Errno.ENOSPC, f"all {self._limit} event channels are in use")
        self._abi.clear_pending(number)
        self._abi.mask(number)
        port = self._ports[number] = Port(number, binding, vcpu)
        return port

    def _free_number(self) -> int | None:
        """The lowest number that is neither used nor still linked in a queue."""
        linked: list[int] = []
        number = None
        while self._free and number is None:
            candidate = heappop(self._free)
            if self._abi.is_busy(candidate):
                linked.append(candidate)
            else:
                number = candidate
        while self._fresh <= self._limit and number is None:
            if self._abi.is_busy(self._fresh):
                linked.append(self._fresh)
            else:
                number = self._fresh
            self._fresh += 1
        for candidate in linked:
            heappush(self._free, candidate)
        return number

    def _restart_numbers(self) -> None:
        self._free: list[int] = []
        self._fresh = 1

    def _used(self, number: int) -> Port:
        port = self._ports.get(number)
        if port is None:
            raise HypercallError(Errno.EINVAL, f"event channel {number} is closed")
        return port

    def _check_number(self, number: int) -> None:
        if number > self._limit:
            raise HypercallError(Errno.EINVAL, f"there is no event channel {number}: at most {self._limit}")

    def _check_vcpu(self, vcpu: int) -> None:
        if vcpu >= len(self._vcpus):
            raise HypercallError(Errno.ENOENT, f"domain {self.domid} has no vCPU {vcpu}: {len(self._vcpus)} are there")
