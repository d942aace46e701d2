"""What a guest sees of its machine: memory and MMIO by guest-physical address, time, hypercalls.

`hypervisor_model.domains.Domain` implements it. Guest code knows this protocol and nothing below it. The driver of an
endpoint knows less, `DriverMachine`, so that it runs in a process of the guest as well (`sw.guest.process`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sw.abi.registers import Form, Mode
from sw.platform import Signal
from sw.xen.grant_table import GrantStatus
from sw.xen.myri import ValidatedRing
from sw.xen.xen import DOMID_CONTROL

if TYPE_CHECKING:
    from sw.guest.hypercalls import GuestHypercalls
    from sw.guest.timers import GuestTimers


@dataclass(frozen=True)
class GuestLayout:
    """Guest-physical address space as the domain builder lays it out. Frame numbers."""

    ram: range
    grant_table: int
    """First page of the grant table; at most 64 follow, and 8 of status words."""
    shared_info: int
    """Where the guest maps its shared-info page."""
    device: int
    """Where the hypervisor maps device pages."""


@dataclass(frozen=True)
class EndpointGrant:
    """Answer to `endpoint_allocate`: what a guest needs to drive its endpoint."""

    endpoint: int
    mode: Mode
    aperture: int
    """GPA of the doorbell page; the send-ring window follows at `Aperture.SEND_RING` (PUSHED form)."""
    inline_max: int
    """Bytes of an inline frame at most."""
    max_frame: int
    """Bytes of a frame at most, without FCS."""
    mac: bytes
    """The endpoint's address, six bytes: given by the hypervisor, the same each time the guest opens it."""
    vlan: int
    """VLAN of the endpoint, 0 for untagged frames."""


@dataclass(frozen=True)
class ReceiveSetup:
    """Receive side of an endpoint, as `endpoint_enable` programs it. Bases are device addresses."""

    small_log2: int
    """Small-ring entries, log2, 4 to 9."""
    big_log2: int
    queue_log2: int
    """Receive-completion-ring entries, log2, 4 to 10; all queues alike."""
    buffer_log2: int
    """Bytes of a big buffer, log2, 11 or 12."""
    small_bytes: int
    """Frames of at most this many bytes use a small buffer; 0: none does."""
    max_frame: int
    """Longer frames are dropped."""
    queue_bases: tuple[int, ...]
    """One receive-completion ring for each queue, 1 to 4."""
    small_base: int = 0
    """Ring of small buffers (FETCHED form)."""
    big_base: int = 0
    rss: bool = False
    """Spread frames over the queues by their hash."""


@dataclass(frozen=True)
class DeviceMapping:
    """Answer to `grant_map_to_device`; handle and address mean something only with status OKAY."""

    status: GrantStatus
    handle: int = -1
    device_address: int = 0
    """What a descriptor or ring base names this page by."""


class GuestMemory(Protocol):
    """Guest-physical memory. An access outside the guest's RAM is a page fault to the hypervisor."""

    def read(self, gpa: int, size: int) -> bytes: ...

    def write(self, gpa: int, data: bytes | bytearray | memoryview) -> None: ...

    def page(self, gfn: int) -> memoryview:
        """A writable window on one page; no copy. Stale once the page is given back."""
        ...


class EndpointCalls(Protocol):
    """Calls for an endpoint, as `GuestHypercalls` has them: hypercalls of a kernel, system calls of a process."""

    async def endpoint_allocate(self, form: Form, receive_form: Form | None = None) -> EndpointGrant: ...

    async def endpoint_enable(
        self,
        endpoint: int,
        send_log2: int,
        cq_log2: int,
        send_base: int,
        cq_base: int,
        receive: ReceiveSetup | None = None,
    ) -> None: ...

    async def endpoint_disable(self, endpoint: int) -> None: ...

    async def endpoint_release(self, endpoint: int) -> None: ...

    async def endpoint_rss(self, endpoint: int, key: bytes, table: Sequence[int]) -> None: ...

    async def endpoint_moderation(self, endpoint: int, ns: int, frames: int) -> None: ...

    async def endpoint_multicast(self, endpoint: int, group: bytes, *, join: bool) -> bool: ...

    async def endpoint_filter(self, endpoint: int, *, promiscuous: bool, all_multicast: bool) -> None: ...

    async def endpoint_statistics(self, endpoint: int) -> dict[str, int]: ...

    def endpoint_enqueue(self, endpoint: int, ring: ValidatedRing, entries: bytes) -> int: ...

    async def endpoint_retire(self, endpoint: int) -> None: ...


class DeviceMemory(Protocol):
    """Pages that one open endpoint may reach, by the page numbers of whoever drives it."""

    @property
    def addresses(self) -> dict[int, int]:
        """Page to device address."""
        ...

    async def map_run(self, count: int, *, readonly: bool, ring: bool = False) -> int:
        """Allocate and register `count` consecutive pages; the first one (0 when there are none).

        `ring`: the device, too, must see consecutive addresses, and reaches the pages by itself.
        """
        ...

    async def register(self, pages: Sequence[int]) -> None:
        """Let the endpoint read pages that their owner has already: all or none, consecutive for a device that can.

        Raises `DeviceSpaceError` when the endpoint's address space has no room.
        """
        ...

    async def deregister(self, pages: Sequence[int]) -> None:
        """Undo `register`, in one call for all of them: on return no DMA reaches the pages by it."""
        ...

    async def release(self) -> None:
        """Deregister everything, free what `map_run` allocated. The endpoint must be disabled."""
        ...


class DriverKernel(Protocol):
    """What the driver of an endpoint asks of the kernel that it runs in, or on."""

    @property
    def endpoints(self) -> EndpointCalls: ...

    def device_pages(self, grant: EndpointGrant) -> DeviceMemory: ...

    async def bind_interrupt(self, endpoint: int, handler: Callable[[], None]) -> int: ...

    async def unbind_interrupt(self, port: int) -> None: ...


class Kernel(DriverKernel, Protocol):
    """Services of the guest's own kernel that drivers use."""

    @property
    def timers(self) -> GuestTimers: ...

    def allocate_pages(self, count: int) -> int: ...

    def free_pages(self, gfn: int, count: int) -> None: ...

    def longest_run(self) -> int:
        """Pages of the longest free run."""
        ...

    async def grant_access(self, gfn: int, *, readonly: bool, domid: int = DOMID_CONTROL) -> int: ...

    def end_access(self, reference: int) -> bool: ...

    async def reserve_references(self, count: int) -> list[int]: ...

    def release_references(self, references: Sequence[int]) -> None: ...

    def grant_reference(self, reference: int, gfn: int, *, readonly: bool, domid: int = DOMID_CONTROL) -> None: ...

    def end_reference(self, reference: int) -> bool: ...

    async def bind_pirq(self, pirq: int, handler: Callable[[], None]) -> int: ...

    async def bind_event(self, port: int, handler: Callable[[], None], *, vcpu: int = 0) -> None: ...

    async def unbind_event(self, port: int) -> None: ...


class DriverMachine(Protocol):
    """What the driver of an endpoint runs on: a virtual machine, or a process by its own addresses."""

    @property
    def memory(self) -> GuestMemory: ...

    @property
    def kernel(self) -> DriverKernel: ...

    def now(self) -> int: ...

    def spend(self, operation: str, count: int = 1) -> None:
        """Software does something `count` times that takes time: `operation` is an entry of the cost table.

        The time passes at the next call that sleeps. `KeyError` for an operation without an entry.
        """
        ...

    def mmio_write(self, gpa: int, data: bytes) -> None: ...

    async def mmio_read(self, gpa: int, size: int) -> bytes: ...

    async def sleep(self, ns: int) -> None: ...

    async def monitor(self, gpa: int, expected: bytes, mask: bytes, timeout_ns: int) -> bool: ...

    def signal(self) -> Signal: ...


class GuestMachine(DriverMachine, Protocol):
    """One virtual machine as its software sees it."""

    async def vmcall(self, number: int, *arguments: int) -> int:
        """Enter the hypervisor by number (`sw.xen.xen.Hypercall`): 0 or more, or a negative `sw.xen.errno.Errno`."""
        ...

    def vmcall_now(self, number: int, *arguments: int) -> int:
        """As `vmcall`, for an operation that never waits for hardware."""
        ...

    @property
    def refusal(self) -> str:
        """Why the last hypercall was refused, as the hypervisor's console says it. For messages only."""
        ...

    @property
    def hypercall(self) -> GuestHypercalls:
        """The same calls, typed."""
        ...

    @property
    def layout(self) -> GuestLayout: ...

    @property
    def kernel(self) -> Kernel: ...

    @property
    def ram(self) -> range:
        """GFNs of the guest's memory."""
        ...
