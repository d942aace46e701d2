"""Split mode end to end on the model: every direction, every size, every way to reach a guest's pages."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from hypervisor_model.dom0.netback import NetbackConfig
from hypervisor_model.dom0.netback_receive import QUEUE_BYTES
from hypervisor_model.dom0.netback_transmit import TxMode
from tests.xen.split_support import BROADCAST, PEER, Machine, collect, frame, mac_of, send_all

SIZES = [60, 61, 127, 128, 129, 1514, 4095, 4096, 4097, 8192, 9018]


@pytest.mark.parametrize("mode", list(TxMode))
@pytest.mark.parametrize("persistent", [False, True])
def test_every_direction_and_size(mode: TxMode, persistent: bool) -> None:
    world = Machine()
    rng = random.Random(7)
    for _ in range(3):
        world.add(NetbackConfig(mac_of(0), mtu=9000, tx=mode))
    fronts = [world.front(n, persistent=persistent) for n in range(3)]

    async def run() -> None:
        for front in fronts:
            await front.open()
        a, b, c = (front.mac for front in fronts)
        inside = [frame(rng, b, a, size) for size in SIZES]
        out = [frame(rng, PEER, a, size) for size in SIZES]
        to_all = [frame(rng, BROADCAST, a, size) for size in SIZES]
        await send_all(fronts[0], inside + out + to_all)
        got = [f.data for f in await collect(fronts[1], 2 * len(SIZES))]
        assert got == inside + to_all
        assert [f.data for f in await collect(fronts[2], len(SIZES))] == to_all
        assert await world.left(2 * len(SIZES)) == out + to_all
        incoming = [frame(rng, c, PEER, size) for size in SIZES] + [frame(rng, BROADCAST, PEER, 60)]
        world.wire(incoming)
        assert [f.data for f in await collect(fronts[2], len(SIZES) + 1)] == incoming
        assert [f.data for f in await collect(fronts[0], 1)] == incoming[-1:]
        for front in fronts:
            await front.close()

    world.run(run())


@pytest.mark.parametrize(("mode", "persistent", "split"), [
    (TxMode.COPY, False, True), (TxMode.MAP, False, False), (TxMode.PERSISTENT, True, True)
])
def test_random_traffic_keeps_its_order_and_loses_nothing(mode: TxMode, persistent: bool, split: bool) -> None:
    """Everybody sends to everybody and to the line, far more than any ring or queue holds."""
    world = Machine()
    for _ in range(3):
        world.add(NetbackConfig(mac_of(0), mtu=9000, tx=mode))
    fronts = [world.front(n, persistent=persistent, buffer_pages=64, entries=64) for n in range(3)]
    if not split:
        for front in fronts:
            features = front._connection.features  # type: ignore[attr-defined]
            front._connection.features = replace(features, split_event_channels=False)  # type: ignore[attr-defined]
    seed = 20
    print(f"seed {seed}")
    rng = random.Random(seed)

    async def run() -> None:
        for front in fronts:
            await front.open()
        total = 0
        for _ in range(40):
            plan: list[list[bytes]] = [[] for _ in fronts]
            targets = [front.mac for front in fronts] + [PEER]
            for n, front in enumerate(fronts):
                others = [mac for mac in targets if mac != front.mac]
                plan[n] = [frame(rng, rng.choice(others), front.mac, rng.randint(60, 9018)) for _ in range(8)]
            incoming = [frame(rng, rng.choice(targets[:3]), PEER, rng.randint(60, 9018)) for _ in range(4)]
            world.wire(incoming)
            await world.platform.gather([send_all(front, plan[n]) for n, front in enumerate(fronts)])
            flows = [*((fronts[n].mac, frames) for n, frames in enumerate(plan)), (PEER, incoming)]
            for target, taker in zip(targets, [*fronts, None], strict=True):
                mine = [(source, [f for f in frames if f[:6] == target]) for source, frames in flows]
                count = sum(len(frames) for _, frames in mine)
                total += sum(len(f) for _, frames in mine for f in frames)
                got = await world.left(count) if taker is None else [f.data for f in await collect(taker, count)]
                assert len(got) == count
                for source, frames in mine:
                    assert [f for f in got if f[6:12] == source] == frames
        assert total > 4 * QUEUE_BYTES
        for front in fronts:
            await front.close()

    world.run(run())
