"""The registration cache against a plain oracle with real windows, and sends from an application's own memory."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypervisor_model.domains import Domain
from hypervisor_model.hypervisor import Hypervisor
from sw.abi.registers import Form, Mode, Status
from sw.guest.device_pages import DevicePages, DeviceSpaceError
from sw.guest.machine import DriverMachine
from sw.guest.process import Process
from sw.guest.registration_cache import RegistrationCache, RegistrationsInUseError
from sw.guest.transmit import NicError
from sw.guest.user_endpoints import SystemCallError
from sw.guest.virtual_nic import ReceiveConfig, SendForm
from sw.guest.zero_copy import ZeroCopyNic
from sw.platform import MachineMap
from sw.xen.errno import Errno
from sw.xen.grant_table import GrantStatus
from tb.ethernet import on_line
from tb.model.platform import ModelPlatform
from tests.model.model_support import PAGE, WAIT_NS, frames_of, machine
from tests.model.receive_support import collect, frame, wire

PAGES = 10
WINDOWS = 256
"""Of an endpoint, as on the card."""


class Oracle:
    """One page after the other, by lists."""

    def __init__(self, limit: int, batch: int, room: int) -> None:
        self.limit, self.batch, self.room = limit, batch, room
        self.order: list[int] = []
        self.held: list[int] = []
        self.hits = self.misses = self.evictions = self.invalidations = 0

    def _evict(self, least: int) -> bool:
        idle = [page for page in self.order if page not in self.held]
        if len(idle) < least:
            return False
        for page in idle[: max(least, self.batch)]:
            self.order.remove(page)
            self.evictions += 1
        return True

    def acquire(self, pages: Sequence[int]) -> bool:
        missing = [page for page in pages if page not in self.order]
        for page in pages:
            if page in self.order:
                self.order.append(self.order.pop(self.order.index(page)))
        # What the call itself uses is not to be evicted for it.
        own = [page for page in pages if page in self.order]
        self.held += own
        excess = len(self.order) + len(missing) - self.limit
        fits = excess <= 0 or self._evict(excess)
        for page in missing if fits else ():
            while fits and len(self.order) == self.room:
                fits = self._evict(1)
            if fits:
                self.order.append(page)
                self.held.append(page)
                own.append(page)
        if fits:
            self.hits += len(pages) - len(missing)
            self.misses += len(missing)
        else:
            for page in own:
                self.held.remove(page)
        return fits

    def release(self, pages: Sequence[int]) -> None:
        for page in pages:
            self.held.remove(page)

    def invalidate(self, pages: Sequence[int]) -> bool:
        if any(page in self.held for page in pages):
            return False
        for page in pages:
            if page in self.order:
                self.order.remove(page)
                self.invalidations += 1
        return True


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["acquire", "acquire", "release", "release", "invalidate"]),
        st.lists(st.integers(0, PAGES - 1), min_size=1, max_size=4, unique=True),
    ),
    min_size=10,
    max_size=40,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(STEPS, st.integers(4, 8), st.integers(1, 4), st.integers(2, PAGES), st.sampled_from([Mode.IOMMU, Mode.WINDOWS]))
def test_against_the_oracle(
    steps: list[tuple[str, list[int]]], limit: int, batch: int, room: int, mode: Mode
) -> None:
    platform = ModelPlatform(MachineMap(ram_bytes=2 << 20))
    hv = Hypervisor(platform)
    platform.run(hv.boot())
    dom = hv.create_domain("guest", 40, mode=mode)
    platform.run(_walk(hv, dom, steps, Oracle(limit, batch, room if mode is Mode.WINDOWS else 1 << 20)))


async def _walk(hv: Hypervisor, dom: Domain, steps: list[tuple[str, list[int]]], oracle: Oracle) -> None:
    kernel = dom.kernel
    grant = await dom.hypercall.endpoint_allocate(Form.PUSHED)
    memory = DevicePages(dom, grant)
    cache = RegistrationCache(memory, limit=oracle.limit, batch=oracle.batch)
    first = kernel.allocate_pages(PAGES)
    filler = kernel.allocate_pages(1)
    taken = max(WINDOWS - oracle.room, 0)
    for done in range(0, taken, 64):
        references = [await kernel.grant_access(filler, readonly=True) for _ in range(min(64, taken - done))]
        answers = await dom.hypercall.grant_map_run_to_device(grant.endpoint, references, readonly=True)
        assert {answer.status for answer in answers} == {GrantStatus.OKAY}
    space = hv.endpoints.owned(grant.endpoint, dom.domid).space
    frames = [dom.p2m.frame(first + n) for n in range(PAGES)]
    held: list[list[int]] = []
    for name, numbers in steps:
        pages = [first + n for n in numbers]
        if name == "acquire":
            if oracle.acquire(pages):
                await cache.acquire(pages)
                held.append(pages)
            else:
                with pytest.raises(RegistrationsInUseError):
                    await cache.acquire(pages)
        elif name == "release" and held:
            back = held.pop(numbers[0] % len(held))
            oracle.release(back)
            cache.release(back)
        elif name == "invalidate":
            if oracle.invalidate(pages):
                await cache.invalidate(pages)
            else:
                with pytest.raises(RegistrationsInUseError):
                    await cache.invalidate(pages)
        assert cache.pages == oracle.order
        counts = cache.counts
        assert (counts.hits, counts.misses, counts.evictions, counts.invalidations) == (
            oracle.hits, oracle.misses, oracle.evictions, oracle.invalidations
        )  # fmt: skip
        # what the hypervisor has pinned is what is cached, each page once
        assert space.pages == taken + len(oracle.order)
        assert sorted(memory.addresses) == sorted(oracle.order)
        for n, number in enumerate(frames):
            assert number is not None and hv.frames.references(number) == 1 + (first + n in oracle.order)


def test_run_is_cut_where_windows_are_free_but_not_side_by_side() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 320, mode=Mode.WINDOWS)

    async def run() -> None:
        grant = await dom.hypercall.endpoint_allocate(Form.PUSHED)
        memory = DevicePages(dom, grant)
        first = dom.kernel.allocate_pages(WINDOWS + 8)
        for n in range(WINDOWS):
            await memory.register([first + n])
        for n in (3, 100, 101, 200):
            await memory.deregister([first + n])
        extra = [first + WINDOWS + n for n in range(5)]
        with pytest.raises(DeviceSpaceError):
            await memory.register(extra[:3])
        cache = RegistrationCache(memory)
        await cache.acquire(extra[:4])
        index = sorted(memory.addresses[page] >> 12 & 0xFF for page in extra[:4])
        assert index == [3, 100, 101, 200]
        with pytest.raises(RegistrationsInUseError):
            await cache.acquire(extra[4:])
        cache.release(extra[:1])
        with pytest.raises(ValueError, match="128"):
            await cache.acquire(list(range(129)))
        await cache.acquire(extra[4:])
        assert cache.pages == extra[1:]

    platform.run(run())


def test_as_many_go_as_a_frame_needs_even_if_a_batch_is_less() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 32)

    async def run() -> None:
        grant = await dom.hypercall.endpoint_allocate(Form.PUSHED)
        cache = RegistrationCache(DevicePages(dom, grant), limit=4, batch=1)
        first = dom.kernel.allocate_pages(7)
        await cache.acquire([first + n for n in range(4)])
        cache.release([first + n for n in range(4)])
        await cache.acquire([first + n for n in range(4, 7)])
        assert cache.pages == [first + n for n in range(3, 7)] and cache.counts.evictions == 3

    platform.run(run())


@pytest.mark.parametrize(("limit", "batch", "match"), [(0, 1, "limit is 0"), (4, 5, "batch is 5: 1 to 4"), (4, 0, "batch is 0")])
def test_bad_sizes_are_named(limit: int, batch: int, match: str) -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 16)
    [grant] = platform.run(dom.hypercall.endpoint_allocate(Form.PUSHED))
    with pytest.raises(ValueError, match=match):
        RegistrationCache(DevicePages(dom, grant), limit=limit, batch=batch)


async def application_memory(user: DriverMachine, pages: int) -> int:
    """Address of memory of its own: of a process, or of the guest's kernel."""
    if isinstance(user, Process):
        return await user.allocate(pages * PAGE)
    assert isinstance(user, Domain)
    return user.kernel.allocate_pages(pages) * PAGE


@pytest.mark.parametrize("form", list(SendForm))
@pytest.mark.parametrize("mode", [Mode.IOMMU, Mode.WINDOWS])
@pytest.mark.parametrize("level", ["kernel", "process"])
def test_frames_leave_from_where_the_application_has_them(level: str, mode: Mode, form: SendForm) -> None:
    """Few registrations, many pages: evictions all the time, never of a page whose frame is in flight."""
    platform, hv = machine()
    dom = hv.create_domain("guest", 256, mode=mode)
    user: DriverMachine = Process(dom, "app") if level == "process" else dom
    nic = ZeroCopyNic(user, form, 32, buffer_pages=2, cache_pages=12, cache_batch=4)
    rng = random.Random(f"{level}{mode}{form}")
    expected: list[bytes] = []

    async def run() -> None:
        await nic.open()
        size = 40 * PAGE
        base = await application_memory(user, 40)
        content = rng.randbytes(size)
        user.memory.write(base, content)
        for n in range(150):
            # the second half stays within the pages that the cache can hold
            span = size if n < 100 else 8 * PAGE
            length = rng.choice((rng.randint(60, 200), rng.randint(60, 1514), rng.randint(60, 9018)))
            at = rng.randrange(span - length)
            while not await nic.send_from(base + at, length):
                await nic.wait_for_room(WAIT_NS)
            expected.append(content[at : at + length])
            assert len(nic.cached_pages) <= 12
        await nic.drain(WAIT_NS)
        # the buffers of the driver itself need none
        buffer = nic.buffers.base
        user.memory.write(buffer, content[:300])
        before = nic.cached_pages
        assert await nic.send_from(buffer, 300)
        expected.append(content[:300])
        await nic.drain(WAIT_NS)
        assert nic.cached_pages == before
        counts = nic.cache_counts
        assert counts.evictions > 50 and counts.hits > 50 and counts.misses - counts.evictions == len(before)
        await nic.close()
        assert hv.endpoints.of_domain(dom.domid) == []

    platform.run(run())
    assert frames_of(platform, 0) == [on_line(data) for data in expected]
    assert nic.completions[Status.OK] == len(expected)
    assert hv.faults.device == [] and hv.faults.nic == [] and hv.endpoints.forced_disables == 0


def test_hits_cost_no_call_and_evictions_come_in_batches() -> None:
    platform, hv = machine()
    process = Process(hv.create_domain("guest", 256, mode=Mode.WINDOWS), "app")
    nic = ZeroCopyNic(process, SendForm.PUSHED, 64, buffer_pages=2, cache_pages=32, cache_batch=8)
    base = 0

    def calls() -> tuple[int, int]:
        return process.system_calls, sum(hv.entries.hypercalls.values())

    async def send(page: int) -> None:
        assert await nic.send_from(base + page * PAGE, 1000)
        await nic.drain(WAIT_NS)

    async def run() -> None:
        nonlocal base
        await nic.open()
        base = await process.allocate(64 * PAGE)
        for page in range(32):
            await send(page)
        start = calls()
        for page in range(32):
            await send(page)
        assert calls() == start
        assert nic.cache_counts.hits == 32 and nic.cache_counts.evictions == 0
        # one registration each; one deregistration for eight
        for page in range(32, 40):
            await send(page)
        assert nic.cache_counts.evictions == 8
        assert process.system_calls - start[0] == 8 + 1
        assert nic.cached_pages == [base // PAGE + n for n in range(8, 40)]

    platform.run(run())


def test_windows_run_out_before_the_limit_does() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 768, mode=Mode.WINDOWS)
    process = Process(dom, "app")
    nic = ZeroCopyNic(process, SendForm.FETCHED, 32, buffer_pages=6, cache_pages=400, cache_batch=16)

    async def run() -> None:
        await nic.open()
        own = hv.endpoints.owned(nic.endpoint, dom.domid).space.pages
        base = await process.allocate(300 * PAGE)
        for n in range(300):
            process.memory.write(base + n * PAGE, n.to_bytes(2, "big") * 30)
            while not await nic.send_from(base + n * PAGE, 60):
                await nic.wait_for_room(WAIT_NS)
        await nic.drain(WAIT_NS)
        room = WINDOWS - own
        evicted = -(-(300 - room) // 16) * 16
        assert nic.cache_counts.evictions == evicted
        assert nic.cached_pages == [base // PAGE + n for n in range(evicted, 300)]

    platform.run(run())
    assert frames_of(platform, 0) == [on_line(n.to_bytes(2, "big") * 30) for n in range(300)]


def test_memory_that_is_given_back_is_forgotten_first() -> None:
    platform, hv = machine()
    process = Process(hv.create_domain("guest", 256), "app")
    nic = ZeroCopyNic(process, SendForm.FETCHED, 32, buffer_pages=2)

    async def run() -> None:
        await nic.open()
        address = await process.allocate(3 * PAGE)
        other = await process.allocate(PAGE)
        assert await nic.send_from(address + 100, 2 * PAGE)
        assert await nic.send_from(other, 100)
        # nobody has told the cache: the kernel keeps the pages
        with pytest.raises(SystemCallError, match="registered") as caught:
            await process.free(address)
        assert caught.value.errno is Errno.EBUSY
        process.on_free(nic.invalidate)
        # not rung yet: the frame is in flight
        with pytest.raises(RegistrationsInUseError, match="in use by 1"):
            await process.free(address)
        assert process.memory.read(address, 1) == b"\0"
        await nic.drain(WAIT_NS)
        await process.free(address)
        assert nic.cached_pages == [other // PAGE] and nic.cache_counts.invalidations == 3
        # its address is not used again, and means nothing
        for _ in range(2):
            with pytest.raises(SystemCallError) as caught:
                await nic.send_from(address, 100)
            assert caught.value.errno is Errno.EFAULT
        with pytest.raises(SystemCallError):
            await nic.send_from(other + PAGE - 10, 20)
        assert nic.cached_pages == [other // PAGE]
        await nic.close()
        await process.free(other)

    platform.run(run())
    assert hv.faults.device == []


def test_frames_in_flight_keep_their_registrations_and_stop_the_queue() -> None:
    platform, hv = machine()
    process = Process(hv.create_domain("guest", 256), "app")
    nic = ZeroCopyNic(process, SendForm.FETCHED, 64, buffer_pages=2, cache_pages=4, cache_batch=4)

    async def run() -> None:
        await nic.open()
        base = await process.allocate(8 * PAGE)
        with pytest.raises(NicError, match="on 4 pages at most"):
            await nic.send_from(base, 4 * PAGE + 1)
        with pytest.raises(NicError, match="0 bytes"):
            await nic.send_from(base, 0)
        for n in range(4):
            assert await nic.send_from(base + n * PAGE, 60)
        # no doorbell has been rung: nothing can complete
        assert not await nic.send_from(base + 4 * PAGE, 60)
        assert nic.stopped and len(nic.cached_pages) == 4
        await nic.wait_for_room(WAIT_NS)
        await nic.drain(WAIT_NS)
        assert await nic.send_from(base + 4 * PAGE, 60)
        with pytest.raises(NicError, match="checksum start"):
            await nic.send_from(base + 4 * PAGE, 60, (256, 0))
        await nic.drain(WAIT_NS)
        await nic.invalidate([base // PAGE + 4])
        assert len(nic.cached_pages) == 0

    platform.run(run())
    assert nic.completions[Status.OK] == 5


@pytest.mark.parametrize("mode", [Mode.IOMMU, Mode.WINDOWS])
def test_evictions_while_the_endpoint_receives(mode: Mode) -> None:
    platform, hv = machine()
    process = Process(hv.create_domain("guest", 512, mode=mode), "app")
    config = ReceiveConfig(entries=128, interrupts=False)
    nic = ZeroCopyNic(process, SendForm.PUSHED, 32, buffer_pages=2, receive=config, cache_pages=4, cache_batch=2)
    rng = random.Random(9)
    got: list[bytes] = []
    sent: list[bytes] = []

    async def receive() -> None:
        got.extend(f.data for f in await collect(nic, 400))

    async def run() -> None:
        await nic.open()
        sent.extend(frame(rng, nic.mac, 1000) for _ in range(400))
        wire(platform, sent)
        task = platform.start(receive())
        base = await process.allocate(32 * PAGE)
        for n in range(100):
            process.memory.write(base + n % 32 * PAGE, frame(rng, bytes([2, 0, 0, 0, 0, 9]), 100, source=nic.mac))
            while not await nic.send_from(base + n % 32 * PAGE, 100):
                await nic.wait_for_room(WAIT_NS)
            await nic.drain(WAIT_NS)
        while not task.done:
            await platform.sleep(10_000)

    platform.run(run())
    assert got == sent and nic.completions[Status.OK] == 100 and nic.cache_counts.evictions >= 96
    assert hv.endpoints.forced_disables == 0
