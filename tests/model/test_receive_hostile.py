"""A guest that sets up its receive side as it likes harms nobody but itself."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import pytest

from hypervisor_model.domains import Domain
from sw.abi.registers import Aperture, Form, Mode, NicControl, Status
from sw.guest.machine import ReceiveSetup
from sw.guest.virtual_nic import ReceiveConfig, SendForm
from sw.xen.errno import HypercallError
from sw.xen.grant_table import GrantStatus
from tb.model import iommu as reasons
from tests.model.model_support import PAGE, WAIT_NS, machine
from tests.model.receive_support import FORMS, collect, frame, receiver_nic, wire

SMALL = ReceiveConfig(entries=64)


class RawReceiver:
    """A guest without a driver: posts any address as a buffer, arms anything."""

    def __init__(self, domain: Domain, form: Form) -> None:
        self.domain = domain
        self.form = form

    async def allocate(self) -> ReceiveSetup:
        """Map a page for each ring and one for buffers; a set-up that is right."""
        call = self.domain.hypercall
        self.grant = await call.endpoint_allocate(Form.PUSHED, self.form)
        self.number = self.grant.endpoint
        gfn = self.domain.kernel.allocate_pages(5)
        self.addresses: list[int] = []
        for n in range(5):
            reference = await self.domain.kernel.grant_access(gfn + n, readonly=False)
            mapping = await call.grant_map_to_device(self.number, reference, readonly=False)
            assert mapping.status is GrantStatus.OKAY
            self.addresses.append(mapping.device_address)
        self.cq, self.small, self.big, self.rq, self.buffer = self.addresses
        self.small_gpa, self.rq_gpa, self.buffer_gpa = ((gfn + n) * PAGE for n in (1, 3, 4))
        return ReceiveSetup(4, 4, 5, 11, 126, 1518, (self.rq,), self.small, self.big)

    async def enable(self, setup: ReceiveSetup) -> None:
        await self.domain.hypercall.endpoint_enable(self.number, 4, 4, 0, self.cq, setup)

    async def open(self) -> None:
        await self.enable(await self.allocate())

    def post(self, slot: int, address: int) -> None:
        entry = struct.pack(">Q", address)
        if self.form is Form.PUSHED:
            self.write(Aperture.RX_SMALL_RING + slot * 8, entry)
        else:
            self.domain.memory.write(self.small_gpa + slot * 8, entry)

    def ring(self, producer: int) -> None:
        if self.form is Form.FETCHED:
            self.write(Aperture.RX_SMALL_DOORBELL, struct.pack("<I", producer))

    def arm(self, value: int) -> None:
        self.write(Aperture.ARM, struct.pack("<I", value))

    def write(self, offset: int, data: bytes) -> None:
        self.domain.mmio_write(self.grant.aperture + offset, data)

    def completions(self) -> int:
        """Entries of the first lap that are there."""
        data = self.domain.memory.read(self.rq_gpa, 32 * 16)
        return sum(data[n] & 1 for n in range(15, len(data), 16))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("attack", ["unmapped", "victim's I/O address", "machine address"])
def test_buffers_that_are_not_its_own_fault_and_the_victim_is_complete(form: Form, attack: str) -> None:
    platform, hv = machine()
    victim_dom, attacker_dom = hv.create_domain("victim", 256), hv.create_domain("attacker", 64)
    victim, attacker = receiver_nic(victim_dom, SMALL), RawReceiver(attacker_dom, form)
    rng = random.Random(1)

    async def run() -> None:
        await victim.open()
        await attacker.open()
        secret = victim.receiver._big.views[0]
        before = bytes(secret)
        frame_number = victim_dom.p2m.frame(victim_dom.ram.start + 30)
        assert frame_number is not None
        target = {
            "unmapped": 0xDEAD_0000,
            # odd guests live elsewhere: this page is the victim's, and not the attacker's
            "victim's I/O address": victim.buffers.base,
            "machine address": frame_number * PAGE,
        }[attack]
        for slot in range(16):
            attacker.post(slot, target + 128 * slot)
        attacker.ring(16)
        await platform.sleep(20_000)
        mine = [frame(rng, victim.mac, 60) for _ in range(8)]
        for data in mine:
            wire(platform, [frame(rng, attacker.grant.mac, 60), data])
        assert [one.data for one in await collect(victim, 8)] == mine
        await hv.handle_faults()
        assert bytes(secret) == before

    platform.run(run())
    assert {(fault.domid, fault.requester, fault.is_read) for fault in hv.faults.device} == {
        (attacker_dom.domid, 0x0101 + attacker.number, False)
    }
    assert {fault.reason for fault in hv.faults.device} == {reasons.WRITE_DENIED}
    assert platform.nic.config.bus_master and hv.entries.data_path == 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("native", [False, True])
def test_write_into_the_interrupt_window_is_refused(form: Form, native: bool) -> None:
    platform, hv = machine()
    dom = hv.create_domain("attacker", 64, mode=Mode.NATIVE if native else Mode.IOMMU)
    attacker = RawReceiver(dom, form)
    rng = random.Random(2)
    messages: list[tuple[int, int]] = []

    async def run() -> None:
        platform.on_interrupt(lambda address, data: messages.append((address, data)))
        await attacker.open()
        attacker.post(0, 0xFEE0_0000)
        attacker.post(1, 0xFEEF_FF80)
        attacker.post(2, 0xFEDF_FFE0)
        attacker.post(3, attacker.buffer)
        attacker.ring(4)
        await platform.sleep(20_000)
        data = [frame(rng, attacker.grant.mac, 60) for _ in range(4)]
        wire(platform, data)
        await platform.sleep(20_000)
        statistics = await dom.hypercall.endpoint_statistics(attacker.number)
        assert statistics["rx_dropped_refused"] == 3
        assert dom.memory.read(attacker.buffer_gpa + 2, 60) == data[3]

    platform.run(run())
    assert messages == []


@pytest.mark.parametrize("form", FORMS)
def test_arming_what_does_not_exist(form: Form) -> None:
    platform, hv = machine()
    dom = hv.create_domain("attacker", 64)
    attacker = RawReceiver(dom, form)
    victim = receiver_nic(hv.create_domain("victim", 256), SMALL)
    rng = random.Random(3)
    events: list[int] = []

    async def run() -> None:
        await victim.open()
        setup = await attacker.allocate()
        await dom.kernel.bind_interrupt(attacker.number, lambda: events.append(platform.now()))
        await attacker.enable(setup)
        # queues 5 to 7 do not exist, 2 to 4 have no ring
        for queue in (5, 6, 7):
            for index in (0, 1, 0xFFFF):
                attacker.arm(queue << 16 | index)
        attacker.arm(0xFFFF_FFFF)
        attacker.write(Aperture.ARM, b"\xff" * 2)
        attacker.write(Aperture.ARM + 2, b"\xff" * 2)
        await platform.sleep(20_000)
        assert events == []
        # an index that was never posted: an event at once, and one only
        attacker.arm(1 << 16 | 0x8000)
        await platform.sleep(20_000)
        assert len(events) == 1
        mine = [frame(rng, victim.mac, 60) for _ in range(20)]
        for data in mine:
            wire(platform, [data])
            for index in range(1, 6):
                attacker.arm(1 << 16 | index)
            (got,) = await victim.receive(WAIT_NS)
            assert got.data == data
        await platform.sleep(20_000)

    platform.run(run())
    assert hv.entries.interrupts == len(events) + victim.receiver.counts.interrupts
    assert victim.receiver.counts.interrupts == 20
    assert dom.kernel.unhandled_events == 0


def test_windows_of_others_and_of_the_other_form_trap() -> None:
    platform, hv = machine()
    victim_dom, dom = hv.create_domain("victim", 256), hv.create_domain("attacker", 64)
    victim = receiver_nic(victim_dom, ReceiveConfig(form=Form.PUSHED, entries=64))
    attacker = RawReceiver(dom, Form.FETCHED)
    rng = random.Random(4)

    async def run() -> None:
        await victim.open()
        await attacker.open()
        stride = hv.endpoints.stride_pages * PAGE
        offsets = (Aperture.ARM, Aperture.RX_SMALL_DOORBELL, Aperture.RX_SMALL_RING, Aperture.RX_BIG_RING)
        for offset in offsets:
            dom.mmio_write(attacker.grant.aperture - stride + offset, b"\xff" * 8)
        # the fetched form has no windows
        attacker.write(Aperture.RX_SMALL_RING, bytes(8))
        attacker.write(Aperture.RX_BIG_RING, bytes(8))
        # nor is there anything after the pushed one's
        victim_dom.mmio_write(dom.ram.start * PAGE, bytes(8))
        frames = [frame(rng, victim.mac, 60) for _ in range(10)]
        wire(platform, frames)
        assert [one.data for one in await collect(victim, 10)] == frames

    platform.run(run())
    assert [fault.domid for fault in hv.faults.guest] == [dom.domid] * 6 + [victim_dom.domid]


@pytest.mark.parametrize("producer", [17, 1000, 0xFFFF])
def test_absurd_producer_of_the_receive_ring(producer: int) -> None:
    platform, hv = machine()
    attacker = RawReceiver(hv.create_domain("attacker", 64), Form.FETCHED)
    rng = random.Random(5)

    async def run() -> None:
        await attacker.open()
        attacker.ring(producer)
        await platform.sleep(20_000)
        wire(platform, [frame(rng, attacker.grant.mac, 60)])
        await platform.sleep(20_000)
        assert attacker.completions() == 0
        attacker.post(0, attacker.buffer)
        attacker.ring(1)
        await platform.sleep(20_000)
        wire(platform, [frame(rng, attacker.grant.mac, 60)])
        await platform.sleep(20_000)
        assert attacker.completions() == 1

    platform.run(run())


@pytest.mark.parametrize("what", ["queue", "ring"])
def test_rings_on_another_guests_page(what: str) -> None:
    platform, hv = machine()
    victim_dom = hv.create_domain("victim", 256)
    attacker = RawReceiver(hv.create_domain("attacker", 64), Form.FETCHED)
    machine_frame = victim_dom.p2m.frame(victim_dom.ram.start)
    assert machine_frame is not None
    foreign = machine_frame * PAGE

    async def run() -> None:
        setup = await attacker.allocate()
        if what == "queue":
            setup = replace(setup, queue_bases=(foreign,))
        else:
            setup = replace(setup, small_base=foreign)
        await attacker.enable(setup)
        attacker.post(0, attacker.buffer)
        attacker.ring(1)
        await platform.sleep(20_000)
        wire(platform, [frame(random.Random(6), attacker.grant.mac, 60)])
        await platform.sleep(20_000)
        await hv.handle_faults()

    platform.run(run())
    assert victim_dom.memory.read(victim_dom.ram.start * PAGE, PAGE) == bytes(PAGE)
    assert {(fault.domid, fault.is_read) for fault in hv.faults.device} == {(attacker.domain.domid, what == "ring")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"small_log2": 3}, "small_log2 is 3: 4 to 9"),
        ({"big_log2": 10}, "big_log2 is 10: 4 to 9"),
        ({"queue_log2": 11}, "queue_log2 is 11: 4 to 10"),
        ({"buffer_log2": 10}, "buffer_log2 is 10: 11 to 12"),
        ({"buffer_log2": 13}, "buffer_log2 is 13: 11 to 12"),
        ({"small_bytes": 9019}, "small_bytes is 9019: 0 to 9018"),
        ({"small_bytes": 1 << 31}, "small_bytes is 2147483648"),
        ({"small_bytes": -1}, "do not fit the structure"),
        ({"max_frame": 9019}, "max_frame is 9019: 1 to 9018"),
        ({"max_frame": 0}, "max_frame is 0"),
        ({"queue_bases": ()}, "number of queue_bases is 0: 1 to 4"),
        ({"queue_bases": (0,) * 5}, "number of queue_bases is 5"),
        ({"queue_bases": (0, 8)}, r"queue_bases\[1\] is 0x8"),
        ({"small_base": 1 << 64}, "do not fit the structure"),
        ({"big_base": -16}, "do not fit the structure"),
    ],
)
def test_set_up_is_checked_before_anything_is_written(change: dict[str, object], message: str) -> None:
    platform, hv = machine()
    guest = RawReceiver(hv.create_domain("guest", 64), Form.FETCHED)

    async def run() -> None:
        setup = await guest.allocate()
        with pytest.raises(HypercallError, match=message):
            await guest.enable(replace(setup, **change))  # type: ignore[arg-type]
        assert await hv.endpoints.read(NicControl.ENDPOINT_RX_CTRL) == 0
        await guest.enable(setup)

    platform.run(run())


def test_endpoint_for_sending_gets_no_receive_side() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 64)
    setup = ReceiveSetup(4, 4, 5, 11, 126, 1518, (0,))

    async def run() -> None:
        grant = await dom.hypercall.endpoint_allocate(Form.PUSHED)
        with pytest.raises(HypercallError, match="allocated for sending only"):
            await dom.hypercall.endpoint_enable(grant.endpoint, 4, 4, 0, 0, setup)

    platform.run(run())


def test_foreign_endpoint_is_not_configured() -> None:
    platform, hv = machine()
    victim = receiver_nic(hv.create_domain("victim", 256), SMALL)
    call = hv.create_domain("attacker", 64).hypercall

    async def run() -> None:
        await victim.open()
        for attempt in (
            call.endpoint_rss(victim.endpoint, bytes(40), [0] * 128),
            call.endpoint_moderation(victim.endpoint, 0, 0),
            call.endpoint_multicast(victim.endpoint, b"\x01" * 6, join=True),
            call.endpoint_filter(victim.endpoint, promiscuous=False, all_multicast=True),
            call.endpoint_statistics(victim.endpoint),
            call.map_pirq(victim.endpoint),
        ):
            with pytest.raises(HypercallError, match="does not belong"):
                await attempt

    platform.run(run())


def test_shared_info_page_cannot_become_a_buffer() -> None:
    """The frame is the hypervisor's: a device write there would forge events past their masks."""
    platform, hv = machine()
    dom = hv.create_domain("guest", 64)

    async def run() -> None:
        grant = await dom.hypercall.endpoint_allocate(Form.PUSHED, Form.PUSHED)
        gfn = await dom.hypercall.map_shared_info()
        assert await dom.hypercall.map_shared_info() == gfn
        reference = await dom.kernel.grant_access(gfn, readonly=False)
        mapping = await dom.hypercall.grant_map_to_device(grant.endpoint, reference, readonly=False)
        assert mapping.status is GrantStatus.BAD_PAGE

    platform.run(run())


def test_pause_frame_of_a_guest_stops_nobody() -> None:
    platform, hv = machine()
    attacker = receiver_nic(hv.create_domain("attacker", 256), SMALL)
    sibling = receiver_nic(hv.create_domain("sibling", 256), SMALL)

    async def run() -> None:
        await attacker.open()
        await sibling.open()
        pause = bytes.fromhex("0180c2000001") + attacker.mac + bytes.fromhex("88080001ffff") + bytes(42)
        for _ in range(20):
            assert attacker.send(pause)
        await attacker.drain(WAIT_NS)
        assert attacker.completions[Status.SPOOFED] == 20
        start = platform.now()
        assert sibling.send(b"\x02" * 6 + sibling.mac + bytes(50))
        await sibling.drain(WAIT_NS)
        assert platform.now() - start < 10_000

    platform.run(run())
    assert len(platform.frames) == 1


def test_flood_of_addresses_moves_nobodys_frames() -> None:
    platform, hv = machine()
    attacker_dom = hv.create_domain("attacker", 256)
    attacker = receiver_nic(attacker_dom, SMALL, SendForm.FETCHED)
    victim = receiver_nic(hv.create_domain("victim", 256), SMALL)
    rng = random.Random(8)

    async def run() -> None:
        await attacker.open()
        await victim.open()
        for _ in range(300):
            source = rng.choice((victim.mac, b"\x02" + rng.randbytes(5)))
            while not attacker.send(rng.randbytes(6) + source + bytes(50)):
                await attacker.wait_for_room(WAIT_NS)
        await attacker.drain(WAIT_NS)
        data = frame(rng, victim.mac, 100)
        wire(platform, [data])
        assert [one.data for one in await victim.receive(WAIT_NS)] == [data]
        assert attacker.poll() == []

    platform.run(run())
    assert attacker.completions[Status.SPOOFED] == 300 and platform.frames == []
