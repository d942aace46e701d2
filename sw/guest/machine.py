"""What a guest sees of its machine: memory and MMIO by guest-physical address, time, hypercalls.

`hypervisor_model.domains.Domain` implements it. Guest code knows this protocol and nothing below it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sw.abi.registers import Form, Mode
from sw.guest.xen_abi import GrantStatus
from sw.platform import Signal


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


class Hypercalls(Protocol):
    """Calls into the hypervisor; each one is counted. All raise `HypercallError` on a refused request.

    What a call sets on the NIC is in force when it returns.
    """

    async def setup_table(self, frames: int) -> list[int]:
        """Grow the grant table to `frames` pages; their GFNs."""
        ...

    async def memory_exchange(self, gfn: int, count: int) -> None:
        """Back `count` pages from `gfn` on by consecutive machine frames; their contents are lost."""
        ...

    async def decrease_reservation(self, gfn: int) -> None:
        """Give one page back."""
        ...

    async def populate_physmap(self, gfn: int) -> None:
        """Have an empty GFN of the reservation backed by a zeroed frame."""
        ...

    async def endpoint_allocate(self, form: Form, receive_form: Form | None = None) -> EndpointGrant:
        """`receive_form`: how receive buffers will reach the NIC; None for an endpoint that only sends."""
        ...

    async def grant_map_to_device(self, endpoint: int, reference: int, *, readonly: bool) -> DeviceMapping: ...

    async def grant_unmap_from_device(self, handles: list[int]) -> list[GrantStatus]: ...

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

    async def endpoint_rss(self, endpoint: int, key: bytes, table: Sequence[int]) -> None:
        """Toeplitz key (40 bytes) and indirection table (128 queue numbers)."""
        ...

    async def endpoint_moderation(self, endpoint: int, ns: int, frames: int) -> None:
        """Interrupt after `ns` from the first completion or after `frames` of them (`ethtool -C`); 0: at once."""
        ...

    async def endpoint_multicast(self, endpoint: int, group: bytes, *, join: bool) -> bool:
        """Join or leave a multicast group. False: the NIC's table is full, the caller has not joined."""
        ...

    async def endpoint_filter(self, endpoint: int, *, promiscuous: bool, all_multicast: bool) -> None:
        """Receive more than one's own; `promiscuous` is refused (EPERM) unless the domain is privileged."""
        ...

    async def endpoint_statistics(self, endpoint: int) -> dict[str, int]:
        """The NIC's counters of the endpoint since it was allocated, by name."""
        ...

    async def map_shared_info(self) -> int:
        """GFN of the shared-info page (memory_op add_to_physmap)."""
        ...

    async def bind_endpoint_interrupt(self, endpoint: int) -> int:
        """Event-channel port of the endpoint's interrupt (bind_pirq); it is masked in the NIC until then."""
        ...

    async def event_unmask(self, port: int) -> None:
        """Clear the mask bit; a pending event raises the upcall."""
        ...

    async def event_close(self, port: int) -> None: ...


class GuestMemory(Protocol):
    """Guest-physical memory. An access outside the guest's RAM is a page fault to the hypervisor."""

    def read(self, gpa: int, size: int) -> bytes: ...

    def write(self, gpa: int, data: bytes | bytearray | memoryview) -> None: ...

    def page(self, gfn: int) -> memoryview:
        """A writable window on one page; no copy. Stale once the page is given back."""
        ...


class Kernel(Protocol):
    """Services of the guest's own kernel that drivers use."""

    def allocate_pages(self, count: int) -> int: ...

    def free_pages(self, gfn: int, count: int) -> None: ...

    async def grant_access(self, gfn: int, *, readonly: bool) -> int: ...

    def end_access(self, reference: int) -> bool: ...

    async def bind_interrupt(self, endpoint: int, handler: Callable[[], None]) -> int: ...

    async def unbind_interrupt(self, port: int) -> None: ...


class GuestMachine(Protocol):
    """One virtual machine as its software sees it."""

    @property
    def memory(self) -> GuestMemory: ...

    @property
    def hypercall(self) -> Hypercalls: ...

    @property
    def kernel(self) -> Kernel: ...

    @property
    def ram(self) -> range:
        """GFNs of the guest's memory."""
        ...

    def now(self) -> int: ...

    def mmio_write(self, gpa: int, data: bytes) -> None: ...

    async def mmio_read(self, gpa: int, size: int) -> bytes: ...

    async def sleep(self, ns: int) -> None: ...

    async def monitor(self, gpa: int, expected: bytes, mask: bytes, timeout_ns: int) -> bool: ...

    def signal(self) -> Signal: ...
