"""Life of domains: creation, pausing, shutdown, crash, destruction, and what is left afterwards."""

from __future__ import annotations

import random
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypervisor_model.domains import Domain, DomainState
from hypervisor_model.faults import DomainCrashedError
from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.memory import OWNER_NONE, OWNER_XEN
from hypervisor_model.switch import PAUSE_MAC
from sw.abi.registers import Form, Mode, NicControl
from sw.guest.virtual_nic import ReceiveConfig, SendForm, VirtualNic
from sw.platform import MachineMap
from sw.xen.errno import HypercallError
from sw.xen.sched import ShutdownReason
from tb.model.platform import ModelPlatform
from tests.model.model_support import PAGE, WAIT_NS, RawEndpoint, descriptor, machine
from tests.model.receive_support import PEER, frame, receiver_nic, wire
from tests.xen.cpu_support import Machine, raw, timed_machine, watch_writes

# from Xen's public headers
DOMCTL, MEMORY_OP, XEN_VERSION = 36, 12, 17
CREATE, DESTROY, PAUSE, UNPAUSE, GETINFO, MAX_MEM = 1, 2, 3, 4, 5, 11
IRQ_PERMISSION, IOMEM_PERMISSION, ASSIGN, BIND_PT_IRQ, MAPPING, TEST_ASSIGN, DEASSIGN = 19, 20, 37, 38, 39, 45, 47
VERSION = 0x17
EPERM, ESRCH, E2BIG, EACCES, EFAULT, EBUSY, EEXIST, ENODEV, EINVAL, ENOSYS, EOPNOTSUPP = (
    1, 3, 7, 13, 14, 16, 17, 19, 22, 38, 95,
)  # fmt: skip


def both(timed: bool) -> Machine:
    return timed_machine() if timed else machine()


def domctl(platform: ModelPlatform, dom: Domain, cmd: int, domid: int, data: bytes = b"", version: int = VERSION) -> int:
    """xen_domctl: cmd @0, interface_version @4, domain @8, union @16."""
    at = raw(dom, struct.pack("<IIH6x", cmd, version, domid) + data.ljust(128, b"\0"))
    (result,) = platform.run(dom.vmcall(DOMCTL, at))
    return int(result)


def union(dom: Domain, size: int) -> bytes:
    return dom.memory.read((dom.ram.stop - 8) * PAGE + 16, size)


# --- control domain ----------------------------------------------------------------------------------------------------


def test_control_domain_is_number_0_privileged_and_alone() -> None:
    platform, hv = machine()
    guest = hv.create_domain("guest", 16)
    dom0 = hv.create_control_domain(16)
    assert (guest.domid, dom0.domid, dom0.privileged, guest.privileged) == (1, 0, True, False)
    assert hv.create_domain("other", 16).domid == 2
    with pytest.raises(HypercallError, match="exists"):
        hv.create_control_domain(16)
    (grant,) = platform.run(dom0.hypercall.endpoint_allocate(Form.PUSHED))
    assert grant.mac != PAUSE_MAC.to_bytes(6, "big")


@pytest.mark.parametrize("timed", [False, True])
def test_domctl_is_the_control_domains(timed: bool) -> None:
    platform, hv = both(timed)
    dom0, guest = hv.create_control_domain(16), hv.create_domain("guest", 16)
    for cmd in (CREATE, DESTROY, PAUSE, UNPAUSE, GETINFO, MAX_MEM, IRQ_PERMISSION, IOMEM_PERMISSION, ASSIGN, BIND_PT_IRQ, MAPPING,
                TEST_ASSIGN, DEASSIGN):  # fmt: skip
        assert domctl(platform, guest, cmd, 0) == -EPERM
        assert domctl(platform, guest, cmd, guest.domid) == -EPERM
        assert domctl(platform, dom0, cmd, 1, version=VERSION + 1) == -EACCES
        if cmd != CREATE:
            assert domctl(platform, dom0, cmd, 99) == -ESRCH
    # who may receive everything is not thereby the control domain
    assert domctl(platform, hv.create_domain("privileged", 16, privileged=True), PAUSE, guest.domid) == -EPERM
    assert platform.run(dom0.vmcall(DOMCTL, 0xDEAD_0000)) == [-EFAULT]
    assert domctl(platform, dom0, 0, 1) == -ENOSYS
    assert domctl(platform, dom0, 77, 1) == -ENOSYS
    assert domctl(platform, dom0, PAUSE, 0) == -EINVAL and domctl(platform, dom0, DESTROY, 0) == -EINVAL
    assert domctl(platform, dom0, UNPAUSE, 1) == -EINVAL
    assert hv.entries.hypercalls[0, "domctl.pausedomain"] == 3
    assert not guest.stopped and guest.state is DomainState.RUNNING


def test_a_domain_is_built_by_hypercalls_and_runs() -> None:
    platform, hv = machine()
    dom0 = hv.create_control_domain(32)
    # ssidref, handle, flags (hvm, hap, iommu), iommu_opts, max_vcpus, then limits
    create = struct.pack("<I16sIIIIiiI", 0, bytes(16), 0b100011, 0, 2, 1023, 64, 1024, 2)
    assert domctl(platform, dom0, CREATE, 0, create) == 0
    (domid,) = struct.unpack("<H", dom0.memory.read((dom0.ram.stop - 8) * PAGE + 8, 2))
    dom = hv.domains[domid]
    assert domid == 1 and dom.state is DomainState.BUILT and len(dom.vcpus) == 2
    assert domctl(platform, dom0, UNPAUSE, domid) == -EINVAL, "it has no memory"
    assert domctl(platform, dom0, MAX_MEM, domid, struct.pack("<Q", 1 << 60)) == -EINVAL
    assert domctl(platform, dom0, MAX_MEM, domid, struct.pack("<Q", 64 * 4)) == 0
    # populate_physmap of the other domain, 64 single pages
    at = raw(dom0, struct.pack("<QQIIHHI", (dom0.ram.stop - 9) * PAGE, 64, 0, 0, domid, 0, 0), page=10)
    raw(dom0, struct.pack("<64Q", *dom.ram), page=9)
    assert platform.run(dom0.vmcall(MEMORY_OP, 6, at)) == [64]
    layout = dom.layout
    assert domctl(platform, dom0, MAX_MEM, domid, struct.pack("<Q", 63 * 4)) == -EINVAL, "it has more"
    assert domctl(platform, dom0, MAX_MEM, domid, struct.pack("<Q", 80 * 4)) == 0
    assert dom.layout == layout and hv.frames.limit(domid) == 80
    assert domctl(platform, dom0, GETINFO, domid) == 0
    answer = struct.unpack("<HHI7QIII16sIB", union(dom0, 97))
    # hvm_guest and paused; 64 pages of 80; the shared-info frame; 1 of vCPUs 0 and 1 is up
    assert answer[:5] == (domid, 0, 1 << 1 | 1 << 3, 64, 80)
    assert hv.frames.owner(answer[8]) == OWNER_XEN and answer[10:12] == (1, 1)
    assert domctl(platform, dom0, UNPAUSE, domid) == 0 and dom.state.value == "running"
    nic = VirtualNic(dom, SendForm.PUSHED, 16, buffer_pages=4)

    async def run() -> None:
        await nic.open()
        assert nic.send(b"\x01" * 60)
        await nic.drain(WAIT_NS)
        await nic.close()

    platform.run(run())
    assert len(platform.frames) == 1
    assert domctl(platform, dom0, DESTROY, domid) == 0
    assert hv.leaks(domid) == [] and domctl(platform, dom0, GETINFO, domid) == -ESRCH
    assert domctl(platform, dom0, CREATE, 0, create) == 0
    assert struct.unpack("<H", dom0.memory.read((dom0.ram.stop - 8) * PAGE + 8, 2)) == (2,), "no number is given twice"
    for flags, vcpus, wanted, errno in ((0, 1, 0, EINVAL), (1 << 8 | 1, 1, 0, EINVAL), (1, 0, 0, EINVAL), (1, 33, 0, EINVAL),
                                        (1, 1, 5, EOPNOTSUPP)):  # fmt: skip
        data = struct.pack("<I16sIII", 0, bytes(16), flags, 0, vcpus)
        assert domctl(platform, dom0, CREATE, wanted, data) == -errno
    assert sorted(hv.domains) == [0, 2]


def test_info_shows_shutdown_reason() -> None:
    platform, hv = machine()
    dom0, guest = hv.create_control_domain(16), hv.create_domain("guest", 16)
    platform.run(guest.hypercall.shutdown(ShutdownReason.REBOOT))
    assert domctl(platform, dom0, GETINFO, 1) == 0
    (flags,) = struct.unpack("<I", union(dom0, 8)[4:8])
    assert flags & 0b1111 == 0b0110 and flags >> 16 == 1


def test_device_pages_need_permission_and_vanish_with_their_endpoint() -> None:
    platform, hv = machine()
    dom0, guest, other = hv.create_control_domain(16), hv.create_domain("guest", 64), hv.create_domain("other", 64)
    (grant,) = platform.run(guest.hypercall.endpoint_allocate(Form.PUSHED))
    doorbell = guest.p2m.mmio[grant.aperture // PAGE]
    free = 0x4000

    def permit(domid: int, frame_: int, count: int, allow: int) -> int:
        return domctl(platform, dom0, IOMEM_PERMISSION, domid, struct.pack("<QQB", frame_, count, allow))

    def mapping(domid: int, gfn: int, frame_: int, count: int, add: int) -> int:
        return domctl(platform, dom0, MAPPING, domid, struct.pack("<QQQII", gfn, frame_, count, add, 0))

    assert mapping(2, free, doorbell, 1, 1) == -EPERM
    assert permit(2, doorbell, 1, 1) == 0
    assert mapping(2, free, doorbell, 2, 1) == -EPERM, "of two frames one is not permitted"
    assert free not in other.p2m.mmio, "all or none"
    assert mapping(2, free, doorbell, 1, 1) == 0 and other.p2m.mmio[free] == doorbell
    assert mapping(2, other.ram.start, doorbell, 1, 1) == -EEXIST
    assert mapping(2, free, doorbell, 65, 1) == -E2BIG
    assert mapping(2, (1 << 36) - 1, doorbell, 2, 1) == -EINVAL
    assert mapping(2, free + 1, doorbell, 1, 0) == -EINVAL
    for first, count in ((0, 1), (doorbell, 1 << 40), ((1 << 64) - 1, 2), (doorbell, 0)):
        assert permit(2, first, count, 1) == -EPERM
    assert mapping(2, free, doorbell, 1, 0) == 0 and mapping(2, free, doorbell, 1, 1) == 0
    platform.run(guest.hypercall.endpoint_release(grant.endpoint))
    assert not guest.p2m.mmio and not other.p2m.mmio and not other.iomem


def test_interrupts_are_bound_by_permission() -> None:
    platform, hv = machine()
    dom0, guest = hv.create_control_domain(16), hv.create_domain("guest", 64)
    platform.run(guest.hypercall.endpoint_allocate(Form.PUSHED, Form.PUSHED))

    def bind(pirq: int, kind: int = 2) -> int:
        return domctl(platform, dom0, BIND_PT_IRQ, 1, struct.pack("<IIB3xIQ", pirq, kind, 0x40, 0, 0))

    assert bind(16) == -EPERM
    assert domctl(platform, dom0, IRQ_PERMISSION, 1, struct.pack("<IB", 15, 1)) == -EINVAL
    for pirq in (16, 17):
        assert domctl(platform, dom0, IRQ_PERMISSION, 1, struct.pack("<IB", pirq, 1)) == 0
    assert bind(16, kind=0) == -EOPNOTSUPP
    assert bind(17) == -ENODEV, "endpoint 1 is nobody's"
    assert bind(16) == 0 and hv.pirqs_of(1) == [16]
    assert bind(16) == -EINVAL
    assert domctl(platform, dom0, IRQ_PERMISSION, 1, struct.pack("<IB", 16, 0)) == 0
    assert bind(16) == -EPERM


def test_the_whole_card_is_assigned_to_one_domain() -> None:
    platform, hv = machine()
    dom0, guest, other = hv.create_control_domain(16), hv.create_domain("guest", 64), hv.create_domain("other", 64)
    card = platform.machine.nic_bus << 8

    def device(cmd: int, domid: int, sbdf: int = card, kind: int = 0) -> int:
        return domctl(platform, dom0, cmd, domid, struct.pack("<III", kind, 0, sbdf))

    assert device(TEST_ASSIGN, 1) == 0 and device(TEST_ASSIGN, 1, card + 0x41) == -ENODEV
    assert device(ASSIGN, 1, kind=1) == -EINVAL and device(DEASSIGN, 1) == -ENODEV
    assert device(ASSIGN, 1) == 0 and device(ASSIGN, 2) == -EBUSY and device(TEST_ASSIGN, 2) == -EBUSY
    with pytest.raises(HypercallError, match="native owner"):
        platform.run(other.hypercall.endpoint_allocate(Form.PUSHED))
    endpoint = RawEndpoint(guest, Form.PUSHED)
    platform.run(endpoint.open())
    assert endpoint.grant.mode is Mode.NATIVE
    with pytest.raises(HypercallError, match="native owner"):
        platform.run(other.hypercall.endpoint_allocate(Form.PUSHED))
    assert device(DEASSIGN, 1) == -EBUSY
    platform.run(hv.destroy_domain(1))
    assert device(ASSIGN, 2) == 0 and device(DEASSIGN, 2) == 0
    platform.run(other.hypercall.endpoint_allocate(Form.PUSHED))
    assert device(ASSIGN, 2) == -EBUSY, "it is shared now"


# --- standing still ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timed", [False, True])
def test_a_paused_guest_stands_still(timed: bool) -> None:
    """No coroutine gets past its call, no MMIO write leaves, no handler runs; afterwards all of it does, once, in order."""
    platform, hv = both(timed)
    dom0, dom = hv.create_control_domain(16), hv.create_domain("guest", 256)
    nic = receiver_nic(dom, ReceiveConfig())
    passed: list[tuple[str, int]] = []
    until = 400_000

    async def note(name: str, call: Awaitable[Any]) -> None:
        await call
        passed.append((name, platform.now()))

    async def run() -> int:
        await nic.open()
        await dom.sleep(0)
        nic.receiver.arm()
        await dom.sleep(10_000)
        signal = dom.signal()
        doorbell = next(iter(dom.p2m.mmio)) * PAGE
        start = platform.now()
        waits = [
            note("sleep", dom.sleep(20_000)),
            note("signal", signal.wait(20_000)),
            note("monitor", dom.monitor(dom.ram.start * PAGE, b"\1", b"\1", 20_000)),
            note("read", dom.mmio_read(doorbell, 4)),
        ]
        tasks = [platform.start(wait) for wait in waits]
        await platform.sleep(100)
        dom.pause()
        dom.pause()
        assert dom.state is DomainState.PAUSED
        tasks.append(platform.start(note("call", dom.vmcall(XEN_VERSION, 7, 0))))
        log = watch_writes(platform)
        for offset in (0, 64, 0):
            dom.mmio_write(doorbell + offset, bytes(4))
        wire(platform, [frame(random.Random(1), nic.mac, 60)])
        await platform.sleep(until // 2)
        dom.unpause()
        await platform.sleep(until // 2)
        assert passed == [] and log == [] and nic.receiver.counts.interrupts == 0
        dom.unpause()
        assert nic.receiver.counts.interrupts == 1
        await platform.gather([note("end", dom.sleep(50_000))])
        assert all(task.done for task in tasks)
        assert {name for name, _ in passed} == {"sleep", "signal", "monitor", "read", "call", "end"}
        assert all(start + until <= time for _, time in passed)
        assert [address & 0xFFF for _, address in log[:3]] == [0, 64, 0]
        return len(log)

    assert platform.run(run()) == [3]
    with pytest.raises(HypercallError, match="not paused"):
        dom.unpause()
    assert domctl(platform, dom0, PAUSE, dom.domid) == 0 and dom.state is DomainState.PAUSED
    assert domctl(platform, dom0, UNPAUSE, dom.domid) == 0 and dom.state.value == "running"


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("end", ["shutdown", "crash", "destroy", "destroy paused"])
def test_a_dead_domain_runs_nothing(timed: bool, end: str) -> None:
    platform, hv = both(timed)
    dom = hv.create_domain("guest", 64, crash_on_fault=True)
    endpoint = RawEndpoint(dom, Form.PUSHED)
    texts = {"shutdown": "has shut down", "crash": "has crashed", "destroy": "has been destroyed", "destroy paused": "destroyed"}
    page = dom.ram.start * PAGE

    async def killed(call: Awaitable[Any]) -> int:
        with pytest.raises(DomainCrashedError, match=texts[end]):
            await call
        return platform.now()

    async def run() -> list[int]:
        await endpoint.open()
        signal = dom.signal()
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: dom.sleep(30_000),
            lambda: dom.monitor(page, b"\1", b"\1", 30_000),
            lambda: dom.mmio_read(endpoint.aperture, 4),
            lambda: signal.wait(10_000_000),
            lambda: dom.hypercall.sched_block(),
        ]
        tasks = [platform.start(killed(call())) for call in calls]
        if end == "destroy paused":
            dom.pause()
        await platform.sleep(100)
        match end:
            case "shutdown":
                hv.shut_down(dom, ShutdownReason.POWEROFF)
            case "crash":
                with pytest.raises(DomainCrashedError, match="crashed"):
                    dom.mmio_write(0xDEAD_0000, bytes(4))
            case _:
                await hv.destroy_domain(dom.domid)
        await platform.sleep(40_000)
        assert all(task.done for task in tasks)
        calls.append(lambda: dom.vmcall(XEN_VERSION, 7, 0))
        for call in calls:
            await killed(call())
        with pytest.raises(DomainCrashedError, match=texts[end]):
            dom.mmio_write(endpoint.aperture, bytes(4))
        faults = len(hv.faults.guest)
        with pytest.raises(DomainCrashedError, match=texts[end]):
            dom.memory.read(0xDEAD_0000, 4)
        assert len(hv.faults.guest) == faults
        return [platform.now() - task.result for task in tasks]

    (ago,) = platform.run(run())
    assert ago[3] > 30_000, "a signal does not hold the dead up"
    if not end.startswith("destroy"):
        assert hv.leaks(dom.domid) and dom.stopped
        platform.run(hv.destroy_domain(dom.domid))
    assert hv.leaks(dom.domid) == [] and dom.state is DomainState.DEAD
    with pytest.raises(HypercallError, match="there is no domain 1"):
        platform.run(hv.destroy_domain(dom.domid))


def test_a_crash_takes_the_endpoint_off_the_nic() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 64)
    endpoint = RawEndpoint(dom, Form.PUSHED)

    async def run() -> None:
        await endpoint.open()
        await dom.hypercall.shutdown(ShutdownReason.CRASH)
        await platform.sleep(10_000)
        assert not await hv.endpoints.read(NicControl.ENDPOINT_STATUS) & NicControl.ENDPOINT_STATUS_ENABLED_M

    platform.run(run())
    assert dom.crashed and dom.state is DomainState.CRASHED


# --- the end -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Count:
    """What a machine has in use."""

    used: int
    of_xen: int
    endpoints: int
    handles: int
    contexts: int
    groups: int
    pirqs: int
    domains: int


def count(hv: Hypervisor, platform: ModelPlatform, domids: int) -> Count:
    """Contexts by the tables in memory, the rest by the hypervisor's own books."""
    frames = hv.frames
    root = platform.iommu.read_register(0x20) & ~0xFFF
    table = struct.unpack("<Q", platform.memory.read(root + platform.machine.nic_bus * 16, 8))[0] & ~0xFFF
    low = [platform.memory.read(table + 16 * n, 8) for n in range(256)] if table else []
    return Count(
        sum(frames.owner(n) != OWNER_NONE for n in range(frames.frames)),
        len(frames.owned(OWNER_XEN)),
        hv.endpoints.in_use,
        sum(len(hv.grants.handles(n)) for n in range(domids)),
        sum(word[0] & 1 for word in low),
        hv.endpoints.switch.groups_used,
        sum(len(hv.pirqs_of(n)) for n in range(domids)),
        len(hv.domains),
    )


@pytest.mark.parametrize("timed", [False, True])
def test_guests_die_in_the_middle_of_traffic_and_nothing_stays(timed: bool) -> None:
    """50 lives beside a sibling that loses no frame; after each the machine has what it had before."""
    platform = ModelPlatform(MachineMap(ram_bytes=32 << 20))
    if timed:
        platform, hv = timed_machine(3, 50_000)
    else:
        hv = Hypervisor(platform)
        platform.run(hv.boot())
    rng = random.Random(7)
    sibling = hv.create_domain("sibling", 512)
    stay = receiver_nic(sibling, ReceiveConfig(entries=256))
    lives, running = 50, True
    sent: list[bytes] = []
    got: list[bytes] = []

    async def keep_going() -> None:
        while running:
            batch = [frame(rng, stay.mac, rng.randint(60, 1514)) for _ in range(4)]
            sent.extend(batch)
            wire(platform, batch)
            while len(got) < len(sent):
                received = await stay.receive(WAIT_NS)
                assert received, "the sibling lost a frame"
                # The guests send to it, too.
                got.extend(one.data for one in received if one.data[6:12] == PEER)
            assert stay.send(frame(rng, b"\x02" * 6, 200, source=stay.mac))
            await stay.drain(WAIT_NS)

    async def guest(dom: Domain, form: SendForm) -> None:
        nic = VirtualNic(dom, form, 32, buffer_pages=8, receive=ReceiveConfig(entries=16, small_bytes=128))
        with pytest.raises(DomainCrashedError):
            await nic.open()
            await nic.set_multicast([bytes([1, 0, 0, 0, 0, dom.domid])])
            while True:
                target = stay.mac if rng.random() < 0.2 else b"\x02" * 6
                while nic.send(frame(rng, target, rng.randint(60, 1500), source=nic.mac)):
                    pass
                nic.kick()
                await nic.wait_for_room(WAIT_NS)

    async def run() -> None:
        nonlocal running
        await stay.open()
        # MSI-X and the tables of the bus are made once
        first = hv.create_domain("first", 64)
        await first.hypercall.endpoint_allocate(Form.PUSHED)
        await hv.destroy_domain(first.domid)
        before = count(hv, platform, lives + 3)
        task = platform.start(keep_going())
        for n in range(lives):
            dom = hv.create_domain(f"life{n}", 256, posted=n % 2 == 1)
            work = platform.start(guest(dom, list(SendForm)[n % 3]))
            await platform.sleep(rng.choice([0, 1, 900, 20_000, 60_000, 150_000]))
            if n % 5 == 1:
                dom.pause()
            if n % 7 == 2:
                hv.shut_down(dom, ShutdownReason.CRASH)
            await hv.destroy_domain(dom.domid)
            assert hv.leaks(dom.domid) == []
            for _ in range(100):
                if work.done:
                    break
                await platform.sleep(20_000)
            assert work.done, f"life {n} did not end"
            assert count(hv, platform, lives + 3) == before, f"life {n} left something behind"
        running = False
        while not task.done:
            await platform.sleep(1_000)
        await stay.close()

    platform.run(run())
    assert got == sent and len(sent) > 100
    assert platform.iommu.faults == 0 and hv.entries.faults == 0


def test_what_others_hold_of_a_dead_domain_stays_until_they_let_go() -> None:
    platform, hv = machine()
    dom = hv.create_domain("granter", 16)
    held = dom.p2m.frame(dom.ram.start + 3)
    assert held is not None and hv.frames.get(held, dom.domid)
    dom.memory.write((dom.ram.start + 3) * PAGE, b"still here")
    platform.run(hv.destroy_domain(dom.domid))
    assert hv.leaks(dom.domid) == [f"frame {held:#x} has 1 references"]
    assert bytes(hv.frames.page(held)[:10]) == b"still here"
    hv.frames.put(held)
    assert hv.leaks(dom.domid) == []


def test_leaks_names_everything_of_a_living_domain() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 512)
    platform.run(receiver_nic(dom, ReceiveConfig()).open())
    found = "; ".join(hv.leaks(1))
    for part in ("itself is running", "endpoint 0 is allocated", "physical interrupt 16", "device mappings", "frame 0x"):
        assert part in found


def test_destroying_waits_for_hypercalls_under_way() -> None:
    """A call that is being carried out ends first, on pages that are still there; no other begins."""
    platform, hv = machine()
    dom = hv.create_domain("guest", 64)
    endpoint = RawEndpoint(dom, Form.PUSHED)
    order: list[str] = []

    async def caller() -> None:
        await dom.hypercall.endpoint_disable(endpoint.number)
        order.append("disabled")
        with pytest.raises(DomainCrashedError):
            await dom.hypercall.endpoint_release(endpoint.number)

    async def killer() -> None:
        await platform.sleep(50)
        assert dom.calls == 1
        await hv.destroy_domain(dom.domid)
        order.append("destroyed")

    async def twice() -> None:
        await platform.sleep(60)
        with pytest.raises(HypercallError, match="being destroyed already"):
            await hv.destroy_domain(dom.domid)

    platform.run(endpoint.open())
    platform.run(caller(), killer(), twice())
    assert order == ["disabled", "destroyed"]


def test_a_new_domain_can_have_the_address_of_an_old_one() -> None:
    platform, hv = machine()
    first = hv.create_domain("first", 64)
    (grant,) = platform.run(first.hypercall.endpoint_allocate(Form.PUSHED))
    with pytest.raises(HypercallError, match="first has it"):
        hv.create_domain("thief", 64, mac_id=first.domid)
    platform.run(hv.destroy_domain(first.domid))
    again = hv.create_domain("again", 64, mac_id=first.domid)
    assert again.domid == 2
    (other,) = platform.run(again.hypercall.endpoint_allocate(Form.PUSHED))
    assert other.mac == grant.mac == bytes.fromhex("0060dd000100")
    with pytest.raises(HypercallError, match="mac_id is 0xffff: 0 to 0xfffe"):
        hv.create_domain("pause", 64, mac_id=0xFFFF)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 1 << 32), st.booleans())
def test_random_lives(seed: int, timed: bool) -> None:
    """Any order of creating, pausing, sending, crashing and destroying; states follow, nothing is left, nothing goes wrong."""
    rng = random.Random(seed)
    platform, hv = both(timed)
    alive: dict[int, tuple[Domain, RawEndpoint, int]] = {}
    empty: Count | None = None

    async def run() -> None:
        nonlocal empty
        for step in range(40):
            pick = rng.choice(sorted(alive)) if alive else 0
            match rng.choice(["create", "create", "pause", "unpause", "send", "send", "crash", "destroy", "destroy"]):
                case "create" if len(alive) < 4:
                    dom = hv.create_domain(f"d{step}", 64)
                    endpoint = RawEndpoint(dom, rng.choice(list(Form)))
                    await endpoint.open()
                    alive[dom.domid] = dom, endpoint, 0
                case "pause" if pick:
                    dom, endpoint, pauses = alive[pick]
                    dom.pause()
                    alive[pick] = dom, endpoint, pauses + 1
                    assert dom.stopped or dom.state is DomainState.PAUSED
                case "unpause" if pick:
                    dom, endpoint, pauses = alive[pick]
                    if pauses:
                        dom.unpause()
                        alive[pick] = dom, endpoint, pauses - 1
                        assert dom.stopped or (dom.state is DomainState.RUNNING) == (pauses == 1)
                    else:
                        with pytest.raises(HypercallError):
                            dom.unpause()
                case "send" if pick:
                    dom, endpoint, pauses = alive[pick]
                    data = descriptor(endpoint.buffer, 60)
                    if dom.stopped:
                        with pytest.raises(DomainCrashedError):
                            endpoint.ring(1)
                    elif endpoint.form is Form.PUSHED:
                        endpoint.push(0, data)
                case "crash" if pick:
                    hv.shut_down(alive[pick][0], rng.choice(list(ShutdownReason)))
                    assert alive[pick][0].stopped
                case "destroy" if pick:
                    dom, *_ = alive.pop(pick)
                    await hv.destroy_domain(pick)
                    assert dom.state is DomainState.DEAD and hv.leaks(pick) == []
                    if not alive:
                        now = count(hv, platform, hv.last_domid + 1)
                        empty = empty or now
                        assert now == empty
            assert sorted(hv.domains) == sorted(alive)
            await platform.sleep(rng.choice([0, 100, 5_000]))

    platform.run(run())
    assert platform.iommu.faults == 0
