"""Lives and deaths of a guest beside two siblings that send and receive as fast as they can, on either NIC."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from hypervisor_model.domains import Domain
from hypervisor_model.endpoints import CONTROL_BAR
from hypervisor_model.faults import DomainCrashedError
from hypervisor_model.host import DeviceConfig, Guest, Host
from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.memory import OWNER_NONE
from hypervisor_model.sharing import Sharing
from sw.abi.registers import Iommu, Mode, NicControl
from sw.guest.network_device import NetworkDevice
from sw.guest.transmit import SendForm
from sw.guest.virtual_nic import ReceiveConfig, VirtualNic
from sw.platform import PAGE_SHIFT, PAGE_SIZE, Platform, PlatformTimeoutError, Signal
from sw.xen.sched import ShutdownReason
from tb.ethernet import on_line, without_fcs

PEER = bytes.fromhex("020000000001")
SIBLINGS = 2
VISITOR, WIRE = SIBLINGS, SIBLINGS + 1
"""Numbers of the third guest and of the far end of the line, beside the siblings' own."""
MAC_IDS = (0x11, 0x12, 0x13)
PAGES = 1200
RING, BUFFER_PAGES, RECEIVE = 32, 40, 128
PEER_GAP_NS = 5_000
"""The far end fills a quarter of the line."""
WIRE_POLL_NS = 5_000
WAIT_NS = 20_000_000
IDLE_NS = 2_000
LONG = 1514
LINE_OVERHEAD = 24
"""Preamble, FCS and gap of a frame."""
SETTLE_NS = 5_000
"""From the last doorbell of a start until the NIC has fetched its receive rings: without costs no time has passed."""
SILENCE_NS = 8_000
"""Longer than any DMA that was under way."""
WARM_UP_NS = {Sharing.SPLIT: 2_000_000}
"""Until all queues are as full as they stay; in other modes than this: 100 us."""
VISIT_NS = 5_000_000
"""Bound of the wait for frames of both siblings and of the far end."""
CALIBRATION_NS = 400_000
CANARY = b"\xa5" * PAGE_SIZE

_TAG = struct.Struct(">HBBII")
"""EtherType, source, addressee, life of the source, number among the frames from this source to this addressee."""
_NOISE = random.Random(1514).randbytes(2 * 4099)


class LineFrame(Protocol):
    """A frame that has left, with FCS."""

    @property
    def data(self) -> bytes: ...


class Line(Platform, Protocol):
    """Both platforms."""

    def wire_send(self, data: bytes) -> None: ...

    def wire_frames(self) -> Sequence[LineFrame]: ...


Start = Callable[[Coroutine[Any, Any, Any]], object]


class End(Enum):
    """How a life ends."""

    CLOSE = "close"
    """Everything sent, the device closed, shut down."""
    KILL = "kill"
    """Destroyed from outside, with its rings full."""
    CRASH = "crash"
    """It says that it has crashed (sched_op shutdown)."""
    FAULT = "fault"
    """It touches a page that it has not."""


ENDS = {sharing: list(End) for sharing in Sharing} | {Sharing.NATIVE: [End.CLOSE, End.KILL]}
"""An application of the owner of the NIC has no domain of its own to crash."""


def frame(macs: list[bytes], source: int, to: int, life: int, number: int) -> bytes:
    """A frame that says what it is; three of four are as long as can be."""
    size = LONG if number % 4 else 60 + (number * 97 + source) % (LONG - 59)
    start = (number * 31 + source * 7 + life) % 4099
    head = macs[to] + macs[source] + _TAG.pack(0x88B5, source, to, life, number)
    return head + _NOISE[start : start + size - len(head)]


@dataclass
class Sink:
    """Checks what arrives at one place: bit-exact, and of each source and life each number once, in order."""

    name: str
    macs: list[bytes]
    place: int
    numbers: dict[tuple[int, int, int], list[int]] = field(default_factory=dict)
    """By source, addressee, life: what has arrived."""
    octets: list[int] = field(default_factory=lambda: [0] * 4)
    """Line octets from each source, without those to the third guest: some of these die with it."""

    def take(self, data: bytes) -> None:
        kind, source, to, life, number = _TAG.unpack_from(data, 12)
        where = f"{self.name}: frame {number} of life {life} from {source} to {to}"
        assert kind == 0x88B5 and data == frame(self.macs, source, to, life, number), where
        # What is for the third guest leaves by the wire while there is none.
        assert to == self.place or (self.place == WIRE and to == VISITOR and source != WIRE), where
        numbers = self.numbers.setdefault((source, to, life), [])
        if numbers and to != VISITOR:
            assert number == numbers[-1] + 1, f"{where}, after {numbers[-1]}"
        elif numbers:
            assert number > numbers[-1], f"{where}, after {numbers[-1]}"
        elif to != VISITOR:
            assert number == 0, f"{where} is the first"
        numbers.append(number)
        if to != VISITOR:
            self.octets[source] += len(data) + LINE_OVERHEAD


@dataclass
class Source:
    """What one guest sends."""

    number: int
    order: tuple[int, ...]
    """Addressees, in turn."""
    life: int = 0
    sent: dict[int, int] = field(default_factory=dict)
    """Frames handed to the device, by addressee."""
    running: bool = True
    turn: int = 0

    async def run(self, macs: list[bytes], device: NetworkDevice) -> None:
        """Keep the device's ring full until told to stop."""
        while self.running:
            to = self.order[self.turn % len(self.order)]
            number = self.sent.get(to, 0)
            if device.send(frame(macs, self.number, to, self.life, number)):
                self.sent[to] = number + 1
                self.turn += 1
            else:
                await device.wait_for_room(WAIT_NS)
        device.kick()


@dataclass
class Tenant:
    """Who has a device, and what it does with it."""

    device: NetworkDevice
    source: Source
    sink: Sink
    guest: Guest | None = None
    """None for an application of the NIC's owner."""
    tasks: int = 0
    idle: Signal | None = None


@dataclass
class Share:
    """Line octets that each sibling got through in a time."""

    ns: int
    octets: list[int]


@dataclass
class Outcome:
    calibration: Share
    rounds: list[Share]
    lives: dict[str, int]
    """How many ended how."""

    def check_share(self) -> None:
        """Over all lives each sibling gets at least as much as beside a third guest that never stops.

        No tolerance: the third guest is absent for a part of each round, so what the line leaves is more.
        """
        ns = sum(share.ns for share in self.rounds)
        for number in range(SIBLINGS):
            got = sum(share.octets[number] for share in self.rounds)
            assert got * self.calibration.ns >= self.calibration.octets[number] * ns, (
                f"sibling {number}: {got} octets in {ns} ns, beside a third that behaves "
                f"{self.calibration.octets[number]} in {self.calibration.ns} ns"
            )


class Scene:
    """One machine, its siblings and its visitor."""

    def __init__(self, platform: Line, start: Start, sharing: Sharing, seed: int) -> None:
        self.platform = platform
        self.start = start
        self.sharing = sharing
        self.rng = random.Random(seed)
        self.hv = Hypervisor(platform, seed=seed)
        self.host: Host | None = None
        self.owner: Domain
        self.macs: list[bytes] = []
        self.siblings: list[Tenant] = []
        self.wire: Sink
        self.life = 0
        self.sinks: list[Sink] = []
        self.windows: set[int] = set()
        """Valid entries of the NIC's window table, by what was written there."""
        self.running = True

    # --- set-up ----------------------------------------------------------------------------------

    async def boot(self) -> None:
        await self.hv.boot()
        self._watch_windows()
        if self.sharing is Sharing.NATIVE:
            self.owner = self.hv.create_domain("owner", 3 * PAGES, mode=Mode.NATIVE, mac_id=MAC_IDS[0])
        else:
            self.host = Host(self.hv, self.platform, self.start, self.sharing)
            await self.host.boot()
        base = [bytes(6)] * 3 + [PEER]
        self.macs = base
        self.wire = Sink("wire", self.macs, WIRE)
        for number in range(SIBLINGS):
            self.siblings.append(await self.open(number))
        self.clean = await self.holdings()
        visitor = await self.open(VISITOR)
        await self.end(visitor, End.CLOSE)

    def _watch_windows(self) -> None:
        """Note which windows are made valid and invalid: the table cannot be read."""
        base = self.hv.device.bars[CONTROL_BAR][0] + NicControl.WINDOW_CONTROL
        stride, post = NicControl.WINDOW_STRIDE, self.platform.mmio_write

        def write(address: int, data: bytes) -> None:
            number, rest = divmod(address - base, stride)
            if rest == 0 and 0 <= number < NicControl.WINDOW_COUNT:
                (self.windows.add if data[0] & NicControl.WINDOW_CONTROL_VALID_M else self.windows.discard)(number)
            post(address, data)

        self.platform.mmio_write = write  # type: ignore[method-assign]

    async def open(self, number: int) -> Tenant:
        """A guest, or an application, with its device up."""
        device: NetworkDevice
        guest = None
        if self.host is None:
            # one of each form in which requests reach the NIC
            form = (SendForm.FETCHED, SendForm.PUSHED, SendForm.INLINE)[number]
            nic = VirtualNic(self.owner, form, RING, buffer_pages=BUFFER_PAGES, receive=ReceiveConfig(entries=RECEIVE))
            await nic.open()
            device = nic
        else:
            domain = self.hv.create_domain(f"guest{number}", PAGES, mode=self.sharing.mode, crash_on_fault=True,
                                           mac_id=MAC_IDS[number])
            form = (SendForm.FETCHED, SendForm.INLINE, SendForm.FETCHED)[number]
            config = DeviceConfig(form=form, ring_entries=RING, buffer_pages=BUFFER_PAGES, receive_entries=RECEIVE)
            guest = await self.host.add_guest(domain, config)
            device = guest.device
        assert self.macs[number] in (device.mac, bytes(6)), "it came back with another address"
        self.macs[number] = device.mac
        order = (WIRE, 0, WIRE, 1) if number == VISITOR else (WIRE, 1 - number) * 3 + (WIRE, VISITOR)
        source = Source(number, order, self.life if number == VISITOR else 0)
        sink = Sink(f"guest {number}, life {self.life}", self.macs, number)
        return Tenant(device, source, sink, guest)

    # --- traffic ---------------------------------------------------------------------------------

    def work(self, tenant: Tenant) -> None:
        """Begin to send and receive."""
        tenant.idle = self.platform.signal()
        tenant.source.running = True

        async def receive() -> None:
            while tenant.source.running:
                for got in await tenant.device.receive(IDLE_NS):
                    tenant.sink.take(got.data)

        async def alive(task: Coroutine[Any, Any, None]) -> None:
            with suppress(DomainCrashedError):
                await task
            tenant.tasks -= 1
            assert tenant.idle is not None
            tenant.idle.notify()

        for task in (tenant.source.run(self.macs, tenant.device), receive()):
            tenant.tasks += 1
            self.start(alive(task))

    async def rest(self, tenant: Tenant) -> None:
        """Until nothing of a tenant runs any more."""
        tenant.source.running = False
        assert tenant.idle is not None
        while tenant.tasks:
            if not await tenant.idle.wait(WAIT_NS):
                raise PlatformTimeoutError(f"{tenant.tasks} tasks of {tenant.sink.name} have not ended in {WAIT_NS} ns")

    def collect(self) -> None:
        """Take what has left."""
        for left in self.platform.wire_frames():
            if left.data[12:14] != b"\x88\x08":
                self.wire.take(without_fcs(left.data))

    async def watch_wire(self) -> None:
        while self.running:
            await self.platform.sleep(WIRE_POLL_NS)
            self.collect()

    async def feed(self) -> None:
        """The far end: frames for everybody, also for who is not there."""
        sent = [0] * 3
        turn = 0
        while self.running:
            to = turn % 3
            self.platform.wire_send(on_line(frame(self.macs, WIRE, to, 0, sent[to])))
            sent[to] += 1
            turn += 1
            await self.platform.sleep(PEER_GAP_NS)
        self.fed = sent

    def octets(self) -> list[int]:
        """Line octets of each sibling that have arrived on the line or at the other so far."""
        self.collect()
        sinks = [self.wire, *(tenant.sink for tenant in self.siblings), *self.sinks]
        return [sum(sink.octets[number] for sink in sinks) for number in range(SIBLINGS)]

    async def share(self, work: Coroutine[Any, Any, None]) -> Share:
        """What siblings get through during `work`."""
        before, began = self.octets(), self.platform.now()
        await work
        after = self.octets()
        return Share(self.platform.now() - began, [b - a for a, b in zip(before, after, strict=True)])

    # --- life and death --------------------------------------------------------------------------

    async def visit(self, ns: int) -> Tenant:
        """The third guest comes and works for a while."""
        self.life += 1
        tenant = await self.open(VISITOR)
        self.sinks.append(tenant.sink)
        self.work(tenant)
        await self.platform.sleep(ns)
        deadline = self.platform.now() + VISIT_NS
        while len({source for source, _, _ in tenant.sink.numbers}) < 3 or len(tenant.source.sent) < 3:
            if self.platform.now() >= deadline:
                raise PlatformTimeoutError(f"life {self.life} did not hear from everybody in {VISIT_NS} ns more")
            await self.platform.sleep(IDLE_NS)
        return tenant

    async def end(self, tenant: Tenant, end: End) -> None:
        """The third guest goes, and everything of it."""
        guest, host = tenant.guest, self.host
        if end is End.CLOSE or guest is None or host is None:
            if tenant.idle is not None:
                await self.rest(tenant)
            if end is End.CLOSE:
                await tenant.device.drain(WAIT_NS)
            await tenant.device.close()
            if guest is not None and host is not None:
                assert await host.remove_guest(guest)
                with suppress(DomainCrashedError):
                    await guest.domain.hypercall.shutdown(ShutdownReason.POWEROFF)
                await self.hv.destroy_domain(guest.domain.domid)
            return
        domain = guest.domain
        if end is End.CRASH:
            with suppress(DomainCrashedError):
                await domain.hypercall.shutdown(ShutdownReason.CRASH)
        elif end is End.FAULT:
            with suppress(DomainCrashedError):
                domain.mmio_write((domain.layout.device + 0x3FF) << PAGE_SHIFT, bytes(4))
        assert domain.crashed is (end in (End.CRASH, End.FAULT))
        assert await host.bury_guest(guest)
        await self.rest(tenant)

    async def one_round(self, end: End, *, last: bool) -> None:
        """A life, a death, and a look at what is left while the siblings go on.

        Whether frames for the dead leave by the wire is looked at once in mode split: its uplink queue is 600 us long.
        """
        before = self.clean
        tenant = await self.visit(self.rng.randint(15_000, 40_000))
        domid = tenant.guest.domain.domid if tenant.guest is not None else None
        frames = self.hv.frames.owned(domid) if domid is not None else []
        await self.end(tenant, end)
        what = f"life {self.life}, {end.value}"
        assert domid is None or self.hv.leaks(domid) == [], what
        after = await self.holdings()
        assert after == before, f"{what}: {[(k, before[k], after[k]) for k in before if before[k] != after[k]]}"
        # Nothing writes what it had. What is for it leaves by the wire again.
        for number in frames:
            self.hv.frames.page(number)[:] = CANARY
        await self.platform.sleep(SILENCE_NS)
        if self.sharing is not Sharing.SPLIT or last:
            for sibling in self.siblings:
                await self.gone(sibling, what)
        touched = [hex(number) for number in frames if self.hv.frames.page(number) != CANARY]
        assert not touched, f"{what}: written after the end: frames {touched}"
        if end is End.CLOSE:
            self.closed.append(tenant)

    async def gone(self, sibling: Tenant, what: str) -> None:
        """Until a frame for the visitor that is sent from now on has left, with all since: there is nobody to get it inside."""
        first = sibling.source.sent[VISITOR]
        seen = self.wire.numbers.setdefault((sibling.source.number, VISITOR, 0), [])
        deadline = self.platform.now() + VISIT_NS
        while not seen or seen[-1] <= first:
            if self.platform.now() >= deadline:
                raise PlatformTimeoutError(f"{what}: no frame for it left the NIC in {VISIT_NS} ns: something still takes them")
            await self.platform.sleep(IDLE_NS)
            self.collect()
        late = [number for number in seen if number >= first]
        assert late == list(range(first, first + len(late))), f"{what}: of the frames for nobody {late} left"

    async def holdings(self) -> dict[str, Any]:
        """Everything of which there must be as much after a life as before it, by name."""
        hv, host = self.hv, self.host
        found: dict[str, Any] = {
            "free frames": len(hv.frames.owned(OWNER_NONE)),
            "domains": len(hv.domains),
            "endpoints": hv.endpoints.in_use,
            "multicast groups": hv.endpoints.switch.groups_used,
            "interrupts": [len(hv.pirqs_of(domid)) for domid in hv.domains],
            "ports": [sorted(domain.events.ports) for domain in hv.domains.values()],
            "device mappings": [len(hv.grants.handles(domid)) for domid in hv.domains],
            "windows": sorted(self.windows),
            "contexts": await self._contexts(),
        }
        if host is not None:
            found["foreign mappings"] = [
                m.granter for _, m in hv.grants.maptrack(host.control.domid) if m.granter not in hv.domains
            ]
            found["nodes"] = self._nodes("/")
            found["watches"] = host.daemon.watches
            found["introduced"] = sorted(host.guests)
        return found

    async def _contexts(self) -> list[int]:
        """Requesters with a context entry, from the IOMMU's root table in memory."""
        memory = self.platform.memory
        at = self.platform.machine.iommu + Iommu.RTADDR_LO
        low, high = [int.from_bytes(await self.platform.mmio_read(at + n, 4), "little") for n in (0, 4)]
        root = memory.view(high << 32 | low & ~0xFFF, PAGE_SIZE)
        found = []
        for bus, (entry, _) in enumerate(struct.iter_unpack("<QQ", root)):
            if entry & 1:
                contexts = memory.view(entry & ~0xFFF, PAGE_SIZE)
                found += [bus << 8 | n for n, (low, _) in enumerate(struct.iter_unpack("<QQ", contexts)) if low & 1]
        return found

    def _nodes(self, path: str) -> list[str]:
        assert self.host is not None
        found = []
        for name in self.host.daemon.local.directory(path):
            child = f"{path.rstrip('/')}/{name}"
            found += [child, *self._nodes(child)]
        return found

    # --- the whole -------------------------------------------------------------------------------

    async def play(self, rounds: int) -> Outcome:
        await self.boot()
        self.closed: list[Tenant] = []
        await self.platform.sleep(SETTLE_NS)
        for sibling in self.siblings:
            self.work(sibling)
        self.start(self.watch_wire())
        self.start(self.feed())
        # Three that behave: what the line leaves each of them.
        guest = await self.visit(WARM_UP_NS.get(self.sharing, 100_000))
        calibration = await self.share(self.platform.sleep(CALIBRATION_NS))
        await self.end(guest, End.CLOSE)
        shares = []
        ends = ENDS[self.sharing]
        lives = {end.value: 0 for end in ends}
        for number in range(rounds):
            end = ends[number % len(ends)]
            shares.append(await self.share(self.one_round(end, last=number == rounds - 1)))
            lives[end.value] += 1
        for sibling in self.siblings:
            await self.rest(sibling)
            await sibling.device.drain(WAIT_NS)
        self.running = False
        if self.host is not None:
            await self.host.drain(WAIT_NS)
        await self.platform.sleep(200_000)
        await self.finish()
        return Outcome(calibration, shares, lives)

    async def finish(self) -> None:
        """Everything of the siblings has arrived; then they go as well."""
        self.collect()
        for sibling in self.siblings:
            for got in sibling.device.poll(1 << 12):
                sibling.sink.take(got.data)
        for sibling in self.siblings:
            me = sibling.source.number
            sent = sibling.source.sent
            assert len(self.wire.numbers[me, WIRE, 0]) == sent[WIRE]
            other = self.siblings[1 - me].sink
            assert len(other.numbers[me, 1 - me, 0]) == sent[1 - me]
            assert len(sibling.sink.numbers[WIRE, me, 0]) == self.fed[me]
            outside = self.wire.numbers[me, VISITOR, 0]
            inside = [n for sink in self.sinks for n in sink.numbers.get((me, VISITOR, 0), [])]
            assert not set(outside) & set(inside), "a frame came twice"
        for tenant in self.closed:
            source = tenant.source
            arrived = [self.wire.numbers[VISITOR, WIRE, source.life]]
            arrived += [s.sink.numbers[VISITOR, s.source.number, source.life] for s in self.siblings]
            assert sum(map(len, arrived)) == sum(source.sent.values()), f"life {source.life} closed and lost something"
        for sibling in self.siblings:
            await self.end(sibling, End.CLOSE)
        if self.host is not None:
            await self.host.shut_down()
