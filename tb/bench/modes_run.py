"""Two guests in one way of sharing the NIC, on any `Platform`, with software costs: messages, streams both ways, registrations."""

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
from tb.bench.modes import COUNTED, MTU, REGISTERS, SIDES, Flow, Received, Share, Spent, Stream
from tb.ethernet import on_line, with_fcs
from tb.sim.scenario import KICK_BATCH, Gather, replay

DOMAIN_PAGES: Final = 1536
QUIET_NS: Final = 50_000
"""A domain that sleeps so long has nothing to do any more."""
LIMIT_NS: Final = 50_000_000
"""Bound of each wait."""
COLD_ROUNDS: Final = 2
"""Not counted: they fill the IOTLB."""
HEADER: Final = 14
PREAMBLE: Final = 8
WINDOW: Final = 64
"""Frames to a guest that are under way or wait for it, at most, as with TCP: fewer than there are buffers anywhere."""
ASLEEP_NS: Final = 5_000
"""A receiver that has nothing to do has asked for its interrupt after so long."""
PEER: Final = bytes.fromhex("020000000001")
_WAITING: Final = ("poll", "idle")


def line_ns(line: bytes) -> int:
    """Time of a frame on the line, FCS and preamble included, ns, rounded up."""
    return -(-(PREAMBLE + len(line)) * 8 // 10)


def _numbered(to: bytes, source: bytes, size: int, number: int) -> bytes:
    """A frame that no other one of the run equals, without FCS."""
    body = number.to_bytes(4, "big") + bytes((n + number) % 251 for n in range(size))
    return (to + source + b"\x88\xb5" + body)[:size]


@dataclass(frozen=True)
class Bench:
    """The platform, and what each has in a form of its own."""

    platform: Platform
    gather: Gather
    start: Start
    wire: Callable[[], Iterable[tuple[int, bytes]]]
    """Frames that have left since the last call: ns, and bytes with FCS."""
    wire_send: Callable[[bytes, int], None]
    """Puts a frame, with FCS, on the line towards the NIC: its preamble arrives at a time, ns, or after the frame before it."""


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
            for name in SIDES:
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

    async def line_latency(self, size: int, rounds: int) -> float:
        """Median ns from the last bit on the line of a frame with `size` bytes behind its header, until the receiver has it."""
        times = [await self._from_line(size) for _ in range(COLD_ROUNDS + rounds)]
        return median(times[COLD_ROUNDS:])

    async def _from_line(self, size: int) -> int:
        domain, device = self.sides[1].domain, self.sides[1].device
        await self._quiet()
        line = on_line(_numbered(device.mac, PEER, HEADER + size, size))
        begins = domain.now() + ASLEEP_NS
        self._bench.wire_send(line, begins)
        frames = await device.receive(LIMIT_NS)
        ended = domain.now()
        if [with_fcs(frame.data) for frame in frames] != [line]:
            raise RuntimeError(f"mode {self.sharing}: a frame of {size} bytes from the line arrived as {len(frames)} others")
        return ended - begins - line_ns(line)

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

    async def received(self, flow: Flow, frames: int, paced: int) -> Received:
        """`frames` frames of COUNTED bytes to the second guest, as fast as they come, and `paced` ones that find it asleep."""
        stream = await (self._line_stream(frames) if flow is Flow.RX else self._guest_stream(frames))
        await self._quiet()
        size = COUNTED - HEADER
        before, began = self._moment(), self.sides[1].domain.now()
        for _ in range(paced):
            await (self._from_line(size) if flow is Flow.RX else self._message(size))
        await self._quiet()
        elapsed = self.sides[1].domain.now() - began
        return Received(stream, Stream(paced, COUNTED * 8 * paced / elapsed, self._since(before)))

    async def _line_stream(self, frames: int) -> Stream:
        """The line's other end keeps `WINDOW` frames under way: nothing is lost, the slower one sets the rate."""
        side = self.sides[1]
        due = [_numbered(side.device.mac, PEER, COUNTED, number) for number in range(frames)]
        await self._quiet()
        before, began = self._moment(), side.domain.now()
        for frame in due[:WINDOW]:
            self._bench.wire_send(on_line(frame), 0)
        got: list[bytes] = []
        while len(got) < frames:
            fresh = await self._some(side.device, len(got), frames)
            for frame in due[len(got) + WINDOW :][: len(fresh)]:
                self._bench.wire_send(on_line(frame), 0)
            got += fresh
        return await self._received(due, got, before, began, side.domain.now())

    async def _guest_stream(self, frames: int) -> Stream:
        sender, receiver = self.sides
        due = [_numbered(receiver.device.mac, sender.device.mac, COUNTED, number) for number in range(frames)]
        got: list[bytes] = []
        ended = 0
        # What a protocol's acknowledgements tell, at no cost.
        taken = sender.domain.signal()

        async def receive() -> None:
            nonlocal ended
            while len(got) < frames:
                got.extend(await self._some(receiver.device, len(got), frames))
                taken.notify()
            ended = receiver.domain.now()

        async def send() -> None:
            for number, frame in enumerate(due):
                while number >= len(got) + WINDOW:
                    sender.device.kick()
                    await taken.wait(LIMIT_NS)
                while not sender.device.send(frame):
                    await sender.device.wait_for_room(LIMIT_NS)
                if number % KICK_BATCH == KICK_BATCH - 1:
                    sender.device.kick()
            await sender.device.drain(LIMIT_NS)

        await self._quiet()
        before, began = self._moment(), sender.domain.now()
        await self._bench.gather([receive(), send()])
        return await self._received(due, got, before, began, ended)

    async def _some(self, device: NetworkDevice, got: int, frames: int) -> list[bytes]:
        fresh = await device.receive(LIMIT_NS)
        if not fresh:
            raise PlatformTimeoutError(f"mode {self.sharing}: {got} of {frames} frames came in {LIMIT_NS} ns")
        return [frame.data for frame in fresh]

    async def _received(self, due: list[bytes], got: list[bytes], before: Spent, began: int, ended: int) -> Stream:
        await self._quiet()
        if got != due:
            raise RuntimeError(f"mode {self.sharing}: {len(got)} frames were received, not those {len(due)} that were sent")
        return Stream(len(due), COUNTED * 8 * len(due) / (ended - began), self._since(before))

    def _moment(self) -> Spent:
        """Everything since the machine was switched on."""
        operations: dict[tuple[str, str], int] = {}
        time: dict[str, Share] = {}
        for domid, _, payer, operation, picoseconds in self._scheduler.accounts.rows():
            who = "dom0" if domid == DOMID_CONTROL else "guest"
            ns = picoseconds / PS
            if operation in self.costs:
                key = who, operation
                operations[key] = operations.get(key, 0) + picoseconds // self.costs[operation].picoseconds
            # The owner of a native NIC is both guests at once.
            alone = who == "dom0" or self.sharing is Sharing.NATIVE
            for name in (who,) if alone else (who, self._hv.domains[domid].name):
                share = time.get(name, Share())
                time[name] = Share(
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
