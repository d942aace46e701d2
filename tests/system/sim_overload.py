"""Runs in the simulator: guests that have no receive buffers, beside siblings that must not notice."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from typing import Final

import cocotb
from cocotb.handle import SimHandleBase
from cocotb.triggers import gather

from hypervisor_model.hypervisor import Hypervisor
from sw.abi.registers import Form
from sw.guest.machine import ReceiveSetup
from sw.guest.virtual_nic import ReceiveConfig, SendForm
from tb.cosim.platform import RtlPlatform
from tb.ethernet import on_line
from tb.sim.hostile import UNMAPPED
from tests.system.attack import (
    BROADCAST,
    ETHERTYPE,
    PEER,
    Guest,
    boot,
    check_quiet,
    counter,
    named,
    number_of,
    open_all,
    seed,
)

FRAMES: Final = 900
LENGTHS: Final = (60, 60, 60, 126, 127, 300, 1514)
LAZY: Final = ReceiveConfig(entries=32)
SMALL: Final = LAZY.small
KEEN: Final = ReceiveConfig(entries=512, form=Form.PUSHED)


def kept(lengths: list[int], small: int, big: int) -> tuple[list[int], int, int]:
    """Positions of the frames that find a buffer when there are so many and no more come; small and big ones lost."""
    left, lost, found = {True: small, False: big}, {True: 0, False: 0}, []
    for position, length in enumerate(lengths):
        kind = length <= SMALL
        if left[kind]:
            left[kind] -= 1
            found.append(position)
        else:
            lost[kind] += 1
    return found, lost[True], lost[False]


async def check_lazy(guest: Guest, frames: list[bytes], small: int, big: int) -> int:
    """It finds the first frames in its buffers, in order, and has lost all others, by its own counters; how many."""
    found, lost_small, lost_big = kept([len(data) for data in frames], small, big)
    assert lost_small and lost_big, "the plan overloads nobody"
    statistics = await guest.nic.statistics()
    while fresh := guest.nic.poll():
        guest.received += fresh
    assert [f.data for f in guest.received] == [frames[n] for n in found], guest.domain.name
    assert statistics["rx_dropped_no_small"] == lost_small and statistics["rx_dropped_no_big"] == lost_big, statistics
    assert statistics["nic_rx_packets"] == len(found), statistics
    assert statistics["rx_dropped_too_long"] == statistics["rx_dropped_refused"] == 0, statistics
    return lost_small + lost_big


async def check_keen(guest: Guest, frames: list[bytes]) -> None:
    """It has every frame, in order, and has lost none."""
    statistics = await guest.nic.statistics()
    lost = {name: value for name, value in statistics.items() if name.startswith("rx_dropped") and value}
    assert not lost, f"{guest.domain.name}: {lost}"
    got = [f.data for f in guest.received]
    wrong = next((n for n, (a, b) in enumerate(zip(got, frames, strict=False)) if a != b), None)
    assert wrong is None and len(got) == len(frames), f"{guest.domain.name}: {len(got)} of {len(frames)}, wrong at {wrong}"
    assert statistics["nic_rx_packets"] == len(frames)


async def machine(dut: SimHandleBase, form: Form = Form.PUSHED) -> tuple[RtlPlatform, Hypervisor, list[Guest], Guest]:
    """Two guests that never look at their rings, of both forms, and one that does."""
    platform, hypervisor = await boot(dut)
    lazy = [Guest(hypervisor, f"lazy {form.name}", replace(LAZY, form=form)) for form in Form]
    return platform, hypervisor, lazy, Guest(hypervisor, "keen", replace(KEEN, form=form))


def plan(targets: list[Guest], source: bytes, *, broadcast_every: int) -> tuple[list[bytes], dict[Guest, list[bytes]]]:
    """Frames to the targets in turn, now and then to all; all of them, and those of each target."""
    rng = random.Random(seed())
    frames: list[bytes] = []
    due: dict[Guest, list[bytes]] = {guest: [] for guest in targets}
    for number in range(FRAMES):
        to_all = number % broadcast_every == broadcast_every - 1
        target = targets[number % len(targets)]
        to = BROADCAST if to_all else target.nic.mac
        frames.append(data := named(to + source + ETHERTYPE, number, rng.choice(LENGTHS)))
        for guest in due if to_all else [target]:
            due[guest].append(data)
    return frames, due


async def from_wire_fetched(dut: SimHandleBase) -> None:
    """The same when the NIC fetches the buffers of the guest that refills, while the link is full of writes."""
    await from_wire(dut, Form.FETCHED)


async def from_wire(dut: SimHandleBase, form: Form = Form.PUSHED) -> None:
    """10 Gb/s from the line, every other frame for guests that do not refill, some for all."""
    platform, hypervisor, lazy, keen = await machine(dut, form)
    await open_all(platform, [*lazy, keen])
    frames, due = plan([lazy[0], keen, lazy[1], keen], PEER, broadcast_every=10)
    for data in frames:
        platform.wire_send(on_line(data))
    await keen.receive(len(due[keen]))
    assert not platform.wire_waiting()
    lost = sum([await check_lazy(guest, due[guest], LAZY.entries, LAZY.entries) for guest in lazy])
    await check_keen(keen, due[keen])
    assert await counter(hypervisor, "RX_NO_BUFFER") == lost
    assert platform.wire_frames() == []
    await check_quiet(hypervisor)
    # who looks at its ring again is served again
    for guest in lazy:
        guest.received.clear()
        platform.wire_send(on_line(again := named(guest.nic.mac + PEER + ETHERTYPE, FRAMES, 1514)))
        await guest.receive(1)
        assert [f.data for f in guest.received] == [again]


async def from_sibling(dut: SimHandleBase) -> None:
    """The same from a guest that sends as fast as it can; broadcast goes to the wire, too."""
    platform, hypervisor, lazy, keen = await machine(dut)
    sender = Guest(hypervisor, "sender", ReceiveConfig(entries=16), form=SendForm.FETCHED)
    await open_all(platform, [*lazy, keen, sender])
    frames, due = plan([lazy[0], keen, lazy[1], keen], sender.nic.mac, broadcast_every=10)
    await gather(sender.send(frames), keen.receive(len(due[keen])))
    lost = sum([await check_lazy(guest, due[guest], LAZY.entries, LAZY.entries) for guest in lazy])
    await check_keen(keen, due[keen])
    assert all(f.local for f in keen.received)
    assert not any(sender.statuses) and len(sender.log) == FRAMES
    assert [f.data for f in platform.wire_frames()] == [on_line(data) for data in frames if data[:6] == BROADCAST]
    assert await counter(hypervisor, "RX_NO_BUFFER") == lost
    await check_quiet(hypervisor)


async def both_sides(dut: SimHandleBase) -> None:
    """From the wire at 10 Gb/s and from a sibling at once: the link has no room for all. The wire loses nothing of it."""
    platform, hypervisor, lazy, keen = await machine(dut)
    sender = Guest(hypervisor, "sender", ReceiveConfig(entries=16), form=SendForm.INLINE)
    await open_all(platform, [*lazy, keen, sender])
    frames, due = plan([lazy[0], keen, lazy[1], keen], PEER, broadcast_every=1 << 20)
    inside = [named(lazy[n % 2].nic.mac + sender.nic.mac + ETHERTYPE, FRAMES + n, 60) for n in range(FRAMES)]
    for data in frames:
        platform.wire_send(on_line(data))
    await gather(sender.send(inside), keen.receive(len(due[keen])))
    await check_keen(keen, due[keen])
    lost = 0
    for n, guest in enumerate(lazy):
        # how wire and sibling mix is the arbiter's business: each source's frames are in order, buffers are all used
        while fresh := guest.nic.poll():
            guest.received += fresh
        statistics = await guest.nic.statistics()
        assert statistics["nic_rx_packets"] == len(guest.received) == 2 * LAZY.entries
        for local in (False, True):
            numbers = [number_of(f.data) for f in guest.received if f.local is local]
            assert numbers == sorted(numbers)
        lost += statistics["rx_dropped_no_small"] + statistics["rx_dropped_no_big"]
        assert statistics["rx_dropped_no_small"] + statistics["rx_dropped_no_big"] + len(guest.received) == (
            len(due[guest]) + len(inside[n::2]))
    assert await counter(hypervisor, "RX_NO_BUFFER") == lost
    assert not any(sender.statuses) and platform.wire_frames() == []
    await check_quiet(hypervisor)


async def send_beside(dut: SimHandleBase) -> None:
    """The line brings 60-byte frames faster than the link takes them; a sibling's frames leave all the same."""
    platform, hypervisor = await boot(dut)
    keen = Guest(hypervisor, "keen", KEEN)
    sender = Guest(hypervisor, "sender", KEEN, form=SendForm.FETCHED)
    await open_all(platform, [keen, sender])
    flood = [on_line(named(keen.nic.mac + PEER + ETHERTYPE, n, 60)) for n in range(4000)]
    for data in flood:
        platform.wire_send(data)
    own = [named(PEER + sender.nic.mac + ETHERTYPE, n, 1514) for n in range(40)]
    end = [0]

    async def send() -> None:
        await platform.sleep(20_000)
        await sender.send(own)
        end[0] = platform.now()
        assert platform.wire_waiting(), "its frames have left only when the line was silent"

    async def receive() -> None:
        while platform.wire_waiting() or not end[0]:
            keen.received += await keen.nic.receive(2_000)

    start = platform.now() + 20_000
    await gather(send(), receive())
    cocotb.log.info("40 frames took %d ns", end[0] - start)
    left = [f.data for f in platform.wire_frames() if f.data[12:14] == ETHERTYPE]
    assert left == [on_line(data) for data in own]


async def unmapped_rings(dut: SimHandleBase) -> None:
    """A guest whose buffer rings lie where nothing is mapped: it alone gets nothing, and the fault is its own."""
    platform, hypervisor = await boot(dut)
    broken = Guest(hypervisor, "broken", replace(LAZY, form=Form.FETCHED))
    keen = Guest(hypervisor, "keen", KEEN)
    enable = broken.domain.hypercall.endpoint_enable

    async def misdirect(endpoint: int, send_log2: int, cq_log2: int, send_base: int, cq_base: int,
                        receive: ReceiveSetup | None = None) -> None:
        assert receive is not None
        await enable(endpoint, send_log2, cq_log2, send_base, cq_base,
                     replace(receive, small_base=UNMAPPED, big_base=UNMAPPED + 0x1000))

    setattr(broken.domain.hypercall, "endpoint_enable", misdirect)  # noqa: B010  mypy knows no other way
    await open_all(platform, [broken, keen])
    assert await hypervisor.handle_faults() == 2
    assert {(f.domid, f.is_read, f.address) for f in hypervisor.faults.device} == {
        (broken.domain.domid, True, UNMAPPED), (broken.domain.domid, True, UNMAPPED + 0x1000)}
    frames, due = plan([broken, keen], PEER, broadcast_every=10)
    for data in frames:
        platform.wire_send(on_line(data))
    await keen.receive(len(due[keen]))
    lost = await check_lazy(broken, due[broken], 0, 0)
    assert lost == len(due[broken]) == await counter(hypervisor, "RX_NO_BUFFER")
    await check_keen(keen, due[keen])
    assert await hypervisor.handle_faults() == 0, "a failed fetch is not tried again for each frame"
    assert platform.wire_frames() == []
    await check_quiet(hypervisor)


CASES: Final = {case.__name__: case
                for case in (from_wire, from_wire_fetched, from_sibling, both_sides, send_beside,
                             unmapped_rings)}


@cocotb.test
async def run(dut: SimHandleBase) -> None:
    await CASES[os.environ["MYR_CASE"]](dut)
