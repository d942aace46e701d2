"""Processes with endpoints of their own: traffic without the kernel, protection from each other, death in traffic."""

from __future__ import annotations

import random
import struct
from collections.abc import Awaitable, Callable, Sequence

import pytest

from hypervisor_model.domains import Domain
from hypervisor_model.faults import DomainCrashedError
from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.spaces.iommu import IommuSpace
from hypervisor_model.spaces.windows import WindowSpace
from sw.abi.registers import Aperture, Form, Mode, NicControl, Status
from sw.guest.machine import DriverMachine, EndpointGrant
from sw.guest.process import Process
from sw.guest.user_endpoints import ProcessEndedError, SystemCallError
from sw.guest.user_space import SegmentationFaultError
from sw.guest.virtual_nic import ReceiveConfig, SendForm, VirtualNic
from sw.xen.errno import Errno
from tb.ethernet import on_line
from tests.model.model_support import PAGE, WAIT_NS, RawCompletion, descriptor, frames_of, machine, send_all
from tests.model.receive_support import PEER, collect, frame, wire
from tests.xen.cpu_support import scheduler_of, timed_machine

MODES = [Mode.IOMMU, Mode.WINDOWS]
PAYLOAD = bytes(range(200))


def nic_of(process: DriverMachine, form: SendForm = SendForm.PUSHED, *, interrupts: bool = False) -> VirtualNic:
    receive = ReceiveConfig(
        form=Form.FETCHED if form is SendForm.FETCHED else Form.PUSHED, entries=64, interrupts=interrupts
    )
    return VirtualNic(process, form, 64, buffer_pages=8, receive=receive)


def hypercalls(hv: Hypervisor) -> int:
    return sum(hv.entries.hypercalls.values())


class Raw:
    """An endpoint of a process that writes what it likes; two pages registered: completion ring, buffer."""

    def __init__(self, process: Process, form: Form = Form.PUSHED) -> None:
        self.process = process
        self.form = form
        self.entry = 0

    async def open(self, cq_base: int | None = None) -> None:
        calls = self.process.kernel.endpoints
        self.grant: EndpointGrant = await calls.endpoint_allocate(self.form)
        self.number = self.grant.endpoint
        self.cq = await self.process.allocate(PAGE)
        self.buffer = await self.process.allocate(PAGE)
        [(_, cq)] = await calls.register(self.number, [self.cq // PAGE], readonly=False)
        [(self.registration, self.device)] = await calls.register(self.number, [self.buffer // PAGE], readonly=True)
        self.process.memory.write(self.buffer, PAYLOAD)
        await calls.endpoint_enable(self.number, 4, 4, 0, cq if cq_base is None else cq_base)

    def push(self, address: int, length: int = len(PAYLOAD)) -> None:
        at = self.grant.aperture + Aperture.SEND_RING + self.entry % 16 * 16
        self.process.mmio_write(at, descriptor(address, length))
        self.entry += 1

    def status(self) -> RawCompletion:
        """Of the last one pushed."""
        data = self.process.memory.read(self.cq + (self.entry - 1) % 16 * 16, 16)
        index, length, status, phase = struct.unpack(">8xHHxxBB", data)
        return RawCompletion(index, length, Status(status), phase)


@pytest.mark.parametrize("form", list(SendForm))
@pytest.mark.parametrize("mode", MODES)
def test_traffic_in_all_directions_without_a_call(mode: Mode, form: SendForm) -> None:
    """Two processes of one guest, one of another, that guest's kernel, and the line."""
    platform, hv = machine()
    one, two = (hv.create_domain(name, 640, mode=mode) for name in ("one", "two"))
    processes = [Process(one, "one.a"), Process(one, "one.b"), Process(two, "two.a")]
    nics = [*(nic_of(process, form) for process in processes), nic_of(two, form)]
    rng = random.Random(f"{mode}{form}")
    count = 12
    sent: dict[tuple[int, int], list[bytes]] = {}
    got: list[list[bytes]] = [[] for _ in nics]
    line = len(nics)

    async def traffic(n: int) -> None:
        mine = [(k, data) for k in range(count) for to in range(line + 1) if to != n for data in [sent[n, to][k]]]
        await send_all(nics[n], [data for _, data in mine])

    async def receive(n: int) -> None:
        got[n] += [f.data for f in await collect(nics[n], count * line)]

    async def run() -> None:
        for nic in nics:
            await nic.open()
        macs = [nic.mac for nic in nics] + [PEER]
        assert len(set(macs)) == line + 1
        for n in range(line + 1):
            for to in range(line + 1):
                sizes = [rng.choice((60, rng.randint(60, 1514))) for _ in range(count)]
                sent[n, to] = [frame(rng, macs[to], size, source=macs[n]) for size in sizes]
        before = [process.system_calls for process in processes], hypercalls(hv)
        for to in range(line):
            wire(platform, sent[line, to])
        await platform.gather([*(traffic(n) for n in range(line)), *(receive(n) for n in range(line))])
        assert ([process.system_calls for process in processes], hypercalls(hv)) == before

    platform.run(run())
    for to in range(line):
        assert len(got[to]) == count * line
        for n in range(line + 1):
            if n != to:
                source = nics[n].mac if n < line else PEER
                assert [data for data in got[to] if data[6:12] == source] == sent[n, to]
    for n in range(line):
        assert [f for f in frames_of(platform, nics[n].endpoint) if f[:6] == PEER] == [on_line(f) for f in sent[n, line]]
        assert nics[n].completions[Status.OK] == count * line
    assert hv.entries.data_path == 0 and hv.faults.device == [] and hv.faults.guest == []


@pytest.mark.parametrize("mode", MODES)
def test_to_sleep_until_an_interrupt_is_a_system_call_and_no_hypercall(mode: Mode) -> None:
    platform, hv = machine()
    process = Process(hv.create_domain("guest", 512, mode=mode), "app")
    nic = nic_of(process, interrupts=True)
    rng = random.Random(3)

    async def run() -> None:
        await nic.open()
        for n in range(20):
            before = process.system_calls, hypercalls(hv)
            data = frame(rng, nic.mac, 60 + n)
            wire(platform, [data])
            assert [f.data for f in await nic.receive(WAIT_NS)] == [data]
            assert process.system_calls - before[0] == 1 and hypercalls(hv) == before[1]
        await nic.close()
        assert hv.endpoints.of_domain(1) == []

    platform.run(run())
    assert nic._receive_config is not None and hv.entries.interrupts == 20


# --- protection ------------------------------------------------------------------------------------


class Neighbours:
    """Two processes of one guest, each with an endpoint that it writes to by itself."""

    def __init__(self, mode: Mode, *, crash_on_fault: bool = False) -> None:
        self.platform, self.hv = machine()
        self.dom = self.hv.create_domain("guest", 256, mode=mode, crash_on_fault=crash_on_fault)
        self.attacker, self.victim = Raw(Process(self.dom, "attacker")), Raw(Process(self.dom, "victim"))
        self.platform.run(self.attacker.open())
        self.platform.run(self.victim.open())
        self.victim.process.memory.write(self.victim.buffer, b"\xee" * 200)

    def check_unharmed(self) -> None:
        """The victim's memory is as it was, nothing of it has been sent, and it can send."""
        before = len(self.platform.frames)
        assert all(b"\xee" not in f.data for f in self.platform.frames)
        self.victim.push(self.victim.device)
        self.platform.settle()
        done = self.victim.status()
        assert (done.status, done.phase, done.index) == (Status.OK, 1, 1)
        assert [(f.endpoint, f.data) for f in self.platform.frames[before:]] == [
            (self.victim.number, on_line(b"\xee" * 200))
        ]


@pytest.mark.parametrize("mode", MODES)
def test_what_is_not_mapped_into_a_process_faults_on_record_and_costs_the_guest_nothing(
    mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    n = Neighbours(mode, crash_on_fault=True)
    me, victim = n.attacker.process, n.victim
    apertures = [n.dom.layout.device * PAGE + k * n.hv.endpoints.stride_pages * PAGE for k in range(3)]
    end = n.attacker.grant.aperture + Aperture.SEND_RING + Aperture.SEND_RING_BYTES
    doorbells = [*apertures, victim.grant.aperture + 64 * PAGE, n.attacker.grant.aperture + PAGE, end, n.attacker.buffer, -8]
    for address in doorbells:
        with pytest.raises(SegmentationFaultError, match="mmio write"):
            me.mmio_write(address, struct.pack("<I", 1))
    # half in, half out: no half of it is written
    with monkeypatch.context() as patch, pytest.raises(SegmentationFaultError):
        patch.setattr(n.dom, "mmio_write", lambda *_: pytest.fail("half of it was written"))
        me.mmio_write(end - 8, bytes(16))
    gpa = n.dom.ram.start * PAGE
    # between two runs is an empty page
    for address in (gpa, n.attacker.cq + PAGE, n.attacker.buffer + PAGE, n.attacker.grant.aperture, 0, (1 << 64) - 1):
        with pytest.raises(SegmentationFaultError, match="memory read"):
            me.memory.read(address, 1)
        with pytest.raises(SegmentationFaultError, match="memory write"):
            me.memory.write(address, b"x")
        with pytest.raises(SegmentationFaultError, match="memory read"):
            me.memory.page(address // PAGE)
    with pytest.raises(SegmentationFaultError):
        me.memory.read(n.attacker.buffer + PAGE - 4, 8)

    async def waits() -> None:
        for address in (gpa, n.attacker.buffer + PAGE - 2):
            with pytest.raises(SegmentationFaultError):
                await me.monitor(address, bytes(4), bytes(4), 100)
        with pytest.raises(SegmentationFaultError, match="mmio read"):
            await me.mmio_read(apertures[1], 4)

    n.platform.run(waits())
    n.platform.settle()
    kinds = [fault.kind for fault in me.faults]
    assert kinds.count("mmio write") == len(doorbells) + 1 and kinds.count("mmio read") == 1
    assert kinds.count("memory write") == 6 and kinds.count("memory read") == 12 + 1 + 2
    assert me.faults[0].address == apertures[0] and victim.process.faults == []
    # the guest itself would have been crashed
    assert n.hv.faults.guest == [] and not n.dom.crashed
    assert n.platform.frames == [] and n.platform.completions == []
    assert n.platform.nic.counters[NicControl.MMIO_DROPPED] == 0
    n.check_unharmed()


def test_equal_virtual_addresses_are_different_pages() -> None:
    n = Neighbours(Mode.IOMMU)
    assert n.attacker.buffer == n.victim.buffer and n.attacker.grant.aperture == n.victim.grant.aperture
    assert n.attacker.process.memory.read(n.attacker.buffer, 200) == PAYLOAD
    n.attacker.push(n.attacker.device)
    n.platform.settle()
    assert [(f.endpoint, f.data) for f in n.platform.frames] == [(n.attacker.number, on_line(PAYLOAD))]
    n.check_unharmed()


def test_device_address_of_a_neighbour_process_faults_in_the_iommu() -> None:
    n = Neighbours(Mode.IOMMU)
    n.attacker.push(n.victim.device)
    n.platform.settle()
    assert n.attacker.status().status is Status.READ_UR
    n.platform.run(n.hv.handle_faults())
    [fault] = n.hv.faults.device
    assert (fault.requester, fault.address, fault.is_read) == (0x0101 + n.attacker.number, n.victim.device, True)
    n.check_unharmed()


def test_window_of_a_neighbour_process_names_nothing_or_ones_own() -> None:
    n = Neighbours(Mode.WINDOWS)
    # the same number in both: it is the attacker's own that it reaches
    assert n.attacker.device == n.victim.device
    n.attacker.push(n.victim.device)
    n.platform.settle()
    assert frames_of(n.platform, n.attacker.number) == [on_line(PAYLOAD)]

    async def more() -> int:
        page = await n.victim.process.allocate(PAGE)
        n.victim.process.memory.write(page, b"\xee" * 200)
        calls = n.victim.process.kernel.endpoints
        [(_, device)] = await calls.register(n.victim.number, [page // PAGE], readonly=True)
        return device

    [device] = n.platform.run(more())
    n.attacker.push(device)
    n.platform.settle()
    assert n.attacker.status().status is Status.NOT_AUTHORISED
    n.platform.run(n.hv.handle_faults())
    [refusal] = n.hv.faults.nic
    assert (refusal.endpoint, refusal.address, refusal.is_read) == (n.attacker.number, device, True)
    n.check_unharmed()


@pytest.mark.parametrize("mode", MODES)
def test_completions_cannot_be_aimed_at_a_neighbour_process(mode: Mode) -> None:
    n = Neighbours(mode)
    other = Raw(Process(n.dom, "third"))
    if mode is Mode.WINDOWS:
        # the ring's window, of a number that the third does not use
        n.platform.run(n.victim.process.kernel.endpoints.register(n.victim.number, [n.victim.cq // PAGE] * 3, readonly=False))
        [[*_, (_, wanted)]] = n.platform.run(
            n.victim.process.kernel.endpoints.register(n.victim.number, [n.victim.cq // PAGE], readonly=False)
        )
    else:
        wanted = n.victim.process.memory.memory_address(n.victim.cq, PAGE)
    n.platform.run(other.open(cq_base=wanted))
    other.push(other.device)
    n.platform.settle()
    n.platform.run(n.hv.handle_faults())
    assert n.victim.process.memory.read(n.victim.cq, PAGE) == bytes(PAGE)
    records = [(f.requester - 0x0101, f.is_read) for f in n.hv.faults.device]
    records += [(f.endpoint, f.is_read) for f in n.hv.faults.nic]
    assert records == [(other.number, False)]


@pytest.mark.parametrize("mode", MODES)
def test_kernel_refuses_what_is_another_process_s(mode: Mode) -> None:
    n = Neighbours(mode)
    me, calls, mine, theirs = n.attacker.process, n.attacker.process.kernel.endpoints, n.attacker, n.victim
    pages = [mine.buffer // PAGE]
    count = hypercalls(n.hv)

    async def refused(call: Awaitable[object], errno: Errno, match: str) -> None:
        with pytest.raises(SystemCallError, match=match) as caught:
            await call
        assert caught.value.errno is errno

    async def run() -> None:
        for call in (
            calls.register(theirs.number, pages, readonly=True),
            calls.deregister(theirs.number, [1]),
            calls.endpoint_enable(theirs.number, 4, 4, 0, 0),
            calls.endpoint_disable(theirs.number),
            calls.endpoint_release(theirs.number),
            calls.endpoint_rss(theirs.number, bytes(40), [0] * 128),
            calls.endpoint_moderation(theirs.number, 1, 1),
            calls.endpoint_multicast(theirs.number, b"\1\0\x5e\0\0\1", join=True),
            calls.endpoint_filter(theirs.number, promiscuous=False, all_multicast=True),
            calls.endpoint_statistics(theirs.number),
            calls.bind_interrupt(theirs.number, lambda: None),
            calls.endpoint_disable(63),
        ):
            await refused(call, Errno.ENODEV, "attacker: endpoint .* is not open in the process")
        # a page that only the victim has at this address, a device page, the end of memory
        theirs_only = await theirs.process.allocate(PAGE)
        for page in (theirs_only // PAGE, mine.grant.aperture // PAGE, n.dom.ram.start, 1 << 52):
            await refused(calls.register(mine.number, [*pages, page], readonly=True), Errno.EFAULT, "not memory")
        await refused(calls.deregister(mine.number, [mine.registration, 99]), Errno.EINVAL, "unknown")
        await refused(calls.deregister(mine.number, [mine.registration] * 2), Errno.EINVAL, "twice")
        await refused(calls.unbind_interrupt(0), Errno.EINVAL, "not bound")
        await refused(calls.unbind_interrupt(5), Errno.EINVAL, "not bound")
        await refused(me.free(mine.buffer), Errno.EBUSY, "is registered")
        await refused(me.free(mine.buffer + 64 * PAGE), Errno.EINVAL, "no run")
        await refused(calls.endpoint_filter(mine.number, promiscuous=True, all_multicast=False), Errno.EPERM, "promisc")
        await refused(calls.endpoint_retire(mine.number), Errno.ENOSYS, "not validated")
        await refused(me.allocate(513 * PAGE), Errno.ENOMEM, "512")
        await refused(me.allocate(0), Errno.ENOMEM, "512")
        # within its limit, but the guest has no more: its kernel is none the worse
        await refused(me.allocate(400 * PAGE), Errno.ENOMEM, "consecutive")
        assert hypercalls(n.hv) == count
        # the hypervisor's word comes back as the kernel's
        await refused(calls.endpoint_enable(mine.number, 99, 4, 0, 0), Errno.EINVAL, "send_log2")
        await refused(calls.endpoint_moderation(mine.number, -1, 0), Errno.EINVAL, "arguments")

    n.platform.run(run())
    n.check_unharmed()


def test_limits_of_a_process_leave_the_rest_to_others() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 256)
    greedy, other = Process(dom, "greedy", page_limit=20, endpoint_limit=2), Process(dom, "other")

    async def run() -> None:
        calls = greedy.kernel.endpoints
        grants = [await calls.endpoint_allocate(Form.PUSHED) for _ in range(2)]
        with pytest.raises(SystemCallError, match="2 endpoints") as caught:
            await calls.endpoint_allocate(Form.PUSHED)
        assert caught.value.errno is Errno.ENOSPC
        page = await greedy.allocate(20 * PAGE) // PAGE
        with pytest.raises(SystemCallError, match="20 in all"):
            await greedy.allocate(1)
        with pytest.raises(SystemCallError, match="1024 in all"):
            for _ in range(1025):
                await calls.register(grants[0].endpoint, [page], readonly=True)
        with pytest.raises(SystemCallError, match="at most 128") as caught:
            await calls.register(grants[0].endpoint, [page] * 129, readonly=True)
        assert caught.value.errno is Errno.E2BIG
        raw = Raw(other)
        await raw.open()
        raw.push(raw.device)
        await platform.sleep(100_000)
        assert raw.status().status is Status.OK
        await greedy.exit()
        assert [e.number for e in hv.endpoints.of_domain(1)] == [raw.number]

    platform.run(run())


@pytest.mark.parametrize("mode", [Mode.NATIVE, Mode.VALIDATED])
def test_modes_that_do_not_protect_processes_are_refused(mode: Mode) -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 64, mode=mode)
    process = Process(dom, "app")

    async def run() -> None:
        with pytest.raises(SystemCallError, match="does not protect processes") as caught:
            await VirtualNic(process, SendForm.FETCHED, 16, buffer_pages=1).open()
        assert caught.value.errno is Errno.ENODEV
        assert hv.endpoints.of_domain(dom.domid) == [] and dom.p2m.mmio == {}

    platform.run(run())


def test_memory_comes_zeroed_whoever_had_it() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 32)
    first, second = Process(dom, "first"), Process(dom, "second")

    async def run() -> None:
        address = await first.allocate(8 * PAGE)
        gpa = first.memory.memory_address(address, 1)
        first.memory.write(address, b"secret" * 5000)
        await first.free(address)
        with pytest.raises(SegmentationFaultError):
            first.memory.read(address, 1)
        address = await second.allocate(8 * PAGE)
        assert second.memory.memory_address(address, 1) == gpa
        assert second.memory.read(address, 8 * PAGE) == bytes(8 * PAGE)

    platform.run(run())


def test_frame_with_a_neighbour_process_s_address_is_spoofed() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 512)
    a, b = (nic_of(Process(dom, name)) for name in ("a", "b"))

    async def run() -> None:
        await a.open()
        await b.open()
        await send_all(a, [PEER + b.mac + bytes(60), PEER + a.mac + bytes(60)])

    platform.run(run())
    assert a.completions[Status.SPOOFED] == 1 and a.completions[Status.OK] == 1 and len(platform.frames) == 1


def test_refused_registration_leaves_nothing() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 400, mode=Mode.WINDOWS)
    process = Process(dom, "app")

    async def run() -> None:
        calls = process.kernel.endpoints
        grant = await calls.endpoint_allocate(Form.PUSHED)
        address = await process.allocate(300 * PAGE)
        pages = [address // PAGE + n for n in range(300)]
        made = [await calls.register(grant.endpoint, some, readonly=True) for some in (pages[:128], pages[128:256])]
        numbers = [number for some in made for number, _ in some]
        before = belongings(hv, [dom])
        for some in (pages[:1], pages[256:], pages[:1] * 3):
            with pytest.raises(SystemCallError, match="NO_DEVICE_SPACE") as caught:
                await calls.register(grant.endpoint, some, readonly=True)
            assert caught.value.errno is Errno.ENOSPC
        assert belongings(hv, [dom]) == before
        await calls.deregister(grant.endpoint, numbers)
        await process.free(address)
        # closed, its aperture is gone
        process.mmio_write(grant.aperture, bytes(4))
        await calls.endpoint_release(grant.endpoint)
        with pytest.raises(SegmentationFaultError):
            process.mmio_write(grant.aperture, bytes(4))
        with pytest.raises(SystemCallError, match="not open"):
            await calls.endpoint_disable(grant.endpoint)

    platform.run(run())


# --- death -----------------------------------------------------------------------------------------


def belongings(hv: Hypervisor, doms: Sequence[Domain]) -> tuple[object, ...]:
    """Everything that a process could leave behind, by domain and of the machine."""
    tables = []
    for e in (e for dom in doms for e in hv.endpoints.of_domain(dom.domid)):
        assert isinstance(e.space, (IommuSpace, WindowSpace))
        tables.append((e.number, e.enabled, e.space.pages, sum(e.space._used) if isinstance(e.space, WindowSpace) else 0))
    return (
        [hv.frames.references(n) for dom in doms for gfn in dom.ram for n in [dom.p2m.frame(gfn)] if n is not None],
        [set(hv.grants._tables[dom.domid].active) for dom in doms],
        [len(hv.grants.handles(dom.domid)) for dom in doms],
        [sorted(dom.kernel._free_runs) for dom in doms],
        [sorted(dom.kernel.grants._free) for dom in doms],
        [dict(dom.p2m.mmio) for dom in doms],
        [dict(dom.kernel._pirqs) for dom in doms],
        dict(hv._pirqs),
        tables,
    )


@pytest.mark.parametrize("mode", MODES)
def test_twenty_deaths_in_traffic_leave_nothing_behind(mode: Mode) -> None:
    platform, hv = machine()
    dom, far = hv.create_domain("guest", 640, mode=mode), hv.create_domain("far", 512, mode=mode)
    survivor, peer = nic_of(Process(dom, "survivor")), nic_of(Process(far, "peer"))
    rng = random.Random(f"deaths {mode}")
    stop = False
    ended: list[str] = []
    kept: list[bytes] = []

    async def send_to(nic: VirtualNic, targets: Callable[[], list[bytes]]) -> None:
        while not stop:
            for mac in targets():
                while not nic.send(frame(rng, mac, rng.randint(60, 1500), source=nic.mac)):
                    await nic.wait_for_room(WAIT_NS)
            nic.kick()
            await platform.sleep(rng.randint(100, 3_000))

    async def doomed(process: Process, form: SendForm) -> None:
        nic = nic_of(process, form, interrupts=rng.random() < 0.5)

        async def receive() -> None:
            try:
                while True:
                    await nic.receive(200_000)
            except ProcessEndedError:
                ended.append("receive")

        try:
            await nic.open()
            macs.append(nic.mac)
            platform.start(receive())
            while True:
                for mac in (survivor.mac, peer.mac, PEER):
                    while not nic.send(frame(rng, mac, rng.randint(60, 1500), source=nic.mac)):
                        await nic.wait_for_room(WAIT_NS)
                nic.kick()
                await process.sleep(rng.randint(100, 2_000))
        except ProcessEndedError:
            ended.append("send")

    macs: list[bytes] = []

    async def one_life(n: int, delay: int) -> None:
        process = Process(dom, f"doomed {n}")
        platform.start(doomed(process, rng.choice(list(SendForm))))
        await platform.sleep(delay)
        await process.exit()
        assert process.ended
        with pytest.raises(SegmentationFaultError):
            process.memory.read(0, 1)
        with pytest.raises(ProcessEndedError):
            process.mmio_write(0, b"1")
        with pytest.raises(ProcessEndedError):
            await process.allocate(1)

    async def run() -> None:
        nonlocal stop
        await survivor.open()
        await peer.open()
        platform.start(send_to(peer, lambda: [survivor.mac, PEER, *macs[-1:]]))
        platform.start(send_to(survivor, lambda: [peer.mac]))
        # once, so that argument pages and grant table have grown as far as they do
        await one_life(0, 100_000)
        await platform.sleep(100_000)
        before = belongings(hv, [dom, far])
        for n in range(1, 21):
            # early deaths come while it opens its endpoint
            await one_life(n, rng.randint(100, 4_000) if n % 3 == 0 else rng.randint(50_000, 200_000))
            assert belongings(hv, [dom, far]) == before, f"life {n}"
            kept.extend(f.data for f in survivor.poll())
            for f in await collect_now(peer):
                assert f[6:12] in (survivor.mac, *macs)
        stop = True
        await platform.sleep(1_000_000)
        await peer.drain(WAIT_NS)
        await survivor.drain(WAIT_NS)

    async def collect_now(nic: VirtualNic) -> list[bytes]:
        return [f.data for f in nic.poll(1000)]

    platform.run(run())
    sends = ended.count("send")
    assert sends == 21 and 10 <= ended.count("receive") < sends, ended
    assert len(macs) == ended.count("receive")
    assert hv.faults.device == [] and hv.faults.guest == [] and hv.faults.nic == []
    assert hv.endpoints.forced_disables == 0
    for nic in (survivor, peer):
        assert nic.completions[Status.OK] == nic.frames_accepted > 0
    assert kept


def test_death_in_the_middle_of_each_step_of_open() -> None:
    """Some 40 moments of an open, in turn."""
    platform, hv = machine()
    dom = hv.create_domain("guest", 256)

    async def attempt(process: Process) -> bool:
        try:
            await nic_of(process, interrupts=True).open()
        except ProcessEndedError:
            return False
        return True

    async def run() -> None:
        # The first one takes longer: the guest's tables grow, the NIC's interrupts are switched on.
        for _ in range(2):
            whole = Process(dom, "whole")
            start = platform.now()
            assert await attempt(whole)
            length = platform.now() - start
            await whole.exit()
        before = belongings(hv, [dom])
        steps = range(0, length, max(length // 40, 1))
        for delay in steps:
            process = Process(dom, f"after {delay}")
            task = platform.start(attempt(process))
            await platform.sleep(delay)
            await process.exit()
            await platform.sleep(length)
            assert task.done and task.result is False
            assert belongings(hv, [dom]) == before, f"after {delay} ns"

    platform.run(run())


def test_whatever_it_waits_for_a_process_that_ended_does_not_go_on() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 128)
    raw = Raw(Process(dom, "app"))
    process = raw.process
    ended: list[tuple[str, int]] = []

    async def waits(name: str, call: Awaitable[object]) -> None:
        with pytest.raises(ProcessEndedError):
            await call
        ended.append((name, platform.now()))

    async def run() -> None:
        await raw.open()
        signal = process.signal()
        for name, call in {
            "system call": process.kernel.endpoints.endpoint_statistics(raw.number),
            "mmio": process.mmio_read(raw.grant.aperture, 4),
            "monitor": process.monitor(raw.cq, b"\xff", b"\xff", 50_000),
            "signal": signal.wait(WAIT_NS),
            "sleep": process.sleep(60_000),
        }.items():
            platform.start(waits(name, call))
        await platform.sleep(10)
        start = platform.now()
        task = platform.start(process.exit())
        await platform.sleep(10)
        # under way, and already without address space
        assert not task.done and hv.endpoints.of_domain(dom.domid) != []
        for address in (raw.buffer, raw.cq):
            with pytest.raises(SegmentationFaultError):
                process.memory.read(address, 1)
        with pytest.raises(ProcessEndedError):
            process.mmio_write(raw.grant.aperture, bytes(4))
        await platform.sleep(100_000)
        assert task.done
        when = {name: time - start for name, time in ended}
        assert set(when) == {"system call", "mmio", "monitor", "signal", "sleep"}
        assert when["signal"] == 0 and when["monitor"] < 60_000

    platform.run(run())


@pytest.mark.parametrize("mode", MODES)
def test_memory_of_the_dead_is_free_only_when_no_dma_reaches_it(mode: Mode) -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 64, mode=mode)
    dead, heir = Raw(Process(dom, "dead")), Process(dom, "heir")

    async def run() -> None:
        await dead.open()
        # all but a few pages are its
        await dead.process.allocate((dom.kernel.longest_run() - 2) * PAGE)
        platform.start(dead.process.exit())
        tries = 0
        while True:
            try:
                await heir.allocate(8 * PAGE)
                break
            except SystemCallError:
                tries += 1
                await platform.sleep(20)
        assert tries > 10 and hv.endpoints.of_domain(dom.domid) == []

    platform.run(run())


def test_number_of_an_endpoint_stays_its_own_while_a_call_names_it() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 128)
    raw = Raw(Process(dom, "app"))
    results: list[object] = []

    async def note(call: Awaitable[object]) -> None:
        try:
            results.append(await call)
        except SystemCallError as error:
            results.append(error.errno)

    async def run() -> None:
        await raw.open()
        calls = raw.process.kernel.endpoints
        await platform.gather([note(calls.endpoint_statistics(raw.number)), note(calls.endpoint_release(raw.number))])
        assert sorted(map(str, results)) == sorted(map(str, [results[1], Errno.EBUSY])) and isinstance(results[1], dict)
        results.clear()
        await platform.gather([note(calls.endpoint_release(raw.number)), note(calls.endpoint_disable(raw.number))])
        assert results == [Errno.ENODEV, None]
        assert hv.endpoints.of_domain(1) == []

    platform.run(run())


# --- as part of its guest --------------------------------------------------------------------------


def test_time_of_system_calls_is_the_guest_s() -> None:
    platform, hv = timed_machine(syscall=250)
    dom = hv.create_domain("guest", 512)
    process = Process(dom, "app")
    nic = nic_of(process)
    accounts = scheduler_of(hv).accounts

    def account(operation: str) -> int:
        """Picoseconds."""
        return accounts.total(domid=dom.domid, operation=operation)

    async def run() -> None:
        await nic.open()
        await process.sleep(1)
        assert process.system_calls > 10
        assert account("syscall") == process.system_calls * 250_000
        before = account("syscall"), account("hypercall"), account("exit"), account("page_registration")
        await send_all(nic, [frame(random.Random(n), PEER, 200, source=nic.mac) for n in range(50)])
        assert (account("syscall"), account("hypercall"), account("exit"), account("page_registration")) == before
        # 60 ns for a frame's descriptor, by the table
        assert account("descriptor_build") >= 50 * 60_000

    platform.run(run())
    assert len(platform.frames) == 50


def test_guest_that_is_destroyed_takes_its_processes_with_it() -> None:
    platform, hv = machine()
    dom, other = hv.create_domain("guest", 512), nic_of(hv.create_domain("other", 512))
    processes = [Process(dom, name) for name in ("a", "b")]
    ended: list[str] = []

    async def life(process: Process) -> None:
        nic = nic_of(process)
        with pytest.raises(DomainCrashedError):
            await nic.open()
            while True:
                while not nic.send(frame(random.Random(1), other.mac, 500, source=nic.mac)):
                    await nic.wait_for_room(WAIT_NS)
                await process.sleep(500)
        ended.append(process.name)

    async def run() -> None:
        await other.open()
        for process in processes:
            platform.start(life(process))
        await platform.sleep(100_000)
        await hv.destroy_domain(dom.domid)
        assert hv.leaks(dom.domid) == []
        await platform.sleep(WAIT_NS)
        assert sorted(ended) == ["a", "b"] and other.poll() != []

    platform.run(run())
