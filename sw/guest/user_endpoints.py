"""The guest kernel's driver for endpoints that processes use by themselves: system calls to set up, nothing per packet.

Everything that a process names is checked against what is its own; hypercalls are made in its place. One object for each
process: its memory, endpoints, registrations and interrupts, all of which the kernel takes back when it ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, NoReturn

from sw.abi.registers import Aperture, Form, Mode
from sw.guest.device_pages import DevicePage, DevicePagesError, DeviceSpaceError, map_pages, unmap_pages
from sw.guest.hypercalls import MAP_BATCH
from sw.guest.machine import EndpointGrant, GuestMachine, ReceiveSetup
from sw.guest.user_space import UserSpace
from sw.platform import PAGE_SHIFT, PAGE_SIZE, PlatformTimeoutError
from sw.xen.errno import Errno, HypercallError
from sw.xen.myri import ValidatedRing, aperture_pages

MODES: Final = frozenset({Mode.IOMMU, Mode.WINDOWS})
"""Modes in which an endpoint reaches nothing but its own registrations, without a hypercall for each packet."""
REGISTRATIONS: Final = 1024
"""Of one process, at most: each holds a grant reference of its guest."""
EXIT_LIMIT_NS: Final = 100_000_000
"""Bound of the wait for system calls of a process that ends: longer than any hypercall waits."""
_APERTURE_PAGES: Final = Aperture.BYTES >> PAGE_SHIFT


class SystemCallError(RuntimeError):
    """A system call was refused; `errno` is the positive number, the text says why."""

    def __init__(self, errno: Errno, reason: str) -> None:
        super().__init__(reason)
        self.errno = errno


class ProcessEndedError(RuntimeError):
    """The process has ended: nothing of it runs any more."""


@dataclass
class _Registration:
    page: int
    mapped: DevicePage


@dataclass
class _Endpoint:
    aperture: int
    """First virtual page."""
    enabled: bool = False
    port: int = 0
    calls: int = 0
    """Calls under way that name it: its number must stay its own until they end."""
    closing: bool = False
    registrations: dict[int, _Registration] = field(default_factory=dict)


class UserEndpoints:
    """System calls of one process. Its endpoint calls implement `sw.guest.machine.EndpointCalls`.

    They raise `SystemCallError`, and `ProcessEndedError` to a process that has ended meanwhile.
    """

    def __init__(self, machine: GuestMachine, name: str, *, page_limit: int, endpoint_limit: int) -> None:
        """Most pages of memory and most endpoints of the process; `name` is for messages."""
        self._machine = machine
        self._name = name
        self._page_limit = page_limit
        self._endpoint_limit = endpoint_limit
        self.space = UserSpace(machine, name)
        """The process's page table."""
        self.system_calls: Counter[str] = Counter()
        """By name."""
        self._runs: dict[int, tuple[int, int]] = {}
        """First virtual page to GFN and count."""
        self._endpoints: dict[int, _Endpoint] = {}
        self._pinned: Counter[int] = Counter()
        """Virtual page to its registrations."""
        self._last_registration = 0
        self._opening = 0
        self._inside = 0
        self._left = machine.signal()
        self.ended = False

    # --- entry -----------------------------------------------------------------------------------

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        """Enter the kernel: counted, and not left again by a process that has ended."""
        self.check_alive()
        self.system_calls[name] += 1
        self._machine.spend("syscall")
        self._inside += 1
        try:
            yield
        except HypercallError as error:
            raise SystemCallError(error.errno, f"{self._name}: {error}") from error
        except DevicePagesError as error:
            errno = Errno.ENOSPC if isinstance(error, DeviceSpaceError) else Errno.EIO
            raise SystemCallError(errno, f"{self._name}: {error}") from error
        except MemoryError as error:
            raise SystemCallError(Errno.ENOMEM, f"{self._name}: {error}") from error
        finally:
            self._inside -= 1
            if self.ended:
                self._left.notify()
        self.check_alive()

    @contextmanager
    def _endpoint_call(self, name: str, endpoint: int) -> Iterator[_Endpoint]:
        """A call for one of the process's endpoints. ENODEV for any other."""
        with self.call(name):
            own = self._endpoints.get(endpoint)
            if own is None or own.closing:
                self._refuse(Errno.ENODEV, f"endpoint {endpoint} is not open in the process")
            own.calls += 1
            try:
                yield own
            finally:
                own.calls -= 1

    def check_alive(self) -> None:
        """Raises `ProcessEndedError`."""
        if self.ended:
            raise ProcessEndedError(f"{self._name} has ended")

    def _refuse(self, errno: Errno, reason: str) -> NoReturn:
        raise SystemCallError(errno, f"{self._name}: {reason}")

    # --- memory ----------------------------------------------------------------------------------

    @property
    def pages(self) -> int:
        """Pages of memory that the process has."""
        return sum(count for _, count in self._runs.values())

    async def map_memory(self, count: int) -> int:
        """Zeroed memory, consecutive in the guest as well; its first virtual page. ENOMEM above the limit."""
        with self.call("map_memory"):
            if not 1 <= count <= self._page_limit - self.pages:
                self._refuse(Errno.ENOMEM, f"{count} pages beside {self.pages}: 1 to {self._page_limit} in all")
            gfn = self._machine.kernel.allocate_pages(count)
            for n in range(count):
                # What was there is another process's, or the kernel's.
                self._machine.memory.page(gfn + n)[:] = bytes(PAGE_SIZE)
            first = self.space.map_memory(gfn, count)
            self._runs[first] = (gfn, count)
            return first

    async def unmap_memory(self, first: int) -> None:
        """Give a run back. EBUSY while an endpoint may reach one of its pages."""
        with self.call("unmap_memory"):
            if first not in self._runs:
                self._refuse(Errno.EINVAL, f"no run of memory starts at page {first:#x}")
            gfn, count = self._runs[first]
            registered = [page for page in range(first, first + count) if self._pinned[page]]
            if registered:
                self._refuse(Errno.EBUSY, f"page {registered[0]:#x} is registered with an endpoint")
            self._unmap_run(first, gfn, count)

    def _unmap_run(self, first: int, gfn: int, count: int) -> None:
        self.space.unmap(first, count)
        del self._runs[first]
        self._machine.kernel.free_pages(gfn, count)

    # --- registrations ---------------------------------------------------------------------------

    async def register(self, endpoint: int, pages: Sequence[int], *, readonly: bool) -> list[tuple[int, int]]:
        """Let an own endpoint reach own pages, together or not at all; number and device address of each.

        At most `MAP_BATCH` pages. EFAULT for a page that is not memory of the process, ENOSPC when the endpoint has no
        room, ENOMEM above `REGISTRATIONS`.
        """
        with self._endpoint_call("register", endpoint) as own:
            if len(pages) > MAP_BATCH:
                self._refuse(Errno.E2BIG, f"{len(pages)} pages in one registration: at most {MAP_BATCH}")
            frames = []
            for page in pages:
                frame = self.space.frame(page)
                if frame is None:
                    self._refuse(Errno.EFAULT, f"page {page:#x} is not memory of the process")
                frames.append(frame)
            if self._pinned.total() + len(pages) > REGISTRATIONS:
                self._refuse(Errno.ENOMEM, f"{len(pages)} registrations more: {REGISTRATIONS} in all")
            # Before the kernel sleeps: nobody may unmap them meanwhile.
            self._pinned.update(pages)
            try:
                mapped = await map_pages(self._machine, endpoint, frames, readonly=readonly)
            except Exception:
                self._unpin(pages)
                raise
            result = []
            for page, entry in zip(pages, mapped, strict=True):
                self._last_registration += 1
                own.registrations[self._last_registration] = _Registration(page, entry)
                result.append((self._last_registration, entry.device_address))
            return result

    async def deregister(self, endpoint: int, numbers: Sequence[int]) -> None:
        """Undo registrations: on return no DMA reaches the pages by them. EINVAL for one that is not the process's."""
        with self._endpoint_call("deregister", endpoint) as own:
            unknown = [number for number in numbers if number not in own.registrations]
            if unknown or len(set(numbers)) < len(numbers):
                self._refuse(Errno.EINVAL, f"registrations {unknown or numbers} of endpoint {endpoint}: unknown or twice")
            await self._deregister(endpoint, own, numbers)

    async def _deregister(self, endpoint: int, own: _Endpoint, numbers: Sequence[int]) -> None:
        gone = [own.registrations.pop(number) for number in numbers]
        entries = [registration.mapped for registration in gone]
        await unmap_pages(
            self._machine, endpoint, [entry.handle for entry in entries], [entry.reference for entry in entries]
        )
        self._unpin([registration.page for registration in gone])

    def _unpin(self, pages: Sequence[int]) -> None:
        self._pinned.subtract(pages)
        for page in set(pages):
            if not self._pinned[page]:
                del self._pinned[page]

    # --- endpoints -------------------------------------------------------------------------------

    async def endpoint_allocate(self, form: Form, receive_form: Form | None = None) -> EndpointGrant:
        """Open an endpoint and map its aperture into the process; its address there.

        ENOSPC above the limit, ENODEV when the guest's mode does not tell processes apart.
        """
        with self.call("endpoint_allocate"):
            if len(self._endpoints) + self._opening >= self._endpoint_limit:
                self._refuse(Errno.ENOSPC, f"it has {self._endpoint_limit} endpoints: the limit")
            self._opening += 1
            try:
                grant = await self._machine.hypercall.endpoint_allocate(form, receive_form)
                if grant.mode not in MODES:
                    await self._machine.hypercall.endpoint_release(grant.endpoint)
                    self._refuse(Errno.ENODEV, f"mode {grant.mode.name.lower()} does not protect processes")
                pages = {page: (grant.aperture >> PAGE_SHIFT) + page for page in aperture_pages(form, receive_form)}
                first = self.space.map_device(pages, _APERTURE_PAGES)
                self._endpoints[grant.endpoint] = _Endpoint(first)
            finally:
                self._opening -= 1
            return EndpointGrant(
                endpoint=grant.endpoint,
                mode=grant.mode,
                aperture=first << PAGE_SHIFT,
                inline_max=grant.inline_max,
                max_frame=grant.max_frame,
                mac=grant.mac,
                vlan=grant.vlan,
            )

    async def endpoint_enable(
        self,
        endpoint: int,
        send_log2: int,
        cq_log2: int,
        send_base: int,
        cq_base: int,
        receive: ReceiveSetup | None = None,
    ) -> None:
        """Let it run. Device addresses are the process's own business: the hardware checks each access."""
        with self._endpoint_call("endpoint_enable", endpoint) as own:
            # Even if it fails: the hypervisor may have got that far.
            own.enabled = True
            await self._machine.hypercall.endpoint_enable(endpoint, send_log2, cq_log2, send_base, cq_base, receive)

    async def endpoint_disable(self, endpoint: int) -> None:
        """Stop it; on return nothing of it is in flight."""
        with self._endpoint_call("endpoint_disable", endpoint) as own:
            await self._disable(endpoint, own)

    async def endpoint_release(self, endpoint: int) -> None:
        """Close it, with all that belongs to it. EBUSY while another call names it."""
        with self._endpoint_call("endpoint_release", endpoint) as own:
            if own.calls > 1:
                self._refuse(Errno.EBUSY, f"{own.calls - 1} other calls use endpoint {endpoint}")
            own.closing = True
            await self._close(endpoint, own)

    async def endpoint_rss(self, endpoint: int, key: bytes, table: Sequence[int]) -> None:
        """Hash key and indirection table."""
        with self._endpoint_call("endpoint_rss", endpoint):
            await self._machine.hypercall.endpoint_rss(endpoint, key, table)

    async def endpoint_moderation(self, endpoint: int, ns: int, frames: int) -> None:
        """Interrupt moderation."""
        with self._endpoint_call("endpoint_moderation", endpoint):
            await self._machine.hypercall.endpoint_moderation(endpoint, ns, frames)

    async def endpoint_multicast(self, endpoint: int, group: bytes, *, join: bool) -> bool:
        """Join or leave a multicast group; False: the NIC's table is full."""
        with self._endpoint_call("endpoint_multicast", endpoint):
            return await self._machine.hypercall.endpoint_multicast(endpoint, group, join=join)

    async def endpoint_filter(self, endpoint: int, *, promiscuous: bool, all_multicast: bool) -> None:
        """Receive every group; every frame (EPERM) is for nobody's process, whatever its guest may."""
        with self._endpoint_call("endpoint_filter", endpoint):
            if promiscuous:
                self._refuse(Errno.EPERM, "no promiscuous mode for a process")
            await self._machine.hypercall.endpoint_filter(endpoint, promiscuous=False, all_multicast=all_multicast)

    async def endpoint_statistics(self, endpoint: int) -> dict[str, int]:
        """The NIC's counters."""
        with self._endpoint_call("endpoint_statistics", endpoint):
            return await self._machine.hypercall.endpoint_statistics(endpoint)

    def endpoint_enqueue(self, endpoint: int, ring: ValidatedRing, entries: bytes) -> int:
        """Refused: an endpoint of a process is never validated."""
        with self.call("endpoint_enqueue"):
            self._refuse(Errno.ENOSYS, f"endpoint {endpoint} is not validated")

    async def endpoint_retire(self, endpoint: int) -> None:
        """Refused likewise."""
        with self.call("endpoint_retire"):
            self._refuse(Errno.ENOSYS, f"endpoint {endpoint} is not validated")

    # --- interrupts ------------------------------------------------------------------------------

    async def bind_interrupt(self, endpoint: int, handler: Callable[[], None]) -> int:
        """Run `handler` at each interrupt of an own endpoint, to wake the process; the port. EBUSY if there is one."""
        with self._endpoint_call("bind_interrupt", endpoint) as own:
            if own.port:
                self._refuse(Errno.EBUSY, f"endpoint {endpoint} has a handler already")
            own.port = await self._machine.kernel.bind_interrupt(endpoint, handler)
            return own.port

    async def unbind_interrupt(self, port: int) -> None:
        """Undo it. EINVAL for a port that is not the process's."""
        with self.call("unbind_interrupt"):
            owner = next((own for own in self._endpoints.values() if port and own.port == port), None)
            if owner is None:
                self._refuse(Errno.EINVAL, f"port {port} is not bound by the process")
            await self._unbind(owner)

    # --- the end ---------------------------------------------------------------------------------

    def end(self) -> bool:
        """The process runs no more: it has no address space, no call of it returns to it. False if it had ended already."""
        if self.ended:
            return False
        self.ended = True
        self.space.clear()
        return True

    async def reclaim(self) -> None:
        """After `end`: every endpoint stops and is drained, then all that the process had is free.

        Raises `PlatformTimeoutError` when a call of it that was under way does not end.
        """
        while self._inside:
            if not await self._left.wait(EXIT_LIMIT_NS):
                raise PlatformTimeoutError(
                    f"{self._name} ended, but {self._inside} system calls of it did not in {EXIT_LIMIT_NS} ns"
                )
        for number, own in sorted(self._endpoints.items()):
            await self._close(number, own)
        for first, (gfn, count) in list(self._runs.items()):
            self._unmap_run(first, gfn, count)

    async def _close(self, number: int, own: _Endpoint) -> None:
        """Order of contract C4: quiet, then unreachable, then free."""
        if own.enabled:
            await self._disable(number, own)
        if own.port:
            await self._unbind(own)
        await self._deregister(number, own, list(own.registrations))
        self.space.unmap(own.aperture, _APERTURE_PAGES)
        await self._machine.hypercall.endpoint_release(number)
        self._endpoints.pop(number)

    async def _disable(self, number: int, own: _Endpoint) -> None:
        await self._machine.hypercall.endpoint_disable(number)
        own.enabled = False

    async def _unbind(self, own: _Endpoint) -> None:
        port, own.port = own.port, 0
        await self._machine.kernel.unbind_interrupt(port)
