"""Three guests with an endpoint each and a control domain do anything they may with grants and memory, in any order.

A plain list of mappings and a dictionary of pages say what must be true after every step. The machine frames themselves are the
hypervisor's choice; whatever it chooses must not be in use by anybody.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hypervisor_model.domains import Domain
from hypervisor_model.memory import OWNER_NONE, PageType
from hypervisor_model.p2m import Kind
from sw.abi.registers import Form
from sw.xen.errno import HypercallError
from sw.xen.grant_table import GrantStatus
from tests.xen.grants_support import (
    ACCEPT,
    BAD_HANDLE,
    BAD_PAGE,
    EBUSY,
    GENERAL,
    GRANT_TABLE_OP,
    HOST,
    OKAY,
    PAGE,
    PERMIT,
    READING,
    READONLY,
    RO,
    SELF,
    SET_VERSION,
    SUB_PAGE,
    TRANSITIVE,
    WRITING,
    World,
    build,
)

GUESTS = (1, 2, 3)
SLOTS = 4
"""Own pages that move about, and as many guest frames outside the RAM."""
REFERENCES = range(8, 13)
guests = st.sampled_from(GUESTS)
slots = st.integers(0, 2 * SLOTS - 1)
aims = st.sampled_from((True, True, True, False))
"""Mostly something that can succeed is tried."""
references = st.sampled_from(REFERENCES)


@dataclass(eq=False)
class Live:
    """A mapping. Host: at `gfn` of `caller`. Device: at DFN `gfn` of the granter's endpoint. Foreign: of the control domain."""

    kind: str
    handle: int
    caller: int
    granter: int
    reference: int
    gfn: int
    frame: int
    write: bool


class GrantsAndMemory(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 1 << 16))
    def boot(self, seed: int) -> None:
        self.world = World(ram_bytes=2 << 20, pages=12, seed=seed)
        world = self.world
        self.dom: dict[int, Domain] = {0: world.dom0, 1: world.a, 2: world.b, 3: world.c}
        self.endpoint: dict[int, int] = {}
        self.slots: dict[int, list[int]] = {}
        self.ram: dict[int, dict[int, int]] = {}
        """Own memory of each domain: GFN to machine frame."""
        self.live: list[Live] = []
        self.version = dict.fromkeys(GUESTS, 1)
        self.rewritten: set[tuple[int, int]] = set()
        """Entries that their granter overwrote while they were in use: version 1 has lost its in-use bits."""
        for domid, dom in self.dom.items():
            first = dom.kernel.allocate_pages(SLOTS)
            self.slots[domid] = [*range(first, first + SLOTS), *(world.outside(dom, n) for n in range(SLOTS))]
            world.setup(dom)
            self.ram[domid] = {gfn: world.frame(dom, gfn) for gfn in dom.ram}
            if domid:
                self.endpoint[domid] = world.run(dom.hypercall.endpoint_allocate(Form.PUSHED)).endpoint
        for granter in GUESTS:
            for n, reference in enumerate(REFERENCES):
                world.put_v1(self.dom[granter], reference, PERMIT, max(n - 1, 0), self.slots[granter][n % SLOTS])
        self.special = {n for n in range(world.hv.frames.frames) if world.hv.frames.type_of(n)[0] > PageType.WRITABLE}

    # --- the oracle ------------------------------------------------------------------------------

    def pins(self, granter: int, reference: int) -> list[Live]:
        return [m for m in self.live if m.kind != "foreign" and (m.granter, m.reference) == (granter, reference)]

    def used(self) -> set[int]:
        return {frame for pages in self.ram.values() for frame in pages.values()} | {m.frame for m in self.live}

    def shared(self, granter: int, reference: int) -> tuple[int, int, int]:
        """flags, grantee, frame as they stand in the granter's memory."""
        dom = self.dom[granter]
        size = 8 if self.version[granter] == 1 else 16
        data = dom.memory.read(dom.layout.grant_table * PAGE + reference * size, size)
        flags, domid, gfn = struct.unpack("<HHI" if size == 8 else "<HHxxxxQ", data)
        return flags, domid, gfn

    def expect(self, caller: int, granter: int, reference: int, *, write: bool, mapping: bool) -> int | None:
        """The frame that a map or copy must find by a reference; None if it must fail."""
        pins = self.pins(granter, reference)
        flags, domid, gfn = self.shared(granter, reference)
        writers = [m for m in pins if m.write]
        if pins and pins[0].caller != caller:
            return None
        if not pins:
            kind = flags & 3 | (flags & SUB_PAGE if mapping and self.version[granter] == 2 else 0)
            if kind != PERMIT or domid != caller:
                return None
        if write and not writers and flags & RO:
            return None
        return pins[0].frame if pins else self.ram[granter].get(gfn)

    def bytes_of(self, frame: int) -> memoryview:
        return self.world.hv.frames.page(frame)

    def in_use_bits(self, granter: int, reference: int) -> int:
        if self.version[granter] == 1:
            return self.shared(granter, reference)[0] & (READING | WRITING)
        return self.world.status_word(self.dom[granter], reference)

    # --- what guests do --------------------------------------------------------------------------

    @rule(
        granter=guests, reference=references, grantee=st.sampled_from((0, 0, 1, 2, 3)), slot=slots, aim=aims,
        flags=st.sampled_from((PERMIT, PERMIT, PERMIT, PERMIT | RO, ACCEPT, TRANSITIVE, 0)),
    )  # fmt: skip
    def publish(self, granter: int, reference: int, grantee: int, slot: int, aim: bool, flags: int) -> None:
        """Also over an entry in use, as only a hostile guest does."""
        gfn = self.slots[granter][slot]
        if aim and (self.pins(granter, reference) or (gfn in self.ram[granter]) == (flags == ACCEPT)):
            return
        if self.pins(granter, reference):
            self.rewritten.add((granter, reference))
        self.write_entry(granter, reference, flags, grantee, gfn)

    def write_entry(self, granter: int, reference: int, flags: int, grantee: int, gfn: int) -> None:
        if self.version[granter] == 1:
            self.world.put_v1(self.dom[granter], reference, flags, grantee, gfn)
        else:
            self.world.put_v2(self.dom[granter], reference, build(16, (0, "H", flags), (2, "H", grantee), (8, "Q", gfn)))

    @rule(granter=guests, reference=references)
    def end_access(self, granter: int, reference: int) -> None:
        """The guest's protocol: no grant is ended while its in-use bits are set, and they are set while it is mapped."""
        if self.shared(granter, reference)[0] & 3 != PERMIT or (granter, reference) in self.rewritten:
            return
        if self.in_use_bits(granter, reference):
            assert self.pins(granter, reference)
        else:
            assert not self.pins(granter, reference)
            size = 8 if self.version[granter] == 1 else 16
            dom = self.dom[granter]
            dom.memory.write(dom.layout.grant_table * PAGE + reference * size, bytes(2))

    def published(self, *grantees: int) -> list[tuple[int, int, int]]:
        """granter, reference and grantee of the pages granted to these domains."""
        return [
            (granter, reference, grantee)
            for granter in GUESTS
            for reference in REFERENCES
            for flags, grantee, _ in [self.shared(granter, reference)]
            if flags & 3 == PERMIT and grantee in grantees
        ]

    @rule(data=st.data(), aim=aims, caller=st.integers(0, 3), granter=guests, reference=references, slot=slots, readonly=st.booleans())
    def map(self, data: st.DataObject, aim: bool, caller: int, granter: int, reference: int, slot: int, readonly: bool) -> None:
        if aim and (entries := self.published(*self.dom)):
            granter, reference, caller = data.draw(st.sampled_from(entries))
            slot |= SLOTS
        gfn = self.slots[caller][slot]
        frame = self.expect(caller, granter, reference, write=not readonly, mapping=True)
        taken = gfn in self.ram[caller] or any(m.gfn == gfn and m.caller == caller for m in self.live if m.kind != "device")
        status, handle, bus = self.world.map(self.dom[caller], granter, reference, gfn, HOST | READONLY * readonly)
        assert (status == OKAY) == (frame is not None and not taken)
        if status == OKAY:
            assert bus == (frame or 0) * PAGE
            self.live.append(Live("host", handle, caller, granter, reference, gfn, bus // PAGE, not readonly))

    @precondition(lambda self: any(m.kind == "host" for m in self.live))
    @rule(data=st.data(), wrong=st.sampled_from(("", "", "", "caller", "place")))
    def unmap(self, data: st.DataObject, wrong: str) -> None:
        mapping = data.draw(st.sampled_from([m for m in self.live if m.kind == "host"]))
        dom = self.dom[mapping.caller]
        if wrong == "place":
            assert self.world.unmap(dom, mapping.handle, mapping.gfn + 1) == GENERAL
            return
        if wrong == "caller":
            other = (mapping.caller + 1) % 4
            if not any(m.kind in ("host", "device") and self.owner_of_handle(m) == other and m.handle == mapping.handle for m in self.live):
                assert self.world.unmap(self.dom[other], mapping.handle, mapping.gfn) == BAD_HANDLE
            return
        assert self.world.unmap(dom, mapping.handle, mapping.gfn) == OKAY
        assert self.world.unmap(dom, mapping.handle, mapping.gfn) == BAD_HANDLE
        self.forget(mapping)

    @staticmethod
    def owner_of_handle(mapping: Live) -> int:
        return mapping.caller if mapping.kind == "host" else mapping.granter

    def forget(self, mapping: Live) -> None:
        self.live.remove(mapping)
        if mapping.kind != "foreign" and not self.pins(mapping.granter, mapping.reference):
            self.rewritten.discard((mapping.granter, mapping.reference))

    @rule(data=st.data(), aim=aims, granter=guests, reference=references, readonly=st.booleans())
    def map_to_device(self, data: st.DataObject, aim: bool, granter: int, reference: int, readonly: bool) -> None:
        if aim and (entries := self.published(0)):
            granter, reference, _ = data.draw(st.sampled_from(entries))
        frame = self.expect(0, granter, reference, write=not readonly, mapping=True)
        gfn = self.pins(granter, reference)
        dfn = self.pinned_gfn(granter, reference) if gfn else self.shared(granter, reference)[2]
        at_dfn = {m.frame for m in self.live if m.kind == "device" and m.granter == granter and m.gfn == dfn}
        mapping = self.world.run(
            self.dom[granter].hypercall.grant_map_to_device(self.endpoint[granter], reference, readonly=readonly)
        )
        assert (mapping.status is GrantStatus.OKAY) == (frame is not None and at_dfn <= {frame})
        if mapping.status is GrantStatus.OKAY:
            assert mapping.device_address == dfn * PAGE
            self.live.append(Live("device", mapping.handle, 0, granter, reference, dfn, frame or 0, not readonly))

    def pinned_gfn(self, granter: int, reference: int) -> int:
        """Where the granter had the page when it was pinned first: noted by the hypervisor alone, checked by what the device reaches."""
        return self.world.hv.grants.table(granter).active[reference].gfn

    @precondition(lambda self: any(m.kind == "device" for m in self.live))
    @rule(data=st.data())
    def unmap_from_device(self, data: st.DataObject) -> None:
        mapping = data.draw(st.sampled_from([m for m in self.live if m.kind == "device"]))
        call = self.dom[mapping.granter].hypercall
        other = self.dom[mapping.granter % 3 + 1]
        if not any(m.handle == mapping.handle and self.owner_of_handle(m) == other.domid for m in self.live if m.kind != "foreign"):
            assert self.world.run(other.hypercall.grant_unmap_from_device([mapping.handle])) == [GrantStatus.BAD_HANDLE]
        assert self.world.run(call.grant_unmap_from_device([mapping.handle])) == [GrantStatus.OKAY]
        self.forget(mapping)

    @rule(
        data=st.data(), caller=guests, aim=aims, by_reference=st.booleans(), to_by_reference=st.booleans(),
        slot=slots, to_slot=slots, offset=st.integers(0, PAGE - 8), length=st.integers(0, 8),
        value=st.binary(min_size=8, max_size=8),
    )  # fmt: skip
    def copy(
        self, data: st.DataObject, caller: int, aim: bool, by_reference: bool, to_by_reference: bool,
        slot: int, to_slot: int, offset: int, length: int, value: bytes,
    ) -> None:  # fmt: skip
        entries = [(granter, reference) for granter in GUESTS for reference in REFERENCES]
        if aim and (useful := self.published(caller)):
            entries = [(granter, reference) for granter, reference, _ in useful]
        granter, reference = data.draw(st.sampled_from(entries))
        to, to_reference = data.draw(st.sampled_from(entries))
        own = self.slots[caller]
        from_ = self.expect(caller, granter, reference, write=False, mapping=False) if by_reference else self.ram[caller].get(own[slot])
        target = self.expect(caller, to, to_reference, write=True, mapping=False) if to_by_reference else self.ram[caller].get(own[to_slot])
        if from_ is not None:
            self.bytes_of(from_)[offset : offset + 8] = value
        before = None if target is None else bytes(self.bytes_of(target))
        source = (reference, granter, offset) if by_reference else (own[slot], SELF, offset)
        dest = (to_reference, to, 0) if to_by_reference else (own[to_slot], SELF, 0)
        status = self.world.copy(self.dom[caller], source, dest, length, by_reference | to_by_reference << 1)
        assert (status == OKAY) == (from_ is not None and target is not None)
        if target is not None and before is not None:
            expected = value[:length] + before[length:] if status == OKAY else before
            assert bytes(self.bytes_of(target)) == expected

    @rule(domid=guests, slot=slots)
    def give_back(self, domid: int, slot: int) -> None:
        gfn = self.slots[domid][slot]
        done = self.world.reservation(self.dom[domid], 1, [gfn])
        assert (done == 1) == (gfn in self.ram[domid])
        self.ram[domid].pop(gfn, None)

    @rule(domid=guests, slot=slots)
    def populate(self, domid: int, slot: int) -> None:
        gfn = self.slots[domid][slot]
        used = self.used()
        taken = gfn in self.ram[domid] or any(m.kind == "host" and (m.caller, m.gfn) == (domid, gfn) for m in self.live)
        done = self.world.reservation(self.dom[domid], 6, [gfn])
        assert (done == 1) == (not taken)
        if done == 1:
            frame = self.world.frame(self.dom[domid], gfn)
            assert frame not in used and frame not in self.special
            self.ram[domid][gfn] = frame
            # a frame that had been somebody's brings nothing along
            assert bytes(self.bytes_of(frame)) == bytes(PAGE)

    @rule(domid=guests, slot=slots)
    def exchange(self, domid: int, slot: int) -> None:
        gfn = self.slots[domid][slot]
        used = self.used()
        old = self.ram[domid].get(gfn)
        possible = old is not None and not any(m.frame == old for m in self.live)
        try:
            self.world.run(self.dom[domid].hypercall.memory_exchange(gfn, 0))
        except HypercallError:
            assert not possible
            return
        assert possible
        frame = self.world.frame(self.dom[domid], gfn)
        assert frame not in used
        self.ram[domid][gfn] = frame

    @rule(data=st.data(), aim=aims, domid=guests, slot=slots, to=guests, reference=references)
    def transfer(self, data: st.DataObject, aim: bool, domid: int, slot: int, to: int, reference: int) -> None:
        if aim and not self.pins(to, reference) and (empty := [gfn for gfn in self.slots[to] if gfn not in self.ram[to]]):
            self.write_entry(to, reference, ACCEPT, domid, data.draw(st.sampled_from(empty)))
            slot = data.draw(st.sampled_from([n for n in range(2 * SLOTS) if self.slots[domid][n] in self.ram[domid]] or [slot]))
        gfn = self.slots[domid][slot]
        frame = self.ram[domid].get(gfn)
        flags, giver, place = self.shared(to, reference)
        accepts = (flags, giver) == (ACCEPT, domid)
        # the page leaves its place before one is looked for
        vacant = (place not in self.ram[to] or (to, place) == (domid, gfn)) and not any(
            m.kind == "host" and (m.caller, m.gfn) == (to, place) for m in self.live
        )
        status = self.world.transfer(self.dom[domid], gfn, to, reference)
        if frame is None or any(m.frame == frame for m in self.live):
            assert status == BAD_PAGE
            return
        del self.ram[domid][gfn]
        assert (status == OKAY) == (accepts and vacant)
        if status == OKAY:
            self.ram[to][place] = frame

    @rule(domid=guests, slot=slots, place=slots)
    def move(self, domid: int, slot: int, place: int) -> None:
        old, new = self.slots[domid][slot], self.slots[domid][place]
        foreign = any(m.kind == "host" and (m.caller, m.gfn) == (domid, new) for m in self.live)
        data = build(24, (0, "H", SELF), (4, "I", 2), (8, "Q", old), (16, "Q", new))
        result = self.world.memory(self.dom[domid], 7, data)[0]
        assert (result == 0) == (old in self.ram[domid] and (old == new or not foreign))
        if result == 0:
            self.ram[domid][new] = self.ram[domid].pop(old)

    @rule(domid=guests, version=st.sampled_from((1, 2)), often=st.integers(0, 5))
    def set_version(self, domid: int, version: int, often: int) -> None:
        """Seldom, for it ends every grant."""
        if often:
            return
        result = self.world.call(self.dom[domid], GRANT_TABLE_OP, SET_VERSION, build(4, (0, "I", version)))[0]
        busy = any(m.kind != "foreign" and m.granter == domid and m.reference >= 8 for m in self.live)
        assert result == (-EBUSY if busy and version != self.version[domid] else 0)
        if result == 0:
            self.version[domid] = version
            if version == 2:
                self.world.run(self.dom[domid].hypercall.get_status_frames(1))

    @rule(domid=guests, slot=slots, place=slots)
    def map_foreign(self, domid: int, slot: int, place: int) -> None:
        dom0, gfn, here = self.dom[0], self.slots[domid][slot], self.slots[0][place]
        where = self.world.scratch(dom0)
        data = build(
            32, (0, "H", SELF), (2, "H", 4), (4, "H", 1), (6, "H", domid), (8, "Q", where + 32), (16, "Q", where + 40), (24, "Q", where + 48)
        )
        result, answer = self.world.memory(dom0, 23, data + struct.pack("<QQi", gfn, here, 77))
        assert result == 0
        taken = any(m.kind != "device" and (m.caller, m.gfn) == (0, here) for m in self.live)
        done = struct.unpack_from("<i", answer, 48)[0] == 0
        assert done == (gfn in self.ram[domid] and not taken)
        if done:
            self.ram[0].pop(here, None)
            self.live.append(Live("foreign", 0, 0, domid, 0, here, self.ram[domid][gfn], write=True))

    @precondition(lambda self: any(m.kind == "foreign" for m in self.live))
    @rule(data=st.data())
    def unmap_foreign(self, data: st.DataObject) -> None:
        mapping = data.draw(st.sampled_from([m for m in self.live if m.kind == "foreign"]))
        assert self.world.memory(self.dom[0], 15, build(16, (0, "H", SELF), (8, "Q", mapping.gfn)))[0] == 0
        self.forget(mapping)

    # --- what must be true -----------------------------------------------------------------------

    @invariant()
    def every_count_is_the_oracles(self) -> None:
        frames = self.world.hv.frames
        held = [frame for pages in self.ram.values() for frame in pages.values()]
        assert len(held) == len(set(held))
        references = dict.fromkeys(held, 1)
        writers = dict.fromkeys(held, 1)
        for mapping in self.live:
            references[mapping.frame] = references.get(mapping.frame, 0) + 1
            writers[mapping.frame] = writers.get(mapping.frame, 0) + mapping.write
        owned = {n for n in range(frames.frames) if frames.owner(n) in self.dom and frames.type_of(n)[0] is not PageType.GRANT_TABLE}
        assert owned == set(references)
        for frame, count in references.items():
            assert frames.references(frame) == count
            assert frames.type_of(frame) == ((PageType.WRITABLE if writers[frame] else PageType.NONE), writers[frame])
        for domid, pages in self.ram.items():
            kept = {m.frame for m in self.live if m.granter == domid and m.frame not in held}
            assert frames.pages(domid) == len(pages) + len(kept)

    @invariant()
    def guests_reach_their_own_and_what_is_mapped(self) -> None:
        m2p = self.world.hv.frames.m2p
        for domid, dom in self.dom.items():
            entries = dom.p2m.entries
            assert {gfn: e.frame for gfn, e in entries.items() if e.kind is Kind.RAM} == self.ram[domid]
            mapped = {m.gfn: (m.frame, m.write) for m in self.live if m.kind != "device" and m.caller == domid}
            assert {
                gfn: (e.frame, e.write) for gfn, e in entries.items() if e.kind in (Kind.GRANT, Kind.FOREIGN)
            } == mapped
            assert {gfn: page.readonly for gfn, page in dom.p2m.pages.items()} == {gfn: not e.write for gfn, e in entries.items()}
            for gfn, entry in entries.items():
                assert self.world.hv.frames.owner(entry.frame) != OWNER_NONE
                if entry.kind in (Kind.RAM, Kind.XEN):
                    assert m2p.gfn(entry.frame) == gfn
        placed = {e.frame for dom in self.dom.values() for e in dom.p2m.entries.values() if e.kind in (Kind.RAM, Kind.XEN)}
        assert {n for n in range(self.world.hv.frames.frames) if m2p.gfn(n) is not None} == placed

    @invariant()
    def devices_reach_what_is_mapped_for_them(self) -> None:
        for domid, endpoint in self.endpoint.items():
            for gfn in self.slots[domid]:
                mapped = [m for m in self.live if m.kind == "device" and (m.granter, m.gfn) == (domid, gfn)]
                reached = {m.frame for m in mapped}
                assert len(reached) <= 1
                address = self.world.platform.iommu.translate(0x0101 + endpoint, gfn * PAGE, write=False)
                assert address == (reached.pop() * PAGE if reached else None)
                written = self.world.platform.iommu.translate(0x0101 + endpoint, gfn * PAGE, write=True)
                # a cached translation may allow less than the table, never more
                assert written in ((address, None) if any(m.write for m in mapped) else (None,))

    @invariant()
    def pins_and_in_use_bits_are_the_mappings(self) -> None:
        for domid in GUESTS:
            active = self.world.hv.grants.table(domid).active
            for reference in REFERENCES:
                pins = self.pins(domid, reference)
                word = 0
                for mapping in pins:
                    word += {("host", True): 1, ("host", False): 1 << 8, ("device", True): 1 << 16, ("device", False): 1 << 24}[
                        mapping.kind, mapping.write
                    ]
                assert (active[reference].pin if reference in active else 0) == word
                if (domid, reference) in self.rewritten and self.version[domid] == 1:
                    continue
                flags = self.shared(domid, reference)[0]
                if self.version[domid] == 1 and flags & 3 != PERMIT:
                    assert not pins
                    continue
                bits = (READING if pins else 0) | (WRITING if any(m.write for m in pins) else 0)
                assert self.in_use_bits(domid, reference) == bits

    def teardown(self) -> None:
        """The guests die one after the other; what of them is mapped elsewhere goes last."""
        if not hasattr(self, "world"):
            return
        hv, frames = self.world.hv, self.world.hv.frames

        async def die(domid: int) -> None:
            mappings = [hv.grants.take(handle, domid) for handle in hv.grants.handles(domid)]
            endpoint = hv.endpoints.owned(self.endpoint[domid], domid)
            await endpoint.space.revoke(mappings)
            for mapping in mappings:
                hv.grants.unpin(mapping)
            hv.grants.destroy(domid)

        for domid in GUESTS:
            self.world.run(die(domid))
            self.live = [m for m in self.live if not (m.kind == "device" and m.granter == domid) and not (m.kind == "host" and m.caller == domid)]
            assert set(frames.owned(domid)) == {m.frame for m in self.live if m.granter == domid}
        for mapping in self.live:
            if mapping.kind == "host":
                assert self.world.unmap(self.dom[0], mapping.handle, mapping.gfn) == OKAY
            else:
                assert self.world.memory(self.dom[0], 15, build(16, (0, "H", SELF), (8, "Q", mapping.gfn)))[0] == 0
        assert not any(frames.owner(n) in GUESTS for n in range(frames.frames))


GrantsAndMemory.TestCase.settings = settings(max_examples=50, stateful_step_count=60, deadline=None, derandomize=True)
TestGrantsAndMemory = GrantsAndMemory.TestCase
