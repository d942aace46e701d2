"""A process inside a guest that drives endpoints of the NIC by itself, as OS-bypass libraries do (MX, verbs).

`VirtualNic(process, ...)` is the kernel's own driver, run by virtual addresses: set-up goes through the guest's kernel
(`sw.guest.user_endpoints`), packets do not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from sw.guest.device_pages import DeviceSpaceError
from sw.guest.hypercalls import MAP_BATCH
from sw.guest.machine import EndpointGrant, GuestMachine
from sw.guest.user_endpoints import SystemCallError, UserEndpoints
from sw.guest.user_space import UserFault, UserSpace
from sw.platform import PAGE_SHIFT, PAGE_SIZE, Signal
from sw.xen.errno import Errno

PAGE_LIMIT: Final = 512
"""Memory of a process, pages."""
ENDPOINT_LIMIT: Final = 4


class Process:
    """One process. Implements `sw.guest.machine.DriverMachine`; addresses are its virtual ones.

    A process that has ended does nothing more: each of its coroutines gets `ProcessEndedError` where it would go on.
    """

    def __init__(
        self, machine: GuestMachine, name: str, *, page_limit: int = PAGE_LIMIT, endpoint_limit: int = ENDPOINT_LIMIT
    ) -> None:
        """`machine`: its guest. Limits of what its kernel gives it; `name` is for messages."""
        self._machine = machine
        self.name = name
        self._calls = UserEndpoints(machine, name, page_limit=page_limit, endpoint_limit=endpoint_limit)
        self._kernel = ProcessKernel(self._calls)
        self._space = self._calls.space
        self._signals: list[_ProcessSignal] = []
        self._runs: dict[int, int] = {}
        self._unmap_hooks: list[Callable[[Sequence[int]], Awaitable[None]]] = []

    # --- what it sees of its guest ---------------------------------------------------------------

    @property
    def memory(self) -> UserSpace:
        """Its own memory, nothing else."""
        return self._space

    @property
    def kernel(self) -> ProcessKernel:
        """System calls."""
        return self._kernel

    @property
    def system_calls(self) -> int:
        """System calls so far, waits among them."""
        return self._calls.system_calls.total()

    @property
    def faults(self) -> list[UserFault]:
        """Its SIGSEGVs, in order."""
        return self._space.faults

    @property
    def ended(self) -> bool:
        """It has exited or was killed."""
        return self._calls.ended

    def now(self) -> int:
        """Simulated time in ns."""
        return self._machine.now()

    def spend(self, operation: str, count: int = 1) -> None:
        """Time of its software is time of its guest."""
        self._machine.spend(operation, count)

    def mmio_write(self, gpa: int, data: bytes) -> None:
        """Post a write to a device page that is mapped into it. Raises `SegmentationFaultError`: nothing is written."""
        self._calls.check_alive()
        address = self._space.device_address(gpa, "mmio write")
        split = PAGE_SIZE - (gpa & PAGE_SIZE - 1)
        if split < len(data):
            # A CPU splits an access at the page boundary and translates both halves before it writes.
            second = self._space.device_address(gpa + split, "mmio write")
            self._machine.mmio_write(address, data[:split])
            self._machine.mmio_write(second, data[split:])
        else:
            self._machine.mmio_write(address, data)

    async def mmio_read(self, gpa: int, size: int) -> bytes:
        """Read from a device page that is mapped into it. Raises `SegmentationFaultError`."""
        self._calls.check_alive()
        data = await self._machine.mmio_read(self._space.device_address(gpa, "mmio read"), size)
        self._calls.check_alive()
        return data

    async def sleep(self, ns: int) -> None:
        """Let simulated time pass: a system call."""
        with self._calls.call("sleep"):
            pass
        await self._machine.sleep(ns)
        self._calls.check_alive()

    async def monitor(self, gpa: int, expected: bytes, mask: bytes, timeout_ns: int) -> bool:
        """As `GuestMachine.monitor`, on its own memory, without a system call (UMWAIT)."""
        self._calls.check_alive()
        address = self._space.memory_address(gpa, len(expected))
        matched = await self._machine.monitor(address, expected, mask, timeout_ns)
        self._calls.check_alive()
        return matched

    def signal(self) -> Signal:
        """A new signal; to wait for it is a system call."""
        signal = _ProcessSignal(self._machine.signal(), self._calls)
        self._signals.append(signal)
        return signal

    # --- memory of its own -----------------------------------------------------------------------

    async def allocate(self, size: int) -> int:
        """Zeroed memory of at least `size` bytes, whole pages; its address. Raises `SystemCallError`."""
        count = -(-size // PAGE_SIZE)
        first = await self._calls.map_memory(count)
        self._runs[first] = count
        return first << PAGE_SHIFT

    async def free(self, address: int) -> None:
        """Give back what `allocate` gave. Those who keep registrations of it drop them first."""
        first = address >> PAGE_SHIFT
        if (count := self._runs.get(first)) is not None:
            for hook in self._unmap_hooks:
                await hook(range(first, first + count))
        await self._calls.unmap_memory(first)
        del self._runs[first]

    def on_free(self, hook: Callable[[Sequence[int]], Awaitable[None]]) -> None:
        """Call `hook(pages)` before pages are given back; what it raises keeps them."""
        self._unmap_hooks.append(hook)

    async def exit(self) -> None:
        """End it, from within or from outside, in whatever it is doing. On return all that it had is free.

        Once only: at other times there is nothing to do. Raises `PlatformTimeoutError` when a call of it does not end.
        """
        if self._calls.end():
            for signal in self._signals:
                # Those who wait find it dead.
                signal.notify()
            await self._calls.reclaim()


class ProcessKernel:
    """The kernel as a process sees it. Implements `sw.guest.machine.DriverKernel` by system calls."""

    def __init__(self, calls: UserEndpoints) -> None:
        self._calls = calls

    @property
    def endpoints(self) -> UserEndpoints:
        """Calls for its endpoints, and for its memory."""
        return self._calls

    def device_pages(self, grant: EndpointGrant) -> ProcessDevicePages:
        """Memory of one of its endpoints: none yet."""
        return ProcessDevicePages(self._calls, grant.endpoint)

    async def bind_interrupt(self, endpoint: int, handler: Callable[[], None]) -> int:
        """Run `handler` at each interrupt of an own endpoint; the port."""
        return await self._calls.bind_interrupt(endpoint, handler)

    async def unbind_interrupt(self, port: int) -> None:
        """Undo it."""
        await self._calls.unbind_interrupt(port)


class ProcessDevicePages:
    """Pages of one endpoint of a process. Implements `sw.guest.machine.DeviceMemory` by virtual pages."""

    def __init__(self, calls: UserEndpoints, endpoint: int) -> None:
        self._calls = calls
        self._endpoint = endpoint
        self._runs: list[int] = []
        self._numbers: list[int] = []
        self._registered: dict[int, int] = {}
        self.addresses: dict[int, int] = {}
        """Virtual page to device address."""

    async def map_run(self, count: int, *, readonly: bool, ring: bool = False) -> int:
        """Memory of consecutive pages, in one registration if it is a ring; its first virtual page (0: there is none)."""
        if count == 0:
            return 0
        first = await self._calls.map_memory(count)
        self._runs.append(first)
        batch = count if ring else MAP_BATCH
        for start in range(first, first + count, batch):
            some = range(start, min(start + batch, first + count))
            for page, (number, address) in zip(some, await self._register(some, readonly=readonly), strict=True):
                self._numbers.append(number)
                self.addresses[page] = address
        return first

    async def register(self, pages: Sequence[int]) -> None:
        """Let the endpoint read pages of the process. Raises `DeviceSpaceError` and `SystemCallError`."""
        for page, (number, address) in zip(pages, await self._register(pages, readonly=True), strict=True):
            self._registered[page] = number
            self.addresses[page] = address

    async def deregister(self, pages: Sequence[int]) -> None:
        """Undo `register`, in one system call."""
        numbers = [self._registered.pop(page) for page in pages]
        for page in pages:
            del self.addresses[page]
        if numbers:
            await self._calls.deregister(self._endpoint, numbers)

    async def release(self) -> None:
        """Deregister everything, then give the memory back."""
        numbers = [*self._registered.values(), *self._numbers]
        self._registered.clear()
        self._numbers.clear()
        self.addresses.clear()
        await self._calls.deregister(self._endpoint, numbers)
        for first in self._runs:
            await self._calls.unmap_memory(first)
        self._runs.clear()

    async def _register(self, pages: Sequence[int], *, readonly: bool) -> list[tuple[int, int]]:
        try:
            return await self._calls.register(self._endpoint, pages, readonly=readonly)
        except SystemCallError as error:
            if error.errno is Errno.ENOSPC:
                raise DeviceSpaceError(str(error)) from error
            raise


class _ProcessSignal:
    """Implements `sw.platform.Signal`."""

    def __init__(self, signal: Signal, calls: UserEndpoints) -> None:
        self._signal = signal
        self._calls = calls

    def notify(self) -> None:
        self._signal.notify()

    async def wait(self, timeout_ns: int) -> bool:
        with self._calls.call("wait"):
            pass
        woken = await self._signal.wait(timeout_ns)
        self._calls.check_alive()
        return woken
