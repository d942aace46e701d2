"""A domain that has not got the NIC tries to reach it: in mode native the owner alone uses it, and is trusted.

Nobody checks what the owner's endpoints do (contract of the mode); what is checked is who gets at them at all. So this
guest tries device pages, the hypercalls that hand a device over, its interrupts, the owner's memory and event channels.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from hypervisor_model.domains import Domain
from hypervisor_model.endpoints import CONTROL_BAR
from hypervisor_model.hypervisor import Hypervisor
from sw.abi.registers import Form
from sw.platform import PAGE_SHIFT, PAGE_SIZE, MachineMap
from sw.xen import domctl, event_channel, grant_table, memory, myri, physdev, sched
from sw.xen.domctl import DomctlOp
from sw.xen.errno import Errno
from sw.xen.event_channel import EventOp
from sw.xen.grant_table import GrantCopyFlag, GrantMapFlag, GrantOp, GrantStatus
from sw.xen.memory import MapSpace, MemoryOp
from sw.xen.myri import FilterFlag, MyriOp
from sw.xen.physdev import PhysdevOp
from sw.xen.sched import SchedOp, ShutdownReason
from sw.xen.xen import DOMID_CONTROL, DOMID_SELF, Hypercall
from tb.sim.attempts import HostileResult
from tb.sim.hostile import touch_foreign_registers

CONFIG_BYTES: Final = 4096
"""Of one function's configuration space."""
MSI: Final = physdev.MAP_PIRQ_TYPE_MSI
_UPDATE = struct.Struct("<QQ")
"""mmu_update_t: ptr, val."""


@dataclass(frozen=True)
class _Call:
    """A hypercall with one structure as argument, and how it must be refused."""

    name: str
    number: Hypercall
    command: int
    data: bytes
    expected: Errno | GrantStatus
    """A grant operation returns 0 and leaves its status in the structure, at `status_at`."""
    status_at: int = 0
    count: int = 1


@dataclass(frozen=True)
class Owned:
    """What the owner has, by name."""

    endpoint: int
    pirq: int
    """Interrupt of the endpoint."""
    irq_port: int
    """Event channel of the interrupt."""
    free_port: int
    """One that the owner has reserved for the control domain."""
    reference: int
    """A grant for the control domain."""
    gfn: int
    frame: int
    """Of the page that is granted."""


class Outsider:
    """Implements `tb.sim.attempts.Hostile`. `prepare` first."""

    def __init__(
        self, hypervisor: Hypervisor, machine: Domain, owner: Domain, endpoint: int, map_: MachineMap
    ) -> None:
        """`owner` has the NIC, and this endpoint open."""
        self._hv = hypervisor
        self._machine = machine
        self._owner = owner
        self._endpoint = endpoint
        self._map = map_
        self._page = 0
        self._own: Owned
        self.result = HostileResult()

    async def prepare(self) -> None:
        """Have the owner use an interrupt, an event channel and a grant: there is something to take."""
        owner, call = self._owner, self._owner.hypercall
        gfn = owner.kernel.allocate_pages(1)
        frame = owner.p2m.frame(gfn)
        assert frame is not None
        pirq = await call.map_pirq(self._endpoint)
        self._own = Owned(
            endpoint=self._endpoint,
            pirq=pirq,
            irq_port=await call.bind_pirq(pirq),
            free_port=await call.event_alloc_unbound(DOMID_CONTROL),
            reference=await owner.kernel.grant_access(gfn, readonly=False),
            gfn=gfn,
            frame=frame,
        )
        self._page = self._machine.kernel.allocate_pages(1)

    async def run(self) -> None:
        """All attempts."""
        hv, machine = self._hv, self._machine
        touch_foreign_registers(hv, machine, self._owner, self._endpoint, self._map.iommu, self.result)
        await self._touch_the_device()
        for call in (*self._domctls(), *self._interrupts(), *self._endpoints(), *self._pages(), *self._domains()):
            await self._refused(call)

    # --- the device itself -----------------------------------------------------------------------

    async def _touch_the_device(self) -> None:
        """Configuration space, and what a read gives."""
        hv, machine, map_ = self._hv, self._machine, self._map
        config = map_.ecam + hv.device.requester * CONFIG_BYTES
        control, _ = hv.device.bars[CONTROL_BAR]
        for name, gpa in (
            ("write the NIC's configuration space", config + 4),
            ("read a control register", control),
            ("read the NIC's configuration space", config),
        ):
            before = len(hv.faults.guest)
            kind = "mmio write" if name.startswith("write") else "mmio read"
            got = b"\xff" * 4
            if kind == "mmio write":
                machine.mmio_write(gpa, bytes(4))
            else:
                got = await machine.mmio_read(gpa, 4)
            told = [(f.domid, f.gpa, f.kind) for f in hv.faults.guest[before:]]
            caught = told == [(machine.domid, gpa, kind)] and got == b"\xff" * 4
            outcome = "trapped" if caught else f"fault records {told}, read {got.hex()}"
            self.result.record(name, "trapped and dropped", outcome, caught=caught)

    # --- hypercalls ------------------------------------------------------------------------------

    def _domctls(self) -> Iterator[_Call]:
        """The control domain hands devices over; nobody else does."""
        hv, own, me, it = self._hv, self._own, self._machine.domid, self._owner.domid
        (_, aperture), *_ = hv.endpoints.aperture_pages(hv.endpoints.owned(own.endpoint, it))
        control = hv.device.bars[CONTROL_BAR][0] >> PAGE_SHIFT
        place = self._machine.layout.device

        def to(name: str, command: DomctlOp, domid: int, layout: struct.Struct | None = None, *values: Any) -> _Call:
            body = b"" if layout is None else layout.pack(*values)
            data = (domctl.HEADER.pack(command, domctl.INTERFACE_VERSION, domid) + body).ljust(domctl.BYTES, b"\0")
            return _Call(name, Hypercall.DOMCTL, command, data, Errno.EPERM)

        device = domctl.ASSIGN_DEVICE, domctl.DEVICE_PCI, 0, hv.device.requester
        yield to("permit itself the owner's doorbell page", DomctlOp.IOMEM_PERMISSION, me, domctl.IOMEM_PERMISSION, aperture, 1, 1)
        yield to("permit itself a control register", DomctlOp.IOMEM_PERMISSION, me, domctl.IOMEM_PERMISSION, control, 1, 1)
        yield to("map the owner's doorbell page", DomctlOp.MEMORY_MAPPING, me, domctl.MEMORY_MAPPING, place, aperture, 1, 1)
        yield to("map a control register", DomctlOp.MEMORY_MAPPING, me, domctl.MEMORY_MAPPING, place, control, 1, 1)
        yield to("forbid the owner its doorbell page", DomctlOp.IOMEM_PERMISSION, it, domctl.IOMEM_PERMISSION, aperture, 1, 0)
        yield to("permit itself the owner's interrupt", DomctlOp.IRQ_PERMISSION, me, domctl.IRQ_PERMISSION, own.pirq, 1)
        yield to(
            "bind the owner's interrupt to itself", DomctlOp.BIND_PT_IRQ, me,
            domctl.BIND_PT_IRQ, own.pirq, domctl.IRQ_TYPE_MSI, 0, 0, 0,
        )  # fmt: skip
        yield to("take the NIC", DomctlOp.ASSIGN_DEVICE, me, *device)
        yield to("take the NIC from its owner", DomctlOp.DEASSIGN_DEVICE, it, *device)
        yield to("pause the owner", DomctlOp.PAUSEDOMAIN, it)
        yield to("destroy the owner", DomctlOp.DESTROYDOMAIN, it)

    def _interrupts(self) -> Iterator[_Call]:
        own, it = self._own, self._owner.domid

        def pirq(name: str, domid: int, expected: Errno) -> _Call:
            data = physdev.MAP_PIRQ.pack(domid, MSI, -1, -1, 0, 0, own.endpoint, 1)
            return _Call(name, Hypercall.PHYSDEV_OP, PhysdevOp.MAP_PIRQ, data, expected)

        def event(name: str, command: EventOp, data: bytes, expected: Errno) -> _Call:
            return _Call(name, Hypercall.EVENT_CHANNEL_OP, command, data, expected)

        yield pirq("map the owner's vector for itself", DOMID_SELF, Errno.ENODEV)
        yield pirq("map the owner's vector for the owner", it, Errno.EPERM)
        for name, domid, expected in (
            ("unmap the owner's interrupt as its own", DOMID_SELF, Errno.EINVAL),
            ("unmap the owner's interrupt", it, Errno.EPERM),
        ):
            data = physdev.UNMAP_PIRQ.pack(domid, own.pirq)
            yield _Call(name, Hypercall.PHYSDEV_OP, PhysdevOp.UNMAP_PIRQ, data, expected)
        yield event(
            "bind the owner's interrupt", EventOp.BIND_PIRQ, event_channel.BIND_PIRQ.pack(own.pirq, 1, 0), Errno.EINVAL
        )
        for name, port in (("bind the owner's interrupt port", own.irq_port), ("bind a port reserved for another", own.free_port)):
            data = event_channel.BIND_INTERDOMAIN.pack(it, port, 0)
            yield event(name, EventOp.BIND_INTERDOMAIN, data, Errno.EINVAL)
        yield event("send to the owner's port", EventOp.SEND, event_channel.PORT.pack(own.free_port), Errno.EINVAL)
        yield event("close the owner's port", EventOp.CLOSE, event_channel.PORT.pack(own.irq_port), Errno.EINVAL)
        yield event(
            "look at the owner's port", EventOp.STATUS, event_channel.STATUS.pack(it, own.irq_port, 0, 0, 0, 0), Errno.EPERM
        )
        yield event(
            "reserve a port of the owner's", EventOp.ALLOC_UNBOUND,
            event_channel.ALLOC_UNBOUND.pack(it, self._machine.domid, 0), Errno.EPERM,
        )  # fmt: skip
        yield event("close all ports of the owner", EventOp.RESET, event_channel.RESET.pack(it), Errno.EPERM)

    def _endpoints(self) -> Iterator[_Call]:
        """The NIC cannot be shared, and the owner's endpoints are its own."""
        own = self._own

        def of(name: str, command: MyriOp, data: bytes) -> _Call:
            return _Call(name, Hypercall.MYRI_OP, command, data, Errno.ENODEV)

        number = myri.ENDPOINT.pack(own.endpoint)
        enable = myri.ENABLE.pack(own.endpoint, 4, 4, *(0,) * 9, 0, 0, 0, 0, *(0,) * 4)
        everything = FilterFlag.PROMISCUOUS | FilterFlag.ALL_MULTICAST
        yield of("allocate an endpoint", MyriOp.ALLOCATE, bytes((Form.PUSHED, myri.SEND_ONLY)).ljust(myri.ALLOCATE.size, b"\0"))
        yield of("enable the owner's endpoint", MyriOp.ENABLE, enable)
        yield of("disable the owner's endpoint", MyriOp.DISABLE, number)
        yield of("release the owner's endpoint", MyriOp.RELEASE, number)
        yield of(
            "map a page of its own for the owner's endpoint", MyriOp.MAP_GRANTS,
            myri.MAP_GRANT.pack(own.endpoint, 0, own.reference, 0, 0, 0),
        )  # fmt: skip
        yield of("receive what the owner receives", MyriOp.FILTER, myri.FILTER.pack(own.endpoint, everything))
        yield of("hold back the owner's interrupts", MyriOp.SET_MODERATION, myri.SET_MODERATION.pack(own.endpoint, 1_000_000, 100))
        yield of("join a group for the owner", MyriOp.MULTICAST, myri.MULTICAST.pack(own.endpoint, 1, b"\x01\0\x5e\0\0\1", 0))
        yield of("read the owner's counters", MyriOp.STATISTICS, myri.STATISTICS.pack(own.endpoint, 1, self._at + 64))
        yield of("retire the owner's requests", MyriOp.RETIRE, number)

    def _pages(self) -> Iterator[_Call]:
        """The owner's memory, from which the NIC sends by machine address."""
        own, it = self._own, self._owner.domid
        free = self._machine.layout.device - 1
        at = self._at

        def grant(name: str, command: GrantOp, layout: struct.Struct, status_at: int, expected: GrantStatus, *values: Any) -> _Call:
            return _Call(name, Hypercall.GRANT_TABLE_OP, command, layout.pack(*values), expected, status_at)

        def memory_op(name: str, command: MemoryOp, data: bytes, expected: Errno) -> _Call:
            return _Call(name, Hypercall.MEMORY_OP, command, data, expected)

        map_ref, copy = grant_table.MAP_GRANT_REF, grant_table.COPY
        status = struct.calcsize("<QIIHxx") - 2
        for name, flags in (("map the owner's page", GrantMapFlag.HOST), ("map the owner's page for DMA", GrantMapFlag.DEVICE)):
            yield grant(
                name, GrantOp.MAP_GRANT_REF, map_ref, status, GrantStatus.GENERAL_ERROR,
                free << PAGE_SHIFT, flags, own.reference, it, 0, 0, 0,
            )  # fmt: skip
        status = copy.size - 4
        yield grant(
            "copy from the owner's page", GrantOp.COPY, copy, status, GrantStatus.GENERAL_ERROR,
            own.reference, it, 0, self._page, DOMID_SELF, 2048, 64, GrantCopyFlag.SOURCE_GREF, 0,
        )  # fmt: skip
        yield grant(
            "copy into the owner's page", GrantOp.COPY, copy, status, GrantStatus.GENERAL_ERROR,
            self._page, DOMID_SELF, 0, own.reference, it, 0, 64, GrantCopyFlag.DEST_GREF, 0,
        )  # fmt: skip
        yield grant(
            "copy from the owner's frame", GrantOp.COPY, copy, status, GrantStatus.PERMISSION_DENIED,
            own.gfn, it, 0, self._page, DOMID_SELF, 2048, 64, 0, 0,
        )  # fmt: skip
        yield grant(
            "map the owner's grant table", GrantOp.SETUP_TABLE, grant_table.SETUP_TABLE, 8,
            GrantStatus.PERMISSION_DENIED, it, 1, 0, at + 64,
        )  # fmt: skip
        frames = struct.pack("<QQi", own.gfn, free, 0)
        foreign = memory.ADD_TO_PHYSMAP_BATCH.pack(DOMID_SELF, MapSpace.GMFN_FOREIGN, 1, it, at + 64, at + 72, at + 80)
        yield memory_op(
            "place the owner's page among its own", MemoryOp.ADD_TO_PHYSMAP_BATCH, foreign.ljust(64, b"\0") + frames, Errno.EPERM
        )
        yield memory_op(
            "place a doorbell page among its own", MemoryOp.ADD_TO_PHYSMAP,
            memory.ADD_TO_PHYSMAP.pack(DOMID_SELF, 0, MapSpace.GMFN, self._owner.layout.device, free), Errno.EINVAL,
        )  # fmt: skip
        yield memory_op(
            "take a page from the owner", MemoryOp.DECREASE_RESERVATION,
            memory.RESERVATION.pack(at + 64, 1, 0, 0, it).ljust(64, b"\0") + memory.FRAME.pack(own.gfn), Errno.EPERM,
        )  # fmt: skip
        yield memory_op(
            "map the owner's grant table as a resource", MemoryOp.ACQUIRE_RESOURCE,
            memory.ACQUIRE_RESOURCE.pack(it, memory.Resource.GRANT_TABLE, 0, 1, 0, at + 64), Errno.EPERM,
        )  # fmt: skip

    def _domains(self) -> Iterator[_Call]:
        data = sched.REMOTE_SHUTDOWN.pack(self._owner.domid, ShutdownReason.CRASH)
        yield _Call("end the owner", Hypercall.SCHED_OP, SchedOp.REMOTE_SHUTDOWN, data, Errno.EPERM)

    # --- one call --------------------------------------------------------------------------------

    @property
    def _at(self) -> int:
        """Guest address of the arguments."""
        return self._page << PAGE_SHIFT

    async def _refused(self, call: _Call) -> None:
        """It is refused as Xen refuses it, and nobody has lost or gained anything."""
        machine = self._machine
        machine.memory.write(self._at, call.data.ljust(PAGE_SIZE, b"\0"))
        before = self._state()
        arguments = (self._at,) if call.number is Hypercall.DOMCTL else (call.command, self._at, call.count)
        result = await machine.vmcall(call.number, *arguments)
        if isinstance(call.expected, GrantStatus):
            (told,) = struct.unpack_from("<h", machine.memory.read(self._at, PAGE_SIZE), call.status_at)
            outcome = GrantStatus(told).name if not result else f"gave {result}"
        else:
            outcome = Errno(-result).name if result < 0 else f"gave {result}"
        same = self._state() == before
        caught = same and outcome == call.expected.name
        self.result.record(call.name, call.expected.name, outcome + ("" if same else ", with effect"), caught=caught)

    def _state(self) -> tuple[object, ...]:
        """What the two domains have of the NIC and of each other."""
        hv, owner, me = self._hv, self._owner, self._machine
        return (
            [(e.number, e.domid, e.enabled, e.promiscuous) for e in (*hv.endpoints.of_domain(owner.domid), *hv.endpoints.of_domain(me.domid))],
            {domain.domid: (domain.mode, domain.state, sorted(domain.iomem), sorted(domain.irqs)) for domain in (owner, me)},
            {domain.domid: dict(domain.p2m.mmio) for domain in (owner, me)},
            {domain.domid: hv.pirqs_of(domain.domid) for domain in (owner, me)},
            {domain.domid: len(domain.events.ports) for domain in (owner, me)},
            hv.frames.references(self._own.frame),
            hv.frames.owner(self._own.frame),
            bytes(hv.frames.page(self._own.frame)[:64]),
        )
