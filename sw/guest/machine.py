"""What a guest sees of its machine: memory and MMIO by guest-physical address, time, hypercalls.

`hypervisor_model.domains.Domain` implements it. Guest code knows this protocol and nothing below it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sw.abi.registers import Form, Mode
from sw.guest.xen_abi import GrantStatus


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


@dataclass(frozen=True)
class DeviceMapping:
    """Answer to `grant_map_to_device`; handle and address mean something only with status OKAY."""

    status: GrantStatus
    handle: int = -1
    device_address: int = 0
    """What a descriptor or ring base names this page by."""


class Hypercalls(Protocol):
    """Calls into the hypervisor; each one is counted. All raise `HypercallError` on a refused request."""

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

    async def endpoint_allocate(self, form: Form) -> EndpointGrant: ...

    async def grant_map_to_device(self, endpoint: int, reference: int, *, readonly: bool) -> DeviceMapping: ...

    async def grant_unmap_from_device(self, handles: list[int]) -> list[GrantStatus]: ...

    async def endpoint_enable(
        self, endpoint: int, send_log2: int, cq_log2: int, send_base: int, cq_base: int
    ) -> None: ...

    async def endpoint_disable(self, endpoint: int) -> None: ...

    async def endpoint_release(self, endpoint: int) -> None: ...


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
