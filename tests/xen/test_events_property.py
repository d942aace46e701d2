"""Three domains do what they like with event channels, under both ABIs; a plain model says which handlers must run.

No event is lost: each one to an unmasked port is followed by a run of that port's handler. None is invented, those that
coalesce run once, masked ones wait, closed ports refuse, and under FIFO the priorities are obeyed.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hypervisor_model.domains import Domain
from hypervisor_model.hypervisor import Hypervisor
from sw.platform import MachineMap
from sw.xen.errno import HypercallError
from sw.xen.xen import Virq
from tb.model.platform import ModelPlatform
from tests.xen.event_support import UPCALL_MASK, UPCALL_PENDING

EACCES, EEXIST, EINVAL, ENOSPC, ENOSYS = 13, 17, 22, 28, 38
UNBOUND, INTERDOMAIN, VIRQ, IPI = 1, 2, 4, 5
DOMAINS = (1, 2, 3)
VCPUS = 2
# the third has few ports; the second's need more than one word of the 2-level arrays
LIMIT = {1: 4095, 2: 4095, 3: 6}
FEW = 5
FILLED = {1: 0, 2: 60, 3: 0}
NOBODY = 9


@dataclass
class Channel:
    """What the model knows of a port in use."""

    kind: int
    remote: int = 0
    remote_port: int = 0
    vcpu: int = 0
    priority: int = 7
    pending: bool = False
    masked: bool = True
    virq: int = -1


@dataclass
class Plain:
    """One domain, without bits, words or lists in memory."""

    channels: dict[int, Channel] = field(default_factory=dict)
    """In the order in which handlers were installed."""
    fifo: bool = False
    deferred: set[int] = field(default_factory=set)
    """vCPUs that take no upcall now."""
    selected: dict[int, set[int]] = field(default_factory=lambda: {0: set(), 1: set()})
    """2-level: words that each vCPU is to look at."""
    queues: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: {0: [], 1: []})
    """FIFO: (priority, port) of each vCPU, as linked."""
    last: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    sends: int = 0
    coalesced: int = 0
    upcalls: int = 0
    ran: list[int] = field(default_factory=list)

    def event(self, port: int) -> None:
        channel = self.channels[port]
        self.sends += 1
        if channel.pending:
            self.coalesced += 1
        if not channel.pending or self.fifo:
            channel.pending = True
            self.notify(port)

    def notify(self, port: int) -> None:
        channel = self.channels[port]
        if channel.masked or not channel.pending:
            return
        if self.fifo:
            if self.linked(port):
                return
            queue = self.queues[channel.vcpu]
            first = all(priority != channel.priority for priority, _ in queue)
            queue.append((channel.priority, port))
        else:
            first = port // 64 not in self.selected[channel.vcpu]
            self.selected[channel.vcpu].add(port // 64)
        if first and channel.vcpu not in self.deferred:
            self.upcalls += 1
            self.scan(channel.vcpu)

    def linked(self, port: int) -> bool:
        return any(port == other for queue in self.queues.values() for _, other in queue)

    def scan(self, vcpu: int) -> None:
        if self.fifo:
            order = [port for _, port in sorted(self.queues[vcpu], key=lambda entry: entry[0])]
            self.queues[vcpu] = []
        else:
            here = [p for p, c in self.channels.items() if p // 64 in self.selected[vcpu] and c.vcpu == vcpu]
            order = sorted(here, key=lambda port: (port - self.last[vcpu] - 1) % 4096)
            self.selected[vcpu] = set()
        for port in order:
            channel = self.channels.get(port)
            if channel is not None and channel.pending and not channel.masked:
                channel.pending = False
                self.last[vcpu] = port if not self.fifo else self.last[vcpu]
                self.ran.append(port)

    def free_port(self, limit: int) -> int | None:
        top = min(limit, (1 << 17) - 1 if self.fifo else 4095)
        return next((n for n in range(1, top + 1) if n not in self.channels and not self.linked(n)), None)


class EventMachine(RuleBasedStateMachine):
    @initialize(fifo=st.sets(st.sampled_from(DOMAINS)))
    def start(self, fifo: set[int]) -> None:
        self.platform = ModelPlatform(MachineMap(ram_bytes=2 << 20))
        self.hv = Hypervisor(self.platform)
        self.platform.run(self.hv.boot())
        self.doms: dict[int, Domain] = {}
        self.plain: dict[int, Plain] = {}
        self.ran: dict[int, list[int]] = {domid: [] for domid in DOMAINS}
        for domid in DOMAINS:
            dom = self.hv.create_domain(f"guest{domid}", 24, vcpus=VCPUS, max_port=LIMIT[domid])
            assert dom.domid == domid
            self.doms[domid], self.plain[domid] = dom, Plain()
            if domid in fifo:
                self.switch(domid)
            for _ in range(FILLED[domid]):
                port = dom.events.alloc_unbound(NOBODY)
                self.plain[domid].channels[port] = Channel(UNBOUND, NOBODY)
        for domid in DOMAINS:
            self.bind_ipi(domid, 1)
            self.alloc_unbound(domid, domid % 3 + 1)
            self.bind_interdomain(0)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.platform.run(work)[0]

    def refused(self, work: Coroutine[Any, Any, Any]) -> int:
        try:
            self.run(work)
        except HypercallError as error:
            return int(error.errno)
        return 0

    def opened(self, domid: int, call: Callable[[], Coroutine[Any, Any, int]], channel: Channel) -> None:
        """A call that gives a new port; then its handler is installed."""
        plain = self.plain[domid]
        expected = plain.free_port(LIMIT[domid])
        if expected is None:
            assert self.refused(call()) == ENOSPC
            return
        assert self.run(call()) == expected
        plain.channels[expected] = channel
        if channel.kind == INTERDOMAIN:
            self.plain[channel.remote].channels[channel.remote_port].kind = INTERDOMAIN
            self.plain[channel.remote].channels[channel.remote_port].remote_port = expected
            plain.event(expected)
        kernel, ran = self.doms[domid].kernel, self.ran[domid]
        self.run(kernel.bind_event(expected, lambda: ran.append(expected), vcpu=channel.vcpu))
        channel.masked = False
        plain.notify(expected)

    def port(self, domid: int, index: int) -> int:
        """One of the few highest ports in use, so that operations meet; without any, one that is not in use."""
        ports = sorted(n for n, channel in self.plain[domid].channels.items() if channel.remote != NOBODY)[-FEW:]
        return ports[index % len(ports)] if ports else 1 + max(self.plain[domid].channels, default=index)

    @rule(domid=st.sampled_from(DOMAINS), remote=st.sampled_from(DOMAINS))
    def alloc_unbound(self, domid: int, remote: int) -> None:
        self.opened(domid, lambda: self.doms[domid].hypercall.event_alloc_unbound(remote), Channel(UNBOUND, remote))

    @rule(index=st.integers(0, FEW - 1))
    def bind_interdomain(self, index: int) -> None:
        """One that is there to be bound."""
        waiting = [
            (domid, port, channel.remote)
            for domid in DOMAINS
            for port, channel in self.plain[domid].channels.items()
            if channel.kind == UNBOUND and channel.remote != NOBODY
        ]
        if waiting:
            remote, port, domid = waiting[index % len(waiting)]
            call = self.doms[domid].hypercall.event_bind_interdomain
            self.opened(domid, lambda: call(remote, port), Channel(INTERDOMAIN, remote, port))

    @rule(domid=st.sampled_from(DOMAINS), remote=st.sampled_from(DOMAINS), index=st.integers(0, FEW - 1))
    def bind_what_is_not_for_us(self, domid: int, remote: int, index: int) -> None:
        port = self.port(remote, index)
        channel = self.plain[remote].channels.get(port)
        if channel is None or channel.kind != UNBOUND or channel.remote != domid:
            assert self.refused(self.doms[domid].hypercall.event_bind_interdomain(remote, port)) == EINVAL

    @rule(domid=st.sampled_from(DOMAINS), vcpu=st.integers(0, VCPUS - 1))
    def bind_ipi(self, domid: int, vcpu: int) -> None:
        self.opened(domid, lambda: self.doms[domid].hypercall.event_bind_ipi(vcpu), Channel(IPI, vcpu=vcpu))

    @rule(domid=st.sampled_from(DOMAINS), vcpu=st.integers(0, VCPUS - 1))
    def bind_timer(self, domid: int, vcpu: int) -> None:
        call = self.doms[domid].hypercall.event_bind_virq
        if any(c.virq == Virq.TIMER and c.vcpu == vcpu for c in self.plain[domid].channels.values()):
            assert self.refused(call(Virq.TIMER, vcpu)) == EEXIST
        else:
            self.opened(domid, lambda: call(Virq.TIMER, vcpu), Channel(VIRQ, vcpu=vcpu, virq=Virq.TIMER))

    @rule(domid=st.sampled_from(DOMAINS), vcpu=st.integers(0, VCPUS - 1))
    def timer(self, domid: int, vcpu: int) -> None:
        self.hv.raise_virq(self.doms[domid], Virq.TIMER, vcpu)
        plain = self.plain[domid]
        for port in [p for p, c in plain.channels.items() if c.virq == Virq.TIMER and c.vcpu == vcpu]:
            plain.event(port)

    @rule(domid=st.sampled_from(DOMAINS), indices=st.lists(st.integers(0, FEW - 1), min_size=1, max_size=8))
    def send(self, domid: int, indices: list[int]) -> None:
        for index in indices:
            port = self.port(domid, index)
            channel = self.plain[domid].channels.get(port)
            errno = self.refused(self.doms[domid].hypercall.event_send(port))
            assert errno == (EINVAL if channel is None or channel.kind == VIRQ else 0)
            if channel is not None and channel.kind == INTERDOMAIN:
                self.plain[channel.remote].event(channel.remote_port)
            elif channel is not None and channel.kind == IPI:
                self.plain[domid].event(port)

    @rule(indices=st.lists(st.integers(0, FEW - 1), min_size=1, max_size=4))
    def everybody_sends(self, indices: list[int]) -> None:
        for domid in DOMAINS:
            self.send(domid, indices)

    @rule(domid=st.sampled_from(DOMAINS), index=st.integers(0, FEW - 1))
    def close(self, domid: int, index: int) -> None:
        port = self.port(domid, index)
        channel = self.plain[domid].channels.get(port)
        if channel is None:
            assert self.refused(self.doms[domid].hypercall.event_close(port)) == EINVAL
        else:
            self.run(self.doms[domid].kernel.unbind_event(port))
            self.forget(domid, port)
            assert self.refused(self.doms[domid].hypercall.event_send(port)) == EINVAL

    def forget(self, domid: int, port: int) -> None:
        channel = self.plain[domid].channels.pop(port)
        if channel.kind == INTERDOMAIN:
            other = self.plain[channel.remote].channels[channel.remote_port]
            other.kind, other.remote, other.remote_port = UNBOUND, domid, 0

    @rule(domid=st.sampled_from(DOMAINS), index=st.integers(0, FEW - 1))
    def mask(self, domid: int, index: int) -> None:
        channel = self.plain[domid].channels.get(self.port(domid, index))
        if channel is not None:
            self.run(self.doms[domid].kernel.mask_event(self.port(domid, index)))
            channel.masked = True

    @rule(domid=st.sampled_from(DOMAINS), index=st.integers(0, FEW - 1))
    def unmask(self, domid: int, index: int) -> None:
        self.unmask_port(domid, self.port(domid, index))

    def unmask_port(self, domid: int, port: int) -> None:
        errno = self.refused(self.doms[domid].hypercall.event_unmask(port))
        channel = self.plain[domid].channels.get(port)
        assert errno == (EINVAL if channel is None else 0)
        if channel is not None and (channel.masked or self.plain[domid].fifo):
            channel.masked = False
            self.plain[domid].notify(port)

    @rule(domid=st.sampled_from(DOMAINS), index=st.integers(0, FEW - 1), vcpu=st.integers(0, VCPUS - 1))
    def move(self, domid: int, index: int, vcpu: int) -> None:
        port = self.port(domid, index)
        channel = self.plain[domid].channels.get(port)
        if channel is None:
            return
        errno = self.refused(self.doms[domid].kernel.move_event(port, vcpu))
        assert errno == (EINVAL if channel.kind in (IPI, VIRQ) else 0)
        if not errno:
            channel.vcpu = vcpu
        # it is masked while it moves
        channel.masked = False
        self.plain[domid].notify(port)

    @rule(domid=st.sampled_from(DOMAINS), priorities=st.lists(st.sampled_from([0, 3, 7, 15]), min_size=FEW, max_size=FEW))
    def set_priorities(self, domid: int, priorities: list[int]) -> None:
        plain = self.plain[domid]
        for index, priority in enumerate(priorities):
            port = self.port(domid, index)
            channel = plain.channels.get(port)
            errno = self.refused(self.doms[domid].hypercall.event_set_priority(port, priority))
            assert errno == (ENOSYS if not plain.fifo else EACCES if channel is None else 0)
            if channel is not None and plain.fifo:
                channel.priority = priority

    @rule(domid=st.sampled_from(DOMAINS), vcpus=st.sampled_from([{0}, {1}, {0, 1}]))
    def defer(self, domid: int, vcpus: set[int]) -> None:
        """vCPUs mask their upcall."""
        self.run(self.doms[domid].hypercall.map_shared_info())
        for vcpu in vcpus:
            self.info(domid, vcpu)[UPCALL_MASK] = 1
            self.plain[domid].deferred.add(vcpu)

    @rule(domid=st.sampled_from(DOMAINS), vcpu=st.integers(0, VCPUS - 1))
    def take_up(self, domid: int, vcpu: int) -> None:
        """It unmasks it, and looks whether one is due."""
        if vcpu in self.plain[domid].deferred:
            info = self.info(domid, vcpu)
            info[UPCALL_MASK] = 0
            self.plain[domid].deferred.discard(vcpu)
            if info[UPCALL_PENDING]:
                self.doms[domid].kernel.upcall(vcpu)
            self.plain[domid].scan(vcpu)

    def info(self, domid: int, vcpu: int) -> memoryview:
        page = self.doms[domid].memory.page(self.doms[domid].layout.shared_info)
        return page[64 * vcpu : 64 * (vcpu + 1)]

    @rule(domid=st.sampled_from(DOMAINS))
    def switch(self, domid: int) -> None:
        """To FIFO, whatever is under way."""
        self.run(self.doms[domid].kernel.use_fifo_events())
        plain = self.plain[domid]
        if not plain.fifo:
            plain.fifo = True
            plain.selected = {0: set(), 1: set()}
            for port in list(plain.channels):
                plain.notify(port)

    @rule(domid=st.sampled_from(DOMAINS), chance=st.integers(0, 3))
    def reset(self, domid: int, chance: int) -> None:
        if chance:
            return
        self.run(self.doms[domid].kernel.reset_events())
        plain = self.plain[domid]
        for port in list(plain.channels):
            self.forget(domid, port)
        plain.fifo = False
        plain.selected, plain.queues, plain.last = {0: set(), 1: set()}, {0: [], 1: []}, {0: 0, 1: 0}

    @rule(domid=st.sampled_from(DOMAINS), index=st.integers(0, FEW - 1))
    def status(self, domid: int, index: int) -> None:
        port = self.port(domid, index)
        channel = self.plain[domid].channels.get(port)
        found = self.run(self.doms[domid].hypercall.event_status(port))
        got = (found.status, found.vcpu, found.detail, found.remote_port)
        if channel is None:
            assert got == (0, 0, 0, 0)
        else:
            detail = 0 if channel.kind == IPI else max(channel.virq, channel.remote)
            assert got == (channel.kind, channel.vcpu, detail, channel.remote_port)

    @invariant()
    def handlers_ran_as_the_model_says(self) -> None:
        for domid in DOMAINS:
            dom, plain = self.doms[domid], self.plain[domid]
            assert self.ran[domid] == plain.ran, f"domain {domid}"
            assert (dom.events.sends, dom.events.coalesced, dom.events.upcalls) == (
                plain.sends, plain.coalesced, plain.upcalls,
            )  # fmt: skip
            assert dom.kernel.unhandled_events == 0
            assert set(dom.events.ports) == set(plain.channels)
            plain.ran.clear()
            self.ran[domid].clear()

    def teardown(self) -> None:
        """Everything is unmasked and taken up: what was pending runs, and nothing else."""
        if not hasattr(self, "doms"):
            return
        for domid in DOMAINS:
            for vcpu in range(VCPUS):
                self.take_up(domid, vcpu)
            for port in sorted(self.plain[domid].channels):
                self.unmask_port(domid, port)
            assert not any(channel.pending for channel in self.plain[domid].channels.values())
        self.handlers_ran_as_the_model_says()


TestEvents = EventMachine.TestCase
TestEvents.settings = settings(
    max_examples=150,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
