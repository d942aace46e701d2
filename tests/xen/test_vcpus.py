"""vCPUs on cores: time is paid once, in order, on one core at a time, and nothing of it is lost or counted twice."""

from __future__ import annotations

import random
import struct
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypervisor_model.costs import Payer
from hypervisor_model.domains import Domain
from hypervisor_model.vcpus import VcpuState
from sw.abi.registers import Form
from sw.guest.virtual_nic import ReceiveConfig, SendForm
from sw.platform import PlatformTimeoutError
from sw.xen.errno import HypercallError
from sw.xen.vcpu import RunstateState
from tb.model.platform import ModelPlatform
from tests.model.model_support import PAGE, WAIT_NS
from tests.model.receive_support import frame, receiver_nic, wire
from tests.xen.cpu_support import (
    check_conservation,
    exchange,
    free_machine,
    raw,
    scheduler_of,
    timed_machine,
    watch_writes,
    watched,
)

# from Xen's public headers
XEN_VERSION, MULTICALL, VCPU_OP, SCHED_OP = 17, 13, 24, 29
UP, DOWN, IS_UP, GET_RUNSTATE_INFO = 1, 2, 3, 4
YIELD, BLOCK, SHUTDOWN, POLL, REMOTE_SHUTDOWN = range(5)
EPERM, ENOENT, ESRCH, EFAULT, EINVAL, ENOSYS = 1, 2, 3, 14, 22, 38


def call(platform: ModelPlatform, domain: Domain, *arguments: int) -> int:
    (result,) = platform.run(domain.vmcall(*arguments))
    return int(result)


# --- paying ------------------------------------------------------------------------------------------------------------


def test_work_is_paid_at_the_next_call_that_sleeps() -> None:
    platform, hv = timed_machine(descriptor_build=1_000, copy_byte=0.5)
    dom = hv.create_domain("guest", 16)

    async def run() -> list[int]:
        start = platform.now()
        dom.spend("descriptor_build", 3)
        dom.spend("copy_byte", 7)
        times = [platform.now() - start, dom.now() - start]
        await dom.sleep(100)
        times.append(platform.now() - start)
        # half a nanosecond was left over, another makes it a whole one
        dom.spend("copy_byte", 1)
        await dom.sleep(0)
        times.append(platform.now() - start)
        return times

    assert platform.run(run()) == [[0, 3003, 3103, 3104]]
    accounts = scheduler_of(hv).accounts
    assert accounts.total(domid=dom.domid, operation="descriptor_build") == 3_000_000
    assert accounts.total(domid=dom.domid, operation="copy_byte") == 4_000
    assert accounts.total(domid=dom.domid) == 3_004_000


def test_posted_writes_keep_their_place_in_the_work() -> None:
    """A doorbell rings when the work before it is done, not when the coroutine came by."""
    platform, hv = timed_machine(descriptor_build=500, mmio_write=100, mmio_write_combined=44)
    dom = hv.create_domain("guest", 256)
    nic = receiver_nic(dom, ReceiveConfig(interrupts=False))
    platform.run(nic.open())
    log = watch_writes(platform)
    doorbell = next(iter(dom.p2m.mmio)) * PAGE

    async def run() -> int:
        start = platform.now()
        dom.mmio_write(doorbell, bytes(4))
        dom.spend("descriptor_build")
        dom.mmio_write(doorbell, bytes(64))
        dom.spend("descriptor_build", 2)
        dom.mmio_write(doorbell, bytes(8))
        await dom.sleep(1_000)
        return start

    (start,) = platform.run(run())
    # 0; 100 + 500; 44 + 1000 more; then 100 and the sleep
    assert [time - start for time, _ in log] == [0, 600, 1644]
    assert platform.now() - start == 1744 + 1_000


def test_send_takes_the_drivers_time_before_the_doorbell() -> None:
    platform, hv = timed_machine(descriptor_build=2_000, copy_byte=1)
    dom = hv.create_domain("guest", 256)
    nic = receiver_nic(dom, ReceiveConfig(interrupts=False))
    platform.run(nic.open())
    log = watch_writes(platform)

    async def run() -> int:
        start = platform.now()
        assert nic.send(nic.mac * 2 + bytes(88))
        nic.kick()
        await nic.drain(WAIT_NS)
        await dom.sleep(0)
        return start

    (start,) = platform.run(run())
    assert log[0][0] - start == 100 + 2_000
    assert scheduler_of(hv).accounts.total(domid=dom.domid, operation="completion_reap") == 40_000


def test_hypercalls_take_time_in_the_hypervisor_and_are_timed_by_name() -> None:
    platform, hv = timed_machine(hypercall=250, page_registration=1_000)
    dom = hv.create_domain("guest", 64)

    async def run() -> None:
        start = platform.now()
        assert await dom.vmcall(XEN_VERSION, 7, 0) == PAGE
        assert platform.now() - start == 250
        grant = await dom.hypercall.endpoint_allocate(Form.PUSHED)
        reference = await dom.kernel.grant_access(dom.ram.stop - 1, readonly=True)
        start = platform.now()
        await dom.hypercall.grant_map_to_device(grant.endpoint, reference, readonly=True)
        assert platform.now() - start == 250 + 1_000

    platform.run(run())
    assert hv.entries.hypercall_ns[dom.domid, "xen_version.pagesize"] == 250
    assert hv.entries.hypercall_ns[dom.domid, "myri_op.map_grants"] == 1_250
    accounts = scheduler_of(hv).accounts
    assert accounts.total(domid=dom.domid, payer=Payer.HYPERVISOR, operation="hypercall") == 250_000 * 4
    assert accounts.total(domid=dom.domid, payer=Payer.GUEST) == 0
    # without costs: counted all the same, no time
    platform, hv = free_machine()
    dom = hv.create_domain("guest", 64)
    platform.run(dom.vmcall(XEN_VERSION, 7, 0))
    assert hv.entries.hypercalls[dom.domid, "xen_version.pagesize"] == 1
    assert hv.entries.hypercall_ns[dom.domid, "xen_version.pagesize"] == 0


def test_calls_that_do_not_wait_are_owed() -> None:
    """A batch of three grant copies of 1000 bytes: the call, the operations, the bytes."""
    platform, hv = timed_machine(hypercall=200, grant_copy=1_000, grant_copy_byte=0.5)
    dom = hv.create_domain("guest", 16)
    at = raw(dom, b"")
    # gnttab_copy: gref or gmfn @0, domid @8, offset @10, twice; len @32, flags @34, status @36
    page = dom.ram.start + 5
    one = struct.pack("<QHHxxxx", page, 0x7FF0, 0) + struct.pack("<QHHxxxx", page + 1, 0x7FF0, 0) + struct.pack("<HHhxx", 1000, 0, 1)
    dom.memory.write(at, one * 3)
    start = platform.now()
    assert dom.vmcall_now(20, 5, at, 3) == 0
    assert platform.now() == start and dom.now() - start == 200 + 3 * (1_000 + 500)
    platform.run(dom.sleep(0))
    assert platform.now() - start == 4_700
    assert hv.entries.hypercall_ns[dom.domid, "grant_table_op.copy"] == 4_700


def test_waits_of_the_hypervisor_are_its_time() -> None:
    """Enabling an endpoint polls a register: the vCPU is inside all the while."""
    platform, hv = timed_machine()
    dom = hv.create_domain("guest", 256)
    nic = receiver_nic(dom, ReceiveConfig(interrupts=False))
    platform.run(nic.open())
    rows = {operation: value for _, _, payer, operation, value in scheduler_of(hv).accounts.rows() if payer is Payer.HYPERVISOR}
    assert rows["myri_op.enable"] >= 500_000
    assert hv.entries.hypercall_ns[dom.domid, "myri_op.enable"] * 1000 == rows["myri_op.enable"] + 200_000


def test_traps_cost_an_exit() -> None:
    platform, hv = timed_machine()
    dom = hv.create_domain("guest", 16)

    async def run() -> int:
        start = platform.now()
        dom.mmio_write(0xDEAD_0000, bytes(4))
        await dom.sleep(0)
        return platform.now() - start

    assert platform.run(run()) == [680]
    assert scheduler_of(hv).accounts.total(domid=dom.domid, payer=Payer.HYPERVISOR, operation="exit") == 680_000


# --- events ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "ns"),
    [("blocked", 5_000 + 700), ("posted, blocked", 5_000 + 700), ("posted, idle", 700), ("busy", 1_000 + 700)],
)
def test_an_event_costs_what_the_vcpu_is_doing(how: str, ns: int) -> None:
    """From the interrupt's arrival to the waiting coroutine."""
    platform, hv = timed_machine(completion_reap=0, copy_byte=0, mmio_write=0, descriptor_build=1_000)
    dom = hv.create_domain("guest", 256, posted=how.startswith("posted"))
    dom.vcpu.halts = how != "posted, idle"
    nic = receiver_nic(dom, ReceiveConfig())
    arrived: list[int] = []
    kernel_upcall = dom.kernel.upcall

    def upcall(vcpu: int) -> None:
        arrived.append(platform.now())
        kernel_upcall(vcpu)

    dom.kernel.upcall = upcall  # type: ignore[method-assign]

    async def run() -> int:
        await nic.open()
        data = frame(random.Random(1), nic.mac, 60)
        wire(platform, [data])
        if how != "busy":
            (got,) = await nic.receive(WAIT_NS)
            assert got.data == data
            return platform.now() - arrived[0]
        # the vCPU works while the interrupt comes: what it wakes runs after that work
        nic.receiver.arm()
        dom.spend("descriptor_build", 100)
        before = platform.now()
        await dom.sleep(0)
        assert before < arrived[0] < before + 100_000
        return platform.now() - before - 100_000

    assert platform.run(run()) == [ns]
    expected = (0, 1) if how == "posted, idle" else (1, 0)
    assert (hv.entries.interrupts, hv.entries.posted) == expected


def test_no_wake_up_is_lost_while_the_vcpu_pays() -> None:
    """A notification between the decision to wait and the wait ends the wait."""
    platform, hv = timed_machine(descriptor_build=10_000)
    dom = hv.create_domain("guest", 16)
    signal = dom.signal()

    async def waiter() -> tuple[bool, int]:
        dom.spend("descriptor_build")
        return await signal.wait(1_000_000), platform.now()

    async def notifier() -> None:
        await platform.sleep(5_000)
        signal.notify()

    (woken, time), _ = platform.run(waiter(), notifier())
    assert woken and time < 20_000 + 5_000


def test_signal_times_out_as_the_platforms_does() -> None:
    for platform, hv in (timed_machine(), free_machine()):
        dom = hv.create_domain("guest", 16)
        start = platform.now()
        assert platform.run(dom.signal().wait(1_234)) == [False]
        assert platform.now() - start == 1_234
        assert platform.run(dom.signal().wait(0)) == [False]


# --- cores -------------------------------------------------------------------------------------------------------------


def work(dom: Domain, count: int, done: list[int], platform: ModelPlatform) -> Coroutine[Any, Any, None]:
    async def run() -> None:
        dom.spend("descriptor_build", count)
        await dom.sleep(0)
        done.append(platform.now())

    return run()


@pytest.mark.parametrize("switch", [0, 700])
def test_two_vcpus_share_a_core_by_slices(switch: int) -> None:
    """Against the schedule drawn by hand: slices of 10 us in turn, a switch before each but the first."""
    platform, hv = timed_machine(1, 10_000, descriptor_build=1_000, context_switch=switch)
    doms = [hv.create_domain(f"guest{n}", 16) for n in range(2)]
    start = platform.now()
    done: list[int] = []
    with watched(platform) as stays:
        platform.run(*(work(dom, 40, done, platform) for dom in doms))
    check_conservation(hv, stays)
    time, turn, left = 0, 0, [40_000, 40_000]
    expected = []
    fresh = True
    while any(left):
        piece = min(10_000, left[turn])
        time += piece if fresh else switch + piece
        fresh = False
        left[turn] -= piece
        if not left[turn]:
            expected.append(time)
        turn = 1 - turn if left[1 - turn] else turn
    assert [end - start for end in done] == expected
    assert scheduler_of(hv).cores[0].switches == 7


def test_as_many_cores_as_vcpus_means_no_waiting() -> None:
    platform, hv = timed_machine(4, 10_000, descriptor_build=1_000)
    doms = [hv.create_domain(f"guest{n}", 16) for n in range(4)]
    start = platform.now()
    done: list[int] = []
    platform.run(*(work(dom, 40, done, platform) for dom in doms))
    assert [end - start for end in done] == [40_000] * 4
    assert all(core.switches == 0 for core in scheduler_of(hv).cores)


def test_who_runs_for_the_first_time_takes_a_core_that_nobody_has_used() -> None:
    """One after the other, never two at a time: nobody's state is pushed off its core."""
    platform, hv = timed_machine(3, 10_000, descriptor_build=1_000)
    doms = [hv.create_domain(f"guest{n}", 16) for n in range(3)]
    done: list[int] = []
    with watched(platform) as stays:
        for _ in range(3):
            for dom in doms:
                platform.run(work(dom, 4, done, platform))
    check_conservation(hv, stays)
    assert all(core.switches == 0 for core in scheduler_of(hv).cores)
    assert [{stay.core for stay in stays if stay.vcpu is dom.vcpu and stay.begin < stay.end} for dom in doms] == [{0}, {1}, {2}]


def test_where_every_core_has_been_used_the_least_loaded_is_taken() -> None:
    platform, hv = timed_machine(3, 10_000, descriptor_build=1_000, context_switch=0)
    doms = [hv.create_domain(f"guest{n}", 16) for n in range(4)]
    done: list[int] = []
    for dom, count in zip(doms, (7, 2, 5, 1), strict=True):
        platform.run(work(dom, count, done, platform))
    assert [core.switches for core in scheduler_of(hv).cores] == [0, 1, 0]
    # Once more: they are still there, the heaviest too.
    for dom in (doms[3], doms[0]):
        platform.run(work(dom, 1, done, platform))
    assert [core.switches for core in scheduler_of(hv).cores] == [0, 1, 0]
    # Whose core that was finds it the least loaded again: 2 + 1 + 1 against 5 and 8.
    platform.run(work(doms[1], 1, done, platform))
    assert [core.switches for core in scheduler_of(hv).cores] == [0, 2, 0]


def test_a_free_core_is_taken_before_one_where_somebody_idles() -> None:
    platform, hv = timed_machine(2, 10_000, descriptor_build=1_000, context_switch=0)
    heavy, late = (hv.create_domain(name, 16) for name in ("heavy", "late"))
    idler = hv.create_domain("idler", 16, posted=True)
    done: list[int] = []

    async def idle() -> None:
        idler.spend("descriptor_build", 1)
        await idler.sleep(20_000)

    async def after() -> None:
        await platform.sleep(10_000)
        assert idler.vcpu.idles and idler.vcpu.core is scheduler_of(hv).cores[1]
        await work(late, 1, done, platform)

    platform.run(work(heavy, 7, done, platform))
    platform.run(idle(), after())
    assert [core.last for core in scheduler_of(hv).cores] == [late.vcpu, idler.vcpu]


def test_affinity_is_obeyed_while_other_cores_are_idle() -> None:
    platform, hv = timed_machine(3, 10_000, descriptor_build=1_000, context_switch=0)
    doms = [hv.create_domain(f"guest{n}", 16, affinity=frozenset({1})) for n in range(2)]
    free = hv.create_domain("free", 16)
    start = platform.now()
    done: list[int] = []
    with watched(platform) as stays:
        platform.run(*(work(dom, 40, done, platform) for dom in (*doms, free)))
    check_conservation(hv, stays)
    assert {stay.core for stay in stays if stay.vcpu in (doms[0].vcpu, doms[1].vcpu)} == {1}
    assert [end - start for end in sorted(done)] == [40_000, 70_000, 80_000]
    for wrong in (frozenset({3}), frozenset[int]()):
        with pytest.raises(HypercallError, match="cores are 0 to 2"):
            hv.create_domain("wrong", 16, affinity=wrong)


def test_polling_is_busy_and_gives_way_by_slices() -> None:
    """A poller keeps its core, but not from others for longer than its slice."""
    platform, hv = timed_machine(1, 10_000, descriptor_build=1_000, context_switch=0)
    poller, worker = hv.create_domain("poller", 16), hv.create_domain("worker", 16)
    done: list[int] = []
    start = platform.now()

    async def poll() -> bool:
        return await poller.monitor(poller.ram.start * PAGE, b"\1", b"\1", 100_000)

    async def later() -> None:
        await platform.sleep(3_000)
        await work(worker, 15, done, platform)

    with watched(platform) as stays:
        assert platform.run(poll(), later())[0] is False
    check_conservation(hv, stays)
    # slices: poller to 10, worker to 20, poller to 30, worker the rest
    assert [end - start for end in done] == [35_000]
    accounts = scheduler_of(hv).accounts
    assert accounts.total(domid=poller.domid, operation="poll") == (100_000 - 15_000) * 1000
    assert accounts.total(domid=worker.domid) == 15_000_000


def test_a_poller_without_a_core_sees_nothing() -> None:
    """What it waits for comes while another has the core: it goes on when it has the core again."""
    platform, hv = timed_machine(1, 10_000, descriptor_build=1_000, context_switch=0)
    poller, worker = hv.create_domain("poller", 16), hv.create_domain("worker", 16)
    gpa = poller.ram.start * PAGE
    frame_ = poller.p2m.frame(poller.ram.start)
    assert frame_ is not None
    start = platform.now()
    done: list[int] = []

    async def poll() -> int:
        assert await poller.monitor(gpa, b"\1", b"\1", 100_000)
        return platform.now() - start

    async def device() -> None:
        await platform.sleep(12_000)
        platform.device_write(frame_ * PAGE, b"\1")

    async def later() -> None:
        await platform.sleep(3_000)
        await work(worker, 7, done, platform)

    times = platform.run(poll(), device(), later())
    assert times[0] == 17_000 and done == [start + 17_000]


def test_a_vcpu_that_does_not_halt_idles_until_somebody_needs_the_core() -> None:
    platform, hv = timed_machine(1, 10_000, descriptor_build=1_000, context_switch=0)
    idler, worker = hv.create_domain("idler", 16, posted=True), hv.create_domain("worker", 16)
    done: list[int] = []
    signal = idler.signal()

    async def idle() -> None:
        assert not await signal.wait(50_000)

    async def later() -> VcpuState:
        await platform.sleep(20_000)
        state = idler.vcpu.state
        await work(worker, 5, done, platform)
        return state

    with watched(platform) as stays:
        assert platform.run(idle(), later())[1] is VcpuState.RUNNING
    check_conservation(hv, stays)
    assert scheduler_of(hv).accounts.total(domid=idler.domid, operation="idle") == 20_000_000


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    cores=st.integers(1, 4),
    slice_ns=st.sampled_from([300, 7_000, 40_000, 1_000_000]),
    form=st.sampled_from(list(SendForm)),
    interrupts=st.booleans(),
    posted=st.lists(st.booleans(), min_size=1, max_size=3),
    seed=st.integers(1, 1000),
)
def test_time_is_conserved_and_no_frame_is_lost(
    cores: int, slice_ns: int, form: SendForm, interrupts: bool, posted: list[bool], seed: int
) -> None:
    platform, hv = timed_machine(cores, slice_ns)
    with watched(platform) as stays:
        run = exchange((platform, hv), form, interrupts=interrupts, posted=posted, seed=seed, frames=15)
    check_conservation(hv, stays)
    for n, got in enumerate(run.received):
        assert got == run.sent[n - 1]


@pytest.mark.parametrize("cores", [1, 3])
def test_same_configuration_same_times(cores: int) -> None:
    first, second = (exchange(timed_machine(cores, 9_000), SendForm.FETCHED) for _ in range(2))
    assert (first.frames, first.completions, first.accounts, first.end) == (
        second.frames,
        second.completions,
        second.accounts,
        second.end,
    )
    other = exchange(timed_machine(cores, 9_000, descriptor_build=61), SendForm.FETCHED)
    assert other.end != first.end


def test_cores_and_slices_have_limits() -> None:
    for cores, slice_ns, message in ((0, 1, "cores is 0"), (257, 1, "cores is 257"), (1, 0, "slice_ns is 0")):
        with pytest.raises(ValueError, match=message):
            timed_machine(cores, slice_ns)


def test_a_wait_for_a_core_ends() -> None:
    """A vCPU pinned beside one that never leaves the hypervisor says what it waited for."""
    platform, hv = timed_machine(1, 10_000)
    holder, other = hv.create_domain("holder", 16), hv.create_domain("other", 16)

    async def hold() -> None:
        async with holder.vcpu.hypercall("endless"):
            await platform.sleep(2_000_000_000)

    async def wait() -> None:
        await platform.sleep(10)
        other.spend("descriptor_build")
        with pytest.raises(PlatformTimeoutError, match="vCPU 0 of other waited 1000000000 ns for a core"):
            await other.sleep(0)

    platform.run(hold(), wait(), limit_ns=4_000_000_000)


# --- hypercalls --------------------------------------------------------------------------------------------------------


def test_runstate_stands_where_the_header_says_and_adds_up() -> None:
    platform, hv = timed_machine(1, 10_000, descriptor_build=1_000, hypercall=0, context_switch=0)
    dom, other = hv.create_domain("guest", 16), hv.create_domain("other", 16)
    born = platform.now()
    done: list[int] = []
    at = raw(dom, b"\xff" * 48)

    async def run() -> None:
        dom.spend("descriptor_build", 4)
        await dom.sleep(50_000)
        dom.spend("descriptor_build", 6)
        await dom.sleep(0)
        assert await dom.vmcall(VCPU_OP, GET_RUNSTATE_INFO, 0, at) == 0

    platform.run(run(), work(other, 8, done, platform))
    # state @0, state_entry_time @8, time[4] @16: running, runnable, blocked, offline
    state, entry, *times = struct.unpack("<iIQ4Q", dom.memory.read(at, 48))[0:1] + struct.unpack(
        "<QQQQQ", dom.memory.read(at + 8, 40)
    )
    assert state == 0 and times[0] == 10_000 and times[3] == 0
    assert times[1] == 0 and times[2] == 50_000
    assert sum(times) == platform.now() - born and entry <= platform.now()
    runstate = other.vcpu.runstate()
    assert runstate.times[RunstateState.RUNNABLE] == 4_000 and runstate.times[RunstateState.RUNNING] == 8_000
    assert platform.run(dom.hypercall.runstate()) == [(RunstateState.RUNNING, platform.now(), (10_000, 0, 50_000, 0))]


@pytest.mark.parametrize("timed", [False, True])
def test_vcpus_go_up_and_down(timed: bool) -> None:
    platform, hv = timed_machine() if timed else free_machine()
    dom = hv.create_domain("guest", 16, vcpus=3)
    assert [call(platform, dom, VCPU_OP, IS_UP, n) for n in range(3)] == [1, 1, 1]
    assert call(platform, dom, VCPU_OP, DOWN, 1) == call(platform, dom, VCPU_OP, DOWN, 2) == 0
    assert [call(platform, dom, VCPU_OP, IS_UP, n) for n in range(3)] == [1, 0, 0]
    assert dom.vcpus[1].state is VcpuState.OFFLINE
    assert call(platform, dom, VCPU_OP, UP, 2) == 0
    assert call(platform, dom, VCPU_OP, IS_UP, 2) == 1
    assert call(platform, dom, VCPU_OP, IS_UP, 3) == -ENOENT
    assert call(platform, dom, VCPU_OP, DOWN, 1 << 40) == -ENOENT
    assert call(platform, dom, VCPU_OP, GET_RUNSTATE_INFO, 1, 0xDEAD_0000) == -EFAULT
    assert call(platform, dom, VCPU_OP, 99, 0) == -ENOSYS
    assert dom.vcpus[1].runstate().state is RunstateState.OFFLINE
    assert call(platform, dom, VCPU_OP, DOWN, 2) == 0 and not dom.stopped
    # with the last one the domain goes
    assert call(platform, dom, VCPU_OP, DOWN, 0) == 0
    assert dom.stopped and dom.shutdown_reason == 0
    for wrong in (0, 33):
        with pytest.raises(HypercallError, match="1 to 32"):
            hv.create_domain("wrong", 16, vcpus=wrong)


def test_a_vcpu_that_is_down_runs_nothing() -> None:
    platform, hv = free_machine()
    dom = hv.create_domain("guest", 16, vcpus=2)
    async def guest() -> int:
        assert await dom.vmcall(VCPU_OP, DOWN, 0) == 0
        await dom.sleep(10)
        return platform.now()

    async def other() -> None:
        await platform.sleep(30_000)
        dom.vcpu.bring(up=True)

    (woke, _) = platform.run(guest(), other())
    assert woke >= 30_000


def test_yield_lets_others_go_first() -> None:
    platform, hv = timed_machine(1, 1_000_000, descriptor_build=1_000, hypercall=0, context_switch=0)
    polite, other = hv.create_domain("polite", 16), hv.create_domain("other", 16)
    done: list[int] = []
    start = platform.now()

    async def run() -> int:
        polite.spend("descriptor_build", 10)
        await polite.hypercall.sched_yield()
        return platform.now() - start

    assert platform.run(run(), work(other, 7, done, platform))[0] == 17_000
    assert done == [start + 17_000]
    # nobody waits: no time
    assert platform.run(polite.vmcall(SCHED_OP, YIELD)) == [0]
    assert platform.now() == start + 17_000


@pytest.mark.parametrize("timed", [False, True])
def test_block_ends_with_an_upcall(timed: bool) -> None:
    platform, hv = timed_machine() if timed else free_machine()
    dom = hv.create_domain("guest", 256)
    nic = receiver_nic(dom, ReceiveConfig())

    async def run() -> None:
        await nic.open()
        nic.receiver.arm()
        data = frame(random.Random(1), nic.mac, 60)
        await dom.sleep(1_000)

        async def late() -> None:
            await platform.sleep(200_000)
            assert dom.vcpu.state is VcpuState.BLOCKED
            wire(platform, [data])

        other = platform.start(late())
        start = platform.now()
        await dom.hypercall.sched_block()
        assert 200_000 < platform.now() - start < 220_000 and other.done
        assert nic.receiver.counts.interrupts == 1
        # an upcall that is due, because the guest had masked upcalls, ends it at once
        page = dom.memory.page(dom.layout.shared_info)
        page[1] = 1
        nic.poll()
        nic.receiver.arm()
        wire(platform, [data])
        await dom.sleep(100_000)
        assert page[0] == 1 and nic.receiver.counts.interrupts == 1
        start = platform.now()
        await dom.hypercall.sched_block()
        assert platform.now() - start < 10_000
        assert page[1] == 0 and nic.receiver.counts.interrupts == 2

    platform.run(run())
    # nothing ever comes: it returns all the same
    lonely = hv.create_domain("lonely", 16)
    start = platform.now()
    platform.run(lonely.hypercall.sched_block(), limit_ns=3_000_000_000)
    assert platform.now() - start >= 1_000_000_000


@pytest.mark.parametrize("timed", [False, True])
def test_poll_waits_for_masked_ports_or_for_the_time(timed: bool) -> None:
    platform, hv = timed_machine() if timed else free_machine()
    dom = hv.create_domain("guest", 256)
    nic = receiver_nic(dom, ReceiveConfig())

    async def run() -> None:
        await nic.open()
        (port,) = dom.events.ports
        page = dom.memory.page(dom.layout.shared_info)
        page[2560 + port // 8] |= 1 << port % 8
        start = platform.now()
        await dom.hypercall.sched_poll([port], start + 30_000)
        assert 30_000 <= platform.now() - start < 31_000
        nic.receiver.arm()
        wire(platform, [frame(random.Random(1), nic.mac, 60)])
        start = platform.now()
        await dom.hypercall.sched_poll([port], start + 900_000)
        assert platform.now() - start < 20_000 and nic.receiver.counts.interrupts == 0
        # it is pending now
        start = platform.now()
        await dom.hypercall.sched_poll([port], start + 900_000)
        assert platform.now() - start < 1_000
        # a time that has passed
        await dom.hypercall.sched_poll([], 1)
        assert platform.now() - start < 2_000
        for ports in ([port, 0], [4096 << 8], [1] * 129):
            with pytest.raises(HypercallError):
                await dom.hypercall.sched_poll(ports, 0)

    platform.run(run())


def test_sched_op_refuses() -> None:
    platform, hv = free_machine()
    dom, dom0 = hv.create_domain("guest", 16), hv.create_control_domain(16)
    at = raw(dom, struct.pack("<I", 6))
    assert call(platform, dom, SCHED_OP, SHUTDOWN, at) == -EINVAL
    assert call(platform, dom, SCHED_OP, SHUTDOWN, 0) == -EFAULT
    assert call(platform, dom, SCHED_OP, POLL, 0) == -EFAULT
    assert call(platform, dom, SCHED_OP, 5, at) == -ENOSYS
    # remote_shutdown: domain_id @0, reason @4
    raw(dom, struct.pack("<HHI", 0, 0, 1))
    assert call(platform, dom, SCHED_OP, REMOTE_SHUTDOWN, at) == -EPERM
    assert not dom0.stopped
    at = raw(dom0, struct.pack("<HHI", 77, 0, 1))
    assert call(platform, dom0, SCHED_OP, REMOTE_SHUTDOWN, at) == -ESRCH
    raw(dom0, struct.pack("<HHI", dom.domid, 0, 1))
    assert call(platform, dom0, SCHED_OP, REMOTE_SHUTDOWN, at) == 0
    assert dom.stopped and dom.shutdown_reason == 1


def test_version_and_features() -> None:
    platform, hv = free_machine()
    dom, dom0 = hv.create_domain("guest", 16), hv.create_control_domain(16)
    assert call(platform, dom, XEN_VERSION, 0, 0) >> 16 == 4
    assert call(platform, dom, XEN_VERSION, 7, 0) == PAGE
    for who, expected in ((dom, 1 << 2 | 1 << 8 | 1 << 10), (dom0, 1 << 2 | 1 << 8 | 1 << 10 | 1 << 11)):
        at = raw(who, struct.pack("<II", 0, 0xFFFF_FFFF))
        assert call(platform, who, XEN_VERSION, 6, at) == 0
        assert who.memory.read(at, 8) == struct.pack("<II", 0, expected)
    raw(dom, struct.pack("<II", 1, 0))
    assert call(platform, dom, XEN_VERSION, 6, (dom.ram.stop - 8) * PAGE) == -EINVAL
    assert call(platform, dom, XEN_VERSION, 6, 3) == -EFAULT
    assert call(platform, dom, XEN_VERSION, 1, (dom.ram.stop - 8) * PAGE) == 0
    assert call(platform, dom, XEN_VERSION, 3, (dom.ram.stop - 8) * PAGE) == 0
    assert dom.memory.read((dom.ram.stop - 8) * PAGE, 15) == b"hvm-3.0-x86_64\0"
    assert call(platform, dom, XEN_VERSION, 99, 0) == -ENOSYS


def test_multicall_is_one_entry() -> None:
    """multicall_entry: op @0, result @8, args @16."""
    platform, hv = timed_machine(hypercall=1_000)
    dom = hv.create_domain("guest", 16)
    inner = raw(dom, struct.pack("<I", 9), page=4)
    entries = [(XEN_VERSION, 7, 0), (SCHED_OP, SHUTDOWN, inner), (MULTICALL, 0, 0), (99, 0, 0), (VCPU_OP, IS_UP, 0)]
    at = raw(dom, b"".join(struct.pack("<8Q", op, 0xFF, *args, 0, 0, 0, 0) for op, *args in entries))
    start = platform.now()
    assert call(platform, dom, MULTICALL, at, len(entries)) == 0
    assert platform.now() - start == 1_000
    results = [struct.unpack("<q", dom.memory.read(at + 64 * n + 8, 8))[0] for n in range(len(entries))]
    assert results == [PAGE, -EINVAL, -EINVAL, -ENOSYS, 1]
    assert hv.entries.setup + hv.entries.data_path == 1
    assert hv.entries.hypercalls[dom.domid, "multicall"] == hv.entries.hypercalls[dom.domid, "xen_version.pagesize"] == 1
    assert call(platform, dom, MULTICALL, at, 513) == -EINVAL
    assert call(platform, dom, MULTICALL, 0xDEAD_0000, 1) == -EFAULT
    assert call(platform, dom, MULTICALL, 0, 0) == 0


def test_multicall_of_the_data_path_is_one_entry_of_it() -> None:
    platform, hv = free_machine()
    dom = hv.create_domain("guest", 256)
    nic = receiver_nic(dom, ReceiveConfig(interrupts=False))
    platform.run(nic.open())
    at = raw(dom, struct.pack("<8Q", SCHED_OP, 0, YIELD, 0, 0, 0, 0, 0) * 2)
    assert call(platform, dom, MULTICALL, at, 2) == 0
    assert hv.entries.data_path == 1
    setup = hv.entries.setup
    raw(dom, struct.pack("<8Q", VCPU_OP, 0, UP, 0, 0, 0, 0, 0))
    assert call(platform, dom, MULTICALL, at, 1) == 0
    assert (hv.entries.data_path, hv.entries.setup) == (1, setup + 1)


