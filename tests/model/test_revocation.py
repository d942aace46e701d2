"""Contract C4: entry invalid, NIC idle, IOTLB flushed with drain, and only then unpinned."""

from __future__ import annotations

import struct

from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.spaces.iommu import IommuSpace
from sw.abi.registers import Form, Iommu, NicControl, Status
from sw.guest.virtual_nic import SendForm, VirtualNic
from sw.xen.grant_table import GrantStatus
from tb.model.platform import ModelPlatform
from tests.model.model_support import PAGE, RawEndpoint, descriptor, send_all


class Recorder(ModelPlatform):
    """Notes what the hypervisor does to the devices, and the state of one page at that moment."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, bool, int]] = []
        self.watch: tuple[Hypervisor, int, int, int] | None = None

    def _note(self, what: str) -> None:
        if self.watch is None:
            return
        hv, endpoint, dfn, frame = self.watch
        space = hv.endpoints._endpoints[endpoint].space
        assert isinstance(space, IommuSpace)
        page, offset = space.table._walk(dfn, 1)
        (entry,) = struct.unpack_from("<Q", page, offset)
        self.events.append((what, bool(entry & 3), hv.frames.references(frame)))

    def mmio_write(self, address: int, data: bytes) -> None:
        if address == self.machine.iommu + Iommu.IQT_LO:
            self._note("flush")
        super().mmio_write(address, data)

    async def mmio_read(self, address: int, size: int) -> bytes:
        data = await super().mmio_read(address, size)
        if self.watch is not None and address & 0xFFFF == NicControl.ENDPOINT_STATUS:
            busy = bool(int.from_bytes(data, "little") & NicControl.ENDPOINT_STATUS_BUSY_M)
            self._note("busy" if busy else "idle")
        return data


def test_order_of_a_revocation_in_traffic() -> None:
    platform = Recorder()
    hv = Hypervisor(platform)
    platform.run(hv.boot())
    dom = hv.create_domain("guest", 64)
    guest = RawEndpoint(dom, Form.PUSHED)

    async def run() -> None:
        await guest.open()
        frame = dom.p2m.frame(guest.buffer_gpa // PAGE)
        assert frame is not None
        for n in range(8):
            guest.push(n, descriptor(guest.buffer, 1500))
        await platform.sleep(300)
        platform.watch = (hv, guest.number, guest.buffer // PAGE, frame)
        assert await dom.hypercall.grant_unmap_from_device([guest.handles[1]]) == [GrantStatus.OKAY]
        assert hv.frames.references(frame) == 1
        platform.watch = None

    platform.run(run())
    names = [name for name, _, _ in platform.events]
    assert names[0] == "busy"
    assert names[-2:] == ["idle", "flush"]
    assert set(names[:-2]) == {"busy"}
    # at every step the entry is gone and the page still pinned
    assert all(not mapped and references == 2 for _, mapped, references in platform.events)
    queue = hv.frames.page(hv.iommu._queue)
    at = (hv.iommu._tail - 2) * 16
    flush, address, wait, _ = struct.unpack_from("<QQQQ", queue, at)
    # IOTLB, page-selective, drain writes and reads, domain id; the page, one page; then a wait with status write
    assert flush == 2 | 3 << 4 | 1 << 6 | 1 << 7 | (1 + guest.number) << 16
    assert address == guest.buffer
    assert wait & 0x3F == 5 | 1 << 5


def test_guest_that_never_rests_is_disabled_for_its_revocation() -> None:
    platform = ModelPlatform()
    hv = Hypervisor(platform)
    platform.run(hv.boot())
    dom = hv.create_domain("guest", 64)
    guest = RawEndpoint(dom, Form.PUSHED)
    victim = VirtualNic(hv.create_domain("victim", 64), SendForm.PUSHED, 16, buffer_pages=8)
    stop = False

    async def flood() -> None:
        slot = 0
        while not stop:
            guest.push(slot, descriptor(guest.buffer, 60))
            slot += 1
            await platform.sleep(50)

    async def run() -> None:
        nonlocal stop
        await guest.open()
        await victim.open()
        platform.start(flood())
        await platform.sleep(10_000)
        assert await dom.hypercall.grant_unmap_from_device([guest.handles[1]]) == [GrantStatus.OKAY]
        await send_all(victim, [b"v" * 60] * 50)
        stop = True

    platform.run(run())
    assert hv.endpoints.forced_disables == 1
    assert victim.completions[Status.OK] == 50


def test_nothing_reaches_a_page_after_close() -> None:
    platform = ModelPlatform()
    hv = Hypervisor(platform)
    platform.run(hv.boot())
    dom = hv.create_domain("guest", 64)
    nic = VirtualNic(dom, SendForm.FETCHED, 64, buffer_pages=16)

    async def run() -> None:
        await nic.open()
        for _ in range(40):
            assert nic.send(b"z" * 1500)
        nic.kick()
        await nic.close()

    platform.run(run())
    sent = len(platform.frames)
    platform.settle()
    assert len(platform.frames) == sent
    for gfn in dom.ram:
        assert platform.iommu.translate(0x0101, gfn * PAGE, write=False) is None
        frame = dom.p2m.frame(gfn)
        assert frame is not None and hv.frames.references(frame) == 1
