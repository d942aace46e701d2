"""Calls of grant_table_op, and what the oracle says must come of them."""

from __future__ import annotations

import struct

from hypervisor_model.memory import PageType
from tests.xen.grants_support import (
    ACCEPT,
    BAD_DOMAIN,
    BAD_HANDLE,
    BAD_PAGE,
    COPY,
    EBUSY,
    GENERAL,
    GRANT_TABLE_OP,
    HOST,
    MAP,
    OKAY,
    PAGE,
    READONLY,
    SELF,
    SET_VERSION,
    SETUP,
    STATUS_FRAMES,
    TRANSFER,
    TRANSITIVE,
    UNMAP,
    at,
    build,
)  # fmt: skip
from tests.xen.hypercall_machine import Op
from tests.xen.hypercall_memory import MemoryCalls
from tests.xen.hypercall_oracle import Entry, Guest, Mapping, RefusedError

COMMITTED, COMPLETED = 4, 8
"""Of an entry that accepts a page: the transfer has begun, and is done."""


class GrantCalls(MemoryCalls):
    """Grants among domains."""

    def publish_entry(self, guest: Guest, reference: int, entry: Entry) -> None:
        """As the granter's software writes it."""
        base = guest.domain.layout.grant_table * PAGE
        if guest.version == 1:
            data, where = struct.pack("<HHI", entry.flags, entry.grantee, entry.gfn), base + reference * 8
        elif entry.flags & 3 == TRANSITIVE:
            data, where = struct.pack("<HHHxxIxxxx", entry.flags, entry.grantee, entry.behind, entry.gfn), base + reference * 16
        else:
            data, where = struct.pack("<HHxxxxQ", entry.flags, entry.grantee, entry.gfn), base + reference * 16
        guest.domain.memory.write(where, data)
        guest.entries[reference] = entry

    def setup_op(self, caller: Guest) -> Op:
        """setup_table of one page."""

        def fields(where: int) -> bytes:
            return build(32, (0, "H", SELF), (4, "I", 1), (16, "Q", where + 24))

        def check(result: int, answer: bytes) -> None:
            assert (result, at(answer, 8, "h")) == (0, OKAY)
            caller.tables.append(self.machine.frame(caller.domain, at(answer, 24, "Q")))

        return Op(GRANT_TABLE_OP, SETUP, fields, check)

    def map_op(self, caller: Guest, granter: int, reference: int, gfn: int, *, readonly: bool) -> Op:
        fields = (0, "Q", gfn * PAGE), (8, "I", HOST | READONLY * readonly), (12, "I", reference), (16, "H", granter), (18, "h", 77)

        def check(result: int, answer: bytes) -> None:
            assert result == 0
            status, handle, bus = at(answer, 18, "h"), at(answer, 20, "I"), at(answer, 24, "Q")
            try:
                frame, home = self.oracle.activate(caller.domid, granter, reference, write=not readonly, mapping=True)
            except RefusedError as refused:
                assert status == refused.status
                return
            if not self.oracle.vacant(caller.domid, gfn):
                assert status == GENERAL
                return
            assert (status, bus) == (OKAY, frame * PAGE)
            self.add(Mapping("host", caller.domid, granter, reference, frame, not readonly, gfn, home, handle))

        return Op(GRANT_TABLE_OP, MAP, lambda _: build(32, *fields), check)

    def add(self, mapping: Mapping) -> None:
        """A mapping with a handle has been made."""
        assert not any(
            m.kind != "foreign" and (m.holder, m.handle) == (mapping.holder, mapping.handle) for m in self.oracle.live if m is not mapping
        )
        mapping.held = PageType.WRITABLE if mapping.write else PageType.NONE
        if mapping not in self.oracle.live:
            self.oracle.live.append(mapping)

    def named(self, holder: int, handle: int, kind: str) -> Mapping | None:
        return next((m for m in self.oracle.live if (m.kind, m.holder, m.handle) == (kind, holder, handle)), None)

    def unmap_op(self, caller: Guest, handle: int, gfn: int) -> Op:
        data = build(24, (0, "Q", gfn * PAGE), (16, "I", handle), (20, "h", 77))

        def check(result: int, answer: bytes) -> None:
            assert result == 0
            mapping = self.named(caller.domid, handle, "host")
            wrong = BAD_HANDLE if mapping is None else GENERAL if mapping.gfn != gfn else OKAY
            assert at(answer, 20, "h") == wrong
            if mapping is not None and not wrong:
                self.oracle.forget(mapping)

        return Op(GRANT_TABLE_OP, UNMAP, lambda _: data, check)

    def copy_op(self, caller: Guest, source: tuple[int, int] | int, dest: tuple[int, int] | int) -> Op:
        """8 bytes; a side is a granter and its reference, or an own GFN."""
        fields = []
        for base, side in ((0, source), (16, dest)):
            name, domid = (side, SELF) if isinstance(side, int) else (side[1], side[0])
            fields += [(base, "Q", name), (base + 8, "H", domid)]
        flags = isinstance(source, tuple) | isinstance(dest, tuple) << 1
        data = build(40, *fields, (32, "H", 8), (34, "H", flags), (36, "h", 77))

        def side_frame(side: tuple[int, int] | int, *, write: bool) -> int:
            if isinstance(side, tuple):
                return self.oracle.activate(caller.domid, *side, write=write, mapping=False)[0]
            if side not in caller.ram:
                raise RefusedError(BAD_PAGE)
            return caller.ram[side]

        def check(result: int, answer: bytes) -> None:
            assert result == 0
            status = at(answer, 36, "h")
            gone = [side for side in (source, dest) if isinstance(side, tuple) and side[0] not in self.oracle.guests]
            try:
                if gone:
                    raise RefusedError(BAD_DOMAIN)
                from_, to = side_frame(source, write=False), side_frame(dest, write=True)
            except RefusedError as refused:
                assert status == refused.status
                return
            assert status == OKAY
            # the first bytes of a grant table are the entry of reference 0, which nobody uses
            self.oracle.content[to] = bytes(8) if from_ in self.oracle.special() else self.oracle.content[from_]

        return Op(GRANT_TABLE_OP, COPY, lambda _: data, check)

    def transfer_op(self, caller: Guest, gfn: int, to: int, reference: int) -> Op:
        data = build(24, (0, "Q", gfn), (8, "H", to), (12, "I", reference), (16, "h", 77))

        def check(result: int, answer: bytes) -> None:
            assert result == 0
            status = at(answer, 16, "h")
            frame = caller.ram.get(gfn)
            if frame is None or self.oracle.counts()[0][frame] != 1:
                assert status == BAD_PAGE
                return
            # it has left its place, though not yet its owner, before one is looked for
            del caller.ram[gfn]
            caller.unplaced.append(frame)
            try:
                place = self.oracle.accepts(caller.domid, to, reference)
            except RefusedError as refused:
                assert status == refused.status
            else:
                assert status == OKAY
                taker = self.oracle.guests[to]
                taker.ram[place] = frame
                entry = taker.entries[reference]
                taker.entries[reference] = Entry(ACCEPT | COMMITTED | COMPLETED, entry.grantee, entry.gfn)
            finally:
                caller.unplaced.remove(frame)

        return Op(GRANT_TABLE_OP, TRANSFER, lambda _: data, check)

    def set_version_op(self, caller: Guest, version: int) -> Op:
        def check(result: int, _: bytes) -> None:
            if version != caller.version and self.oracle.in_use(caller.domid):
                assert result == -EBUSY
                return
            assert result == 0
            if version != caller.version:
                caller.entries.clear()
                caller.version, caller.status_gfn = version, None
                caller.status = [self.appeared(caller)] if version == 2 else []

        return Op(GRANT_TABLE_OP, SET_VERSION, lambda _: build(4, (0, "I", version)), check)

    def status_frames_op(self, caller: Guest) -> Op:
        def fields(where: int) -> bytes:
            return build(24, (0, "I", 1), (4, "H", SELF), (8, "Q", where + 16))

        def check(result: int, answer: bytes) -> None:
            assert (result, at(answer, 6, "h")) == (0, OKAY)
            caller.status_gfn = at(answer, 16, "Q")
            assert caller.status == [self.machine.frame(caller.domain, caller.status_gfn)]

        return Op(GRANT_TABLE_OP, STATUS_FRAMES, fields, check)
