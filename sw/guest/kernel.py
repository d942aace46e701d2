"""Guest kernel services: page allocation, the guest's side of the grant table and of event channels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sw.guest.device_pages import DevicePages
from sw.guest.events import GuestEvents
from sw.guest.grant_table import GuestGrants
from sw.guest.machine import EndpointCalls, EndpointGrant, GuestMachine
from sw.guest.timers import GuestTimers
from sw.xen.xen import DOMID_CONTROL


class OutOfPagesError(MemoryError):
    """No run of free guest pages is long enough."""


class GuestKernel:
    """Owns the guest's free pages, grant references and event handlers."""

    def __init__(self, machine: GuestMachine) -> None:
        self._machine = machine
        self._free_runs: list[tuple[int, int]] = [(machine.ram.start, len(machine.ram))]
        self.grants = GuestGrants(machine)
        self._events = GuestEvents(machine)
        self._pirqs: dict[int, int] = {}
        self.timers = GuestTimers(machine)

    def allocate_pages(self, count: int) -> int:
        """First GFN of `count` consecutive pages. Raises `OutOfPagesError`."""
        for position, (first, length) in enumerate(self._free_runs):
            if length >= count:
                if length == count:
                    del self._free_runs[position]
                else:
                    self._free_runs[position] = (first + count, length - count)
                return first
        raise OutOfPagesError(f"{count} consecutive guest pages wanted; longest free run is {self.longest_run()}")

    def longest_run(self) -> int:
        """Pages of the longest free run."""
        return max((length for _, length in self._free_runs), default=0)

    def free_pages(self, gfn: int, count: int) -> None:
        """Give back what `allocate_pages` returned."""
        runs = sorted([*self._free_runs, (gfn, count)])
        merged = runs[:1]
        for first, length in runs[1:]:
            last_first, last_length = merged[-1]
            if last_first + last_length == first:
                merged[-1] = (last_first, last_length + length)
            else:
                merged.append((first, length))
        self._free_runs = merged

    async def grant_access(self, gfn: int, *, readonly: bool, domid: int = DOMID_CONTROL) -> int:
        """Publish a grant of one page to `domid`; the reference. Grows the table when it is full."""
        return await self.grants.access(gfn, domid, readonly=readonly)

    def end_access(self, reference: int) -> bool:
        """Revoke a grant; False while the hypervisor still uses it."""
        return self.grants.end(reference)

    async def reserve_references(self, count: int) -> list[int]:
        """Unused references for `grant_reference`, which cannot sleep. Grows the table when it is full."""
        return await self.grants.reserve(count)

    def release_references(self, references: Sequence[int]) -> None:
        """Give back what `reserve_references` gave; none is granted any more."""
        self.grants.release(references)

    def grant_reference(self, reference: int, gfn: int, *, readonly: bool, domid: int = DOMID_CONTROL) -> None:
        """Publish a grant of one page by a reserved reference."""
        self.grants.publish(reference, gfn, domid, readonly=readonly)

    def end_reference(self, reference: int) -> bool:
        """Revoke a grant and keep its reference; False while the hypervisor still uses it."""
        return self.grants.revoke(reference)

    # --- endpoints of the kernel's own -----------------------------------------------------------

    @property
    def endpoints(self) -> EndpointCalls:
        """Their calls: hypercalls."""
        return self._machine.hypercall

    def device_pages(self, grant: EndpointGrant) -> DevicePages:
        """Their memory: none yet."""
        return DevicePages(self._machine, grant)

    # --- events ----------------------------------------------------------------------------------

    async def bind_interrupt(self, endpoint: int, handler: Callable[[], None]) -> int:
        """Run `handler` at each interrupt of an own endpoint; the event-channel port. It must not block."""
        pirq = await self._machine.hypercall.map_pirq(endpoint)
        port = await self.bind_pirq(pirq, handler)
        self._pirqs[port] = pirq
        return port

    async def bind_pirq(self, pirq: int, handler: Callable[[], None]) -> int:
        """The same for a physical interrupt that somebody has mapped for the guest; `unbind_event` ends it."""
        port = await self._machine.hypercall.bind_pirq(pirq)
        await self._events.bind(port, handler, 0)
        return port

    async def unbind_interrupt(self, port: int) -> None:
        """Close the event channel."""
        await self._events.unbind(port)
        await self._machine.hypercall.unmap_pirq(self._pirqs.pop(port))

    async def bind_event(self, port: int, handler: Callable[[], None], *, vcpu: int = 0) -> None:
        """Run `handler` at each event of a port that notifies `vcpu`; those that wait are delivered now. It must not block."""
        await self._events.bind(port, handler, vcpu)

    async def unbind_event(self, port: int) -> None:
        """Close the event channel."""
        await self._events.unbind(port)

    async def mask_event(self, port: int) -> None:
        """Have the events of a bound port wait until `hypercall.event_unmask`."""
        await self._events.mask(port)

    async def move_event(self, port: int, vcpu: int) -> None:
        """Have a bound port notify another vCPU."""
        await self._events.move(port, vcpu)

    async def use_fifo_events(self) -> None:
        """Switch to the FIFO ABI; nobody may bind or unbind meanwhile."""
        await self._events.use_fifo()

    async def reset_events(self) -> None:
        """Close every event channel and go back to the 2-level ABI, as before another kernel takes over."""
        await self._events.reset()
        self.timers.reset()
        for pirq in self._pirqs.values():
            await self._machine.hypercall.unmap_pirq(pirq)
        self._pirqs.clear()

    @property
    def unhandled_events(self) -> int:
        """Events of ports without a handler: notified while the port was being closed."""
        return self._events.unhandled

    def upcall(self, vcpu: int) -> None:
        """Entered by the hypervisor: run the handlers of all ports of `vcpu` that are pending and not masked."""
        self._events.upcall(vcpu)
