"""Grant tables as a whole: size, version, status words, swaps, transfers, and the death of a domain."""

from __future__ import annotations

import struct

import pytest

from hypervisor_model.memory import PageType
from sw.abi.registers import Form
from sw.xen.errno import HypercallError
from sw.xen.grant_table import GrantStatus
from tests.xen.grants_support import (
    ACCEPT,
    BAD_DOMAIN,
    BAD_GREF,
    BAD_PAGE,
    DENIED,
    EAGAIN,
    EBUSY,
    EFAULT,
    EINVAL,
    EOPNOTSUPP,
    EPERM,
    ESRCH,
    FLUSH,
    GENERAL,
    GET_VERSION,
    GRANT_TABLE_OP,
    HOST,
    OKAY,
    PAGE,
    PERMIT,
    QUERY,
    READING,
    READONLY,
    SELF,
    SET_VERSION,
    SETUP,
    STATUS_FRAMES,
    SUB_PAGE,
    SWAP,
    WRITING,
    World,
    at,
    build,
)

COMMITTED, COMPLETED = 4, 8


def setup_table(world: World, domid: int, frames: int, *, count: int = 1, list_at: int | None = None) -> tuple[int, int, bytes]:
    """Result, status, frame list of `a`'s call."""
    where = world.scratch(world.a)
    data = build(24, (0, "H", domid), (4, "I", frames), (8, "h", 77), (16, "Q", where + 64 if list_at is None else list_at))
    result, answer = world.call(world.a, GRANT_TABLE_OP, SETUP, data + bytes(64 - 24 + 8 * 64), count)
    return result, at(answer, 8, "h"), answer[64 : 64 + 8 * frames]


def test_setup_table() -> None:
    world = World()
    a = world.a
    assert setup_table(world, SELF, 1, count=2)[0] == -EINVAL
    assert setup_table(world, 99, 1)[:2] == (0, BAD_DOMAIN)
    assert setup_table(world, 2, 1)[:2] == (0, DENIED)
    assert setup_table(world, SELF, 65)[:2] == (0, GENERAL)
    assert setup_table(world, SELF, 1, list_at=1 << 40)[0] == -EFAULT
    result, status, frames = setup_table(world, 1, 3)
    assert (result, status) == (0, OKAY)
    first = a.layout.grant_table
    assert struct.unpack("<3Q", frames) == (first, first + 1, first + 2)
    # smaller is no smaller, and the list is of what was asked for
    assert setup_table(world, SELF, 2)[2] == frames[:16]
    assert len(world.hv.grants.table(1).frames) == 3
    for gfn in range(first, first + 3):
        frame = world.frame(a, gfn)
        assert (world.hv.frames.owner(frame), world.hv.frames.type_of(frame)) == (1, (PageType.GRANT_TABLE, 1))
    # tables are none of the domain's pages
    assert world.hv.frames.pages(1) == len(a.ram)


def test_a_table_page_whose_place_is_taken_is_at_no_guest_frame() -> None:
    world = World()
    a = world.a
    assert world.reservation(a, 6, [a.layout.grant_table + 1]) == 1
    result, status, frames = setup_table(world, SELF, 2)
    assert (result, status) == (0, OKAY)
    assert struct.unpack("<2Q", frames) == (a.layout.grant_table, (1 << 64) - 1)


def test_query_size() -> None:
    world = World()
    world.setup(world.b, 5)

    def query(caller: int, domid: int) -> tuple[int, int, int]:
        dom = world.hv.domains[caller]
        answer = world.grant_op(dom, QUERY, build(16, (0, "H", domid), (4, "I", 9), (8, "I", 9), (12, "h", 9)))
        return at(answer, 4, "I"), at(answer, 8, "I"), at(answer, 12, "h")

    assert query(2, SELF) == query(2, 2) == query(0, 2) == (5, 64, OKAY)
    assert query(1, 2)[2] == DENIED
    assert query(1, 50)[2] == query(0, 50)[2] == BAD_DOMAIN


def test_versions_are_told_and_changed() -> None:
    world = World()
    a = world.a
    world.setup(a)

    def version_of(caller: int, domid: int) -> tuple[int, int]:
        result, answer = world.call(world.hv.domains[caller], GRANT_TABLE_OP, GET_VERSION, build(8, (0, "H", domid)))
        return result, at(answer, 4, "I")

    def set_version(version: int) -> tuple[int, int]:
        result, answer = world.call(a, GRANT_TABLE_OP, SET_VERSION, build(4, (0, "I", version)))
        return result, at(answer, 0, "I")

    assert version_of(1, SELF) == version_of(0, 1) == (0, 1)
    assert version_of(1, 2)[0] == -EPERM and version_of(0, 50)[0] == -ESRCH
    assert set_version(3) == set_version(0) == (-EINVAL, 1)
    assert set_version(1) == (0, 1)
    assert set_version(2) == (0, 2)
    assert version_of(1, SELF) == (0, 2)
    assert set_version(1) == (0, 1)


def test_only_reserved_entries_outlive_a_change_of_version() -> None:
    world = World()
    a, b = world.a, world.b
    world.setup(a)
    gfn = a.kernel.allocate_pages(1)
    world.put_v1(a, 1, PERMIT, 2, gfn)
    world.put_v1(a, 9, PERMIT, 2, gfn)
    # a reserved entry may be in use meanwhile, as xenstore's always is
    _, handle, _ = world.map(b, 1, 1, world.outside(b))
    world.grant_op(a, SET_VERSION, build(4, (0, "I", 2)))
    world.run(a.hypercall.get_status_frames(1))
    table = a.layout.grant_table * PAGE
    assert a.memory.read(table + 16, 16) == build(16, (0, "H", PERMIT), (2, "H", 2), (8, "Q", gfn))
    assert world.status_word(a, 1) == READING | WRITING
    assert a.memory.read(table + 9 * 16, 16) == bytes(16)
    assert world.unmap(b, handle, world.outside(b)) == OKAY
    assert world.status_word(a, 1) == 0
    _, handle, _ = world.map(b, 1, 1, world.outside(b), HOST | READONLY)
    # neither a part nor a frame beyond 32 bits has a place in version 1
    world.put_v2(a, 2, build(16, (0, "H", PERMIT | SUB_PAGE), (2, "H", 2), (8, "Q", gfn)))
    world.put_v2(a, 3, build(16, (0, "H", PERMIT), (2, "H", 2), (8, "Q", 1 << 32)))
    world.grant_op(a, SET_VERSION, build(4, (0, "I", 1)))
    assert a.memory.read(table, 5 * 8) == bytes(8) + struct.pack("<HHI", PERMIT | READING, 2, gfn) + bytes(24)
    assert world.unmap(b, handle, world.outside(b)) == OKAY
    assert world.flags(a, 1) == PERMIT


def test_the_version_stays_while_an_entry_is_in_use() -> None:
    world = World()
    a, b = world.a, world.b
    world.setup(a)
    world.put_v1(a, 8, PERMIT, 2, a.ram.start + 9)
    _, handle, _ = world.map(b, 1, 8, world.outside(b), HOST | READONLY)
    result, answer = world.call(a, GRANT_TABLE_OP, SET_VERSION, build(4, (0, "I", 2)))
    assert (result, answer) == (-EBUSY, build(4, (0, "I", 1)))
    assert world.unmap(b, handle, world.outside(b)) == OKAY
    assert world.call(a, GRANT_TABLE_OP, SET_VERSION, build(4, (0, "I", 2)))[0] == 0


def status_frames(world: World, frames: int, domid: int = SELF, count: int = 1) -> tuple[int, int, bytes]:
    where = world.scratch(world.a)
    data = build(16, (0, "I", frames), (4, "H", domid), (6, "h", 77), (8, "Q", where + 64)) + bytes(48 + 64)
    result, answer = world.call(world.a, GRANT_TABLE_OP, STATUS_FRAMES, data, count)
    return result, at(answer, 6, "h"), answer[64 : 64 + frames * 8]


def test_status_frames_come_and_go_with_version_2() -> None:
    world = World()
    a = world.a
    world.setup(a)
    assert status_frames(world, 1)[:2] == (0, GENERAL)
    world.grant_op(a, SET_VERSION, build(4, (0, "I", 2)))
    assert status_frames(world, 1, count=0)[0] == -EINVAL
    assert status_frames(world, 1, 99)[1] == BAD_DOMAIN and status_frames(world, 1, 2)[1] == DENIED
    first = a.layout.grant_table + 64
    assert status_frames(world, 1) == (0, OKAY, struct.pack("<Q", first))
    assert status_frames(world, 2)[1] == GENERAL
    # 8 pages of 256 entries have 2048 status words
    world.setup(a, 8)
    assert status_frames(world, 2)[1] == GENERAL
    world.setup(a, 9)
    assert status_frames(world, 2) == (0, OKAY, struct.pack("<QQ", first, first + 1))
    frame = world.frame(a, first)
    world.grant_op(a, SET_VERSION, build(4, (0, "I", 1)))
    assert (a.p2m.frame(first), world.hv.frames.owner(frame)) == (None, -1)


def test_references_beyond_the_table_of_each_version() -> None:
    world = World()
    a, b = world.a, world.b
    world.setup(a)
    assert world.map(b, 1, 511, world.outside(b))[0] == GENERAL
    assert world.map(b, 1, 512, world.outside(b))[0] == BAD_GREF
    world.version_2(a)
    assert world.map(b, 1, 255, world.outside(b))[0] == GENERAL
    assert world.map(b, 1, 256, world.outside(b))[0] == BAD_GREF


@pytest.mark.parametrize("version", [1, 2])
def test_swap(version: int) -> None:
    world = World()
    a, b = world.a, world.b
    size = 8 if version == 1 else 16
    if version == 1:
        world.setup(a)
    else:
        world.version_2(a)
    table = a.layout.grant_table * PAGE

    def entry(domid: int, gfn: int) -> bytes:
        return struct.pack("<HHI" if version == 1 else "<HHxxxxQ", PERMIT, domid, gfn)

    def swap(first: int, second: int) -> int:
        return at(world.grant_op(a, SWAP, build(12, (0, "I", first), (4, "I", second), (8, "h", 7))), 8, "h")

    one, two = entry(2, a.ram.start + 9), entry(3, a.ram.start + 10)
    a.memory.write(table + 9 * size, one)
    a.memory.write(table + 20 * size, two)
    assert swap(9, 20) == OKAY
    assert (a.memory.read(table + 9 * size, size), a.memory.read(table + 20 * size, size)) == (two, one)
    assert swap(9, 512) == swap(512, 9) == BAD_GREF
    _, handle, _ = world.map(b, 1, 20, world.outside(b))
    assert swap(9, 20) == swap(20, 9) == EAGAIN
    assert swap(20, 20) == OKAY
    assert world.unmap(b, handle, world.outside(b)) == OKAY
    assert swap(9, 20) == OKAY
    assert a.memory.read(table + 9 * size, size) == one


def test_cache_flush() -> None:
    world = World()
    a, b = world.a, world.b
    world.setup(a)
    gfn = a.ram.start + 9
    address = world.frame(a, gfn) * PAGE

    def flush(dom_name: str, bus: int, offset: int, length: int, op: int) -> int:
        data = build(16, (0, "Q", bus), (8, "H", offset), (10, "H", length), (12, "I", op))
        return world.call(getattr(world, dom_name), GRANT_TABLE_OP, FLUSH, data)[0]

    assert flush("a", address, 0, PAGE, 1) == flush("a", address, 100, 100, 3) == 0
    assert flush("a", address, 1, PAGE, 1) == flush("a", address, 0, 1, 4) == -EINVAL
    assert flush("a", address, 0, 8, 2) == flush("a", address, 0, 8, 1 | 1 << 31) == -EOPNOTSUPP
    assert flush("a", 1 << 40, 0, 8, 1) == -EINVAL
    assert flush("a", 1 << 40, 0, 0, 1) == flush("a", 1 << 40, 0, 8, 0) == 0
    assert flush("a", 0, 0, 8, 1) == flush("a", world.hv.frames.m2p.frames.start * PAGE, 0, 8, 1) == -EPERM
    assert flush("b", address, 0, 8, 1) == -EINVAL
    world.put_v1(a, 9, PERMIT, 2, gfn)
    _, handle, bus = world.map(b, 1, 9, world.outside(b))
    assert flush("b", bus, 0, 8, 1) == 0 and flush("c", bus, 0, 8, 1) == -EINVAL
    assert world.unmap(b, handle, world.outside(b)) == OKAY
    assert flush("b", bus, 0, 8, 1) == -EINVAL


# --- transfer -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
def test_transfer_moves_a_page_with_its_contents(version: int) -> None:
    world = World()
    a, b = world.a, world.b
    frames = world.hv.frames

    async def accept() -> int:
        await b.kernel.grants.set_version(version)
        return await b.kernel.grants.accept(world.outside(b), 1)

    reference = world.run(accept())
    gfn = a.kernel.allocate_pages(1)
    frame = world.frame(a, gfn)
    a.memory.write(gfn * PAGE, b"moved")
    assert not b.p2m.is_mapped(world.outside(b))
    assert world.run(a.hypercall.grant_transfer(gfn, 2, reference)) is GrantStatus.OKAY
    assert (a.p2m.frame(gfn), b.p2m.frame(world.outside(b))) == (None, frame)
    assert (frames.owner(frame), frames.references(frame), frames.m2p.gfn(frame)) == (2, 1, world.outside(b))
    assert (frames.pages(1), frames.pages(2)) == (len(a.ram) - 1, len(b.ram) + 1)
    assert b.memory.read(world.outside(b) * PAGE, 5) == b"moved"
    size = 8 if version == 1 else 16
    assert world.flags(b, reference, size) == ACCEPT | COMMITTED | COMPLETED
    assert b.kernel.grants.end_accept(reference)
    # the page is b's to give
    assert world.reservation(b, 1, [world.outside(b)]) == 1


def test_transfer_refused() -> None:
    world = World()
    a, b = world.a, world.b
    frames = world.hv.frames
    world.setup(a)
    world.setup(b)
    target = world.outside(b)
    world.put_v1(b, 9, ACCEPT, 1, target)
    used = a.kernel.allocate_pages(1)
    world.put_v1(a, 9, PERMIT, 2, used)
    _, handle, _ = world.map(b, 1, 9, target + 1)
    # nothing there, a page that somebody maps, a page of Xen's: the caller keeps what it has
    for gfn in (a.ram.stop + 0x90, used, a.layout.grant_table):
        before = a.p2m.frame(gfn)
        assert world.transfer(a, gfn, 2, 9) == BAD_PAGE
        assert a.p2m.frame(gfn) == before
    assert world.unmap(b, handle, target + 1) == OKAY
    # every other failure costs the page, and the entry is as it was
    cases = [
        (ACCEPT, 1, target, 99, 9, BAD_DOMAIN),
        (ACCEPT, 1, target, 2, 512, GENERAL),
        (ACCEPT, 3, target, 2, 9, GENERAL),
        (PERMIT, 1, target, 2, 9, GENERAL),
        (0, 1, target, 2, 9, GENERAL),
        (ACCEPT | COMMITTED, 1, target, 2, 9, GENERAL),
        (ACCEPT, 1, b.ram.start, 2, 9, GENERAL),
        (ACCEPT, 1, b.layout.device, 2, 9, GENERAL),
    ]
    for flags, domid, place, to, reference, status in cases:
        world.put_v1(b, 9, flags, domid, place)
        gfn = a.kernel.allocate_pages(1)
        frame = world.frame(a, gfn)
        assert world.transfer(a, gfn, to, reference) == status
        assert (a.p2m.frame(gfn), frames.owner(frame), frames.m2p.gfn(frame)) == (None, -1, None)
        assert world.flags(b, 9) == flags
    # a domain takes no more than it may have
    world.put_v1(b, 9, ACCEPT, 1, target)
    frames.set_limit(2, frames.pages(2))
    assert world.transfer(a, a.kernel.allocate_pages(1), 2, 9) == GENERAL
    frames.set_limit(2, frames.pages(2) + 1)
    assert world.transfer(a, a.kernel.allocate_pages(1), 2, 9) == OKAY
    # an acceptance serves once
    frames.set_limit(2, 1000)
    assert world.transfer(a, a.kernel.allocate_pages(1), 2, 9) == GENERAL


def test_a_page_that_a_device_reaches_is_never_given_away() -> None:
    world = World()
    a, b = world.a, world.b

    async def run() -> None:
        accepted = await b.kernel.grants.accept(world.outside(b), 1)
        await a.hypercall.endpoint_allocate(Form.PUSHED)
        gfn = a.kernel.allocate_pages(1)
        reference = await a.kernel.grant_access(gfn, readonly=False)
        mapping = await a.hypercall.grant_map_to_device(0, reference, readonly=True)
        frame = a.p2m.frame(gfn)
        assert await a.hypercall.grant_transfer(gfn, 2, accepted) is GrantStatus.BAD_PAGE
        with pytest.raises(HypercallError, match="refers to it"):
            await a.hypercall.memory_exchange(gfn, 0)
        assert a.p2m.frame(gfn) == frame
        assert world.platform.iommu.translate(0x0101, gfn * PAGE, write=False) == (frame or 0) * PAGE
        await a.hypercall.decrease_reservation(gfn)
        assert world.hv.frames.owner(frame or 0) == 1
        assert await a.hypercall.grant_unmap_from_device([mapping.handle]) == [GrantStatus.OKAY]
        assert world.hv.frames.owner(frame or 0) == -1
        assert world.platform.iommu.translate(0x0101, gfn * PAGE, write=False) is None

    world.run(run())


# --- the death of a domain ------------------------------------------------------------------------


def test_a_dead_domains_pages_stay_with_those_who_map_them_and_what_it_mapped_is_unmapped() -> None:
    world = World()
    a, b = world.a, world.b
    hv, frames = world.hv, world.hv.frames
    world.setup(a)
    world.setup(b)
    given = a.kernel.allocate_pages(1)
    a.memory.write(given * PAGE, b"heritage")
    world.put_v1(a, 9, PERMIT, 2, given)
    world.put_v1(b, 9, PERMIT, 1, b.ram.start + 9)
    frame, of_b = world.frame(a, given), world.frame(b, b.ram.start + 9)
    _, handle, _ = world.map(b, 1, 9, world.outside(b))
    _, second, _ = world.map(b, 1, 9, world.outside(b, 1), HOST | READONLY)
    world.map(a, 2, 9, world.outside(a))
    assert frames.references(of_b) == 2
    hv.grants.destroy(1)
    del hv.domains[1]
    # of all its frames the granted one is left
    assert frames.owned(1) == [frame]
    assert not a.p2m.entries
    assert (frames.references(of_b), world.flags(b, 9)) == (1, PERMIT)
    assert b.memory.read(world.outside(b) * PAGE, 8) == b"heritage"
    assert world.map(b, 1, 9, world.outside(b, 2))[0] == BAD_DOMAIN
    assert world.copy(b, (9, 1, 0), (b.ram.start, SELF, 0), 8, 1) == BAD_DOMAIN
    assert world.unmap(b, handle, world.outside(b)) == OKAY
    assert frames.owner(frame) == 1
    assert world.unmap(b, second, world.outside(b, 1)) == OKAY
    assert frames.owner(frame) == -1 and frames.pages(1) == 0
    with pytest.raises(KeyError):
        hv.grants.table(1)


def test_a_domain_dies_after_its_endpoints() -> None:
    world = World()
    a = world.a

    async def run() -> None:
        await a.hypercall.endpoint_allocate(Form.PUSHED)
        gfn = a.kernel.allocate_pages(1)
        reference = await a.kernel.grant_access(gfn, readonly=False)
        await a.hypercall.grant_map_to_device(0, reference, readonly=False)
        with pytest.raises(ValueError, match="by 1 handles"):
            world.hv.grants.destroy(1)
        mappings = [world.hv.grants.take(handle, 1) for handle in world.hv.grants.handles(1)]
        endpoint = world.hv.endpoints.owned(0, 1)
        await endpoint.space.revoke(mappings)
        for mapping in mappings:
            world.hv.grants.unpin(mapping)
        world.hv.grants.destroy(1)
        await world.hv.endpoints.release(endpoint)

    world.run(run())
    assert not world.hv.frames.owned(1) and not world.hv.grants.handles(1)
