"""Timers of vCPUs: vcpu_op and set_timer_op by bytes, VIRQ_TIMER, and the guest kernel's timers on top of one."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypervisor_model.domains import Domain
from hypervisor_model.faults import DomainCrashedError
from sw.guest.timers import GuestTimers
from sw.xen import vcpu
from sw.xen.sched import ShutdownReason
from sw.xen.xen import Hypercall, Virq
from tests.model.model_support import machine
from tests.xen.cpu_support import Machine, free_machine, raw, timed_machine

# from Xen's public headers
VCPU_OP, SET_TIMER_OP, SCHED_OP = 24, 15, 29
SET_PERIODIC, STOP_PERIODIC, SET_SINGLE, STOP_SINGLE = 6, 7, 8, 9
FUTURE = 1
ENOENT, EFAULT, EINVAL, ETIME = 2, 14, 22, 62
MS = 1_000_000


class SetSingle(ctypes.Structure):
    _fields_ = (("timeout_abs_ns", ctypes.c_uint64), ("flags", ctypes.c_uint32))


class SetPeriodic(ctypes.Structure):
    _fields_ = (("period_ns", ctypes.c_uint64),)


def test_layouts_and_numbers() -> None:
    assert vcpu.SET_SINGLESHOT_TIMER.pack(0x0102030405060708, 0x11121314) == bytes(SetSingle(0x0102030405060708, 0x11121314))
    assert vcpu.SET_PERIODIC_TIMER.pack(0x0102030405060708) == bytes(SetPeriodic(0x0102030405060708))
    op = vcpu.VcpuOp
    assert (op.SET_PERIODIC_TIMER, op.STOP_PERIODIC_TIMER, op.SET_SINGLESHOT_TIMER, op.STOP_SINGLESHOT_TIMER) == (6, 7, 8, 9)
    assert (Hypercall.SET_TIMER_OP.value, Virq.TIMER.value, vcpu.SingleshotFlag.FUTURE.value) == (15, 0, 1)


@dataclass
class Clocked:
    """A guest whose VIRQ_TIMER is bound on each vCPU; `ticks` notes (time, vCPU)."""

    on: Machine
    dom: Domain
    ticks: list[tuple[int, int]] = field(default_factory=list)

    async def bind(self) -> None:
        for number in range(len(self.dom.vcpus)):
            port = await self.dom.hypercall.event_bind_virq(Virq.TIMER, number)
            await self.dom.kernel.bind_event(port, lambda number=number: self.tick(number), vcpu=number)  # type: ignore[misc]

    def tick(self, number: int) -> None:
        self.ticks.append((self.on[0].now(), number))

    async def op(self, command: int, number: int, data: bytes = b"") -> int:
        return await self.dom.vmcall(VCPU_OP, command, number, raw(self.dom, data))

    async def single(self, deadline: int, flags: int = 0, number: int = 0) -> int:
        return await self.op(SET_SINGLE, number, bytes(SetSingle(deadline, flags)))

    async def periodic(self, period: int, number: int = 0) -> int:
        return await self.op(SET_PERIODIC, number, bytes(SetPeriodic(period)))


def clocked(on: Machine | None = None, vcpus: int = 2) -> Clocked:
    on = free_machine() if on is None else on
    return Clocked(on, on[1].create_domain("guest", 64, vcpus=vcpus))


# --- single-shot -------------------------------------------------------------------------------------------------------


def test_single_shot_fires_once_at_its_time() -> None:
    guest = clocked()
    platform = guest.on[0]

    async def body() -> None:
        await guest.bind()
        start = platform.now()
        assert await guest.single(start + 12_345) == 0
        await platform.sleep(12_344)
        assert guest.ticks == []
        await platform.sleep(5 * MS)
        assert guest.ticks == [(start + 12_345, 0)]
        # set anew it forgets; earlier and later
        now = platform.now()
        for deadline in (now + 50_000, now + 20_000, now + 70_000):
            assert await guest.single(deadline, FUTURE) == 0
        await platform.sleep(5 * MS)
        assert guest.ticks[1:] == [(now + 70_000, 0)]
        assert await guest.single(platform.now() + 1_000) == 0 == await guest.op(STOP_SINGLE, 0)
        assert await guest.op(STOP_SINGLE, 0) == 0
        await platform.sleep(5 * MS)
        assert len(guest.ticks) == 2

    platform.run(body())


def test_single_shot_in_the_past() -> None:
    guest = clocked()
    platform = guest.on[0]

    async def body() -> None:
        await guest.bind()
        await platform.sleep(MS)
        assert await guest.single(platform.now() - 1, FUTURE) == -ETIME
        assert await guest.single(0, FUTURE) == -ETIME
        await platform.sleep(1_000)
        assert guest.ticks == []
        now = platform.now()
        assert await guest.single(now, FUTURE) == 0, "now has not passed"
        await platform.sleep(1)
        assert await guest.single(now - 10, 2) == 0, "other flags mean nothing"
        await platform.sleep(1)
        assert guest.ticks == [(now, 0), (now + 1, 0)]
        # a refusal leaves the timer as it was
        assert await guest.single(platform.now() + 5_000) == 0
        assert await guest.single(1, FUTURE) == -ETIME
        await platform.sleep(10_000)
        assert len(guest.ticks) == 3

    platform.run(body())


def test_arguments_are_checked() -> None:
    guest = clocked()
    platform = guest.on[0]

    async def body() -> None:
        for command in (SET_PERIODIC, STOP_PERIODIC, SET_SINGLE, STOP_SINGLE):
            assert await guest.op(command, 2, bytes(16)) == -ENOENT
            assert await guest.op(command, 1 << 40, bytes(16)) == -ENOENT
        # the single-shot timer is the caller's own
        assert await guest.single(1, number=1) == -EINVAL and await guest.op(STOP_SINGLE, 1) == -EINVAL
        for command in (SET_PERIODIC, SET_SINGLE):
            assert await guest.dom.vmcall(VCPU_OP, command, 0, 0xDEAD_0000) == -EFAULT
        for period in (0, 1, MS - 1, 1 << 62, (1 << 64) - 1):
            assert await guest.periodic(period) == -EINVAL
        for period in (MS, (1 << 62) - 1):
            assert await guest.periodic(period, 1) == 0
        assert await guest.op(STOP_PERIODIC, 1) == 0

    platform.run(body())


def test_it_wakes_a_blocked_vcpu() -> None:
    """SCHEDOP_block ends with the timer's upcall, SCHEDOP_poll with its pending port, each at the right time."""
    for on in (free_machine(), timed_machine()):
        guest = clocked(on, vcpus=1)
        platform, hv = on

        async def body(guest: Clocked = guest, platform: Any = platform, hv: Any = hv) -> None:
            await guest.bind()
            deadline = platform.now() + 300_000
            assert await guest.single(deadline, FUTURE) == 0
            await guest.dom.hypercall.sched_block()
            assert guest.ticks[0][0] == deadline
            late = platform.now() - deadline
            # without costs at once; with them after the wake-up and the upcall, 5,000 + 700 ns
            assert late == 0 if hv.scheduler is None else late >= 5_700
            port = await guest.dom.hypercall.event_bind_ipi(0)
            [timer] = [n for n, binding in guest.dom.events.ports.items() if getattr(binding, "virq", None) == 0]
            await guest.dom.kernel.mask_event(timer)
            deadline = platform.now() + 200_000
            assert await guest.single(deadline, FUTURE) == 0
            await guest.dom.hypercall.sched_poll([port, timer], 0)
            assert 0 <= platform.now() - deadline < 20_000 and len(guest.ticks) == 1
            await guest.dom.hypercall.event_unmask(timer)
            assert len(guest.ticks) == 2

        platform.run(body())


# --- periodic ----------------------------------------------------------------------------------------------------------


def test_periodic_ticks_on_its_vcpu() -> None:
    guest = clocked()
    platform = guest.on[0]

    async def body() -> None:
        await guest.bind()
        start = platform.now()
        assert await guest.periodic(2 * MS, 1) == 0
        await platform.sleep(3 * MS)
        assert await guest.periodic(3 * MS, 0) == 0
        await platform.sleep(8 * MS)
        assert guest.ticks == [(start + n * MS, vcpu) for n, vcpu in ((2, 1), (4, 1), (6, 0), (6, 1), (8, 1), (9, 0), (10, 1))]
        # set anew: another phase and period; the other one goes on
        guest.ticks.clear()
        start = platform.now()
        assert await guest.periodic(5 * MS, 1) == 0
        await platform.sleep(6 * MS)
        assert await guest.op(STOP_PERIODIC, 0) == 0
        await platform.sleep(6 * MS)
        assert guest.ticks == [(start + n * MS, vcpu) for n, vcpu in ((1, 0), (4, 0), (5, 1), (10, 1))]
        assert await guest.op(STOP_PERIODIC, 1) == 0
        guest.ticks.clear()
        await platform.sleep(20 * MS)
        assert guest.ticks == []

    platform.run(body())


def test_both_timers_of_a_vcpu_at_once() -> None:
    guest = clocked()
    platform = guest.on[0]

    async def body() -> None:
        await guest.bind()
        start = platform.now()
        assert await guest.periodic(MS) == 0 == await guest.single(start + 1_500_000)
        await platform.sleep(1_600_000)
        assert await guest.op(STOP_PERIODIC, 0) == 0
        await platform.sleep(5 * MS)
        assert [time - start for time, _ in guest.ticks] == [MS, 1_500_000]

    platform.run(body())


# --- set_timer_op ------------------------------------------------------------------------------------------------------


def test_set_timer_op_is_the_single_shot_timer_by_register() -> None:
    guest = clocked()
    platform, hv = guest.on

    async def body() -> None:
        await guest.bind()
        call = guest.dom.vmcall
        start = platform.now()
        assert await call(SET_TIMER_OP, start + 7_000) == 0
        await platform.sleep(8_000)
        assert await call(SET_TIMER_OP, start + 100_000) == 0 == await call(SET_TIMER_OP, 0)
        assert await call(SET_TIMER_OP, start + 200_000) == 0 == await guest.op(STOP_SINGLE, 0)
        await platform.sleep(MS)
        assert guest.ticks == [(start + 7_000, 0)]
        # passed: at once; overflown: in 100 ms
        now = platform.now()
        assert await call(SET_TIMER_OP, now - 5) == 0
        await platform.sleep(1)
        assert guest.ticks[1:] == [(now, 0)]
        for timeout in (-1, -(1 << 63), (1 << 63) - 1, 1 << 50):
            guest.ticks.clear()
            now = platform.now()
            assert await call(SET_TIMER_OP, now + timeout if timeout == 1 << 50 else timeout) == 0
            await platform.sleep(150 * MS)
            assert guest.ticks == [(now + 100 * MS, 0)]
        assert await call(SET_TIMER_OP, platform.now() + (1 << 50) - 1) == 0, "13 days are taken as they are"
        await platform.sleep(150 * MS)
        assert len(guest.ticks) == 1
        assert await call(SET_TIMER_OP, 0) == 0
        assert hv.entries.hypercalls[guest.dom.domid, "set_timer_op"] == 11

    platform.run(body())


def test_a_time_far_ahead() -> None:
    """Beyond what the machine's own timer is set to at once: nothing fires on the way."""
    guest = clocked()
    platform = guest.on[0]
    far = (1 << 50) + 777

    async def body() -> None:
        await guest.bind()
        start = platform.now()
        assert await guest.single(start + far) == 0
        await platform.sleep(far - 1)
        assert guest.ticks == []
        await platform.sleep(2)
        assert guest.ticks == [(start + far, 0)]

    platform.run(body(), limit_ns=1 << 52)


# --- life --------------------------------------------------------------------------------------------------------------


def test_a_paused_domain_is_told_afterwards() -> None:
    guest = clocked()
    platform = guest.on[0]

    async def body() -> None:
        await guest.bind()
        assert await guest.single(platform.now() + 10_000) == 0
        guest.dom.pause()
        await platform.sleep(50_000)
        assert guest.ticks == []
        guest.dom.unpause()
        assert guest.ticks == [(platform.now(), 0)]

    platform.run(body())


@pytest.mark.parametrize("end", ["shut down", "crash", "destroyed"])
def test_timers_end_with_their_domain(end: str) -> None:
    guest = clocked()
    platform, hv = guest.on
    other = Clocked(guest.on, hv.create_domain("other", 64))
    armed: list[int] = []

    async def body() -> None:
        await guest.bind()
        await other.bind()
        assert await guest.periodic(MS, 1) == 0 == await guest.single(platform.now() + 10 * MS)
        assert await other.single(platform.now() + 11 * MS) == 0
        await platform.sleep(2_500_000)
        assert len(guest.ticks) == 2
        if end == "destroyed":
            await hv.destroy_domain(guest.dom.domid)
        else:
            hv.shut_down(guest.dom, ShutdownReason.CRASH if end == "crash" else ShutdownReason.POWEROFF)
        # what is left of the machine's timer means nothing, and it is not set again
        platform.call_after = lambda ns, action: armed.append(ns)  # type: ignore[method-assign]
        await platform.sleep(20 * MS)

    platform.run(body())
    assert armed == []
    assert len(guest.ticks) == 2 and [vcpu for _, vcpu in other.ticks] == [0]


def test_an_unbound_timer_is_lost_and_bound_anew_it_is_not() -> None:
    guest = clocked()
    platform = guest.on[0]

    async def body() -> None:
        assert await guest.single(platform.now() + 1_000) == 0
        await platform.sleep(2_000)
        await guest.bind()
        await platform.sleep(2_000)
        assert guest.ticks == []
        assert await guest.single(platform.now() + 1_000) == 0
        await platform.sleep(2_000)
        assert len(guest.ticks) == 1

    platform.run(body())


# --- any sequence ------------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["single", "future", "register", "stop", "stop register", "periodic", "stop periodic"]),
        st.integers(-2_000, 6_000).map(lambda us: us * 1_000),
        # never at the very time of an event: times are whole microseconds after the beginning of some step
        st.integers(0, 3_000).map(lambda us: us * 1_000 + 1),
    ),
    max_size=25,
)


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_any_sequence_fires_when_it_should(steps: list[tuple[str, int, int]]) -> None:
    """Against a list of due times: what is due in a pause fires in it, at its time."""
    guest = clocked(vcpus=1)
    platform = guest.on[0]
    expected: list[int] = []

    async def body() -> None:
        await guest.bind()
        due: int | None = None
        tick: tuple[int, int] | None = None
        for what, delta, pause in steps:
            now = platform.now()
            at = max(now + delta, 1)
            match what:
                case "single" | "register":
                    call = guest.single(at) if what == "single" else guest.dom.vmcall(SET_TIMER_OP, at)
                    assert await call == 0
                    due = max(at, now)
                case "future":
                    assert await guest.single(at, FUTURE) == (-ETIME if at < now else 0)
                    due = due if at < now else at
                case "stop" | "stop register":
                    call = guest.op(STOP_SINGLE, 0) if what == "stop" else guest.dom.vmcall(SET_TIMER_OP, 0)
                    assert await call == 0
                    due = None
                case "periodic":
                    period = max(abs(delta), MS)
                    assert await guest.periodic(period) == 0
                    tick = now + period, period
                case _:
                    assert await guest.op(STOP_PERIODIC, 0) == 0
                    tick = None
            await platform.sleep(pause)
            if due is not None and due < now + pause:
                expected.append(due)
                due = None
            while tick is not None and tick[0] < now + pause:
                expected.append(tick[0])
                tick = tick[0] + tick[1], tick[1]
        await guest.op(STOP_PERIODIC, 0)
        await guest.op(STOP_SINGLE, 0)

    platform.run(body())
    fired = [time for time, _ in guest.ticks]
    assert [time for time in fired if time in set(expected)] == sorted(expected)
    assert set(fired) == set(expected)


# --- the guest kernel's timers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("timed", [False, True])
def test_many_waits_on_one_timer(timed: bool) -> None:
    on = timed_machine() if timed else machine()
    platform, hv = on
    dom = hv.create_domain("guest", 64)
    found: dict[int, tuple[bool, int]] = {}

    async def wait(number: int, timeout: int, ready_at: int | None) -> None:
        signal = dom.signal()
        ready = False

        async def wake() -> None:
            nonlocal ready
            # once without a reason, and once with one
            await platform.sleep(20_000)
            signal.notify()
            if ready_at is not None:
                await platform.sleep(ready_at - 20_000)
                ready = True
                signal.notify()

        platform.start(wake())
        start = platform.now()
        answer = await dom.kernel.timers.wait_until(lambda: ready, signal, timeout)
        found[number] = answer, platform.now() - start

    async def body() -> None:
        await platform.gather(
            wait(number, timeout, ready)
            for number, timeout, ready in ((0, 900_000, None), (1, 300_000, None), (2, 900_000, 500_000), (3, 300_000, None),
                                           (4, 3_000_000_000, None), (5, 100_000, 30_000))
        )  # fmt: skip

    platform.run(body())
    expected = {0: (False, 900_000), 1: (False, 300_000), 2: (True, 500_000), 3: (False, 300_000), 4: (False, 3_000_000_000),
                5: (True, 30_000)}  # fmt: skip
    for number, (answer, ns) in expected.items():
        assert found[number][0] is answer
        # six coroutines of one vCPU pay for their hypercalls one after the other, and for upcalls
        assert 0 <= found[number][1] - ns <= (60_000 if timed else 0), number
    # one port, whatever the number of waits
    assert hv.entries.hypercalls[dom.domid, "event_channel_op.bind_virq"] == 1


def test_the_first_of_two_waits_is_what_the_timer_is_set_to() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 64)
    signal, ready = dom.signal(), False
    ended: list[tuple[str, int]] = []

    async def wait(name: str, timeout: int) -> None:
        await dom.kernel.timers.wait_until(lambda: ready and name == "met", signal, timeout)
        ended.append((name, platform.now() - start))

    async def meet() -> None:
        nonlocal ready
        await platform.sleep(50_000)
        ready = True
        signal.notify()

    start = platform.now()
    platform.run(wait("late", 900_000), wait("early", 300_000))
    assert ended == [("early", 300_000), ("late", 900_000)]
    # a wait whose condition is met leaves no timer behind
    before = dom.events.sends
    platform.run(wait("met", 100_000), meet())
    platform.run(platform.sleep(1_000_000))
    assert ended[2][0] == "met" and dom.events.sends == before


def test_a_condition_that_holds_needs_no_timer() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 64)
    assert platform.run(dom.kernel.timers.wait_until(lambda: True, dom.signal(), 1_000)) == [True]
    assert hv.entries.setup == 0


def test_a_wait_is_over_when_the_kernel_resets_its_events_and_the_next_one_works() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 64)

    async def body() -> None:
        for _ in range(2):
            assert not await dom.kernel.timers.wait_until(lambda: False, dom.signal(), 10_000)
            await dom.kernel.reset_events()

    platform.run(body())
    assert hv.entries.hypercalls[dom.domid, "event_channel_op.bind_virq"] == 2


def test_a_wait_ends_with_its_domain() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 64)

    async def waiter() -> None:
        with pytest.raises(DomainCrashedError):
            await dom.kernel.timers.wait_until(lambda: False, dom.signal(), 1_000_000)

    async def killer() -> None:
        await platform.sleep(50_000)
        await hv.destroy_domain(dom.domid)

    platform.run(waiter(), killer())


def test_time_that_passes_while_the_timer_is_set() -> None:
    """With a deadline that is over before the hypercall gets there the wait is over as well: no wake-up is lost."""
    platform, hv = timed_machine()
    dom = hv.create_domain("guest", 64)
    timers: GuestTimers = dom.kernel.timers

    async def body() -> None:
        for timeout in (-5_000, 0, 1, 100, 200, 500):
            start = platform.now()
            assert not await timers.wait_until(lambda: False, dom.signal(), timeout)
            assert platform.now() - start < 50_000

    platform.run(body())
