"""memory_op and mmu_update: each command's effects, refusals and limits, structures built byte by byte."""

from __future__ import annotations

import struct

import pytest

from hypervisor_model.domains import SLACK_PAGES
from hypervisor_model.faults import GuestFaultError
from hypervisor_model.memory import PageType
from sw.abi.registers import Form
from sw.guest.balloon import Balloon
from sw.xen.errno import HypercallError
from sw.xen.grant_table import GrantStatus
from tests.xen.grants_support import (
    E2BIG,
    EBUSY,
    EFAULT,
    EINVAL,
    ENOENT,
    ENOMEM,
    ENOSYS,
    EOPNOTSUPP,
    EPERM,
    ESRCH,
    MEMORY_OP,
    OKAY,
    PAGE,
    PERMIT,
    SELF,
    World,
    at,
    build,
)

INCREASE, DECREASE, MAX_RAM_PAGE, CURRENT, MAXIMUM, POPULATE, ADD, EXCHANGE, M2P, MAX_GPFN, REMOVE = (
    0, 1, 2, 3, 4, 6, 7, 11, 12, 14, 15,
)  # fmt: skip
ADD_BATCH, CLAIM, ACQUIRE = 23, 24, 28
SHARED_INFO, GRANT_TABLE, GMFN, GMFN_RANGE, FOREIGN = range(5)


def of_domain(world: World, dom_name: str, command: int, domid: int = SELF) -> int:
    return world.memory(getattr(world, dom_name), command, struct.pack("<H", domid))[0]


def add(world: World, space: int, index: int, gpfn: int, *, size: int = 0, domid: int = SELF) -> int:
    """`a` places a page."""
    data = build(24, (0, "H", domid), (2, "H", size), (4, "I", space), (8, "Q", index), (16, "Q", gpfn))
    return world.memory(world.a, ADD, data)[0]


def remove(world: World, gpfn: int, domid: int = SELF) -> int:
    return world.memory(world.a, REMOVE, build(16, (0, "H", domid), (8, "Q", gpfn)))[0]


# --- reservations ---------------------------------------------------------------------------------


def test_pages_go_and_come_back_zeroed() -> None:
    world = World()
    a, frames = world.a, world.hv.frames
    gfns = [a.ram.start + 9, a.ram.start + 11]
    old = [world.frame(a, gfn) for gfn in gfns]
    a.memory.write(gfns[0] * PAGE, b"secret")
    assert world.reservation(a, DECREASE, gfns) == 2
    assert [frames.owner(frame) for frame in old] == [-1, -1]
    assert of_domain(world, "a", CURRENT) == frames.pages(1) == len(a.ram) - 2
    with pytest.raises(GuestFaultError):
        a.memory.read(gfns[0] * PAGE, 1)
    assert world.reservation(a, POPULATE, gfns) == 2
    # the same frames, and nothing of what was in them
    assert {world.frame(a, gfn) for gfn in gfns} == set(old)
    assert all(a.memory.read(gfn * PAGE, PAGE) == bytes(PAGE) for gfn in gfns)
    assert [frames.m2p.gfn(world.frame(a, gfn)) for gfn in gfns] == gfns


@pytest.mark.parametrize("order", range(10))
def test_extents_of_every_order(order: int) -> None:
    world = World(ram_bytes=32 << 20)
    a, frames = world.a, world.hv.frames
    frames.set_limit(1, 2000)
    first = world.outside(a)
    assert world.reservation(a, POPULATE, [first, first + 1024], order) == 2
    for start in (first, first + 1024):
        base = world.frame(a, start)
        assert base % (1 << order) == 0
        assert [a.p2m.frame(start + n) for n in range(1 << order)] == list(range(base, base + (1 << order)))
        assert a.p2m.frame(start + (1 << order)) is None
    assert frames.pages(1) == len(a.ram) + (2 << order)
    # an extent goes whole or not at all
    if order:
        assert world.reservation(a, DECREASE, [first + 1], order) == -EINVAL
        assert world.reservation(a, POPULATE, [first + 1 - (1 << order)], order) == -EINVAL
    assert world.reservation(a, DECREASE, [first, first + 1024], order) == 2
    assert frames.pages(1) == len(a.ram)


def test_refused_reservations() -> None:
    world = World()
    a = world.a
    free = world.outside(a)
    world.setup(a)
    world.run(a.hypercall.map_shared_info())
    world.run(a.hypercall.endpoint_allocate(Form.PUSHED))
    for gfn in (free, a.layout.grant_table, a.layout.shared_info, a.layout.device, 1 << 60):
        assert world.reservation(a, DECREASE, [gfn]) == -EINVAL
        assert world.reservation(a, DECREASE, [a.ram.start + 9, gfn]) == 1
        assert world.reservation(a, POPULATE, [a.ram.start + 9]) == 1
    for gfn in (0, a.ram.start, a.layout.grant_table, a.layout.device, a.layout.device + 1023, 1 << 36, 1 << 60):
        assert world.reservation(a, POPULATE, [gfn]) == -EINVAL
        assert world.reservation(a, POPULATE, [free, gfn]) == 1
        assert world.reservation(a, DECREASE, [free]) == 1
    for command in (DECREASE, POPULATE, INCREASE):
        assert world.reservation(a, command, [], 10) == -EINVAL
        assert world.reservation(a, command, [], 0) == 0
        assert world.reservation(a, command, [free], domid=2) == -EPERM
        assert world.reservation(world.dom0, command, [free], domid=50) == -ESRCH
        data = build(32, (0, "Q", world.scratch(a)), (8, "Q", 4097), (24, "H", SELF))
        assert world.memory(a, command, data)[0] == -EINVAL
    data = build(32, (0, "Q", 1 << 40), (8, "Q", 1), (24, "H", SELF))
    assert world.memory(a, POPULATE, data)[0] == world.memory(a, DECREASE, data)[0] == -EFAULT
    assert world.reservation(a, POPULATE, [free], flags=1 << 16) == -EOPNOTSUPP


def test_a_domain_takes_no_more_than_its_maximum() -> None:
    world = World()
    a, frames = world.a, world.hv.frames
    most = len(a.ram) + SLACK_PAGES
    assert of_domain(world, "a", MAXIMUM) == most == frames.limit(1)
    free = [world.outside(a, n) for n in range(SLACK_PAGES + 10)]
    assert world.reservation(a, POPULATE, free) == SLACK_PAGES
    assert of_domain(world, "a", CURRENT) == most
    assert world.reservation(a, POPULATE, free[-1:]) == -ENOMEM
    assert world.reservation(a, INCREASE, [0]) == -ENOMEM
    # what is given back and mapped by somebody still counts, so it is not had twice
    world.setup(a)
    world.put_v1(a, 9, PERMIT, 2, free[0])
    _, handle, _ = world.map(world.b, 1, 9, world.outside(world.b))
    assert world.reservation(a, DECREASE, free[:1]) == 1
    assert world.reservation(a, POPULATE, free[-1:]) == -ENOMEM
    assert world.unmap(world.b, handle, world.outside(world.b)) == OKAY
    assert world.reservation(a, POPULATE, free[-1:]) == 1
    # the machine has an end as well
    frames.set_limit(1, 1 << 20)
    assert world.reservation(a, POPULATE, [], 0) == 0
    taken = 0
    while (done := world.reservation(a, POPULATE, [world.outside(a, 0x1000 + taken + n) for n in range(500)])) > 0:
        taken += done
    assert done == -ENOMEM
    # and nobody else is hurt
    assert world.map(world.b, 1, 10, world.outside(world.b))[0] == -1


def test_more_frames_at_no_guest_frame() -> None:
    world = World()
    a, frames = world.a, world.hv.frames
    before = dict(a.p2m.entries)
    assert world.reservation(a, INCREASE, [1, 2, 3], 1) == 3
    assert frames.pages(1) == len(a.ram) + 6 and len(a.p2m.unplaced) == 6
    assert a.p2m.entries == before
    world.hv.grants.destroy(1)
    assert not any(frames.owner(n) == 1 for n in range(frames.frames))


def test_the_control_domain_acts_for_guests() -> None:
    world = World()
    a = world.a
    assert world.reservation(world.dom0, DECREASE, [a.ram.start + 9], domid=1) == 1
    assert a.p2m.frame(a.ram.start + 9) is None
    assert of_domain(world, "dom0", CURRENT, 1) == len(a.ram) - 1
    assert of_domain(world, "dom0", MAX_GPFN, 1) == a.ram.stop - 1
    assert of_domain(world, "a", MAX_GPFN, 2) == of_domain(world, "a", CURRENT, 2) == of_domain(world, "a", MAXIMUM, 0) == -EPERM
    assert of_domain(world, "dom0", CURRENT, 50) == -ESRCH
    assert world.run(a.vmcall(MEMORY_OP, CURRENT, 1 << 40)) == -EFAULT
    assert world.run(a.vmcall(MEMORY_OP, MAX_RAM_PAGE)) == 8 << 20 >> 12
    assert world.reservation(a, POPULATE, [world.outside(a)]) == 1
    assert of_domain(world, "a", MAX_GPFN) == world.outside(a)


# --- exchange -------------------------------------------------------------------------------------


def exchange(world: World, given: list[int], given_order: int, taken: list[int], order: int, *, domids: tuple[int, int] = (SELF, SELF)) -> tuple[int, int]:
    """Result and nr_exchanged of `a`'s call."""
    where = world.scratch(world.a) + 128
    data = build(
        72, (0, "Q", where), (8, "Q", len(given)), (16, "I", given_order), (24, "H", domids[0]),
        (32, "Q", where + 8 * len(given)), (40, "Q", len(taken)), (48, "I", order), (56, "H", domids[1]),
    )  # fmt: skip
    lists = struct.pack(f"<{len(given) + len(taken)}Q", *given, *taken)
    result, answer = world.memory(world.a, EXCHANGE, data.ljust(128, b"\0") + lists)
    return result, at(answer, 64, "Q")


def test_exchange_gives_consecutive_frames() -> None:
    world = World()
    a, frames = world.a, world.hv.frames
    base = a.ram.start + 8
    given = [base + n for n in (3, 1, 0, 2, 7, 6, 5, 4)]
    old = [world.frame(a, gfn) for gfn in given]
    taken = [base, base + 4]
    assert exchange(world, given, 0, taken, 2) == (0, 8)
    for gfn in taken:
        first = world.frame(a, gfn)
        assert first % 4 == 0 and [a.p2m.frame(gfn + n) for n in range(4)] == list(range(first, first + 4))
    assert frames.pages(1) == len(a.ram)
    assert all(frames.owner(frame) == -1 or frames.m2p.gfn(frame) in given for frame in old)
    # and back, to other guest frames, with the domain at its maximum
    frames.set_limit(1, len(a.ram))
    free = [world.outside(a, 2 * n) for n in range(8)]
    assert exchange(world, taken, 2, free, 0) == (0, 2)
    assert all(a.p2m.frame(base + n) is None for n in range(8)) and all(a.p2m.ram(gfn) for gfn in free)


def test_exchange_is_all_or_nothing() -> None:
    world = World()
    a, frames = world.a, world.hv.frames
    base = a.ram.start + 8
    before, pages = a.p2m.entries, [base + n for n in range(4)]
    world.setup(a)
    world.put_v1(a, 9, PERMIT, 2, base + 2)
    refused = [
        (pages, 0, [base], 1), (pages, 0, [base, base + 4], 2), (pages[:3], 0, [base], 2),
        ([base, base, base + 1, base + 2], 0, [base], 2), (pages, 0, [base, base], 1),
        ([*pages[:3], world.outside(a)], 0, [base], 2), ([*pages[:3], a.layout.grant_table], 0, [base], 2),
        (pages, 0, [base + 1], 2), (pages, 0, [a.layout.device], 2), (pages, 0, [1 << 60], 2),
        (pages, 10, [base], 2), ([base] * 5, 9, [base] * 5, 9),
    ]  # fmt: skip
    for given, given_order, taken, order in refused:
        assert exchange(world, given, given_order, taken, order) == (-EINVAL, 0), taken
    assert exchange(world, pages, 0, [base], 2, domids=(SELF, 1))[0] == -EINVAL
    assert exchange(world, pages, 0, [base], 2, domids=(2, 2))[0] == -EPERM
    _, handle, _ = world.map(world.b, 1, 9, world.outside(world.b))
    assert exchange(world, pages, 0, [base], 2)[0] == -EINVAL
    assert {gfn: a.p2m.entries[gfn] for gfn in before} == before
    assert world.unmap(world.b, handle, world.outside(world.b)) == OKAY
    # no run is left: what was taken on the way is given back
    held = []
    try:
        while True:
            held.append(frames.allocate_run(9, 8, 8))
    except MemoryError:
        pass
    # ... but one
    for frame in range(held[-1], held[-1] + 8):
        frames.put(frame)
    owned = frames.pages(1)
    result = exchange(world, [base + n for n in range(32)], 0, [base + 8 * n for n in range(4)], 3)[0]
    assert (result, frames.pages(1)) == (-ENOMEM, owned)
    assert {gfn: a.p2m.entries[gfn] for gfn in before} == before


# --- placing pages --------------------------------------------------------------------------------


def test_pages_of_xen_are_at_one_place() -> None:
    world = World()
    a, frames = world.a, world.hv.frames
    here, there = world.outside(a), world.outside(a, 1)
    for space, index in ((SHARED_INFO, 0), (GRANT_TABLE, 0), (GRANT_TABLE, 5)):
        assert add(world, space, index, here) == 0
        frame = world.frame(a, here)
        assert frames.m2p.gfn(frame) == here
        assert add(world, space, index, there) == 0
        assert (a.p2m.frame(here), a.p2m.frame(there), frames.m2p.gfn(frame)) == (None, frame, there)
        assert add(world, space, index, there) == 0
        assert remove(world, there) == 0
        assert (a.p2m.frame(there), frames.m2p.gfn(frame)) == (None, None)
        # unhooked, not freed
        assert frames.owner(frame) in (1, 0x7FF2)
        assert add(world, space, index, here) == 0
        assert a.p2m.frame(here) == frame
        assert remove(world, here) == 0
    assert len(world.hv.grants.table(1).frames) == 6
    for space, index in ((SHARED_INFO, 1), (GRANT_TABLE, 64), (GRANT_TABLE, 1 << 31), (5, 0), (1 << 31, 0), (FOREIGN, here)):
        assert add(world, space, index, here) == -EINVAL
    for gpfn in (0, a.layout.device, 1 << 36):
        assert add(world, GRANT_TABLE, 0, gpfn) == add(world, SHARED_INFO, 0, gpfn) == -EINVAL
    assert add(world, GRANT_TABLE, 0, here, domid=2) == -EPERM


def test_status_words_are_placed_by_their_index() -> None:
    world = World()
    a = world.a
    world.version_2(a)
    gfn = a.layout.grant_table + 64
    frame = world.frame(a, gfn)
    assert add(world, GRANT_TABLE, 1 << 31, world.outside(a)) == 0
    assert (a.p2m.frame(gfn), a.p2m.frame(world.outside(a))) == (None, frame)
    assert add(world, GRANT_TABLE, 1 << 31 | 1, gfn) == -EINVAL


def test_what_a_page_is_placed_over_is_freed() -> None:
    world = World()
    a, frames = world.a, world.hv.frames
    one, two, three = (a.ram.start + n for n in (9, 10, 11))
    old = world.frame(a, one)
    assert add(world, GRANT_TABLE, 0, one) == 0
    assert frames.owner(old) == -1 and frames.type_of(world.frame(a, one)) == (PageType.GRANT_TABLE, 1)
    moved, gone = world.frame(a, two), world.frame(a, three)
    a.memory.write(two * PAGE, b"moved")
    assert add(world, GMFN, two, three) == 0
    assert (a.p2m.frame(two), a.p2m.frame(three), frames.owner(gone)) == (None, moved, -1)
    assert a.memory.read(three * PAGE, 5) == b"moved" and frames.m2p.gfn(moved) == three
    # onto itself; from nothing; a page of Xen's
    assert add(world, GMFN, three, three) == 0 and a.p2m.frame(three) == moved
    assert add(world, GMFN, two, three) == add(world, GMFN, one, two) == -EINVAL
    # over a granted page: it is the grant's
    world.setup(world.b)
    world.put_v1(world.b, 9, PERMIT, 1, world.b.ram.start + 9)
    _, handle, _ = world.map(a, 2, 9, two)
    assert add(world, GMFN, three, two) == add(world, GRANT_TABLE, 1, two) == -EINVAL
    assert remove(world, two) == -ENOENT
    assert world.reservation(a, DECREASE, [two]) == -EINVAL
    assert world.unmap(a, handle, two) == OKAY
    assert add(world, GMFN, three, two) == 0


def test_a_range_of_pages_moves() -> None:
    world = World()
    a = world.a
    first, to = a.ram.start + 9, world.outside(a)
    old = [world.frame(a, first + n) for n in range(5)]
    assert add(world, GMFN_RANGE, first, to, size=5) == 0
    assert [a.p2m.frame(to + n) for n in range(5)] == old
    assert add(world, GMFN_RANGE, first, to, size=5) == -EINVAL


def test_removed_memory_stays_the_domains() -> None:
    world = World()
    a, frames = world.a, world.hv.frames
    gfn = a.ram.start + 9
    frame = world.frame(a, gfn)
    assert remove(world, gfn) == 0
    assert (a.p2m.frame(gfn), frames.owner(frame), frames.pages(1)) == (None, 1, len(a.ram))
    assert frames.m2p.gfn(frame) is None
    assert remove(world, gfn) == remove(world, 1 << 60) == -ENOENT
    assert remove(world, gfn, 2) == -EPERM


def batch(world: World, dom_name: str, space: int, foreign: int, pairs: list[tuple[int, int]], domid: int = SELF) -> tuple[int, list[int]]:
    dom = getattr(world, dom_name)
    where = world.scratch(dom)
    lists = struct.pack(f"<{len(pairs)}Q", *(index for index, _ in pairs)) + struct.pack(f"<{len(pairs)}Q", *(gpfn for _, gpfn in pairs))
    data = build(
        32, (0, "H", domid), (2, "H", space), (4, "H", len(pairs)), (6, "H", foreign),
        (8, "Q", where + 32), (16, "Q", where + 32 + 8 * len(pairs)), (24, "Q", where + 32 + 16 * len(pairs)),
    )  # fmt: skip
    result, answer = world.memory(dom, ADD_BATCH, data + lists + b"\x55" * 4 * len(pairs))
    return result, list(struct.unpack(f"<{len(pairs)}i", answer[32 + 16 * len(pairs) :]))


def test_the_control_domain_maps_pages_of_guests() -> None:
    world = World()
    a, dom0, frames = world.a, world.dom0, world.hv.frames
    world.setup(a)
    gfn, here = a.ram.start + 9, world.outside(dom0)
    frame = world.frame(a, gfn)
    a.memory.write(gfn * PAGE, b"guest")
    pairs = [(gfn, here), (world.outside(a), here + 1), (a.layout.grant_table, here + 2), (gfn, 0), (gfn, here + 3)]
    assert batch(world, "dom0", FOREIGN, 1, pairs) == (0, [0, -EINVAL, -EINVAL, -EINVAL, 0])
    assert dom0.memory.read(here * PAGE, 5) == b"guest"
    assert (frames.references(frame), frames.type_of(frame)) == (3, (PageType.WRITABLE, 3))
    assert frames.m2p.gfn(frame) == gfn
    # the guest gives the page back: it stays for as long as it is mapped
    assert world.reservation(a, DECREASE, [gfn]) == 1
    assert frames.owner(frame) == 1
    for gpfn in (here, here + 3):
        assert frames.owner(frame) == 1
        assert world.memory(dom0, REMOVE, build(16, (0, "H", SELF), (8, "Q", gpfn)))[0] == 0
    assert frames.owner(frame) == -1
    # nobody else does, nobody maps itself, spaces without a foreign domain name none
    assert batch(world, "b", FOREIGN, 1, pairs)[0] == -EPERM
    assert batch(world, "dom0", FOREIGN, 50, pairs)[0] == -ESRCH
    assert batch(world, "dom0", FOREIGN, 0, pairs)[0] == -EINVAL
    assert batch(world, "a", GRANT_TABLE, 1, pairs)[0] == batch(world, "a", GMFN_RANGE, 0, pairs)[0] == -EINVAL
    one = world.outside(a)
    assert batch(world, "a", GRANT_TABLE, 0, [(1, one), (64, one + 1)]) == (0, [0, -EINVAL])
    # a foreign page is not memory of one's own
    assert batch(world, "dom0", FOREIGN, 1, [(a.ram.start, here)]) == (0, [0])
    assert world.reservation(dom0, DECREASE, [here]) == -EINVAL
    world.setup(dom0)
    world.put_v1(dom0, 9, PERMIT, 2, here)
    assert world.map(world.b, 0, 9, world.outside(world.b))[0] == -9


def acquire(world: World, dom_name: str, domid: int, kind: int, number: int, count: int, first: int, gfns: list[int]) -> tuple[int, int]:
    dom = getattr(world, dom_name)
    where = world.scratch(dom)
    data = build(
        32, (0, "H", domid), (2, "H", kind), (4, "I", number), (8, "I", count), (16, "Q", first),
        (24, "Q", where + 32 if gfns else 0),
    )  # fmt: skip
    result, answer = world.memory(dom, ACQUIRE, data + struct.pack(f"<{len(gfns)}Q", *gfns))
    return result, at(answer, 8, "I")


def test_a_grant_table_is_acquired_by_the_privileged() -> None:
    world = World()
    a, dom0, frames = world.a, world.dom0, world.hv.frames
    here = world.outside(dom0)
    assert acquire(world, "dom0", 1, 1, 0, 0, 0, []) == (0, 64)
    assert acquire(world, "dom0", 1, 1, 1, 0, 0, []) == (0, 8)
    # as the domain builder does for console and xenstore, before the guest runs
    assert acquire(world, "dom0", 1, 1, 0, 2, 0, [here, here + 1])[0] == 0
    dom0.memory.write(here * PAGE + 8, struct.pack("<HHI", PERMIT, 0, a.ram.start + 3))
    world.setup(a)
    assert world.flags(a, 1) == PERMIT
    assert world.map(dom0, 1, 1, here + 5)[0] == OKAY
    frame = world.frame(dom0, here)
    assert (frames.references(frame), frames.type_of(frame)) == (2, (PageType.GRANT_TABLE, 2))
    assert acquire(world, "dom0", 1, 1, 1, 1, 0, [here + 2])[0] == -EINVAL
    world.grant_op(world.b, 8, build(4, (0, "I", 2)))
    world.setup(world.b)
    assert acquire(world, "dom0", 2, 1, 1, 1, 0, [here + 2])[0] == 0
    assert world.call(world.b, 20, 8, build(4, (0, "I", 1)))[0] == -EBUSY
    refused = [
        ("a", 2, 1, 0, 1, 0, -EPERM), ("dom0", SELF, 1, 0, 1, 0, -EPERM), ("dom0", 0, 1, 0, 1, 0, -EPERM),
        ("dom0", 50, 1, 0, 1, 0, -ESRCH), ("dom0", 1, 0, 0, 1, 0, -EOPNOTSUPP), ("dom0", 1, 1, 2, 1, 0, -EOPNOTSUPP),
        ("dom0", 1, 1, 0, 129, 0, -E2BIG), ("dom0", 1, 1, 0, 1, 64, -EINVAL), ("dom0", 1, 1, 0, 1, 1 << 31, -EINVAL),
    ]  # fmt: skip
    for dom_name, domid, kind, number, count, first, errno in refused:
        assert acquire(world, dom_name, domid, kind, number, count, first, [here + 9])[0] == errno
    # a dead domain's table stays for as long as it is mapped
    world.hv.grants.destroy(2)
    status_frame = world.frame(dom0, here + 2)
    assert frames.owner(status_frame) == 2
    assert world.memory(dom0, REMOVE, build(16, (0, "H", SELF), (8, "Q", here + 2)))[0] == 0
    assert frames.owner(status_frame) == -1


def test_claims_are_the_privileged_domains() -> None:
    world = World()

    def claim(dom_name: str, pages: int, domid: int = 1, *, start: int = 0, order: int = 0, flags: int = 0) -> int:
        fields = (0, "Q", start), (8, "Q", pages), (16, "I", order), (20, "I", flags), (24, "H", domid)
        return world.memory(getattr(world, dom_name), CLAIM, build(32, *fields))[0]

    pages = len(world.a.ram)
    assert claim("a", pages + 10, SELF) == -EPERM
    assert claim("dom0", pages + 10, 50) == -ESRCH
    assert claim("dom0", pages + 10, start=1) == claim("dom0", pages + 10, order=1) == claim("dom0", pages + 10, flags=1) == -EINVAL
    assert claim("dom0", pages) == claim("dom0", pages + SLACK_PAGES + 1) == -EINVAL
    assert claim("dom0", pages + SLACK_PAGES) == 0
    assert claim("dom0", pages + 20) == -EINVAL
    assert claim("dom0", 0) == claim("dom0", 0) == 0
    world.hv.frames.set_limit(1, 1 << 20)
    assert claim("dom0", 1 << 19) == -ENOMEM


# --- the M2P --------------------------------------------------------------------------------------


def test_guests_read_the_m2p_and_cannot_write_it() -> None:
    world = World()
    a, frames = world.a, world.hv.frames
    result, answer = world.memory(a, M2P, bytes(24))
    start, end, highest = struct.unpack("<3Q", answer)
    assert (result, highest) == (0, frames.frames - 1)
    assert end - start >= frames.frames * 8
    assert world.memory(a, M2P, bytes(24)) == (0, answer)
    for gfn in a.ram:
        assert a.memory.read(start + world.frame(a, gfn) * 8, 8) == struct.pack("<Q", gfn)
    moved = world.frame(a, a.ram.start + 9)
    assert add(world, GMFN, a.ram.start + 9, world.outside(a)) == 0
    assert a.memory.read(start + moved * 8, 8) == struct.pack("<Q", world.outside(a))
    with pytest.raises(GuestFaultError):
        a.memory.write(start, bytes(8))
    assert world.run(a.vmcall(MEMORY_OP, M2P, start)) == -EFAULT
    # it is nobody's to grant
    world.setup(a)
    world.put_v1(a, 9, PERMIT | 4, 2, 5)
    world.version_2(a)
    world.put_v2(a, 9, build(16, (0, "H", PERMIT | 4), (2, "H", 2), (8, "Q", start // PAGE)))
    assert world.map(world.b, 1, 9, world.outside(world.b), 6)[0] == -9
    b = world.b
    assert world.reservation(b, POPULATE, [start // PAGE]) == 1
    assert world.memory(b, M2P, bytes(24))[0] == -EBUSY


def test_mmu_update_is_not_for_translated_guests() -> None:
    world = World()
    a = world.a
    where = world.scratch(a)
    frame = world.frame(a, a.ram.start + 9)

    def update(pointer: int, *, count: int = 1, done: int = where + 64, foreign: int = SELF) -> int:
        a.memory.write(where, struct.pack("<QQ", pointer, 0x1234))
        a.memory.write(where + 64, b"\xff" * 4)
        return int(world.run(a.vmcall(1, where, count, done, foreign)))

    for kind in range(4):
        assert update(frame * PAGE | kind) == -EINVAL
        assert a.memory.read(where + 64, 4) == bytes(4)
    assert world.hv.frames.m2p.gfn(frame) == a.ram.start + 9
    assert update(0, count=0) == 0
    assert update(0, done=0, foreign=0) == -EINVAL
    assert update(0, done=1 << 40) == -EFAULT
    assert update(0, foreign=2) == -EPERM
    assert world.hv.entries.hypercalls[1, "mmu_update"] == 8
    assert world.run(a.vmcall(MEMORY_OP, 27, where)) == -ENOSYS


# --- balloon --------------------------------------------------------------------------------------


def test_balloon_reaches_its_targets() -> None:
    world = World(ram_bytes=16 << 20, pages=600)
    a, frames = world.a, world.hv.frames
    balloon = Balloon(a)

    async def run() -> None:
        free = a.kernel.longest_run()
        assert await balloon.set_target(500) == balloon.pages == frames.pages(1) == 500
        assert await a.hypercall.current_reservation() == 500
        assert await balloon.set_target(600) == frames.pages(1) == 600
        assert a.kernel.longest_run() == free
        # all that the kernel has to give, in more than one call
        used = 600 - free
        assert await balloon.set_target(0) == frames.pages(1) == used
        with pytest.raises(MemoryError):
            a.kernel.allocate_pages(1)
        # others take the memory meanwhile
        for _ in range(sum(frames.owner(n) == -1 for n in range(1, frames.frames)) - 10):
            frames.allocate(9)
        assert await balloon.set_target(600) == used + 10
        for gfn in range(10):
            a.memory.write(a.kernel.allocate_pages(1) * PAGE, bytes([gfn]) * PAGE)
        for bad in (-1, 601):
            with pytest.raises(ValueError, match="target"):
                await balloon.set_target(bad)

    world.run(run())


def test_balloon_leaves_granted_pages_alone_and_pinned_frames_allocated() -> None:
    world = World()
    a, frames = world.a, world.hv.frames

    async def run() -> None:
        gfn = a.kernel.allocate_pages(1)
        reference = await a.kernel.grant_access(gfn, readonly=False, domid=2)
        assert (await world.b.hypercall.grant_map(1, reference, world.outside(world.b), readonly=False))[0] is GrantStatus.OKAY
        frame = a.p2m.frame(gfn)
        assert await Balloon(a).set_target(0) == frames.pages(1)
        assert a.p2m.frame(gfn) == frame
        with pytest.raises(HypercallError, match="508"):
            await a.hypercall.decrease_reservation(*range(600))

    world.run(run())
