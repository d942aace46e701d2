"""Directed tests of window table, authorisation, fence and log of refusals."""

from __future__ import annotations

import os
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge

from sw.abi.registers import Mode, Refusal
from tb.unit.windows.bench import Access, Bench
from tb.unit.windows.oracle import LARGE, SMALL, Ask, name

VALID, WRITABLE, IS_LARGE = 1, 2, 4
SEQUENCE = 0xA55A
CONTROL = SEQUENCE << 16


async def bench(dut: Any) -> Bench:
    env = Bench(dut, int(os.environ["COCOTB_RANDOM_SEED"]))
    await env.start()
    return env


def window_of(endpoint: int, window: int, offset: int = 0, length: int = 1, *, write: bool = False, large: bool = False,
              sequence: int = SEQUENCE) -> Ask:
    return Ask(endpoint, Mode.WINDOWS, name(window, sequence, offset, large=large), length, write)


@cocotb.test
async def edges(dut: Any) -> None:
    """First and last byte of first and last windows of first and last endpoints; one byte more is refused."""
    env = await bench(dut)
    for endpoint in (0, 63):
        for window in (0, 255):
            machine = (endpoint << 40) + (window << 24) + 0x1000
            await env.register(endpoint, window, machine, CONTROL | VALID | WRITABLE)
            for offset, length in ((0, 1), (0, SMALL), (SMALL - 1, 1), (2, SMALL - 2)):
                assert await env.ask(window_of(endpoint, window, offset, length, write=True)) is None
            for offset, length in ((1, SMALL), (SMALL - 1, 2), (0, 9018)):
                assert await env.ask(window_of(endpoint, window, offset, length)) == Refusal.END
            await env.register(endpoint, window, machine, CONTROL | VALID | IS_LARGE)
            assert await env.ask(window_of(endpoint, window)) == Refusal.SIZE
            assert await env.ask(window_of(endpoint, window, LARGE - 9018, 9018, large=True)) is None
            assert await env.ask(window_of(endpoint, window, LARGE - 1, 2, large=True)) == Refusal.END
            assert await env.ask(window_of(endpoint, window, large=True, write=True)) == Refusal.READ_ONLY
    for wrong in (SEQUENCE ^ 1, SEQUENCE ^ 0x8000, 0):
        assert await env.ask(window_of(0, 0, large=True, sequence=wrong)) == Refusal.SEQUENCE
    # a neighbour's window is nobody else's
    assert await env.ask(window_of(1, 0, large=True)) == Refusal.INVALID
    assert await env.ask(window_of(0, 1, large=True)) == Refusal.INVALID
    for bit in (*range(29, 40), *range(56, 63)):
        ask = window_of(0, 0, large=True)
        ask.address |= 1 << bit
        assert await env.ask(ask) == Refusal.RESERVED
    await env.register(0, 0, 0x1000, CONTROL | VALID)
    for bit in (*range(20, 40), *range(56, 63)):
        ask = window_of(0, 0)
        ask.address |= 1 << bit
        assert await env.ask(ask) == Refusal.RESERVED
    # bits of a large window's address below 2 MiB do not count
    await env.register(0, 0, 0x1F_F000, CONTROL | VALID | IS_LARGE)
    assert await env.ask(window_of(0, 0, 0x1234, large=True)) is None


@cocotb.test
async def partial(dut: Any) -> None:
    """Whichever word is written but the last one makes a window invalid; so does a reset; nothing revives it."""
    env = await bench(dut)
    assert await env.ask(window_of(5, 7)) == Refusal.INVALID
    for word in (0, 1, 3):
        await env.register(5, 7, 0x1000, CONTROL | VALID)
        await env.register(5, 8, 0x1000, CONTROL | VALID)
        assert await env.ask(window_of(5, 7)) is None
        await env.cycle(Access(5, 7, word, 0x1000))
        await env.cycle()
        assert await env.ask(window_of(5, 7)) == Refusal.INVALID
        assert await env.ask(window_of(5, 8)) is None
    await env.cycle(Access(5, 8, 2, CONTROL | WRITABLE))
    await env.cycle()
    assert await env.ask(window_of(5, 8)) == Refusal.INVALID
    await env.register(5, 7, 0x1000, CONTROL | VALID)
    # a look-up in the cycle of the write still finds what was there; the next one does not
    env.asks[2] = window_of(5, 7)
    await env.cycle(Access(5, 7, 0, 0x2000))
    env.asks[1] = window_of(5, 7)
    await env.cycle()
    await env.cycle()
    assert env.verdicts[-2:] == [None, Refusal.INVALID]
    await env.register(5, 7, 0x1000, CONTROL | VALID)
    await env.start()
    assert await env.ask(window_of(5, 7)) == Refusal.INVALID


@cocotb.test
async def interrupts(dut: Any) -> None:
    """A window on the range of message-signalled interrupts can be read, not written, not even its edge."""
    env = await bench(dut)
    for number, page in enumerate((0xFEDF_F000, 0xFEE0_0000, 0xFEEF_F000, 0xFEF0_0000)):
        await env.register(1, number, page, CONTROL | VALID | WRITABLE)
        assert await env.ask(window_of(1, number, 8, 16)) is None
        refused = Refusal.RANGE if 0xFEE0_0000 <= page < 0xFEF0_0000 else None
        assert await env.ask(window_of(1, number, 8, 16, write=True)) == refused
    await env.register(1, 9, 0xFEC0_0000, CONTROL | VALID | WRITABLE | IS_LARGE)
    assert await env.ask(window_of(1, 9, LARGE - 2, 2, write=True, large=True)) is None
    # nothing of an address that is not its own decides: sequence and number may look like interrupts
    await env.register(1, 0xEE, 0x5000, 0xF << 16 | VALID | WRITABLE)
    assert await env.ask(window_of(1, 0xEE, write=True, sequence=0xF)) is None


@cocotb.test
async def fences(dut: Any) -> None:
    """What begins in the cycle of the start is waited for, what begins in the next one is not; two merge, exactly."""
    env = await bench(dut)
    await env.register(0, 0, 0x1000, CONTROL | VALID)
    await env.cycle(start=True)
    await env.cycle()
    await env.cycle()
    assert not env.busy and env.ended == 1
    for late in (0, 1):
        env.asks[0] = window_of(0, 0)
        for n in range(3):
            await env.cycle(start=n == 1 - late)
        # the decision was made at the edge after the first
        if late:
            for _ in range(4):
                await env.cycle()
            assert not env.busy, "it waits for what has begun later"
            await env.cycle(ends=1)
            continue
        for _ in range(20):
            await env.cycle()
        assert env.busy and len(env.flights) == 1
        await env.cycle(ends=1)
        await env.cycle()
        await env.cycle()
        assert not env.busy
    ended = env.ended
    assert await env.ask(window_of(0, 0)) is None
    await env.cycle(start=True)
    assert await env.ask(window_of(0, 0)) is None
    for _ in range(3):
        await env.cycle(start=True)
        assert await env.ask(window_of(0, 0)) is None
    env.flights.reverse()
    while env.flights:
        await env.cycle(ends=1)
    for _ in range(4):
        await env.cycle()
    assert not env.busy and env.ended == ended + 2, "four starts: one fence, and one for the three behind it"


@cocotb.test
async def refusals(dut: Any) -> None:
    """The lowest of several is recorded, the others are an overflow; nothing is recorded while the record is full."""
    env = await bench(dut)
    for sources in range(32):
        for full in (0, 1):
            env.dut.refuse_i.value = sources
            env.dut.full_i.value = full
            await FallingEdge(env.dut.clk_i)
            recorded = int(env.dut.record_o.value)
            assert recorded == (sources != 0 and not full)
            if recorded:
                assert int(env.dut.record_ep_o.value) == (sources & -sources).bit_length()
            assert int(env.dut.overflow_o.value) == (sources != 0 if full else sources.bit_count() > 1)
