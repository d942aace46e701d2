"""A hostile guest with endpoints of its own: its driver writes what it likes where it likes.

After each attempt the guest sends a frame it may send: one bad request costs nobody, not even its author, the next one.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final

from hypervisor_model.domains import Domain
from hypervisor_model.endpoints import CONTROL_BAR
from hypervisor_model.hypervisor import Hypervisor
from sw.abi.registers import Aperture, Completion, Form, SendDescriptor, Status
from sw.guest.machine import EndpointGrant, GuestMachine, ReceiveSetup
from sw.platform import PAGE_SHIFT, PAGE_SIZE, MachineMap, PlatformTimeoutError
from sw.xen.errno import HypercallError
from sw.xen.grant_table import GrantStatus
from tb.sim.attempts import HostileResult

RING_LOG2: Final = 6
CQ_LOG2: Final = 6
WAIT_NS: Final = 2_000_000
"""Longest wait for one completion, behind every frame of the other guests' rings."""
FAULT_POLL_NS: Final = 10_000
FAULT_POLLS: Final = 200
"""Times to look for a fault that nothing else announces."""
UNMAPPED: Final = 0x7F_FFFF_F000
"""An I/O virtual address that nobody maps."""

_DESCRIPTOR = struct.Struct(">QHHI")
_TAIL = struct.Struct(">HHI")
_PLAIN = SendDescriptor.CONTROL_NO_TSO_M
_HEAD = _PLAIN | SendDescriptor.CONTROL_FIRST_M


def descriptor(address: int, length: int, flags: int = _HEAD, count: int = 1) -> bytes:
    return _DESCRIPTOR.pack(address, 0, length, flags | count << SendDescriptor.CONTROL_RDMA_COUNT_S)


class RawEndpoint:
    """An endpoint driven by hand: any bytes as descriptors, completions as they come."""

    def __init__(self, machine: GuestMachine, grant: EndpointGrant, form: Form) -> None:
        self._machine = machine
        self._form = form
        self.grant = grant
        self.index = 0
        """Send-ring index at which the next chain starts, as the NIC's last completion told it."""
        self._entry = 0
        self._mapped: list[tuple[int, int]] = []
        self._pages: list[int] = []

    @classmethod
    async def allocate(cls, machine: GuestMachine, form: Form, receive_form: Form | None = None) -> RawEndpoint:
        return cls(machine, await machine.hypercall.endpoint_allocate(form, receive_form), form)

    async def map_page(self, *, readonly: bool) -> tuple[int, int]:
        """A page of the guest's own, mapped for the device: GFN and device address. The next page is not mapped."""
        kernel, hypercall = self._machine.kernel, self._machine.hypercall
        gfn = kernel.allocate_pages(2)
        self._machine.memory.page(gfn)[:] = bytes(PAGE_SIZE)
        reference = await kernel.grant_access(gfn, readonly=readonly)
        mapping = await hypercall.grant_map_to_device(self.grant.endpoint, reference, readonly=readonly)
        if mapping.status is not GrantStatus.OKAY:
            raise RuntimeError(f"hostile guest: mapping its own page gave {mapping.status.name}")
        self._pages.append(gfn)
        self._mapped.append((mapping.handle, reference))
        return gfn, mapping.device_address

    async def enable(
        self, *, send_base: int | None = None, readonly_completions: bool = False, receive: ReceiveSetup | None = None
    ) -> None:
        """Map a ring and a completion ring and enable; `send_base` replaces the ring's true address."""
        self.ring_gfn, ring = await self.map_page(readonly=True)
        self._cq_gfn, cq = await self.map_page(readonly=readonly_completions)
        self.completion_page = cq
        await self._machine.hypercall.endpoint_enable(
            self.grant.endpoint, RING_LOG2, CQ_LOG2, ring if send_base is None else send_base, cq, receive
        )

    async def release(self) -> None:
        hypercall = self._machine.hypercall
        await hypercall.endpoint_disable(self.grant.endpoint)
        await hypercall.grant_unmap_from_device([handle for handle, _ in self._mapped])
        for (_, reference), gfn in zip(self._mapped, self._pages, strict=True):
            self._machine.kernel.end_access(reference)
            self._machine.kernel.free_pages(gfn, 2)
        await hypercall.endpoint_release(self.grant.endpoint)

    def submit(self, slots: bytes) -> None:
        """Hand descriptors over at `index`: pushed tail first, or written to memory and rung."""
        size = SendDescriptor.BYTES
        count = len(slots) // size
        mask = (1 << RING_LOG2) - 1
        for n in reversed(range(count)):
            at = ((self.index + n) & mask) * size
            piece = slots[n * size : (n + 1) * size]
            if self._form is Form.PUSHED:
                self._machine.mmio_write(self.grant.aperture + Aperture.SEND_RING + at, piece)
            else:
                self._machine.memory.write((self.ring_gfn << PAGE_SHIFT) + at, piece)
        if self._form is Form.FETCHED:
            self.ring(self.index + count)

    def ring(self, producer: int) -> None:
        producer &= Aperture.SEND_DOORBELL_PRODUCER_M
        self._machine.mmio_write(self.grant.aperture + Aperture.SEND_DOORBELL, producer.to_bytes(4, "little"))

    def completions_untouched(self) -> bool:
        """Nothing was ever written to the completion ring."""
        return not any(self._machine.memory.page(self._cq_gfn))

    async def completion(self, timeout_ns: int = WAIT_NS) -> tuple[int, int, Status]:
        """The next completion: index, length, status. Raises `PlatformTimeoutError` after `timeout_ns`."""
        lap, slot = divmod(self._entry, 1 << CQ_LOG2)
        gpa = (self._cq_gfn << PAGE_SHIFT) + slot * Completion.BYTES
        phase = bytes((0, 0, 0, lap % 2 ^ 1))
        if not await self._machine.monitor(gpa + Completion.STATUS, phase, b"\0\0\0\x01", timeout_ns):
            raise PlatformTimeoutError(
                f"hostile guest, endpoint {self.grant.endpoint}: no completion {self._entry} within {timeout_ns} ns"
            )
        index, length, tail = _TAIL.unpack(self._machine.memory.read(gpa + Completion.INDEX, 8))
        self._entry += 1
        self.index = index
        return index, length, Status(tail >> Completion.STATUS_STATUS_S & 0xFF)


@dataclass(frozen=True)
class BadRequest:
    """A request that must fail: its slots (given the guest's own page), and how."""

    name: str
    slots: bytes
    expected: tuple[Status, ...]
    fault_page: int | None = None
    """Page of the IOMMU fault that must be on record."""


def bad_requests(own: int, foreign: int, inline_max: int, max_frame: int) -> list[BadRequest]:
    """Bad chains. `own` is a mapped page's device address, `foreign` the machine address of a victim's page."""
    first_piece = descriptor(own, 64, _HEAD, 2)
    return [
        BadRequest("read an unmapped page", descriptor(UNMAPPED, 64), (Status.READ_UR,), UNMAPPED),
        BadRequest("read a victim's page by machine address", descriptor(foreign, 256), (Status.READ_UR,), foreign),
        BadRequest(
            "run from an own page into an unmapped one",
            descriptor(own + PAGE_SIZE - 32, 64),
            (Status.READ_UR,),
            own + PAGE_SIZE,
        ),
        BadRequest(
            "own first piece, victim's second",
            first_piece + descriptor(foreign, 64, _PLAIN),
            (Status.READ_UR,),
            foreign,
        ),
        BadRequest("address beyond the bus", descriptor(1 << 63, 64), (Status.NOT_AUTHORISED,)),
        BadRequest("range that wraps around", descriptor(2**64 - 32, 64), (Status.NOT_AUTHORISED,)),
        BadRequest("length 0", descriptor(own, 0), (Status.BAD_LENGTH,)),
        BadRequest("longest length", descriptor(own, 0xFFFF), (Status.BAD_LENGTH,)),
        BadRequest("one byte above the limit", descriptor(own, max_frame + 1), (Status.BAD_LENGTH,)),
        # each piece alone is allowed and mapped
        BadRequest(
            "pieces above the limit together",
            descriptor(own, max_frame // 3 + 1, _HEAD, 3) + descriptor(own, max_frame // 3 + 1, _PLAIN) * 2,
            (Status.BAD_LENGTH,),
        ),
        BadRequest("count 0", descriptor(own, 64, count=0), (Status.BAD_DESCRIPTOR,)),
        BadRequest("count 255", descriptor(own, 64, count=255), (Status.BAD_DESCRIPTOR,)),
        BadRequest("no FIRST", descriptor(own, 64, _PLAIN), (Status.BAD_DESCRIPTOR,)),
        BadRequest("reserved flag", descriptor(own, 64, _HEAD | SendDescriptor.CONTROL_RESERVED_M), (Status.UNSUPPORTED,)),
        BadRequest(
            "checksum of nothing",
            descriptor(own, 64, _HEAD | SendDescriptor.CONTROL_CKSUM_M | 64 << SendDescriptor.CONTROL_CKSUM_OFFSET_S),
            (Status.BAD_OFFLOAD,),
        ),
        BadRequest(
            "inline frame above the limit",
            descriptor(0, inline_max + 1, _HEAD | SendDescriptor.CONTROL_INLINE_M, 13)
            + bytes(SendDescriptor.BYTES * 12),
            (Status.BAD_LENGTH, Status.BAD_DESCRIPTOR),
        ),
    ]


def touch_foreign_registers(
    hypervisor: Hypervisor, machine: Domain, victim: Domain, endpoint: int, iommu: int, result: HostileResult
) -> None:
    """MMIO outside a guest's own doorbell pages must enter the hypervisor and go nowhere. `endpoint` is the victim's."""
    endpoints = hypervisor.endpoints
    (page, frame), *_ = endpoints.aperture_pages(endpoints.owned(endpoint, victim.domid))
    slot = machine.layout.device + endpoint * endpoints.stride_pages + page
    control, _ = hypervisor.device.bars[CONTROL_BAR]
    for name, gpa in (
        ("ring a victim's doorbell where its own would be", slot << PAGE_SHIFT),
        ("ring a victim's doorbell by machine address", frame << PAGE_SHIFT),
        ("write a control register", control),
        ("write an IOMMU register", iommu),
    ):
        before = len(hypervisor.faults.guest)
        machine.mmio_write(gpa + Aperture.SEND_DOORBELL, b"\xff\x7f\0\0")
        told = [(f.domid, f.gpa, f.kind) for f in hypervisor.faults.guest[before:]]
        caught = told == [(machine.domid, gpa, "mmio write")]
        result.record(name, "trapped and dropped", "trapped" if caught else f"fault records {told}", caught=caught)


class HostileGuest:
    """Implements `tb.sim.attempts.Hostile`."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        machine: Domain,
        victim: Domain,
        victim_endpoint: int,
        map_: MachineMap,
        *,
        has_endpoint: bool,
    ) -> None:
        """`has_endpoint`: the NIC has one left for it; else it makes only the attempts that need none."""
        self._hv = hypervisor
        self._iommu_registers = map_.iommu
        self._machine = machine
        self._victim = victim
        self._victim_endpoint = victim_endpoint
        self._has_endpoint = has_endpoint
        self._faults_seen = 0
        self.result = HostileResult()

    async def run(self) -> None:
        """All attempts."""
        touch_foreign_registers(
            self._hv, self._machine, self._victim, self._victim_endpoint, self._iommu_registers, self.result
        )
        await self._forge_hypercalls()
        if self._has_endpoint:
            for form in (Form.PUSHED, Form.FETCHED):
                await self._send_bad_requests(form)
            await self._complete_into_readonly_page()
            await self._fetch_from_unmapped_ring()

    async def _forge_hypercalls(self) -> None:
        hypercall, victim = self._machine.hypercall, self._victim_endpoint
        gfn = self._machine.kernel.allocate_pages(1)
        reference = await self._machine.kernel.grant_access(gfn, readonly=False)
        calls: tuple[tuple[str, Awaitable[object]], ...] = (
            (
                "map an own page for a victim's endpoint",
                hypercall.grant_map_to_device(victim, reference, readonly=False),
            ),
            ("enable a victim's endpoint", hypercall.endpoint_enable(victim, 4, 4, 0, 0)),
            ("disable a victim's endpoint", hypercall.endpoint_disable(victim)),
            ("release a victim's endpoint", hypercall.endpoint_release(victim)),
        )
        for name, call in calls:
            try:
                outcome = f"gave {await call}"
                caught = False
            except HypercallError as error:
                outcome = f"refused, errno {error.errno}"
                caught = True
            self.result.record(name, "refused", outcome, caught=caught)
        self._machine.kernel.end_access(reference)
        self._machine.kernel.free_pages(gfn, 1)

    async def _send_bad_requests(self, form: Form) -> None:
        endpoint = await RawEndpoint.allocate(self._machine, form)
        gfn, own = await endpoint.map_page(readonly=True)
        await endpoint.enable()
        for bad in bad_requests(own, self._foreign_page(), endpoint.grant.inline_max, endpoint.grant.max_frame):
            if form is Form.FETCHED and "inline" in bad.name:
                continue  # the inline form is pushed
            # leave room for the record: the hardware keeps eight
            await self._hv.handle_faults()
            endpoint.submit(bad.slots)
            _, length, status = await self._completion(endpoint)
            caught = status in bad.expected and length == 0
            outcome = f"{status.name}, length {length}"
            if bad.fault_page is not None:
                recorded = await self._fault_recorded(bad.fault_page, is_read=True)
                caught &= recorded
                outcome += ", fault recorded" if recorded else ", no fault record"
            if not await self._send_own_frame(endpoint, gfn, own):
                caught = False
                outcome += ", and its next good frame failed"
            expected = " or ".join(status.name for status in bad.expected)
            self.result.record(f"{form.name.lower()}: {bad.name}", expected, outcome, caught=caught)
        await endpoint.release()

    async def _complete_into_readonly_page(self) -> None:
        """The completion ring lies in a page that the device may only read: the write must be dropped."""
        endpoint = await RawEndpoint.allocate(self._machine, Form.PUSHED)
        gfn, own = await endpoint.map_page(readonly=True)
        await endpoint.enable(readonly_completions=True)
        endpoint.submit(self._own_frame(endpoint, gfn, own))
        page = endpoint.completion_page
        recorded = False
        for _ in range(FAULT_POLLS):
            await self._machine.sleep(FAULT_POLL_NS)
            if recorded := await self._fault_recorded(page, is_read=False):
                break
        untouched = endpoint.completions_untouched()
        self.result.record(
            "completion ring in a page that is read-only for the device",
            "write dropped, fault recorded",
            f"{'dropped' if untouched else 'written'}, {'fault recorded' if recorded else 'no fault record'}",
            caught=untouched and recorded,
        )
        await endpoint.release()

    async def _fetch_from_unmapped_ring(self) -> None:
        endpoint = await RawEndpoint.allocate(self._machine, Form.FETCHED)
        await endpoint.enable(send_base=UNMAPPED)
        endpoint.ring(1)
        _, _, status = await self._completion(endpoint)
        recorded = await self._fault_recorded(UNMAPPED, is_read=True)
        self.result.record(
            "send ring in an unmapped page",
            Status.FETCH_ERROR.name,
            f"{status.name}, {'fault recorded' if recorded else 'no fault record'}",
            caught=status is Status.FETCH_ERROR and recorded,
        )
        await endpoint.release()

    def _foreign_page(self) -> int:
        """Machine address of a page of the victim that is no device address of the hostile guest."""
        for gfn in self._victim.ram:
            frame = self._victim.p2m.frame(gfn)
            if frame is not None and frame not in self._machine.ram:
                return frame << PAGE_SHIFT
        raise RuntimeError("every frame of the victim is also a guest frame number of the hostile guest")

    async def _fault_recorded(self, page: int, *, is_read: bool) -> bool:
        """Whether a fault at `page`, charged to this guest, is on record since the last call that asked."""
        await self._hv.handle_faults()
        seen = self._hv.faults.device[self._faults_seen :]
        found = any((f.domid, f.address, f.is_read) == (self._machine.domid, page, is_read) for f in seen)
        if found:
            self._faults_seen += len(seen)
        return found

    def _own_frame(self, endpoint: RawEndpoint, gfn: int, own: int) -> bytes:
        """Write the next frame that it may send into its page; the descriptor for it."""
        sent = self.result.frames.setdefault(endpoint.grant.endpoint, [])
        frame = b"\x02\0\0\0\0\xff" * 2 + b"\x88\xb5" + len(sent).to_bytes(2, "big") + bytes(range(64))
        self._machine.memory.write(gfn << PAGE_SHIFT, frame)
        sent.append(frame)
        return descriptor(own, len(frame))

    async def _send_own_frame(self, endpoint: RawEndpoint, gfn: int, own: int) -> bool:
        endpoint.submit(self._own_frame(endpoint, gfn, own))
        _, length, status = await self._completion(endpoint)
        return (length, status) == (len(self.result.frames[endpoint.grant.endpoint][-1]), Status.OK)

    async def _completion(self, endpoint: RawEndpoint) -> tuple[int, int, Status]:
        told = await endpoint.completion()
        self.result.completions.append((told[0], told[1], int(told[2])))
        return told
