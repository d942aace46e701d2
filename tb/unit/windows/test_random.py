"""Random windows, ranges, accesses and fences, all at once, against the oracle."""

from __future__ import annotations

import os
import random
from typing import Any, Final

import cocotb

from sw.abi.registers import Mode, Refusal
from tb.unit.windows.bench import ENDS, USERS, Access, Bench
from tb.unit.windows.oracle import Ask, Table, name

CYCLES: Final = 12_000
MOST: Final = 60
"""DMA in flight at most."""
PLACES: Final = [(0, 0), (0, 1), (0, 255), (1, 0), (31, 128), (62, 255), (63, 0), (63, 255)]
"""Few windows, neighbours among them, so that each is written and used often."""
PAGES: Final = [0, 0x1000, 0x20_0000, 0x7F_F000, 0xFEDF_F000, 0xFEE0_0000, 0xFEEF_F000, 0xFEF0_0000, (1 << 48) - 0x1000,
                0x1234_5678_9000]
MODES: Final = [Mode.WINDOWS] * 12 + [Mode.NATIVE, Mode.IOMMU, Mode.VALIDATED, 5]


def random_ask(rng: random.Random, table: Table) -> Ask:
    """Mostly what a window allows, or one thing wrong."""
    endpoint, window = rng.choice(PLACES)
    mode = rng.choice(MODES)
    write = rng.random() < 0.5
    length = rng.choice([1, 2, 16, 128, 512, 4094, 4096, 9018, rng.randint(1, 9018)])
    if mode != Mode.WINDOWS:
        address = rng.choice(PAGES) + rng.randrange(4096)
        return Ask(endpoint, mode, address | rng.choice([0] * 9 + [1 << rng.randrange(48, 64)]), length, write)
    row = table.row(endpoint, window)
    large, sequence = row.large, row.sequence
    wrong = rng.randrange(12)
    if wrong == 0:
        large = not large
    elif wrong == 1:
        sequence ^= 1 << rng.randrange(16)
    elif wrong == 2:
        endpoint, window = rng.choice(PLACES)
    size = 1 << (21 if large else 12)
    fits = max(size - length, 0)
    offset = rng.choice([0, fits, min(fits + 1, size - 1), rng.randrange(size), rng.randint(0, fits)])
    address = name(window, sequence, offset, large=large)
    if wrong == 3:
        address |= 1 << rng.choice([*range(29 if large else 20, 40), *range(56, 63)])
    return Ask(endpoint, mode, address, length, write)


def random_access(rng: random.Random) -> Access:
    endpoint, window = rng.choice(PLACES)
    word = rng.choice([0, 1, 2, 2, 2, 2, 3])
    if rng.random() < 0.3:
        return Access(endpoint, window, word)
    page = rng.choice(PAGES)
    control = rng.choice([0, 1, 1, 1, 1, 1]) | rng.randrange(4) << 1 | rng.choice([0, 1, 0xFFFF, rng.randrange(1 << 16)]) << 16
    return Access(endpoint, window, word, (page & 0xFFFF_F000, page >> 32, control, rng.randrange(1 << 32))[word])


@cocotb.test
async def run(dut: Any) -> None:
    env = Bench(dut, int(os.environ["COCOTB_RANDOM_SEED"]))
    rng = env.random
    await env.start()
    for cycle in range(CYCLES):
        calm = cycle // 500 % 4
        """Of each four stretches: full of users, of accesses, of fences; all at ease."""
        for user in range(USERS):
            if env.asks[user] is None and len(env.flights) < MOST and rng.random() < (0.95 if calm == 0 else 0.3):
                env.asks[user] = random_ask(rng, env.table)
        access = random_access(rng) if env.free and rng.random() < (0.9 if calm == 1 else 0.2) else None
        start = rng.random() < (0.3 if calm == 2 else 0.02)
        most = min(len(env.flights), ENDS)
        ends = rng.randint(0, most) if rng.random() < (0.5 if calm == 0 else 0.2) else 0
        if cycle % 97 == 0:
            for pin, attribute in (("bus_master_i", "bus_master"), ("vf_enable_i", "functions")):
                value = rng.random() < 0.9
                # a decision that is made already saw the old pin
                if not any(env.expected):
                    getattr(dut, pin).value = int(value)
                    setattr(env.table, attribute, value)
        await env.cycle(access, start=start, ends=ends)
    counts = {why: env.verdicts.count(why) for why in (None, *Refusal) if why != Refusal.STALE}
    cocotb.log.info("%d decisions %s, %d reads, %d fences", len(env.verdicts), counts, len(env.reads), env.ended)
    assert min(counts.values()) > 5 and counts[None] > 500 and len(env.reads) > 200 and env.ended > 100
