"""One virtual machine: its memory, its MMIO, its hypercalls."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Final

from hypervisor_model.events.channels import EventChannels
from hypervisor_model.faults import DomainCrashedError, GuestFaultError
from hypervisor_model.guest_pages import GuestPages
from hypervisor_model.memory import OWNER_XEN, FrameAllocator, PageType
from hypervisor_model.p2m import P2M
from hypervisor_model.switch import PortPolicy
from hypervisor_model.timers import VcpuTimers
from hypervisor_model.vcpus import Vcpu, VcpuSignal, VcpuState
from sw.abi.registers import Mode
from sw.guest.hypercalls import GuestHypercalls
from sw.guest.kernel import GuestKernel
from sw.guest.machine import GuestLayout
from sw.platform import PAGE_SHIFT, PAGE_SIZE, Platform
from sw.xen.errno import Errno, HypercallError
from sw.xen.sched import ShutdownReason
from sw.xen.xen import UPCALL_MASK, UPCALL_PENDING, Virq

if TYPE_CHECKING:
    from hypervisor_model.hypervisor import Hypervisor

LOW_BASE_GFN: Final = 0x100
HIGH_BASE_GFN: Final = 0x10_0100
"""Above 4 GiB, so that I/O virtual addresses need 64-bit TLP headers."""
SHARED_INFO_GAP: Final = 0x80
DEVICE_GAP: Final = 0x100
"""The RAM is followed by at most 64 grant-table pages and 8 of status words, at these many pages by the shared-info page and by
device pages."""
DEVICE_ALIGNMENT: Final = 0x10
"""Pages of one aperture."""
DEVICE_PAGES: Final = 0x400
"""Room for the apertures of all endpoints."""
SLACK_PAGES: Final = 256
"""What a domain may take beyond the memory it is built with: Xen's toolstack adds as much (LIBXL_MAXMEM_CONSTANT, 1 MiB)."""
BOOT_PAGES: Final = 4
"""A guest's kernel does not start with less."""
_WRITE: Final = "memory write"
_OFFSET = PAGE_SIZE - 1
_REGISTER = (1 << 64) - 1


class DomainState(Enum):
    """Life of a domain."""

    BUILT = "built"
    """It has never run."""
    RUNNING = "running"
    PAUSED = "paused"
    SHUT_DOWN = "shut down"
    CRASHED = "crashed"
    DYING = "dying"
    DEAD = "dead"


_STANDING: Final = (VcpuState.PAUSED, VcpuState.OFFLINE)


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
        vcpus: Sequence[Vcpu],
        *,
        mode: Mode,
        crash_on_fault: bool,
        privileged: bool,
        port_policy: PortPolicy | None,
        posted: bool,
        max_port: int,
        mac_id: int,
    ) -> None:
        self._hypervisor = hypervisor
        self._platform = platform
        self.name = name
        self.domid = domid
        self.mode = mode
        """Protection mode of its endpoints."""
        self.crash_on_fault = crash_on_fault
        self._privileged = privileged
        self.port_policy = port_policy
        self.posted = posted
        self.mac_id = mac_id
        """Middle 16 bits of its endpoints' addresses."""
        self.vcpus = tuple(vcpus)
        self.vcpu = vcpus[0]
        """Where its software runs."""
        self.timers = tuple(
            VcpuTimers(platform, partial(hypervisor.raise_virq, self, Virq.TIMER, number)) for number in range(len(vcpus))
        )
        """Of each vCPU."""
        self.calls = 0
        """Hypercalls under way."""
        self.shutdown_reason: ShutdownReason | None = None
        self._life = DomainState.RUNNING
        self._pauses = 0
        self._upcalls_due: set[int] = set()
        self.refusal = ""
        """Why its last hypercall was refused."""
        self.iomem: set[int] = set()
        """Machine frames of MMIO that may be mapped into this domain."""
        self.irqs: set[int] = set()
        """Physical interrupts that may be bound to it."""
        self._frames = frames
        self.p2m = P2M(frames)
        self._lay_out(pages)
        frames.set_limit(domid, pages + SLACK_PAGES)
        for gfn in self._ram:
            self.p2m.add_ram(gfn, frames.allocate(domid))
        self._shared_info = frames.allocate(OWNER_XEN, PageType.SHARED_INFO)
        self.events = EventChannels(
            domid,
            frames.page(self._shared_info),
            [self._upcall] * len(vcpus),
            GuestPages(frames, self.p2m, domid),
            hypervisor.pirq_closed,
            max_port,
            self.vcpu.event_pending,
        )
        self._memory = DomainMemory(self)
        self._mmio = self.p2m.mmio
        if pages:
            self._boot()

    def _boot(self) -> None:
        self._kernel = GuestKernel(self)
        self._hypercall = GuestHypercalls(self)

    def _lay_out(self, pages: int) -> None:
        # Guest 1 lies low, its neighbours high.
        base = HIGH_BASE_GFN if (self.domid - 1) % 2 else LOW_BASE_GFN
        self._ram = range(base, base + pages)
        end = self._ram.stop
        # Apertures are BARs of functions, and so aligned to their size.
        device = -(-(end + DEVICE_GAP) // DEVICE_ALIGNMENT) * DEVICE_ALIGNMENT
        self.layout = GuestLayout(self._ram, end, end + SHARED_INFO_GAP, device)
        """Guest-physical address space."""
        self.p2m.reserved = range(self.layout.device, self.layout.device + DEVICE_PAGES)

    # --- life ------------------------------------------------------------------------------------

    @property
    def state(self) -> DomainState:
        """Where it is in its life."""
        if self._life is DomainState.RUNNING and self._pauses:
            return DomainState.PAUSED
        return self._life

    @property
    def crashed(self) -> bool:
        """It died of a fault, or said so itself."""
        return self.shutdown_reason is ShutdownReason.CRASH

    @property
    def stopped(self) -> bool:
        """It runs no more, for whatever reason."""
        return self._life not in (DomainState.BUILT, DomainState.RUNNING)

    @property
    def dying(self) -> bool:
        """Its destruction has begun."""
        return self._life in (DomainState.DYING, DomainState.DEAD)

    @property
    def privileged(self) -> bool:
        """It may receive everything, and act for other domains."""
        return self._privileged or self.mode is Mode.NATIVE

    def hold(self) -> None:
        """A domain that is yet to be built: it runs from its first `unpause` on, with vCPU 0, which brings up the others."""
        self._life = DomainState.BUILT
        for vcpu in self.vcpus[1:]:
            vcpu.bring(up=False)
        self.pause()

    def set_max_pages(self, pages: int) -> None:
        """Limit of its memory, and its layout as long as it is being built and has none. EINVAL below what it has."""
        have = self._frames.pages(self.domid)
        if pages < have:
            raise HypercallError(Errno.EINVAL, f"limit of {pages} pages: {self.name} has {have}")
        if self._life is DomainState.BUILT and not have:
            self._lay_out(pages)
        self._frames.set_limit(self.domid, pages)

    def pause(self) -> None:
        """Stop its vCPUs until as many `unpause`."""
        self._pauses += 1
        for vcpu in self.vcpus:
            vcpu.pause()

    def unpause(self) -> None:
        """Undo one `pause`; EINVAL if there was none, or if the domain has no memory to run in."""
        if not self._pauses:
            raise HypercallError(Errno.EINVAL, f"{self.name} is not paused")
        if self._life is DomainState.BUILT and self._pauses == 1:
            if len(self.p2m.pages) < BOOT_PAGES:
                raise HypercallError(Errno.EINVAL, f"{self.name} has {len(self.p2m.pages)} pages: {BOOT_PAGES} or more")
            self._boot()
            self._life = DomainState.RUNNING
        self._pauses -= 1
        for vcpu in self.vcpus:
            vcpu.unpause()
        self.deliver_upcalls()

    def shut_down(self, reason: ShutdownReason) -> None:
        """It runs no more; what it has stays until it is destroyed."""
        if self.stopped:
            return
        self.shutdown_reason = reason
        self._stop(DomainState.CRASHED if self.crashed else DomainState.SHUT_DOWN)

    def die(self) -> None:
        """Its destruction begins."""
        self._stop(DomainState.DYING)

    def bury(self) -> None:
        """Its memory has gone; the page that Xen had for it goes as well."""
        self.iomem.clear()
        self.irqs.clear()
        self.p2m.mmio.clear()
        self._frames.put(self._shared_info)
        self._life = DomainState.DEAD

    def _stop(self, life: DomainState) -> None:
        self._life = life
        for vcpu, timers in zip(self.vcpus, self.timers, strict=True):
            vcpu.stop(self._obituary())
            timers.stop()

    def _obituary(self) -> str:
        if self._life is DomainState.SHUT_DOWN and self.shutdown_reason is not None:
            return f"{self.name} has shut down ({self.shutdown_reason.name.lower()})"
        return f"{self.name} has {'crashed' if self.crashed else 'been destroyed'}"

    # --- as its software sees it -----------------------------------------------------------------

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

    @property
    def shared_info_frame(self) -> int:
        """Machine frame of its shared-info page."""
        return self._shared_info

    def deliver_upcalls(self) -> None:
        """Run the event handlers of upcalls that came while their vCPUs could not run."""
        for number in [n for n in sorted(self._upcalls_due) if self.vcpus[n].state not in _STANDING]:
            self._upcalls_due.remove(number)
            self._upcall(number)

    def _upcall(self, vcpu: int) -> None:
        """Run the guest's event handler. What becomes of this guest in it is nothing to who sent the event."""
        if self.stopped:
            return
        if self.vcpus[vcpu].state in _STANDING:
            self._upcalls_due.add(vcpu)
            return
        # Whichever vCPU is told, the software runs on one.
        self.vcpu.notified(posted=self.posted)
        with suppress(DomainCrashedError):
            self._kernel.upcall(vcpu)

    def enable_upcalls(self) -> bool:
        """Clear the upcall mask of vCPU 0; whether an upcall was due, which is delivered then."""
        page = self._frames.page(self._shared_info)
        page[UPCALL_MASK] = 0
        if page[UPCALL_PENDING]:
            self._upcall(0)
            return True
        return False

    def signal(self) -> VcpuSignal:
        """A new signal for this guest's coroutines."""
        return VcpuSignal(self._platform, self.vcpu)

    def now(self) -> int:
        """Simulated time in ns, as far as the vCPU's own work has got."""
        return self._platform.now() + self.vcpu.owed_ns

    def spend(self, operation: str, count: int = 1) -> None:
        """The guest's software does `operation` of the cost table `count` times. `KeyError` if it has none such."""
        self.vcpu.spend(operation, count)

    def mmio_write(self, gpa: int, data: bytes) -> None:
        """Post a write; outside the mapped device pages it traps, is counted and dropped."""
        offset = gpa & _OFFSET
        frame = self._mmio.get(gpa >> PAGE_SHIFT)
        if frame is None:
            self.trap(gpa, "mmio write")
        elif self.stopped:
            self.vcpu.check()
        elif offset + len(data) > PAGE_SIZE:
            # A CPU splits an access at the page boundary and translates each half.
            self.mmio_write(gpa, data[: PAGE_SIZE - offset])
            self.mmio_write(gpa - offset + PAGE_SIZE, data[PAGE_SIZE - offset :])
        else:
            self.vcpu.post(frame << PAGE_SHIFT | offset, data)

    async def mmio_read(self, gpa: int, size: int) -> bytes:
        """Read; outside the mapped device pages it traps and gives all ones."""
        frame = self._mmio.get(gpa >> PAGE_SHIFT)
        if frame is None or (gpa & _OFFSET) + size > PAGE_SIZE:
            self.trap(gpa, "mmio read")
            return b"\xff" * size
        return await self.vcpu.read(frame << PAGE_SHIFT | gpa & _OFFSET, size)

    async def sleep(self, ns: int) -> None:
        """Let simulated time pass."""
        await self.vcpu.sleep(ns)

    async def monitor(self, gpa: int, expected: bytes, mask: bytes, timeout_ns: int) -> bool:
        """As `Platform.monitor`, on RAM within one page."""
        frame = self.p2m.frame(gpa >> PAGE_SHIFT)
        if frame is None or (gpa & _OFFSET) + len(expected) > PAGE_SIZE:
            self.trap(gpa, "memory read")
            raise GuestFaultError(f"{self.name}: monitor at {gpa:#x}, which is not in one page of its RAM")
        return await self.vcpu.poll(frame << PAGE_SHIFT | gpa & _OFFSET, expected, mask, timeout_ns)

    def trap(self, gpa: int, kind: str) -> None:
        """An access outside what is mapped: enter the hypervisor. Raises `DomainCrashedError` if that kills it."""
        if self.stopped:
            self.vcpu.check()
        self.vcpu.spend("exit")
        self._hypervisor.guest_fault(self, gpa, kind)
        if self.crashed:
            raise DomainCrashedError(f"{self.name} crashed: {kind} at {gpa:#x}")
