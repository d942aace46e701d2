"""Two guests in one way of sharing the NIC, on any `Platform`, with software costs: messages, streams, registrations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Final

from hypervisor_model.costs import PS, CostTable, Payer
from hypervisor_model.domains import Domain
from hypervisor_model.host import DeviceConfig, Host, Start
from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.scheduler import Scheduler
from hypervisor_model.sharing import Sharing
from sw.guest.network_device import NetworkDevice
from sw.guest.receive import ReceiveConfig
from sw.guest.transmit import SendForm
from sw.guest.virtual_nic import VirtualNic
from sw.platform import Platform, PlatformTimeoutError
from sw.xen.grant_table import GrantStatus
from sw.xen.xen import DOMID_CONTROL
from tb.bench.modes import MTU, REGISTERS, Share, Spent, Stream
from tb.ethernet import on_line
from tb.sim.scenario import Gather, replay

DOMAIN_PAGES: Final = 1536
QUIET_NS: Final = 50_000
"""A domain that sleeps so long has nothing to do any more."""
LIMIT_NS: Final = 50_000_000
"""Bound of each wait."""
COLD_ROUNDS: Final = 2
"""Not counted: they fill the IOTLB."""
HEADER: Final = 14
PEER: Final = bytes.fromhex("020000000001")
_WAITING: Final = ("poll", "idle")


@dataclass(frozen=True)
class Bench:
    """The platform, and what each has in a form of its own."""

    platform: Platform
    gather: Gather
    start: Start
    wire: Callable[[], Iterable[tuple[int, bytes]]]
    """Frames that have left since the last call: ns, and bytes with FCS."""


@dataclass(frozen=True)
class Side:
    """One guest, or one application of a native owner."""

    domain: Domain
    device: NetworkDevice


class Pair:
    """Sender and receiver on the same NIC. `build` first."""

    def __init__(self, bench: Bench, sharing: Sharing, costs: CostTable) -> None:
        """`costs`: software must take time, else there is nothing to account for."""
        self._bench = bench
        self.sharing = sharing
        self.costs = costs
        self._hv = Hypervisor(bench.platform, costs=costs)
        self._host: Host | None = None
        self.sides: list[Side] = []

    async def build(self) -> None:
        """Boot everything; devices are open, MTU 9000, interrupts on, descriptors fetched (what every mode can do)."""
        await self._hv.boot()
        config = DeviceConfig(form=SendForm.FETCHED, mtu=MTU)
        if self.sharing is Sharing.NATIVE:
            owner = self._hv.create_domain("owner", 2 * DOMAIN_PAGES, mode=self.sharing.mode)
            receive = ReceiveConfig(mtu=config.mtu, entries=config.receive_entries)
            for _ in range(2):
                nic = VirtualNic(
                    owner, config.form, config.ring_entries, buffer_pages=config.buffer_pages, receive=receive
                )
                await nic.open()
                self.sides.append(Side(owner, nic))
        else:
            self._host = Host(self._hv, self._bench.platform, self._bench.start, self.sharing, MTU)
            await self._host.boot()
            for name in ("sender", "receiver"):
                domain = self._hv.create_domain(name, DOMAIN_PAGES, mode=self.sharing.mode)
                guest = await self._host.add_guest(domain, config)
                self.sides.append(Side(domain, guest.device))
        await self._quiet()

    async def close(self) -> None:
        """Close the devices, end the control domain's tasks."""
        for side in self.sides:
            await side.device.close()
        if self._host is not None:
            await self._host.shut_down()

    # --- messages --------------------------------------------------------------------------------

    async def latency(self, size: int, rounds: int) -> float:
        """Median ns from hand-over of `size` bytes until the receiver, asleep before, has the last one."""
        times = [await self._message(size) for _ in range(COLD_ROUNDS + rounds)]
        return median(times[COLD_ROUNDS:])

    async def _message(self, size: int) -> int:
        sender, receiver = self.sides
        message = bytes((7 * n + size) % 251 for n in range(size))
        parts = [message[at : at + MTU] for at in range(0, size, MTU)]
        began = ended = 0

        async def send() -> None:
            nonlocal began
            await self._quiet()
            began = sender.domain.now()
            for part in parts:
                frame = receiver.device.mac + sender.device.mac + b"\x88\xb5" + part
                while not sender.device.send(frame):
                    await sender.device.wait_for_room(LIMIT_NS)
                # The first frame is under way while the next one is copied.
                sender.device.kick()
            # It sleeps until all has arrived: a native receiver is on the same vCPU.
            await sender.domain.sleep(QUIET_NS)
            await sender.device.drain(LIMIT_NS)

        async def receive() -> None:
            nonlocal ended
            got: list[bytes] = []
            while len(got) < len(parts):
                fresh = await receiver.device.receive(LIMIT_NS)
                if not fresh:
                    raise PlatformTimeoutError(f"{len(got)} of {len(parts)} frames of a message came in {LIMIT_NS} ns")
                got += [frame.data[HEADER:] for frame in fresh]
            ended = receiver.domain.now()
            # Short frames are padded.
            if [data[: len(part)] for data, part in zip(got, parts, strict=True)] != parts:
                raise RuntimeError(f"message of {size} bytes in mode {self.sharing}: other bytes arrived")

        await self._bench.gather([receive(), send()])
        return ended - began

    # --- streams ---------------------------------------------------------------------------------

    async def stream(self, frame_bytes: int, frames: int) -> Stream:
        """`frames` frames from the first guest to the wire, as fast as it can: from hand-over to the last one."""
        side = self.sides[0]
        frame = PEER + side.device.mac + b"\x88\xb5" + bytes(n % 251 for n in range(frame_bytes - HEADER))
        await self._quiet()
        list(self._bench.wire())
        before, began = self._moment(), side.domain.now()
        await replay(side.device, [frame] * frames, LIMIT_NS, lambda: None)
        if self._host is not None:
            await self._host.drain(LIMIT_NS)
        await self._quiet()
        spent = self._since(before)
        left = list(self._bench.wire())
        if [data for _, data in left] != [on_line(frame)] * frames:
            raise RuntimeError(f"mode {self.sharing}: {len(left)} frames on the wire, {frames} of {frame_bytes} bytes sent")
        # From the start on: a control domain that works in batches would look too fast in part of a run.
        return Stream(frames, frame_bytes * 8 * frames / (left[-1][0] - began), spent)

    def _moment(self) -> Spent:
        """Everything since the machine was switched on."""
        operations: dict[tuple[str, str], int] = {}
        time: dict[str, Share] = {}
        for domid, _, payer, operation, picoseconds in self._scheduler.accounts.rows():
            who = "dom0" if domid == DOMID_CONTROL else "guest"
            share, ns = time.get(who, Share()), picoseconds / PS
            if operation in self.costs:
                key = who, operation
                operations[key] = operations.get(key, 0) + picoseconds // self.costs[operation].picoseconds
            time[who] = Share(
                share.own + (ns if payer is Payer.GUEST and operation not in _WAITING else 0),
                share.hypervisor + (ns if payer is Payer.HYPERVISOR else 0),
                share.poll + (ns if payer is Payer.GUEST and operation in _WAITING else 0),
            )
        entries = self._hv.entries
        return Spent(entries.total, sum(entries.hypercalls.values()), entries.interrupts, operations, time)

    def _since(self, before: Spent) -> Spent:
        now = self._moment()
        time = {}
        for who, share in now.time.items():
            old = before.time.get(who, Share())
            time[who] = Share(share.own - old.own, share.hypervisor - old.hypervisor, share.poll - old.poll)
        return Spent(
            now.entries - before.entries,
            now.hypercalls - before.hypercalls,
            now.interrupts - before.interrupts,
            {key: count - before.operations.get(key, 0) for key, count in now.operations.items()},
            time,
        )

    @property
    def _scheduler(self) -> Scheduler:
        if self._hv.scheduler is None:
            raise ValueError("the cost table is free of costs: there is no account of time")
        return self._hv.scheduler

    # --- registration ----------------------------------------------------------------------------

    async def registration(self, pages: int, rounds: int) -> float:
        """Median ns for each page to map `pages` as one registration of a running endpoint, and to take them away again."""
        domain, device = self.sides[0].domain, self.sides[0].device
        if self.sharing not in REGISTERS:
            raise ValueError(f"mode {self.sharing}: guests register no buffers there")
        assert isinstance(device, VirtualNic)
        first = domain.kernel.allocate_pages(pages)
        references = [await domain.kernel.grant_access(gfn, readonly=True) for gfn in range(first, first + pages)]
        times = []
        for _ in range(rounds):
            await self._quiet()
            began = domain.now()
            mappings = await domain.hypercall.grant_map_run_to_device(device.endpoint, references, readonly=True)
            statuses = await domain.hypercall.grant_unmap_from_device([mapping.handle for mapping in mappings])
            times.append(domain.now() - began)
            refused = {status for status in (*(m.status for m in mappings), *statuses) if status is not GrantStatus.OKAY}
            if refused:
                raise RuntimeError(f"mode {self.sharing}: registering {pages} pages gave {refused}")
        for reference in references:
            domain.kernel.end_access(reference)
        domain.kernel.free_pages(first, pages)
        return median(times) / pages

    async def _quiet(self) -> None:
        """Nothing is in flight, and all that software has done has been paid for: only then is it in the accounts."""
        await self._bench.gather([domain.sleep(QUIET_NS) for domain in self._hv.domains.values()])
