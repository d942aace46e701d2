"""The link model: register, framing, acknowledge packets, stall."""

from __future__ import annotations

import random
from typing import Any, Final

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from tb.unit.streams import PATTERNS, StreamSink, StreamSource, cycle, cycles, settle, start
from tb.unit.tlp import LAST

SHORT, LONG = 8, 32
"""`AckInterval` of the two links."""
INTERVALS: Final = {"u_link_short": SHORT, "u_link": LONG}


def tlp(rng: random.Random, beats: int) -> list[int]:
    words = [rng.getrandbits(64) for _ in range(beats)]
    return [*words[:-1], words[-1] | LAST]


async def begin(dut: Any, which: str, rng: random.Random, idle: str, pressure: str) -> tuple[Any, StreamSource, StreamSink]:
    link = getattr(dut, which)
    await start(link, ("in_i", "in_valid_i", "out_ready_i", "stall_i"))
    return link, StreamSource(link, "in", PATTERNS[idle](rng)), StreamSink(link, "out", PATTERNS[pressure](rng))


@cocotb.test
@cocotb.parametrize(which=list(INTERVALS), beats=[2, 3, 5, 18])
async def saturated(dut: Any, which: str, beats: int) -> None:
    """A link that always has a TLP: each costs its beats and one for framing; at the first boundary from AckInterval beats
    on, one beat goes to a DLLP."""
    rng = random.Random(cocotb.RANDOM_SEED)
    link, source, sink = await begin(dut, which, rng, "always", "always")
    count = 40
    for _ in range(count):
        source.queue(tlp(rng, beats))
    await settle(link, lambda: source.idle and len(sink.words) == count * beats, "all beats leave")
    between = -(-INTERVALS[which] // (beats + 1))  # TLPs from one DLLP to the next
    ends = [now for now, beat in source.taken if beat & LAST]
    start_at = source.taken[0][0]
    for n, end in enumerate(ends):
        assert end - start_at == n * (beats + 1) + beats - 1 + n // between, f"TLP {n}"


@cocotb.test
async def quiet(dut: Any) -> None:
    """A link with idle beats between TLPs never owes a DLLP: a TLP is taken in the cycle in which it is offered."""
    rng = random.Random(cocotb.RANDOM_SEED)
    link, source, _ = await begin(dut, "u_link_short", rng, "always", "always")
    offered = []
    for _ in range(60):
        offered.append(cycle() + 1)  # the driver begins at the next edge
        source.queue(tlp(rng, rng.randint(1, SHORT - 2)))
        await settle(link, lambda: source.idle, "the TLP is taken")
        for _ in range(rng.randint(2, 4)):
            await FallingEdge(link.clk_i)
    firsts = [source.taken[0][0]] + [b[0] for a, b in zip(source.taken, source.taken[1:], strict=False) if a[1] & LAST]
    assert all(first - at <= 1 for first, at in zip(firsts, offered, strict=True))


@cocotb.test
@cocotb.parametrize(which=list(INTERVALS), idle=list(PATTERNS), pressure=["always", "bursts", "rare"])
async def traffic(dut: Any, which: str, idle: str, pressure: str) -> None:
    """In every cycle the link is ready exactly when the rules say so; every beat leaves once, in order, a cycle later at
    the earliest."""
    rng = random.Random(cocotb.RANDOM_SEED)
    link, source, sink = await begin(dut, which, rng, idle, pressure)
    for _ in range(60):
        source.queue(tlp(rng, rng.choice((1, 2, 3, rng.randint(1, 20)))))
    inside = framing = full = False
    count = 0
    for _ in range(60_000):
        if source.idle and not full:
            break
        await FallingEdge(link.clk_i)
        stalled = rng.random() < 0.1
        link.stall_i.value = int(stalled)
        await ReadOnly()
        valid, leaves = bool(int(link.in_valid_i.value)), bool(int(link.out_ready_i.value))
        owes = not inside and not framing and count >= INTERVALS[which]
        ready = not framing and not owes and not stalled and (not full or leaves)
        assert bool(int(link.in_ready_o.value)) == ready, f"cycle {cycle()}: ready {not ready}"
        assert bool(int(link.out_valid_o.value)) == full, f"cycle {cycle()}"
        took = valid and ready
        last = took and bool(int(link.in_i.value) & LAST)
        if took or framing:
            count += 1
        elif owes or (not inside and not valid):
            count = 0
        inside = (inside or took) and not last
        framing = last
        full = took or (full and not leaves)
    await cycles(link, 2)
    assert [word.data for word in sink.words] == [beat for _, beat in source.taken]
    assert all(word.offered > now for word, (now, _) in zip(sink.words, source.taken, strict=True))
