"""Guest kernel services: page allocation, the guest's side of the grant table and of event channels."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from sw.guest.grant_table import GuestGrants
from sw.guest.machine import GuestMachine
from sw.xen.xen import (
    DOMID_CONTROL,
    EVENT_MASK,
    EVENT_PENDING,
    EVENT_PORTS,
    EVENT_WORD_BITS,
    EVENT_WORDS,
    PENDING_SELECTOR,
    UPCALL_PENDING,
)

_WORD: Final = struct.Struct("<Q")


class OutOfPagesError(MemoryError):
    """No run of free guest pages is long enough."""


class GuestKernel:
    """Owns the guest's free pages, grant references and event handlers."""

    def __init__(self, machine: GuestMachine) -> None:
        self._machine = machine
        self._free_runs: list[tuple[int, int]] = [(machine.ram.start, len(machine.ram))]
        self.grants = GuestGrants(machine)
        self._shared: memoryview | None = None
        self._handlers: dict[int, Callable[[], None]] = {}
        self._pirqs: dict[int, int] = {}
        self._last_port = 0
        self.unhandled_events = 0
        """Events of ports without a handler: notified while the port was being closed."""

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

    # --- events ----------------------------------------------------------------------------------

    async def bind_interrupt(self, endpoint: int, handler: Callable[[], None]) -> int:
        """Run `handler` at each interrupt of an own endpoint; the event-channel port. It must not block."""
        if self._shared is None:
            self._shared = self._machine.memory.page(await self._machine.hypercall.map_shared_info())
            self._shared[EVENT_MASK : EVENT_MASK + EVENT_PORTS // 8] = b"\xff" * (EVENT_PORTS // 8)
        pirq = await self._machine.hypercall.map_pirq(endpoint)
        port = await self._machine.hypercall.bind_pirq(pirq)
        self._pirqs[port] = pirq
        self._handlers[port] = handler
        await self._machine.hypercall.event_unmask(port)
        return port

    async def unbind_interrupt(self, port: int) -> None:
        """Close the event channel."""
        await self._machine.hypercall.event_close(port)
        await self._machine.hypercall.unmap_pirq(self._pirqs.pop(port))
        del self._handlers[port]

    def upcall(self) -> None:
        """Entered by the hypervisor: run the handlers of all ports that are pending and not masked."""
        shared = self._shared
        if shared is None:
            raise RuntimeError("upcall before the shared-info page is mapped")
        shared[UPCALL_PENDING] = 0
        (selector,) = _WORD.unpack_from(shared, PENDING_SELECTOR)
        _WORD.pack_into(shared, PENDING_SELECTOR, 0)
        # Go on after the port that was served last: no port can keep the others waiting.
        first = (self._last_port + 1) % EVENT_PORTS
        start = first // EVENT_WORD_BITS
        for n in range(EVENT_WORDS + 1):
            word = (start + n) % EVENT_WORDS
            if not selector >> word & 1:
                continue
            at = word * _WORD.size
            (pending,) = _WORD.unpack_from(shared, EVENT_PENDING + at)
            (masked,) = _WORD.unpack_from(shared, EVENT_MASK + at)
            ready = pending & ~masked
            low = (1 << first % EVENT_WORD_BITS) - 1
            # The first word is looked at twice: its upper ports now, its lower ones at the end.
            ready &= ~low if n == 0 else low if n == EVENT_WORDS else -1
            _WORD.pack_into(shared, EVENT_PENDING + at, pending & ~ready)
            while ready:
                bit = (ready & -ready).bit_length() - 1
                ready &= ready - 1
                self._last_port = word * EVENT_WORD_BITS + bit
                handler = self._handlers.get(self._last_port)
                if handler is None:
                    self.unhandled_events += 1
                else:
                    handler()
