"""event_channel_op: layouts byte by byte, error numbers, who may do what. Numbers are those of Xen's public headers."""

from __future__ import annotations

import struct

import pytest

from hypervisor_model.domains import Domain
from hypervisor_model.hypervisor import Hypervisor
from sw.abi.registers import Form, NicControl
from sw.xen.errno import HypercallError
from sw.xen.xen import Virq
from tb.model.platform import ModelPlatform
from tests.xen.event_support import MASK, PAGE, PENDING, Vcpus, half, small_machine, word

EVENT_CHANNEL_OP = 32
(BIND_INTERDOMAIN, BIND_VIRQ, BIND_PIRQ, CLOSE, SEND, STATUS, ALLOC_UNBOUND, BIND_IPI, BIND_VCPU, UNMASK, RESET) = range(11)
INIT_CONTROL, EXPAND_ARRAY, SET_PRIORITY = 11, 12, 13
EPERM, ENOENT, ESRCH, EACCES, EEXIST, EINVAL, ENOSPC, ENOSYS, EOPNOTSUPP = 1, 2, 3, 13, 17, 22, 28, 38, 95
SELF = 0x7FF0
TIMER, DEBUG, CONSOLE, DOM_EXC, XENOPROF, ARGO, XENPMU = 0, 1, 2, 3, 7, 11, 13
CLOSED, UNBOUND, INTERDOMAIN, PIRQ, VIRQ, IPI = range(6)


class Caller:
    """A domain that builds its arguments by itself, in its first page; result and what the structure has become."""

    def __init__(self, platform: ModelPlatform, domain: Domain) -> None:
        self._platform = platform
        self.domain = domain
        self.at = domain.ram.start * PAGE

    def raw(self, operation: int, data: bytes) -> tuple[int, bytes]:
        # bytes behind the structure must stay
        self.domain.memory.write(self.at, data + b"\xa5" * 8)
        (result,) = self._platform.run(self.domain.vmcall(EVENT_CHANNEL_OP, operation, self.at))
        assert self.domain.memory.read(self.at + len(data), 8) == b"\xa5" * 8
        return result, self.domain.memory.read(self.at, len(data))

    def call(self, operation: int, layout: str, *values: int) -> int:
        return self.raw(operation, struct.pack("<" + layout, *values))[0]

    def port(self, operation: int, layout: str, *values: int) -> int:
        """The last word of the answer: a new port."""
        result, answer = self.raw(operation, struct.pack(f"<{layout}I", *values, 0xFFFF_FFFF))
        assert result == 0, self.domain.refusal
        return int(struct.unpack("<I", answer[-4:])[0])

    def status(self, port: int, domid: int = SELF) -> tuple[int, ...]:
        """status, vcpu, the union's two words."""
        result, answer = self.raw(STATUS, struct.pack("<HHIIIII", domid, 0, port, 9, 9, 9, 9))
        assert result == 0, self.domain.refusal
        assert answer[:8] == struct.pack("<HHI", domid, 0, port)
        return struct.unpack("<4I", answer[8:])


class Trio:
    """Control domain and two guests with two vCPUs each."""

    def __init__(self) -> None:
        self.platform, self.hv = small_machine()
        self.dom0 = Caller(self.platform, self.hv.create_control_domain(16))
        self.a = Caller(self.platform, self.hv.create_domain("a", 16, vcpus=2))
        self.b = Caller(self.platform, self.hv.create_domain("b", 16, vcpus=2))


@pytest.fixture
def trio() -> Trio:
    return Trio()


def test_structures_stand_where_the_header_says(trio: Trio) -> None:
    a, b = trio.a, trio.b
    # evtchn_alloc_unbound: dom @0, remote_dom @2, port @4
    assert a.raw(ALLOC_UNBOUND, bytes.fromhex("f07f 0200 ffffffff")) == (0, bytes.fromhex("f07f 0200 01000000"))
    # evtchn_status, unbound: dom @0, port @4, status @8, vcpu @12, remote dom @16
    assert a.raw(STATUS, bytes.fromhex("f07f 0000 01000000") + b"\xff" * 16) == (
        0,
        bytes.fromhex("f07f 0000 01000000 01000000 00000000 02000000 00000000"),
    )
    # evtchn_bind_interdomain: remote_dom @0, remote_port @4, local_port @8
    assert b.raw(BIND_INTERDOMAIN, bytes.fromhex("0100 0000 01000000 ffffffff")) == (
        0,
        bytes.fromhex("0100 0000 01000000 01000000"),
    )
    # evtchn_status, interdomain: remote dom @16, remote port @20
    assert b.port(BIND_IPI, "I", 1) == 2
    assert a.raw(STATUS, bytes.fromhex("f07f 0000 01000000") + b"\xff" * 16) == (
        0,
        bytes.fromhex("f07f 0000 01000000 02000000 00000000 02000000 01000000"),
    )
    # evtchn_bind_virq: virq @0, vcpu @4, port @8
    assert a.raw(BIND_VIRQ, bytes.fromhex("01000000 01000000 ffffffff")) == (0, bytes.fromhex("01000000 01000000 02000000"))
    assert a.status(2) == (VIRQ, 1, DEBUG, 0)
    # evtchn_bind_ipi: vcpu @0, port @4
    assert a.raw(BIND_IPI, bytes.fromhex("01000000 ffffffff")) == (0, bytes.fromhex("01000000 03000000"))
    assert a.status(3) == (IPI, 1, 0, 0)
    # evtchn_bind_vcpu: port @0, vcpu @4
    assert a.raw(BIND_VCPU, bytes.fromhex("01000000 01000000")) == (0, bytes.fromhex("01000000 01000000"))
    assert a.status(1) == (INTERDOMAIN, 1, 2, 1)
    # evtchn_send, evtchn_unmask, evtchn_close: port @0
    for operation in (SEND, UNMASK, CLOSE):
        assert a.raw(operation, bytes.fromhex("01000000")) == (0, bytes.fromhex("01000000"))
    assert a.status(1) == (CLOSED, 0, 0, 0)
    # evtchn_init_control: control_gfn @0, offset @8, vcpu @12, link_bits @16, 7 bytes of padding
    gfn = a.domain.ram.start + 1
    head = struct.pack("<QII", gfn, 0x48, 0)
    assert a.raw(INIT_CONTROL, head + b"\xff" + bytes(7)) == (0, head + b"\x11" + bytes(7))
    # evtchn_expand_array: array_gfn @0
    assert a.raw(EXPAND_ARRAY, struct.pack("<Q", gfn + 1))[0] == 0
    # evtchn_set_priority: port @0, priority @4
    assert a.raw(SET_PRIORITY, struct.pack("<II", 3, 15))[0] == 0
    # evtchn_reset: dom @0, two bytes
    assert a.raw(RESET, bytes.fromhex("f07f"))[0] == 0
    assert a.status(3) == (CLOSED, 0, 0, 0)


def test_set_up_of_a_channel_between_two_domains(trio: Trio) -> None:
    """Reserve, bind, send both ways, close one end: the other is unbound, and can be bound again."""
    a, b, dom0 = trio.a, trio.b, trio.dom0
    near = a.port(ALLOC_UNBOUND, "HH", SELF, 2)
    assert a.call(SEND, "I", near) == 0
    assert a.domain.events.sends == b.domain.events.sends == 0
    assert dom0.call(BIND_INTERDOMAIN, "HHII", 1, 0, near, 0) == -EINVAL
    far = b.port(BIND_INTERDOMAIN, "HHI", 1, 0, near)
    assert b.call(BIND_INTERDOMAIN, "HHII", 1, 0, near, 0) == -EINVAL
    # the new end starts pending; the other does not
    assert (a.domain.events.sends, b.domain.events.sends) == (0, 1)
    assert a.call(SEND, "I", near) == 0
    assert (b.domain.events.sends, b.domain.events.coalesced) == (2, 1)
    assert b.call(SEND, "I", far) == 0
    assert (a.domain.events.sends, a.domain.events.coalesced) == (1, 0)
    assert b.status(far) == (INTERDOMAIN, 0, 1, near)
    assert b.call(CLOSE, "I", far) == 0
    assert a.status(near) == (UNBOUND, 0, 2, 0)
    assert b.call(SEND, "I", far) == -EINVAL and b.call(CLOSE, "I", far) == -EINVAL
    assert b.port(BIND_INTERDOMAIN, "HHI", 1, 0, near) == far
    assert a.call(CLOSE, "I", near) == 0
    assert b.status(far) == (UNBOUND, 0, 1, 0)
    assert a.port(BIND_INTERDOMAIN, "HHI", 2, 0, far) == near


def test_a_domain_can_have_both_ends(trio: Trio) -> None:
    a = trio.a
    one = a.port(ALLOC_UNBOUND, "HH", SELF, SELF)
    two = a.port(BIND_INTERDOMAIN, "HHI", SELF, 0, one)
    assert a.status(one) == (INTERDOMAIN, 0, 1, two) and a.status(two) == (INTERDOMAIN, 0, 1, one)
    assert a.call(CLOSE, "I", one) == 0 and a.status(two) == (UNBOUND, 0, 1, 0)


def test_only_the_control_domain_acts_for_others(trio: Trio) -> None:
    a, b, dom0 = trio.a, trio.b, trio.dom0
    port = dom0.port(ALLOC_UNBOUND, "HH", 1, 0)
    assert a.status(port) == dom0.status(port, 1) == (UNBOUND, 0, 0, 0)
    assert dom0.port(BIND_INTERDOMAIN, "HHI", 1, 0, port) == 1
    for operation, layout, values in (
        (ALLOC_UNBOUND, "HHI", (1, 2, 0)),
        (STATUS, "HHIIIII", (1, 0, port, 0, 0, 0, 0)),
        (RESET, "H", (1,)),
    ):
        assert b.call(operation, layout, *values) == -EPERM
        assert dom0.call(operation, layout, 9, *values[1:]) == -ESRCH
    assert b.call(BIND_INTERDOMAIN, "HHII", 9, 0, 1, 0) == -ESRCH
    assert dom0.call(RESET, "H", 1) == 0
    assert a.status(port) == (CLOSED, 0, 0, 0) and dom0.status(1) == (UNBOUND, 0, 1, 0)


def test_virtual_interrupts(trio: Trio) -> None:
    """TIMER, DEBUG, XENOPROF and XENPMU for each vCPU; ARGO for each domain; the rest for the control domain alone."""
    a, dom0 = trio.a, trio.dom0
    for virq in (TIMER, DEBUG, XENOPROF, XENPMU):
        for vcpu in (0, 1):
            assert a.status(a.port(BIND_VIRQ, "II", virq, vcpu)) == (VIRQ, vcpu, virq, 0)
        assert a.call(BIND_VIRQ, "III", virq, 1, 0) == -EEXIST
        assert a.call(BIND_VIRQ, "III", virq, 2, 0) == -ENOENT
    for virq in {*range(24)} - {TIMER, DEBUG, XENOPROF, XENPMU, ARGO}:
        assert a.call(BIND_VIRQ, "III", virq, 0, 0) == -EPERM
        assert a.call(BIND_VIRQ, "III", virq, 1, 0) == -EINVAL
        dom0.port(BIND_VIRQ, "II", virq, 0)
    a.port(BIND_VIRQ, "II", ARGO, 0)
    assert a.call(BIND_VIRQ, "III", 24, 0, 0) == dom0.call(BIND_VIRQ, "III", 1 << 31, 0, 0) == -EINVAL
    # closed, it can be bound again
    assert dom0.call(BIND_VIRQ, "III", DOM_EXC, 0, 0) == -EEXIST
    number = next(n for n in range(1, 40) if dom0.status(n)[2] == DOM_EXC)
    assert dom0.call(CLOSE, "I", number) == 0
    assert dom0.port(BIND_VIRQ, "II", DOM_EXC, 0) == number


def test_virtual_interrupts_arrive_at_their_own_port(trio: Trio) -> None:
    a, dom0, hv = trio.a, trio.dom0, trio.hv
    ports = [a.port(BIND_VIRQ, "II", TIMER, vcpu) for vcpu in (0, 1)]
    heard: list[tuple[int, int]] = []

    async def bind() -> None:
        for vcpu, port in enumerate(ports):
            await a.domain.kernel.bind_event(port, lambda port=port, vcpu=vcpu: heard.append((port, vcpu)), vcpu=vcpu)  # type: ignore[misc]

    trio.platform.run(bind())
    hv.raise_virq(a.domain, Virq.TIMER, 1)
    assert heard == [(ports[1], 1)]
    hv.raise_virq(a.domain, Virq.TIMER)
    assert heard == [(ports[1], 1), (ports[0], 0)]
    hv.raise_virq(a.domain, Virq.DEBUG)
    hv.raise_virq(dom0.domain, Virq.DOM_EXC)
    assert len(heard) == 2 and dom0.domain.events.sends == 0


def test_the_control_domain_hears_of_a_crash() -> None:
    platform, hv = small_machine()
    dom0 = hv.create_control_domain(16)
    victim = hv.create_domain("victim", 16, crash_on_fault=True)
    heard: list[str] = []

    async def run() -> None:
        port = await dom0.hypercall.event_bind_virq(Virq.DOM_EXC)
        await dom0.kernel.bind_event(port, lambda: heard.append("dom_exc"))
        near = await dom0.hypercall.event_alloc_unbound(victim.domid)
        far = await victim.hypercall.event_bind_interdomain(0, near)
        await victim.kernel.bind_event(far, lambda: heard.append("dead"))
        assert heard == ["dead"]
        with pytest.raises(RuntimeError, match="crashed"):
            victim.mmio_write(0, bytes(4))
        assert heard == ["dead", "dom_exc"]
        # who sends to a dead domain notices nothing; its handlers run no more
        await dom0.hypercall.event_send(near)
        hv.raise_virq(victim, Virq.TIMER)
        assert heard == ["dead", "dom_exc"]

    platform.run(run())


def test_a_crash_in_a_handler_is_not_the_senders() -> None:
    platform, hv = small_machine()
    sender = hv.create_domain("sender", 16)
    victim = hv.create_domain("victim", 16, crash_on_fault=True)

    async def run() -> None:
        near = await sender.hypercall.event_alloc_unbound(victim.domid)
        far = await victim.hypercall.event_bind_interdomain(sender.domid, near)
        calls: list[int] = []

        def handler() -> None:
            calls.append(1)
            if len(calls) == 2:
                victim.mmio_write(0, bytes(4))

        await victim.kernel.bind_event(far, handler)
        await sender.hypercall.event_send(near)
        assert len(calls) == 2 and victim.crashed and not sender.crashed

    platform.run(run())


@pytest.mark.parametrize(
    ("operation", "layout", "values", "errno"),
    [
        (CLOSE, "I", (1,), EINVAL),
        (CLOSE, "I", (0,), EINVAL),
        (SEND, "I", (1 << 31,), EINVAL),
        (UNMASK, "I", (4096,), EINVAL),
        (BIND_IPI, "II", (2, 0), ENOENT),
        (BIND_IPI, "II", (0xFFFF_FFFF, 0), ENOENT),
        (BIND_VCPU, "II", (1, 2), ENOENT),
        (BIND_VCPU, "II", (1, 0), EINVAL),
        (BIND_PIRQ, "III", (16, 1, 0), EINVAL),
        (STATUS, "HHIIIII", (SELF, 0, 4096, 0, 0, 0, 0), EINVAL),
        (SET_PRIORITY, "II", (1, 0), ENOSYS),
        (SET_PRIORITY, "II", (4096, 0), EINVAL),
        (EXPAND_ARRAY, "Q", (0x101,), EOPNOTSUPP),
        (INIT_CONTROL, "QIIQ", (0x101, 0, 2, 0), ENOENT),
        (INIT_CONTROL, "QIIQ", (0x101, 4, 0, 0), EINVAL),
        (INIT_CONTROL, "QIIQ", (0x101, 4096 - 64, 0, 0), EINVAL),
        (INIT_CONTROL, "QIIQ", (0x101, 0xFFFF_FFF8, 0, 0), EINVAL),
        (INIT_CONTROL, "QIIQ", (0xDEAD, 0, 0, 0), EINVAL),
        (INIT_CONTROL, "QIIQ", ((1 << 64) - 1, 0, 0, 0), EINVAL),
        (14, "I", (0,), ENOSYS),
    ],
)
def test_refused(trio: Trio, operation: int, layout: str, values: tuple[int, ...], errno: int) -> None:
    assert trio.a.domain.ram.start == 0x100
    assert trio.a.call(operation, layout, *values) == -errno
    assert trio.a.domain.refusal
    # nothing of it has switched the ABI
    assert trio.a.call(EXPAND_ARRAY, "Q", 0x101) == -EOPNOTSUPP


def test_refused_under_fifo(trio: Trio) -> None:
    a = trio.a
    gfn = a.domain.ram.start + 1
    assert a.call(INIT_CONTROL, "QIIQ", gfn, PAGE - 72, 0, 0) == 0
    assert a.call(INIT_CONTROL, "QIIQ", gfn, 0, 0, 0) == -EINVAL
    assert a.call(EXPAND_ARRAY, "Q", 0xDEAD) == -EINVAL
    # the hypervisor's own page is not the guest's to give
    trio.platform.run(a.domain.hypercall.map_shared_info())
    assert a.call(EXPAND_ARRAY, "Q", a.domain.layout.shared_info) == -EINVAL
    port = a.port(BIND_IPI, "I", 0)
    assert a.call(SET_PRIORITY, "II", port, 16) == -EINVAL
    assert a.call(SET_PRIORITY, "II", port + 1, 0) == -EACCES
    assert a.call(SET_PRIORITY, "II", 1 << 17, 0) == -EINVAL
    assert a.call(SET_PRIORITY, "II", port, 15) == 0
    # 128 pages hold all 2^17 words; one page may stand for many
    for _ in range(128):
        assert a.call(EXPAND_ARRAY, "Q", gfn + 1) == 0
    assert a.call(EXPAND_ARRAY, "Q", gfn + 1) == -ENOSPC


def test_interrupts_cannot_be_sent_or_moved_by_the_guest(trio: Trio) -> None:
    a, dom0 = trio.a, trio.dom0
    timer = a.port(BIND_VIRQ, "II", TIMER, 1)
    ipi = a.port(BIND_IPI, "I", 1)
    assert a.call(SEND, "I", timer) == a.call(BIND_VCPU, "II", timer, 0) == -EINVAL
    assert a.call(BIND_VCPU, "II", ipi, 0) == -EINVAL
    assert dom0.call(BIND_VCPU, "II", dom0.port(BIND_VIRQ, "II", DOM_EXC, 0), 0) == 0
    unbound = a.port(ALLOC_UNBOUND, "HH", SELF, 2)
    assert a.call(BIND_VCPU, "II", unbound, 1) == 0 and a.status(unbound) == (UNBOUND, 1, 2, 0)
    # a new owner of the number begins at vCPU 0
    assert a.call(CLOSE, "I", unbound) == 0
    assert a.port(ALLOC_UNBOUND, "HH", SELF, 2) == unbound and a.status(unbound)[1] == 0


def test_a_physical_interrupt_has_one_port_and_loses_its_vector_with_it(trio: Trio) -> None:
    a, hv, platform = trio.a, trio.hv, trio.platform
    (grant,) = platform.run(a.domain.hypercall.endpoint_allocate(Form.PUSHED))
    (pirq,) = platform.run(a.domain.hypercall.map_pirq(grant.endpoint))
    at = NicControl.MSIX_CONTROL + grant.endpoint * NicControl.MSIX_STRIDE

    def masked() -> bool:
        platform.settle()
        return bool(platform.run(hv.endpoints.read(at))[0] & NicControl.MSIX_CONTROL_MASK_M)

    for flags, close in ((1, (CLOSE, "I", 1)), (0, (RESET, "H", SELF))):
        assert masked()
        # evtchn_bind_pirq: pirq @0, flags @4 (1: WILL_SHARE), port @8
        answer = struct.pack("<III", pirq, flags, 1)
        assert a.raw(BIND_PIRQ, struct.pack("<III", pirq, flags, 0xFFFF_FFFF)) == (0, answer)
        assert a.status(1) == (PIRQ, 0, pirq, 0) and not masked()
        assert a.call(BIND_PIRQ, "III", pirq, 1, 0) == -EEXIST
        assert trio.b.call(BIND_PIRQ, "III", pirq, 0, 0) == -EINVAL
        assert a.call(SEND, "I", 1) == -EINVAL
        assert a.call(BIND_VCPU, "II", 1, 1) == 0 and a.status(1) == (PIRQ, 1, pirq, 0)
        assert a.call(*close) == 0
    assert masked() and a.domain.events.ports == {}
    platform.run(a.domain.hypercall.unmap_pirq(pirq))


def test_ports_are_bounded() -> None:
    vcpu = Vcpus(max_port=5)
    for n in range(1, 6):
        assert vcpu.channels.alloc_unbound(2) == n
    with pytest.raises(HypercallError, match="all 5") as refusal:
        vcpu.channels.bind_ipi(0)
    assert refusal.value.errno == ENOSPC
    vcpu.channels.close(3)
    vcpu.channels.close(2)
    assert [vcpu.channels.bind_ipi(0), vcpu.channels.bind_ipi(0)] == [2, 3]
    with pytest.raises(HypercallError, match="no event channel 6"):
        vcpu.channels.status(6)
    # the FIFO ABI has more, and the same limit
    vcpu.channels.init_control(0, 0, 0)
    with pytest.raises(HypercallError, match="all 5"):
        vcpu.channels.bind_ipi(0)
    many = Vcpus().channels
    for n in range(1, 4096):
        assert many.bind_ipi(0) == n
    with pytest.raises(HypercallError, match="all 4095"):
        many.bind_ipi(0)
    many.init_control(0, 0, 0)
    assert many.bind_ipi(0) == 4096
    # back to two levels, the numbers end where they did
    many.reset()
    for n in range(1, 4096):
        assert many.bind_ipi(0) == n
    with pytest.raises(HypercallError, match="all 4095"):
        many.bind_ipi(0)
    with pytest.raises(ValueError, match="33 vCPUs"):
        Vcpus(vcpus=33)


def test_a_domain_that_goes_leaves_unbound_ends() -> None:
    one, two = Vcpus(1), Vcpus(2)
    free = [vcpu.frames.references(frame) for vcpu in (one,) for frame in range(256)]
    near = one.channels.alloc_unbound(2)
    far = two.channels.bind_interdomain(one.channels, near)
    one.channels.bind_pirq(17)
    one.channels.bind_virq(TIMER, 0)
    one.channels.init_control(1, 0, 0)
    one.channels.expand_array(2)
    # given back meanwhile: the frame stays until the hypervisor lets go
    frame = one.p2m.frame(2)
    assert frame is not None
    one.p2m.remove_ram(2)
    assert one.frames.owner(frame) == 1
    one.channels.destroy()
    assert two.channels.status(far).status == UNBOUND and two.channels.status(far).detail == 1
    two.channels.send(far)
    assert one.channels.sends == 0 and one.pirqs_closed == [17] and one.channels.ports == {}
    after = [one.frames.references(n) for n in range(256)]
    assert after == [0 if n == frame else count for n, count in enumerate(free)]
    with pytest.raises(HypercallError, match="gone"):
        one.channels.alloc_unbound(2)
    with pytest.raises(HypercallError, match="not reserved"):
        two.channels.bind_interdomain(one.channels, near)


def test_vcpus_have_their_own_upcalls() -> None:
    """vcpu_info of vCPU n is at 64 n: pending byte, mask byte, selector at 8."""
    vcpu = Vcpus(vcpus=32)
    first, last = vcpu.channels.bind_ipi(0), vcpu.channels.bind_ipi(31)
    for port in (first, last):
        vcpu.channels.unmask(port)
    vcpu.channels.send(last)
    assert vcpu.kicked == [31]
    assert vcpu.page[31 * 64] == 1 and word(vcpu.page, 31 * 64 + 8) == 1 and vcpu.page[0] == word(vcpu.page, 8) == 0
    vcpu.page[1] = 1
    vcpu.channels.send(first)
    assert vcpu.kicked == [31] and vcpu.page[0] == 1 and word(vcpu.page, 8) == 1
    assert word(vcpu.page, PENDING) == 0b110 and word(vcpu.page, MASK) == 0


def test_shared_info_can_be_mapped_late_and_moved(trio: Trio) -> None:
    """Events of the time before wait in the page; the frame is mapped at one place."""
    a, dom0 = trio.a, trio.dom0
    near = dom0.port(ALLOC_UNBOUND, "HH", 0, 1)
    far = a.port(BIND_INTERDOMAIN, "HHI", 0, 0, near)
    assert a.call(UNMASK, "I", far) == 0
    assert a.domain.events.upcalls == 1
    heard: list[int] = []
    trio.platform.run(a.domain.kernel.bind_event(far, lambda: heard.append(1)))
    assert heard == [1]
    assert dom0.call(SEND, "I", near) == 0 and heard == [1, 1]
    place = a.domain.layout.shared_info
    frame = a.domain.p2m.frame(place)
    a.domain.map_shared_info(place)
    a.domain.map_shared_info(place + 1)
    assert a.domain.p2m.frame(place) is None and a.domain.p2m.frame(place + 1) == frame
    assert frame is not None and trio.hv.frames.references(frame) == 1
    assert half(a.domain.memory.page(place + 1), 0) & 0xFF == 0
    with pytest.raises(HypercallError, match="is mapped"):
        a.domain.map_shared_info(a.domain.ram.start)


def test_names_in_the_report(trio: Trio) -> None:
    hv: Hypervisor = trio.hv
    trio.a.port(ALLOC_UNBOUND, "HH", SELF, 2)
    assert hv.entries.hypercalls[1, "event_channel_op.alloc_unbound"] == 1
