"""Mapping and unmapping grants: every check in Xen's order, counters, handles, and what each leaves behind."""

from __future__ import annotations

import pytest

from hypervisor_model.faults import GuestFaultError
from hypervisor_model.grant_table import HOST_READ, GrantTable
from hypervisor_model.maptrack import HostMapping, Maptrack
from hypervisor_model.memory import PageType
from sw.abi.registers import Form, Mode
from sw.guest.machine import DeviceMapping
from sw.xen.errno import HypercallError
from sw.xen.grant_table import GrantStatus
from tests.xen.grants_support import (
    APPLICATION,
    BAD_DOMAIN,
    BAD_GREF,
    BAD_HANDLE,
    BAD_PAGE,
    CONTAINS_PTE,
    DEVICE,
    EFAULT,
    EINVAL,
    GENERAL,
    GRANT_TABLE_OP,
    HOST,
    MAP,
    NO_SPACE,
    OKAY,
    PAGE,
    PERMIT,
    READING,
    READONLY,
    REPLACE,
    RO,
    SELF,
    SUB_PAGE,
    TRANSITIVE,
    WRITING,
    World,
    at,
    build,
)

REFERENCE = 9


def granted(flags: int = PERMIT, *, version: int = 1) -> tuple[World, int]:
    """`a` has granted a page to `b`; its GFN."""
    world = World()
    gfn = world.a.kernel.allocate_pages(1)
    if version == 1:
        world.setup(world.a)
        world.put_v1(world.a, REFERENCE, flags, 2, gfn)
    else:
        world.version_2(world.a)
        world.put_v2(world.a, REFERENCE, build(16, (0, "H", flags), (2, "H", 2), (8, "Q", gfn)))
    return world, gfn


@pytest.mark.parametrize("version", [1, 2])
def test_a_mapped_page_is_shared_until_it_is_unmapped(version: int) -> None:
    world, gfn = granted(version=version)
    a, b, here = world.a, world.b, world.outside(world.b)

    def in_use() -> int:
        return world.flags(a, REFERENCE) if version == 1 else world.status_word(a, REFERENCE)

    published = PERMIT if version == 1 else 0
    status, handle, bus = world.map(b, 1, REFERENCE, here)
    frame = world.frame(a, gfn)
    assert (status, bus) == (OKAY, frame * PAGE)
    assert b.p2m.frame(here) == frame
    assert in_use() == published | READING | WRITING
    if version == 2:
        # version 2 leaves the flags to the guest
        assert world.flags(a, REFERENCE, 16) == PERMIT
    b.memory.write(here * PAGE + 7, b"from b")
    assert a.memory.read(gfn * PAGE + 7, 6) == b"from b"
    assert (world.hv.frames.references(frame), world.hv.frames.type_of(frame)) == (2, (PageType.WRITABLE, 2))
    assert world.unmap(b, handle, here) == OKAY
    assert in_use() == published
    assert (world.hv.frames.references(frame), world.hv.frames.type_of(frame)) == (1, (PageType.WRITABLE, 1))
    with pytest.raises(GuestFaultError):
        b.memory.read(here * PAGE, 1)
    assert world.unmap(b, handle, here) == BAD_HANDLE


def test_a_readonly_mapping_cannot_be_written_by_guest_or_hypercall() -> None:
    world, gfn = granted(PERMIT | RO)
    b, here = world.b, world.outside(world.b)
    world.a.memory.write(gfn * PAGE, b"kept")
    status, _, _ = world.map(b, 1, REFERENCE, here, HOST | READONLY)
    assert status == OKAY
    assert world.flags(world.a, REFERENCE) == PERMIT | RO | READING
    assert b.memory.read(here * PAGE, 4) == b"kept"
    with pytest.raises(GuestFaultError, match="memory write"):
        b.memory.write(here * PAGE, b"lost")
    assert b.memory.page(here).readonly
    # the hypervisor does not write there for it either: map writes its answer back
    data = build(32, (8, "I", HOST), (12, "I", REFERENCE), (16, "H", 1))
    world.a.memory.write(gfn * PAGE, data)
    assert world.run(b.vmcall(GRANT_TABLE_OP, MAP, here * PAGE, 1)) == -EFAULT
    assert world.a.memory.read(gfn * PAGE, 32) == data


def test_order_of_the_checks() -> None:
    """Each call breaks one rule and every later one."""
    world, gfn = granted(PERMIT | RO)
    a, b = world.a, world.b
    nowhere = b.ram.start
    assert world.map(b, 99, 1 << 20, nowhere, READONLY)[0] == BAD_GREF
    for flags in (HOST | DEVICE, DEVICE, HOST | APPLICATION, HOST | CONTAINS_PTE):
        assert world.map(b, 99, 1 << 20, nowhere, flags)[0] == GENERAL
    for domid in (99, SELF, 0x7FF2):
        assert world.map(b, domid, 1 << 20, nowhere)[0] == BAD_DOMAIN
    assert world.map(b, 1, 512, nowhere)[0] == BAD_GREF
    assert world.map(b, 1, 0xFFFF_FFFF, nowhere)[0] == BAD_GREF
    # no type, wrong domain, readonly entry, no such page, then a guest frame that is taken
    for flags, domid, frame, wanted, status in (
        (0, 2, gfn, HOST | READONLY, GENERAL),
        (2, 2, gfn, HOST | READONLY, GENERAL),
        (PERMIT, 3, gfn, HOST | READONLY, GENERAL),
        (PERMIT | RO, 2, gfn, HOST, GENERAL),
        (PERMIT, 2, a.ram.stop + 0x90, HOST, BAD_PAGE),
        (PERMIT, 2, 0xFFFF_FFFF, HOST, BAD_PAGE),
        (PERMIT, 2, gfn, HOST, GENERAL),
    ):
        world.put_v1(a, REFERENCE, flags, domid, frame)
        assert world.map(b, 1, REFERENCE, nowhere, wanted)[0] == status
        assert world.flags(a, REFERENCE) == flags
    assert world.hv.frames.references(world.frame(a, gfn)) == 1
    assert list(world.hv.grants.maptrack(2)) == []


@pytest.mark.parametrize("bit", [5, 6, 7])
def test_cache_attributes_are_not_for_translated_callers(bit: int) -> None:
    world, gfn = granted(PERMIT | 1 << bit)
    assert world.map(world.b, 1, REFERENCE, world.outside(world.b))[0] == GENERAL
    assert world.flags(world.a, REFERENCE) == PERMIT | 1 << bit
    assert world.hv.frames.references(world.frame(world.a, gfn)) == 1


def test_an_entry_held_for_a_copy_of_a_part_is_not_mapped() -> None:
    world, gfn = granted(PERMIT | SUB_PAGE, version=2)
    grants = world.hv.grants
    grants.activate(grants.table(1), 2, REFERENCE, HOST_READ, mapping=False)
    # the granter makes a whole page of it meanwhile
    world.put_v2(world.a, REFERENCE, build(16, (0, "H", PERMIT), (2, "H", 2), (8, "Q", gfn)))
    assert world.map(world.b, 1, REFERENCE, world.outside(world.b), HOST | READONLY)[0] == GENERAL
    grants.drop(1, REFERENCE, HOST_READ)
    assert world.map(world.b, 1, REFERENCE, world.outside(world.b), HOST | READONLY)[0] == OKAY


def test_a_place_where_a_grant_is_mapped_cannot_be_granted() -> None:
    """Neither another domain's page nor, mapped by a grant to oneself, one's own: its end would not be known there."""
    world, gfn = granted()
    a, b = world.a, world.b
    world.put_v1(a, REFERENCE + 1, PERMIT, 1, gfn)
    assert world.map(a, 1, REFERENCE + 1, world.outside(a))[0] == OKAY
    world.put_v1(a, REFERENCE + 2, PERMIT, 2, world.outside(a))
    assert world.map(b, 1, REFERENCE + 2, world.outside(b))[0] == BAD_PAGE
    assert world.map(b, 1, REFERENCE, world.outside(b))[0] == OKAY
    world.setup(b)
    world.put_v1(b, REFERENCE, PERMIT, 3, world.outside(b))
    assert world.map(world.c, 2, REFERENCE, world.outside(world.c))[0] == BAD_PAGE


@pytest.mark.parametrize("where", ["RAM", "device window", "grant table", "0", "beyond the address width", "mapped grant"])
def test_a_host_mapping_goes_to_an_empty_guest_frame_only(where: str) -> None:
    world, gfn = granted()
    b = world.b
    world.setup(b)
    taken = world.outside(b)
    if where == "mapped grant":
        assert world.map(b, 1, REFERENCE, taken)[0] == OKAY
    target = {
        "RAM": b.ram.start, "device window": b.layout.device + 7, "grant table": b.layout.grant_table, "0": 0,
        "beyond the address width": 1 << 36, "mapped grant": taken,
    }[where]  # fmt: skip
    assert world.map(b, 1, REFERENCE, target)[0] == GENERAL
    assert world.hv.frames.references(world.frame(world.a, gfn)) == 1 + (where == "mapped grant")


@pytest.mark.parametrize("flags", [PERMIT | SUB_PAGE, TRANSITIVE])
def test_parts_and_passed_on_grants_are_never_mapped(flags: int) -> None:
    world, _ = granted(flags, version=2)
    assert world.map(world.b, 1, REFERENCE, world.outside(world.b))[0] == GENERAL
    assert world.status_word(world.a, REFERENCE) == 0


def test_version_1_gives_up_on_an_entry_that_keeps_changing(monkeypatch: pytest.MonkeyPatch) -> None:
    world, _ = granted()
    tries = []
    original = GrantTable.compare_exchange
    lost = 4

    def racing(self: GrantTable, reference: int, expected: tuple[int, int], flags: int) -> bool:
        tries.append(expected)
        return len(tries) > lost and original(self, reference, expected, flags)

    monkeypatch.setattr(GrantTable, "compare_exchange", racing)
    assert world.map(world.b, 1, REFERENCE, world.outside(world.b))[0] == OKAY
    assert len(tries) == 5
    tries.clear()
    lost = 5
    world.put_v1(world.a, REFERENCE + 1, PERMIT, 2, world.a.ram.start + 1)
    assert world.map(world.b, 1, REFERENCE + 1, world.outside(world.b, 1))[0] == GENERAL
    assert len(tries) == 5


@pytest.mark.parametrize(
    ("flags", "domid"), [(0, 2), (PERMIT | RO, 2), (PERMIT, 3), (PERMIT | SUB_PAGE, 2)]
)
def test_version_2_looks_again_after_setting_the_status(
    monkeypatch: pytest.MonkeyPatch, flags: int, domid: int
) -> None:
    """The guest changes its entry between the two checks: the map fails, and no in-use bit stays."""
    world, gfn = granted(version=2)
    a = world.a
    seen: list[int] = []

    def guest_writes(self: GrantTable) -> None:
        seen.append(world.status_word(a, REFERENCE))
        world.put_v2(a, REFERENCE, build(16, (0, "H", flags), (2, "H", domid), (8, "Q", gfn)))

    monkeypatch.setattr(GrantTable, "barrier", guest_writes)
    assert world.map(world.b, 1, REFERENCE, world.outside(world.b))[0] == GENERAL
    assert seen == [READING | WRITING]
    assert world.status_word(a, REFERENCE) == 0
    assert world.hv.frames.references(world.frame(a, gfn)) == 1


def test_write_upgrade_that_fails_the_second_look_leaves_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    world, gfn = granted(version=2)
    b = world.b
    _, reader, _ = world.map(b, 1, REFERENCE, world.outside(b), HOST | READONLY)
    with monkeypatch.context() as patch:
        patch.setattr(
            GrantTable, "barrier",
            lambda self: world.put_v2(world.a, REFERENCE, build(16, (0, "H", PERMIT | RO), (2, "H", 2), (8, "Q", gfn))),
        )  # fmt: skip
        assert world.map(b, 1, REFERENCE, world.outside(b, 1))[0] == GENERAL
    assert world.status_word(world.a, REFERENCE) == READING
    assert world.unmap(b, reader, world.outside(b)) == OKAY
    assert world.status_word(world.a, REFERENCE) == 0


def test_grantee_and_type_are_settled_while_pinned() -> None:
    """Version 1 cannot keep the granter from writing: what Xen goes by is what it has pinned."""
    world, gfn = granted()
    a, b, c = world.a, world.b, world.c
    frame = world.frame(a, gfn)
    _, reader, _ = world.map(b, 1, REFERENCE, world.outside(b), HOST | READONLY)
    other = a.kernel.allocate_pages(1)
    world.put_v1(a, REFERENCE, 0, 3, other)
    assert world.map(c, 1, REFERENCE, world.outside(c))[0] == GENERAL
    status, writer, bus = world.map(b, 1, REFERENCE, world.outside(b, 1))
    assert (status, bus) == (OKAY, frame * PAGE)
    assert world.unmap(b, writer, world.outside(b, 1)) == world.unmap(b, reader, world.outside(b)) == OKAY
    assert world.flags(a, REFERENCE) == 0


def test_counters_stop_at_their_guard_each_for_itself() -> None:
    world, gfn = granted()
    b = world.b
    handles = []
    for n in range(128):
        status, handle, _ = world.map(b, 1, REFERENCE, world.outside(b, n), HOST | READONLY)
        assert status == OKAY
        handles.append(handle)
    assert world.map(b, 1, REFERENCE, world.outside(b, 200), HOST | READONLY)[0] == GENERAL
    # writers are counted apart
    status, writer, _ = world.map(b, 1, REFERENCE, world.outside(b, 200))
    assert status == OKAY
    assert world.hv.frames.references(world.frame(world.a, gfn)) == 130
    assert world.hv.grants.table(1).active[REFERENCE].pin == 128 << 8 | 1
    assert world.unmap(b, handles[3], world.outside(b, 3)) == OKAY
    assert world.map(b, 1, REFERENCE, world.outside(b, 3), HOST | READONLY)[0] == OKAY
    assert world.unmap(b, writer, world.outside(b, 200)) == OKAY
    assert world.flags(world.a, REFERENCE) == PERMIT | READING


def test_in_use_bits_follow_the_last_writer_and_the_last_reader() -> None:
    world, _ = granted()
    b = world.b
    mappings = [(world.outside(b, n), n % 2) for n in range(4)]
    handles = [world.map(b, 1, REFERENCE, gfn, HOST | READONLY * ro)[1] for gfn, ro in mappings]
    expected = [READING | WRITING, READING, READING, 0]
    for n, left in zip((0, 2, 1, 3), expected, strict=True):
        assert world.flags(world.a, REFERENCE) & READING
        assert world.unmap(b, handles[n], mappings[n][0]) == OKAY
        assert world.flags(world.a, REFERENCE) == PERMIT | left


def test_handles_are_the_callers_own_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    world, _ = granted()
    a, b = world.a, world.b
    world.setup(b)
    world.put_v1(b, REFERENCE, PERMIT, 1, b.ram.start + 5)
    _, of_b, _ = world.map(b, 1, REFERENCE, world.outside(b))
    _, of_a, _ = world.map(a, 2, REFERENCE, world.outside(a))
    assert of_a == of_b == 0
    assert world.unmap(world.c, 0, world.outside(b)) == BAD_HANDLE
    assert world.unmap(a, 1, world.outside(a)) == world.unmap(a, 0xFFFF_FFFF, world.outside(a)) == BAD_HANDLE
    assert world.unmap(a, of_a, world.outside(a)) == OKAY
    assert b.p2m.frame(world.outside(b)) == world.frame(a, world.hv.grants.table(1).active[REFERENCE].gfn)
    monkeypatch.setattr("hypervisor_model.maptrack.MAPTRACK_LIMIT", 3)
    assert [world.map(b, 1, REFERENCE, world.outside(b, n))[0] for n in (1, 2, 3)] == [OKAY, OKAY, NO_SPACE]
    # Xen looks for a handle before it looks at the reference
    assert world.map(b, 1, 1 << 20, 0)[0] == NO_SPACE
    assert world.unmap(b, of_b, world.outside(b)) == OKAY
    assert world.map(b, 1, REFERENCE, world.outside(b))[:2] == (OKAY, of_b)


def test_handles_are_reused_longest_free_first() -> None:
    track = Maptrack()


    entry = HostMapping(1, 9, 5, write=True, gfn=3, device=False)
    for n in range(3):
        track.reserve()
        assert track.add(entry) == n
    track.remove(2)
    track.remove(0)
    track.reserve()
    assert track.add(entry) == 2
    assert [handle for handle, _ in track] == [1, 2]


def test_unmap_names_the_place_of_its_own_mapping() -> None:
    world, _ = granted()
    b = world.b
    _, first, bus = world.map(b, 1, REFERENCE, world.outside(b))
    _, second, _ = world.map(b, 1, REFERENCE, world.outside(b, 1), HOST | READONLY)
    # the other's place, nothing there, own RAM
    for gfn in (world.outside(b, 1), world.outside(b, 2), b.ram.start):
        assert world.unmap(b, first, gfn) == GENERAL
    # neither part named: nothing ends
    assert world.unmap(b, first, 0, bus) == OKAY
    assert b.p2m.frame(world.outside(b)) == b.p2m.frame(world.outside(b, 1)) == bus // PAGE
    assert world.unmap(b, first, world.outside(b)) == world.unmap(b, second, world.outside(b, 1)) == OKAY


def test_unmap_and_replace_of_a_translated_caller() -> None:
    world, _ = granted()
    b, here = world.b, world.outside(world.b)
    _, handle, _ = world.map(b, 1, REFERENCE, here)

    def replace(new_addr: int) -> int:
        data = build(24, (0, "Q", here * PAGE), (8, "Q", new_addr), (16, "I", handle))
        return at(world.grant_op(b, REPLACE, data), 20, "h")

    assert replace(PAGE) == GENERAL
    assert b.p2m.frame(here) is not None
    assert replace(0) == OKAY
    assert b.p2m.frame(here) is None
    assert replace(0) == BAD_HANDLE


def test_the_owner_of_the_whole_nic_maps_for_its_device() -> None:
    """A control domain that drives its NIC with machine addresses, as a PV one without IOMMU."""
    world, gfn = granted()
    b, a = world.b, world.a
    b.mode = Mode.NATIVE
    here, frame = world.outside(b), world.frame(a, gfn)
    assert world.map(b, 1, REFERENCE, here, HOST | DEVICE | APPLICATION)[0] == GENERAL
    status, handle, bus = world.map(b, 1, REFERENCE, here, HOST | DEVICE)
    assert (status, bus) == (OKAY, frame * PAGE)
    # one pin and one reference for each of the two
    assert world.hv.grants.table(1).active[REFERENCE].pin == 1 | 1 << 16
    assert world.hv.frames.references(frame) == 3
    assert world.unmap(b, handle, here, bus + PAGE) == GENERAL
    assert world.unmap(b, handle, here) == OKAY
    assert (b.p2m.frame(here), world.flags(a, REFERENCE)) == (None, PERMIT | READING | WRITING)
    assert world.unmap(b, handle, here, bus) == OKAY
    assert world.unmap(b, handle, 0, bus) == BAD_HANDLE
    assert (world.hv.frames.references(frame), world.flags(a, REFERENCE)) == (1, PERMIT)

    async def wrapped() -> None:
        status, handle = await b.hypercall.grant_map(1, REFERENCE, here, readonly=True, device=True)
        assert status is GrantStatus.OKAY and b.hypercall.bus_address(handle) == frame * PAGE
        assert world.hv.grants.table(1).active[REFERENCE].pin == 1 << 8 | 1 << 24
        assert await b.hypercall.grant_unmap([(here, handle)]) == [GrantStatus.OKAY]
        assert REFERENCE not in world.hv.grants.table(1).active

    world.run(wrapped())


def test_a_page_that_its_granter_gives_back_stays_until_the_last_unmap() -> None:
    world, gfn = granted()
    a, b, here = world.a, world.b, world.outside(world.b)
    frame = world.frame(a, gfn)
    a.memory.write(gfn * PAGE, b"still here")
    _, handle, _ = world.map(b, 1, REFERENCE, here)
    assert world.reservation(a, 1, [gfn]) == 1
    assert (a.p2m.frame(gfn), world.hv.frames.owner(frame), world.hv.frames.references(frame)) == (None, 1, 1)
    assert b.memory.read(here * PAGE, 10) == b"still here"
    # a second mapping of the pinned entry is of the same page
    _, second, bus = world.map(b, 1, REFERENCE, world.outside(b, 1))
    assert bus == frame * PAGE
    assert world.unmap(b, handle, here) == OKAY
    assert world.hv.frames.owner(frame) == 1
    assert world.unmap(b, second, world.outside(b, 1)) == OKAY
    assert world.hv.frames.owner(frame) == -1


@pytest.mark.parametrize("version", [1, 2])
def test_a_grant_in_use_cannot_be_ended(version: int) -> None:
    world = World()
    a, b = world.a, world.b

    async def run() -> None:
        await a.kernel.grants.set_version(version)
        gfn = a.kernel.allocate_pages(1)
        reference = await a.kernel.grant_access(gfn, readonly=False, domid=2)
        status, handle = await b.hypercall.grant_map(1, reference, world.outside(b), readonly=False)
        assert status is GrantStatus.OKAY
        assert not a.kernel.end_access(reference)
        with pytest.raises(HypercallError, match="keeps version"):
            await a.kernel.grants.set_version(3 - version)
        assert await b.hypercall.grant_unmap([(world.outside(b), handle)]) == [GrantStatus.OKAY]
        assert a.kernel.end_access(reference)
        assert (await b.hypercall.grant_map(1, reference, world.outside(b), readonly=True))[0] is GrantStatus.GENERAL_ERROR

    world.run(run())


def test_device_mappings_of_endpoints_and_host_mappings_share_the_counters_and_not_the_handles() -> None:
    world = World()
    a, dom0 = world.a, world.dom0

    async def run() -> None:
        await a.hypercall.endpoint_allocate(Form.PUSHED)
        gfn = a.kernel.allocate_pages(1)
        reference = await a.kernel.grant_access(gfn, readonly=False)
        device: DeviceMapping = await a.hypercall.grant_map_to_device(0, reference, readonly=False)
        status, handle = await dom0.hypercall.grant_map(1, reference, world.outside(dom0), readonly=True)
        assert (device.status, status) == (GrantStatus.OKAY, GrantStatus.OKAY)
        assert world.hv.grants.table(1).active[reference].pin == 1 << 16 | 1 << 8
        # neither operation ends what the other has begun
        assert await a.hypercall.grant_unmap([(gfn, device.handle)]) == [GrantStatus.BAD_HANDLE]
        assert await dom0.hypercall.grant_unmap_from_device([handle]) == [GrantStatus.BAD_HANDLE]
        assert await a.hypercall.grant_unmap_from_device([device.handle]) == [GrantStatus.OKAY]
        assert not a.kernel.end_access(reference)
        assert await dom0.hypercall.grant_unmap([(world.outside(dom0), handle)]) == [GrantStatus.OKAY]
        assert a.kernel.end_access(reference)

    world.run(run())


def test_a_batch_does_all_and_an_unreadable_structure_ends_it() -> None:
    world, _ = granted()
    b = world.b
    one = build(32, (8, "I", HOST | READONLY), (12, "I", REFERENCE), (16, "H", 1))
    entries = [build(32, (0, "Q", world.outside(b, n) * PAGE)) for n in range(40)]
    data = b"".join(bytes(x | y for x, y in zip(one, entry, strict=True)) for entry in entries)
    answer = world.grant_op(b, MAP, data, 40)
    assert [at(answer, n * 32 + 18, "h") for n in range(40)] == [OKAY] * 40
    back = b"".join(
        build(24, (0, "Q", world.outside(b, n) * PAGE), (16, "I", at(answer, n * 32 + 20, "I"))) for n in range(40)
    )
    answer = world.grant_op(b, 1, back, 40)
    assert [at(answer, n * 24 + 20, "h") for n in range(40)] == [OKAY] * 40
    assert world.flags(world.a, REFERENCE) == PERMIT
    end = b.ram.stop * PAGE
    b.memory.write(end - 32, bytes(x | y for x, y in zip(one, entries[0], strict=True)))
    assert world.run(b.vmcall(GRANT_TABLE_OP, MAP, end - 32, 2)) == -EFAULT
    assert b.p2m.frame(world.outside(b)) is not None
    assert world.run(b.vmcall(GRANT_TABLE_OP, MAP, end - 32, 4097)) == -EINVAL
    assert world.run(b.vmcall(GRANT_TABLE_OP, MAP, end - 32, (1 << 64) - 1)) == -EINVAL
