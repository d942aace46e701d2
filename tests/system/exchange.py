"""Frames in every direction as data: from the wire to guests, from guest to guest, from guests to the wire.

Runs on any platform that has a line (`wire_send`, `wire_frames`). What each guest must get follows from addresses and
VLANs alone, by the rules in `docs/hardware.md`, written here once more in plain Python.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.switch import PortPolicy
from sw.abi.registers import Form, Mode, NicControl
from sw.guest.virtual_nic import ReceiveConfig, ReceivedFrame, SendForm, VirtualNic
from sw.platform import Platform
from tb.ethernet import MIN_FRAME, on_line
from tests.system.packets import ones_sum

WIRE: Final = -1
"""Source of what the other end of the line sends."""
BROADCAST: Final = b"\xff" * 6
GROUP: Final = bytes.fromhex("01005e000102")
STRANGER: Final = bytes.fromhex("0202deadbeef")
PEER: Final = bytes.fromhex("020000000001")
"""The other end of the line."""
ETHERTYPE: Final = b"\x88\xb5"
"""IEEE 802 local experimental."""
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


@dataclass(frozen=True)
class Send:
    """One frame: who sends it, to what address, how long it is."""

    source: int
    to: bytes | int
    """An address, or a guest's number."""
    length: int
    vlan: int = 0


@dataclass
class Plan:
    guests: list[Guest]
    sends: list[Send]


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


def frame(plan: Plan, number: int, macs: list[bytes]) -> bytes:
    """Bytes of send `number`, without FCS: its payload names it, so that a stray one is recognised."""
    send = plan.sends[number]
    to = macs[send.to] if isinstance(send.to, int) else send.to
    source = PEER if send.source == WIRE else macs[send.source]
    tag = b"\x81\x00" + send.vlan.to_bytes(2, "big") if send.vlan else b""
    head = to + source + tag + ETHERTYPE + number.to_bytes(4, "big")
    body = random.Random(number).randbytes(max(send.length - len(head), 0))
    return (head + body)[: send.length]


def number_of(data: bytes) -> int:
    """The send that a frame names."""
    at = 18 if data[12:14] == b"\x81\x00" else 14
    assert data[at - 2 : at] == ETHERTYPE, data[:24].hex()
    return int.from_bytes(data[at : at + 4], "big")


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
        guests.append(Guest(rng.choice(list(SendForm)), receive, rng.choice([0, 0, 7]), rng.random() < 0.5))
    plan = Plan(guests, [])
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
        plan.sends.append(Send(source, to, length, vlan))
    return plan


def fetched(plan: Plan) -> Plan:
    """The same with rings that the NIC fetches: a validated guest must not write them."""
    guests = [replace(g, form=SendForm.FETCHED, receive=replace(g.receive, form=Form.FETCHED)) for g in plan.guests]
    return Plan(guests, plan.sends)


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
        nic = VirtualNic(domain, guest.form, 64, buffer_pages=48, completion_log=log, receive=guest.receive)
        await nic.open()
        if guest.member:
            assert await nic.set_multicast([GROUP])
        nics.append(nic)
        outcome.macs.append(nic.mac)
        outcome.endpoints.append(nic.endpoint)
        outcome.completions.append(log)
        outcome.received.append([])
    await platform.sleep(READY_NS)
    frames = [frame(plan, number, outcome.macs) for number in range(len(plan.sends))]
    # what a guest has received, the reader takes; the last thing that must come ends it
    due = [0] * len(nics)
    for send in plan.sends:
        for receiver in receivers(plan, send):
            due[receiver] += 1

    async def send_own(source: int) -> None:
        nic = nics[source]
        for number, send in enumerate(plan.sends):
            if send.source != source:
                continue
            while not nic.send(frames[number]):
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
            platform.wire_send(on_line(frames[number]))
    await gather([coroutine(n) for n in range(len(nics)) for coroutine in (send_own, receive_own)])
    await hypervisor.handle_faults()
    outcome.data_path_entries = hypervisor.entries.data_path
    outcome.faults = hypervisor.entries.faults + len(hypervisor.faults.device)
    for name in ("FAILED_CHAINS", "READ_ERRORS", "READ_TIMEOUTS", "UNEXPECTED_CPL", "MMIO_DROPPED", "RX_BAD_FCS",
                 "RX_RUNT", "RX_OVERSIZE", "RX_BAD_FRAMING", "RX_OVERFLOW", "RX_NO_BUFFER", "SPOOFED_FRAMES"):
        outcome.counters[name] = await hypervisor.endpoints.read(getattr(NicControl, name))
    for nic in nics:
        outcome.statistics.append(await nic.statistics())
    for nic in nics:
        await nic.close()
    return outcome


def check(plan: Plan, outcome: Outcome, wire: list[bytes], mode: Mode = Mode.IOMMU) -> None:
    """Every guest got every frame that is its own, once, bit-exact, in its source's order, and nothing else."""
    frames = [frame(plan, number, outcome.macs) for number in range(len(plan.sends))]
    for guest, received in enumerate(outcome.received):
        for source in [WIRE, *range(len(plan.guests))]:
            mine = [f for f in received if plan.sends[number_of(f.data)].source == source]
            due = [n for n, s in enumerate(plan.sends) if s.source == source and guest in receivers(plan, s)]
            order = sorted if plan.guests[guest].receive.queues > 1 else list
            assert order(number_of(f.data) for f in mine) == due, f"guest {guest} from {source}"
            for got in mine:
                number = number_of(got.data)
                sent = frames[number] if source != WIRE else frames[number].ljust(MIN_FRAME, b"\0")
                assert got.data == sent, f"guest {guest}: frame {number}, {len(sent)} bytes from {source}"
                assert got.local == (source != WIRE)
                assert got.checksum % 0xFFFF == ones_sum(got.data[14:]) % 0xFFFF, f"guest {guest}: frame {number}"
    left = [number_of(data) for data in wire]
    for source in range(len(plan.guests)):
        mine_left = [n for n in left if plan.sends[n].source == source]
        assert mine_left == [n for n, s in enumerate(plan.sends) if s.source == source and to_wire(plan, s)]
    for data in wire:
        assert data == on_line(frames[number_of(data)])
    assert not any(outcome.counters.values()), outcome.counters
    assert outcome.faults == 0
    # A validated batch is a hypercall: that is the price of the mode. All others never enter.
    assert (outcome.data_path_entries > 0) is (mode is Mode.VALIDATED)
