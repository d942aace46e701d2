"""Domains come, call anything in any order, alone or in multicalls, and go; guests of every protection mode share the NIC.

Whatever they do, after every call: a device reaches exactly the pages that are mapped or pinned for it, by the bytes of the tables
themselves; every reference and type count is the sum of what refers to the page; no event is lost; and no grant is mapped after its end.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hypervisor_model.domains import Domain
from sw.abi.registers import Aperture, Mode, NicControl, Status
from sw.xen.xen import Virq
from tests.model.model_support import descriptor
from tests.xen.grants_support import (
    ACCEPT,
    PAGE,
    PERMIT,
    RO,
    SELF,
    TRANSITIVE,
)
from tests.xen.hypercall_checks import MASK, PENDING, REFERENCES, SELECTOR, UPCALL_PENDING, Checks
from tests.xen.hypercall_domains import (
    ASSIGN,
    CRASH,
    DEASSIGN,
    DOM_EXC,
    MAX_MEM,
    POWEROFF,
    DomainCalls,
)
from tests.xen.hypercall_endpoints import RING_ENTRIES, SENT, EndpointCalls
from tests.xen.hypercall_events import PORTS, EventCalls
from tests.xen.hypercall_machine import (
    OUTSIDE,
    OWN_PAGES,
    SPARE,
    Machine,
    Op,
)
from tests.xen.hypercall_oracle import (
    UNBOUND,
    Endpoint,
    Entry,
    Guest,
)

TIMER = 0
CQ_REFERENCE = 8
SLOTS = OWN_PAGES + OUTSIDE
MODES = (Mode.IOMMU, Mode.WINDOWS, Mode.VALIDATED)
GUESTS = 4
"""As many live at a time."""
NOBODY = 99
MANY = 10
"""Ports of a domain."""

T = TypeVar("T")
aims: st.SearchStrategy[bool] = st.sampled_from((True, True, True, True, False))
"""Mostly something that can succeed is tried."""


class Calls(DomainCalls, EndpointCalls, EventCalls):
    """All of them."""


class Hypercalls(RuleBasedStateMachine):
    @initialize(seed=st.integers(0, 1 << 16), modes=st.permutations(MODES), shared=aims)
    def boot(self, seed: int, modes: Sequence[Mode], shared: bool) -> None:
        """`shared`: the card is, from the start; otherwise it is assigned to one domain."""
        self.machine = Machine(seed)
        self.oracle = self.machine.oracle
        self.calls = Calls(self.machine)
        self.tags = 0
        self.checks = Checks(self.machine)
        domain = self.machine.hv.create_control_domain(2 + OWN_PAGES)
        self.dom0 = self.guest(domain, Mode.IOMMU)
        for gfn in domain.ram:
            self.calls.place(self.dom0, gfn)
        self.start(self.dom0)
        self.machine.hv.frames.set_limit(0, self.dom0.limit)
        self.call(self.dom0, self.calls.bind_virq_op(self.dom0, DOM_EXC))
        for mode in modes:
            self.new(mode)
        if shared:
            for guest in self.oracle.others():
                self.open(guest)
        else:
            self.call(self.dom0, self.calls.device_op(ASSIGN, self.oracle.others()[0].domid))

    # --- small helpers ---------------------------------------------------------------------------

    def guest(self, domain: Domain, mode: Mode) -> Guest:
        first = domain.layout.ram.start
        slots = [*range(first + 2, first + 2 + OWN_PAGES), *(domain.layout.ram.stop + 0x1000 + n for n in range(OUTSIDE))]
        guest = Guest(domain.domid, domain, mode, slots, first, domain.shared_info_frame, 2 + OWN_PAGES + SPARE)
        self.oracle.guests[domain.domid] = guest
        return guest

    def callers(self) -> list[Guest]:
        return [guest for guest in self.oracle.guests.values() if guest.active]

    def call(self, caller: Guest, *ops: Op) -> None:
        self.machine.perform(caller, ops)
        for guest in self.callers():
            if not guest.tables:
                self.start(guest)

    def pick(self, data: st.DataObject, *choices: Sequence[T]) -> T:
        """One of the first sequence that is not empty."""
        return data.draw(st.sampled_from(next(some for some in choices if some)))

    def write_tag(self, guest: Guest, gfn: int) -> None:
        self.tags += 1
        tag = struct.pack("<BI3x", 6, self.tags)
        guest.domain.memory.write(gfn * PAGE, tag)
        mapping = self.oracle.mapped_at(guest.domid, gfn)
        self.oracle.content[mapping.frame if mapping is not None else guest.ram[gfn]] = tag

    # --- domains ---------------------------------------------------------------------------------

    def new(self, mode: Mode, *, unpause: bool = True) -> None:
        """createdomain, max_mem, populate_physmap and unpausedomain by the control domain."""
        domids: list[int] = []
        self.call(self.dom0, self.calls.create_op(domids))
        (domid,) = domids
        assert domid not in (*self.oracle.guests, *self.oracle.dead)
        domain = self.machine.hv.domains[domid]
        # how its endpoints are protected is the toolstack's configuration, which no hypercall carries
        domain.mode = mode
        pages = 2 + OWN_PAGES
        self.call(self.dom0, self.calls.domctl(MAX_MEM, domid, lambda: 0, lambda: None, (0, "Q", pages * 4)))
        guest = self.guest(domain, mode)
        guest.life, guest.pauses = "built", 1
        self.call(self.dom0, self.calls.populate_op(self.dom0, domid, list(domain.layout.ram)))
        self.call(self.dom0, self.calls.max_mem_op(domid, guest.limit))
        if unpause:
            self.call(self.dom0, self.calls.unpause_op(domid))

    def start(self, guest: Guest) -> None:
        """Its kernel's first steps."""

        def upcall(_: int) -> None:
            guest.told = True

        guest.domain.kernel.upcall = upcall  # type: ignore[assignment, method-assign]
        # it looks by itself for what came before
        guest.told = bool(self.checks.shared(guest)[UPCALL_PENDING])
        self.call(guest, self.calls.setup_op(guest))
        if guest.domid % 2:
            self.call(guest, self.calls.set_version_op(guest, 2))
            self.call(guest, self.calls.status_frames_op(guest))
        if guest.domid:
            self.calls.publish_entry(guest, CQ_REFERENCE, Entry(PERMIT, 0, guest.slots[0]))

    def open(self, guest: Guest) -> None:
        """An endpoint that runs, its completion ring in the page of slot 0."""
        self.call(guest, self.calls.allocate_op(guest, receives=guest.mode is Mode.VALIDATED, pushed=guest.mode is not Mode.VALIDATED))
        self.call(guest, self.calls.device_map_op(guest, [CQ_REFERENCE], readonly=False))
        assert guest.endpoint is not None
        self.call(guest, self.calls.enable_op(guest, guest.endpoint.addresses[0]))

    # --- what is drawn ---------------------------------------------------------------------------

    def draw_target(self, data: st.DataObject, caller: Guest) -> tuple[int, Guest]:
        """domid of a call, and whose GFNs it is to name."""
        if caller.domid and not data.draw(st.sampled_from((0, 0, 0, 0, 0, 0, 1))):
            return SELF, caller
        domid = data.draw(st.sampled_from((SELF, *self.oracle.guests, *self.oracle.dead[-1:], NOBODY)))
        return domid, self.oracle.guests.get(domid, caller)

    def gfn(self, data: st.DataObject, guest: Guest, aim: bool, *, full: bool) -> int:
        """A slot, mostly one with a page of its own, or with nothing."""
        good = [g for g in guest.slots if (g in guest.ram if full else self.oracle.vacant(guest.domid, g))]
        return self.pick(data, good if aim else [], guest.slots)

    def granted_to(self, *domids: int) -> list[tuple[int, int, int]]:
        return [
            (guest.domid, reference, entry.grantee)
            for guest in self.oracle.others()
            for reference, entry in guest.entries.items()
            if entry.flags & 3 == PERMIT and entry.grantee in domids and guest.own(entry.gfn) is not None
        ]

    def any_reference(self, data: st.DataObject) -> tuple[int, int]:
        domid = data.draw(st.sampled_from((*self.oracle.guests, *self.oracle.dead[-1:])))
        return domid, data.draw(st.sampled_from((*REFERENCES, 600)))

    def prepare(self, data: st.DataObject, grantee: int, *, granter: Guest | None = None, flags: int = PERMIT) -> None:
        """Somebody publishes a grant that can be used, if anybody can."""
        granters = [g for g in self.callers() if g.domid and g.domid != grantee] if granter is None else [granter]
        for one in data.draw(st.permutations(granters)):
            free = self.free(one)
            places = [g for g in one.slots if (g in one.ram if flags & 3 == PERMIT else self.oracle.vacant(one.domid, g))]
            if free and places:
                entry = Entry(flags, grantee, data.draw(st.sampled_from(places)))
                self.calls.publish_entry(one, data.draw(st.sampled_from(free)), entry)
                return

    def free(self, guest: Guest) -> list[int]:
        """References that nobody has mapped."""
        return [r for r in REFERENCES if guest.tables and not self.oracle.pins(guest.domid, r)]

    def passed_on(self, data: st.DataObject, caller: Guest) -> tuple[int, int] | None:
        """Somebody passes somebody's grant on to the caller; now and then its own, which does not count."""
        able = [g for g in self.callers() if g.domid and len(self.free(g)) > 1]
        middles = [g for g in able if g.version == 2 and g is not caller]
        if not middles:
            return None
        middle = data.draw(st.sampled_from(middles))
        granter = self.pick(data, [g for g in able if g is not middle and g.ram] if data.draw(aims) else [], [middle])
        behind, reference = self.free(granter)[0], self.free(middle)[-1]
        self.calls.publish_entry(granter, behind, Entry(PERMIT, middle.domid, self.gfn(data, granter, aim=True, full=True)))
        self.calls.publish_entry(middle, reference, Entry(TRANSITIVE, caller.domid, behind, granter.domid))
        return middle.domid, reference

    def reference(self, data: st.DataObject, caller: Guest, aim: bool) -> tuple[int, int]:
        if aim and data.draw(st.booleans()):
            self.prepare(data, caller.domid, flags=data.draw(st.sampled_from((PERMIT, PERMIT | RO))))
        good = [(granter, reference) for granter, reference, _ in self.granted_to(caller.domid)]
        if caller.domid:
            # somebody else's grant, passed on
            good += [
                (guest.domid, reference)
                for guest in self.oracle.others()
                for reference, entry in guest.entries.items()
                if entry.flags & 3 == TRANSITIVE and entry.grantee == caller.domid
            ]
        return data.draw(st.sampled_from(good)) if aim and good else self.any_reference(data)

    def draw_map(self, data: st.DataObject, caller: Guest) -> Op:
        aim = data.draw(aims)
        granter, reference = self.reference(data, caller, aim)
        return self.calls.map_op(caller, granter, reference, self.gfn(data, caller, aim, full=False), readonly=data.draw(st.booleans()))

    def draw_unmap(self, data: st.DataObject, caller: Guest) -> Op:
        own = [m for m in self.oracle.live if m.kind != "foreign" and m.holder == caller.domid]
        good = [m for m in own if m.kind == "host"]
        if not own:
            return self.calls.unmap_op(caller, 5, caller.slots[0])
        mapping = self.pick(data, good if data.draw(aims) else [], own)
        return self.calls.unmap_op(caller, mapping.handle, mapping.gfn + (not data.draw(aims)))

    def draw_copy(self, data: st.DataObject, caller: Guest) -> Op:
        def side(*, write: bool) -> tuple[int, int] | int:
            if data.draw(st.booleans()) or not data.draw(aims):
                return self.gfn(data, caller, data.draw(aims), full=True)
            chain = self.passed_on(data, caller) if data.draw(st.integers(0, 2)) == 0 else None
            return self.reference(data, caller, data.draw(aims)) if chain is None else chain

        return self.calls.copy_op(caller, side(write=False), side(write=True))

    def draw_transfer(self, data: st.DataObject, caller: Guest) -> Op:
        aim = data.draw(aims)
        if aim:
            self.prepare(data, caller.domid, flags=ACCEPT)
        good = [
            (guest.domid, reference)
            for guest in self.oracle.others()
            for reference, entry in guest.entries.items()
            if (entry.flags, entry.grantee) == (ACCEPT, caller.domid)
        ]
        to, reference = data.draw(st.sampled_from(good)) if aim and good else self.any_reference(data)
        if to in self.oracle.guests and to and not data.draw(aims):
            # it has as many pages as it may
            self.call(self.dom0, self.calls.max_mem_op(to, self.oracle.pages(to)))
        return self.calls.transfer_op(caller, self.gfn(data, caller, aim, full=True), to, reference)

    def draw_decrease(self, data: st.DataObject, caller: Guest) -> Op:
        domid, guest = self.draw_target(data, caller)
        gfns = [self.gfn(data, guest, data.draw(aims), full=True) for _ in range(data.draw(st.integers(1, 3)))]
        return self.calls.decrease_op(caller, domid, gfns)

    def draw_populate(self, data: st.DataObject, caller: Guest) -> Op:
        domid, guest = self.draw_target(data, caller)
        gfns = [self.gfn(data, guest, data.draw(aims), full=False) for _ in range(data.draw(st.integers(1, 2)))]
        return self.calls.populate_op(caller, domid, gfns)

    def draw_exchange(self, data: st.DataObject, caller: Guest) -> Op:
        return self.calls.exchange_op(caller, self.gfn(data, caller, data.draw(aims), full=True))

    def draw_increase(self, data: st.DataObject, caller: Guest) -> Op:
        return self.calls.increase_op(caller, self.draw_target(data, caller)[0])

    def draw_remove(self, data: st.DataObject, caller: Guest) -> Op:
        domid, guest = self.draw_target(data, caller)
        foreign = [m.gfn for m in self.oracle.live if m.kind == "foreign" and m.caller == guest.domid]
        if data.draw(aims) and foreign:
            return self.calls.remove_op(caller, domid, data.draw(st.sampled_from(foreign)))
        return self.calls.remove_op(caller, domid, data.draw(st.sampled_from(guest.slots)))

    def draw_move(self, data: st.DataObject, caller: Guest) -> Op:
        domid, guest = self.draw_target(data, caller)
        old = self.gfn(data, guest, data.draw(aims), full=True)
        return self.calls.move_op(caller, domid, old, data.draw(st.sampled_from(guest.slots)))

    def draw_foreign(self, data: st.DataObject, caller: Guest) -> Op:
        """By dom0 mostly: nobody else may."""
        guest = self.pick(data, [g for g in self.oracle.others() if g is not caller], [caller])
        table = bool(guest.tables) and not data.draw(aims)
        here = data.draw(st.sampled_from(caller.slots))
        return self.calls.foreign_op(caller, guest.domid, self.gfn(data, guest, data.draw(aims), full=True), here, table=table)

    def draw_device_map(self, data: st.DataObject, caller: Guest) -> Op:
        if caller.domid and data.draw(st.booleans()):
            self.prepare(data, 0, granter=caller)
        good = [reference for granter, reference, _ in self.granted_to(0) if granter == caller.domid]
        again = [m.reference for m in self.oracle.device(caller.domid)]
        good = again if data.draw(st.booleans()) and again else good
        few = st.lists(st.sampled_from(good if data.draw(aims) and good else REFERENCES), min_size=1, max_size=3)
        number = None if data.draw(aims) else data.draw(st.integers(0, GUESTS))
        references = data.draw(few) if len(self.oracle.device(caller.domid)) <= 9 else [600]
        return self.calls.device_map_op(caller, references, readonly=data.draw(st.booleans()), number=number)

    def draw_device_unmap(self, data: st.DataObject, caller: Guest) -> Op:
        handles = [m.handle for m in self.oracle.live if m.kind != "foreign" and m.holder == caller.domid]
        good = [m.handle for m in self.oracle.device(caller.domid)]
        some = st.sampled_from(good if data.draw(aims) and good else [*handles, 77])
        return self.calls.device_unmap_op(caller, data.draw(st.lists(some, min_size=1, max_size=3)))

    def draw_enqueue(self, data: st.DataObject, caller: Guest) -> Op:
        number = caller.endpoint.number if caller.endpoint is not None else 0
        ring = data.draw(st.sampled_from((0, 0, 1, 2)))
        count = data.draw(st.integers(1, 4))
        gfns = [self.gfn(data, caller, data.draw(aims), full=True) for _ in range(count)]
        return self.calls.enqueue_op(caller, number, ring, gfns)

    def draw_retire(self, data: st.DataObject, caller: Guest) -> Op:
        return self.calls.retire_op(caller, self.number(data, caller))

    def draw_disable(self, data: st.DataObject, caller: Guest) -> Op:
        return self.calls.disable_op(caller, self.number(data, caller))

    def draw_release(self, data: st.DataObject, caller: Guest) -> Op:
        return self.calls.release_op(caller, self.number(data, caller))

    def number(self, data: st.DataObject, caller: Guest) -> int:
        """Of an endpoint: mostly the caller's."""
        if caller.endpoint is not None and data.draw(aims):
            return caller.endpoint.number
        return data.draw(st.integers(0, GUESTS))

    def draw_enable(self, data: st.DataObject, caller: Guest) -> Op:
        if caller.endpoint is None:
            return self.calls.disable_op(caller, 0)
        good = [m.address for m in self.oracle.device(caller.domid) if m.write]
        return self.calls.enable_op(caller, self.pick(data, good if data.draw(aims) else [], [*caller.endpoint.addresses, 0]))

    def connect(self, data: st.DataObject, caller: Guest) -> None:
        """Somebody reserves a port for the caller."""
        peer = data.draw(st.sampled_from(self.callers()))
        if len(peer.ports) <= MANY:
            self.call(peer, self.calls.alloc_unbound_op(peer, SELF, caller.domid))

    def port(self, data: st.DataObject, guest: Guest) -> int:
        return self.pick(data, list(guest.ports) if data.draw(aims) else [], [0, 1, 2, 3, 60])

    def draw_alloc_unbound(self, data: st.DataObject, caller: Guest) -> Op:
        domid, guest = self.draw_target(data, caller)
        if len(guest.ports) > MANY:
            return self.calls.close_op(caller, self.port(data, caller))
        return self.calls.alloc_unbound_op(caller, domid, data.draw(st.sampled_from((*self.oracle.guests, SELF))))

    def draw_bind(self, data: st.DataObject, caller: Guest) -> Op:
        waiting = [
            (guest.domid, port)
            for guest in self.oracle.guests.values()
            for port, channel in guest.ports.items()
            if (channel.kind, channel.remote) == (UNBOUND, caller.domid)
        ]
        if waiting and len(caller.ports) <= MANY and data.draw(aims):
            return self.calls.bind_interdomain_op(caller, *data.draw(st.sampled_from(waiting)))
        peer = data.draw(st.sampled_from(list(self.oracle.guests.values())))
        if len(caller.ports) > MANY or data.draw(st.booleans()):
            domid = data.draw(st.sampled_from((peer.domid, *self.oracle.dead[-1:])))
            return self.calls.bind_interdomain_op(caller, domid, self.port(data, peer) if domid == peer.domid else 1)
        kind = data.draw(st.sampled_from(("timer", "domain", "ipi")))
        return self.calls.bind_ipi_op(caller) if kind == "ipi" else self.calls.bind_virq_op(caller, TIMER if kind == "timer" else DOM_EXC)

    def draw_send(self, data: st.DataObject, caller: Guest) -> Op:
        return self.calls.send_op(caller, self.port(data, caller))

    def draw_unmask(self, data: st.DataObject, caller: Guest) -> Op:
        return self.calls.unmask_op(caller, self.port(data, caller))

    def draw_close(self, data: st.DataObject, caller: Guest) -> Op:
        return self.calls.close_op(caller, self.port(data, caller))

    def draw_status(self, data: st.DataObject, caller: Guest) -> Op:
        return self.calls.status_op(caller, self.pick(data, list(caller.ports), [3]))

    def draw_life(self, data: st.DataObject, caller: Guest) -> Op:
        """By dom0: what does not end a domain."""
        domid = data.draw(st.sampled_from((*(g.domid for g in self.oracle.others()), *self.oracle.dead[-1:])))
        guest = self.oracle.guests.get(domid)
        kinds = [self.calls.info_op, self.calls.unpause_op]
        if guest is None or guest.pauses < 2:
            kinds.append(self.calls.pause_op)
        if data.draw(st.booleans()):
            return self.calls.max_mem_op(domid, 2 + OWN_PAGES + data.draw(st.integers(-1, SPARE)))
        return data.draw(st.sampled_from(kinds))(domid)

    def draw_of(self, data: st.DataObject, caller: Guest, kinds: Sequence[Kind]) -> Op:
        return data.draw(st.sampled_from(kinds))(self, data, caller)

    def caller(self, data: st.DataObject) -> Guest:
        return data.draw(st.sampled_from(self.callers()))

    def driver(self, data: st.DataObject) -> Guest:
        """Somebody with an endpoint, if anybody has one."""
        return self.pick(data, [g for g in self.callers() if g.endpoint is not None], self.callers())

    # --- rules: single calls ---------------------------------------------------------------------

    @rule(data=st.data())
    def grants(self, data: st.DataObject) -> None:
        caller = self.caller(data)
        self.call(caller, self.draw_of(data, caller, (Hypercalls.draw_map, Hypercalls.draw_map, Hypercalls.draw_unmap)))

    @rule(data=st.data())
    def copies_and_transfers(self, data: st.DataObject) -> None:
        caller = self.pick(data, [g for g in self.callers() if g.domid], self.callers())
        self.call(caller, self.draw_of(data, caller, (Hypercalls.draw_copy, Hypercalls.draw_transfer)))

    @rule(data=st.data())
    def memory(self, data: st.DataObject) -> None:
        caller = self.caller(data)
        self.call(caller, self.draw_of(data, caller, MEMORY + FRESH))

    @rule(data=st.data())
    def foreign(self, data: st.DataObject) -> None:
        caller = self.dom0 if data.draw(aims) else self.caller(data)
        self.call(caller, self.draw_foreign(data, caller))

    @rule(data=st.data())
    def map_for_device(self, data: st.DataObject) -> None:
        caller = self.driver(data)
        self.call(caller, self.draw_device_map(data, caller))

    @rule(data=st.data())
    def put_another_page_where_one_is_mapped(self, data: st.DataObject) -> None:
        """The device keeps the old one; the new one cannot be mapped beside it in mode IOMMU, nor what is asked for with it."""
        old = [m for g in self.callers() for m in self.oracle.device(g.domid) if g.ram.get(m.home) == m.frame]
        if old:
            mapping = data.draw(st.sampled_from(old))
            caller = self.oracle.guests[mapping.granter]
            self.call(caller, self.calls.decrease_op(caller, SELF, [mapping.home]))
            self.call(caller, self.calls.populate_op(caller, SELF, [mapping.home]))
            free = self.free(caller)
            if free:
                reference = data.draw(st.sampled_from(free))
                self.calls.publish_entry(caller, reference, Entry(PERMIT, 0, mapping.home))
                self.prepare(data, 0, granter=caller)
                good = [r for granter, r, _ in self.granted_to(0) if granter == caller.domid]
                some = [*data.draw(st.lists(st.sampled_from(good or REFERENCES), max_size=2)), reference]
                self.call(caller, self.calls.device_map_op(caller, some, readonly=data.draw(st.booleans())))

    @rule(data=st.data())
    def unmap_from_device(self, data: st.DataObject) -> None:
        caller = self.driver(data)
        handles = [m.handle for m in self.oracle.device(caller.domid)]
        if caller.endpoint is None or not handles:
            self.call(caller, self.draw_device_unmap(data, caller))
            return
        chosen = data.draw(st.lists(st.sampled_from(handles), min_size=1, max_size=3, unique=True))
        mappings = [m for m in self.oracle.device(caller.domid) if m.handle in chosen]
        op = self.calls.device_unmap_op(caller, chosen)
        self.machine.revoking(caller.endpoint, mappings, lambda: self.call(caller, op))

    @rule(data=st.data())
    def rings(self, data: st.DataObject) -> None:
        caller = self.pick(data, [g for g in self.callers() if g.endpoint and g.endpoint.rings], [self.driver(data)])
        kind = data.draw(st.sampled_from((Hypercalls.draw_enqueue, Hypercalls.draw_enqueue, Hypercalls.draw_retire)))
        if kind is Hypercalls.draw_retire and caller.endpoint is not None:
            self.retire(caller, caller.endpoint)
        else:
            self.call(caller, kind(self, data, caller))

    def retire(self, caller: Guest, endpoint: Endpoint) -> None:
        self.machine.retiring(endpoint, lambda: self.call(caller, self.calls.retire_op(caller, endpoint.number)))

    @rule(data=st.data())
    def endpoints(self, data: st.DataObject) -> None:
        caller = self.pick(data, [g for g in self.callers() if g.domid and not (g.endpoint and g.endpoint.enabled)], self.callers())
        if caller.endpoint is None:
            pushed = caller.mode is not Mode.VALIDATED or not data.draw(aims)
            self.call(caller, self.calls.allocate_op(caller, receives=not pushed and data.draw(st.booleans()), pushed=pushed))
            return
        free, own = self.free(caller), [g for g in caller.slots if g in caller.ram]
        if caller.domid and free and own and not data.draw(aims):
            # completions into a page that is mapped to be read only, unless it is mapped twice
            self.calls.publish_entry(caller, free[0], Entry(PERMIT, 0, own[-1]))
            self.call(caller, self.calls.device_map_op(caller, free[:1], readonly=True))
            self.call(caller, self.calls.enable_op(caller, caller.endpoint.addresses[-1] if caller.endpoint.addresses else 0))
            return
        if caller.domid and data.draw(aims) and not any(m.write for m in self.oracle.device(caller.domid)):
            self.prepare(data, 0, granter=caller)
            self.call(caller, self.draw_device_map(data, caller))
        self.call(caller, self.draw_enable(data, caller))

    @rule(data=st.data(), often=st.integers(0, 3))
    def stop_endpoints(self, data: st.DataObject, often: int) -> None:
        caller = self.driver(data)
        endpoint = caller.endpoint
        if endpoint is not None and endpoint.enabled and not often:
            op = self.calls.disable_op(caller, endpoint.number)
            self.machine.revoking(endpoint, [], lambda: self.call(caller, op))
        elif endpoint is not None and not endpoint.enabled and not self.oracle.device(caller.domid):
            self.call(caller, self.calls.release_op(caller, endpoint.number))
        else:
            self.call(caller, self.draw_release(data, caller))

    @rule(data=st.data())
    def channels(self, data: st.DataObject) -> None:
        """From one end to the other."""
        caller = self.caller(data)
        self.connect(data, caller)
        self.call(caller, self.draw_bind(data, caller))

    @rule(data=st.data())
    def events(self, data: st.DataObject) -> None:
        caller = self.caller(data)
        self.call(caller, self.draw_of(data, caller, EVENTS))

    @rule(data=st.data())
    def sends(self, data: st.DataObject) -> None:
        caller = self.pick(data, [g for g in self.callers() if g.ports], self.callers())
        self.call(caller, self.draw_of(data, caller, (Hypercalls.draw_send, Hypercalls.draw_send, Hypercalls.draw_unmask)))

    @rule(data=st.data())
    def several(self, data: st.DataObject) -> None:
        """A multicall; calls that get new pages only at its end, where they can be looked at."""
        caller = self.caller(data)
        plain = PLAIN if caller.domid else (*PLAIN, Hypercalls.draw_life, Hypercalls.draw_foreign)
        ops = [self.draw_of(data, caller, plain) for _ in range(data.draw(st.integers(2, 4)))]
        ops.append(self.draw_of(data, caller, (*plain, *FRESH)))
        self.call(caller, *ops)

    # --- rules: life -----------------------------------------------------------------------------

    @rule(data=st.data())
    def life(self, data: st.DataObject) -> None:
        if self.oracle.others():
            self.call(self.dom0, self.draw_life(data, self.dom0))

    @rule(mode=st.sampled_from(MODES), unpause=aims, opened=aims)
    def create(self, mode: Mode, unpause: bool, opened: bool) -> None:
        if len(self.oracle.others()) >= GUESTS:
            return
        self.new(mode, unpause=unpause)
        guest = self.oracle.others()[-1]
        if unpause and opened and not any(g.mode is Mode.NATIVE for g in self.oracle.others()):
            self.open(guest)

    @rule(data=st.data(), often=st.integers(0, 3), reason=st.sampled_from((POWEROFF, CRASH)))
    def shut_down(self, data: st.DataObject, often: int, reason: int) -> None:
        if not often and self.oracle.others():
            self.call(self.dom0, self.calls.shutdown_op(data.draw(st.sampled_from(self.oracle.others())).domid, reason))

    @rule(data=st.data(), often=st.integers(0, 2))
    def destroy(self, data: st.DataObject, often: int) -> None:
        stopped = [g for g in self.oracle.others() if g.stopped]
        guest = self.pick(data, stopped, [] if often else self.oracle.others(), [None])
        if guest is None:
            self.call(self.dom0, self.calls.destroy_op(self.pick(data, self.oracle.dead[-1:], [0])))
            return
        op = self.calls.destroy_op(guest.domid)
        if guest.active and guest.endpoint is not None and data.draw(st.booleans()):
            last = self.draw_of(data, guest, (Hypercalls.draw_device_unmap, Hypercalls.draw_retire, Hypercalls.draw_disable))
            self.machine.perform_beside(guest, last, self.dom0, op)
        elif guest.endpoint is None:
            self.call(self.dom0, op)
        else:
            self.machine.revoking(guest.endpoint, self.oracle.device(guest.domid), lambda: self.call(self.dom0, op))
        assert self.machine.hv.leaks(guest.domid) == [] or guest.domid in self.oracle.owners().values()

    @rule(data=st.data(), often=st.integers(0, 3))
    def assign(self, data: st.DataObject, often: int) -> None:
        """Of the whole card. Seldom, for nobody else can use it then."""
        owner = [g for g in self.oracle.others() if g.mode is Mode.NATIVE]
        if self.oracle.others() and not often:
            guest = self.pick(data, owner, self.oracle.others())
            self.call(self.dom0, self.calls.device_op(DEASSIGN if owner else ASSIGN, guest.domid))

    @rule(data=st.data(), often=st.integers(0, 5))
    def set_version(self, data: st.DataObject, often: int) -> None:
        """Seldom, for it ends every grant."""
        callers = [g for g in self.callers() if g.domid]
        if often > 1 or not callers:
            return
        caller = data.draw(st.sampled_from(callers))
        self.call(caller, self.calls.set_version_op(caller, data.draw(st.sampled_from((1, 2, 2)))))
        if caller.version == 2:
            self.call(caller, self.calls.status_frames_op(caller))

    # --- rules: what needs no call ---------------------------------------------------------------

    @rule(
        data=st.data(), reference=st.sampled_from(REFERENCES), slot=st.integers(0, SLOTS), aim=aims,
        flags=st.sampled_from((PERMIT, PERMIT, PERMIT, PERMIT | RO, ACCEPT, TRANSITIVE)),
    )  # fmt: skip
    def publish(self, data: st.DataObject, reference: int, slot: int, aim: bool, flags: int) -> None:
        granters = [g for g in self.callers() if g.domid]
        if not granters:
            return
        granter = data.draw(st.sampled_from(granters))
        if self.oracle.pins(granter.domid, reference):
            return
        grantee = data.draw(st.sampled_from((0, 0, *self.oracle.guests)))
        if flags == TRANSITIVE and (behind := [e for e in self.granted_to(granter.domid) if e[0] != granter.domid]):
            domid, name, _ = data.draw(st.sampled_from(behind))
            self.calls.publish_entry(granter, reference, Entry(flags, grantee, name, domid))
            return
        gfn = granter.slots[slot] if slot < SLOTS else granter.domain.layout.grant_table
        if aim and slot < SLOTS:
            gfn = self.gfn(data, granter, aim, full=flags != ACCEPT)
        self.calls.publish_entry(granter, reference, Entry(flags, grantee, gfn))

    @rule(data=st.data(), reference=st.sampled_from(REFERENCES))
    def end_access(self, data: st.DataObject, reference: int) -> None:
        """The granter's protocol: it is over once the in-use bits are clear, and then nobody has it mapped."""
        granters = [g for g in self.callers() if g.domid and g.entries.get(reference, Entry()).flags & 3 == PERMIT]
        if granters:
            granter = data.draw(st.sampled_from(granters))
            if self.checks.in_use_bits(granter, reference):
                assert self.oracle.pins(granter.domid, reference)
            else:
                assert not self.oracle.pins(granter.domid, reference)
                self.calls.publish_entry(granter, reference, Entry())

    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        """Guests write their pages, and those that are mapped writable for them."""
        guest = self.caller(data)
        mapped = [m.gfn for m in self.oracle.live if m.kind == "host" and m.caller == guest.domid and m.write]
        places = [*(g for g in guest.slots if g in guest.ram), *mapped]
        if places:
            self.write_tag(guest, data.draw(st.sampled_from(places)))

    @rule(data=st.data(), stale=st.integers(0, 2))
    def send(self, data: st.DataObject, stale: int) -> None:
        """The device reads what is mapped for it now, and by no other address that it ever had."""
        guests = [g for g in self.callers() if g.endpoint and g.endpoint.enabled and g.endpoint.mode in (Mode.IOMMU, Mode.WINDOWS)]
        good = [(g, m.address) for g in guests for m in self.oracle.device(g.domid)]
        old = [(g, address) for g in guests if g.endpoint for address in g.endpoint.addresses]
        if not old:
            return
        guest, address = self.pick(data, [] if not stale else good, old)
        endpoint, platform = guest.endpoint, self.machine.platform
        assert endpoint is not None
        frames, done = len(platform.frames), len(platform.completions)
        where = endpoint.aperture + Aperture.SEND_RING + endpoint.slot % RING_ENTRIES * 16
        guest.domain.mmio_write(where, descriptor(address, SENT))
        platform.settle()
        endpoint.slot += 1
        [completion] = platform.completions[done:]
        reached = {m.frame for m in self.oracle.device(guest.domid) if m.address == address}
        if reached:
            [frame] = reached
            assert completion.status is Status.OK
            assert [f.data[:SENT] for f in platform.frames[frames:]] == [platform.memory.read(frame * PAGE, SENT)]
        else:
            assert completion.status is not Status.OK and len(platform.frames) == frames

    @rule(data=st.data())
    def ring(self, data: st.DataObject) -> None:
        """A validated endpoint's NIC reads what its entries pin."""
        guests = [g for g in self.callers() if g.endpoint and g.endpoint.enabled and g.endpoint.rings]
        if not guests:
            return
        guest = data.draw(st.sampled_from(guests))
        endpoint, platform = guest.endpoint, self.machine.platform
        assert endpoint is not None
        ring = endpoint.rings[0]
        count = data.draw(st.integers(0, ring.producer - ring.sent))
        pinned = ring.pinned[ring.sent - ring.retired :][:count]
        frames, done = len(platform.frames), len(platform.completions)
        ring.sent += count
        guest.domain.mmio_write(endpoint.aperture, struct.pack("<I", ring.sent & 0xFFFF))
        platform.settle()
        assert len(platform.completions) == done + count
        if not endpoint.receives:
            # one that receives has an address to send from, which these bytes do not begin with
            assert [f.data[:SENT] for f in platform.frames[frames:]] == [platform.memory.read(f * PAGE, SENT) for f in pinned]
        if data.draw(st.booleans()):
            self.retire(guest, endpoint)

    # --- rules: events without a call ------------------------------------------------------------

    @rule(data=st.data())
    def timer(self, data: st.DataObject) -> None:
        everybody = list(self.oracle.guests.values())
        stopped = [g for g in everybody if g.stopped and any(channel.virq == TIMER for channel in g.ports.values())]
        guest = self.pick(data, stopped, everybody)
        self.machine.hv.raise_virq(guest.domain, Virq.TIMER)
        self.oracle.raise_virq(guest.domid, TIMER)

    @rule(data=st.data())
    def sleep(self, data: st.DataObject) -> None:
        """What comes while a guest is paused enters its handler afterwards."""
        guest = data.draw(st.sampled_from(self.callers()))
        ports = [port for port, channel in guest.ports.items() if channel.virq == TIMER]
        if not guest.domid or not ports:
            if len(guest.ports) <= MANY and not ports:
                self.call(guest, self.calls.bind_virq_op(guest, TIMER))
            return
        self.call(guest, self.calls.unmask_op(guest, ports[0]))
        self.serve(guest)
        self.call(self.dom0, self.calls.pause_op(guest.domid))
        self.machine.hv.raise_virq(guest.domain, Virq.TIMER)
        self.oracle.raise_virq(guest.domid, TIMER)
        self.call(self.dom0, self.calls.unpause_op(guest.domid))

    @rule(data=st.data())
    def mask(self, data: st.DataObject) -> None:
        guests = [g for g in self.callers() if g.ports]
        if guests:
            guest = data.draw(st.sampled_from(guests))
            port = data.draw(st.sampled_from(list(guest.ports)))
            self.checks.shared(guest)[MASK + port // 8] |= 1 << port % 8
            guest.ports[port].masked = True

    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        self.serve(self.caller(data))

    def serve(self, guest: Guest) -> None:
        """A guest takes its events, as its handler does when it is entered."""
        page = self.checks.shared(guest)
        wanted = {port for port, channel in guest.ports.items() if channel.pending and not channel.masked}
        served = set()
        if page[UPCALL_PENDING]:
            page[UPCALL_PENDING] = 0
            selector, guest.told = page[SELECTOR], False
            page[SELECTOR : SELECTOR + 8] = bytes(8)
            if selector & 1:
                served = {p for p in range(PORTS) if page[PENDING + p // 8] & ~page[MASK + p // 8] & 1 << p % 8}
        assert served == wanted
        for port in served:
            page[PENDING + port // 8] &= ~(1 << port % 8)
            guest.ports[port].pending = False

    # --- what must be true -----------------------------------------------------------------------

    @invariant()
    def every_count_is_the_sum_of_what_refers(self) -> None:
        self.checks.every_count_is_the_sum_of_what_refers()

    @invariant()
    def devices_reach_what_is_mapped_for_them(self) -> None:
        self.checks.devices_reach_what_is_mapped_for_them()

    @invariant()
    def guests_reach_their_own_and_what_is_mapped(self) -> None:
        self.checks.guests_reach_their_own_and_what_is_mapped()

    @invariant()
    def in_use_bits_are_the_mappings(self) -> None:
        self.checks.in_use_bits_are_the_mappings()

    @invariant()
    def no_event_is_lost_and_none_invented(self) -> None:
        self.checks.no_event_is_lost_and_none_invented()

    def teardown(self) -> None:
        """Everybody goes, the control domain's mappings last: nothing is left."""
        if not hasattr(self, "dom0"):
            return
        for guest in self.oracle.others():
            self.call(self.dom0, self.calls.destroy_op(guest.domid))
            self.every_count_is_the_sum_of_what_refers()
            self.devices_reach_what_is_mapped_for_them()
        for mapping in list(self.oracle.live):
            if mapping.kind == "host":
                self.call(self.dom0, self.calls.unmap_op(self.dom0, mapping.handle, mapping.gfn))
            else:
                self.call(self.dom0, self.calls.remove_op(self.dom0, SELF, mapping.gfn))
        self.every_count_is_the_sum_of_what_refers()
        assert set(self.oracle.owners().values()) == {0}
        self.checks.windows_are_those_that_are_mapped( range(NicControl.WINDOW_LIMITS_WINDOWS_VALUE))


Kind = Callable[[Hypercalls, st.DataObject, Guest], Op]
MEMORY: tuple[Kind, ...] = (Hypercalls.draw_decrease, Hypercalls.draw_remove, Hypercalls.draw_move)
FRESH: tuple[Kind, ...] = (Hypercalls.draw_populate, Hypercalls.draw_populate, Hypercalls.draw_exchange, Hypercalls.draw_increase)
EVENTS: tuple[Kind, ...] = (
    Hypercalls.draw_alloc_unbound,
    Hypercalls.draw_bind,
    Hypercalls.draw_bind,
    Hypercalls.draw_send,
    Hypercalls.draw_unmask,
    Hypercalls.draw_close,
    Hypercalls.draw_status,
)
PLAIN: tuple[Kind, ...] = (
    *MEMORY,
    *EVENTS,
    Hypercalls.draw_map,
    Hypercalls.draw_map,
    Hypercalls.draw_unmap,
    Hypercalls.draw_copy,
    Hypercalls.draw_transfer,
    Hypercalls.draw_device_map,
    Hypercalls.draw_device_map,
    Hypercalls.draw_enqueue,
    Hypercalls.draw_device_unmap,
    Hypercalls.draw_enqueue,
    Hypercalls.draw_retire,
    Hypercalls.draw_disable,
    Hypercalls.draw_enable,
)
TestHypercalls = Hypercalls.TestCase
TestHypercalls.settings = settings(
    max_examples=200,
    stateful_step_count=100,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
