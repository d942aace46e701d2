"""Calls of memory_op, built byte by byte, and what the oracle says must come of them."""

from __future__ import annotations

import struct
from collections.abc import Callable

from hypervisor_model.memory import PageType
from tests.xen.grants_support import EINVAL, ENOENT, ENOMEM, EPERM, ESRCH, MEMORY_OP, PAGE, SELF, at, build
from tests.xen.hypercall_machine import Machine, Op
from tests.xen.hypercall_oracle import Guest, Mapping

INCREASE, DECREASE, POPULATE, ADD, EXCHANGE, REMOVE, ADD_BATCH, ACQUIRE = 0, 1, 6, 7, 11, 15, 23, 28


class MemoryCalls:
    """Each method makes one call; nothing happens before it is performed."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.oracle = machine.oracle

    def place(self, guest: Guest, gfn: int) -> None:
        """A page that nobody had has come to a GFN."""
        used = {*self.oracle.owners(), *self.machine.xen, *(g.shared_info for g in self.oracle.guests.values())}
        frame = self.machine.frame(guest.domain, gfn)
        assert frame not in used
        assert self.machine.platform.memory.read(frame * PAGE, PAGE) == bytes(PAGE), "a page that was somebody's brings nothing along"
        guest.ram[gfn] = frame
        self.oracle.content[frame] = bytes(8)

    def appeared(self, guest: Guest) -> int:
        """The one new frame of a domain that is at no GFN where one could look for it."""
        frames, owners = self.machine.hv.frames, self.oracle.owners()
        [frame] = {n for n in range(frames.frames) if frames.owner(n) == guest.domid and owners.get(n) != guest.domid}
        assert frame not in owners
        return frame

    def target(self, caller: Guest, domid: int) -> Guest | int:
        """Who a call is about, or the errno."""
        if domid in (SELF, caller.domid):
            return caller
        if not self.oracle.privileged(caller):
            return -EPERM
        return self.oracle.guests.get(domid, -ESRCH)

    def reservation(
        self, caller: Guest, command: int, domid: int, gfns: list[int], extent: Callable[[Guest, int], int]
    ) -> Op:
        """`extent` does one page in the oracle: an errno if it cannot be."""

        def fields(where: int) -> bytes:
            head = build(32, (0, "Q", where + 32), (8, "Q", len(gfns)), (24, "H", domid))
            return head + struct.pack(f"<{len(gfns)}Q", *gfns)

        def check(result: int, _: bytes) -> None:
            guest = self.target(caller, domid)
            if isinstance(guest, int):
                assert result == guest
                return
            done = 0
            for n, gfn in enumerate(gfns):
                errno = extent(guest, gfn)
                if errno:
                    assert result == (n or -errno)
                    return
                done += 1
            assert result == done

        return Op(MEMORY_OP, command, fields, check)

    def decrease_op(self, caller: Guest, domid: int, gfns: list[int]) -> Op:
        def extent(guest: Guest, gfn: int) -> int:
            return EINVAL if guest.ram.pop(gfn, None) is None else 0

        return self.reservation(caller, DECREASE, domid, gfns, extent)

    def populate_op(self, caller: Guest, domid: int, gfns: list[int]) -> Op:
        def extent(guest: Guest, gfn: int) -> int:
            if not self.oracle.vacant(guest.domid, gfn):
                return EINVAL
            if self.oracle.pages(guest.domid) >= guest.limit:
                return ENOMEM
            self.place(guest, gfn)
            return 0

        return self.reservation(caller, POPULATE, domid, gfns, extent)

    def increase_op(self, caller: Guest, domid: int) -> Op:
        def extent(guest: Guest, _: int) -> int:
            if self.oracle.pages(guest.domid) >= guest.limit:
                return ENOMEM
            frame = self.appeared(guest)
            guest.unplaced.append(frame)
            self.oracle.content[frame] = bytes(8)
            return 0

        return self.reservation(caller, INCREASE, domid, [0], extent)

    def exchange_op(self, caller: Guest, gfn: int) -> Op:
        def fields(where: int) -> bytes:
            reservation = (0, "Q", where + 80), (8, "Q", 1), (24, "H", SELF)
            return build(88, *reservation, *((32 + o, c, v) for o, c, v in reservation), (80, "Q", gfn))

        def check(result: int, answer: bytes) -> None:
            old = caller.ram.get(gfn)
            if old is None or self.oracle.counts()[0][old] != 1:
                assert result == -EINVAL
                return
            assert (result, at(answer, 64, "Q")) == (0, 1)
            self.place(caller, gfn)

        return Op(MEMORY_OP, EXCHANGE, fields, check)

    def remove_op(self, caller: Guest, domid: int, gfn: int) -> Op:
        def check(result: int, _: bytes) -> None:
            guest = self.target(caller, domid)
            if isinstance(guest, int):
                assert result == guest
                return
            mapping = self.oracle.mapped_at(guest.domid, gfn)
            if gfn in guest.ram:
                guest.unplaced.append(guest.ram.pop(gfn))
            elif mapping is not None and mapping.kind == "foreign":
                self.oracle.forget(mapping)
            else:
                assert result == -ENOENT
                return
            assert result == 0

        return Op(MEMORY_OP, REMOVE, lambda _: build(16, (0, "H", domid), (8, "Q", gfn)), check)

    def move_op(self, caller: Guest, domid: int, old: int, new: int) -> Op:
        def check(result: int, _: bytes) -> None:
            guest = self.target(caller, domid)
            if isinstance(guest, int):
                assert result == guest
                return
            if old not in guest.ram or (old != new and self.oracle.mapped_at(guest.domid, new) is not None):
                assert result == -EINVAL
                return
            assert result == 0
            guest.ram[new] = guest.ram.pop(old)

        data = (0, "H", domid), (4, "I", 2), (8, "Q", old), (16, "Q", new)
        return Op(MEMORY_OP, ADD, lambda _: build(24, *data), check)

    def foreign_op(self, caller: Guest, domid: int, gfn: int, here: int, *, table: bool) -> Op:
        """Another domain's page, or the first one of its grant table, in a privileged caller's memory."""

        def fields(where: int) -> bytes:
            if table:
                return build(40, (0, "H", domid), (2, "H", 1), (8, "I", 1), (24, "Q", where + 32), (32, "Q", here))
            head = (0, "H", SELF), (2, "H", 4), (4, "H", 1), (6, "H", domid)
            places = (8, "Q", where + 32), (16, "Q", where + 40), (24, "Q", where + 48)
            return build(56, *head, *places, (32, "Q", gfn), (40, "Q", here), (48, "i", 77))

        def check(result: int, answer: bytes) -> None:
            guest = self.target(caller, domid)
            if isinstance(guest, int) or guest is caller:
                expected = guest if isinstance(guest, int) else -EPERM if table else -EINVAL
                assert result == expected
                return
            done = result if table else at(answer, 48, "i")
            assert table or result == 0
            frame = guest.tables[0] if table else guest.ram.get(gfn)
            if frame is None or self.oracle.mapped_at(caller.domid, here) is not None:
                assert done == -EINVAL
                return
            assert done == 0
            caller.ram.pop(here, None)
            held = PageType.GRANT_TABLE if table else PageType.WRITABLE
            self.oracle.live.append(Mapping("foreign", caller.domid, domid, 0, frame, True, here, held=held))

        return Op(MEMORY_OP, ACQUIRE if table else ADD_BATCH, fields, check)
