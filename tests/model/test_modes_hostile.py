"""Protection modes windows and validated against hostile guests, and their revocation, through the hypervisor."""

from __future__ import annotations

import struct

import pytest

from hypervisor_model.domains import Domain
from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.spaces.validated import ValidatedSpace
from sw.abi.registers import Aperture, Form, Mode, Refusal, SendDescriptor, Status
from sw.guest.machine import ReceiveSetup
from sw.platform import PAGE_SIZE
from sw.xen.errno import HypercallError
from sw.xen.grant_table import GrantStatus
from sw.xen.myri import ValidatedRing
from tb.ethernet import on_line
from tb.model.platform import ModelPlatform
from tests.model.model_support import RawEndpoint, descriptor, frames_of, machine

PAYLOAD = bytes(range(200))
SEQUENCE, LARGE = 40, 1 << 63
"""Of a window address, docs/abi.md."""


class Windows:
    """A guest with one endpoint in mode windows, and a neighbour of its kind."""

    def __init__(self) -> None:
        self.platform, self.hv = machine()
        self.guest, self.neighbour = (
            RawEndpoint(self.hv.create_domain(name, 64, mode=Mode.WINDOWS), Form.PUSHED) for name in ("guest", "neighbour")
        )
        self.platform.run(self.guest.open())
        self.platform.run(self.neighbour.open())
        for raw in (self.guest, self.neighbour):
            raw.domain.memory.write(raw.buffer_gpa, PAYLOAD)
        self.slot = 0

    def send(self, address: int, length: int = len(PAYLOAD)) -> Status:
        """One frame of the guest; how it ended."""
        self.guest.push(self.slot, descriptor(address, length))
        self.platform.settle()
        done = self.guest.completion(self.slot)
        self.slot += 1
        return done.status

    def refusal(self) -> tuple[int | None, int, Refusal, bool]:
        """Domain, address, reason and direction of the record, which is taken."""
        before = len(self.hv.faults.nic)
        self.platform.run(self.hv.handle_faults())
        [record] = self.hv.faults.nic[before:]
        return record.domid, record.address, record.reason, record.is_read


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a + (1 << SEQUENCE), Refusal.SEQUENCE),
        (lambda a: a - (1 << SEQUENCE), Refusal.SEQUENCE),
        (lambda a: a | LARGE, Refusal.SIZE),
        (lambda a: a + 200 * PAGE_SIZE, Refusal.INVALID),
        (lambda a: a | 1 << 25, Refusal.RESERVED),
        (lambda a: 0x123000, Refusal.RESERVED),
    ],
)
def test_what_is_not_registered_is_refused_and_charged(change: object, reason: Refusal) -> None:
    w = Windows()
    assert callable(change)
    bad = change(w.guest.buffer)
    assert w.send(bad) is Status.NOT_AUTHORISED
    domid, address, told, is_read = w.refusal()
    assert (domid, told, is_read) == (w.guest.domain.domid, reason, True)
    assert address == bad
    # neither it nor its neighbour is worse for it
    assert w.send(w.guest.buffer) is Status.OK
    w.neighbour.push(0, descriptor(w.neighbour.buffer, len(PAYLOAD)))
    w.platform.settle()
    assert frames_of(w.platform, 0) == frames_of(w.platform, 1) == [on_line(PAYLOAD)]


def test_an_address_of_a_neighbour_names_the_senders_own_window() -> None:
    """Identity comes from the page that was rung: the same number is another window."""
    w = Windows()
    w.neighbour.domain.memory.write(w.neighbour.buffer_gpa, b"\xee" * 200)
    assert w.neighbour.buffer == w.guest.buffer
    assert w.send(w.neighbour.buffer) is Status.OK
    assert frames_of(w.platform, 0) == [on_line(PAYLOAD)]


def test_deregistered_window_reaches_nothing_though_its_number_is_used_again() -> None:
    w = Windows()
    dom, stale = w.guest.domain, w.guest.buffer
    frame = dom.p2m.frame(w.guest.buffer_gpa // PAGE_SIZE)
    assert frame is not None

    async def run() -> None:
        assert await dom.hypercall.grant_unmap_from_device([w.guest.handles[1]]) == [GrantStatus.OKAY]
        assert w.hv.frames.references(frame) == 1
        gfn = dom.kernel.allocate_pages(1)
        reference = await dom.kernel.grant_access(gfn, readonly=True)
        fresh = await dom.hypercall.grant_map_to_device(w.guest.number, reference, readonly=True)
        assert fresh.device_address == stale + (2 << SEQUENCE)

    w.platform.run(run())
    assert w.send(stale) is Status.NOT_AUTHORISED
    assert w.refusal()[2] is Refusal.SEQUENCE


def test_of_two_windows_on_one_page_the_one_goes_whose_handle_is_given_back() -> None:
    w = Windows()
    call, raw = w.guest.domain.hypercall, w.guest
    reference = w.platform.run(raw.domain.kernel.grant_access(raw.buffer_gpa // PAGE_SIZE, readonly=True))[0]
    first, second = (w.platform.run(call.grant_map_to_device(raw.number, reference, readonly=True))[0] for _ in range(2))
    assert w.platform.run(call.grant_unmap_from_device([first.handle])) == [[GrantStatus.OKAY]]
    assert w.send(first.device_address) is Status.NOT_AUTHORISED
    assert w.send(second.device_address) is Status.OK


def test_a_registration_is_consecutive_and_all_or_nothing() -> None:
    w = Windows()
    dom = w.guest.domain

    async def run() -> None:
        gfn = dom.kernel.allocate_pages(8)
        references = [await dom.kernel.grant_access(gfn + n, readonly=False) for n in range(8)]
        call = dom.hypercall
        run = await call.grant_map_run_to_device(w.guest.number, references, readonly=False)
        assert [m.device_address - run[0].device_address for m in run] == [n * PAGE_SIZE for n in range(8)]
        spoiled = [*references[:4], 5000, *references[4:]]
        pins = [w.hv.grants.pins(dom.domid, r) for r in references]
        refused = await call.grant_map_run_to_device(w.guest.number, spoiled, readonly=False)
        assert {m.status for m in refused} == {GrantStatus.BAD_GREF}
        assert [w.hv.grants.pins(dom.domid, r) for r in references] == pins
        # 256 windows, 11 in use
        for _ in range(30):
            more = await call.grant_map_run_to_device(w.guest.number, references, readonly=True)
            assert {m.status for m in more} == {GrantStatus.OKAY}
        full = await call.grant_map_run_to_device(w.guest.number, references, readonly=True)
        assert {m.status for m in full} == {GrantStatus.NO_DEVICE_SPACE}

    w.platform.run(run())


class Validated:
    """A guest with one validated endpoint, driven by hypercalls of its own making."""

    def __init__(self, receive: bool = False) -> None:
        self.platform, self.hv = machine()
        self.dom = self.hv.create_domain("guest", 64, mode=Mode.VALIDATED)
        self.gfn = self.dom.kernel.allocate_pages(4)
        self.receive = receive
        self.platform.run(self._open())
        self.dom.memory.write(self.gfn * PAGE_SIZE, PAYLOAD)

    async def _open(self) -> None:
        call, dom = self.dom.hypercall, self.dom
        grant = await call.endpoint_allocate(Form.FETCHED, Form.FETCHED if self.receive else None)
        self.number, self.aperture = grant.endpoint, grant.aperture
        reference = await dom.kernel.grant_access(self.gfn + 3, readonly=False)
        self.cq = await call.grant_map_to_device(self.number, reference, readonly=False)
        setup = None
        if self.receive:
            setup = ReceiveSetup(4, 4, 5, 11, 126, 1518, (self.cq.device_address + 1024,))
        await call.endpoint_enable(self.number, 4, 4, 0, self.cq.device_address, setup)

    def enqueue(self, *descriptors: bytes) -> int:
        return self.dom.hypercall.endpoint_enqueue(self.number, ValidatedRing.SEND, b"".join(descriptors))

    def ring(self, producer: int) -> None:
        self.dom.mmio_write(self.aperture + Aperture.SEND_DOORBELL, struct.pack("<I", producer))
        self.platform.settle()

    def status(self, entry: int) -> Status:
        """Of completion `entry`; the phase must be right."""
        data = self.dom.memory.read((self.gfn + 3) * PAGE_SIZE + entry % 16 * 16, 16)
        assert data[15] & 1 == 1 - entry // 16 % 2, f"completion {entry} has not come"
        return Status(data[14])

    @property
    def space(self) -> ValidatedSpace:
        space = self.hv.endpoints.owned(self.number, self.dom.domid).space
        assert isinstance(space, ValidatedSpace)
        return space


def foreign(hv: Hypervisor) -> Domain:
    return hv.create_domain("other", 16)


def test_batches_are_checked_pinned_and_lazily_unpinned() -> None:
    v = Validated()
    gpa = v.gfn * PAGE_SIZE
    frame = v.dom.p2m.frame(v.gfn)
    assert frame is not None
    for lap in range(5):
        assert v.enqueue(*[descriptor(gpa, len(PAYLOAD))] * 10) == 10
        assert v.hv.frames.references(frame) == 11
        v.ring(10 * (lap + 1) & 0xFFFF)
        assert [v.status(10 * lap + n) for n in range(10)] == [Status.OK] * 10
        # done, and still pinned: nobody has told the hypervisor
        assert v.hv.frames.references(frame) == 11
        v.platform.run(v.dom.hypercall.endpoint_retire(v.number))
        assert v.hv.frames.references(frame) == 1
    assert frames_of(v.platform, 0) == [on_line(PAYLOAD)] * 50
    # more than the ring has is not taken, and costs nobody
    assert v.enqueue(*[descriptor(gpa, 60)] * 20) == 16
    assert v.enqueue(descriptor(gpa, 60)) == 0


def test_a_page_given_back_while_pinned_stays_allocated() -> None:
    v = Validated()
    frame = v.dom.p2m.frame(v.gfn)
    assert frame is not None
    v.enqueue(descriptor(v.gfn * PAGE_SIZE, 60))
    v.platform.run(v.dom.hypercall.decrease_reservation(v.gfn))
    assert v.hv.frames.owner(frame) == v.dom.domid
    v.platform.run(v.dom.hypercall.endpoint_disable(v.number))
    assert v.hv.frames.owner(frame) != v.dom.domid


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda v: descriptor((v.gfn + 1000) * PAGE_SIZE, 60), "not the caller's RAM"),
        (lambda v: descriptor(v.dom.layout.device * PAGE_SIZE, 60), "not the caller's RAM"),
        (lambda v: descriptor(v.dom.layout.grant_table * PAGE_SIZE + 4000, 97), "do not lie in one page"),
        (lambda v: descriptor(v.gfn * PAGE_SIZE, 0), "0 bytes"),
        (lambda v: descriptor((1 << 64) - 1, 60), "do not lie in one page"),
        (lambda v: descriptor(v.gfn * PAGE_SIZE, 60, count=5, flags=0x12 | SendDescriptor.CONTROL_INLINE_M), "inline"),
    ],
)
def test_bad_descriptors_never_reach_the_ring(make: object, message: str) -> None:
    v = Validated()
    assert callable(make)
    good = descriptor(v.gfn * PAGE_SIZE, len(PAYLOAD))
    with pytest.raises(HypercallError, match=message):
        v.enqueue(good, make(v), good)
    # the one before it stands; the doorbell may name no more than that
    v.ring(1)
    assert v.status(0) is Status.OK and frames_of(v.platform, 0) == [on_line(PAYLOAD)]


def test_ringing_beyond_what_was_validated_meets_stale_descriptors() -> None:
    v = Validated()
    good = descriptor(v.gfn * PAGE_SIZE, len(PAYLOAD))
    v.enqueue(*[good] * 16)
    v.ring(16)
    v.platform.run(v.dom.hypercall.endpoint_retire(v.number))
    v.enqueue(good)
    # slots 1 to 3 hold what was valid a lap ago
    v.ring(20)
    assert v.status(16) is Status.OK and v.status(17) is Status.STALE_DESCRIPTOR
    assert frames_of(v.platform, 0) == [on_line(PAYLOAD)] * 17
    v.platform.run(v.hv.handle_faults())
    assert [(r.domid, r.reason) for r in v.hv.faults.nic] == [(v.dom.domid, Refusal.STALE)]
    # it halts until it is enabled anew, and is as good as new then
    v.platform.run(v.dom.hypercall.endpoint_disable(v.number))
    assert v.space.rings == {}


def test_completion_rings_must_be_pages_that_the_caller_has_mapped() -> None:
    v = Validated()
    other = foreign(v.hv)
    stolen = other.p2m.frame(other.ram.start)
    assert stolen is not None

    async def run() -> None:
        call = v.dom.hypercall
        await call.endpoint_disable(v.number)
        with pytest.raises(HypercallError, match="cq_base.*not a page that the caller has mapped"):
            await call.endpoint_enable(v.number, 4, 4, 0, stolen * PAGE_SIZE)
        with pytest.raises(HypercallError, match="cq_base"):
            await call.endpoint_enable(v.number, 4, 10, 0, v.cq.device_address)
        await call.endpoint_enable(v.number, 4, 4, 0, v.cq.device_address)
        # taken away under it: the endpoint is stopped first
        assert await call.grant_unmap_from_device([v.cq.handle]) == [GrantStatus.OKAY]
        assert not v.hv.endpoints.owned(v.number, v.dom.domid).enabled
        with pytest.raises(HypercallError, match="validated endpoint's rings are fetched"):
            await call.endpoint_allocate(Form.PUSHED)

    v.platform.run(run())


def test_receive_buffers_are_checked_too() -> None:
    v = Validated(receive=True)
    call = v.dom.hypercall
    with pytest.raises(HypercallError, match="do not lie in one page"):
        call.endpoint_enqueue(v.number, ValidatedRing.BIG, struct.pack(">Q", v.gfn * PAGE_SIZE + 2050))
    with pytest.raises(HypercallError, match="not the caller's RAM"):
        call.endpoint_enqueue(v.number, ValidatedRing.SMALL, struct.pack(">Q", 5 * PAGE_SIZE))
    buffers = [struct.pack(">Q", v.gfn * PAGE_SIZE + 2048 * n) for n in range(4)]
    assert call.endpoint_enqueue(v.number, ValidatedRing.BIG, b"".join(buffers)) == 4
    v.dom.mmio_write(v.aperture + Aperture.RX_BIG_DOORBELL, struct.pack("<I", 4))
    v.platform.settle()
    frame = v.hv.endpoints.owned(v.number, v.dom.domid).mac + b"\x02" * 6 + b"\x88\xb5" + bytes(500)
    v.platform.wire_send(on_line(frame))
    v.platform.settle()
    assert v.dom.memory.read(v.gfn * PAGE_SIZE + 2, len(frame)) == frame
    first = v.dom.p2m.frame(v.gfn)
    assert first is not None and v.hv.frames.references(first) == 3
    v.platform.run(call.endpoint_retire(v.number))
    assert v.hv.frames.references(first) == 2


def test_a_native_owner_shares_with_itself_only() -> None:
    platform = ModelPlatform()
    hv = Hypervisor(platform)
    platform.run(hv.boot())
    owner, other = hv.create_domain("owner", 64, mode=Mode.NATIVE), hv.create_domain("other", 64)

    async def run() -> None:
        grants = [await owner.hypercall.endpoint_allocate(Form.PUSHED) for _ in range(3)]
        with pytest.raises(HypercallError, match="native owner"):
            await other.hypercall.endpoint_allocate(Form.PUSHED)
        for grant in grants:
            await owner.hypercall.endpoint_release(grant.endpoint)
        # the card is the owner's whether it uses it or not
        with pytest.raises(HypercallError, match="native owner"):
            await other.hypercall.endpoint_allocate(Form.PUSHED)
        await hv.destroy_domain(owner.domid)
        await other.hypercall.endpoint_allocate(Form.PUSHED)
        late = hv.create_domain("late", 64, mode=Mode.NATIVE)
        with pytest.raises(HypercallError, match="native owner"):
            await late.hypercall.endpoint_allocate(Form.PUSHED)

    platform.run(run())
