"""Random frames, buffers, set-ups, back-pressure and credits: every write and every completion as the oracle has it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import cocotb

from sw.abi.registers import RxDrop
from tb.unit.receive.bench import Bench, Setup
from tb.unit.receive.traffic import Space, keep_filled, random_header, random_setup

PHASES = 12
FRAMES = 90
LENGTHS = (60, 61, 62, 63, 64, 65, 126, 127, 128, 129, 1514, 1518, 2044, 2045, 2046, 2047, 4093, 4094, 4095, 8190, 8191, 9018)


def _chance(rng: random.Random, probability: float) -> Callable[[], bool]:
    return lambda: rng.random() < probability


def _spells(rng: random.Random) -> Callable[[], bool]:
    """True for spells of 100 cycles or so."""
    state = [False]

    def now() -> bool:
        if rng.random() < 0.01:
            state[0] = not state[0]
        return state[0]

    return now


@cocotb.test
async def random_traffic(dut: Any) -> None:
    """Jobs of both sources, for one or several endpoints, under all kinds of pressure."""
    rng = random.Random(cocotb.RANDOM_SEED)
    env = Bench(dut)
    seen: set[RxDrop] = set()
    copies = 0
    longest = 0
    for phase in range(PHASES):
        endpoints = sorted(rng.sample(range(64), rng.randint(1, 6)))
        env.refill = lambda: None
        await env.start({e: random_setup(rng) for e in endpoints}, mps_256=bool(phase % 2))
        env.ready = _chance(rng, rng.choice((1.0, 1.0, 0.9, 0.5)))
        env.offer = _chance(rng, rng.choice((1.0, 0.2)))
        env.credit = _chance(rng, 0.08) if phase % 4 == 3 else None
        env.other = _chance(rng, 0.02 if phase % 3 == 2 else 0)
        env.hold = _spells(rng) if phase % 3 == 1 else _chance(rng, 0)
        env.framing = rng.random() < 0.5
        env.drops_told = _chance(rng, 0.5 if phase % 2 else 1)
        env.refill = keep_filled(env, rng, endpoints, rng.choice((0.05, 0.3, 1.0)), {e: rng.random() < 0.5 for e in endpoints})
        await env.steps(rng.choice((0, 200)))
        scale = rng.choice((80, 300, 2000, 9018))
        for _ in range(FRAMES):
            length = rng.choice(LENGTHS) if rng.random() < 0.3 else rng.randint(60, max(scale, 61))
            sibling = rng.random() < 0.4
            if sibling and rng.random() < 0.2:
                length = rng.randint(14, 59)
            header = random_header(rng) if rng.random() < 0.7 else b""
            several = rng.random() < 0.3
            dest = [e for e in endpoints if rng.random() < 0.5] if several else []
            while not env.frame(length, dest or [rng.choice(endpoints)], header=header, sibling=sibling):
                await env.step()
            if rng.random() < 0.1:
                await env.steps(rng.randrange(300))
        await env.drain()
        seen |= {reason for _, _, reason in env.drops}
        copies += len(env.copies)
        longest = max([longest, *(count for _, _, _, count in env.batches)])
    dut._log.info("%d copies, drops %s, up to %d entries at once", copies, sorted(seen), longest)
    assert {RxDrop.NO_BIG, RxDrop.TOO_LONG} <= seen and longest > 1 and copies > PHASES * FRAMES / 4


@cocotb.test
async def all_lengths(dut: Any) -> None:
    """Every length up to 330 bytes and every residue of 256 beyond, at random even offsets: nothing is dropped."""
    rng = random.Random(cocotb.RANDOM_SEED)
    env = Bench(dut)
    lengths = [*range(60, 331), *range(331, 9019, 37), 9015, 9016, 9017, 9018]
    rng.shuffle(lengths)
    for mps_256, buffer_log2 in ((False, 12), (True, 11)):
        setup = Setup(small_log2=9, big_log2=9, buffer_log2=buffer_log2, small_max=rng.choice((0, 128, 1000)), rq_log2=10)
        env.refill = lambda: None
        await env.start({7: setup}, mps_256=mps_256)
        env.ready = lambda: True
        place = [Space(0x8_0000_0000, rng), Space(0x1000_0000, rng)]
        for length in lengths[:: 2 if mps_256 else 1]:
            big = length > setup.small_max
            for _ in range(-(-(length + 2) >> buffer_log2) + 1 if big else 1):
                if env.room(7, big):
                    env.post(7, big, rng.choice(place).take((1 << buffer_log2) if big else 1024))
            await env.steps(6)
            while not env.frame(length, [7], header=random_header(rng) if length < 400 else b"", sibling=rng.random() < 0.5):
                await env.step()
        await env.drain()
        assert not env.drops and len(env.copies) == len(lengths[:: 2 if mps_256 else 1])
