"""Frames from the line into guests, by hypervisor, driver and reference NIC: every size, form, MTU and way to wait."""

from __future__ import annotations

import random

import pytest

from sw.abi.registers import Form, Mode, NicControl, RxDrop
from sw.guest.virtual_nic import NicError, ReceiveConfig, SendForm, VirtualNic
from tb.ethernet import on_line
from tests.model.model_support import WAIT_NS, machine
from tests.model.receive_support import FORMS, collect, frame, owned, receiver_nic, sum_from_14, wire

IDLE_NS = 100_000


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mtu", [68, 1500, 1501, 2027, 2028, 2029, 9000])
@pytest.mark.parametrize("interrupts", [True, False])
def test_sizes_at_every_limit(form: Form, mtu: int, interrupts: bool) -> None:
    platform, hv = machine()
    config = ReceiveConfig(mtu=mtu, form=form, entries=16, interrupts=interrupts)
    nic = receiver_nic(hv.create_domain("guest", 1024), config)
    rng = random.Random(mtu)
    longest = mtu + 18
    edges = {60, 61, 62, 63, 64, longest - 1, longest}
    for edge in (126, 1518, 2046, 2048, 4094, 4096, 8190, 8192):
        edges.update(range(edge - 2, edge + 3))
    sizes = sorted(size for size in edges if 60 <= size <= longest)
    rng.shuffle(sizes)

    async def run() -> None:
        await nic.open()
        frames = [frame(rng, nic.mac, size) for size in sizes]
        for data in frames:
            wire(platform, [data])
            (got,) = await nic.receive(WAIT_NS)
            assert got.data == data
            assert got.checksum == sum_from_14(data)
            assert (got.queue, got.local) == (0, False)
        if longest < 9018:
            wire(platform, [frame(rng, nic.mac, max(longest + 1, 61))])
            assert await nic.receive(IDLE_NS) == []
        statistics = await nic.statistics()
        assert statistics["rx_packets"] == statistics["nic_rx_packets"] == len(frames)
        assert statistics["rx_bytes"] == statistics["nic_rx_bytes"] == sum(sizes)
        assert statistics["rx_dropped_too_long"] == (longest < 9018)
        assert (statistics["rx_interrupts"] > 0) is interrupts
        await nic.close()

    platform.run(run())
    assert hv.entries.data_path == 0 and hv.entries.faults == 0 and platform.iommu.faults == 0
    assert platform.nic.counters[NicControl.MMIO_DROPPED] == 0


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("entries", [16, 64])
def test_indices_wrap_and_buffers_come_round(form: Form, entries: int) -> None:
    platform, hv = machine()
    nic = receiver_nic(hv.create_domain("guest", 1024), ReceiveConfig(form=form, entries=entries))
    rng = random.Random(entries)

    async def run() -> None:
        await nic.open()
        for _ in range(200):
            burst = [frame(rng, nic.mac, rng.choice((60, 126, 127, 1514))) for _ in range(rng.randint(1, entries // 2))]
            wire(platform, burst)
            assert [got.data for got in await collect(nic, len(burst))] == burst
        assert await nic.receive(IDLE_NS) == []

    platform.run(run())
    assert nic.receiver.counts.frames > 16 * entries


def test_65536_frames_and_more() -> None:
    platform, hv = machine()
    nic = receiver_nic(hv.create_domain("guest", 1024), ReceiveConfig(entries=512))
    base = frame(random.Random(1), bytes(6), 60)

    async def run() -> None:
        await nic.open()
        for first in range(0, 66_000, 500):
            burst = [nic.mac + base[6:-4] + n.to_bytes(4, "big") for n in range(first, first + 500)]
            wire(platform, burst)
            assert [got.data for got in await collect(nic, len(burst))] == burst

    platform.run(run())


@pytest.mark.parametrize("form", FORMS)
def test_guest_that_does_not_refill_loses_its_own_frames_only(form: Form) -> None:
    platform, hv = machine()
    slow = receiver_nic(hv.create_domain("slow", 1024), ReceiveConfig(form=form, entries=16))
    other = receiver_nic(hv.create_domain("other", 1024), ReceiveConfig(form=form, entries=256))
    rng = random.Random(6)

    async def run() -> None:
        await slow.open()
        await other.open()
        mine = [frame(rng, slow.mac, 60) for _ in range(30)]
        big = [frame(rng, slow.mac, 1000) for _ in range(20)]
        others = [frame(rng, other.mac, 60) for _ in range(50)]
        wire(platform, [data for pair in zip(mine + big, others, strict=True) for data in pair])
        assert [got.data for got in await collect(other, 50)] == others
        assert [got.data for got in await collect(slow, 50, IDLE_NS)] == mine[:16] + big[:16]
        statistics = await slow.statistics()
        assert (statistics["rx_dropped_no_small"], statistics["rx_dropped_no_big"]) == (14, 4)
        assert (await other.statistics())["rx_dropped_no_small"] == 0
        # everything is posted again
        wire(platform, mine[:16])
        assert [got.data for got in await collect(slow, 16)] == mine[:16]

    platform.run(run())


def test_jumbo_frame_takes_consecutive_buffers_or_none() -> None:
    platform, hv = machine()
    nic = receiver_nic(hv.create_domain("guest", 1024), ReceiveConfig(mtu=9000, entries=16))
    rng = random.Random(7)

    async def run() -> None:
        await nic.open()
        jumbo = [frame(rng, nic.mac, 9018) for _ in range(6)]
        short = frame(rng, nic.mac, 2000)
        # three buffers each: the sixth finds one left and takes none, a short one then takes it
        wire(platform, [*jumbo, short])
        await platform.sleep(IDLE_NS)
        assert [got.data for got in await collect(nic, 7, IDLE_NS)] == [*jumbo[:5], short]
        assert (await nic.statistics())["rx_dropped_no_big"] == 1
        wire(platform, jumbo[:5])
        assert [got.data for got in await collect(nic, 5)] == jumbo[:5]

    platform.run(run())


def test_no_small_buffers_at_all() -> None:
    platform, hv = machine()
    nic = receiver_nic(hv.create_domain("guest", 1024), ReceiveConfig(entries=16, small_bytes=0))
    rng = random.Random(8)

    async def run() -> None:
        await nic.open()
        frames = [frame(rng, nic.mac, 60) for _ in range(16)]
        wire(platform, frames)
        assert [got.data for got in await collect(nic, 16)] == frames

    platform.run(run())


@pytest.mark.parametrize("form", list(SendForm))
def test_native_owner_receives_by_the_same_driver(form: SendForm) -> None:
    platform, hv = machine()
    owner = hv.create_domain("owner", 512, mode=Mode.NATIVE)
    receive_form = Form.PUSHED if form is SendForm.PUSHED else Form.FETCHED
    nic = receiver_nic(owner, ReceiveConfig(mtu=9000, form=receive_form, entries=16, queues=2), form)
    rng = random.Random(9)

    async def run() -> None:
        await nic.open()
        frames = [frame(rng, nic.mac, size) for size in (60, 1518, 1519, 4095, 9018)]
        wire(platform, frames)
        assert [got.data for got in await collect(nic, 5)] == frames
        await nic.close()

    platform.run(run())
    assert hv.entries.data_path == 0 and platform.iommu.faults == 0


def test_budget_bounds_a_poll() -> None:
    platform, hv = machine()
    nic = receiver_nic(hv.create_domain("guest", 1024), ReceiveConfig(entries=256))
    rng = random.Random(10)

    async def run() -> None:
        await nic.open()
        frames = [frame(rng, nic.mac, 60) for _ in range(200)]
        wire(platform, frames)
        await platform.sleep(IDLE_NS)
        polls = [nic.poll() for _ in range(5)]
        assert [len(got) for got in polls] == [64, 64, 64, 8, 0]
        assert [got.data for poll in polls for got in poll] == frames
        assert nic.receiver.counts.interrupts == 0

    platform.run(run())


def test_both_directions_at_once_and_reopening_leak_nothing() -> None:
    platform, hv = machine()
    dom = hv.create_domain("guest", 512)
    nic = receiver_nic(dom, ReceiveConfig(entries=32, queues=4), SendForm.FETCHED)
    rng = random.Random(11)
    free = dom.kernel.longest_run()
    got: list[bytes] = []
    waiters = 0

    async def guest() -> None:
        nonlocal waiters
        for _ in range(5):
            await nic.open()

            async def listen() -> None:
                nonlocal waiters
                while frames := await nic.receive(WAIT_NS):
                    got.extend(frame.data for frame in frames)
                waiters += 1

            listener = platform.start(listen())
            for _ in range(100):
                assert nic.send(nic.mac[::-1] + nic.mac + bytes(50))
                nic.kick()
                await platform.sleep(2_000)
                nic.reap()
            await nic.close()
            assert nic.completions[0] == sum(nic.completions)
            await platform.sleep(1_000)
            assert listener.done

    async def line() -> None:
        # the address is the same each time: what comes while the NIC is closed is filtered
        mac = (0x0060DD << 24 | dom.domid << 8).to_bytes(6, "big")
        for _ in range(600):
            wire(platform, [frame(rng, mac, rng.choice((60, 1500)))])
            await platform.sleep(2_000)

    platform.run(guest(), line())
    assert waiters == 5 and len(got) > 400
    assert dom.kernel.longest_run() == free
    assert owned(hv, dom.domid) == 512 + 1
    assert dom.events.ports == {} and hv.endpoints.of_domain(dom.domid) == []
    assert hv.entries.faults == 0 and hv.entries.data_path == 0 and platform.iommu.faults == 0
    assert hv.interrupts.spurious <= 5


def test_statistics_start_with_each_owner() -> None:
    platform, hv = machine()
    first, second = (receiver_nic(hv.create_domain(f"guest{n}", 256), ReceiveConfig(entries=16)) for n in range(2))
    rng = random.Random(13)

    async def run() -> None:
        await first.open()
        wire(platform, [frame(rng, first.mac, 60) for _ in range(20)])
        await platform.sleep(IDLE_NS)
        assert first.send(bytes(60))
        await first.drain(WAIT_NS)
        statistics = await first.statistics()
        assert (statistics["nic_rx_packets"], statistics["rx_dropped_no_small"]) == (16, 4)
        assert statistics["tx_dropped_spoofed"] == 1
        number = first.endpoint
        await first.close()
        await second.open()
        assert second.endpoint == number
        statistics = await second.statistics()
        assert not any(value for name, value in statistics.items() if name.startswith(("nic_", "rx_dropped", "tx_")))

    platform.run(run())


def test_closed_and_sending_nics_say_so() -> None:
    platform, hv = machine()
    nic = VirtualNic(hv.create_domain("guest", 64), SendForm.PUSHED, 16, buffer_pages=4)

    async def run() -> None:
        with pytest.raises(NicError, match="not open"):
            nic.poll()
        await nic.open()
        with pytest.raises(NicError, match="only sends"):
            await nic.receive(1000)
        wire(platform, [nic.mac + bytes(60)])
        await platform.sleep(IDLE_NS)

    platform.run(run())
    assert platform.nic.receiver.drops == [(RxDrop.DISABLED, 0)]


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [("mtu", 9001, "mtu is 9001"), ("entries", 8, "entries is 8"), ("queues", 5, "queues is 5"),
     ("small_bytes", 4095, "small_bytes is 4095")],
)  # fmt: skip
def test_configuration_is_checked(argument: str, value: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReceiveConfig(**{argument: value})  # type: ignore[arg-type]


def test_bad_frames_of_the_line_reach_nobody() -> None:
    platform, hv = machine()
    nic = receiver_nic(hv.create_domain("guest", 1024), ReceiveConfig(entries=16))

    async def run() -> None:
        await nic.open()
        good = frame(random.Random(12), nic.mac, 100)
        platform.wire_send(good + b"\0\0\0\0")
        platform.wire_send(on_line(good)[:63])
        wire(platform, [good])
        assert [got.data for got in await collect(nic, 2, IDLE_NS)] == [good]

    platform.run(run())
