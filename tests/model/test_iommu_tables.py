"""Tables that the hypervisor writes, byte by byte, and the walks of the reference IOMMU."""

from __future__ import annotations

import struct

import pytest

from hypervisor_model.memory import FrameAllocator
from hypervisor_model.second_level import SecondLevelTable
from hypervisor_model.spaces.iommu import IommuSpace
from sw.abi.registers import Form, Iommu, Mode, Status
from sw.platform import MachineMap
from sw.xen.errno import HypercallError
from tb.ethernet import on_line
from tb.model import iommu as reasons
from tb.model.platform import ModelMemory, ModelPlatform
from tests.model.model_support import PAGE, WAIT_NS, RawEndpoint, descriptor, frames_of, machine

PRESENT = 1


def word(memory: ModelMemory, frame: int, index: int) -> int:
    return int(struct.unpack("<Q", memory.read(frame * PAGE + index * 8, 8))[0])


def test_leaf_and_upper_entries() -> None:
    memory = ModelMemory(16 << 20)
    frames = FrameAllocator(memory, 1)
    table = SecondLevelTable(frames)
    dfn = 0x3 << 27 | 0x105 << 18 | 0x1FF << 9 | 0x42
    table.map(dfn, 0x777, write=False)
    upper = word(memory, table.root, 3)
    assert upper & 0xFFF == 3
    second = word(memory, upper >> 12, 0x105)
    assert second & 0xFFF == 3
    third = word(memory, second >> 12, 0x1FF)
    assert third & 0xFFF == 3
    assert word(memory, third >> 12, 0x42) == 0x777 << 12 | 1
    table.map(dfn, 0x777, write=True)
    assert word(memory, third >> 12, 0x42) == 0x777 << 12 | 3
    table.unmap(dfn)
    assert word(memory, third >> 12, 0x42) == 0
    # nothing else was touched: one present entry a level
    for frame in (table.root, upper >> 12, second >> 12):
        assert sum(word(memory, frame, n) != 0 for n in range(512)) == 1


def test_superpage_entries() -> None:
    memory = ModelMemory(16 << 20)
    table = SecondLevelTable(FrameAllocator(memory, 1))
    table.map(0x200, 0x400, write=True, order=9)
    second = word(memory, table.root, 0) >> 12
    third = word(memory, second, 0) >> 12
    assert word(memory, third, 1) == 0x400 << 12 | 0x80 | 3
    table.map(1 << 18, 1 << 18, write=False, order=18)
    assert word(memory, second, 1) == 1 << 30 | 0x80 | 1
    for dfn, frame, order in ((0x201, 0x400, 9), (0x200, 0x401, 9), (0, 0, 5), (1 << 36, 0, 0), (0x210, 1, 0)):
        with pytest.raises(ValueError):
            table.map(dfn, frame, write=False, order=order)
    table.map(0x600, 1, write=False)
    with pytest.raises(ValueError, match="smaller pages"):
        table.map(0x600, 0x400, write=False, order=9)


def test_root_and_context_entries() -> None:
    platform, hv = machine()
    guest = RawEndpoint(hv.create_domain("guest", 64), Form.PUSHED)
    platform.run(guest.open())
    memory = platform.memory
    root = platform.iommu._root
    assert platform.iommu.read_register(Iommu.RTADDR_LO) == root
    low, high = struct.unpack("<QQ", memory.read(root + 1 * 16, 16))
    assert low & 0xFFF == PRESENT and high == 0
    assert [n for n in range(256) if any(memory.read(root + n * 16, 16))] == [1]
    context = low & ~0xFFF
    assert [n for n in range(256) if any(memory.read(context + n * 16, 16))] == [1 + guest.number]
    low, high = struct.unpack("<QQ", memory.read(context + (1 + guest.number) * 16, 16))
    endpoint = hv.endpoints.owned(guest.number, guest.domain.domid)
    assert isinstance(endpoint.space, IommuSpace)
    # present, untranslated requests, root of the tables; four levels, domain id
    assert low == endpoint.space.table.root << 12 | PRESENT
    assert high == 2 | (1 + guest.number) << 8


def test_native_owner_has_a_pass_through_entry_for_the_physical_function_only() -> None:
    platform, hv = machine()
    guest = RawEndpoint(hv.create_domain("owner", 64, mode=Mode.NATIVE), Form.PUSHED)
    platform.run(guest.open())
    low, _ = struct.unpack("<QQ", platform.memory.read(platform.iommu._root + 16, 16))
    context = low & ~0xFFF
    assert [n for n in range(256) if any(platform.memory.read(context + n * 16, 16))] == [0]
    low, high = struct.unpack("<QQ", platform.memory.read(context, 16))
    assert low == 2 << 2 | PRESENT and high & 7 == 2


def test_superpage_carries_frames() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 1200)
    guest = RawEndpoint(dom, Form.PUSHED)
    first = -(-dom.ram.start // 512) * 512
    payload = bytes(range(256)) * 30

    async def run() -> None:
        await guest.open()
        with pytest.raises(HypercallError, match="consecutive"):
            await dom.hypercall.map_superpage_to_device(guest.number, first, readonly=True)
        await dom.hypercall.memory_exchange(first, 9)
        address = await dom.hypercall.map_superpage_to_device(guest.number, first, readonly=True)
        dom.memory.write((first + 300) * PAGE + 77, payload)
        guest.push(0, descriptor(address + 300 * PAGE + 77, len(payload)))
        await platform.sleep(100_000)
        await dom.hypercall.endpoint_disable(guest.number)
        await dom.hypercall.grant_unmap_from_device(guest.handles)
        await dom.hypercall.endpoint_release(guest.number)

    platform.run(run())
    assert guest.completion(0).status is Status.OK
    assert frames_of(platform, 0) == [on_line(payload)]
    frame = dom.p2m.frame(first)
    assert frame is not None and hv.frames.references(frame) == 1


class Walk:
    """A hand-made table set: requester 0x0101, domain 5, one path to IOVA 0x40201_000."""

    IOVA = 1 << 30 | 1 << 21 | 1 << 12

    def __init__(self) -> None:
        self.platform = ModelPlatform(MachineMap(ram_bytes=4 << 20))
        self.iommu = self.platform.iommu
        self.put(0x1000 + 16, 0x2001)
        self.put(0x2000 + 16, 0x3001)
        self.put(0x2000 + 24, 2 | 5 << 8)
        self.put(0x3000, 0x4003)
        self.put(0x4008, 0x5003)
        self.put(0x5008, 0x6003)
        self.put(0x6008, 0x9003)
        self.iommu.write_register(Iommu.RTADDR_LO, 0x1000)
        self.iommu.write_register(Iommu.GCMD, Iommu.GCMD_SRTP_M)
        self.iommu.write_register(Iommu.GCMD, Iommu.GCMD_TE_M)

    def put(self, address: int, value: int) -> None:
        self.platform.memory.write(address, struct.pack("<Q", value))

    def translate(self, *, write: bool = False, iova: int = IOVA, requester: int = 0x0101) -> int | None:
        return self.iommu.translate(requester, iova, write=write)

    def reason(self) -> int:
        return self.iommu.read_register(Iommu.FRCD_W3) & 0xFF


def test_walk_reaches_its_page() -> None:
    walk = Walk()
    assert walk.translate(iova=Walk.IOVA + 0x123) == 0x9123
    assert walk.translate(write=True) == 0x9000


@pytest.mark.parametrize(
    ("address", "value", "write", "reason"),
    [
        (0x1010, 0, False, reasons.ROOT_NOT_PRESENT),
        (0x1010, 0x2003, False, reasons.ROOT_RESERVED),
        (0x1010, 0x4000_0001, False, reasons.CONTEXT_UNREADABLE),
        (0x2010, 0, False, reasons.CONTEXT_NOT_PRESENT),
        (0x2010, 0x3005, False, reasons.CONTEXT_INVALID),
        (0x2018, 1 | 5 << 8, False, reasons.CONTEXT_INVALID),
        (0x2010, 0x3011, False, reasons.CONTEXT_RESERVED),
        (0x2010, 0x4000_0001, False, reasons.TABLE_UNREADABLE),
        (0x6008, 0x9001, True, reasons.WRITE_DENIED),
        (0x6008, 0x9002, False, reasons.READ_DENIED),
        (0x6008, 0, False, reasons.READ_DENIED),
        (0x6008, 0, True, reasons.WRITE_DENIED),
        # permission is the AND over all levels
        (0x3000, 0x4001, True, reasons.WRITE_DENIED),
        (0x4008, 0x5002, False, reasons.READ_DENIED),
        (0x5008, 0x0020_1083, False, reasons.ENTRY_RESERVED),
        (0x3000, 0x4083, False, reasons.ENTRY_RESERVED),
    ],
)
def test_fault_reasons(address: int, value: int, write: bool, reason: int) -> None:
    walk = Walk()
    walk.put(address, value)
    assert walk.translate(write=write) is None
    assert walk.reason() == reason
    assert walk.iommu.read_register(Iommu.FRCD_W2) == 0x0101
    assert walk.iommu.read_register(Iommu.FRCD_W0) == Walk.IOVA
    assert bool(walk.iommu.read_register(Iommu.FRCD_W3) & Iommu.FRCD_W3_T_M) is not write


def test_address_beyond_width_and_unknown_requester() -> None:
    walk = Walk()
    assert walk.translate(iova=1 << 48) is None
    assert walk.reason() == reasons.BEYOND_WIDTH
    assert walk.translate(requester=0x0201) is None
    assert walk.iommu.read_register(Iommu.FRCD_W3 + 16) & 0xFF == reasons.ROOT_NOT_PRESENT


def test_superpages_of_both_sizes() -> None:
    walk = Walk()
    walk.put(0x5008, 0x0020_0083)
    assert walk.translate(iova=Walk.IOVA + 0x5678) == 0x20_0000 + 0x1000 + 0x5678
    walk = Walk()
    walk.put(0x4008, 0x4000_0083)
    assert walk.translate(iova=Walk.IOVA + 0x5678) == Walk.IOVA + 0x5678


def test_stale_entry_is_visible_until_flushed_and_other_domains_keep_theirs() -> None:
    platform, hv = machine()
    first = RawEndpoint(hv.create_domain("first", 64), Form.PUSHED)
    second = RawEndpoint(hv.create_domain("second", 64), Form.PUSHED)

    def reach(guest: RawEndpoint) -> int | None:
        return platform.iommu.translate(0x0101 + guest.number, guest.buffer, write=False)

    async def run() -> None:
        await first.open()
        await second.open()
        before = reach(first), reach(second)
        assert None not in before
        for guest in (first, second):
            endpoint = hv.endpoints.owned(guest.number, guest.domain.domid)
            assert isinstance(endpoint.space, IommuSpace)
            endpoint.space.table.unmap(guest.buffer // PAGE)
        assert (reach(first), reach(second)) == before
        await hv.iommu.invalidate(1 + first.number, [first.buffer // PAGE])
        assert (reach(first), reach(second)) == (None, before[1])

    platform.run(run(), limit_ns=WAIT_NS)
