"""Receiver, receive buffer and pause against scapy, zlib and the standard's arithmetic."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any, Final

import cocotb
from cocotb.handle import SimHandleBase
from scapy.layers.l2 import Dot1Q, Ether

from sw.abi.registers import NicControl, RxDrop
from tb.ethernet import with_fcs
from tb.unit.mac.bench import (
    CYCLE_BYTES,
    GAP,
    OWN,
    PREAMBLE_BYTES,
    START,
    WORDS,
    Beat,
    Bench,
    Sent,
    beats,
    pause_frame,
    words_of,
)

MAX_BODY: Final = NicControl.LIMITS_MAX_FRAME_VALUE
MIN_BODY: Final = 60
VERDICT_CYCLES: Final = 1
"""Last beat to the drop, or to the pause time."""
OFFER_CYCLES: Final = 2
"""Last beat to the frame being offered."""
PAUSE_ALL: Final = 0xFFFF
QUANTUM: Final = 64


def body(rng: random.Random, length: int) -> bytes:
    """A frame's bytes without FCS, made by scapy; tagged or not."""
    mac = [":".join(f"{rng.randrange(256):02x}" for _ in range(6)) for _ in range(2)]
    packet = Ether(dst=mac[0], src=mac[1])
    if rng.random() < 0.4:
        packet /= Dot1Q(vlan=rng.randrange(4096), prio=rng.randrange(8))
    head = bytes(packet)[:-2] + rng.choice((0x0800, 0x86DD, 0x0806, 0x88B5)).to_bytes(2, "big")
    return head + rng.randbytes(length - len(head))


def header(data: bytes) -> tuple[int, int, bool, int, int]:
    """Destination, source, tagged, VLAN, type, as scapy reads them."""
    packet = Ether(data)
    destination, source = (int(text.replace(":", ""), 16) for text in (packet.dst, packet.src))
    if isinstance(packet.payload, Dot1Q) or packet.type == 0x8100:
        tag = packet[Dot1Q]
        return destination, source, True, tag.vlan, tag.type
    return destination, source, False, 0, packet.type


async def begin(dut: SimHandleBase) -> tuple[Bench, random.Random, Any]:
    bench = Bench(dut)
    await bench.start()
    return bench, random.Random(cocotb.RANDOM_SEED), dut


@cocotb.test
async def lengths(dut: SimHandleBase) -> None:
    """Every length and residue at line rate, through several laps of the store: bytes, header, number, latency."""
    bench, rng, _ = await begin(dut)
    sizes = [*range(MIN_BODY, 89), 1500, 1514, 1518, *range(MAX_BODY - 8, MAX_BODY + 1),
             *rng.choices(range(60, 2000), k=40)]
    frames = [body(rng, size) for size in sizes]
    assert words_of(frames) > WORDS
    for frame in frames:
        bench.send(beats(with_fcs(frame)))
    await bench.drain()
    assert [t.data for t in bench.taken] == frames
    assert [t.header for t in bench.taken] == [header(frame) for frame in frames]
    assert [t.number for t in bench.taken] == list(range(len(frames)))
    assert [t.offered for t in bench.taken] == [end + OFFER_CYCLES for end in bench.ends]
    assert bench.drops == []


def spoil(rng: random.Random, kind: str, good: list[Beat]) -> list[Beat]:
    """A good frame's beats made bad."""
    at = rng.randrange(1, len(good))
    match kind:
        case "bit":
            beat = good[at]
            good[at] = replace(beat, data=beat.data ^ 1 << rng.randrange(8 * beat.count))
        case "error":
            at = rng.randrange(len(good))
            good[at] = replace(good[at], error=True)
        case "short beat":
            at = rng.randrange(1, len(good) - 1)
            good[at] = replace(good[at], count=rng.randrange(8))
        case "long beat":
            good[at] = replace(good[at], count=rng.randrange(9, 16))
        case "preamble":
            good[0] = replace(START, data=START.data ^ 1 << rng.randrange(64))
        case "short preamble":
            good[0] = replace(START, count=rng.randrange(8))
        case "lone beat":
            return [replace(good[-1], last=True)]
        case "no preamble":
            del good[0]
        case "preamble says last":
            good[0] = replace(START, last=True)
        case "cut":
            del good[at:]
        case _:
            raise AssertionError(kind)
    return good


FRAMING: Final = ("error", "short beat", "long beat", "preamble", "short preamble", "no preamble", "lone beat",
                  "preamble says last", "cut")


@cocotb.test
async def bad_frames(dut: SimHandleBase) -> None:
    """Bad frames of every kind among good ones, with any gap: each dropped once with its reason, none stored."""
    bench, rng, _ = await begin(dut)
    kept: list[tuple[int, bytes]] = []
    dropped: list[tuple[int, int]] = []
    number = 0
    previous = ""
    for _round in range(400):
        # a frame that was cut short ends with the next preamble: the next one must have one
        kinds = ["good", "good", "bit", "runt", "short runt", "pause", *FRAMING]
        kind = rng.choice([k for k in kinds if previous != "cut" or k not in ("no preamble", "lone beat")])
        data = body(rng, rng.choice((rng.randrange(60, 140), 60, 64)))
        reason: RxDrop | None = None
        match kind:
            case "good":
                line = beats(with_fcs(data))
            case "runt":
                line, reason = beats(with_fcs(data[: rng.randrange(18, 60)])), RxDrop.RUNT
            case "short runt":
                line, reason = beats(rng.randbytes(rng.randrange(1, 22))), RxDrop.RUNT
            case "pause":
                line, reason = beats(pause_frame(rng.randrange(2), rng.choice((OWN, 0x0180C2000001)))), RxDrop.PAUSE
            case "bit":
                line, reason = spoil(rng, kind, beats(with_fcs(data))), RxDrop.BAD_FCS
            case _:
                line, reason = spoil(rng, kind, beats(with_fcs(data))), RxDrop.BAD_FRAMING
        bench.send(line, rng.choice((0, 1, 5, GAP, 40)))
        if reason is None:
            kept.append((number, data))
        else:
            dropped.append((int(reason), number))
        number += 1
        previous = kind
    bench.send(beats(with_fcs(data)))
    await bench.drain()
    assert [(reason, number) for reason, number, _ in bench.drops] == dropped
    assert [(t.number, t.data) for t in bench.taken] == [*kept, (number, data)]


@cocotb.test
async def oversize(dut: SimHandleBase) -> None:
    """One byte too long is dropped, and so is a frame that fills the store many times; its neighbours are not."""
    bench, rng, _ = await begin(dut)
    near = [body(rng, MAX_BODY) for _ in range(6)]
    for n, frame in enumerate(near):
        bench.send(beats(with_fcs(frame)))
        if n < 5:
            bench.send(beats(with_fcs(body(rng, (MAX_BODY + 1, MAX_BODY + 4, MAX_BODY + 7, 16384, 80_000)[n]))))
    await bench.drain()
    assert [(reason, number) for reason, number, _ in bench.drops] == [(RxDrop.OVERSIZE, n) for n in (1, 3, 5, 7, 9)]
    assert [t.data for t in bench.taken] == near
    assert [end + VERDICT_CYCLES for end in bench.ends[1::2]] == [at for _, _, at in bench.drops]


@cocotb.test
async def overflow(dut: SimHandleBase) -> None:
    """A full store keeps whole frames only, exactly those that fit, and goes on when frames are released."""
    bench, rng, _ = await begin(dut)
    number = 0
    for lap in range(4):
        bench.ready = bench.release = lambda: False
        kept: list[tuple[int, bytes]] = []
        dropped: list[tuple[int, int]] = []
        used = 0
        # the last ones are small, to fill what is left to the last word
        for size in [*rng.choices(range(1000, MAX_BODY), k=20), *rng.choices(range(60, 300), k=60), *[60] * 8]:
            frame = body(rng, size)
            bad = rng.random() < 0.1
            line = with_fcs(frame)
            bench.send(beats(line[:-1] + bytes([line[-1] ^ 0x80]) if bad else line))
            if not bad and used + words_of([line]) <= WORDS:
                used += words_of([line])
                kept.append((number, frame))
            else:
                dropped.append((int(RxDrop.BAD_FCS if bad else RxDrop.OVERFLOW), number))
            number += 1
        bench.taken.clear()
        bench.drops.clear()
        await bench.drain()
        assert WORDS - used < 8, "the last frames fill it"
        assert [(reason, n) for reason, n, _ in bench.drops] == dropped
        bench.ready = lambda: rng.random() < 0.3
        await bench.steps(len(kept) * 6)
        bench.ready = lambda: True
        await bench.steps(len(kept))
        assert [(t.number, t.data) for t in bench.taken] == kept
        bench.release = lambda: rng.random() < 0.5
        await bench.steps(8 * len(kept) + 20)
        if lap == 2:
            # all room is back, to the word: a store of the shortest frames is full with 1024
            bench.ready = bench.release = lambda: False
            bench.taken.clear()
            bench.drops.clear()
            small = [body(rng, MIN_BODY) for _ in range(WORDS // 8 + 1)]
            for frame in small:
                bench.send(beats(with_fcs(frame)))
            await bench.drain()
            assert [(reason, n) for reason, n, _ in bench.drops] == [(RxDrop.OVERFLOW, number + WORDS // 8)]
            number += len(small)
            bench.ready = bench.release = lambda: True
            await bench.steps(2 * len(small))
            assert [t.data for t in bench.taken] == small[:-1]


@cocotb.test
async def random_consumer(dut: SimHandleBase) -> None:
    """Line rate into a consumer that stops and goes: whole frames only, in order, never touched before release."""
    bench, rng, _ = await begin(dut)
    share = 0.0
    bench.ready = bench.release = lambda: rng.random() < share
    frames: list[bytes] = []
    for _phase in range(8):
        share = rng.choice((0.0, 0.0, 0.02, 0.5))
        for _ in range(30):
            frames.append(body(rng, rng.choice((rng.randrange(60, 200), rng.randrange(60, MAX_BODY)))))
            bench.send(beats(with_fcs(frames[-1])))
        await bench.drain()
    bench.ready = bench.release = lambda: True
    await bench.steps(2000)
    lost = {number for reason, number, _ in bench.drops if reason == RxDrop.OVERFLOW}
    assert len(lost) == len(bench.drops) and 0 < len(lost) < len(frames)
    assert [(t.number, t.data) for t in bench.taken] == [(n, f) for n, f in enumerate(frames) if n not in lost]


@cocotb.test
async def read_port(dut: SimHandleBase) -> None:
    """The word that was asked for comes in the next cycle, also while frames come in."""
    bench, rng, pins = await begin(dut)
    frame = body(rng, 1000)
    bench.release = lambda: False
    bench.send(beats(with_fcs(frame)))
    await bench.drain()
    bench.send(beats(with_fcs(body(rng, 1500))))
    for word in [*range(1000 // 8), *rng.sample(range(1000 // 8), 50)]:
        pins.read_addr_i.value = word
        await bench.step()
        assert int(pins.read_data_o.value).to_bytes(8, "little") == frame[8 * word : 8 * word + 8]


@cocotb.test
async def numbers(dut: SimHandleBase) -> None:
    """Frames from the line and others draw from one counter: no number twice, also in the same cycle, past its wrap."""
    bench, rng, pins = await begin(dut)
    given: list[int] = []

    async def take(cycles: int, share: float) -> None:
        for _ in range(cycles):
            taking = rng.random() < share
            pins.number_take_i.value = taking
            bench._feed()
            bench._finish(bench._consume())
            await cocotb.triggers.ReadOnly()
            if taking:
                given.append(int(pins.number_o.value))
            await cocotb.triggers.FallingEdge(pins.clk_i)
            bench._observe()

    for _ in range(60):
        bench.send(beats(with_fcs(body(rng, 60))))
    await take(1200, 0.7)
    await take(67_000 - len(given), 1.0)
    pins.number_take_i.value = 0
    line = [t.number for t in bench.taken]
    assert len(line) == 60
    everything = sorted([*given[: 65_536 - 60], *line])
    assert everything == list(range(65_536))
    assert given[65_536 - 60] == 0


@cocotb.test
async def thresholds(dut: SimHandleBase) -> None:
    """The line is to pause from the upper fill to the lower one, to the word."""
    bench, rng, pins = await begin(dut)
    upper, lower = 100, 40
    pins.xoff_words_i.value, pins.xon_words_i.value = upper, lower
    bench.release = lambda: False
    fill = 0
    asked = False
    tried = set()
    for _ in range(300):
        # up and down through both, again and again
        if rng.random() < (0.3 if asked else 0.7):
            frame = body(rng, rng.randrange(60, 120))
            bench.send(beats(with_fcs(frame)))
            await bench.drain()
            fill += words_of([with_fcs(frame)])
        elif bench._held:
            fill -= words_of([bench.taken[bench._held[0][1]].data + bytes(4)])
            bench.release = lambda: True
            await bench.step()
            bench.release = lambda: False
            await bench.steps(3)
        asked = fill >= upper or (asked and fill > lower)
        tried.add((asked, fill > upper, fill < lower))
        assert bool(pins.xoff_o.value) == asked, fill
    assert len(tried) >= 4


async def sent_after(bench: Bench, count: int, limit: int) -> list[Sent]:
    """The first `count` frames of the transmitter within `limit` cycles."""
    for _ in range(limit):
        if len(bench.sent) >= count:
            break
        await bench.step()
    assert len(bench.sent) >= count, f"{len(bench.sent)} frames in {limit} cycles, expected {count}"
    return bench.sent[:count]


@cocotb.test
async def received_pause(dut: SimHandleBase) -> None:
    """Any pause time, at any byte of the cycle: the frame under way ends, the next starts when the standard says."""
    bench, rng, pins = await begin(dut)
    pins.tx_frame_i.value = 1
    await bench.steps(50)
    occupied = PREAMBLE_BYTES + 104 + GAP
    for quanta in [1, 2, 3, 4, 5, 6, 7, 8, 9, *rng.choices(range(10, 300), k=12)]:
        await bench.steps(rng.randrange(60))
        bench.sent.clear()
        bench.ends.clear()
        bench.send(beats(pause_frame(quanta, rng.choice((OWN, 0x0180C2000001)))))
        await bench.drain(0)
        [heard] = bench.ends
        before = len([s for s in bench.sent if s.first < heard])
        await bench.steps(quanta * QUANTUM // CYCLE_BYTES + 8 * occupied // CYCLE_BYTES)
        resumed = heard + 1 + quanta * QUANTUM // CYCLE_BYTES
        frames = bench.sent
        # what started before the pause frame was understood goes on, nothing starts after that
        late = [s for s in frames[before:] if s.first <= heard + 2]
        rest = frames[before + len(late):]
        assert all(s.first <= heard + 2 or s.first >= resumed for s in frames)
        ended = max((s.last for s in [*frames[:before], *late]), default=0)
        if resumed > ended + GAP:
            assert rest[0].first == resumed, (quanta, rest[0].first - heard)
            at = (heard + 1) * CYCLE_BYTES + quanta * QUANTUM
            for n, frame in enumerate(rest[:3]):
                assert frame.first == (at + n * occupied) // CYCLE_BYTES, "back to back from that byte on"
    # a second one replaces the first, zero ends it, another opcode is nothing
    for second, wait in ((30, 30 * QUANTUM // CYCLE_BYTES), (0, 3)):
        bench.ends.clear()
        bench.send(beats(pause_frame(PAUSE_ALL)))
        bench.send(beats(pause_frame(PAUSE_ALL - 1, opcode=2)))
        bench.send([], 400)
        bench.send(beats(pause_frame(second)))
        await bench.drain(0)
        bench.sent.clear()
        [frame] = await sent_after(bench, 1, wait + 100)
        assert frame.first == bench.ends[-1] + (1 + wait if second else wait)
    assert not [d for d in bench.drops if d[0] != RxDrop.PAUSE]
    assert [t.data for t in bench.taken] == [pause_frame(PAUSE_ALL - 1, opcode=2)[:-4]] * 2


@cocotb.test
async def sent_pause(dut: SimHandleBase) -> None:
    """Stop at the threshold, between two frames with the exact gap; again at half time; go when there is room."""
    bench, rng, pins = await begin(dut)
    stop, go = (pause_frame(quanta, source=OWN) for quanta in (PAUSE_ALL, 0))
    pins.pause_tx_i.value = 1
    pins.xoff_words_i.value, pins.xon_words_i.value = 20, 10
    bench.release = lambda: False
    # a pause was received and the end of a chain is not taken: both hold frames, not pause frames
    for held, blocked in ((False, False), (True, False), (False, True)):
        pins.tx_frame_i.value = not held
        pins.end_ready_i.value = not blocked
        bench.send(beats(pause_frame(PAUSE_ALL if held else 0)))
        await bench.drain(60)
        bench.sent.clear()
        bench.send(beats(with_fcs(body(rng, 200))))
        await bench.drain(80)
        assert [s.data for s in bench.sent if s.pause] == [stop]
        if not held and not blocked:
            line = bench.sent
            starts = list(accumulate((PREAMBLE_BYTES + len(s.data) + GAP for s in line), initial=0))[:-1]
            # every start in the cycle of its byte time, from some byte of the first cycle on
            assert any(
                [line[0].first + (phase + at) // CYCLE_BYTES for at in starts] == [s.first for s in line]
                for phase in range(CYCLE_BYTES)
            )
        assert [s for s in bench.sent if not s.pause] == [] or not (held or blocked)
        bench.sent.clear()
        bench.release = lambda: True
        await bench.steps(80)
        bench.release = lambda: False
        assert [s.data for s in bench.sent if s.pause] == [go]
    pins.end_ready_i.value = 1
    pins.tx_frame_i.value = 0
    await bench.steps(60)
    bench.sent.clear()
    bench.send(beats(with_fcs(body(rng, 200))))
    await bench.drain(100)
    [first] = bench.sent
    # nobody works in between: let the clock run alone
    for _ in range(2):
        await cocotb.triggers.with_timeout(cocotb.triggers.RisingEdge(pins.tx_valid_o), 4 * 500_000, "ns")
        await cocotb.triggers.FallingEdge(pins.clk_i)
        bench._observe()
        await bench.steps(40)
    half = PAUSE_ALL * QUANTUM / 2 / CYCLE_BYTES
    assert [s.data for s in bench.sent] == [stop] * 3
    for one, two in pairwise(bench.sent):
        assert abs(two.first - one.first - half) <= 1
    assert first.first == bench.sent[0].first
    # the transmitter's own switch takes the pause back, too
    pins.pause_tx_i.value = 0
    await bench.steps(40)
    assert bench.sent[-1].data == go
