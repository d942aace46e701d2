"""Round-robin arbiter, arbiter of upstream writes, TLP merge, FIFO: nothing lost, nothing reordered, everybody in turn."""

from __future__ import annotations

import random
from collections import deque
from itertools import pairwise
from typing import Any, Final

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from tb.unit.mwr import MwrSink, MwrSource, Write, a_write
from tb.unit.streams import PATTERNS, StreamSink, StreamSource, Word, cycle, settle, start
from tb.unit.tlp import LAST

REQUESTERS: Final = 5
SOURCES: Final = 3
DEPTHS: Final = {"u_fifo": 4, "u_fifo_one": 1}
PRESSURES: Final = ["always", "bursts", "rare"]


@cocotb.test
async def round_robin(dut: Any) -> None:
    """The next requester after the last winner wins; who keeps asking wins within N takes; a look without a take moves
    nothing."""
    arb, rng = dut.u_rr_arb, random.Random(cocotb.RANDOM_SEED)
    await start(arb, ("req_i", "take_i"))
    last = REQUESTERS - 1
    waited = [0] * REQUESTERS
    density = 0.5
    for number in range(4000):
        if number % 200 == 0:
            density = rng.choice((0.1, 0.5, 0.9, 1.0))
        asking = [n for n in range(REQUESTERS) if rng.random() < density]
        take = rng.random() < 0.7
        arb.req_i.value, arb.take_i.value = sum(1 << n for n in asking), int(take)
        await ReadOnly()
        assert bool(int(arb.valid_o.value)) == bool(asking)
        if asking:
            winner = min(asking, key=lambda n, after=last: (n - after - 1) % REQUESTERS)  # type: ignore[misc]
            found = int(arb.id_o.value)
            assert found == winner, f"cycle {cycle()}: {asking} ask after {last}: {found} wins"
            if take:
                last = winner
                waited = [waited[n] + 1 if n in asking and n != winner else 0 for n in range(REQUESTERS)]
                assert max(waited) < REQUESTERS
        await FallingEdge(arb.clk_i)


@cocotb.test
@cocotb.parametrize(idle=list(PATTERNS), pressure=PRESSURES)
async def writes(dut: Any, idle: str, pressure: str) -> None:
    """Whole writes, each source's in its order; a source that always has one waits for one of each other at most."""
    arb, rng = dut.u_mwr_arb, random.Random(cocotb.RANDOM_SEED)
    await start(arb, (*(f"s{n}{port}_i" for n in range(SOURCES) for port in ("", "_valid", "_data")), "mwr_next_i", "mwr_done_i"))
    sources = [MwrSource(arb, f"s{n}", PATTERNS[idle](rng)) for n in range(SOURCES)]
    sink = MwrSink(arb, "mwr", rng, PATTERNS[pressure](rng))
    queues: list[deque[Write]] = [deque() for _ in sources]
    for _ in range(40):
        for n, source in enumerate(sources):
            write = a_write(rng, rng.randint(1, 9), 64 * n + rng.randrange(64), above_4g=bool(rng.randrange(2)))
            queues[n].append(write)
            source.queue(write)
    await settle(arb, lambda: all(source.idle for source in sources), "every write leaves")
    order = [write.tag // 64 for _, write in sink.writes]
    for now, write in sink.writes:
        expected = queues[write.tag // 64].popleft()
        assert write == expected, f"cycle {now}: {write}, not {expected}"
    assert not any(queues)
    if idle == "always":
        busy = order[: 3 * 38]
        assert all(len(set(busy[at : at + SOURCES])) == SOURCES for at in range(len(busy) - SOURCES + 1)), order


@cocotb.test
@cocotb.parametrize(idle_a=["always", "bursts", "rare"], idle_b=["always", "rare"], pressure=PRESSURES)
async def merge(dut: Any, idle_a: str, idle_b: str, pressure: str) -> None:
    """TLPs leave whole and in their stream's order, in the cycle in which they are offered when nothing is before them;
    two streams that always have one leave in turn."""
    block, rng = dut.u_tlp_merge, random.Random(cocotb.RANDOM_SEED)
    await start(block, ("a_i", "a_valid_i", "b_i", "b_valid_i", "out_ready_i"))
    sources = [StreamSource(block, name, PATTERNS[idle](rng)) for name, idle in (("a", idle_a), ("b", idle_b))]
    words: list[Word] = []
    StreamSink(block, "out", PATTERNS[pressure](rng), words.append)
    tlps: list[list[list[int]]] = [[], []]
    for which, source in enumerate(sources):
        for _ in range(60):
            beats = [rng.getrandbits(63) << 1 | which for _ in range(rng.randint(1, 6))]
            beats[-1] |= LAST
            tlps[which].append(beats)
            source.queue(beats)
    await settle(block, lambda: all(source.idle for source in sources), "every TLP leaves")
    # each beat is taken from its source in the cycle in which it leaves
    left = {(word.taken, word.data) for word in words}
    assert left == {taken for source in sources for taken in source.taken}
    order = []
    beats = []
    for word in words:
        beats.append(word.data)
        if word.data & LAST:
            order.append(beats[0] & 1)
            assert beats == tlps[order[-1]].pop(0), f"cycle {word.taken}: not the next TLP of its stream, whole"
            beats = []
    assert tlps == [[], []]
    if idle_a == idle_b == "always":
        together = order[: 2 * min(order[::-1].index(0), order[::-1].index(1)) or 110]
        assert all(a != b for a, b in pairwise(together[:110])), order


@cocotb.test
@cocotb.parametrize(which=list(DEPTHS), idle=list(PATTERNS), pressure=list(PATTERNS))
async def fifo(dut: Any, which: str, idle: str, pressure: str) -> None:
    """First in, first out, each once; room for exactly `Depth`; what is pushed is offered in the next cycle."""
    block, rng, depth = getattr(dut, which), random.Random(cocotb.RANDOM_SEED), DEPTHS[which]
    await start(block, ("in_i", "in_valid_i", "out_ready_i"))
    source = StreamSource(block, "in", PATTERNS[idle](rng))
    sink = StreamSink(block, "out", PATTERNS[pressure](rng))
    data = [rng.getrandbits(16) for _ in range(80)]
    source.queue(data)
    held = 0
    while len(sink.words) < len(data):
        await FallingEdge(block.clk_i)
        await ReadOnly()
        room, there = bool(int(block.in_ready_o.value)), bool(int(block.out_valid_o.value))
        assert (room, there) == (held < depth, held > 0), f"cycle {cycle()}: {held} of {depth} held"
        held += (room and bool(int(block.in_valid_i.value))) - (there and bool(int(block.out_ready_i.value)))
    assert [word.data for word in sink.words] == data
    assert all(word.offered > now for word, (now, _) in zip(sink.words, source.taken, strict=True))
