"""Endpoint life cycle on the NIC's privileged BAR, and the I/O address space of each endpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from hypervisor_model import receive_side
from hypervisor_model.grants import GrantError, Mapping
from hypervisor_model.iommu import IommuDriver
from hypervisor_model.memory import FrameAllocator, PageType
from hypervisor_model.p2m import P2M
from hypervisor_model.pci import PciDevice
from hypervisor_model.second_level import SecondLevelTable
from hypervisor_model.switch import MAC_PREFIX, SEND_ONLY, PortPolicy, SwitchConfig, SwitchTables
from sw.abi.registers import Aperture, Form, Mode, NicControl
from sw.guest.machine import ReceiveSetup
from sw.platform import PAGE_SHIFT, Platform, PlatformTimeoutError
from sw.xen.errno import Errno, HypercallError
from sw.xen.grant_table import GrantStatus

APERTURE_BAR: Final = 2
CONTROL_BAR: Final = 4
MAGIC: Final = 0x4D59524D
POLL_NS: Final = 2_000
IDLE_LIMIT_NS: Final = 2_000_000
"""Bound of the wait for an endpoint to have nothing in flight."""
RING_LOG2: Final = range(4, 11)
SUPERPAGE_ORDER: Final = 9
PASS_THROUGH_DOMAIN: Final = NicControl.ENDPOINT_COUNT + 1



@dataclass
class _DevicePage:
    frame: int
    readers: int = 0
    writers: int = 0


@dataclass
class Endpoint:
    """One allocated endpoint."""

    number: int
    domid: int
    form: Form
    mode: Mode
    requester: int
    iommu_domain: int
    table: SecondLevelTable | None
    """None in mode NATIVE."""
    mac: bytes
    receive_form: Form | None
    """How receive buffers reach the NIC; None when the endpoint only sends."""
    policy: PortPolicy
    """Rights on the switch; None while it is outside: it receives nothing and its frames are not checked."""
    promiscuous: bool = False
    all_multicast: bool = False
    counters: dict[str, int] | None = None
    """What the NIC's counters of this endpoint were when it joined the switch."""
    enabled: bool = False
    pages: dict[int, _DevicePage] = field(default_factory=dict)
    """Device frame number to what is mapped there."""
    revoking: set[int] = field(default_factory=set)
    """Device frames whose invalidation has not completed."""
    superpage_frames: list[tuple[int, PageType]] = field(default_factory=list)
    """Frames behind 2 MiB entries, each referenced, and counted as this type."""


class Endpoints:
    """All endpoints of one NIC."""

    def __init__(self, platform: Platform, device: PciDevice, iommu: IommuDriver, frames: FrameAllocator) -> None:
        self._platform = platform
        self._device = device
        self._iommu = iommu
        self._frames = frames
        self._apertures, aperture_bytes = device.bars[APERTURE_BAR]
        self._stride = aperture_bytes // NicControl.ENDPOINT_COUNT
        self._control = device.bars[CONTROL_BAR][0]
        self._endpoints: dict[int, Endpoint] = {}
        self.switch = SwitchTables(self.write)
        self.forced_disables = 0
        """Endpoints that had to be disabled because they did not become idle for a revocation."""

    async def start(self, config: SwitchConfig) -> None:
        """Check that this is the NIC we know, read its limits, set the switch, let the NIC execute requests."""
        magic = await self.read(NicControl.ID)
        if magic != MAGIC:
            raise HypercallError(Errno.ENODEV, f"NIC control register ID is {magic:#010x}, expected {MAGIC:#010x}")
        self.count = await self.read(NicControl.CAPS) & NicControl.CAPS_ENDPOINTS_M
        limits = await self.read(NicControl.LIMITS)
        self.inline_max = limits & NicControl.LIMITS_INLINE_MAX_M
        self.max_frame = limits >> NicControl.LIMITS_MAX_FRAME_S
        self.switch.start(config)
        self.write(NicControl.CTRL, NicControl.CTRL_ENABLE_M)

    @property
    def stride_pages(self) -> int:
        """Pages from one aperture to the next."""
        return self._stride >> PAGE_SHIFT

    def allocate(
        self, domid: int, form: Form, mode: Mode, receive_form: Form | None, policy: PortPolicy | None
    ) -> Endpoint:
        """Reserve an endpoint and give its function a context entry.

        Without a policy it gets the default one; if it only sends, any source address and VLAN may be in its frames.
        """
        if any(e.mode is Mode.NATIVE for e in self._endpoints.values()) or (mode is Mode.NATIVE and self._endpoints):
            raise HypercallError(Errno.ENODEV, "the NIC has a native owner: it cannot be shared")
        number = next((n for n in range(self.count) if n not in self._endpoints), None)
        if number is None:
            raise HypercallError(Errno.ENOSPC, f"all {self.count} endpoints are in use")
        if policy is None:
            policy = PortPolicy() if receive_form is not None else SEND_ONLY
        own = {e.mac[-1] for e in self.of_domain(domid)}
        # The lowest number that the domain does not use: what it closes and opens again keeps its address.
        ordinal = next(n for n in range(self.count) if n not in own)
        mac = (MAC_PREFIX << 24 | domid << 8 | ordinal).to_bytes(6, "big")
        if mode is Mode.NATIVE:
            requester = self._device.requester
            endpoint = Endpoint(
                number, domid, form, mode, requester, PASS_THROUGH_DOMAIN, None, mac, receive_form, policy
            )
            self._iommu.attach_pass_through(requester, PASS_THROUGH_DOMAIN)
        else:
            table = SecondLevelTable(self._frames)
            requester = self._device.vf_requester(number)
            endpoint = Endpoint(number, domid, form, mode, requester, 1 + number, table, mac, receive_form, policy)
            self._iommu.attach(requester, table, endpoint.iommu_domain)
        self._endpoints[number] = endpoint
        return endpoint

    def owned(self, number: int, domid: int) -> Endpoint:
        """An endpoint of this domain. Raises `HypercallError` for anybody else's."""
        endpoint = self._endpoints.get(number)
        if endpoint is None or endpoint.domid != domid:
            raise HypercallError(Errno.ENODEV, f"endpoint {number} does not belong to domain {domid}")
        return endpoint

    def of_domain(self, domid: int) -> list[Endpoint]:
        """Endpoints of a domain, by number."""
        return [e for _, e in sorted(self._endpoints.items()) if e.domid == domid]

    def by_requester(self, requester: int) -> Endpoint | None:
        """Who a requester ID belongs to, for fault attribution."""
        return next((e for e in self._endpoints.values() if e.requester == requester), None)

    def aperture_pages(self, endpoint: Endpoint) -> list[tuple[int, int]]:
        """(page offset in the aperture, machine frame) of what the owner may touch."""
        base = (self._apertures + endpoint.number * self._stride) >> PAGE_SHIFT
        pages = [Aperture.SEND_DOORBELL >> PAGE_SHIFT]
        if endpoint.form is Form.PUSHED:
            first = Aperture.SEND_RING >> PAGE_SHIFT
            pages += range(first, first + (Aperture.SEND_RING_BYTES >> PAGE_SHIFT))
        if endpoint.receive_form is Form.PUSHED:
            pages += (Aperture.RX_SMALL_RING >> PAGE_SHIFT, Aperture.RX_BIG_RING >> PAGE_SHIFT)
        return [(page, base + page) for page in pages]

    async def enable(
        self,
        endpoint: Endpoint,
        send_log2: int,
        cq_log2: int,
        send_base: int,
        cq_base: int,
        receive: ReceiveSetup | None,
    ) -> None:
        """Program, join the switch, enable and wait until the NIC has cleared the rings.

        Bases are device addresses; what they may reach is the IOMMU's business.
        """
        for name, value in (("send_log2", send_log2), ("cq_log2", cq_log2)):
            if value not in RING_LOG2:
                raise HypercallError(Errno.EINVAL, f"{name} is {value}: {RING_LOG2.start} to {RING_LOG2.stop - 1}")
        for name, value in (("send_base", send_base), ("cq_base", cq_base)):
            if value & 0xF or not 0 <= value < 1 << 64:
                raise HypercallError(Errno.EINVAL, f"{name} is {value:#x}: must be a multiple of 16 below 2^64")
        if endpoint.enabled:
            raise HypercallError(Errno.EINVAL, f"endpoint {endpoint.number} is enabled already")
        if receive is not None:
            if endpoint.receive_form is None:
                raise HypercallError(Errno.EINVAL, f"endpoint {endpoint.number} was allocated for sending only")
            receive_side.check(receive, self.max_frame)
            receive_side.program(self.write, endpoint.number, receive, endpoint.receive_form)
        if endpoint.counters is None:
            endpoint.counters = await receive_side.read_counters(self.read, endpoint.number)
        # Before it may send: nothing leaves unchecked.
        self._join_switch(endpoint, endpoint.policy)
        at = endpoint.number * NicControl.ENDPOINT_STRIDE
        for register, base in (
            (NicControl.ENDPOINT_SEND_BASE_LO, send_base),
            (NicControl.ENDPOINT_CQ_BASE_LO, cq_base),
        ):
            self.write(register + at, base & 0xFFFF_FFFF)
            self.write(register + at + 4, base >> 32)
        control = (
            NicControl.ENDPOINT_CTRL_ENABLE_M
            | endpoint.form << NicControl.ENDPOINT_CTRL_FORM_S
            | endpoint.mode << NicControl.ENDPOINT_CTRL_MODE_S
            | send_log2 << NicControl.ENDPOINT_CTRL_SEND_LOG2_S
            | cq_log2 << NicControl.ENDPOINT_CTRL_CQ_LOG2_S
        )
        self.write(NicControl.ENDPOINT_CTRL + at, control)
        endpoint.enabled = True
        if not await self._idle(endpoint):
            raise PlatformTimeoutError(f"endpoint {endpoint.number} was enabled but not ready in {IDLE_LIMIT_NS} ns")

    def post_disable(self, endpoint: Endpoint) -> None:
        """Tell the NIC to stop an endpoint, without waiting: for a domain that is being crashed."""
        self.write(NicControl.ENDPOINT_CTRL + endpoint.number * NicControl.ENDPOINT_STRIDE, 0)
        endpoint.enabled = False

    async def disable(self, endpoint: Endpoint) -> None:
        """Stop an endpoint, wait until nothing of it is in flight, take it out of the switch."""
        self.post_disable(endpoint)
        if not await self._idle(endpoint):
            raise PlatformTimeoutError(
                f"endpoint {endpoint.number} was disabled but stayed busy for {IDLE_LIMIT_NS} ns"
            )
        self.switch.clear_port(endpoint.number)
        if endpoint.receive_form is not None:
            receive_side.switch_off(self.write, endpoint.number)

    async def release(self, endpoint: Endpoint) -> None:
        """Take the context entry away and free the endpoint. It must be disabled and have no pages mapped."""
        if endpoint.enabled or endpoint.pages:
            raise HypercallError(
                Errno.EINVAL, f"endpoint {endpoint.number} is enabled or has {len(endpoint.pages)} pages mapped"
            )
        self.switch.leave_all(endpoint.number)
        await self._iommu.detach(endpoint.requester, endpoint.iommu_domain)
        for frame, held in endpoint.superpage_frames:
            self._frames.put(frame, held)
        if endpoint.table is not None:
            endpoint.table.destroy()
        del self._endpoints[endpoint.number]

    # --- switch and receive side -----------------------------------------------------------------

    def set_filter(self, endpoint: Endpoint, *, promiscuous: bool, all_multicast: bool) -> None:
        """What the endpoint receives beyond its own address and groups."""
        endpoint.promiscuous = promiscuous
        endpoint.all_multicast = all_multicast
        if endpoint.enabled:
            self._join_switch(endpoint, endpoint.policy)

    async def statistics(self, endpoint: Endpoint) -> dict[str, int]:
        """The endpoint's counters since it joined the switch, by name; empty before."""
        if endpoint.counters is None:
            return {}
        now = await receive_side.read_counters(self.read, endpoint.number)
        return {name: value - endpoint.counters[name] & receive_side.COUNTER_MASK for name, value in now.items()}

    def _join_switch(self, endpoint: Endpoint, policy: PortPolicy) -> None:
        self.switch.set_port(
            endpoint.number,
            endpoint.mac,
            policy,
            promiscuous=endpoint.promiscuous,
            all_multicast=endpoint.all_multicast,
        )

    # --- I/O address space -----------------------------------------------------------------------

    def install(self, endpoint: Endpoint, mapping: Mapping) -> int:
        """Let the endpoint reach a pinned page at DFN = GFN; the device address. Raises `GrantError`."""
        if endpoint.table is None:
            return mapping.frame << PAGE_SHIFT
        dfn = mapping.gfn
        if dfn in endpoint.revoking:
            raise GrantError(GrantStatus.EAGAIN)
        page = endpoint.pages.get(dfn)
        if page is None:
            page = _DevicePage(mapping.frame)
        elif page.frame != mapping.frame:
            # The guest has put another frame at this GFN; the old one is still mapped for the device.
            raise GrantError(GrantStatus.NO_DEVICE_SPACE)
        if page.readers + page.writers == 0 or (mapping.write and page.writers == 0):
            # More permission than before: no invalidation needed (no caching mode).
            try:
                endpoint.table.map(dfn, mapping.frame, write=mapping.write)
            except ValueError as error:
                raise GrantError(GrantStatus.NO_DEVICE_SPACE) from error
        endpoint.pages[dfn] = page
        if mapping.write:
            page.writers += 1
        else:
            page.readers += 1
        return dfn << PAGE_SHIFT

    async def revoke(self, endpoint: Endpoint, mappings: list[Mapping]) -> None:
        """Take mappings away. On return no DMA can reach the pages by them, and none is in flight (contract C4)."""
        changed: list[int] = []
        for mapping in mappings:
            if endpoint.table is not None and self._remove(endpoint, endpoint.table, mapping):
                changed.append(mapping.gfn)
        endpoint.revoking.update(changed)
        try:
            if (changed or endpoint.table is None) and not await self._idle(endpoint):
                # A guest that never stops sending must not hold its own revocation up.
                self.forced_disables += 1
                await self.disable(endpoint)
            if changed:
                await self._iommu.invalidate(endpoint.iommu_domain, changed)
        finally:
            endpoint.revoking.difference_update(changed)

    def map_superpage(self, endpoint: Endpoint, p2m: P2M, gfn: int, *, write: bool) -> int:
        """Let the endpoint reach 2 MiB of its owner's RAM by one entry, until release; the device address."""
        if endpoint.table is None:
            raise HypercallError(Errno.EINVAL, f"endpoint {endpoint.number} is native: it has no I/O page table")
        count = 1 << SUPERPAGE_ORDER
        first = p2m.frame(gfn)
        if first is None or (gfn | first) % count or any(p2m.frame(gfn + n) != first + n for n in range(count)):
            raise HypercallError(Errno.EINVAL, f"guest frame {gfn:#x}: not {count} aligned pages in consecutive frames")
        held = PageType.WRITABLE if write else PageType.NONE
        taken: list[tuple[int, PageType]] = []
        try:
            for frame in range(first, first + count):
                if not self._frames.get(frame, endpoint.domid, held):
                    raise ValueError(f"frame {frame:#x} is another domain's, or no ordinary memory")
                taken.append((frame, held))
            endpoint.table.map(gfn, first, write=write, order=SUPERPAGE_ORDER)
        except ValueError as error:
            for frame, _ in taken:
                self._frames.put(frame, held)
            raise HypercallError(Errno.EINVAL, f"guest frame {gfn:#x}: {error}") from error
        endpoint.superpage_frames += taken
        return gfn << PAGE_SHIFT

    @staticmethod
    def _remove(endpoint: Endpoint, table: SecondLevelTable, mapping: Mapping) -> bool:
        """Drop one count; True when the entry lost a permission."""
        page = endpoint.pages[mapping.gfn]
        if mapping.write:
            page.writers -= 1
        else:
            page.readers -= 1
        if page.readers + page.writers == 0:
            table.unmap(mapping.gfn)
            del endpoint.pages[mapping.gfn]
            return True
        if mapping.write and page.writers == 0:
            table.map(mapping.gfn, page.frame, write=False)
            return True
        return False

    async def _idle(self, endpoint: Endpoint) -> bool:
        """Wait, bounded, until the NIC reports that nothing of the endpoint is in flight."""
        status = NicControl.ENDPOINT_STATUS + endpoint.number * NicControl.ENDPOINT_STRIDE
        deadline = self._platform.now() + IDLE_LIMIT_NS
        while await self.read(status) & NicControl.ENDPOINT_STATUS_BUSY_M:
            if self._platform.now() >= deadline:
                return False
            await self._platform.sleep(POLL_NS)
        return True

    async def settle(self) -> None:
        """Wait until the NIC has every write posted so far: a read pushes them."""
        await self.read(NicControl.ID)

    async def read(self, register: int) -> int:
        """One control register."""
        return int.from_bytes(await self._platform.mmio_read(self._control + register, 4), "little")

    def write(self, register: int, value: int) -> None:
        """Post a write to one control register."""
        self._platform.mmio_write(self._control + register, value.to_bytes(4, "little"))
