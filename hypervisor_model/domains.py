"""One virtual machine: its memory, its MMIO, its hypercalls."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from hypervisor_model.events.channels import EventChannels
from hypervisor_model.faults import DomainCrashedError, GuestFaultError
from hypervisor_model.guest_pages import GuestPages
from hypervisor_model.memory import OWNER_XEN, FrameAllocator, PageType
from hypervisor_model.p2m import P2M
from hypervisor_model.switch import PortPolicy
from sw.abi.registers import Mode
from sw.guest.hypercalls import GuestHypercalls
from sw.guest.kernel import GuestKernel
from sw.guest.machine import GuestLayout
from sw.platform import PAGE_SHIFT, PAGE_SIZE, Platform, Signal
from sw.xen.errno import Errno, HypercallError

if TYPE_CHECKING:
    from hypervisor_model.hypervisor import Hypervisor

LOW_BASE_GFN: Final = 0x100
HIGH_BASE_GFN: Final = 0x10_0100
"""Above 4 GiB, so that I/O virtual addresses need 64-bit TLP headers."""
SHARED_INFO_GAP: Final = 0x80
DEVICE_GAP: Final = 0x100
"""The RAM is followed by at most 64 grant-table pages and 8 of status words, at these many pages by the shared-info page and by
device pages."""
DEVICE_PAGES: Final = 0x400
"""Room for the apertures of all endpoints."""
SLACK_PAGES: Final = 256
"""What a domain may take beyond the memory it is built with: Xen's toolstack adds as much (LIBXL_MAXMEM_CONSTANT, 1 MiB)."""
_WRITE: Final = "memory write"
_OFFSET = PAGE_SIZE - 1
_REGISTER = (1 << 64) - 1


class DomainMemory:
    """Guest-physical memory, seen by the guest."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        self._pages = domain.p2m.pages

    def read(self, gpa: int, size: int) -> bytes:
        """Copy out; may cross pages. Raises `GuestFaultError` outside RAM."""
        offset = gpa & _OFFSET
        if offset + size <= PAGE_SIZE and (page := self._pages.get(gpa >> PAGE_SHIFT)) is not None:
            return bytes(page[offset : offset + size])
        result = bytearray()
        while len(result) < size:
            at = gpa + len(result)
            offset = at & _OFFSET
            part = min(PAGE_SIZE - offset, size - len(result))
            result += self._page(at, "memory read")[offset : offset + part]
        return bytes(result)

    def write(self, gpa: int, data: bytes | bytearray | memoryview) -> None:
        """Copy in; may cross pages. Raises `GuestFaultError` outside RAM."""
        size = len(data)
        done = 0
        while done < size:
            at = gpa + done
            offset = at & _OFFSET
            part = min(PAGE_SIZE - offset, size - done)
            self._page(at, _WRITE)[offset : offset + part] = data[done : done + part]
            done += part

    def page(self, gfn: int) -> memoryview:
        """A window on one page, read-only if its mapping is; stale once it is unmapped. Raises `GuestFaultError` outside RAM."""
        return self._page(gfn << PAGE_SHIFT, "memory read")

    def _page(self, gpa: int, kind: str) -> memoryview:
        page = self._pages.get(gpa >> PAGE_SHIFT)
        if page is None or (page.readonly and kind == _WRITE):
            self._domain.trap(gpa, kind)
            raise GuestFaultError(f"{self._domain.name}: {kind} at {gpa:#x}, which it may not reach so")
        return page


class Domain:
    """A guest. Implements `sw.guest.machine.GuestMachine`."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        platform: Platform,
        frames: FrameAllocator,
        name: str,
        domid: int,
        pages: int,
        *,
        mode: Mode,
        crash_on_fault: bool,
        privileged: bool,
        port_policy: PortPolicy | None,
        posted: bool,
        vcpus: int,
        max_port: int,
    ) -> None:
        self._hypervisor = hypervisor
        self._platform = platform
        self.name = name
        self.domid = domid
        self.mode = mode
        """Protection mode of its endpoints."""
        self.crash_on_fault = crash_on_fault
        self.privileged = privileged
        self.port_policy = port_policy
        self.posted = posted
        self.running = True
        """The vCPU is on a core. A blocked one has to be woken by the hypervisor, even in posted mode."""
        self.crashed = False
        # Guest 1 lies low, its neighbours high.
        base = HIGH_BASE_GFN if (domid - 1) % 2 else LOW_BASE_GFN
        self._ram = range(base, base + pages)
        end = self._ram.stop
        self.layout = GuestLayout(self._ram, end, end + SHARED_INFO_GAP, end + DEVICE_GAP)
        """Guest-physical address space."""
        self.refusal = ""
        """Why its last hypercall was refused."""
        self.iomem: set[int] = set()
        """Machine frames of MMIO that may be mapped into this domain."""
        self.p2m = P2M(frames, range(self.layout.device, self.layout.device + DEVICE_PAGES))
        frames.set_limit(domid, pages + SLACK_PAGES)
        for gfn in self._ram:
            self.p2m.add_ram(gfn, frames.allocate(domid))
        self._frames = frames
        self._memory = DomainMemory(self)
        self._kernel = GuestKernel(self)
        self._shared_info = frames.allocate(OWNER_XEN, PageType.SHARED_INFO)
        self.events = EventChannels(
            domid,
            frames.page(self._shared_info),
            [self._upcall] * vcpus,
            GuestPages(frames, self.p2m, domid),
            hypervisor.pirq_closed,
            max_port,
        )
        self._hypercall = GuestHypercalls(self)
        self._mmio = self.p2m.mmio
        self._post = platform.mmio_write

    @property
    def memory(self) -> DomainMemory:
        """Guest-physical memory."""
        return self._memory

    @property
    def hypercall(self) -> GuestHypercalls:
        """Calls into the hypervisor, typed."""
        return self._hypercall

    async def vmcall(self, number: int, *arguments: int) -> int:
        """Enter the hypervisor by number: 0 or more, or a negative errno. Arguments are 64-bit registers."""
        return await self._hypervisor.enter(self, number, tuple(value & _REGISTER for value in arguments))

    @property
    def kernel(self) -> GuestKernel:
        """The guest's own kernel."""
        return self._kernel

    @property
    def ram(self) -> range:
        """GFNs of the guest's memory."""
        return self._ram

    def map_shared_info(self, gfn: int) -> None:
        """Map the shared-info page, or move it. The frame is the hypervisor's: it cannot be granted."""
        if self.p2m.frame(gfn) == self._shared_info:
            return
        if not self.p2m.is_vacant(gfn):
            raise HypercallError(Errno.EINVAL, f"guest frame {gfn:#x} is mapped or not the guest's: shared info cannot go there")
        old = self._frames.m2p.gfn(self._shared_info)
        if old is not None:
            self.p2m.remove_xen(old)
        self.p2m.add_xen(gfn, self._shared_info)

    def vmcall_now(self, number: int, *arguments: int) -> int:
        """As `vmcall`, for an operation that never waits for hardware; others give -EAGAIN."""
        return self._hypervisor.enter_now(self, number, tuple(value & _REGISTER for value in arguments))

    def _upcall(self, vcpu: int) -> None:
        """Run the guest's event handler. What becomes of this guest in it is nothing to who sent the event."""
        if not self.crashed:
            with suppress(DomainCrashedError):
                self._kernel.upcall(vcpu)

    def signal(self) -> Signal:
        """A new signal for this guest's coroutines."""
        return self._platform.signal()

    def now(self) -> int:
        """Simulated time in ns."""
        return self._platform.now()

    def mmio_write(self, gpa: int, data: bytes) -> None:
        """Post a write; outside the mapped device pages it traps, is counted and dropped."""
        offset = gpa & _OFFSET
        frame = self._mmio.get(gpa >> PAGE_SHIFT)
        if frame is None:
            self.trap(gpa, "mmio write")
        elif self.crashed:
            raise DomainCrashedError(f"{self.name} has crashed")
        elif offset + len(data) > PAGE_SIZE:
            # A CPU splits an access at the page boundary and translates each half.
            self.mmio_write(gpa, data[: PAGE_SIZE - offset])
            self.mmio_write(gpa - offset + PAGE_SIZE, data[PAGE_SIZE - offset :])
        else:
            self._post(frame << PAGE_SHIFT | offset, data)

    def spend(self, operation: str, count: int = 1) -> None:
        """The guest's software does `operation` of the cost table `count` times."""

    async def mmio_read(self, gpa: int, size: int) -> bytes:
        """Read; outside the mapped device pages it traps and gives all ones."""
        frame = self._mmio.get(gpa >> PAGE_SHIFT)
        if frame is None or (gpa & _OFFSET) + size > PAGE_SIZE:
            self.trap(gpa, "mmio read")
            return b"\xff" * size
        return await self._platform.mmio_read(frame << PAGE_SHIFT | gpa & _OFFSET, size)

    async def sleep(self, ns: int) -> None:
        """Let simulated time pass."""
        await self._platform.sleep(ns)

    async def monitor(self, gpa: int, expected: bytes, mask: bytes, timeout_ns: int) -> bool:
        """As `Platform.monitor`, on RAM within one page."""
        frame = self.p2m.frame(gpa >> PAGE_SHIFT)
        if frame is None or (gpa & _OFFSET) + len(expected) > PAGE_SIZE:
            self.trap(gpa, "memory read")
            raise GuestFaultError(f"{self.name}: monitor at {gpa:#x}, which is not in one page of its RAM")
        return await self._platform.monitor(frame << PAGE_SHIFT | gpa & _OFFSET, expected, mask, timeout_ns)

    def trap(self, gpa: int, kind: str) -> None:
        """An access outside what is mapped: enter the hypervisor. Raises `DomainCrashedError` if that kills it."""
        self._hypervisor.guest_fault(self, gpa, kind)
        if self.crashed:
            raise DomainCrashedError(f"{self.name} crashed: {kind} at {gpa:#x}")
