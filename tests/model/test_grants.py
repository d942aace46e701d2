"""Grant table version 1 as Xen enforces it, for device mappings."""

from __future__ import annotations

import struct

import pytest

from hypervisor_model.domains import Domain
from hypervisor_model.grants import PIN_GUARD
from sw.abi.registers import Form
from sw.guest.machine import DeviceMapping
from sw.xen.errno import HypercallError
from sw.xen.grant_table import GrantStatus
from tests.model.model_support import PAGE, machine

ENDPOINT = 0


class Guest:
    """A domain with one endpoint that is not enabled."""

    def __init__(self) -> None:
        self.platform, self.hv = machine()
        self.dom = self.hv.create_domain("guest", 64)
        self.gfn = self.dom.kernel.allocate_pages(8)

    async def start(self) -> None:
        await self.dom.hypercall.endpoint_allocate(Form.PUSHED)

    async def map(self, reference: int, *, readonly: bool) -> DeviceMapping:
        return await self.dom.hypercall.grant_map_to_device(ENDPOINT, reference, readonly=readonly)

    async def unmap(self, *handles: int) -> list[GrantStatus]:
        return await self.dom.hypercall.grant_unmap_from_device(list(handles))

    def entry(self, reference: int) -> tuple[int, int, int]:
        """flags, domid, frame as they lie in guest memory."""
        data = self.dom.memory.read(self.dom.ram.stop * PAGE + reference * 8, 8)
        flags, domid, frame = struct.unpack("<HHI", data)
        return flags, domid, frame

    def reach(self, gfn: int) -> tuple[int | None, int | None]:
        """Machine frames that the device reaches at a GFN, for reading and for writing."""
        found = [self.platform.iommu.translate(0x0101 + ENDPOINT, gfn * PAGE, write=write) for write in (False, True)]
        return (
            None if found[0] is None else found[0] // PAGE,
            None if found[1] is None else found[1] // PAGE,
        )


def test_entry_layout_and_in_use_bits() -> None:
    guest = Guest()

    async def run() -> None:
        await guest.start()
        reference = await guest.dom.kernel.grant_access(guest.gfn, readonly=False)
        assert reference >= 8
        assert guest.entry(reference) == (0x0001, 0, guest.gfn)
        reader = await guest.map(reference, readonly=True)
        assert reader.device_address == guest.gfn * PAGE
        assert guest.entry(reference) == (0x0009, 0, guest.gfn)
        writer = await guest.map(reference, readonly=False)
        assert guest.entry(reference) == (0x0019, 0, guest.gfn)
        assert not guest.dom.kernel.end_access(reference)
        assert await guest.unmap(writer.handle) == [GrantStatus.OKAY]
        assert guest.entry(reference) == (0x0009, 0, guest.gfn)
        assert await guest.unmap(reader.handle) == [GrantStatus.OKAY]
        assert guest.entry(reference) == (0x0001, 0, guest.gfn)
        assert guest.dom.kernel.end_access(reference)
        assert guest.entry(reference)[0] == 0

    guest.platform.run(run())


def test_permission_follows_the_mappings() -> None:
    guest = Guest()

    async def run() -> None:
        await guest.start()
        frame = guest.dom.p2m.frame(guest.gfn)
        reference = await guest.dom.kernel.grant_access(guest.gfn, readonly=False)
        assert guest.reach(guest.gfn) == (None, None)
        reader = await guest.map(reference, readonly=True)
        assert guest.reach(guest.gfn) == (frame, None)
        writer = await guest.map(reference, readonly=False)
        # a stale read-only translation may still be cached: more permission needs no invalidation in VT-d
        await guest.hv.iommu.invalidate(1 + ENDPOINT, [guest.gfn])
        assert guest.reach(guest.gfn) == (frame, frame)
        await guest.unmap(writer.handle)
        assert guest.reach(guest.gfn) == (frame, None)
        await guest.unmap(reader.handle)
        assert guest.reach(guest.gfn) == (None, None)

    guest.platform.run(run())


@pytest.mark.parametrize(
    ("readonly_grant", "domid", "readonly_map", "status"),
    [
        (False, 0, False, GrantStatus.OKAY),
        (False, 0, True, GrantStatus.OKAY),
        (True, 0, True, GrantStatus.OKAY),
        (True, 0, False, GrantStatus.GENERAL_ERROR),
        (False, 1, True, GrantStatus.GENERAL_ERROR),
        (False, 7, False, GrantStatus.GENERAL_ERROR),
    ],
)
def test_who_may_map_what(readonly_grant: bool, domid: int, readonly_map: bool, status: GrantStatus) -> None:
    guest = Guest()

    async def run() -> None:
        await guest.start()
        reference = await guest.dom.kernel.grant_access(guest.gfn, readonly=readonly_grant, domid=domid)
        before = guest.entry(reference)
        assert (await guest.map(reference, readonly=readonly_map)).status is status
        if status is not GrantStatus.OKAY:
            assert guest.entry(reference) == before
            assert guest.reach(guest.gfn) == (None, None)

    guest.platform.run(run())


def test_write_map_is_checked_again_when_pinned_for_reading() -> None:
    guest = Guest()

    async def run() -> None:
        await guest.start()
        reference = await guest.dom.kernel.grant_access(guest.gfn, readonly=True)
        assert (await guest.map(reference, readonly=True)).status is GrantStatus.OKAY
        assert (await guest.map(reference, readonly=False)).status is GrantStatus.GENERAL_ERROR
        assert guest.hv.grants.pins(guest.dom.domid, reference) == (1, 0)

    guest.platform.run(run())


def test_bad_references() -> None:
    guest = Guest()

    async def run() -> None:
        await guest.start()
        reference = await guest.dom.kernel.grant_access(guest.gfn, readonly=True)
        assert guest.dom.kernel.end_access(reference)
        assert (await guest.map(reference, readonly=True)).status is GrantStatus.GENERAL_ERROR
        assert (await guest.map(512, readonly=True)).status is GrantStatus.BAD_GREF
        assert (await guest.map(0xFFFF_FFFF, readonly=True)).status is GrantStatus.BAD_GREF

    guest.platform.run(run())


def test_only_own_ram_can_be_granted() -> None:
    guest = Guest()

    async def run() -> None:
        await guest.start()
        aperture = guest.dom.layout.device
        assert aperture in guest.dom.p2m.mmio
        for gfn in (aperture, 5, guest.dom.ram.stop + 1):
            reference = await guest.dom.kernel.grant_access(gfn, readonly=True)
            assert (await guest.map(reference, readonly=True)).status is GrantStatus.BAD_PAGE
            assert guest.entry(reference) == (0x0005, 0, gfn)

    guest.platform.run(run())


def test_handles() -> None:
    guest = Guest()
    other = guest.hv.create_domain("other", 16)

    async def run() -> None:
        await guest.start()
        reference = await guest.dom.kernel.grant_access(guest.gfn, readonly=True)
        mapping = await guest.map(reference, readonly=True)
        assert await other.hypercall.grant_unmap_from_device([mapping.handle]) == [GrantStatus.BAD_HANDLE]
        assert guest.reach(guest.gfn)[0] is not None
        assert await guest.unmap(mapping.handle, mapping.handle, 99) == [
            GrantStatus.OKAY,
            GrantStatus.BAD_HANDLE,
            GrantStatus.BAD_HANDLE,
        ]
        assert await guest.unmap(mapping.handle) == [GrantStatus.BAD_HANDLE]

    guest.platform.run(run())


def test_pin_counter_stops_at_its_guard() -> None:
    guest = Guest()

    async def run() -> None:
        await guest.start()
        reference = await guest.dom.kernel.grant_access(guest.gfn, readonly=True)
        for _ in range(PIN_GUARD):
            assert (await guest.map(reference, readonly=True)).status is GrantStatus.OKAY
        assert (await guest.map(reference, readonly=True)).status is GrantStatus.GENERAL_ERROR
        assert guest.hv.grants.pins(guest.dom.domid, reference) == (128, 0)

    guest.platform.run(run())


def test_page_given_back_while_pinned_stays_until_the_last_unmap() -> None:
    guest = Guest()

    async def run() -> None:
        await guest.start()
        frame = guest.dom.p2m.frame(guest.gfn)
        assert frame is not None
        reference = await guest.dom.kernel.grant_access(guest.gfn, readonly=True)
        first = await guest.map(reference, readonly=True)
        second = await guest.map(reference, readonly=True)
        await guest.dom.hypercall.decrease_reservation(guest.gfn)
        assert guest.hv.frames.owner(frame) == guest.dom.domid
        # the same GFN with another frame behind it must not slip under the old mapping
        await guest.dom.hypercall.populate_physmap(guest.gfn)
        fresh = await guest.dom.kernel.grant_access(guest.gfn, readonly=True)
        assert (await guest.map(fresh, readonly=True)).status is GrantStatus.NO_DEVICE_SPACE
        assert guest.hv.grants.pins(guest.dom.domid, fresh) == (0, 0)
        await guest.unmap(first.handle)
        assert guest.hv.frames.owner(frame) == guest.dom.domid
        assert guest.reach(guest.gfn)[0] == frame
        await guest.unmap(second.handle)
        assert guest.hv.frames.references(frame) == 0
        assert (await guest.map(fresh, readonly=True)).status is GrantStatus.OKAY
        assert guest.reach(guest.gfn)[0] == guest.dom.p2m.frame(guest.gfn) != frame

    guest.platform.run(run())


def test_table_grows_to_its_limit() -> None:
    guest = Guest()

    async def run() -> None:
        gfns = await guest.dom.hypercall.setup_table(64)
        assert len(set(gfns)) == 64
        with pytest.raises(HypercallError, match="65 pages"):
            await guest.dom.hypercall.setup_table(65)

    guest.platform.run(run())


def test_mmio_is_mapped_with_permission_only() -> None:
    _, hv = machine()
    dom = hv.create_domain("guest", 16)
    with pytest.raises(HypercallError, match="no permission"):
        hv.memory_mapping(dom, dom.layout.device, 0xC0000, add=True)
    hv.iomem_permission(dom, 0xC0000, allow=True)
    hv.memory_mapping(dom, dom.layout.device, 0xC0000, add=True)
    assert dom.p2m.mmio == {dom.layout.device: 0xC0000}


def test_guest_memory_is_scattered_and_disjoint() -> None:
    _, hv = machine(3)
    domains: list[Domain] = [hv.create_domain(f"g{n}", 128) for n in range(4)]
    frames = [dom.p2m.frame(gfn) for dom in domains for gfn in dom.ram]
    assert None not in frames and len(set(frames)) == 4 * 128
    neighbours = sum(frames[n + 1] == (frames[n] or 0) + 1 for n in range(len(frames) - 1))
    assert neighbours < 10
    assert [dom.ram.start >= 1 << 20 for dom in domains] == [False, True, False, True]
