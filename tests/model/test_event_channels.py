"""Event channels of the 2-level ABI: bits at Xen's offsets, coalescing, masks, and a guest that scans fairly."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest

from hypervisor_model.hypervisor import Hypervisor
from sw.xen.errno import HypercallError
from sw.xen.xen import DOMID_SELF
from tests.model.model_support import machine
from tests.xen.event_support import MASK, PENDING, SELECTOR, UPCALL_MASK, UPCALL_PENDING, Vcpus, word


def test_two_sends_before_handling_give_one_upcall() -> None:
    vcpu = Vcpus()
    ports = [vcpu.channels.bind_pirq(n) for n in range(70)]
    assert ports == list(range(1, 71))
    vcpu.channels.unmask(65)
    vcpu.channels.raise_pirq(65)
    vcpu.channels.raise_pirq(65)
    assert vcpu.upcalls == vcpu.channels.upcalls == 1
    assert word(vcpu.page, PENDING + 8) == 1 << 1 and word(vcpu.page, SELECTOR) == 1 << 1
    assert vcpu.page[UPCALL_PENDING] == 1
    assert word(vcpu.page, MASK) == (1 << 64) - 2 and word(vcpu.page, MASK + 8) == (1 << 7) - 1 - 2
    # another port of the same word joins the scan that is due
    vcpu.channels.unmask(66)
    vcpu.channels.raise_pirq(66)
    assert vcpu.upcalls == 1
    # one of another word sets its selector bit, and kicks
    vcpu.channels.unmask(3)
    vcpu.channels.raise_pirq(3)
    assert vcpu.upcalls == 2 and word(vcpu.page, SELECTOR) == 0b11


def test_masked_send_leaves_pending_only_and_unmask_notifies() -> None:
    vcpu = Vcpus()
    port = vcpu.channels.bind_pirq(0)
    vcpu.channels.raise_pirq(port)
    assert vcpu.upcalls == 0 and word(vcpu.page, SELECTOR) == 0 and vcpu.page[UPCALL_PENDING] == 0
    assert word(vcpu.page, PENDING) == 1 << port
    vcpu.channels.unmask(port)
    assert vcpu.upcalls == 1 and word(vcpu.page, SELECTOR) == 1 and word(vcpu.page, MASK) == 0


def test_masked_upcall_sets_bits_and_kicks_nobody() -> None:
    vcpu = Vcpus()
    port = vcpu.channels.bind_pirq(0)
    vcpu.channels.unmask(port)
    vcpu.page[UPCALL_MASK] = 1
    vcpu.channels.raise_pirq(port)
    assert vcpu.upcalls == 0 and vcpu.page[UPCALL_PENDING] == 1


def test_closed_port_is_refused_and_its_number_starts_clean() -> None:
    vcpu = Vcpus()
    port = vcpu.channels.bind_pirq(7)
    vcpu.channels.unmask(port)
    vcpu.channels.raise_pirq(port)
    vcpu.channels.close(port)
    assert vcpu.pirqs_closed == [7]
    calls: tuple[Callable[[int], object], ...] = (vcpu.channels.raise_pirq, vcpu.channels.unmask, vcpu.channels.close)
    for call in calls:
        for closed in (port, 0, 4096):
            with pytest.raises(HypercallError, match=f"event channel {closed} is closed"):
                call(closed)
    assert vcpu.channels.bind_pirq(8) == port
    assert word(vcpu.page, PENDING) == 0 and word(vcpu.page, MASK) == 1 << port


def test_ports_run_out() -> None:
    vcpu = Vcpus()
    for n in range(4095):
        assert vcpu.channels.bind_pirq(n % 64) == n + 1
    with pytest.raises(HypercallError, match="all 4095"):
        vcpu.channels.bind_pirq(0)


class Guest:
    """A domain with ports bound past the NIC, and handlers that note what they served."""

    def __init__(self, count: int) -> None:
        platform, self.hv = machine()
        self.dom = self.hv.create_domain("guest", 16)
        self.served: list[int] = []
        self.kernel = self.dom.kernel

        async def map_pirq(endpoint: int, *, domid: int = DOMID_SELF) -> int:
            return 16 + endpoint

        async def bind_pirq(pirq: int) -> int:
            return self.dom.events.bind_pirq(pirq)

        self.dom.hypercall.map_pirq = map_pirq  # type: ignore[method-assign]
        self.dom.hypercall.bind_pirq = bind_pirq  # type: ignore[method-assign]

        async def run() -> None:
            for n in range(count):
                await self.kernel.bind_interrupt(n, lambda n=n: self.served.append(n + 1))  # type: ignore[misc]

        platform.run(run())
        self.page = self.dom.memory.page(xen_page(self.hv, self.dom.layout.shared_info))

    def mask_upcalls(self) -> None:
        self.page[UPCALL_MASK] = 1

    def take(self) -> list[int]:
        served, self.served[:] = list(self.served), []
        return served


def xen_page(hv: Hypervisor, gfn: int) -> int:
    """The page is not the guest's to grant, and it is mapped at one place only."""
    frame = next(d.p2m.frame(gfn) for d in hv.domains.values())
    assert frame is not None and hv.frames.owner(frame) == 0x7FF2
    return gfn


def test_guest_serves_after_the_last_port_and_no_port_waits_for_another_scan() -> None:
    guest = Guest(130)
    for ports in ([5, 70, 129], [4, 5, 6, 70, 1]):
        guest.mask_upcalls()
        for port in ports:
            guest.dom.events.raise_pirq(port)
        guest.page[UPCALL_MASK] = 0
        guest.kernel.upcall(0)
        served = guest.take()
        assert sorted(served) == sorted(ports)
    # the first scan ended at 129: the second went 1, 4, 5, 6, 70, and the next begins after 70
    assert served == [1, 4, 5, 6, 70]
    guest.mask_upcalls()
    for port in (60, 70, 71, 130):
        guest.dom.events.raise_pirq(port)
    guest.kernel.upcall(0)
    assert guest.take() == [71, 130, 60, 70]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_event_is_lost_under_random_masks(seed: int) -> None:
    guest = Guest(100)
    rng = random.Random(seed)
    masked: set[int] = set()
    waiting: set[int] = set()
    for _ in range(3000):
        port = rng.randint(1, 100)
        action = rng.random()
        if action < 0.6:
            guest.dom.events.raise_pirq(port)
            served = guest.take()
            if port in masked:
                assert served == []
                waiting.add(port)
            else:
                assert served == [port]
        elif action < 0.8:
            # a guest sets mask bits by itself
            at = MASK + port // 64 * 8
            struct.pack_into("<Q", guest.page, at, word(guest.page, at) | 1 << port % 64)
            masked.add(port)
        else:
            guest.dom.events.unmask(port)
            assert guest.take() == ([port] if port in waiting else [])
            masked.discard(port)
            waiting.discard(port)
    assert guest.kernel.unhandled_events == 0
