"""Grant copy: by reference and by frame on either side, parts of pages, grants passed on, and its checks in Xen's order."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypervisor_model.memory import PageType
from sw.guest.hypercalls import GrantCopy, GrantSide
from sw.xen.grant_table import GrantStatus
from tests.xen.grants_support import (
    BAD_COPY,
    BAD_DOMAIN,
    BAD_GREF,
    BAD_PAGE,
    DENIED,
    GENERAL,
    OKAY,
    PAGE,
    PERMIT,
    RO,
    SELF,
    SUB_PAGE,
    TRANSITIVE,
    World,
    build,
)

SOURCE, DEST = 1, 2


def settled(world: World) -> None:
    """No pin, no in-use bit and no reference is left."""
    hv = world.hv
    for dom in (world.a, world.b, world.c):
        table = hv.grants.table(dom.domid)
        assert not table.active
        for reference in range(8, 40 if table.frames else 8):
            word = world.flags(dom, reference) if table.version == 1 else world.status_word(dom, reference)
            assert not word & 0x18 or table.version == 1 and word & 3 != PERMIT
        for gfn in dom.ram:
            frame = world.frame(dom, gfn)
            assert (hv.frames.references(frame), hv.frames.type_of(frame)) == (1, (PageType.WRITABLE, 1))


def world_with_grants() -> tuple[World, int, int]:
    """`a` grants a page to `c` by 9, `b` one by 9; their GFNs. Pages hold known bytes."""
    world = World()
    pages = []
    for dom in (world.a, world.b):
        world.setup(dom)
        gfn = dom.kernel.allocate_pages(1)
        world.put_v1(dom, 9, PERMIT, 3, gfn)
        dom.memory.write(gfn * PAGE, random.Random(dom.domid).randbytes(PAGE))
        pages.append(gfn)
    return world, pages[0], pages[1]


def test_bytes_go_where_they_are_sent_and_nowhere_else() -> None:
    world, from_, to = world_with_grants()
    a, b, c = world.a, world.b, world.c
    own = c.kernel.allocate_pages(1)
    before_a, before_b = a.memory.read(from_ * PAGE, PAGE), b.memory.read(to * PAGE, PAGE)
    # granted to granted, granted to own, own to granted, own to own
    assert world.copy(c, (9, 1, 100), (9, 2, 300), 50, SOURCE | DEST) == OKAY
    assert world.copy(c, (9, 1, 4000), (own, SELF, 0), 96, SOURCE) == OKAY
    assert world.copy(c, (own, SELF, 10), (9, 2, 4095), 1, DEST) == OKAY
    assert world.copy(c, (own, SELF, 0), (own, SELF, 96), 96, 0) == OKAY
    assert a.memory.read(from_ * PAGE, PAGE) == before_a
    expected = bytearray(before_b)
    expected[300:350] = before_a[100:150]
    expected[4095] = before_a[4010]
    assert b.memory.read(to * PAGE, PAGE) == expected
    assert c.memory.read(own * PAGE, 192) == before_a[4000:] * 2
    settled(world)


def test_a_whole_page_and_nothing() -> None:
    world, from_, to = world_with_grants()
    assert world.copy(world.c, (9, 1, 0), (9, 2, 0), PAGE, SOURCE | DEST) == OKAY
    assert world.b.memory.read(to * PAGE, PAGE) == world.a.memory.read(from_ * PAGE, PAGE)
    assert world.copy(world.c, (9, 1, PAGE), (9, 2, PAGE), 0, SOURCE | DEST) == OKAY
    settled(world)


def test_order_of_the_checks() -> None:
    """Each call breaks one rule and every later one."""
    world, from_, to = world_with_grants()
    a, c = world.a, world.c
    kept = world.b.memory.read(to * PAGE, PAGE)
    far = PAGE - 1
    both = SOURCE | DEST
    cases = [
        # frames are for one's own memory, and that comes before the domain is looked for
        ((from_, 1, far), (to, 99, far), 2, 0, DENIED),
        ((from_, 99, far), (to, 99, far), 2, 0, DENIED),
        ((9, 99, far), (to, 2, far), 2, SOURCE, BAD_DOMAIN),
        ((9, 1, far), (to, 2, far), 2, SOURCE, DENIED),
        ((9, 1, far), (to, 99, far), 2, both, BAD_DOMAIN),
        ((600, 1, far), (600, 2, far), 2, both, BAD_GREF),
        ((10, 1, far), (600, 2, far), 2, both, GENERAL),
        ((9, 1, far), (600, 2, far), 2, both, BAD_GREF),
        ((9, 1, far), (10, 2, far), 2, both, GENERAL),
        ((9, 1, far), (9, 2, 0), 2, both, BAD_COPY),
        ((9, 1, 0), (9, 2, far), 2, both, BAD_COPY),
        ((c.ram.stop + 5, SELF, 0), (9, 2, 0), 2, DEST, BAD_PAGE),
        ((1 << 60, SELF, 0), (9, 2, 0), 2, DEST, BAD_PAGE),
    ]
    for source, dest, length, flags, status in cases:
        assert world.copy(c, source, dest, length, flags) == status, (source, dest)
    # a reference has 32 bits, whatever stands above them
    assert world.copy(c, (9 | 5 << 32, 1, 0), (9, 2, 0), 0, both) == OKAY
    # a readonly entry gives, and takes nothing
    world.put_v1(world.b, 9, PERMIT | RO, 3, to)
    assert world.copy(c, (9, 1, 0), (9, 2, 0), 4, both) == GENERAL
    assert world.copy(c, (9, 2, 0), (9, 1, 0), 4, both) == OKAY
    # granted to another, a page that is not there
    world.put_v1(a, 9, PERMIT, 2, from_)
    assert world.copy(c, (9, 1, 0), (c.ram.start, SELF, 0), 4, SOURCE) == GENERAL
    world.put_v1(a, 9, PERMIT, 3, 0x77777)
    assert world.copy(c, (9, 1, 0), (c.ram.start, SELF, 0), 4, SOURCE) == BAD_PAGE
    assert world.b.memory.read(to * PAGE, PAGE) == kept
    settled(world)


def test_pages_of_xen_are_no_destination() -> None:
    world, _, _ = world_with_grants()
    a, c = world.a, world.c
    world.run(c.hypercall.map_shared_info())
    world.setup(c)
    for gfn, status in ((c.layout.shared_info, BAD_PAGE), (c.layout.grant_table, GENERAL)):
        assert world.copy(c, (9, 1, 0), (gfn, SELF, 0), 8, SOURCE) == status
    # granted for writing, neither is: as a table it may be read
    world.put_v1(a, 10, PERMIT, 3, a.layout.grant_table)
    assert world.copy(c, (c.ram.start, SELF, 0), (10, 1, 0), 8, DEST) == GENERAL
    assert world.copy(c, (10, 1, 80), (c.ram.start, SELF, 0), 8, SOURCE) == OKAY
    assert c.memory.read(c.ram.start * PAGE, 2) == b"\x09\0"  # entry 10 as it was then: in use
    settled(world)


def test_a_page_mapped_by_a_grant_is_not_ones_own() -> None:
    world, _, _ = world_with_grants()
    c = world.c
    assert world.map(c, 1, 9, world.outside(c))[0] == OKAY
    assert world.copy(c, (c.ram.start, SELF, 0), (world.outside(c), SELF, 0), 8, 0) == BAD_PAGE
    world.setup(c)
    world.put_v1(c, 9, PERMIT, 2, world.outside(c))
    assert world.copy(world.b, (9, 3, 0), (world.b.ram.start, SELF, 0), 8, SOURCE) == BAD_PAGE


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.integers(0, PAGE), st.integers(0, PAGE), st.integers(0, PAGE), st.integers(0, PAGE + 1), st.booleans())
def test_parts_of_pages_bound_what_is_copied(
    start: int, length: int, offset: int, count: int, incoming: bool
) -> None:
    """Against arithmetic on byte ranges: inside the page, and inside the part."""
    world = shared_world()
    a, c = world.a, world.c
    gfn, own = a.ram.start + 20, c.ram.start + 20
    world.put_v2(a, 9, build(16, (0, "H", PERMIT | SUB_PAGE), (2, "H", 3), (4, "H", start), (6, "H", length), (8, "Q", gfn)))
    data = random.Random(start * 31 + count).randbytes(PAGE)
    a.memory.write(gfn * PAGE, data)
    c.memory.write(own * PAGE, data[::-1])
    part, mine = (9, 1, offset), (own, SELF, 0)
    status = world.copy(c, mine, part, count, DEST) if incoming else world.copy(c, part, mine, count, SOURCE)
    if offset + count > PAGE or count > PAGE:
        assert status == BAD_COPY
    elif offset < start or offset + count > start + length:
        assert status == GENERAL
    else:
        assert status == OKAY
        here, there = (data[::-1][:count], data[offset : offset + count])
        assert a.memory.read(gfn * PAGE + offset, count) == (here if incoming else there)
        assert c.memory.read(own * PAGE, count) == (here if incoming else there)
    if status != OKAY:
        assert a.memory.read(gfn * PAGE, PAGE) == data and c.memory.read(own * PAGE, PAGE) == data[::-1]
    assert not world.hv.grants.table(1).active


_WORLDS: list[World] = []


def shared_world() -> World:
    """`a` has a table of version 2."""
    if not _WORLDS:
        _WORLDS.append(World())
        _WORLDS[0].version_2(_WORLDS[0].a)
    return _WORLDS[0]


def passed_on(flags: int = TRANSITIVE) -> tuple[World, int]:
    """`a` grants 100 bytes at 50 of a page to `b` by 9, which `b` passes on to `c` by 12."""
    world = World()
    a, b = world.a, world.b
    world.version_2(a)
    world.version_2(b)
    gfn = a.kernel.allocate_pages(1)
    a.memory.write(gfn * PAGE, bytes(range(256)) * 16)
    world.put_v2(a, 9, build(16, (0, "H", PERMIT | SUB_PAGE), (2, "H", 2), (4, "H", 50), (6, "H", 100), (8, "Q", gfn)))
    world.put_v2(b, 12, build(16, (0, "H", flags), (2, "H", 3), (4, "H", 1), (8, "I", 9)))
    return world, gfn


def test_a_grant_passed_on_reaches_the_page_behind_it() -> None:
    world, gfn = passed_on()
    a, c = world.a, world.c
    own = c.ram.start
    assert world.copy(c, (12, 2, 60), (own, SELF, 0), 90, SOURCE) == OKAY
    assert c.memory.read(own * PAGE, 90) == a.memory.read(gfn * PAGE + 60, 90)
    assert world.copy(c, (own, SELF, 0), (12, 2, 50), 10, DEST) == OKAY
    assert a.memory.read(gfn * PAGE + 50, 10) == bytes(range(60, 70))
    # both sides by the same entry
    assert world.copy(c, (12, 2, 50), (12, 2, 100), 50, SOURCE | DEST) == OKAY
    assert a.memory.read(gfn * PAGE + 100, 50) == a.memory.read(gfn * PAGE + 50, 50)
    # the bounds are those of the entry behind
    assert world.copy(c, (12, 2, 49), (own, SELF, 0), 2, SOURCE) == GENERAL
    assert world.copy(c, (12, 2, 149), (own, SELF, 0), 2, SOURCE) == GENERAL
    settled(world)


def test_what_may_not_be_passed_on() -> None:
    world, gfn = passed_on()
    a, b, c = world.a, world.b, world.c
    own = (c.ram.start, SELF, 0)

    def behind(granter: int, reference: int, flags: int = TRANSITIVE) -> None:
        world.put_v2(b, 12, build(16, (0, "H", flags), (2, "H", 3), (4, "H", granter), (8, "I", reference)))

    # nobody, itself, no such reference, a grant to somebody else
    for granter, reference, status in ((99, 9, GENERAL), (2, 9, GENERAL), (1, 4000, BAD_GREF), (1, 10, GENERAL)):
        behind(granter, reference)
        assert world.copy(c, (12, 2, 60), own, 4, SOURCE) == status
    world.put_v2(a, 10, build(16, (0, "H", PERMIT), (2, "H", 3), (8, "Q", gfn)))
    behind(1, 10)
    assert world.copy(c, (12, 2, 60), own, 4, SOURCE) == GENERAL
    # one step only
    world.put_v2(a, 11, build(16, (0, "H", TRANSITIVE), (2, "H", 2), (4, "H", 3), (8, "I", 9)))
    behind(1, 11)
    assert world.copy(c, (12, 2, 60), own, 4, SOURCE) == GENERAL
    # readonly at either step
    behind(1, 9, TRANSITIVE | RO)
    assert world.copy(c, own, (12, 2, 60), 4, DEST) == GENERAL
    assert world.copy(c, (12, 2, 60), own, 4, SOURCE) == OKAY
    behind(1, 9)
    world.put_v2(a, 9, build(16, (0, "H", PERMIT | RO), (2, "H", 2), (8, "Q", gfn)))
    assert world.copy(c, own, (12, 2, 60), 4, DEST) == GENERAL
    assert world.copy(c, (12, 2, 60), own, 4, SOURCE) == OKAY
    settled(world)


def test_copies_hold_an_entry_that_is_mapped_no_longer_than_they_take() -> None:
    world, from_, _ = world_with_grants()
    c = world.c
    _, handle, _ = world.map(c, 1, 9, world.outside(c))
    assert world.copy(c, (9, 1, 0), (c.ram.start, SELF, 0), 8, SOURCE) == OKAY
    assert world.hv.grants.table(1).active[9].pin == 1
    assert world.hv.frames.references(world.frame(world.a, from_)) == 2
    assert world.unmap(c, handle, world.outside(c)) == OKAY
    settled(world)


def test_guest_calls_do_a_batch_of_any_length() -> None:
    world, from_, to = world_with_grants()
    c = world.c
    data = world.a.memory.read(from_ * PAGE, PAGE)
    copies = [GrantCopy(GrantSide(1, n, gref=9), GrantSide(2, 2 * n, gref=9), 1) for n in range(250)]
    copies.append(GrantCopy(GrantSide(1, 4095, gref=9), GrantSide(SELF, 0, gfn=c.ram.start), 2))
    statuses = world.run(c.hypercall.grant_copy(copies))
    assert statuses == [GrantStatus.OKAY] * 250 + [GrantStatus.BAD_COPY_ARG]
    assert world.b.memory.read(to * PAGE, 500)[::2] == data[:250]


@pytest.mark.parametrize("version", [1, 2])
def test_guest_side_of_the_table_publishes_what_copies_find(version: int) -> None:
    world = World()
    a, b, c = world.a, world.b, world.c

    async def run() -> None:
        for dom in (a, b):
            await dom.kernel.grants.set_version(version)
        gfn = a.kernel.allocate_pages(1)
        a.memory.write(gfn * PAGE, b"0123456789")
        whole = await a.kernel.grants.access(gfn, 3, readonly=True)
        target = GrantSide(SELF, 0, gfn=c.ram.start + 9)
        assert await c.hypercall.grant_copy([GrantCopy(GrantSide(1, 2, gref=whole), target, 4)]) == [GrantStatus.OKAY]
        assert c.memory.read((c.ram.start + 9) * PAGE, 4) == b"2345"
        if version == 1:
            return
        part = await a.kernel.grants.access_part(gfn, 2, 4, 3, readonly=True)
        passed = await b.kernel.grants.pass_on(3, 1, part, readonly=True)
        copies = [GrantCopy(GrantSide(2, offset, gref=passed), target, 3) for offset in (4, 3)]
        assert await c.hypercall.grant_copy(copies) == [GrantStatus.OKAY, GrantStatus.GENERAL_ERROR]
        assert c.memory.read((c.ram.start + 9) * PAGE, 4) == b"4565"
        assert a.kernel.end_access(part) and b.kernel.end_access(passed) and a.kernel.end_access(whole)

    world.run(run())
