"""Directed tests of arming, moderation and MSI-X: each names the property it protects."""

from __future__ import annotations

from typing import Any

import cocotb

from tb.unit.interrupt.bench import OFFER_CYCLES, Bench
from tb.unit.interrupt.oracle import Arm, Post


async def bench(dut: Any, *endpoints: int, cycles: int = 0, limit: int = 0) -> Bench:
    """Endpoints enabled and unmasked, with this moderation."""
    env = Bench(dut)
    await ready(env, *endpoints, cycles=cycles, limit=limit)
    return env


async def ready(env: Bench, *endpoints: int, cycles: int = 0, limit: int = 0) -> None:
    """The same, on a bench that is there."""
    await env.start()
    for endpoint in endpoints:
        await env.enable(endpoint)
        await env.unmask(endpoint)
        await env.moderate(endpoint, cycles, limit)


@cocotb.test
async def at_once(dut: Any) -> None:
    """Without moderation a post of an armed ring fires in the next cycle, and its message is offered three later."""
    env = await bench(dut, 5)
    for ring in range(5):
        await env.step(arm=Arm(5, ring, 0))
        await env.steps(3)
        assert env.fires == [] and env.left == []
        post = Post(5, ring, 1, 1)
        at = env.cycle
        await (env.step(recv=post) if ring else env.step(send=post))
        await env.steps(12)
        assert env.fires == [(at + 1, 5)]
        assert env.left == [(at + 1 + OFFER_CYCLES + env.hold - 1, 5)]
        env.fires, env.left = [], []
        await env.enable(5)


@cocotb.test
async def polled(dut: Any) -> None:
    """A ring that was never armed, or has fired, does not interrupt; neither does another ring's event arm it."""
    env = await bench(dut, 1, 2)
    for n in range(1, 20):
        await env.step(recv=Post(1, 1, n, 1))
        await env.step()
    assert env.fires == []
    await env.step(arm=Arm(1, 2, 0))
    await env.steps(2)
    for n in range(1, 6):
        await env.step(recv=Post(1, 2, n, 1))
        await env.steps(2)
        await env.step(recv=Post(1, 1, 19 + n, 1))
        await env.step()
    assert len(env.fires) == 1
    await env.steps(10)
    assert len(env.left) == 1


@cocotb.test
async def arm_behind(dut: Any) -> None:
    """An index that is not the posted one fires at once: one behind, many behind, across the wrap, and ahead."""
    env = await bench(dut, 9, 63)
    for posted, index in ((1, 0), (1000, 3), (2, 0xFFFE), (0xFFFF, 0), (7, 8)):
        for endpoint in (9, 63):
            await env.step(recv=Post(endpoint, 4, posted, 8))
            await env.step()
            env.fires = []
            at = env.cycle
            await env.step(arm=Arm(endpoint, 4, index))
            await env.steps(12)
            assert env.fires == [(at + 2, endpoint)]
            await env.step(arm=Arm(endpoint, 4, posted))
            await env.steps(12)
            assert len(env.fires) == 1, "armed with nothing new"
            await env.enable(endpoint)


@cocotb.test
async def same_cycle(dut: Any) -> None:
    """An arming in the cycle of a post, or just around it, knows the post, whichever index it carries."""
    env = await bench(dut, 3)
    posted = 0
    for distance in range(-3, 4):
        for stale in (False, True):
            before = posted
            posted += 1
            env.fires = []
            for t in range(8):
                arm = Arm(3, 0, before if stale else posted) if t == 3 + distance else None
                await env.step(send=Post(3, 0, posted, 1) if t == 3 else None, arm=arm)
            await env.steps(12)
            # a fresh index two cycles in front of the post is one ahead of it
            assert len(env.fires) == (1 if stale or distance < -1 else 0), (distance, stale)
            posted += 1
            await env.step(send=Post(3, 0, posted, 1))  # whatever is armed fires now
            await env.steps(12)


@cocotb.test
async def time_exact(dut: Any) -> None:
    """The interrupt fires exactly `cycles` after it would without moderation, whatever follows the first event."""
    env = Bench(dut)
    for cycles in (0, 1, 2, 3, 17, 250, 5000):
        await ready(env, 0, cycles=cycles, limit=255)
        await env.step(arm=Arm(0, 1, 0))
        await env.steps(5)
        at = env.cycle
        await env.step(recv=Post(0, 1, 1, 1))
        for n in range(2, 12):
            await env.step(recv=Post(0, 1, n, 1))
            await env.step()
        await env.steps(cycles + 10)
        assert env.fires == [(at + 1 + cycles, 0)]


@cocotb.test
async def longest_time(dut: Any) -> None:
    """The largest value is that many cycles, and the count cuts it short."""
    env = await bench(dut, 8, cycles=(1 << 20) - 1, limit=3)
    await env.step(arm=Arm(8, 0, 0))
    await env.step()
    await env.step(send=Post(8, 0, 2, 2))
    await env.steps(4200)  # past the wrap of the counter's low bits
    assert env.fires == []
    at = env.cycle
    await env.step(send=Post(8, 0, 3, 1))
    await env.steps(3)
    assert env.fires == [(at + 1, 8)]


@cocotb.test
async def count_exact(dut: Any) -> None:
    """Entries of all rings of the endpoint count together; only rings with events are disarmed."""
    env = Bench(dut)
    for limit in (0, 1, 2, 3, 9, 255):
        await ready(env, 7, cycles=100_000, limit=limit)
        for ring in range(5):
            await env.step(arm=Arm(7, ring, 0))
            await env.step()
        posted = [0] * 5
        total = 0
        while total < max(limit, 1):
            ring = total % 4  # the fifth ring stays without entries
            posted[ring] += 1
            total += 1
            assert env.fires == []
            post = Post(7, ring, posted[ring], 1)
            await (env.step(recv=post) if ring else env.step(send=post))
            await env.step()
        await env.step()
        assert len(env.fires) == 1
        await env.step(recv=Post(7, 4, 1, 8))
        await env.steps(3)
        assert len(env.fires) == (2 if limit <= 8 else 1), "the fifth ring is armed still"


@cocotb.test
async def far_behind(dut: Any) -> None:
    """More entries than the largest limit reach it, whether an arming or many posts bring them."""
    env = await bench(dut, 6, cycles=3000, limit=255)
    for behind in (255, 256, 257, 512, 0xFF00):
        await env.enable(6)
        at = env.cycle
        await env.step(arm=Arm(6, 1, -behind & 0xFFFF))
        await env.steps(4)
        assert env.fires[-1:] == [(at + 2, 6)], behind
    env.fires = []
    await env.enable(6)
    await env.step(arm=Arm(6, 1, -250 & 0xFFFF))
    await env.steps(4)
    assert env.fires == []
    at = env.cycle
    await env.step(recv=Post(6, 1, 8, 8))  # 258 in all
    await env.steps(4)
    assert env.fires == [(at + 1, 6)]


@cocotb.test
async def re_arm(dut: Any) -> None:
    """Re-arming while the interrupt waits: the ring counts anew, the wait of the others keeps its deadline."""
    env = await bench(dut, 4, cycles=100, limit=10)
    for ring in (0, 1):
        await env.step(arm=Arm(4, ring, 0))
        await env.step()
    at = env.cycle
    await env.step(send=Post(4, 0, 6, 6))
    await env.step(recv=Post(4, 1, 3, 3))  # 9 in all
    await env.step(arm=Arm(4, 0, 6))  # 3 left
    await env.steps(5)
    await env.step(send=Post(4, 0, 12, 6))  # 9 again
    await env.steps(120)
    assert env.fires == [(at + 101, 4)]
    # the only event taken back: no interrupt, and the next one is timed from its own event
    env.fires = []
    await env.step(arm=Arm(4, 0, 12))
    await env.step()
    await env.step(send=Post(4, 0, 13, 1))
    await env.steps(50)
    await env.step(arm=Arm(4, 0, 13))
    await env.steps(200)
    assert env.fires == []
    at = env.cycle
    await env.step(send=Post(4, 0, 14, 1))
    await env.steps(120)
    assert env.fires == [(at + 101, 4)]
    # re-armed in the very cycle in which it fires: armed for what comes
    for early in range(4):
        env.fires = []
        index = 14 + 3 * early
        await env.step(arm=Arm(4, 0, index))
        await env.step()
        at = env.cycle
        await env.step(send=Post(4, 0, index + 1, 1))
        while env.cycle < at + 101 - early:
            await env.step()
        await env.step(arm=Arm(4, 0, index + 1))
        await env.steps(10)
        assert len(env.fires) == (1 if early < 2 else 0), "taken back in time or not"
        await env.step(send=Post(4, 0, index + 3, 2))
        await env.steps(120)
        assert len(env.fires) == (2 if early < 2 else 1)


@cocotb.test
async def many_at_once(dut: Any) -> None:
    """All endpoints are due in one cycle: all fire in it, and each has its message."""
    env = await bench(dut, *range(64))
    due = env.cycle + 400
    for endpoint in range(64):
        await env.step(arm=Arm(endpoint, endpoint % 5, 0))
        await env.step()
    for endpoint in range(64):
        await env.moderate(endpoint, due - 1 - (env.cycle + 1), 0xFF)
        post = Post(endpoint, endpoint % 5, 1, 1)
        await (env.step(recv=post) if endpoint % 5 else env.step(send=post))
    await env.steps(due + 500 - env.cycle)
    assert env.fires == [(due, e) for e in range(64)]
    assert sorted(v for _, v in env.left) == list(range(64))


@cocotb.test
async def start_resets(dut: Any) -> None:
    """Enabling forgets indices, armings and waits; a disabled endpoint neither fires nor can be armed."""
    env = await bench(dut, 10, 11, cycles=50, limit=0xFF)
    for endpoint in (10, 11):
        await env.step(arm=Arm(endpoint, 0, 0))
        await env.step()
        await env.step(arm=Arm(endpoint, 3, 0))
        await env.step()
        await env.step(send=Post(endpoint, 0, 5, 5))
    await env.disable(10)
    await env.steps(100)
    assert [e for _, e in env.fires] == [11]
    await env.step(arm=Arm(10, 2, 7))
    await env.steps(3)
    await env.enable(10)
    await env.steps(100)
    for ring in range(1, 5):
        await env.step(recv=Post(10, ring, 1, 1))
        await env.step()
    await env.step(send=Post(10, 0, 1, 1))
    await env.steps(100)
    assert len(env.fires) == 1, "nothing is armed"
    await env.enable(10)
    for ring in range(5):
        await env.step(arm=Arm(10, ring, 0))
        await env.step()
    await env.steps(100)
    assert len(env.fires) == 1, "the indices are 0"
    await env.step(arm=Arm(10, 5, 1))
    await env.step()
    await env.step(arm=Arm(10, 7, 1))
    await env.steps(100)
    assert len(env.fires) == 1, "rings 5 to 7 do not exist"


@cocotb.test
async def masks(dut: Any) -> None:
    """A masked vector, a masked function and a disabled MSI-X keep the interrupt pending, once, and send it later."""
    env = await bench(dut, 20, 40)

    async def fire(endpoint: int, index: int) -> None:
        await env.step(arm=Arm(endpoint, 0, index - 1))
        await env.step()
        await env.step(send=Post(endpoint, 0, index, 1))
        await env.steps(12)

    index = 0
    await env.mask(40, masked=True)
    for _ in range(3):
        index += 1
        await fire(40, index)
        await fire(20, index)
    assert [v for _, v in env.left] == [20] * 3 and await env.pending() == {40}
    await env.mask(40, masked=False)
    await env.steps(12)
    assert [v for _, v in env.left] == [20] * 3 + [40] and await env.pending() == set()
    for capability, master in ((3, 1), (0, 1), (1, 1), (2, 0)):
        dut.capability_i.value, dut.bus_master_i.value = capability, master
        count = len(env.left)
        index += 1
        await fire(20, index)
        await fire(40, index)
        assert len(env.left) == count and await env.pending() == {20, 40}
        dut.capability_i.value, dut.bus_master_i.value = 2, 1
        await env.steps(20)
        assert sorted(v for _, v in env.left[count:]) == [20, 40] and await env.pending() == set()
