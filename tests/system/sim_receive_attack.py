"""Runs in the simulator: forged, flooding, escaping, pausing and broken frames; and interrupts under random arrival."""

from __future__ import annotations

import os
import random
from typing import Final

import cocotb
import numpy as np
import numpy.typing as npt
from cocotb.handle import SimHandleBase
from cocotb.triggers import gather

from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.switch import PortPolicy
from sw.abi.registers import Form, RxDrop, Status, Switch, TraceKind
from sw.guest.virtual_nic import ReceiveConfig, SendForm, VirtualNic
from sw.platform import CYCLE_NS
from sw.xen.errno import HypercallError
from tb.cosim.platform import RtlPlatform
from tb.ethernet import on_line
from tb.unit.switch.oracle import Group, Rules
from tests.system.attack import (
    BROADCAST,
    ETHERTYPE,
    PEER,
    STRANGER,
    WAIT_NS,
    Guest,
    boot,
    check_quiet,
    classify,
    counter,
    named,
    number_of,
    open_all,
    rules_of,
    seed,
)
from tests.system.line import CYCLE_BYTES
from tests.system.sim_line import QUANTUM, arrived, pause

WIRE: Final = -1
RECEIVE: Final = ReceiveConfig(entries=512)
POLLED: Final = ReceiveConfig(entries=512, interrupts=False)
GROUP: Final = bytes.fromhex("01005e000102")
WAKE_NS: Final = 1_500
"""From a frame's payload, or from the call if that came later, to the guest: completion, arming, interrupt."""
RESERVED: Final = [bytes.fromhex("0180c20000") + bytes([n]) for n in range(16)]
CONTROL: Final = b"\x88\x08\x00\x01\xff\xff"
"""Type, operation and time of a pause frame that stops a transmitter for as long as one can."""
WARM: Final = 8
"""First frames of a measurement: all guests begin at once, and the wire waits for the first whole frame of each."""
EPERM: Final = 1


def sent_by(number: int) -> int:
    """Numbers are dealt out by source: 2^20 for each, the wire's first."""
    return (number >> 20) - 1


class Plan:
    """Frames of every source in order, and what the rules make of them."""

    def __init__(self, guests: list[Guest], rules: Rules) -> None:
        self.guests, self.rules = guests, rules
        self.sends: dict[int, list[bytes]] = {source: [] for source in (WIRE, *range(len(guests)))}

    def add(self, source: int, head: bytes, length: int = 60) -> None:
        """A frame that starts with `head`."""
        number = (source + 1 << 20) + len(self.sends[source])
        self.sends[source].append(named(head, number, length))

    def expected(self, guest: int, source: int) -> list[bytes]:
        """What a guest gets of a source's frames."""
        endpoint = self.guests[guest].nic.endpoint
        if source == WIRE:
            return [f for f in self.sends[WIRE] if endpoint in self.rules.from_wire(classify(f))]
        sender = self.guests[source].nic.endpoint
        return [f for f in self.sends[source]
                if endpoint in self.rules.sent(sender, classify(f), Switch.VEB).siblings]

    async def play(self, platform: RtlPlatform, hypervisor: Hypervisor) -> None:
        """Everybody sends at full rate; statuses, wire, receivers and counters are those of the rules."""
        platform.wire_frames()
        before = [len(guest.log) for guest in self.guests]
        spoofed_before = await counter(hypervisor, "SPOOFED_FRAMES")
        own_before = [(await guest.nic.statistics())["tx_dropped_spoofed"] for guest in self.guests]
        for guest in self.guests:
            guest.received.clear()
        for data in self.sends[WIRE]:
            platform.wire_send(on_line(data))
        sources = [WIRE, *range(len(self.guests))]
        due = [sum(len(self.expected(n, source)) for source in sources) for n in range(len(self.guests))]
        await gather(*(job for n, guest in enumerate(self.guests)
                       for job in (guest.send(self.sends[n]), guest.receive(due[n]))))
        wire = [frame.data for frame in platform.wire_frames()]
        forged_in_all = 0
        for n, guest in enumerate(self.guests):
            for source in sources:
                got = [f.data for f in guest.received if sent_by(number_of(f.data)) == source]
                assert got == self.expected(n, source), f"{guest.domain.name} from {source}"
            assert len(guest.received) == due[n], f"{guest.domain.name}: {len(guest.received)} of {due[n]}"
            assert all(f.local is (sent_by(number_of(f.data)) != WIRE) for f in guest.received)
            verdicts = [self.rules.sent(guest.nic.endpoint, classify(f), Switch.VEB) for f in self.sends[n]]
            assert guest.statuses[before[n]:] == [Status.SPOOFED if v.spoofed else Status.OK for v in verdicts]
            left = [on_line(f) for f, v in zip(self.sends[n], verdicts, strict=True) if v.to_wire]
            assert [f for f in wire if sent_by(number_of(f[:-4])) == n] == left, f"{guest.domain.name} to the wire"
            forged = sum(v.spoofed for v in verdicts)
            forged_in_all += forged
            assert (await guest.nic.statistics())["tx_dropped_spoofed"] == own_before[n] + forged
        assert len(wire) == sum(sent_by(number_of(f[:-4])) != WIRE for f in wire)
        assert await counter(hypervisor, "SPOOFED_FRAMES") == spoofed_before + forged_in_all


async def mac_flood(dut: SimHandleBase) -> None:
    """Thousands of source addresses, the siblings' among them: nobody's frames go elsewhere for it."""
    platform, hypervisor = await boot(dut)
    rng = random.Random(seed())
    guests = [Guest(hypervisor, "victim", RECEIVE), Guest(hypervisor, "friend", RECEIVE),
              Guest(hypervisor, "checked", RECEIVE), Guest(hypervisor, "trusted", RECEIVE, PortPolicy(check_mac=False))]
    await open_all(platform, guests)
    plan = Plan(guests, rules_of(guests))
    macs = [guest.nic.mac for guest in guests]
    for attacker in (2, 3):
        for _ in range(1500):
            source = rng.choice([rng.randbytes(6), rng.randbytes(6), macs[0], macs[1], PEER])
            if attacker == 2 and source == macs[2]:
                continue
            to = rng.choice([STRANGER, STRANGER, PEER, macs[0], BROADCAST]) if rng.random() < 0.2 else STRANGER
            plan.add(attacker, to + source + ETHERTYPE)
    for _ in range(250):
        plan.add(WIRE, rng.choice(macs[:2]) + PEER + ETHERTYPE, 400)
        plan.add(0, rng.choice([macs[1], STRANGER]) + macs[0] + ETHERTYPE)
        plan.add(1, macs[0] + macs[1] + ETHERTYPE)
    await plan.play(platform, hypervisor)
    assert set(guests[2].statuses) == {Status.SPOOFED} and set(guests[3].statuses) == {Status.OK}
    # what is left behind: nothing
    after = Plan(guests, rules_of(guests))
    for n in range(50):
        after.add(WIRE, macs[n % 4] + PEER + ETHERTYPE)
        after.add(n % 2, macs[1 - n % 2] + macs[n % 2] + ETHERTYPE)
    await after.play(platform, hypervisor)
    assert [len(guest.received) for guest in guests] == [38, 38, 12, 12]
    await check_quiet(hypervisor)


def tags(rng: random.Random, own: int) -> bytes:
    """What may stand between source address and type: none, own, foreign, priority, two tags, 0x88A8, 0x9100."""
    def one(kind: int, vlan: int) -> bytes:
        return kind.to_bytes(2, "big") + (rng.randrange(16) << 12 | vlan).to_bytes(2, "big")

    other = rng.choice([5, 7, 6, 4095])
    return rng.choice([
        b"", one(0x8100, own), one(0x8100, own), one(0x8100, other), one(0x8100, 0),
        one(0x8100, own) + one(0x8100, other), one(0x8100, other) + one(0x8100, own), one(0x8100, 0) + one(0x8100, own),
        one(0x88A8, own), one(0x88A8, other) + one(0x8100, own), one(0x8100, own) + one(0x88A8, other), one(0x9100, own),
    ])


async def vlan_escape(dut: SimHandleBase) -> None:
    """Guests of two VLANs, of none and one that may use all: tags of every kind, from guests and from the wire."""
    platform, hypervisor = await boot(dut)
    rng = random.Random(seed())
    policies = [PortPolicy(vlan=5), PortPolicy(vlan=5), PortPolicy(vlan=7), PortPolicy(), PortPolicy(),
                PortPolicy(vlan=5, check_vlan=False)]
    guests = [Guest(hypervisor, f"guest{n}", RECEIVE, policy, form=list(SendForm)[n % 3])
              for n, policy in enumerate(policies)]
    await open_all(platform, guests)
    rules = rules_of(guests)
    for guest in (0, 2, 3, 5):
        assert await guests[guest].nic.set_multicast([GROUP])
    rules.groups.append(Group(GROUP.hex(":"), {guests[n].nic.endpoint for n in (0, 2, 3, 5)}))
    plan = Plan(guests, rules)
    macs = [guest.nic.mac for guest in guests]
    for _ in range(120):
        for source in (WIRE, *range(len(guests))):
            to = rng.choice([*macs, *macs, BROADCAST, GROUP, STRANGER])
            own = policies[source].vlan if source != WIRE else rng.choice([0, 5, 7])
            kind = CONTROL if source != WIRE and rng.random() < 0.1 else ETHERTYPE
            plan.add(source, to + (PEER if source == WIRE else macs[source]) + tags(rng, own) + kind)
    await plan.play(platform, hypervisor)
    assert all(set(guest.statuses) == {Status.OK, Status.SPOOFED} for guest in guests)
    await check_quiet(hypervisor)


async def filters(dut: SimHandleBase) -> None:
    """Forged and group sources; bridges' own addresses; groups, all of them, and everything only for the privileged."""
    platform, hypervisor = await boot(dut)
    rng = random.Random(seed())
    guests = [Guest(hypervisor, "watcher", RECEIVE, privileged=True), Guest(hypervisor, "member", RECEIVE),
              Guest(hypervisor, "all groups", RECEIVE), Guest(hypervisor, "plain", RECEIVE),
              Guest(hypervisor, "deaf", RECEIVE, PortPolicy(broadcast=False, check_mac=False))]
    await open_all(platform, guests)
    member, greedy = guests[1], guests[2]
    before = await counter(hypervisor, "RX_FRAMES")
    for guest in guests[1:]:
        try:
            await guest.nic.set_promiscuous(True)
        except HypercallError as error:
            assert error.errno == EPERM
        else:
            raise AssertionError(f"{guest.domain.name} became promiscuous")
    await guests[0].nic.set_promiscuous(True)
    assert await member.nic.set_multicast([GROUP, RESERVED[0], RESERVED[14]])
    await greedy.domain.hypercall.endpoint_filter(greedy.nic.endpoint, promiscuous=False, all_multicast=True)
    rules = rules_of(guests)
    rules.ports[guests[0].nic.endpoint] = guests[0].port(promiscuous=True)
    rules.ports[greedy.nic.endpoint] = greedy.port(all_multicast=True)
    rules.groups = [Group(address.hex(":"), {member.nic.endpoint}) for address in (GROUP, RESERVED[0], RESERVED[14])]
    plan = Plan(guests, rules)
    macs = [guest.nic.mac for guest in guests]
    for _ in range(60):
        for source in (WIRE, *range(len(guests))):
            own = PEER if source == WIRE else macs[source]
            forged = rng.choice([macs[(source + 1) % 5], GROUP, BROADCAST, bytes(6), PEER, RESERVED[1]])
            to = rng.choice([rng.choice(macs), rng.choice(RESERVED), GROUP, bytes.fromhex("3333ff010203"), BROADCAST,
                             STRANGER, bytes(6)])
            plan.add(source, to + (own if rng.random() < 0.7 else forged) + ETHERTYPE)
    for address in RESERVED:
        plan.add(WIRE, address + PEER + ETHERTYPE)
    await plan.play(platform, hypervisor)
    from_wire = [f for f in guests[0].received if not f.local]
    assert [f.data for f in from_wire] == plan.sends[WIRE], "the watcher sees everything"
    assert await counter(hypervisor, "RX_FRAMES") == before + len(plan.sends[WIRE])
    assert await counter(hypervisor, "RX_FILTERED_UNICAST") == await counter(hypervisor, "RX_FILTERED_MULTICAST") == 0
    await check_quiet(hypervisor)


async def short_frames(dut: SimHandleBase) -> None:
    """Frames shorter than their headers, behind longer ones: what is missing counts as zero, as on the wire."""
    platform, hypervisor = await boot(dut)
    sender = Guest(hypervisor, "sender", RECEIVE, PortPolicy(vlan=5, check_mac=False), form=SendForm.FETCHED)
    others = [Guest(hypervisor, "same", RECEIVE, PortPolicy(vlan=5)), Guest(hypervisor, "untagged", RECEIVE)]
    open_port = Guest(hypervisor, "open", RECEIVE, PortPolicy(check_mac=False, check_vlan=False))
    guests = [sender, *others, open_port]
    await open_all(platform, guests)
    rules = rules_of(guests)
    for source in (sender, open_port):
        frames = []
        for length in range(1, 61):
            to = others[length % 2].nic.mac
            for full in (to + PEER + b"\x81\x00\x00\x05" + ETHERTYPE, to + PEER + ETHERTYPE,
                         to + PEER + b"\x81\x00\x00\x05" + CONTROL):
                frames += [full.ljust(60, b"\xff"), full.ljust(60, b"\x08")[:length]]
        platform.wire_frames()
        for guest in guests:
            guest.received.clear()
        verdicts = [rules.sent(source.nic.endpoint, classify(f), Switch.VEB) for f in frames]
        due = [[f for f, v in zip(frames, verdicts, strict=True) if g.nic.endpoint in v.siblings] for g in guests]
        await gather(source.send(frames), *(g.receive(len(own)) for g, own in zip(guests, due, strict=True)))
        assert source.statuses == [Status.SPOOFED if v.spoofed else Status.OK for v in verdicts]
        for guest, own in zip(guests, due, strict=True):
            assert [f.data for f in guest.received] == own, guest.domain.name
        left = [on_line(f) for f, v in zip(frames, verdicts, strict=True) if v.to_wire]
        assert [f.data for f in platform.wire_frames()] == left
    await check_quiet(hypervisor)


async def send_only(dut: SimHandleBase) -> None:
    """A guest of the default kind asks for an endpoint that only sends: it may not stop the line with it."""
    platform, hypervisor = await boot(dut)
    domain = hypervisor.create_domain("attacker", 128)
    nic = VirtualNic(domain, SendForm.INLINE, 64, buffer_pages=4)
    await nic.open()
    good = (PEER + STRANGER + ETHERTYPE).ljust(60, b"\0")
    for frame in ((RESERVED[1] + nic.mac + CONTROL).ljust(60, b"\0"), (PEER + STRANGER + CONTROL).ljust(60, b"\0"), good):
        assert nic.send(frame)
    await nic.drain(WAIT_NS)
    assert [f.data for f in platform.wire_frames()] == [on_line(good)]
    assert nic.completions[Status.SPOOFED] == 2


def starts(trace: npt.NDArray[np.void], guest: Guest) -> list[int]:
    """Cycles in which the guest's frames started on the wire."""
    mine = trace[(trace["kind"] == TraceKind.WIRE_FIRST) & (trace["endpoint"] == guest.nic.endpoint)]
    return [int(cycle) for cycle in mine["cycle"]]


async def pause_attack(dut: SimHandleBase) -> None:
    """Two guests send pause frames at full rate: none leaves, and the wire stays full of their siblings' frames."""
    platform, hypervisor = await boot(dut)
    frames, length = 200, 1514
    siblings = [Guest(hypervisor, f"sibling{n}", RECEIVE, PortPolicy(vlan=9 * n), form=SendForm.FETCHED) for n in range(2)]
    attackers = [Guest(hypervisor, "inline", RECEIVE), Guest(hypervisor, "fetched", RECEIVE, PortPolicy(vlan=5),
                                                             form=SendForm.FETCHED)]
    await open_all(platform, [*siblings, *attackers])
    good = [[named(PEER + g.nic.mac + (b"\x81\x00\x00\x09" if n else b"") + ETHERTYPE, n << 16 | k, length)
             for k in range(frames)] for n, g in enumerate(siblings)]
    bad = []
    for guest, tag in ((attackers[0], b""), (attackers[1], b"\x81\x00\x00\x05")):
        heads = [to + guest.nic.mac + tag + CONTROL for to in (RESERVED[1], BROADCAST, siblings[0].nic.mac, STRANGER)]
        bad.append([head.ljust(60, b"\0") for head in heads])
    spans = []
    storm = False
    attacks = [0, 0]

    async def attack(n: int) -> None:
        while storm:
            await attackers[n].send(bad[n] * 16)
            attacks[n] += 16 * len(bad[n])

    for storm in (False, True):
        platform.wire_frames()
        platform.trace()
        tasks = [cocotb.start_soon(attack(n)) for n in range(2)]
        await gather(*(g.send(own) for g, own in zip(siblings, good, strict=True)))
        during = list(attacks)
        trace = platform.trace()
        storm = False
        await gather(*tasks)
        wire = [f.data for f in platform.wire_frames()]
        assert sorted(wire) == sorted(on_line(f) for own in good for f in own)
        both = sorted(starts(trace, siblings[0]) + starts(trace, siblings[1]))
        spans.append(both[-1] - both[WARM])
    # back to back: preamble, frame, FCS and gap of each, in whole cycles; the wire was never without a frame
    least = (2 * frames - 1 - WARM) * (8 + length + 4 + 12) // CYCLE_BYTES
    assert all(least <= span <= least + 1 for span in spans), (spans, least)
    assert min(during) > 100, during
    for n, guest in enumerate(attackers):
        assert set(guest.statuses) == {Status.SPOOFED}
        assert (await guest.nic.statistics())["tx_dropped_spoofed"] == attacks[n] == len(guest.log)
    for guest in (*siblings, *attackers):
        assert not guest.nic.poll()
    await check_quiet(hypervisor)


async def pause_from_wire(dut: SimHandleBase) -> None:
    """A pause frame from the line holds the transmitter for its time, and nobody inside."""
    platform, hypervisor = await boot(dut)
    guests = [Guest(hypervisor, f"guest{n}", RECEIVE) for n in range(3)]
    await open_all(platform, guests)
    outside, sender, receiver = guests
    quanta, count = 2000, 300
    platform.trace()
    platform.wire_send(pause(quanta))
    await arrived(platform)
    inside = [named(receiver.nic.mac + sender.nic.mac + ETHERTYPE, n, 60 + n % 1000) for n in range(count)]
    left = [named(PEER + outside.nic.mac + ETHERTYPE, n, 200) for n in range(3)]
    await gather(outside.send(left), sender.send(inside), receiver.receive(count))
    trace = platform.trace()
    heard = int(trace["cycle"][trace["kind"] == TraceKind.RX_LAST][0])
    end = heard + 1 + quanta * QUANTUM // CYCLE_BYTES
    first = starts(trace, outside)
    assert first[0] == end, (first[0] - end, "the transmitter goes on when the time is over, to the cycle")
    assert [f.data for f in receiver.received] == inside
    visible = trace[(trace["kind"] == TraceKind.RX_CPL_OUT) & (trace["endpoint"] == receiver.nic.endpoint)]
    assert int(visible["cycle"].max()) < end, "frames inside did not wait for the wire"
    assert [f.data for f in platform.wire_frames()] == [on_line(f) for f in left]
    assert await counter(hypervisor, "RX_PAUSE") == 1


async def line_faults(dut: SimHandleBase) -> None:
    """Broken frames at random among good ones at line rate: the good ones arrive, each of the others is counted once."""
    platform, hypervisor = await boot(dut)
    rng = random.Random(seed())
    guests = [Guest(hypervisor, "one", ReceiveConfig(entries=512, mtu=9000, form=Form.PUSHED)),
              Guest(hypervisor, "two", ReceiveConfig(entries=512, mtu=9000, form=Form.PUSHED))]
    await open_all(platform, guests)
    due: list[list[bytes]] = [[], []]
    names = {RxDrop.BAD_FCS: "RX_BAD_FCS", RxDrop.RUNT: "RX_RUNT", RxDrop.OVERSIZE: "RX_OVERSIZE",
             RxDrop.BAD_FRAMING: "RX_BAD_FRAMING", RxDrop.PAUSE: "RX_PAUSE"}
    plan = dict.fromkeys(names, 0)
    good = 0
    for number in range(700):
        n = rng.randrange(2)
        data = named(guests[n].nic.mac + PEER + ETHERTYPE, number, rng.choice([60, 61, 64, 100, 200, 1514, 1518, 9018]))
        line = on_line(data)
        kind = rng.choice([None, None, None, *names])
        if kind is None:
            platform.wire_send(line)
            due[n].append(data)
            good += 1
            continue
        plan[kind] += 1
        if kind is RxDrop.BAD_FCS:
            at = rng.randrange(len(line) * 8)
            line = line[: at // 8] + bytes([line[at // 8] ^ 1 << at % 8]) + line[at // 8 + 1 :]
        elif kind is RxDrop.RUNT:
            line = line[: rng.randint(1, 63)]
        elif kind is RxDrop.OVERSIZE:
            line = on_line(named(guests[n].nic.mac + PEER + ETHERTYPE, number, rng.choice([9019, 9020, 9100, 20_000])))
        elif kind is RxDrop.PAUSE:
            line = pause(rng.randrange(0xFFFF))
        platform.wire_send(line, error=kind is RxDrop.BAD_FRAMING)
    await gather(*(guest.receive(len(due[n])) for n, guest in enumerate(guests)))
    for n, guest in enumerate(guests):
        assert [f.data for f in guest.received] == due[n], guest.domain.name
        statistics = await guest.nic.statistics()
        assert statistics["nic_rx_packets"] == len(due[n])
        assert not any(value for name, value in statistics.items() if name.startswith("rx_dropped"))
    # the last frames may be broken ones
    await arrived(platform)
    assert {kind: await counter(hypervisor, name) for kind, name in names.items()} == plan
    assert await counter(hypervisor, "RX_FRAMES") == good
    for name in ("RX_OVERFLOW", "RX_NO_BUFFER", "RX_FILTERED_UNICAST", "RX_FILTERED_MULTICAST", "TX_PAUSE"):
        assert await counter(hypervisor, name) == 0, name
    assert platform.wire_frames() == []


async def wake_ups(dut: SimHandleBase) -> None:
    """Frames at random times into a guest that sleeps, polls and arms at random: none has to wait for a time-out."""
    platform, hypervisor = await boot(dut)
    rng = random.Random(seed())
    count, patience = 1200, 100_000
    guests = [Guest(hypervisor, "taken", RECEIVE), Guest(hypervisor, "posted", ReceiveConfig(entries=512), posted=True),
              Guest(hypervisor, "polled", POLLED)]
    await open_all(platform, guests)
    irqs = await counter(hypervisor, "INTERRUPTS")
    entries = hypervisor.entries
    for guest in guests:
        start = platform.now() + 2_000
        at, frames = start, []
        for number in range(count):
            # around the time from a poll to the NIC's knowing that it is armed, and around that of an interrupt
            at += rng.choice([67, rng.randint(67, 400), rng.randint(67, 1_500), rng.randint(500, 4_000)])
            frames.append(named(guest.nic.mac + PEER + ETHERTYPE, number, rng.choice([60, 60, 200])))
            platform.wire_send(on_line(frames[-1]), at)
        before = (entries.interrupts, entries.posted, entries.setup + entries.data_path + entries.faults)
        while len(guest.received) < count:
            asked = platform.now()
            fresh = await guest.nic.receive(patience, rng.choice([1, 4, 64]))
            assert fresh, f"{guest.domain.name}: nothing in {patience} ns after frame {len(guest.received)}"
            # not even until the next frame: an arming that misses a frame is repaired by the one after it
            late = platform.now() - max(asked, fresh[0].stamp * CYCLE_NS)
            assert late < WAKE_NS, f"{guest.domain.name}: slept {late} ns over frame {len(guest.received)}"
            guest.received += fresh
            if rng.random() < 0.3:
                await platform.sleep(rng.randint(1, 2_000))
            if rng.random() < 0.1 and guest.nic.receiver.config.interrupts:
                guest.nic.receiver.arm()
        await platform.sleep(10_000)
        assert [f.data for f in guest.received] == frames
        taken, posted, others = (entries.interrupts - before[0], entries.posted - before[1],
                                 entries.setup + entries.data_path + entries.faults - before[2])
        fresh_irqs = await counter(hypervisor, "INTERRUPTS") - irqs
        irqs += fresh_irqs
        own = guest.nic.receiver.counts.interrupts
        cocotb.log.info("%s: %d interrupts for %d frames, %d polls", guest.domain.name, own, count,
                        guest.nic.receiver.counts.polls)
        assert others == 0
        assert (taken, posted) == {"taken": (own, 0), "posted": (0, own), "polled": (0, 0)}[guest.domain.name]
        assert fresh_irqs == own and (own > count // 10) is (guest.nic.receiver.config.interrupts)
    assert hypervisor.interrupts.spurious == 0
    await check_quiet(hypervisor)


async def moderation(dut: SimHandleBase) -> None:
    """So many interrupts as count and time predict, for frames at regular times and in bursts."""
    platform, hypervisor = await boot(dut)
    guest = Guest(hypervisor, "guest", RECEIVE)
    await open_all(platform, [guest])
    nic = guest.nic
    # time, count (0: by time alone), frames, gap: interrupts. A guest is awake and armed again within 1.5 us.
    plans = [
        (0, 0, 60, 2_000, 60),          # each frame
        (200_000, 4, 60, 2_000, 15),    # by count
        (200_000, 60, 60, 100, 1),      # a burst, back to back but for a cycle or two
        (19_000, 0, 60, 2_000, 6),      # by time: the frames of 20 us each
        (19_000, 5, 60, 2_000, 12),     # both: the count comes first
        (7_000, 5, 60, 2_000, 15),      # both: the time comes first, with four frames
    ]
    for ns, limit, count, gap, expected in plans:
        await nic.set_moderation(ns, limit)
        before = nic.receiver.counts.interrupts
        irqs = await counter(hypervisor, "INTERRUPTS")
        start = platform.now() + 5_000
        frames = [named(nic.mac + PEER + ETHERTYPE, number, 60) for number in range(count)]
        for number, data in enumerate(frames):
            platform.wire_send(on_line(data), start + number * gap)
        guest.received.clear()
        while len(guest.received) < count:
            fresh = await nic.receive(WAIT_NS)
            assert fresh
            guest.received += fresh
        assert [f.data for f in guest.received] == frames
        assert nic.receiver.counts.interrupts - before == expected, (ns, limit, nic.receiver.counts.interrupts - before)
        assert await counter(hypervisor, "INTERRUPTS") - irqs == expected
    await check_quiet(hypervisor)


CASES: Final = {case.__name__: case
                for case in (mac_flood, vlan_escape, filters, pause_attack, pause_from_wire, send_only,
                             short_frames, line_faults, wake_ups, moderation)}


@cocotb.test
async def run(dut: SimHandleBase) -> None:
    await CASES[os.environ["MYR_CASE"]](dut)
