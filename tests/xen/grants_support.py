"""Three guests and a control domain on a small machine, and hypercalls whose structures are built byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Coroutine
from typing import Any

from hypervisor_model.domains import Domain
from hypervisor_model.hypervisor import Hypervisor
from sw.platform import MachineMap
from tb.model.platform import ModelPlatform

PAGE = 4096
SELF = 0x7FF0
MEMORY_OP, GRANT_TABLE_OP = 12, 20
# grant_table_op
MAP, UNMAP, SETUP, TRANSFER, COPY, QUERY, REPLACE, SET_VERSION, STATUS_FRAMES, GET_VERSION, SWAP, FLUSH = (
    0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12,
)  # fmt: skip
# statuses
OKAY, GENERAL, BAD_DOMAIN, BAD_GREF, BAD_HANDLE, DENIED, BAD_PAGE, BAD_COPY, EAGAIN, NO_SPACE = (
    0, -1, -2, -3, -4, -8, -9, -10, -12, -13,
)  # fmt: skip
# map flags
DEVICE, HOST, READONLY, APPLICATION, CONTAINS_PTE = 1, 2, 4, 8, 16
# entry flags
PERMIT, ACCEPT, TRANSITIVE, RO, READING, WRITING, SUB_PAGE = 1, 2, 3, 4, 8, 16, 256
# errnos
EPERM, ENOENT, ESRCH, E2BIG, ENOMEM, EFAULT, EBUSY, EINVAL, ENOSYS, EOPNOTSUPP = 1, 2, 3, 7, 12, 14, 16, 22, 38, 95

Field = tuple[int, str, int]
"""Offset, struct code, value."""


def build(size: int, *fields: Field) -> bytes:
    data = bytearray(size)
    for offset, code, value in fields:
        struct.pack_into("<" + code, data, offset, value)
    return bytes(data)


def at(data: bytes, offset: int, code: str) -> int:
    return int(struct.unpack_from("<" + code, data, offset)[0])


class World:
    """Guests `a`, `b`, `c` are domains 1, 2, 3."""

    def __init__(self, *, ram_bytes: int = 8 << 20, pages: int = 48, seed: int = 1) -> None:
        self.platform = ModelPlatform(MachineMap(ram_bytes=ram_bytes))
        self.hv = Hypervisor(self.platform, seed=seed)
        self.platform.run(self.hv.boot())
        self.dom0 = self.hv.create_control_domain(pages)
        self.a, self.b, self.c = (self.hv.create_domain(name, pages) for name in "abc")
        self._scratch = {dom.domid: dom.kernel.allocate_pages(2) for dom in (self.dom0, self.a, self.b, self.c)}

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.platform.run(coroutine)[0]

    def scratch(self, dom: Domain) -> int:
        """Guest address of two pages for arguments."""
        return self._scratch[dom.domid] * PAGE

    def call(self, dom: Domain, number: int, command: int, data: bytes, count: int = 1) -> tuple[int, bytes]:
        """One hypercall with `data` at the start of the scratch pages; the result, and the bytes afterwards."""
        where = self.scratch(dom)
        dom.memory.write(where, data)
        result = self.run(dom.vmcall(number, command, where, count))
        return result, dom.memory.read(where, len(data))

    def grant_op(self, dom: Domain, command: int, data: bytes, count: int = 1) -> bytes:
        result, answer = self.call(dom, GRANT_TABLE_OP, command, data, count)
        assert result == 0, dom.refusal
        return answer

    def setup(self, dom: Domain, frames: int = 1) -> int:
        """GFN of the grant table's first page."""
        self.run(dom.hypercall.setup_table(frames))
        return dom.layout.grant_table

    def put_v1(self, dom: Domain, reference: int, flags: int, domid: int, gfn: int) -> None:
        dom.memory.write(dom.layout.grant_table * PAGE + reference * 8, struct.pack("<HHI", flags, domid, gfn))

    def put_v2(self, dom: Domain, reference: int, data: bytes) -> None:
        dom.memory.write(dom.layout.grant_table * PAGE + reference * 16, data.ljust(16, b"\0"))

    def flags(self, dom: Domain, reference: int, size: int = 8) -> int:
        return at(dom.memory.read(dom.layout.grant_table * PAGE + reference * size, 2), 0, "H")

    def status_word(self, dom: Domain, reference: int) -> int:
        gfn = dom.layout.grant_table + 64
        return at(dom.memory.read(gfn * PAGE + reference * 2, 2), 0, "H")

    def version_2(self, dom: Domain) -> None:
        """Table of version 2, one page, its status words mapped."""
        self.setup(dom)
        self.grant_op(dom, SET_VERSION, build(4, (0, "I", 2)))
        self.run(dom.hypercall.get_status_frames(1))

    def map(
        self, dom: Domain, granter: int, reference: int, gfn: int, flags: int = HOST
    ) -> tuple[int, int, int]:
        """status, handle, dev_bus_addr."""
        data = build(32, (0, "Q", gfn * PAGE), (8, "I", flags), (12, "I", reference), (16, "H", granter), (18, "h", 77))
        answer = self.grant_op(dom, MAP, data)
        assert answer[:18] == data[:18]
        return at(answer, 18, "h"), at(answer, 20, "I"), at(answer, 24, "Q")

    def unmap(self, dom: Domain, handle: int, gfn: int, bus: int = 0) -> int:
        data = build(24, (0, "Q", gfn * PAGE), (8, "Q", bus), (16, "I", handle), (20, "h", 77))
        return at(self.grant_op(dom, UNMAP, data), 20, "h")

    def copy(
        self, dom: Domain, source: tuple[int, int, int], dest: tuple[int, int, int], length: int, flags: int
    ) -> int:
        """Sides are (name, domid, offset); flags 1: source is a reference, 2: destination is."""
        fields: list[Field] = []
        for base, (name, domid, offset) in ((0, source), (16, dest)):
            fields += [(base, "Q", name), (base + 8, "H", domid), (base + 10, "H", offset)]
        data = build(40, *fields, (32, "H", length), (34, "H", flags), (36, "h", 77))
        return at(self.grant_op(dom, COPY, data), 36, "h")

    def transfer(self, dom: Domain, gfn: int, to: int, reference: int) -> int:
        data = build(24, (0, "Q", gfn), (8, "H", to), (12, "I", reference), (16, "h", 77))
        return at(self.grant_op(dom, TRANSFER, data), 16, "h")

    def memory(self, dom: Domain, command: int, data: bytes) -> tuple[int, bytes]:
        return self.call(dom, MEMORY_OP, command, data)

    def reservation(self, dom: Domain, command: int, gfns: list[int], order: int = 0, domid: int = SELF, flags: int = 0) -> int:
        """increase (0), decrease (1), populate (6)."""
        where = self.scratch(dom)
        fields = (0, "Q", where + 32), (8, "Q", len(gfns)), (16, "I", order), (20, "I", flags), (24, "H", domid)
        head = build(32, *fields)
        return self.memory(dom, command, head + struct.pack(f"<{len(gfns)}Q", *gfns))[0]

    def outside(self, dom: Domain, n: int = 0) -> int:
        """A guest frame that nothing uses."""
        return dom.ram.stop + 0x1000 + n

    def frame(self, dom: Domain, gfn: int) -> int:
        frame = dom.p2m.frame(gfn)
        assert frame is not None
        return frame
