"""A guest that writes what it likes harms nobody but itself: error completion, recorded fault, victim untouched."""

from __future__ import annotations

import random
import struct

import pytest

from hypervisor_model.faults import DomainCrashedError, GuestFaultError
from sw.abi.registers import Form, NicControl, Status
from sw.guest.device_pages import DevicePages
from sw.guest.virtual_nic import NicHaltedError, SendForm, VirtualNic
from sw.xen.errno import HypercallError
from tb.ethernet import on_line
from tb.model import iommu as reasons
from tests.model.model_support import (
    PAGE,
    RawEndpoint,
    descriptor,
    frames_of,
    machine,
    random_frames,
    send_all,
)

FIRST, NO_TSO, INLINE, CKSUM, TSO_PLD, RESERVED = 0x02, 0x10, 0x40, 0x08, 0x20, 0x80
PLAIN = FIRST | NO_TSO
BUFFER = -1
"""Stands for the attacker's own mapped page."""


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize(
    ("slots", "status", "consumed"),
    [
        ([(BUFFER, 60, 0, PLAIN)], Status.BAD_DESCRIPTOR, 1),
        ([(BUFFER, 60, 13, PLAIN)], Status.BAD_DESCRIPTOR, 1),
        ([(BUFFER, 60, 255, PLAIN)], Status.BAD_DESCRIPTOR, 1),
        ([(BUFFER, 60, 1, NO_TSO)], Status.BAD_DESCRIPTOR, 1),
        ([(BUFFER, 60, 0, PLAIN | INLINE)], Status.BAD_DESCRIPTOR, 1),
        ([(BUFFER, 60, 14, PLAIN | INLINE)], Status.BAD_DESCRIPTOR, 1),
        ([(BUFFER, 60, 2, PLAIN | INLINE), (0, 0, 0, 1)], Status.BAD_DESCRIPTOR, 2),
        ([(BUFFER, 0, 2, PLAIN | INLINE), (0, 0, 0, 1)], Status.BAD_LENGTH, 2),
        ([(BUFFER, 193, 2, PLAIN | INLINE), (0, 0, 0, 1)], Status.BAD_LENGTH, 2),
        ([(BUFFER, 0, 1, PLAIN)], Status.BAD_LENGTH, 1),
        ([(BUFFER, 9019, 1, PLAIN)], Status.BAD_LENGTH, 1),
        ([(BUFFER, 65535, 1, PLAIN)], Status.BAD_LENGTH, 1),
        ([(BUFFER, 4000, 3, PLAIN), (BUFFER, 4000, 1, NO_TSO), (BUFFER, 1019, 1, NO_TSO)], Status.BAD_LENGTH, 3),
        ([(BUFFER, 60, 2, PLAIN), (BUFFER, 0, 1, NO_TSO)], Status.BAD_LENGTH, 2),
        ([(BUFFER, 60, 1, FIRST)], Status.BAD_OFFLOAD, 1),
        ([(BUFFER, 1, 1, PLAIN | CKSUM)], Status.BAD_OFFLOAD, 1),
        ([(BUFFER, 60, 2, PLAIN | TSO_PLD), (BUFFER, 60, 1, NO_TSO)], Status.UNSUPPORTED, 2),
        ([(BUFFER, 60, 1, PLAIN | RESERVED)], Status.UNSUPPORTED, 1),
        ([(1 << 48, 60, 1, PLAIN)], Status.NOT_AUTHORISED, 1),
        ([((1 << 48) - 59, 60, 1, PLAIN)], Status.NOT_AUTHORISED, 1),
        ([((1 << 64) - 30, 60, 1, PLAIN)], Status.NOT_AUTHORISED, 1),
        ([((1 << 48) - 60, 60, 1, PLAIN)], Status.READ_UR, 1),
        ([(0xDEAD_0000, 60, 1, PLAIN)], Status.READ_UR, 1),
        ([(BUFFER, 60, 2, PLAIN), (0xDEAD_0000, 60, 1, NO_TSO)], Status.READ_UR, 2),
    ],
)
def test_bad_request_ends_with_its_status_and_the_next_one_works(
    form: Form, slots: list[tuple[int, int, int, int]], status: Status, consumed: int
) -> None:
    platform, hv = machine()
    attacker = RawEndpoint(hv.create_domain("attacker", 64), form)
    payload = random.Random(2).randbytes(100)

    async def run() -> None:
        await attacker.open()
        attacker.domain.memory.write(attacker.buffer_gpa, payload)
        chain = [
            descriptor(attacker.buffer if a == BUFFER else a, length, count=count, flags=flags)
            for a, length, count, flags in slots
        ]
        good = descriptor(attacker.buffer, 100)
        if form is Form.PUSHED:
            for slot in reversed(range(1, len(chain))):
                attacker.push(slot, chain[slot])
            attacker.push(consumed, good)
            attacker.push(0, chain[0])
        else:
            attacker.put(0, b"".join(chain))
            attacker.put(consumed, good)
            attacker.ring(consumed + 1)
        await platform.sleep(100_000)

    platform.run(run())
    bad, good = attacker.completion(0), attacker.completion(1)
    assert (bad.status, bad.index, bad.length, bad.phase) == (status, consumed, 0, 1)
    assert (good.status, good.index, good.length, good.phase) == (Status.OK, consumed + 1, 100, 1)
    assert frames_of(platform, attacker.number) == [on_line(payload)]
    assert platform.nic.counters[NicControl.FAILED_CHAINS] == 1


def test_pushed_chain_with_an_unwritten_slot() -> None:
    platform, hv = machine()
    attacker = RawEndpoint(hv.create_domain("attacker", 64), Form.PUSHED)

    async def run() -> None:
        await attacker.open()
        attacker.push(2, descriptor(attacker.buffer, 60, flags=NO_TSO))
        attacker.push(0, descriptor(attacker.buffer, 60, count=3))
        await platform.sleep(100_000)

    platform.run(run())
    assert attacker.completion(0).status is Status.BAD_DESCRIPTOR
    assert attacker.completion(0).index == 3
    assert platform.frames == []


def test_fetched_chain_waits_for_its_last_descriptor() -> None:
    platform, hv = machine()
    guest = RawEndpoint(hv.create_domain("guest", 64), Form.FETCHED)

    async def run() -> None:
        await guest.open()
        guest.put(0, descriptor(guest.buffer, 30, count=2) + descriptor(guest.buffer, 30, flags=NO_TSO))
        guest.ring(1)
        await platform.sleep(100_000)
        assert platform.frames == [] and guest.completion(0).phase == 0
        guest.ring(2)
        await platform.sleep(100_000)

    platform.run(run())
    assert guest.completion(0).status is Status.OK
    assert len(platform.frames) == 1


@pytest.mark.parametrize("attack", ["unmapped", "victim's I/O address", "machine address", "garbage"])
def test_victim_is_complete_under(attack: str) -> None:
    platform, hv = machine()
    victim_dom = hv.create_domain("victim", 128)
    attacker_dom = hv.create_domain("attacker", 128)
    frames = random_frames(4, 300)
    victim = VirtualNic(victim_dom, SendForm.FETCHED, 64, buffer_pages=32)
    attacker = RawEndpoint(attacker_dom, Form.PUSHED)
    secret = 0

    async def victim_run() -> None:
        nonlocal secret
        await victim.open()
        secret = victim.buffers.base
        await send_all(victim, frames)

    async def attack_run() -> None:
        await attacker.open()
        await platform.sleep(1_000)
        rng = random.Random(attack)
        for n in range(200):
            slot = n % 16
            if attack == "unmapped":
                attacker.push(slot, descriptor(rng.randrange(1 << 40), 60))
            elif attack == "victim's I/O address":
                attacker.push(slot, descriptor(secret, 60))
            elif attack == "machine address":
                frame = victim_dom.p2m.frame(victim_dom.ram.start + n % 128)
                assert frame is not None
                attacker.push(slot, descriptor(frame * PAGE, 60))
            else:
                attacker.push(slot, rng.randbytes(16))
            await platform.sleep(200)
        await hv.handle_faults()

    platform.run(victim_run(), attack_run())
    assert frames_of(platform, victim.endpoint) == [on_line(frame) for frame in frames]
    assert victim.completions[Status.OK] == len(frames)
    assert frames_of(platform, attacker.number) == []
    assert hv.entries.data_path == 0
    if attack != "garbage":
        assert {fault.domid for fault in hv.faults.device} == {attacker_dom.domid}
        assert {fault.requester for fault in hv.faults.device} == {0x0101 + attacker.number}
        assert hv.entries.faults == len(hv.faults.device)
        assert all(c.status is Status.READ_UR for c in platform.completions if c.endpoint == attacker.number)
    assert platform.nic.config.bus_master


def test_fault_names_requester_address_and_reason() -> None:
    platform, hv = machine()
    attacker = RawEndpoint(hv.create_domain("attacker", 64), Form.PUSHED)

    async def run() -> None:
        await attacker.open()
        attacker.push(0, descriptor(0x1234_5678_9ABC, 60))
        await platform.sleep(10_000)
        assert await hv.handle_faults() == 1

    platform.run(run())
    (fault,) = hv.faults.device
    assert (fault.requester, fault.address, fault.reason, fault.is_read, fault.domid) == (
        0x0101,
        0x1234_5678_9000,
        reasons.READ_DENIED,
        True,
        1,
    )


def test_completion_ring_that_is_read_only_for_the_device() -> None:
    platform, hv = machine()
    guest = RawEndpoint(hv.create_domain("guest", 64), Form.PUSHED)

    async def run() -> None:
        await guest.open(cq_readonly=True)
        guest.domain.memory.write(guest.cq_gpa, b"\xaa" * PAGE)
        guest.push(0, descriptor(guest.buffer, 60))
        await platform.sleep(10_000)
        await hv.handle_faults()

    platform.run(run())
    assert guest.domain.memory.read(guest.cq_gpa, PAGE) == b"\xaa" * PAGE
    (fault,) = hv.faults.device
    assert (fault.reason, fault.is_read) == (reasons.WRITE_DENIED, False)
    assert len(platform.frames) == 1


def test_completion_ring_on_another_guests_page() -> None:
    platform, hv = machine()
    victim = hv.create_domain("victim", 64)
    guest = RawEndpoint(hv.create_domain("guest", 64), Form.PUSHED)
    frame = victim.p2m.frame(victim.ram.start)
    assert frame is not None

    async def run() -> None:
        await guest.open(cq_base=frame * PAGE)
        guest.push(0, descriptor(guest.buffer, 60))
        await platform.sleep(10_000)
        await hv.handle_faults()

    platform.run(run())
    assert victim.memory.read(victim.ram.start * PAGE, PAGE) == bytes(PAGE)
    assert [fault.domid for fault in hv.faults.device] == [guest.domain.domid]


def test_send_ring_that_cannot_be_read_halts_the_endpoint_only() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 128)
    nic = VirtualNic(dom, SendForm.FETCHED, 16, buffer_pages=8)
    other = VirtualNic(hv.create_domain("other", 64), SendForm.FETCHED, 16, buffer_pages=8)

    async def run() -> None:
        await nic.open()
        await other.open()
        # the driver's first mapping is its send ring
        assert isinstance(nic._pages, DevicePages)
        await dom.hypercall.grant_unmap_from_device([nic._pages.mappings.pop(0)[0]])
        assert nic.send(b"x" * 60)
        with pytest.raises(NicHaltedError, match="endpoint 0 halted with 1 frames in flight"):
            await nic.drain(1_000_000)
        assert not nic.send(b"x" * 60)
        await send_all(other, [b"y" * 60] * 100)
        assert await hv.endpoints.read(NicControl.ENDPOINT_STATUS) & NicControl.ENDPOINT_STATUS_HALTED_M

    platform.run(run())
    assert nic.completions[Status.FETCH_ERROR] == 1
    assert frames_of(platform, other.endpoint) == [on_line(b"y" * 60)] * 100


def test_chain_whose_tail_cannot_be_fetched_halts_at_its_head() -> None:
    platform, hv = machine()
    guest = RawEndpoint(hv.create_domain("guest", 64), Form.FETCHED, entries_log2=9)

    async def run() -> None:
        await guest.open()
        one = descriptor(guest.buffer, 60)
        guest.put(0, one * 254)
        guest.ring(254)
        await platform.sleep(100_000)
        # slots 254 and 255 lie on the last page that the device may read
        guest.put(254, one + descriptor(guest.buffer, 60, count=2))
        guest.ring(257)
        await platform.sleep(100_000)

    platform.run(run())
    assert [guest.completion(n).status for n in range(255)] == [Status.OK] * 255
    end = guest.completion(255)
    assert (end.status, end.index, end.phase) == (Status.FETCH_ERROR, 255, 1)
    assert len(platform.completions) == 256 and len(platform.frames) == 255


@pytest.mark.parametrize("producer", [17, 40_000, 65_535])
def test_absurd_producer_index_is_dropped(producer: int) -> None:
    platform, hv = machine()
    guest = RawEndpoint(hv.create_domain("guest", 64), Form.FETCHED)

    async def run() -> None:
        await guest.open()
        guest.ring(producer)
        await platform.sleep(100_000)
        guest.put(0, descriptor(guest.buffer, 60))
        guest.ring(1)
        await platform.sleep(100_000)

    platform.run(run())
    assert platform.nic.counters[NicControl.MMIO_DROPPED] == 1
    assert guest.completion(0).status is Status.OK
    assert len(platform.completions) == 1


def test_doorbell_page_of_another_guest_traps() -> None:
    platform, hv = machine()
    victim = RawEndpoint(hv.create_domain("victim", 64), Form.PUSHED)
    attacker_dom = hv.create_domain("attacker", 64)
    attacker = RawEndpoint(attacker_dom, Form.PUSHED)

    async def run() -> None:
        await victim.open()
        await attacker.open()
        stride = hv.endpoints.stride_pages * PAGE
        wanted = attacker.aperture - stride
        attacker_dom.mmio_write(wanted, struct.pack("<I", 1))
        attacker_dom.mmio_write(wanted + 0x4000, descriptor(victim.buffer, 60))
        # past the own send-ring window, half in, half out
        attacker_dom.mmio_write(attacker.aperture + 0x7FF8, bytes(16))
        assert await attacker_dom.mmio_read(0xC000_0000, 4) == b"\xff" * 4
        await platform.sleep(100_000)

    platform.run(run())
    assert platform.frames == [] and platform.completions == []
    assert [fault.kind for fault in hv.faults.guest] == ["mmio write"] * 3 + ["mmio read"]
    assert {fault.domid for fault in hv.faults.guest} == {attacker_dom.domid}
    assert hv.entries.faults == 4 and hv.entries.data_path == 0


def test_fetched_endpoint_has_no_send_ring_window() -> None:
    platform, hv = machine()
    guest = RawEndpoint(hv.create_domain("guest", 64), Form.FETCHED)

    async def run() -> None:
        await guest.open()
        guest.push(0, descriptor(guest.buffer, 60))
        await platform.sleep(100_000)

    platform.run(run())
    assert len(hv.faults.guest) == 1 and platform.frames == []


def test_fault_can_crash_the_domain() -> None:
    platform, hv = machine()
    dom = hv.create_domain("attacker", 64, crash_on_fault=True)
    guest = RawEndpoint(dom, Form.PUSHED)

    async def run() -> None:
        await guest.open()
        with pytest.raises(DomainCrashedError):
            dom.mmio_write(0xFEE0_0000, bytes(4))
        with pytest.raises(DomainCrashedError):
            guest.push(0, descriptor(guest.buffer, 60))
        with pytest.raises(DomainCrashedError):
            await dom.hypercall.endpoint_disable(guest.number)
        await platform.sleep(10_000)
        assert not await hv.endpoints.read(NicControl.ENDPOINT_STATUS) & NicControl.ENDPOINT_STATUS_ENABLED_M

    platform.run(run())


def test_endpoint_of_another_domain_is_refused() -> None:
    platform, hv = machine()
    owner = RawEndpoint(hv.create_domain("owner", 64), Form.PUSHED)
    other = hv.create_domain("other", 64)

    async def run() -> None:
        await owner.open()
        for call in (
            other.hypercall.endpoint_disable(0),
            other.hypercall.endpoint_release(0),
            other.hypercall.grant_map_to_device(0, 8, readonly=True),
            other.hypercall.endpoint_enable(0, 4, 4, 0, 0),
        ):
            with pytest.raises(HypercallError, match="does not belong"):
                await call

    platform.run(run())


def test_memory_outside_ram_faults() -> None:
    _, hv = machine()
    dom = hv.create_domain("guest", 4)
    end = dom.ram.stop * PAGE
    dom.memory.write(end - 8, b"12345678")
    assert dom.memory.read(end - 8, 8) == b"12345678"
    with pytest.raises(GuestFaultError, match="memory read"):
        dom.memory.read(end - 4, 8)
    with pytest.raises(GuestFaultError, match="memory write"):
        dom.memory.write(0, b"x")
    assert hv.entries.faults == 2


def test_storm_of_faults_overflows_the_records_and_is_survived() -> None:
    platform, hv = machine()
    attacker = RawEndpoint(hv.create_domain("attacker", 64), Form.PUSHED)

    async def run() -> None:
        await attacker.open()
        for n in range(12):
            attacker.push(n, descriptor(n << 32, 60))
        await platform.sleep(100_000)
        assert await hv.handle_faults() == 8
        attacker.push(12, descriptor(99 << 32, 60))
        await platform.sleep(100_000)
        assert await hv.handle_faults() == 1

    platform.run(run())
    assert hv.faults.overflows == 1
    assert [fault.address for fault in hv.faults.device] == [n << 32 for n in (*range(8), 99)]
