"""Frames in every direction as data: from the wire to guests, from guest to guest, from guests to the wire.

Runs on any platform that has a line (`wire_send`, `wire_frames`). What each guest must get follows from addresses and
VLANs alone, by the rules in `docs/hardware.md`, written here once more in plain Python.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, Protocol

from scapy.layers.l2 import Dot1Q, Ether

from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.switch import PortPolicy
from sw.abi.registers import Form, Mode, NicControl, Status
from sw.guest.virtual_nic import ReceiveConfig, ReceivedFrame, SendForm, VirtualNic
from sw.platform import Platform
from tb.ethernet import MIN_FRAME, on_line
from tb.packets import Bulk, Sample, bulk, checksum_sample, ones_sum

WIRE: Final = -1
"""Source of what the other end of the line sends."""
BROADCAST: Final = b"\xff" * 6
GROUP: Final = bytes.fromhex("01005e000102")
STRANGER: Final = bytes.fromhex("0202deadbeef")
PEER: Final = bytes.fromhex("020000000001")
"""The other end of the line."""
ETHERTYPE: Final = b"\x88\xb5"
"""IEEE 802 local experimental."""
IPV4: Final = b"\x08\x00"
IPV6: Final = b"\x86\xdd"
HASH_KINDS: Final = {ETHERTYPE: 0, IPV4: 2, IPV6: 4}
"""By addresses and ports."""
SILENCE_NS: Final = 40_000
"""Nothing for so long at the end: nothing more comes. Longer than a jumbo frame to every guest takes."""
READY_NS: Final = 5_000
"""After open: the NIC fetches the first buffers."""
WAIT_NS: Final = 20_000_000

Gather = Callable[[list[Coroutine[Any, Any, Any]]], Awaitable[Any]]


class Line(Platform, Protocol):
    """A platform with a line at its NIC."""

    def wire_send(self, data: bytes) -> None: ...


@dataclass(frozen=True)
class Guest:
    """Set-up of one guest."""

    form: SendForm
    receive: ReceiveConfig
    vlan: int = 0
    member: bool = False
    """Of the multicast group."""
    alignment: int = 64
    """Bytes, a power of two: where its frames start in memory."""


class Kind(Enum):
    """What the frames of a send are."""

    PLAIN = "plain"
    """Bytes of no protocol."""
    CHECKSUM = "checksum"
    """TCP or UDP; the NIC inserts the checksum, or the line's other end has."""
    TSO = "tso"
    """TCP, cut into segments by the NIC."""


@dataclass(frozen=True)
class Send:
    """One request: who sends it, to what address, how long it is."""

    source: int
    to: bytes | int
    """An address, or a guest's number."""
    length: int
    """Bytes: of the frame, of a CHECKSUM frame at most, of all segments together without their headers."""
    vlan: int = 0
    kind: Kind = Kind.PLAIN
    mss: int = 0
    """Payload bytes of a segment, as far as a frame of `longest` bytes holds them (TSO)."""
    longest: int = 0


@dataclass
class Plan:
    guests: list[Guest]
    sends: list[Send]
    seed: int = 0
    """Of what the frames hold."""


@dataclass(frozen=True)
class Job:
    """A send as bytes."""

    frames: tuple[bytes, ...]
    """What it must become, without padding and FCS."""
    offload: Sample | Bulk | None = None
    """What the NIC is to do for it."""

    def queue(self, nic: VirtualNic) -> bool:
        """Hand it to a driver; False when that is full."""
        match self.offload:
            case Bulk() as job:
                return nic.send_tso(job.header, job.payload, job.mss, job.tcp_offset, ipv6=job.ipv6)
            case Sample() as sample:
                return nic.send(sample.data, (sample.start, sample.field))
        return nic.send(self.frames[0])


@dataclass
class Outcome:
    """What came out."""

    received: list[list[ReceivedFrame]] = field(default_factory=list)
    macs: list[bytes] = field(default_factory=list)
    endpoints: list[int] = field(default_factory=list)
    completions: list[list[tuple[int, int, int]]] = field(default_factory=list)
    statistics: list[dict[str, int]] = field(default_factory=list)
    data_path_entries: int = 0
    faults: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    """Of what must not happen."""
    traffic: dict[str, int] = field(default_factory=dict)
    """The NIC's counters of frames."""
    jobs: list[Job] = field(default_factory=list)
    """The sends of the plan."""


def job(plan: Plan, number: int, macs: list[bytes]) -> Job:
    """Send `number`: payload or source port of its frames name it, so that a stray one is recognised."""
    send = plan.sends[number]
    rng = random.Random(f"{plan.seed}/{number}")
    to = macs[send.to] if isinstance(send.to, int) else send.to
    source = PEER if send.source == WIRE else macs[send.source]
    if send.kind is not Kind.PLAIN:
        layer = Ether(dst=to.hex(":"), src=source.hex(":"))
        if send.vlan:
            layer /= Dot1Q(vlan=send.vlan, prio=rng.randrange(8))
        if send.kind is Kind.TSO:
            whole = bulk(rng, layer, send.mss, send.length, longest=send.longest, port=number)
            return Job(whole.segments, whole)
        sample = checksum_sample(rng, layer, send.length, port=number)
        assert sample.expected is not None
        return Job((sample.expected,), sample)
    tag = b"\x81\x00" + send.vlan.to_bytes(2, "big") if send.vlan else b""
    head = to + source + tag + ETHERTYPE + number.to_bytes(4, "big")
    return Job(((head + rng.randbytes(max(send.length - len(head), 0)))[: send.length],))


def ethertype(data: bytes) -> tuple[bytes, int]:
    """What a frame carries, behind its tag, and where that starts."""
    at = 18 if data[12:14] == b"\x81\x00" else 14
    return data[at - 2 : at], at


def number_of(data: bytes) -> int:
    """The send that a frame names."""
    kind, at = ethertype(data)
    if kind == ETHERTYPE:
        return int.from_bytes(data[at : at + 4], "big")
    assert kind in (IPV4, IPV6), data[:24].hex()
    at += 40 if kind == IPV6 else (data[at] & 0xF) * 4
    return int.from_bytes(data[at : at + 2], "big")


def receivers(plan: Plan, send: Send) -> set[int]:
    """Guests that must get it."""
    group = isinstance(send.to, bytes) and bool(send.to[0] & 1)
    found = set()
    for number, guest in enumerate(plan.guests):
        if number == send.source or guest.vlan != send.vlan:
            continue
        if send.to in (number, BROADCAST) or (group and send.to == GROUP and guest.member):
            found.add(number)
    return found


def to_wire(plan: Plan, send: Send) -> bool:
    """Must it leave? Only what no sibling alone gets does."""
    if send.source == WIRE:
        return False
    group = isinstance(send.to, bytes) and bool(send.to[0] & 1)
    return group or not receivers(plan, send)


def random_plan(seed: int, *, mtu: int | None = None) -> Plan:
    """Two to six guests of every form and MTU; frames in all directions, edges frequent; nobody is overloaded."""
    rng = random.Random(seed)
    guests = []
    for _ in range(rng.randint(2, 6)):
        receive = ReceiveConfig(
            mtu=mtu or rng.choice([1500, 1500, 2000, 9000]),
            form=rng.choice(list(Form)),
            entries=1 << rng.randint(6, 9),
            queues=rng.choice([1, 1, 2, 4]),
            interrupts=rng.random() < 0.8,
            small_bytes=rng.choice([None, None, 0, 60, 200]),
        )
        guests.append(Guest(rng.choice(list(SendForm)), receive, rng.choice([0, 0, 7]), rng.random() < 0.5,
                            rng.choice([1, 2, 64])))
    plan = Plan(guests, [], seed)
    for _ in range(rng.randint(150, 300)):
        source = rng.choice([WIRE, WIRE, *range(len(guests))])
        vlan = guests[source].vlan if source != WIRE else rng.choice([0, 0, 7])
        to = rng.choice([*range(len(guests)), *range(len(guests)), BROADCAST, GROUP, STRANGER])
        limit = min(
            [guests[source].receive.max_frame if source != WIRE else 9018]
            + [guests[r].receive.max_frame for r in receivers(plan, Send(source, to, 60, vlan))]
        )
        edges = [60, 61, 62, 63, 64, 65, 126, 127, 128, 129, 254, 255, 256, 1513, 1514, 1518, 2045, 2046, 2047, 4093, 4094,
                 4095, 8189, 8190, 8191, 9014, 9018]
        length = min(rng.choice([rng.choice(edges), rng.randint(60, 300), rng.randint(60, 9018)]), limit)
        if to == source:
            continue
        kind = rng.choice([Kind.PLAIN, Kind.CHECKSUM, Kind.PLAIN if source == WIRE else Kind.TSO])
        mss = 0
        if kind is Kind.TSO:
            mss = rng.choice([88, 536, 1448, rng.randint(88, 8960)])
            length = rng.choice([1, mss - 1, mss, mss + 1, 2 * mss, rng.randint(1, min(8 * mss, 24_000))])
        plan.sends.append(Send(source, to, length, vlan, kind, mss, limit))
    return plan


def fetched(plan: Plan) -> Plan:
    """The same with rings that the NIC fetches: a validated guest must not write them."""
    guests = [replace(g, form=SendForm.FETCHED, receive=replace(g.receive, form=Form.FETCHED)) for g in plan.guests]
    return replace(plan, guests=guests)


def sweep_plan() -> Plan:
    """Every length from 60 to 9018 from the wire to a guest, small and big buffers in turn, and a sample between guests."""
    guests = [
        Guest(SendForm.FETCHED, ReceiveConfig(mtu=9000, entries=512, form=Form.FETCHED)),
        Guest(SendForm.PUSHED, ReceiveConfig(mtu=9000, entries=512, form=Form.PUSHED, small_bytes=0)),
        Guest(SendForm.FETCHED, ReceiveConfig(mtu=9000, entries=512, form=Form.PUSHED, small_bytes=4000)),
    ]
    sends = [Send(WIRE, length % 3, length) for length in range(60, 9019)]
    sends += [Send(length % 3, (length + 1) % 3, length) for length in range(60, 9019, 7)]
    return Plan(guests, sends)


async def run(
    platform: Line, gather: Gather, plan: Plan, *, seed: int, max_payload: int, max_read: int, mode: Mode = Mode.IOMMU
) -> Outcome:
    """Boot, open every guest, send everything, receive until nothing comes any more, close."""
    hypervisor = Hypervisor(platform, seed=seed, max_payload=max_payload, max_read=max_read)
    await hypervisor.boot()
    # where the link stalls half of the time a completion may take longer than the default allows
    hypervisor.endpoints.write(NicControl.READ_TIMEOUT, NicControl.READ_TIMEOUT_CYCLES_M)
    outcome = Outcome()
    nics = []
    for number, guest in enumerate(plan.guests):
        pages = 256 + guest.receive.entries * (guest.receive.big_bytes + guest.receive.small + 200) // 4096
        if mode is Mode.WINDOWS:
            pages += 2048  # long runs of buffers lie in windows of 2 MiB
        domain = hypervisor.create_domain(
            f"guest{number}", pages, mode=mode, port_policy=PortPolicy(vlan=guest.vlan)
        )
        log: list[tuple[int, int, int]] = []
        nic = VirtualNic(domain, guest.form, 64, buffer_pages=48, buffer_alignment=guest.alignment,
                         completion_log=log, receive=guest.receive)
        await nic.open()
        if guest.member:
            assert await nic.set_multicast([GROUP])
        nics.append(nic)
        outcome.macs.append(nic.mac)
        outcome.endpoints.append(nic.endpoint)
        outcome.completions.append(log)
        outcome.received.append([])
    await platform.sleep(READY_NS)
    outcome.jobs = [job(plan, number, outcome.macs) for number in range(len(plan.sends))]
    # what a guest has received, the reader takes; the last thing that must come ends it
    due = [0] * len(nics)
    for send, one in zip(plan.sends, outcome.jobs, strict=True):
        for receiver in receivers(plan, send):
            due[receiver] += len(one.frames)

    async def send_own(source: int) -> None:
        nic = nics[source]
        for number, send in enumerate(plan.sends):
            if send.source != source:
                continue
            while not outcome.jobs[number].queue(nic):
                await nic.wait_for_room(WAIT_NS)
            nic.kick()
        await nic.drain(WAIT_NS)

    async def receive_own(receiver: int) -> None:
        got = outcome.received[receiver]
        while len(got) < due[receiver]:
            fresh = await nics[receiver].receive(WAIT_NS)
            assert fresh, f"guest {receiver} has {len(got)} of {due[receiver]} frames after {WAIT_NS} ns more"
            got += fresh
        got += await nics[receiver].receive(SILENCE_NS)

    for number, send in enumerate(plan.sends):
        if send.source == WIRE:
            platform.wire_send(on_line(outcome.jobs[number].frames[0]))
    await gather([coroutine(n) for n in range(len(nics)) for coroutine in (send_own, receive_own)])
    await hypervisor.handle_faults()
    outcome.data_path_entries = hypervisor.entries.data_path
    outcome.faults = hypervisor.entries.faults + len(hypervisor.faults.device)
    for name in ("FAILED_CHAINS", "READ_ERRORS", "READ_TIMEOUTS", "UNEXPECTED_CPL", "MMIO_DROPPED", "RX_BAD_FCS",
                 "RX_RUNT", "RX_OVERSIZE", "RX_BAD_FRAMING", "RX_OVERFLOW", "RX_NO_BUFFER", "SPOOFED_FRAMES"):
        outcome.counters[name] = await hypervisor.endpoints.read(getattr(NicControl, name))
    for name in ("FRAMES", "LOCAL_FRAMES", "RX_FRAMES"):
        outcome.traffic[name] = await hypervisor.endpoints.read(getattr(NicControl, name))
    for nic in nics:
        outcome.statistics.append(await nic.statistics())
    for nic in nics:
        await nic.close()
    return outcome


def check(plan: Plan, outcome: Outcome, wire: list[bytes], mode: Mode = Mode.IOMMU) -> None:
    """Every guest got every frame that is its own, once, bit-exact, in its source's order, and nothing else."""
    def due(source: int, taken: list[bool]) -> list[tuple[int, bytes]]:
        return [(number, frame) for number, send in enumerate(plan.sends) if send.source == source and taken[number]
                for frame in outcome.jobs[number].frames]

    leaves = [to_wire(plan, send) for send in plan.sends]
    for guest, received in enumerate(outcome.received):
        own = [guest in receivers(plan, send) for send in plan.sends]
        for source in [WIRE, *range(len(plan.guests))]:
            mine = [(n, f) for f in received if plan.sends[n := number_of(f.data)].source == source]
            if plan.guests[guest].receive.queues > 1:
                # between queues there is no order; frames of one send are of one flow
                mine.sort(key=lambda named: named[0])
            sent = due(source, own)
            assert [n for n, _ in mine] == [n for n, _ in sent], f"guest {guest} from {source}"
            for (number, got), (_, data) in zip(mine, sent, strict=True):
                data = data.ljust(MIN_FRAME, b"\0") if source == WIRE else data
                assert got.data == data, f"guest {guest}: send {number}, {len(data)} bytes from {source}"
                check_received(got, f"guest {guest}: send {number}", local=source != WIRE,
                               kind=plan.sends[number].kind, queues=plan.guests[guest].receive.queues)
    for source in range(len(plan.guests)):
        left = [(n, data) for data in wire if plan.sends[n := number_of(data)].source == source]
        expected = due(source, leaves)
        assert [n for n, _ in left] == [n for n, _ in expected], f"wire from {source}"
        for (number, data), (_, frame) in zip(left, expected, strict=True):
            assert data == on_line(frame), f"wire: send {number}, {len(frame)} bytes from {source}"
    assert not any(outcome.counters.values()), outcome.counters
    assert outcome.faults == 0
    # A validated batch is a hypercall: that is the price of the mode. All others never enter.
    assert (outcome.data_path_entries > 0) is (mode is Mode.VALIDATED)
    inside = sum(len(one.frames) for send, one in zip(plan.sends, outcome.jobs, strict=True)
                 if send.source != WIRE and receivers(plan, send))
    arrived = sum(send.source == WIRE for send in plan.sends)
    assert outcome.traffic == {"FRAMES": len(wire), "LOCAL_FRAMES": inside, "RX_FRAMES": arrived}
    for guest, log in enumerate(outcome.completions):
        lengths = [len(one.frames[-1]) for send, one in zip(plan.sends, outcome.jobs, strict=True) if send.source == guest]
        assert [(length, status) for _, length, status in log] == [(length, Status.OK) for length in lengths]


def check_received(got: ReceivedFrame, name: str, *, local: bool, kind: Kind, queues: int) -> None:
    """What the NIC and the driver say of a frame whose bytes are right."""
    assert got.local == local, name
    assert got.checksum % 0xFFFF == ones_sum(got.data[14:]) % 0xFFFF, name
    assert got.transport_checksum_ok() is (None if kind is Kind.PLAIN else True), name
    assert got.hash_kind == HASH_KINDS[ethertype(got.data)[0]], name
    assert got.queue == (got.hash & 0x7F) % queues, name
