"""Interrupt, poll and arm: who enters the hypervisor how often, and that no wake-up is lost."""

from __future__ import annotations

import random

import pytest

from sw.abi.registers import Form, NicControl
from sw.guest.virtual_nic import ReceiveConfig
from sw.xen.errno import HypercallError
from tests.model.model_support import WAIT_NS, machine
from tests.model.receive_support import collect, frame, receiver_nic, wire

IDLE_NS = 100_000
FRAMES = 200


@pytest.mark.parametrize(
    ("how", "interrupts", "posted_mode", "running"),
    [
        ("interrupt", True, False, True),
        ("polled", False, False, True),
        ("posted", True, True, True),
        ("posted to a blocked vCPU", True, True, False),
    ],
)
def test_entries_of_each_way_to_wait(how: str, interrupts: bool, posted_mode: bool, running: bool) -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 256, posted=posted_mode)
    dom.vcpu.halts = not running
    nic = receiver_nic(dom, ReceiveConfig(interrupts=interrupts))
    rng = random.Random(1)

    async def run() -> None:
        await nic.open()
        setup = hv.entries.setup
        for _ in range(FRAMES):
            data = frame(rng, nic.mac, 60)
            wire(platform, [data])
            (got,) = await nic.receive(WAIT_NS)
            assert got.data == data
        assert hv.entries.setup == setup and hv.entries.data_path == 0
        assert await hv.endpoints.read(NicControl.INTERRUPTS) == hv.entries.interrupts + hv.entries.posted

    platform.run(run())
    entries = {
        "interrupt": (FRAMES, 0),
        "polled": (0, 0),
        "posted": (0, FRAMES),
        "posted to a blocked vCPU": (FRAMES, 0),
    }
    assert (hv.entries.interrupts, hv.entries.posted) == entries[how]
    assert nic.receiver.counts.interrupts == sum(entries[how])
    assert hv.interrupts.spurious == 0


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize("queues", [1, 4])
def test_no_wake_up_is_lost(seed: int, queues: int) -> None:
    """Arrivals fall before, into and after the arming: each is taken without any time-out."""
    platform, hv = machine(seed)
    nic = receiver_nic(hv.create_domain("guest", 256), ReceiveConfig(entries=64, queues=queues))
    rng = random.Random(seed)
    trials = 1500
    sent: list[bytes] = []
    got: list[bytes] = []

    async def guest() -> None:
        while len(got) < trials:
            frames = await nic.receive(WAIT_NS)
            assert frames, f"nothing came in {WAIT_NS} ns after {len(got)} of {trials} frames"
            got.extend(one.data for one in frames)
            if rng.random() < 0.5:
                await platform.sleep(rng.randint(1, 700))

    async def line() -> None:
        while len(sent) < trials:
            if rng.random() < 0.5:
                # alone: no later frame wakes the guest if this one's event is lost
                while len(got) < len(sent):
                    await platform.sleep(20)
                await platform.sleep(rng.randint(1, 400))
            data = frame(rng, nic.mac, 60)
            sent.append(data)
            wire(platform, [data])
            # the posted write of an arming takes 150 ns to the NIC
            await platform.sleep(rng.choice((1, rng.randint(60, 320), rng.randint(60, 1500))))

    platform.run(nic.open())
    if seed % 2:
        platform.run(nic.set_moderation(400, 3))
    platform.run(guest(), line())
    assert sorted(got) == sorted(sent)
    if queues == 1:
        assert got == sent
    counts = nic.receiver.counts
    assert 0 < counts.interrupts <= counts.arms
    assert hv.entries.data_path == 0


def test_moderation_by_count_and_by_time() -> None:
    platform, hv = machine()
    nic = receiver_nic(hv.create_domain("guest", 256), ReceiveConfig())
    rng = random.Random(2)

    async def run() -> None:
        await nic.open()
        await nic.set_moderation(20_000, 10)
        start = platform.now()
        wire(platform, [frame(rng, nic.mac, 60) for _ in range(10)])
        assert len(await nic.receive(WAIT_NS)) == 10
        by_count = platform.now() - start
        # ten frames of 84 byte times, long before the time is up
        assert 10 * 67 <= by_count < 5_000
        start = platform.now()
        wire(platform, [frame(rng, nic.mac, 60) for _ in range(3)])
        assert len(await nic.receive(WAIT_NS)) == 3
        assert 20_000 <= platform.now() - start < 25_000
        assert nic.receiver.counts.interrupts == 2
        await nic.set_moderation(0)
        start = platform.now()
        wire(platform, [frame(rng, nic.mac, 60) for _ in range(3)])
        assert len(await nic.receive(WAIT_NS)) >= 1
        assert platform.now() - start < 5_000

    platform.run(run())


@pytest.mark.parametrize(("ns", "frames"), [(-1, 0), (4 * (1 << 20), 0), (0, 256)])
def test_moderation_is_checked(ns: int, frames: int) -> None:
    platform, hv = machine()
    nic = receiver_nic(hv.create_domain("guest", 256), ReceiveConfig(entries=16))

    async def run() -> None:
        await nic.open()
        with pytest.raises(HypercallError, match="0 to|do not fit"):
            await nic.set_moderation(ns, frames)

    platform.run(run())


def test_moderation_of_a_former_owner_is_gone() -> None:
    platform, hv = machine()
    first = receiver_nic(hv.create_domain("first", 256), ReceiveConfig(entries=16))
    second = receiver_nic(hv.create_domain("second", 256), ReceiveConfig(entries=16))

    async def run() -> None:
        await first.open()
        await first.set_moderation(4_000_000, 255)
        number = first.endpoint
        await first.close()
        await second.open()
        assert second.endpoint == number and first is not second
        wire(platform, [frame(random.Random(3), second.mac, 60)])
        start = platform.now()
        assert len(await second.receive(WAIT_NS)) == 1
        assert platform.now() - start < 5_000

    platform.run(run())


def test_interrupts_go_to_their_domain_only() -> None:
    platform, hv = machine()
    nics = [receiver_nic(hv.create_domain(f"guest{n}", 256), ReceiveConfig(entries=16)) for n in range(4)]
    rng = random.Random(4)

    async def guest(n: int) -> None:
        frames = await collect(nics[n], 20 * n, IDLE_NS * 10)
        assert len(frames) == 20 * n

    async def line() -> None:
        # four guests at once have buffers for 16 frames each
        for _ in range(20):
            for n in range(4):
                wire(platform, [frame(rng, nics[n].mac, 60) for _ in range(n)])
            await platform.sleep(5_000)

    async def open_all() -> None:
        for nic in nics:
            await nic.open()

    platform.run(open_all())
    platform.run(line(), *(guest(n) for n in range(1, 4)))
    assert nics[0].receiver.counts.interrupts == 0
    assert all(nic.receiver.counts.interrupts >= 20 for nic in nics[1:])


def test_each_interrupt_is_bound_once_and_by_its_owner() -> None:
    platform, hv = machine()
    owner = hv.create_domain("owner", 256)
    nic = receiver_nic(owner, ReceiveConfig(entries=16))
    other = hv.create_domain("other", 64)

    async def run() -> None:
        await nic.open()
        with pytest.raises(HypercallError, match="bound already"):
            await owner.hypercall.map_pirq(nic.endpoint)
        with pytest.raises(HypercallError, match="does not belong"):
            await other.hypercall.map_pirq(nic.endpoint)
        with pytest.raises(HypercallError, match="closed"):
            await other.hypercall.event_unmask(1)
        with pytest.raises(HypercallError, match="closed"):
            await owner.hypercall.event_unmask(2)

    platform.run(run())


def test_send_completions_can_interrupt_too() -> None:
    """A guest may arm its send queue; the driver's handler sees one interrupt for it."""
    platform, hv = machine()
    dom = hv.create_domain("guest", 256)
    nic = receiver_nic(dom, ReceiveConfig(entries=16, form=Form.PUSHED))

    async def run() -> None:
        await nic.open()
        arm = nic._endpoint
        assert arm is not None
        dom.mmio_write(arm.aperture + 0xC, (0).to_bytes(4, "little"))
        assert nic.send(bytes(6) + nic.mac + bytes(50))
        await nic.drain(WAIT_NS)
        await platform.sleep(IDLE_NS)
        assert nic.receiver.counts.interrupts == 1

    platform.run(run())
