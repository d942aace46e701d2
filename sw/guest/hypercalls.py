"""A guest's calls into the hypervisor: arguments become structures in guest memory, results and errors come back.

Every call raises `HypercallError` when it is refused. What a call sets on the NIC is in force when it returns.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sw.abi.registers import Form, Mode, ReceiveBuffer, SendDescriptor
from sw.guest.machine import DeviceMapping, EndpointGrant, ReceiveSetup
from sw.platform import PAGE_SHIFT, PAGE_SIZE
from sw.xen import event_channel, myri
from sw.xen import grant_table as grants
from sw.xen.errno import Errno, HypercallError
from sw.xen.event_channel import BIND_PIRQ, PORT, EventOp, EventStatus, PortStatus
from sw.xen.grant_table import SETUP_TABLE, GrantCopyFlag, GrantMapFlag, GrantOp, GrantStatus
from sw.xen.memory import ADD_TO_PHYSMAP, DOMID, EXCHANGE, EXTENT_ORDERS, FRAME, RESERVATION, MapSpace, MemoryOp
from sw.xen.myri import FilterFlag, MapFlag, MyriOp, ValidatedRing
from sw.xen.physdev import MAP_PIRQ, MAP_PIRQ_TYPE_MSI, UNMAP_PIRQ, PhysdevOp
from sw.xen.sched import POLL, SHUTDOWN, SchedOp, ShutdownReason
from sw.xen.vcpu import RUNSTATE_INFO, SET_SINGLESHOT_TIMER, RunstateState, SingleshotFlag, VcpuOp
from sw.xen.xen import DOMID_SELF, Hypercall, Virq

if TYPE_CHECKING:
    from sw.guest.machine import GuestMachine

MAP_BATCH: Final = PAGE_SIZE // myri.MAP_GRANT.size
"""Pages of one registration."""
RESERVATION_BATCH: Final = (PAGE_SIZE - RESERVATION.size) // FRAME.size
"""Pages that one call may give back or ask for."""
_MAX_QUEUES: Final = 4
_ANY: Final = -1
_BOOT_PAGES: Final = 2
_TABLE_PRESENT: Final = 1
"""map_pirq: MSI-X is told from MSI by a table address; where the table is, the hypervisor knows."""


@dataclass(frozen=True)
class GrantSide:
    """One end of a copy: a page that `domid` has granted, or, with DOMID_SELF, one of the guest's own."""

    domid: int
    offset: int
    """Bytes into the page."""
    gref: int | None = None
    gfn: int | None = None


@dataclass(frozen=True)
class GrantCopy:
    """One copy of `length` bytes; neither end may cross its page."""

    source: GrantSide
    destination: GrantSide
    length: int


class ArgumentPages:
    """Guest pages for the arguments of calls under way, one or two pages a call; kept once allocated."""

    def __init__(self, machine: GuestMachine) -> None:
        self._machine = machine
        self._free = [machine.kernel.allocate_pages(1) for _ in range(_BOOT_PAGES)]

    def take(self) -> int:
        """A page: its GFN."""
        return self._free.pop() if self._free else self._machine.kernel.allocate_pages(1)

    def give(self, gfn: int) -> None:
        """The call is over."""
        self._free.append(gfn)


class GuestHypercalls:
    """Typed calls of one guest."""

    def __init__(self, machine: GuestMachine) -> None:
        self._machine = machine
        self._pages = ArgumentPages(machine)
        self._bus_addresses: dict[int, int] = {}

    # --- memory_op -------------------------------------------------------------------------------

    async def memory_exchange(self, gfn: int, order: int) -> None:
        """Back 2^`order` pages (order 0 to 9) from `gfn` on by consecutive machine frames; their contents are lost."""
        if order not in EXTENT_ORDERS:
            raise HypercallError(Errno.EINVAL, f"order is {order}: {EXTENT_ORDERS.start} to {EXTENT_ORDERS.stop - 1}")
        count = 1 << order
        page, table = self._pages.take(), self._pages.take()
        try:
            write, at, list_at = self._machine.memory.write, page << PAGE_SHIFT, table << PAGE_SHIFT
            write(list_at, b"".join(FRAME.pack(gfn + n) for n in range(count)))
            write(at, EXCHANGE.pack(list_at, count, 0, 0, DOMID_SELF, list_at, 1, order, 0, DOMID_SELF, 0))
            await self._call(Hypercall.MEMORY_OP, MemoryOp.EXCHANGE, at)
        finally:
            self._pages.give(page)
            self._pages.give(table)

    async def decrease_reservation(self, *gfns: int) -> int:
        """Give pages back, at most `RESERVATION_BATCH`; how many went."""
        return await self._reservation(MemoryOp.DECREASE_RESERVATION, gfns)

    async def populate_physmap(self, *gfns: int) -> int:
        """Have empty GFNs backed by zeroed frames, at most `RESERVATION_BATCH`; how many are."""
        return await self._reservation(MemoryOp.POPULATE_PHYSMAP, gfns)

    async def current_reservation(self) -> int:
        """Pages that the guest has, also those given back that somebody still refers to."""
        result, _ = await self._with_page(
            Hypercall.MEMORY_OP, MemoryOp.CURRENT_RESERVATION, lambda _: DOMID.pack(DOMID_SELF)
        )
        return result

    async def map_shared_info(self) -> int:
        """Map the shared-info page at the layout's place for it; its GFN."""
        gfn = self._machine.layout.shared_info
        await self._structure(
            Hypercall.MEMORY_OP, MemoryOp.ADD_TO_PHYSMAP, ADD_TO_PHYSMAP, DOMID_SELF, 0, MapSpace.SHARED_INFO, 0, gfn
        )
        return gfn

    async def _reservation(self, operation: MemoryOp, gfns: Sequence[int]) -> int:
        if len(gfns) > RESERVATION_BATCH:
            raise HypercallError(Errno.EINVAL, f"{len(gfns)} pages in one call: at most {RESERVATION_BATCH}")

        def arguments(at: int) -> bytes:
            frames = b"".join(FRAME.pack(gfn) for gfn in gfns)
            return RESERVATION.pack(at + RESERVATION.size, len(gfns), 0, 0, DOMID_SELF) + frames

        done, _ = await self._with_page(Hypercall.MEMORY_OP, operation, arguments)
        return done

    # --- grant_table_op --------------------------------------------------------------------------

    async def setup_table(self, frames: int) -> list[int]:
        """Grow the grant table to `frames` pages; their GFNs."""

        def arguments(at: int) -> bytes:
            return SETUP_TABLE.pack(DOMID_SELF, frames, 0, at + SETUP_TABLE.size)

        _, answer = await self._with_page(Hypercall.GRANT_TABLE_OP, GrantOp.SETUP_TABLE, arguments, 1)
        status = GrantStatus(SETUP_TABLE.unpack_from(answer)[2])
        return _frame_list(answer, SETUP_TABLE, status, frames, f"a grant table of {frames} pages")

    async def get_status_frames(self, frames: int) -> list[int]:
        """GFNs of the first pages of status words; version 2."""
        layout = grants.GET_STATUS_FRAMES

        def arguments(at: int) -> bytes:
            return layout.pack(frames, DOMID_SELF, 0, at + layout.size)

        _, answer = await self._with_page(Hypercall.GRANT_TABLE_OP, GrantOp.GET_STATUS_FRAMES, arguments, 1)
        status = GrantStatus(layout.unpack_from(answer)[2])
        return _frame_list(answer, layout, status, frames, f"{frames} pages of grant status words")

    async def set_grant_version(self, version: int) -> int:
        """Change the layout of the grant table, which is empty then; the version that it has."""
        answer = await self._structure(
            Hypercall.GRANT_TABLE_OP, GrantOp.SET_VERSION, grants.SET_VERSION, version, count=1
        )
        return int(answer[0])

    async def grant_map(
        self, domid: int, reference: int, gfn: int, *, readonly: bool, device: bool = False
    ) -> tuple[GrantStatus, int]:
        """Map a page that `domid` has granted at the empty guest frame `gfn`; status and handle.

        `device`: for the guest's device as well, which only the owner of the whole NIC may ask for.
        """
        flags = GrantMapFlag.HOST | GrantMapFlag.READONLY * readonly | GrantMapFlag.DEVICE * device
        answer = await self._structure(
            Hypercall.GRANT_TABLE_OP, GrantOp.MAP_GRANT_REF, grants.MAP_GRANT_REF,
            gfn << PAGE_SHIFT, flags, reference, domid, 0, 0, 0, count=1,
        )  # fmt: skip
        status, handle, address = GrantStatus(answer[4]), int(answer[5]), int(answer[6])
        if device and status is GrantStatus.OKAY:
            self._bus_addresses[handle] = address
        return status, handle

    def bus_address(self, handle: int) -> int:
        """What the guest's device names a page by that is mapped for it. `KeyError` for any other handle."""
        return self._bus_addresses[handle]

    async def grant_unmap(self, mappings: Sequence[tuple[int, int]]) -> list[GrantStatus]:
        """Unmap pages by (GFN, handle), for the device as well; the status of each."""
        layout = grants.UNMAP_GRANT_REF
        entries = [layout.pack(gfn << PAGE_SHIFT, self._bus_addresses.get(handle, 0), handle, 0) for gfn, handle in mappings]
        statuses = await self._grant_batch(GrantOp.UNMAP_GRANT_REF, layout, entries)
        for (_, handle), status in zip(mappings, statuses, strict=True):
            if status is GrantStatus.OKAY:
                self._bus_addresses.pop(handle, None)
        return statuses

    async def grant_copy(self, copies: Sequence[GrantCopy]) -> list[GrantStatus]:
        """Copy between pages, one's own or granted; the status of each."""
        entries = [
            grants.COPY.pack(
                *_side(copy.source),
                *_side(copy.destination),
                copy.length,
                GrantCopyFlag.SOURCE_GREF * (copy.source.gref is not None)
                | GrantCopyFlag.DEST_GREF * (copy.destination.gref is not None),
                0,
            )
            for copy in copies
        ]
        return await self._grant_batch(GrantOp.COPY, grants.COPY, entries)

    async def grant_transfer(self, gfn: int, domid: int, reference: int) -> GrantStatus:
        """Hand a page to `domid`, which has accepted by `reference`. It is lost in any case but BAD_PAGE."""
        entry = grants.TRANSFER.pack(gfn, domid, reference, 0)
        (status,) = await self._grant_batch(GrantOp.TRANSFER, grants.TRANSFER, [entry])
        return status

    async def _grant_batch(self, operation: GrantOp, layout: struct.Struct, entries: Sequence[bytes]) -> list[GrantStatus]:
        """Structures whose last field is their status, a page of them at a time."""
        statuses: list[GrantStatus] = []
        batch = PAGE_SIZE // layout.size
        for first in range(0, len(entries), batch):
            some = entries[first : first + batch]
            data = b"".join(some)
            statuses += await self._grant_page(operation, layout, data, len(some))
        return statuses

    async def _grant_page(self, operation: GrantOp, layout: struct.Struct, data: bytes, count: int) -> list[GrantStatus]:
        _, answer = await self._with_page(Hypercall.GRANT_TABLE_OP, operation, lambda _: data, count)
        return [GrantStatus(layout.unpack_from(answer, n * layout.size)[-1]) for n in range(count)]

    # --- event_channel_op, physdev_op ------------------------------------------------------------

    async def map_pirq(self, endpoint: int, *, domid: int = DOMID_SELF) -> int:
        """The interrupt of an own endpoint among the guest's physical interrupts; of another domain's, its `domid`."""
        arguments = (domid, MAP_PIRQ_TYPE_MSI, _ANY, _ANY, 0, 0, endpoint, _TABLE_PRESENT)
        answer = await self._structure(Hypercall.PHYSDEV_OP, PhysdevOp.MAP_PIRQ, MAP_PIRQ, *arguments)
        return int(answer[3])

    async def unmap_pirq(self, pirq: int, *, domid: int = DOMID_SELF) -> None:
        """Give a physical interrupt back."""
        await self._structure(Hypercall.PHYSDEV_OP, PhysdevOp.UNMAP_PIRQ, UNMAP_PIRQ, domid, pirq)

    async def bind_pirq(self, pirq: int) -> int:
        """Event-channel port of a physical interrupt; it is masked until unmasked."""
        answer = await self._structure(Hypercall.EVENT_CHANNEL_OP, EventOp.BIND_PIRQ, BIND_PIRQ, pirq, 0, 0)
        return int(answer[2])

    async def event_alloc_unbound(self, remote: int, *, domid: int = DOMID_SELF) -> int:
        """A port that domain `remote` may bind; for another domain's, its `domid`."""
        layout = event_channel.ALLOC_UNBOUND
        answer = await self._structure(Hypercall.EVENT_CHANNEL_OP, EventOp.ALLOC_UNBOUND, layout, domid, remote, 0)
        return int(answer[2])

    async def event_bind_interdomain(self, remote: int, remote_port: int) -> int:
        """Own end of a port that domain `remote` has reserved for this one; it starts pending."""
        layout = event_channel.BIND_INTERDOMAIN
        answer = await self._structure(
            Hypercall.EVENT_CHANNEL_OP, EventOp.BIND_INTERDOMAIN, layout, remote, remote_port, 0
        )
        return int(answer[2])

    async def event_bind_virq(self, virq: Virq, vcpu: int = 0) -> int:
        """Port of an interrupt that the hypervisor raises."""
        layout = event_channel.BIND_VIRQ
        answer = await self._structure(Hypercall.EVENT_CHANNEL_OP, EventOp.BIND_VIRQ, layout, virq, vcpu, 0)
        return int(answer[2])

    async def event_bind_ipi(self, vcpu: int) -> int:
        """Port by which the guest interrupts its own vCPU."""
        layout = event_channel.BIND_IPI
        answer = await self._structure(Hypercall.EVENT_CHANNEL_OP, EventOp.BIND_IPI, layout, vcpu, 0)
        return int(answer[1])

    async def event_bind_vcpu(self, port: int, vcpu: int) -> None:
        """Have a port notify `vcpu`."""
        layout = event_channel.BIND_VCPU
        await self._structure(Hypercall.EVENT_CHANNEL_OP, EventOp.BIND_VCPU, layout, port, vcpu)

    async def event_status(self, port: int, *, domid: int = DOMID_SELF) -> PortStatus:
        """What a port is bound to; of another domain's, its `domid`."""
        layout = event_channel.STATUS
        answer = await self._structure(Hypercall.EVENT_CHANNEL_OP, EventOp.STATUS, layout, domid, port, 0, 0, 0, 0)
        return PortStatus(EventStatus(answer[2]), *answer[3:])

    async def event_send(self, port: int) -> None:
        """Send an event."""
        await self._structure(Hypercall.EVENT_CHANNEL_OP, EventOp.SEND, PORT, port)

    def event_send_now(self, port: int) -> None:
        """As `event_send`, for who cannot sleep: an event handler, for instance."""
        page = self._pages.take()
        try:
            self._machine.memory.write(page << PAGE_SHIFT, PORT.pack(port))
            self._checked(
                self._machine.vmcall_now(Hypercall.EVENT_CHANNEL_OP, EventOp.SEND, page << PAGE_SHIFT)
            )
        finally:
            self._pages.give(page)

    async def event_unmask(self, port: int) -> None:
        """Clear the mask bit; a pending event raises the upcall."""
        await self._structure(Hypercall.EVENT_CHANNEL_OP, EventOp.UNMASK, PORT, port)

    async def event_close(self, port: int) -> None:
        """Close a port."""
        await self._structure(Hypercall.EVENT_CHANNEL_OP, EventOp.CLOSE, PORT, port)

    async def event_reset(self) -> None:
        """Close all ports and go back to the 2-level ABI."""
        await self._structure(Hypercall.EVENT_CHANNEL_OP, EventOp.RESET, event_channel.RESET, DOMID_SELF)

    async def event_init_control(self, gfn: int, offset: int, vcpu: int) -> None:
        """Queues of a vCPU at `offset` in a guest page; the first call switches to the FIFO ABI."""
        layout = event_channel.INIT_CONTROL
        await self._structure(Hypercall.EVENT_CHANNEL_OP, EventOp.INIT_CONTROL, layout, gfn, offset, vcpu, 0)

    async def event_expand_array(self, gfn: int) -> None:
        """A guest page of 1024 more event words."""
        await self._structure(Hypercall.EVENT_CHANNEL_OP, EventOp.EXPAND_ARRAY, event_channel.EXPAND_ARRAY, gfn)

    async def event_set_priority(self, port: int, priority: int) -> None:
        """Queue of a port's next events, 0 (first) to 15; FIFO ABI only."""
        layout = event_channel.SET_PRIORITY
        await self._structure(Hypercall.EVENT_CHANNEL_OP, EventOp.SET_PRIORITY, layout, port, priority)

    # --- sched_op, vcpu_op -----------------------------------------------------------------------

    async def sched_yield(self) -> None:
        """Let other vCPUs that wait for the core go first."""
        await self._call(Hypercall.SCHED_OP, SchedOp.YIELD)

    async def sched_block(self) -> None:
        """Allow upcalls and sleep until one; it may return without any."""
        await self._call(Hypercall.SCHED_OP, SchedOp.BLOCK)

    async def sched_poll(self, ports: Sequence[int], until: int) -> None:
        """Sleep until a port, masked or not, is pending or until system time `until` (ns); it may return without either."""

        def arguments(at: int) -> bytes:
            return POLL.pack(at + POLL.size, len(ports), until) + b"".join(PORT.pack(port) for port in ports)

        await self._with_page(Hypercall.SCHED_OP, SchedOp.POLL, arguments)

    async def shutdown(self, reason: ShutdownReason) -> None:
        """End this domain: any later call raises."""
        await self._structure(Hypercall.SCHED_OP, SchedOp.SHUTDOWN, SHUTDOWN, reason)

    async def runstate(self, vcpu: int = 0) -> tuple[RunstateState, int, tuple[int, ...]]:
        """State of an own vCPU, since when (ns), and the ns in each state."""
        page = self._pages.take()
        at = page << PAGE_SHIFT
        try:
            await self._call(Hypercall.VCPU_OP, VcpuOp.GET_RUNSTATE_INFO, vcpu, at)
            state, entered, *times = RUNSTATE_INFO.unpack(self._machine.memory.read(at, RUNSTATE_INFO.size))
        finally:
            self._pages.give(page)
        return RunstateState(state), entered, tuple(times)

    def set_singleshot_timer(self, deadline: int) -> bool:
        """VIRQ_TIMER at system time `deadline` (ns) on the vCPU that asks; False when that has passed. Never sleeps."""
        page = self._pages.take()
        at = page << PAGE_SHIFT
        try:
            self._machine.memory.write(at, SET_SINGLESHOT_TIMER.pack(deadline, SingleshotFlag.FUTURE))
            result = self._machine.vmcall_now(Hypercall.VCPU_OP, VcpuOp.SET_SINGLESHOT_TIMER, 0, at)
            return result != -Errno.ETIME and not self._checked(result)
        finally:
            self._pages.give(page)

    def stop_singleshot_timer(self) -> None:
        """Undo `set_singleshot_timer`. Never sleeps."""
        self._checked(self._machine.vmcall_now(Hypercall.VCPU_OP, VcpuOp.STOP_SINGLESHOT_TIMER, 0))

    # --- myri_op ---------------------------------------------------------------------------------

    async def endpoint_allocate(self, form: Form, receive_form: Form | None = None) -> EndpointGrant:
        """`receive_form`: how receive buffers will reach the NIC; None for an endpoint that only sends."""
        receive = myri.SEND_ONLY if receive_form is None else receive_form
        answer = await self._structure(
            Hypercall.MYRI_OP, MyriOp.ALLOCATE, myri.ALLOCATE, form, receive, 0, 0, 0, 0, 0, bytes(6), 0
        )
        _, _, endpoint, mode, inline_max, max_frame, vlan, mac, aperture = answer
        return EndpointGrant(endpoint, Mode(mode), aperture, inline_max, max_frame, mac, vlan)

    async def grant_map_to_device(self, endpoint: int, reference: int, *, readonly: bool) -> DeviceMapping:
        """Let an own endpoint reach a page that the guest granted to the control domain."""
        [mapping] = await self.grant_map_run_to_device(endpoint, [reference], readonly=readonly)
        return mapping

    async def grant_map_run_to_device(
        self, endpoint: int, references: Sequence[int], *, readonly: bool
    ) -> list[DeviceMapping]:
        """The same for a run of pages, as one registration for each `MAP_BATCH` of them."""
        layout, flags = myri.MAP_GRANT, MapFlag.READONLY if readonly else 0
        mappings: list[DeviceMapping] = []
        for first in range(0, len(references), MAP_BATCH):
            some = references[first : first + MAP_BATCH]
            try:
                data = b"".join(layout.pack(endpoint, flags, reference, 0, 0, 0) for reference in some)
            except struct.error as error:
                raise HypercallError(Errno.EINVAL, f"endpoint {endpoint}, references {some}: {error}") from error
            answer = await self._map_grants(data, len(some))
            for *_, status, handle, address in layout.iter_unpack(answer):
                mappings.append(DeviceMapping(GrantStatus(status), handle, address))
        return mappings

    async def _map_grants(self, data: bytes, count: int) -> bytes:
        _, answer = await self._with_page(Hypercall.MYRI_OP, MyriOp.MAP_GRANTS, lambda _: data, count)
        return answer[: len(data)]

    async def grant_unmap_from_device(self, handles: Sequence[int]) -> list[GrantStatus]:
        """Undo device mappings; the status of each."""
        layout = myri.UNMAP_GRANT
        statuses: list[GrantStatus] = []
        batch = PAGE_SIZE // layout.size
        for first in range(0, len(handles), batch):
            some = handles[first : first + batch]
            data = b"".join(layout.pack(handle & 0xFFFF_FFFF, 0) for handle in some)
            statuses += await self._unmap(data, len(some))
        return statuses

    async def _unmap(self, data: bytes, count: int) -> list[GrantStatus]:
        _, answer = await self._with_page(Hypercall.MYRI_OP, MyriOp.UNMAP_GRANTS, lambda _: data, count)
        return [GrantStatus(status) for _, status in myri.UNMAP_GRANT.iter_unpack(answer[: len(data)])]

    async def map_superpage_to_device(self, endpoint: int, gfn: int, *, readonly: bool) -> int:
        """Let an own endpoint reach 512 aligned pages in consecutive frames by one 2 MiB entry; the device address."""
        flags = MapFlag.READONLY if readonly else 0
        answer = await self._structure(
            Hypercall.MYRI_OP, MyriOp.MAP_SUPERPAGE, myri.MAP_SUPERPAGE, endpoint, flags, gfn, 0
        )
        return int(answer[3])

    async def endpoint_enable(
        self,
        endpoint: int,
        send_log2: int,
        cq_log2: int,
        send_base: int,
        cq_base: int,
        receive: ReceiveSetup | None = None,
    ) -> None:
        """Program ring sizes and bases (device addresses) and let the endpoint run."""
        if receive is None:
            side: tuple[int, ...] = (0,) * 9
            bases: tuple[int, ...] = (0,) * (2 + _MAX_QUEUES)
        else:
            queues = receive.queue_bases
            side = (
                1, receive.small_log2, receive.big_log2, receive.queue_log2, receive.buffer_log2, receive.small_bytes,
                receive.max_frame, len(queues), receive.rss,
            )  # fmt: skip
            bases = (receive.small_base, receive.big_base, *(*queues, *(0,) * _MAX_QUEUES)[:_MAX_QUEUES])
        await self._structure(
            Hypercall.MYRI_OP, MyriOp.ENABLE, myri.ENABLE, endpoint, send_log2, cq_log2, *side, send_base, cq_base, *bases
        )

    async def endpoint_disable(self, endpoint: int) -> None:
        """Stop an endpoint; on return nothing of it is in flight."""
        await self._structure(Hypercall.MYRI_OP, MyriOp.DISABLE, myri.ENDPOINT, endpoint)

    async def endpoint_release(self, endpoint: int) -> None:
        """Give an endpoint back."""
        await self._structure(Hypercall.MYRI_OP, MyriOp.RELEASE, myri.ENDPOINT, endpoint)

    async def endpoint_rss(self, endpoint: int, key: bytes, table: Sequence[int]) -> None:
        """Toeplitz key (40 bytes) and indirection table (128 queue numbers)."""
        if len(key) != myri.RSS_KEY_BYTES or len(table) != myri.RSS_TABLE_ENTRIES:
            raise HypercallError(
                Errno.EINVAL,
                f"key has {len(key)} bytes, table has {len(table)} entries: {myri.RSS_KEY_BYTES} and {myri.RSS_TABLE_ENTRIES}",
            )
        await self._structure(Hypercall.MYRI_OP, MyriOp.SET_RSS, myri.SET_RSS, endpoint, key, bytes(table))

    async def endpoint_moderation(self, endpoint: int, ns: int, frames: int) -> None:
        """Interrupt after `ns` from the first completion or after `frames` of them (`ethtool -C`); 0: at once."""
        await self._structure(Hypercall.MYRI_OP, MyriOp.SET_MODERATION, myri.SET_MODERATION, endpoint, ns, frames)

    async def endpoint_multicast(self, endpoint: int, group: bytes, *, join: bool) -> bool:
        """Join or leave a multicast group. False: the NIC's table is full, the guest has not joined."""
        answer = await self._structure(
            Hypercall.MYRI_OP, MyriOp.MULTICAST, myri.MULTICAST, endpoint, int(join), group, 0
        )
        return bool(answer[3])

    async def endpoint_filter(self, endpoint: int, *, promiscuous: bool, all_multicast: bool) -> None:
        """Receive more than one's own; `promiscuous` is refused (EPERM) unless the domain is privileged."""
        flags = FilterFlag.PROMISCUOUS * promiscuous | FilterFlag.ALL_MULTICAST * all_multicast
        await self._structure(Hypercall.MYRI_OP, MyriOp.FILTER, myri.FILTER, endpoint, flags)

    async def endpoint_statistics(self, endpoint: int) -> dict[str, int]:
        """The NIC's counters of the endpoint since it was first enabled, by name."""
        layout, names = myri.STATISTICS, myri.STATISTICS_NAMES

        def arguments(at: int) -> bytes:
            return layout.pack(endpoint, len(names), at + layout.size)

        count, answer = await self._with_page(Hypercall.MYRI_OP, MyriOp.STATISTICS, arguments)
        return dict(zip(names[:count], struct.unpack_from(f"<{count}Q", answer, layout.size), strict=True))

    def endpoint_enqueue(self, endpoint: int, ring: ValidatedRing, entries: bytes) -> int:
        """Mode VALIDATED: hand descriptors or buffers (guest-physical addresses) over; how many there was room for."""
        page = self._pages.take()
        at = page << PAGE_SHIFT
        size = SendDescriptor.BYTES if ring is ValidatedRing.SEND else ReceiveBuffer.BYTES
        batch = min((PAGE_SIZE - myri.ENQUEUE.size) // size, myri.ENQUEUE_MAX)
        done = 0
        try:
            while done * size < len(entries):
                some = entries[done * size : (done + batch) * size]
                count = len(some) // size
                self._machine.memory.write(
                    at, myri.ENQUEUE.pack(endpoint, ring, count, 0, at + myri.ENQUEUE.size) + some
                )
                taken = self._checked(self._machine.vmcall_now(Hypercall.MYRI_OP, MyriOp.ENQUEUE, at))
                done += taken
                if taken < count:
                    break
        finally:
            self._pages.give(page)
        return done

    async def endpoint_retire(self, endpoint: int) -> None:
        """Mode VALIDATED: have what the NIC has passed unpinned, so that there is room again."""
        await self._structure(Hypercall.MYRI_OP, MyriOp.RETIRE, myri.ENDPOINT, endpoint)

    # --- the call itself -------------------------------------------------------------------------

    async def _structure(
        self, number: Hypercall, command: int, layout: struct.Struct, *values: Any, count: int | None = None
    ) -> tuple[Any, ...]:
        """Call with one structure as argument; the structure as the hypervisor left it."""
        try:
            data = layout.pack(*values)
        except struct.error as error:
            name = f"{number.name}.{command}".lower()
            raise HypercallError(Errno.EINVAL, f"arguments {values} do not fit the structure of {name}: {error}") from error
        _, answer = await self._with_page(number, command, lambda _: data, *(() if count is None else (count,)))
        return layout.unpack(answer[: layout.size])

    async def _with_page(
        self, number: Hypercall, command: int, arguments: Callable[[int], bytes], *extra: int
    ) -> tuple[int, bytes]:
        """Call with a page whose start holds `arguments(its guest address)`; result, and the page afterwards."""
        page = self._pages.take()
        at = page << PAGE_SHIFT
        try:
            self._machine.memory.write(at, arguments(at))
            result = await self._call(number, command, at, *extra)
            return result, self._machine.memory.read(at, PAGE_SIZE)
        finally:
            self._pages.give(page)

    async def _call(self, number: Hypercall, *arguments: int) -> int:
        return self._checked(await self._machine.vmcall(number, *arguments))

    def _checked(self, result: int) -> int:
        if result < 0:
            raise HypercallError(Errno(-result), self._machine.refusal)
        return result


def _frame_list(answer: bytes, layout: struct.Struct, status: GrantStatus, count: int, what: str) -> list[int]:
    """Frame numbers behind a structure, if its status is OKAY."""
    if status is not GrantStatus.OKAY:
        raise HypercallError(Errno.EINVAL, f"{what}: {status.name}")
    return [FRAME.unpack_from(answer, layout.size + n * FRAME.size)[0] for n in range(count)]


def _side(side: GrantSide) -> tuple[int, int, int]:
    name = side.gref if side.gref is not None else side.gfn
    if name is None:
        raise HypercallError(Errno.EINVAL, "a side of a copy names neither a reference nor a frame")
    return name, side.domid, side.offset
