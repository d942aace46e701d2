"""Shared by the PCI tests: a machine whose guests have a virtual function each, and a front end that speaks bytes.

Layouts and numbers are restated from Xen's public header `io/pciif.h` as C types; nothing is taken from the code under test.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from hypervisor_model.dom0.foreign import ForeignFrames
from hypervisor_model.domains import Domain
from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.pciback import PciDrivers
from sw.abi.registers import Form
from sw.guest.pcifront import PciFront
from sw.guest.xenbus import FrontEnd, wait_for_device
from sw.guest.xenstore import Xenstore
from sw.xen.io.xenbus import XenbusState
from tests.xen.store_support import MS, Dom0

READ, WRITE, ENABLE_MSI, DISABLE_MSI, ENABLE_MSIX, DISABLE_MSIX = range(6)
NOT_FOUND, INVALID_OFFSET, DENIED, NOT_IMPLEMENTED, FAILED = -1, -2, -3, -4, -5
FIRST_VF = 0x0101
PAGE = 4096


class MsixEntry(ctypes.Structure):
    _fields_ = (("vector", ctypes.c_uint16), ("entry", ctypes.c_uint16))


class PciOpStruct(ctypes.Structure):
    _fields_ = (
        ("cmd", ctypes.c_uint32),
        ("err", ctypes.c_int32),
        ("domain", ctypes.c_uint32),
        ("bus", ctypes.c_uint32),
        ("devfn", ctypes.c_uint32),
        ("offset", ctypes.c_int32),
        ("size", ctypes.c_int32),
        ("value", ctypes.c_uint32),
        ("info", ctypes.c_uint32),
        ("msix_entries", MsixEntry * 128),
    )


class AerOp(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint32) for name in ("cmd", "err", "domain", "bus", "devfn"))


class SharedInfo(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint32), ("op", PciOpStruct), ("aer_op", AerOp))


@dataclass(frozen=True)
class Answer:
    err: int
    value: int
    vectors: list[int]


class RawFront:
    """A front end that writes the shared page as it likes."""

    def __init__(self, guest: PciGuest) -> None:
        self.guest = guest
        self.front = FrontEnd(guest.store, "pci", 0, timeout_ns=20 * MS)
        self.gfn = guest.dom.kernel.allocate_pages(1)
        self.page = guest.dom.memory.page(self.gfn)
        self.page[:] = bytes(PAGE)
        self.info = SharedInfo.from_buffer(self.page)
        self.port = 0
        self.events = 0

    async def open(self, **keys: str) -> None:
        """Connect; `keys` replace what an honest one would write."""
        dom = self.guest.dom
        await self.front.open()
        await self.front.ready()
        self.reference = await dom.kernel.grant_access(self.gfn, readonly=False, domid=0)
        self.port = await dom.hypercall.event_alloc_unbound(0)
        await dom.kernel.bind_event(self.port, self._event)
        honest = {"pci-op-ref": str(self.reference), "event-channel": str(self.port), "magic": "7"}
        await self.front.connect(honest | keys, XenbusState.INITIALISED)

    def _event(self) -> None:
        self.events += 1

    def put(
        self, cmd: int, offset: int = 0, size: int = 0, value: int = 0, *, where: tuple[int, int, int] = (0, 0, 0),
        entries: Sequence[int] = (),
    ) -> None:  # fmt: skip
        op = self.info.op
        op.cmd, op.err, op.offset, op.size, op.value = cmd, 0x5A5A, offset, size, value & 0xFFFF_FFFF
        op.domain, op.bus, op.devfn = where
        for n, entry in enumerate(entries):
            op.msix_entries[n].entry, op.msix_entries[n].vector = entry, 0xFFFF
        self.info.flags |= 1

    async def wait(self, entries: int = 0) -> Answer:
        for _ in range(2_000):
            if not self.info.flags & 1:
                op = self.info.op
                return Answer(op.err, op.value, [op.msix_entries[n].vector for n in range(entries)])
            await self.guest.dom.sleep(1_000)
        raise AssertionError("no answer in 2 ms")

    async def op(self, cmd: int, offset: int = 0, size: int = 0, value: int = 0, **more: Any) -> Answer:
        self.put(cmd, offset, size, value, **more)
        await self.guest.dom.hypercall.event_send(self.port)
        return await self.wait(len(more.get("entries", ())))

    async def read(self, offset: int, size: int = 4) -> int:
        answer = await self.op(READ, offset, size)
        assert answer.err == 0, answer
        return answer.value

    async def write(self, offset: int, size: int, value: int) -> None:
        answer = await self.op(WRITE, offset, size, value)
        assert answer.err == 0, answer


@dataclass
class PciGuest:
    dom: Domain
    store: Xenstore
    requester: int

    @property
    def number(self) -> int:
        return self.requester - FIRST_VF

    @property
    def aperture(self) -> int:
        """By the layout: apertures of 64 KiB, one after the other."""
        return (self.dom.layout.device << 12) + (self.number << 16)

    async def allocate(self) -> int:
        """Its endpoint's number."""
        grant = await self.dom.hypercall.endpoint_allocate(Form.FETCHED, Form.FETCHED)
        return grant.endpoint


class PciBench(Dom0):
    """Hypervisor, control domain with toolstack, xenstore and pciback; no network back ends."""

    def __init__(self) -> None:
        super().__init__({"pci": lambda device: self.drivers(device)})
        self.hv = Hypervisor(self.platform)
        self.platform.run(self.hv.boot())
        self.control = self.hv.create_control_domain(128)
        self.foreign = ForeignFrames(self.control.layout)
        self.drivers = PciDrivers(self.hv, self.control, self.foreign, self.platform.start)

    async def plug(self, name: str = "guest", number: int | None = None) -> PciGuest:
        dom = self.hv.create_domain(name, 128)
        store = self.domain(dom.domid).store
        requester = FIRST_VF + (self.hv.endpoints.assignable()[0] if number is None else number)
        self.hv.assign_device(dom, requester)
        await self.tools.pci_attach(dom.domid, requester)
        await wait_for_device(store, "pci", 0, 20 * MS)
        return PciGuest(dom, store, requester)

    async def raw(self, guest: PciGuest, **keys: str) -> RawFront:
        front = RawFront(guest)
        await front.open(**keys)
        return front

    def run(self, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """The test's body beside the bus; then every device goes, and nothing may be left."""

        async def main() -> None:
            try:
                await body()
                for domid in [domid for domid in self.hv.domains if domid]:
                    await self.tools.destroy_domain(domid)
                    await self.hv.destroy_domain(domid)
                    assert self.hv.leaks(domid) == []
                assert self.foreign.used == 0 and self.hv.endpoints.functions.in_use == 0
            finally:
                self.bus.stop()

        self.platform.run(self.bus.run(), main())


def front_of(guest: PciGuest) -> PciFront:
    return PciFront(guest.dom, guest.store)


def config_image(guest: PciGuest, *, command: int = 0, msix: bool = False, sized: Sequence[int] = ()) -> bytes:
    """4 KiB as the guest is to see them, by the PCI specification: the card's IDs, an Ethernet class, one BAR, one capability."""
    image = bytearray(4096)
    struct.pack_into("<HHHH", image, 0, 0x14C1, 0x0008, command, 0x0010)
    struct.pack_into("<I", image, 8, 0x020000 << 8)
    low, high = guest.aperture & 0xFFFF_FFFF | 0xC, guest.aperture >> 32
    struct.pack_into("<I", image, 0x18, 0xFFFF_000C if 0x18 in sized else low)
    struct.pack_into("<I", image, 0x1C, 0xFFFF_FFFF if 0x1C in sized else high)
    image[0x34] = 0x50
    struct.pack_into("<BBHII", image, 0x50, 0x11, 0, 0x8000 * msix, 0xF002, 0xF802)
    return bytes(image)
