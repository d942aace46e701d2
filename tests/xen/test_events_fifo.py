"""FIFO ABI: event words and queues bit by bit, what survives the switch, and the guest's scan by priority."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest

from hypervisor_model.domains import Domain
from sw.xen.errno import HypercallError
from tb.model.platform import ModelPlatform
from tests.xen.event_support import MASK, PAGE, PENDING, UPCALL_MASK, Vcpus, half, small_machine, word

# event word: 31 pending, 30 masked, 29 linked, 28 busy, 16:0 link; control block: ready @0, head[16] @8
P, M, L, B = 1 << 31, 1 << 30, 1 << 29, 1 << 28
READY, HEAD = 0, 8
CONTROL, ARRAY = 1, 2
AT = 0x100
DEFAULT = 7


class Queues(Vcpus):
    """Channels after the switch: vCPU n's control block at byte 0x100 + 0x80 n of GFN 1, event words in GFN 2."""

    def __init__(self, vcpus: int = 1) -> None:
        super().__init__(vcpus=vcpus)
        self.control = self.p2m.pages[CONTROL]
        self.words = self.p2m.pages[ARRAY]
        for n in range(vcpus):
            self.channels.init_control(CONTROL, AT + 0x80 * n, n)
        self.channels.expand_array(ARRAY)

    def open(self, count: int, vcpu: int = 0) -> list[int]:
        ports = [self.channels.bind_ipi(vcpu) for _ in range(count)]
        for port in ports:
            self.channels.unmask(port)
        return ports

    def word(self, port: int) -> int:
        return half(self.words, 4 * port)

    def put(self, port: int, value: int) -> None:
        struct.pack_into("<I", self.words, 4 * port, value)

    def ready(self, vcpu: int = 0) -> int:
        return half(self.control, AT + 0x80 * vcpu + READY)

    def head(self, priority: int = DEFAULT, vcpu: int = 0) -> int:
        return half(self.control, AT + 0x80 * vcpu + HEAD + 4 * priority)

    def take(self, port: int, vcpu: int = 0) -> int:
        """As a guest does with the first of a queue: clear ready and linked; the link."""
        value = self.word(port)
        assert value & L
        self.put(port, value & ~(L | 0x1FFFF | P))
        struct.pack_into("<I", self.control, AT + 0x80 * vcpu + READY, 0)
        return value & 0x1FFFF


def test_first_event_is_head_the_next_is_linked_behind_it() -> None:
    vcpu = Queues()
    one, two, three = vcpu.open(3)
    vcpu.channels.send(one)
    assert vcpu.word(one) == P | L and vcpu.head() == one and vcpu.ready() == 1 << DEFAULT
    assert vcpu.kicked == [0] and vcpu.page[0] == 1
    vcpu.channels.send(two)
    vcpu.channels.send(three)
    assert vcpu.word(one) == P | L | two and vcpu.word(two) == P | L | three and vcpu.word(three) == P | L
    assert vcpu.head() == one and vcpu.kicked == [0]
    # the 2-level bits are not touched
    assert word(vcpu.page, PENDING) == 0 and word(vcpu.page, 8) == 0


def test_two_sends_before_handling_are_one_event() -> None:
    vcpu = Queues()
    (port,) = vcpu.open(1)
    vcpu.channels.send(port)
    vcpu.channels.send(port)
    assert vcpu.kicked == [0] and vcpu.word(port) == P | L
    assert (vcpu.channels.sends, vcpu.channels.coalesced, vcpu.channels.upcalls) == (2, 1, 1)


def test_masked_send_leaves_pending_only_and_unmask_links() -> None:
    vcpu = Queues()
    port = vcpu.channels.bind_ipi(0)
    assert vcpu.word(port) == M
    vcpu.channels.send(port)
    assert vcpu.word(port) == P | M and vcpu.ready() == vcpu.head() == 0 and vcpu.kicked == []
    vcpu.channels.unmask(port)
    assert vcpu.word(port) == P | L and vcpu.head() == port and vcpu.kicked == [0]


def test_priorities_have_queues_of_their_own() -> None:
    vcpu = Queues()
    low, default, high = vcpu.open(3)
    vcpu.channels.set_priority(low, 15)
    vcpu.channels.set_priority(high, 0)
    for port in (low, default, high):
        vcpu.channels.send(port)
    assert [vcpu.head(15), vcpu.head(), vcpu.head(0)] == [low, default, high]
    assert vcpu.ready() == 1 << 15 | 1 << 7 | 1
    assert vcpu.kicked == [0, 0, 0]
    # a port that is linked stays in its queue: the change is for the next event
    vcpu.channels.set_priority(low, 0)
    vcpu.channels.send(low)
    assert vcpu.word(high) == P | L and vcpu.head(15) == low
    vcpu.take(low)
    vcpu.channels.send(low)
    assert vcpu.word(high) == P | L | low


def test_a_served_tail_takes_nothing_behind_it() -> None:
    vcpu = Queues()
    one, two = vcpu.open(2)
    vcpu.channels.send(one)
    assert vcpu.take(one) == 0
    vcpu.channels.send(two)
    assert vcpu.word(one) == 0 and vcpu.head() == two
    assert vcpu.take(two) == 0
    # the same port again: not behind itself
    vcpu.channels.send(two)
    assert vcpu.word(two) == P | L and vcpu.head() == two and len(vcpu.kicked) == 3


def test_a_queue_whose_ready_bit_stands_kicks_nobody() -> None:
    vcpu = Queues()
    one, two = vcpu.open(2)
    vcpu.channels.send(one)
    # the guest has taken it from the queue, and has not looked at ready since
    vcpu.put(one, 0)
    vcpu.channels.send(two)
    assert vcpu.head() == two and vcpu.ready() == 1 << DEFAULT and vcpu.kicked == [0]


def test_a_tail_that_went_to_another_queue_takes_nothing_behind_it_there() -> None:
    vcpu = Queues()
    mover, other, third = vcpu.open(3)
    vcpu.channels.send(mover)
    vcpu.take(mover)
    vcpu.channels.set_priority(mover, 3)
    vcpu.channels.send(mover)
    vcpu.channels.send(other)
    assert vcpu.head(3) == mover and vcpu.word(mover) == P | L and vcpu.head() == other
    # the same if the number has changed hands meanwhile
    vcpu.take(mover)
    vcpu.channels.close(mover)
    (again,) = vcpu.open(1)
    assert again == mover
    vcpu.channels.send(again)
    vcpu.channels.set_priority(third, 3)
    vcpu.channels.send(third)
    assert vcpu.word(again) == P | L and vcpu.word(other) == P | L | again and vcpu.head(3) == third


def test_queues_are_each_vcpus_own() -> None:
    vcpu = Queues(vcpus=2)
    (here,) = vcpu.open(1)
    (there,) = vcpu.open(1, vcpu=1)
    vcpu.channels.send(there)
    assert vcpu.head(vcpu=1) == there and vcpu.head() == 0 and vcpu.kicked == [1] and vcpu.page[64] == 1
    vcpu.channels.send(here)
    assert vcpu.head() == here and vcpu.kicked == [1, 0]


def test_a_closed_port_is_not_used_again_while_it_is_linked() -> None:
    vcpu = Queues()
    one, two = vcpu.open(2)
    vcpu.channels.send(one)
    vcpu.channels.close(one)
    assert vcpu.word(one) == L
    assert vcpu.channels.bind_ipi(0) == 3
    vcpu.take(one)
    assert vcpu.channels.bind_ipi(0) == one
    assert two == 2


def test_append_keeps_the_tails_flags_and_ends_busy() -> None:
    vcpu = Queues()
    one, two = vcpu.open(2)
    vcpu.channels.send(one)
    # the guest masks it while it is linked; another vCPU of it saw BUSY; nonsense in the link
    vcpu.put(one, L | M | B | 0x1ABCD)
    vcpu.channels.send(two)
    assert vcpu.word(one) == L | M | two


def test_the_switch_keeps_what_is_pending() -> None:
    vcpu = Vcpus()
    ports = [vcpu.channels.bind_ipi(0) for _ in range(1100)]
    vcpu.channels.unmask(1)
    for port in (1, 2, 1050):
        vcpu.channels.send(port)
    assert vcpu.kicked == [0] and ports[-1] == 1100
    vcpu.channels.init_control(1, 0, 0)
    # before there is a word: it waits, and is one event
    for port in (3, 3, 1051, 1052):
        vcpu.channels.send(port)
    vcpu.channels.close(1052)
    assert (vcpu.channels.sends, vcpu.channels.coalesced) == (7, 1)
    vcpu.p2m.pages[2][:] = struct.pack("<I", M) * 1024
    vcpu.p2m.pages[3][:] = bytes(PAGE)
    vcpu.channels.expand_array(2)
    assert [port for port in range(1024) if half(vcpu.p2m.pages[2], 4 * port) != M] == [1, 2, 3]
    assert all(half(vcpu.p2m.pages[2], 4 * port) == M | P for port in (1, 2, 3))
    assert vcpu.kicked == [0]
    # these words the guest made unmasked: they are delivered at once; what it has taken is not raised again
    struct.pack_into("<I", vcpu.p2m.pages[2], 4 * 2, M)
    vcpu.channels.expand_array(3)
    assert half(vcpu.p2m.pages[2], 4 * 2) == M
    assert half(vcpu.p2m.pages[3], 4 * (1050 - 1024)) == P | L | 1051
    assert half(vcpu.p2m.pages[3], 4 * (1051 - 1024)) == P | L
    assert half(vcpu.p2m.pages[3], 4 * (1052 - 1024)) == 0
    assert half(vcpu.p2m.pages[1], HEAD + 4 * DEFAULT) == 1050 and vcpu.kicked == [0, 0]


def test_an_event_without_a_control_block_only_waits() -> None:
    vcpu = Vcpus(vcpus=2)
    vcpu.channels.init_control(1, 0, 0)
    vcpu.channels.expand_array(2)
    port = vcpu.channels.bind_ipi(1)
    vcpu.channels.unmask(port)
    vcpu.channels.send(port)
    assert half(vcpu.p2m.pages[2], 4 * port) == P and vcpu.kicked == []
    vcpu.channels.init_control(1, 0x80, 1)
    vcpu.channels.unmask(port)
    assert half(vcpu.p2m.pages[2], 4 * port) == P | L and vcpu.kicked == [1]


def test_reset_goes_back_to_two_levels() -> None:
    vcpu = Queues()
    vcpu.open(3)
    held = [vcpu.frames.references(vcpu.p2m.frame(gfn) or 0) for gfn in (CONTROL, ARRAY)]
    assert held == [2, 2]
    vcpu.channels.reset()
    assert [vcpu.frames.references(vcpu.p2m.frame(gfn) or 0) for gfn in (CONTROL, ARRAY)] == [1, 1]
    port = vcpu.channels.bind_ipi(0)
    assert port == 1 and word(vcpu.page, MASK) & 2
    vcpu.channels.send(port)
    assert word(vcpu.page, PENDING) == 2 and vcpu.word(1) == 0
    with pytest.raises(HypercallError, match="before init_control"):
        vcpu.channels.expand_array(ARRAY)


def test_a_number_starts_clean_after_a_switch_and_a_reset() -> None:
    """The 2-level bit of an event that FIFO took over is still there; it is not the next owner's."""
    vcpu = Vcpus()
    port = vcpu.channels.bind_ipi(0)
    vcpu.channels.send(port)
    vcpu.channels.init_control(CONTROL, 0, 0)
    vcpu.channels.reset()
    assert vcpu.channels.bind_ipi(0) == port
    vcpu.channels.unmask(port)
    assert vcpu.kicked == [] and word(vcpu.page, PENDING) == 0


@pytest.mark.parametrize("seed", range(5))
def test_words_of_a_hostile_guest_hurt_nobody_else(seed: int) -> None:
    """It scribbles over words, heads and shared info between operations: errnos at most, and nothing outside its pages."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    vcpu, other = Queues(vcpus=2), Queues()
    near = other.channels.alloc_unbound(1)
    far = vcpu.channels.bind_interdomain(other.channels, near)
    other.channels.unmask(near)
    mine = {vcpu.p2m.frame(gfn) for gfn in (CONTROL, ARRAY)}
    rest = {n: bytes(vcpu.frames.page(n)) for n in range(vcpu.frames.frames) if n not in mine}
    actions: list[Callable[[int], object]] = [
        vcpu.channels.send, vcpu.channels.unmask, vcpu.channels.close, vcpu.channels.alloc_unbound,
        lambda n: vcpu.channels.set_priority(n, n % 17), lambda n: vcpu.channels.bind_vcpu(n, n % 3),
        lambda n: vcpu.channels.bind_ipi(n % 2), lambda n: vcpu.channels.bind_virq(n % 30, n % 2), vcpu.channels.raise_virq,
    ]  # fmt: skip
    for _ in range(3000):
        page = rng.choice([vcpu.control, vcpu.words, vcpu.page])
        at = rng.randrange(400) if rng.random() < 0.9 else rng.randrange(PAGE)
        page[at] = rng.choice([0, 0xFF, rng.randrange(256)])
        try:
            number = rng.randrange(64)
            if number != far:
                rng.choice(actions)(number)
        except HypercallError:
            pass
    assert {n: bytes(vcpu.frames.page(n)) for n in rest} == rest
    other.channels.send(near)
    vcpu.channels.send(far)
    assert other.kicked == [0] and other.word(near) == P | L


# --- the guest's half ----------------------------------------------------------------------------


class Listener:
    """A domain that notes which port it serves, with two vCPUs, and a peer that sends."""

    def __init__(self, count: int, *, fifo: bool, again: int = 0) -> None:
        self.platform, self.hv = small_machine()
        self.dom = self.hv.create_domain("listener", 32, vcpus=2)
        self.peer = self.hv.create_domain("peer", 32)
        self.served: list[int] = []
        self._again = again
        self.to: dict[int, int] = {}
        """Own port to the peer's."""
        self.platform.run(self._open(count, fifo=fifo))
        self.page = self.dom.memory.page(self.dom.layout.shared_info)

    async def _open(self, count: int, *, fifo: bool) -> None:
        if fifo:
            await self.dom.kernel.use_fifo_events()
        for _ in range(count):
            port = await self.dom.hypercall.event_alloc_unbound(self.peer.domid)
            self.to[port] = await self.peer.hypercall.event_bind_interdomain(self.dom.domid, port)
            await self.dom.kernel.bind_event(port, self._handler(port))

    def _handler(self, port: int) -> Callable[[], None]:
        def handler() -> None:
            self.served.append(port)
            if port == 1 and self._again:
                # a storm: the peer's next event is there before this one is done
                self._again -= 1
                self.peer.events.send(self.to[1])

        return handler

    def send(self, *ports: int) -> None:
        for port in ports:
            self.peer.events.send(self.to[port])

    def defer(self) -> None:
        self.page[UPCALL_MASK] = 1

    def take(self) -> list[int]:
        self.page[UPCALL_MASK] = 0
        self.dom.kernel.upcall(0)
        served, self.served[:] = list(self.served), []
        return served


def run(platform: ModelPlatform, domain: Domain, priorities: dict[int, int]) -> None:
    async def set_all() -> None:
        for port, priority in priorities.items():
            await domain.hypercall.event_set_priority(port, priority)

    platform.run(set_all())


def test_the_guest_serves_by_priority_then_by_arrival() -> None:
    guest = Listener(8, fifo=True)
    run(guest.platform, guest.dom, {3: 0, 5: 15, 6: 0})
    guest.defer()
    guest.send(5, 8, 1, 6, 2, 3)
    assert guest.take() == [6, 3, 8, 1, 2, 5]
    assert guest.dom.events.upcalls == 0 and guest.dom.kernel.unhandled_events == 0
    guest.send(4)
    assert guest.take() == [4]


@pytest.mark.parametrize("fifo", [False, True])
def test_a_storm_on_one_port_delays_another_by_one_scan_at_most(fifo: bool) -> None:
    guest = Listener(70, fifo=fifo, again=100)
    guest.defer()
    guest.send(1, 1, 1, 70, 1, 40)
    served = guest.take()
    assert sorted(served[:3]) == [1, 40, 70]
    assert served[3:] == [1] * 100


@pytest.mark.parametrize("fifo", [False, True])
def test_ports_go_from_vcpu_to_vcpu_with_their_events(fifo: bool) -> None:
    guest = Listener(3, fifo=fifo)
    platform, dom = guest.platform, guest.dom
    # vCPU 0 does not look; port 2 goes to vCPU 1, which does
    guest.defer()
    guest.send(1, 2, 3)
    platform.run(dom.kernel.move_event(2, 1))
    assert guest.served == ([] if fifo else [2])
    # under FIFO it stays in the queue where it is linked
    assert guest.take() == ([1, 2, 3] if fifo else [2, 1, 3])
    guest.defer()
    guest.send(1, 2)
    assert guest.served == [2]
    assert guest.take() == [2, 1]
    with pytest.raises(HypercallError, match="no vCPU 2"):
        platform.run(dom.kernel.move_event(2, 2))
    guest.send(2)
    assert guest.take() == [2]


@pytest.mark.parametrize("fifo", [False, True])
def test_a_masked_event_waits(fifo: bool) -> None:
    guest = Listener(2, fifo=fifo)
    guest.platform.run(guest.dom.kernel.mask_event(1))
    guest.send(1, 2, 1)
    assert guest.take() == [2]
    guest.platform.run(guest.dom.hypercall.event_unmask(1))
    assert guest.take() == [1]


def test_the_guest_switches_with_events_under_way() -> None:
    """Pending ones are delivered once, masked ones stay masked, and a second page of words is added when it is needed."""
    guest = Listener(1030, fifo=False)
    platform, dom = guest.platform, guest.dom
    platform.run(dom.kernel.mask_event(7))
    guest.defer()
    guest.send(1, 7, 1029)
    platform.run(dom.kernel.use_fifo_events())
    platform.run(dom.kernel.use_fifo_events())
    guest.send(1030)
    assert guest.take() == [1, 1029, 1030]
    platform.run(dom.hypercall.event_unmask(7))
    assert guest.take() == [7]
    guest.send(7, 1030)
    assert guest.take() == [7, 1030]


def test_an_upcall_in_the_middle_of_the_switch_serves_nothing_twice() -> None:
    guest = Listener(3, fifo=False)
    platform, dom = guest.platform, guest.dom
    guest.defer()
    guest.send(1, 3)
    expand = dom.hypercall.event_expand_array

    async def late_upcall(gfn: int) -> None:
        dom.kernel.upcall(0)
        await expand(gfn)

    dom.hypercall.event_expand_array = late_upcall  # type: ignore[method-assign]
    platform.run(dom.kernel.use_fifo_events())
    assert guest.take() == [1, 3]


@pytest.mark.parametrize("fifo", [False, True])
def test_an_event_masked_between_notification_and_scan_waits(fifo: bool) -> None:
    guest = Listener(3, fifo=fifo)
    guest.defer()
    guest.send(1, 2, 3)
    guest.platform.run(guest.dom.kernel.mask_event(2))
    assert guest.take() == [1, 3]
    guest.platform.run(guest.dom.hypercall.event_unmask(2))
    assert guest.take() == [2]


def test_a_vcpu_that_is_not_there_has_no_queues() -> None:
    guest = Listener(1, fifo=True)
    for _ in range(2):
        with pytest.raises(HypercallError, match="no vCPU 5"):
            guest.platform.run(guest.dom.kernel.bind_event(1, lambda: None, vcpu=5))
    guest.send(1)
    assert guest.take() == [1]


def test_reset_gives_the_kernel_its_pages_back() -> None:
    guest = Listener(2, fifo=True)
    platform, dom = guest.platform, guest.dom
    longest = dom.kernel.longest_run()
    platform.run(dom.kernel.reset_events())
    assert dom.kernel.longest_run() > longest and dom.events.ports == {}
    with pytest.raises(HypercallError, match="closed"):
        platform.run(dom.kernel.bind_event(1, lambda: None))
    platform.run(dom.kernel.use_fifo_events())
    (port,) = platform.run(dom.hypercall.event_bind_ipi(0))
    platform.run(dom.kernel.bind_event(port, lambda: guest.served.append(port)))
    platform.run(dom.hypercall.event_send(port))
    assert guest.take() == [port]
