"""Endpoint life cycle on the NIC's privileged BAR, and the I/O address space of each endpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from hypervisor_model import receive_side
from hypervisor_model.faults import NicRefusal
from hypervisor_model.iommu import IommuDriver
from hypervisor_model.memory import FrameAllocator
from hypervisor_model.pci import PciDevice
from hypervisor_model.spaces.iommu import IommuSpace
from hypervisor_model.spaces.native import NativeSpace, PassThrough
from hypervisor_model.spaces.space import AddressSpace
from hypervisor_model.spaces.validated import ValidatedSpace
from hypervisor_model.spaces.windows import WindowSpace
from hypervisor_model.switch import SEND_ONLY, PortPolicy, SwitchConfig, SwitchTables, endpoint_mac
from hypervisor_model.virtual_functions import VirtualFunctions
from sw.abi.registers import (
    Completion,
    Form,
    Mode,
    NicControl,
    ReceiveBuffer,
    ReceiveCompletion,
    Refusal,
    SendDescriptor,
)
from sw.guest.machine import ReceiveSetup
from sw.platform import PAGE_SHIFT, Platform, PlatformTimeoutError
from sw.xen.errno import Errno, HypercallError
from sw.xen.myri import aperture_pages

APERTURE_BAR: Final = 2
CONTROL_BAR: Final = 4
MAGIC: Final = 0x4D59524D
POLL_NS: Final = 2_000
IDLE_LIMIT_NS: Final = 2_000_000
"""Bound of the wait for an endpoint to have nothing in flight."""
RING_LOG2: Final = range(4, 11)
FENCE_LIMIT_NS: Final = 2_000_000
"""Bound of a fence: longer than any time-out of a DMA read."""
PASS_THROUGH_DOMAIN: Final = NicControl.ENDPOINT_COUNT + 1



@dataclass
class Endpoint:
    """One allocated endpoint."""

    number: int
    domid: int
    form: Form
    mode: Mode
    requester: int
    space: AddressSpace
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
    control: int = 0
    """Its ENDPOINT_CTRL, apart from the enable bit."""


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
        self._pass_through = PassThrough(iommu, device.requester, PASS_THROUGH_DOMAIN)
        self.switch = SwitchTables(self.write)
        self.functions = VirtualFunctions()
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
        self,
        domid: int,
        form: Form,
        mode: Mode,
        receive_form: Form | None,
        policy: PortPolicy | None,
        mac_id: int,
    ) -> Endpoint:
        """Reserve an endpoint and give its function a context entry. `mac_id`: middle 16 bits of its address.

        Without a policy it gets the default one; if it only sends, any source address and VLAN may be in its frames.
        """
        if any(Mode.NATIVE in (mode, e.mode) and e.domid != domid for e in self._endpoints.values()):
            raise HypercallError(Errno.ENODEV, "the NIC has a native owner: it cannot be shared")
        if mode is Mode.VALIDATED and Form.PUSHED in (form, receive_form):
            raise HypercallError(Errno.EINVAL, "a validated endpoint's rings are fetched: the guest must not write them")
        number = self.functions.choose((n for n in range(self.count) if n not in self._endpoints), domid, mode)
        if number is None:
            raise HypercallError(Errno.ENOSPC, f"all {self.count} endpoints are in use, or kept for other domains")
        if policy is None:
            policy = PortPolicy() if receive_form is not None else SEND_ONLY
        own = {e.mac[-1] for e in self.of_domain(domid)}
        # The lowest number that the domain does not use: what it closes and opens again keeps its address.
        ordinal = next(n for n in range(self.count) if n not in own)
        mac = endpoint_mac(mac_id, ordinal)
        # One function for each endpoint is what lets an IOMMU tell guests apart; all other modes use the card's own.
        requester = self._device.vf_requester(number) if mode is Mode.IOMMU else self._device.requester
        space = self._space(number, domid, mode, requester)
        endpoint = Endpoint(number, domid, form, mode, requester, space, mac, receive_form, policy)
        self._endpoints[number] = endpoint
        return endpoint

    def _space(self, number: int, domid: int, mode: Mode, requester: int) -> AddressSpace:
        async def quiesce() -> None:
            endpoint = self._endpoints[number]
            if not await self._idle(endpoint):
                # A guest that never stops sending must not hold its own revocation up.
                self.forced_disables += 1
                await self.disable(endpoint)

        async def disable() -> None:
            endpoint = self._endpoints[number]
            if endpoint.enabled:
                await self.disable(endpoint)

        if mode is Mode.IOMMU:
            return IommuSpace(self._frames, self._iommu, requester, 1 + number, domid, quiesce)
        if mode is Mode.WINDOWS:
            return WindowSpace(self._frames, self._pass_through, number, domid, self.write, self.fence)
        if mode is Mode.VALIDATED:
            return ValidatedSpace(self._frames, self._pass_through, domid, disable)
        return NativeSpace(self._pass_through, quiesce)

    def owned(self, number: int, domid: int) -> Endpoint:
        """An endpoint of this domain. Raises `HypercallError` for anybody else's."""
        endpoint = self._endpoints.get(number)
        if endpoint is None or endpoint.domid != domid:
            raise HypercallError(Errno.ENODEV, f"endpoint {number} does not belong to domain {domid}")
        return endpoint

    @property
    def in_use(self) -> int:
        """Endpoints that are allocated."""
        return len(self._endpoints)

    def of_domain(self, domid: int) -> list[Endpoint]:
        """Endpoints of a domain, by number."""
        return [e for _, e in sorted(self._endpoints.items()) if e.domid == domid]

    def by_requester(self, requester: int) -> Endpoint | None:
        """Who a requester ID belongs to, for fault attribution."""
        return next((e for e in self._endpoints.values() if e.requester == requester), None)

    def aperture_pages(self, endpoint: Endpoint) -> list[tuple[int, int]]:
        """(page offset in the aperture, machine frame) of what the owner may touch."""
        base = (self._apertures + endpoint.number * self._stride) >> PAGE_SHIFT
        return [(page, base + page) for page in aperture_pages(endpoint.form, endpoint.receive_form)]

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
        self.functions.check_master(endpoint.number)
        if receive is not None:
            if endpoint.receive_form is None:
                raise HypercallError(Errno.EINVAL, f"endpoint {endpoint.number} was allocated for sending only")
            receive_side.check(receive, self.max_frame)
        if isinstance(endpoint.space, ValidatedSpace):
            send_base, receive = self._validated_rings(endpoint.space, send_log2, cq_log2, cq_base, receive)
        if receive is not None and endpoint.receive_form is not None:
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
        endpoint.control = (
            endpoint.form << NicControl.ENDPOINT_CTRL_FORM_S
            | endpoint.mode << NicControl.ENDPOINT_CTRL_MODE_S
            | send_log2 << NicControl.ENDPOINT_CTRL_SEND_LOG2_S
            | cq_log2 << NicControl.ENDPOINT_CTRL_CQ_LOG2_S
        )
        self.write(NicControl.ENDPOINT_CTRL + at, endpoint.control | NicControl.ENDPOINT_CTRL_ENABLE_M)
        endpoint.enabled = True
        if not await self._idle(endpoint):
            raise PlatformTimeoutError(f"endpoint {endpoint.number} was enabled but not ready in {IDLE_LIMIT_NS} ns")

    @staticmethod
    def _validated_rings(
        space: ValidatedSpace, send_log2: int, cq_log2: int, cq_base: int, receive: ReceiveSetup | None
    ) -> tuple[int, ReceiveSetup | None]:
        """Check completion rings, make the rings that the hypervisor writes; base of the send ring, and the set-up."""
        space.check_ring("cq_base", cq_base, Completion.BYTES << cq_log2, write=True)
        if receive is not None:
            for n, base in enumerate(receive.queue_bases):
                size = ReceiveCompletion.BYTES << receive.queue_log2
                space.check_ring(f"queue_bases[{n}]", base, size, write=True)
        send_base = space.start_ring("send", 1 << send_log2, SendDescriptor.BYTES)
        if receive is not None:
            small = space.start_ring(
                "small", 1 << receive.small_log2, ReceiveBuffer.BYTES, receive.small_bytes + receive_side.PAD
            )
            big = space.start_ring("big", 1 << receive.big_log2, ReceiveBuffer.BYTES, 1 << receive.buffer_log2)
            receive = replace(receive, small_base=small, big_base=big)
        return send_base, receive

    def post_disable(self, endpoint: Endpoint) -> None:
        """Tell the NIC to stop an endpoint, without waiting: for a domain that is being crashed."""
        # What is in flight goes on under what this register says: mode 0 is NATIVE, and rings have their sizes from it.
        self.write(NicControl.ENDPOINT_CTRL + endpoint.number * NicControl.ENDPOINT_STRIDE, endpoint.control)
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
        if isinstance(endpoint.space, ValidatedSpace):
            endpoint.space.stop_rings()

    async def release(self, endpoint: Endpoint) -> None:
        """Take the context entry away and free the endpoint. It must be disabled and have no pages mapped."""
        if endpoint.enabled or endpoint.space.pages:
            raise HypercallError(
                Errno.EINVAL, f"endpoint {endpoint.number} is enabled or has {endpoint.space.pages} pages mapped"
            )
        self.switch.leave_all(endpoint.number)
        await endpoint.space.release()
        del self._endpoints[endpoint.number]

    async def retire(self, endpoint: Endpoint) -> None:
        """Mode VALIDATED: unpin what the NIC has passed. Reads two indices and waits for a fence."""
        space = endpoint.space
        if not isinstance(space, ValidatedSpace):
            raise HypercallError(Errno.EINVAL, f"endpoint {endpoint.number} is not validated: nothing is pinned")
        at = endpoint.number * NicControl.ENDPOINT_STRIDE
        passed = {"send": await self.read(NicControl.ENDPOINT_INDEX + at) >> NicControl.ENDPOINT_INDEX_CONSUMER_S}
        if "small" in space.rings:
            taken = await self.read(NicControl.ENDPOINT_RX_INDEX + at)
            passed["small"] = taken & NicControl.ENDPOINT_RX_INDEX_SMALL_M
            passed["big"] = taken >> NicControl.ENDPOINT_RX_INDEX_BIG_S
        rings = dict(space.rings)
        # What was passed is authorised, and may still be read or written.
        await self.fence()
        for name, index in passed.items():
            # Disabled meanwhile: its rings are gone, and everything is unpinned.
            if (ring := rings.get(name)) is not None and space.rings.get(name) is ring:
                space.retire(ring, index)

    # --- virtual functions -----------------------------------------------------------------------

    def check_unused(self, number: int) -> None:
        """EBUSY for a function that is assigned, or whose endpoint is allocated."""
        self.functions.check_free(number)
        self._check_released(number)

    def assignable(self) -> list[int]:
        """Functions that can be assigned."""
        return [n for n in range(self.count) if n not in self._endpoints and self.functions.is_free(n)]

    def deassign(self, number: int, domid: int) -> None:
        """Take a function back. EBUSY while its endpoint is allocated."""
        self._check_released(number)
        self.functions.deassign(number, domid)

    def _check_released(self, number: int) -> None:
        if number in self._endpoints:
            raise HypercallError(Errno.EBUSY, f"endpoint {number} is in use by domain {self._endpoints[number].domid}")

    async def set_bus_master(self, number: int, domid: int, *, on: bool) -> None:
        """Bus-master bit of an assigned function. Off: on return nothing of the endpoint is in flight, and it is disabled.

        EACCES for one whose endpoint is not allocated: it has no I/O address space, whatever it reads would fault.
        """
        endpoint = self._endpoints.get(number)
        if on and endpoint is None:
            raise HypercallError(Errno.EACCES, f"function {number} has no I/O address space: its endpoint is not allocated")
        self.functions.set_master(number, domid, on=on)
        if not on and endpoint is not None and endpoint.enabled:
            await self.disable(endpoint)

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

    # --- waits and registers ---------------------------------------------------------------------

    async def fence(self) -> None:
        """Return when every DMA that was authorised before has ended. Bounded, however busy the NIC is."""
        self.write(NicControl.FENCE, NicControl.FENCE_START_M)
        started = await self.read(NicControl.FENCE)
        deadline = self._platform.now() + FENCE_LIMIT_NS
        state = started
        # One that was under way already may end first.
        while state & NicControl.FENCE_BUSY_M and (state - started >> NicControl.FENCE_ENDED_S & 0xFFFF) < 2:
            if self._platform.now() >= deadline:
                raise PlatformTimeoutError(f"the NIC's fence was still busy after {FENCE_LIMIT_NS} ns ({state:#010x})")
            state = await self.read(NicControl.FENCE)

    async def _idle(self, endpoint: Endpoint) -> bool:
        """Wait, bounded, until the NIC reports that nothing of the endpoint is in flight."""
        status = NicControl.ENDPOINT_STATUS + endpoint.number * NicControl.ENDPOINT_STRIDE
        deadline = self._platform.now() + IDLE_LIMIT_NS
        while await self.read(status) & NicControl.ENDPOINT_STATUS_BUSY_M:
            if self._platform.now() >= deadline:
                return False
            await self._platform.sleep(POLL_NS)
        return True

    async def take_refusal(self) -> tuple[NicRefusal | None, bool]:
        """Read and clear the NIC's record of refused DMA; the second value says that at least one was lost."""
        state = await self.read(NicControl.REFUSAL)
        if not state & NicControl.REFUSAL_VALID_M:
            return None, False
        low, high = await self.read(NicControl.REFUSAL_ADDRESS_LO), await self.read(NicControl.REFUSAL_ADDRESS_HI)
        number = (state & NicControl.REFUSAL_ENDPOINT_M) >> NicControl.REFUSAL_ENDPOINT_S
        owner = self._endpoints.get(number)
        refusal = NicRefusal(
            self._platform.now(),
            number,
            owner.domid if owner is not None else None,
            high << 32 | low,
            Refusal((state & NicControl.REFUSAL_REASON_M) >> NicControl.REFUSAL_REASON_S),
            not state & NicControl.REFUSAL_WRITE_M,
        )
        self.write(NicControl.REFUSAL, NicControl.REFUSAL_VALID_M | NicControl.REFUSAL_OVERFLOW_M)
        return refusal, bool(state & NicControl.REFUSAL_OVERFLOW_M)

    async def settle(self) -> None:
        """Wait until the NIC has every write posted so far: a read pushes them."""
        await self.read(NicControl.ID)

    async def read(self, register: int) -> int:
        """One control register."""
        return int.from_bytes(await self._platform.mmio_read(self._control + register, 4), "little")

    def write(self, register: int, value: int) -> None:
        """Post a write to one control register."""
        self._platform.mmio_write(self._control + register, value.to_bytes(4, "little"))
