"""TSO chains cut into segments: each leaves as scapy builds it, or the chain ends as the rules of its flags say."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import cocotb

from sw.abi.registers import Form, Mode, NicControl, SendDescriptor, Status
from sw.guest.tso import tso_chain
from tb.packets import Bulk, bulk, link
from tb.unit.send_ring.oracle import Descriptor, sequence
from tb.unit.streams import cycles, settle
from tb.unit.tso.bench import MAX_CHAIN, TB, Chain, Guest

FIRST: Final = SendDescriptor.CONTROL_FIRST_M
HEADER: Final = SendDescriptor.CONTROL_SMALL_M
LAST: Final = SendDescriptor.CONTROL_CKSUM_M
CHOP: Final = SendDescriptor.CONTROL_NO_TSO_M
PAYLOAD: Final = SendDescriptor.CONTROL_TSO_PLD_M
INLINE: Final = SendDescriptor.CONTROL_INLINE_M
RESERVED: Final = SendDescriptor.CONTROL_RESERVED_M
MAX_FRAME: Final = NicControl.LIMITS_MAX_FRAME_VALUE
MAX_HEADER: Final = 1024
CHAINS: Final = 12


async def begin(dut: Any, **options: Any) -> TB:
    bench = TB(dut.u_tso, random.Random(cocotb.RANDOM_SEED), **options)
    await bench.start()
    return bench


def parse(data: bytes) -> Descriptor:
    return Descriptor(int.from_bytes(data[:8], "big"), int.from_bytes(data[10:12], "big"), data[15], data[13], data[14],
                      int.from_bytes(data[8:10], "big"))


def a_job(rng: random.Random, mss: int, length: int) -> Bulk:
    return bulk(rng, link(rng, 1), mss, length)


def a_chain(bench: TB, job: Bulk, header: Sequence[int], sizes: Sequence[int]) -> Chain:
    """Header and payload in pieces of these sizes, in turn."""
    descriptors = tso_chain(bench.pieces(job.header, header), bench.pieces(job.payload, sizes), job.mss, job.cksum_offset,
                            ipv6=job.ipv6)
    return Chain(descriptors, job.segments, job)


def some_chain(bench: TB) -> Chain:
    """Any chain that is good."""
    rng = bench.random
    mss = rng.choice((88, 90, 256, rng.randint(1, 300)))
    job = a_job(rng, mss, rng.choice((1, mss - 1 or 1, mss, mss + 1, 2 * mss, rng.randint(1, 4 * mss))))
    sizes = [rng.choice((1, 2, mss, 2 * mss, rng.randint(1, 400))) for _ in range(8)]
    while len(job.payload) * len(sizes) > 60 * sum(sizes):
        sizes = [2 * size for size in sizes]
    return a_chain(bench, job, rng.choice(([200], [14, 200], [rng.randint(1, 53), 200], [20, rng.randint(1, 30), 200])), sizes)


def changed(descriptor: bytes, **fields: int) -> bytes:
    return replace(parse(descriptor), **fields).pack()


def flags(descriptor: bytes, *, on: int = 0, off: int = 0) -> bytes:
    return changed(descriptor, flags=parse(descriptor).flags & ~off | on)


def three(bench: TB) -> Chain:
    """Header, a segment in one piece, one in two, one in the rest of the last piece."""
    job = a_job(bench.random, 90, 270)
    return a_chain(bench, job, [len(job.header)], [90, 50, 130])


def two(bench: TB) -> Chain:
    """A segment in one piece, the last one in two."""
    job = a_job(bench.random, 90, 180)
    return a_chain(bench, job, [len(job.header)], [90, 50, 40])


def one(bench: TB) -> Chain:
    """A single segment."""
    return a_chain(bench, a_job(bench.random, 90, 60), [200], [60])


def mistakes(bench: TB) -> list[tuple[str, list[Chain]]]:
    """Each mistake in a chain of its own: what follows shows where it ends."""
    found: list[tuple[str, list[Chain]]] = []

    def add(name: str, place: int, good: int, change: Callable[[bytes], bytes], base: Callable[[TB], Chain] = three) -> None:
        chain = base(bench)
        descriptors = [*chain.descriptors[:place], change(chain.descriptors[place]), *chain.descriptors[place + 1 :]]
        found.append((name, [replace(chain, descriptors=descriptors, segments=chain.segments[:good], status=Status.BAD_OFFLOAD)]))

    for name, bits in (("cut", CHOP), ("payload", PAYLOAD), ("inline", INLINE), ("reserved", RESERVED)):
        add(f"the head is marked {name}", 0, 0, lambda d, bits=bits: flags(d, on=bits))  # type: ignore[misc]
    add("the head is no start", 0, 0, lambda d: flags(d, off=FIRST))
    add("the head is no header", 0, 0, lambda d: flags(d, off=HEADER))
    for count in (0, 13, 255):
        add(f"a header of {count}", 0, 0, lambda d, count=count: changed(d, count=count))  # type: ignore[misc]
    add("payload in the header", 0, 0, lambda d: changed(d, count=2))
    for mss in (0, MAX_FRAME + 1, 0xFFFF):
        add(f"MSS {mss}", 0, 0, lambda d, mss=mss: changed(d, field=mss))  # type: ignore[misc]
    add("no header bytes", 0, 0, lambda d: changed(d, length=0))
    add("a header too long", 0, 0, lambda d: changed(d, length=MAX_HEADER + 1))
    add("an inline payload", 1, 0, lambda d: flags(d, on=INLINE))
    add("a reserved flag in payload", 2, 1, lambda d: flags(d, on=RESERVED))
    add("no start in the first payload", 1, 0, lambda d: flags(d, off=FIRST))
    add("a segment of no descriptor", 1, 0, lambda d: changed(d, count=0))
    add("a segment of two that needs one", 1, 0, lambda d: changed(d, count=2))
    add("a segment of one that needs two", 2, 1, lambda d: changed(d, count=1))
    add("a segment past the longest chain", 1, 0, lambda d: changed(d, count=MAX_CHAIN))
    add("no payload bytes", 1, 0, lambda d: changed(d, length=0))
    add("a piece too long", 1, 0, lambda d: changed(d, length=91))
    add("a piece too short", 1, 0, lambda d: changed(d, length=89))
    add("a cut where there is none", 1, 0, lambda d: flags(d, on=CHOP))
    add("no start in the second segment", 2, 1, lambda d: flags(d, off=FIRST))
    add("a start inside a segment", 3, 1, lambda d: flags(d, on=FIRST))
    add("no cut where there is one", 3, 1, lambda d: flags(d, off=CHOP))
    add("the last of all before the last cut", 2, 1, lambda d: flags(d, on=LAST))
    add("no descriptor behind the cut", 3, 1, lambda d: changed(d, count=0))
    add("a last segment that stops to be it", 3, 1, lambda d: flags(d, off=LAST), two)
    add("a start in the last segment", 3, 1, lambda d: flags(d, on=FIRST), two)
    add("a cut in the last segment", 3, 1, lambda d: flags(d, on=CHOP), two)

    chain = three(bench)
    start = flags(chain.descriptors[1], off=PAYLOAD | HEADER)
    descriptors = [chain.descriptors[0], start, *chain.descriptors[2:]]
    found.append(("a start without payload is the next head", [
        replace(chain, descriptors=descriptors[:1], segments=(), status=Status.BAD_OFFLOAD),
        replace(chain, descriptors=descriptors[1:], segments=(), status=Status.BAD_OFFLOAD)]))

    # their last segment leaves as one of those in the middle, and the next head ends them
    for name, fields in (("no last", {"off": LAST}), ("an end behind the last piece", {"count": 2})):
        chain = three(bench)
        longer = replace(chain.job, payload=chain.job.payload + bytes(1))
        last = chain.descriptors[3]
        last = flags(last, **fields) if "off" in fields else changed(last, **fields)
        found.append((name, [replace(chain, descriptors=[*chain.descriptors[:3], last], segments=longer.segments[:3],
                                     status=Status.BAD_OFFLOAD)]))

    job = a_job(bench.random, 90, 180)
    chain = a_chain(bench, job, [20, 200], [90])
    found.append(("a start in the header", [replace(chain, descriptors=[
        chain.descriptors[0], flags(chain.descriptors[1], on=FIRST), *chain.descriptors[2:]], segments=(), status=Status.BAD_OFFLOAD)]))
    found.append(("an empty header piece", [replace(chain, descriptors=[
        chain.descriptors[0], changed(chain.descriptors[1], length=0), *chain.descriptors[2:]], segments=(), status=Status.BAD_OFFLOAD)]))

    # MSS alone fits a frame; with the header in front it does not
    job = a_job(bench.random, 90, 20)
    job = replace(job, payload=bench.random.randbytes(MAX_FRAME - len(job.header) + 1), mss=MAX_FRAME)
    found.append(("a frame too long", [replace(a_chain(bench, job, [200], [4096]), segments=(), status=Status.BAD_OFFLOAD)]))

    # one segment that would fit, but for its MSS
    job = a_job(bench.random, 90, 20)
    chain = a_chain(bench, job, [200], [20])
    found.append(("MSS of more than a frame for a short payload", [replace(chain, segments=(), status=Status.BAD_OFFLOAD, descriptors=[
        changed(chain.descriptors[0], field=MAX_FRAME + 1), *chain.descriptors[1:]])]))

    # header that the editor refuses: what the executor does is right
    chain = three(bench)
    found.append(("a header that cannot be edited", [replace(chain, segments=(None,) * 3, descriptors=[
        changed(chain.descriptors[0], start=chain.job.cksum_offset ^ 1), *chain.descriptors[1:]],
        job=replace(chain.job, cksum_offset=chain.job.cksum_offset ^ 1))]))
    return found


@cocotb.test
async def example(dut: Any) -> None:
    """The worked example of the card's interface: 5296 bytes in four pieces, MSS 1448."""
    bench = await begin(dut)
    while True:
        job = a_job(bench.random, 1448, 200 + 2048 + 2048 + 1000)
        if len(job.header) == 54:
            break
    chain = a_chain(bench, job, [54], [200, 2048, 2048, 1000])
    odd = SendDescriptor.CONTROL_ALIGN_ODD_M
    told = [(d.flags & ~odd, d.count) for d in map(parse, chain.descriptors)]
    assert told == [(0x03, 1), (0x23, 2), (0x31, 2), (0x31, 2), (0x39, 1)]
    guest = await bench.add(Guest(5))
    await bench.write(guest, chain)
    await bench.finish()
    assert sorted(len(frame) - 54 for _, frame, _ in bench.buffer.left) == [952, 1448, 1448, 1448]


@cocotb.test
@cocotb.parametrize(form=[Form.PUSHED, Form.FETCHED])
async def shapes(dut: Any, form: int) -> None:
    """MSS and length at each other's edges, pieces of one byte and of several segments, a header in up to 12 pieces; around
    the ring's end."""
    bench = await begin(dut)
    guest = await bench.add(Guest(63, form, log2=6))
    for mss in (1, 2, 88):
        for length in sorted({1, mss, mss + 1, 3 * mss - 1, 3 * mss}):
            shapes = ([1] if length < 8 else [7, 1, 33], [mss], [1000], [mss - 1 or 1, 2])
            for sizes in bench.random.sample(shapes, 2):
                if -(-length // min(sizes)) < 45:
                    job = a_job(bench.random, mss, length)
                    header = bench.random.choice(([200], [1, 200], [13, 1, 200], [-(-len(job.header) // 12)]))
                    await bench.write(guest, a_chain(bench, job, header, sizes))
    await bench.finish()
    assert set(guest.ended) == {Status.OK}


@cocotb.test
async def longest(dut: Any) -> None:
    """The longest frame, the longest header, the longest chain; one with a descriptor more is ended behind the longest."""
    bench = await begin(dut)
    guest = await bench.add(Guest(1, log2=8))
    job = a_job(bench.random, MAX_FRAME, 10)
    job = replace(job, payload=bench.random.randbytes(job.mss))
    assert len(job.segments[0]) == MAX_FRAME
    await bench.write(guest, a_chain(bench, job, [200], [4096]))
    job = replace(a_job(bench.random, 20, 20), payload=bytes(20))
    header = job.header + bytes(MAX_HEADER - len(job.header))
    await bench.write(guest, replace(a_chain(bench, replace(job, header=header), [1000], [20]), segments=(None,)))
    pieces = MAX_CHAIN - 1
    job = a_job(bench.random, 5 * pieces, 5 * pieces)
    whole = a_chain(bench, job, [200], [5])
    assert len(whole.descriptors) == MAX_CHAIN
    await bench.write(guest, whole)
    # one piece more, of the same segment
    more = bench.pieces(bytes(5), [5])[0][0]
    head, start, *rest = whole.descriptors
    endless = [changed(head, field=5 * MAX_CHAIN), changed(start, count=MAX_CHAIN), *rest]
    await bench.write(guest, replace(whole, descriptors=[flags(d, off=LAST) for d in endless], segments=(), status=Status.BAD_OFFLOAD))
    await bench.write(guest, replace(whole, descriptors=[changed(rest[-1], address=more)], segments=(), status=Status.BAD_OFFLOAD))
    await bench.write(guest, three(bench))
    await bench.finish()


@cocotb.test
async def broken(dut: Any) -> None:
    """A chain that breaks a rule ends once, with BAD_OFFLOAD, behind the segments before its mistake; the next one is
    executed. Either form, by chance."""
    bench = await begin(dut)
    guests = [await bench.add(Guest(20 + form, form, Mode.IOMMU, 6)) for form in (Form.PUSHED, Form.FETCHED)]
    for name, bad in mistakes(bench):
        guest = bench.random.choice(guests)
        before = len(guest.ended)
        for chain in bad:
            await bench.write(guest, replace(chain, name=name))
        await bench.write(guest, one(bench))
        await bench.finish()
        assert guest.ended[before:] == [chain.status for chain in bad] + [Status.OK], name


@cocotb.test
async def holes(dut: Any) -> None:
    """A pushed chain with a slot that was never written ends there, whatever an earlier lap has left in it."""
    bench = await begin(dut)
    for missing, good in ((1, 0), (2, 1), (3, 1)):
        guest = await bench.add(Guest(3, Form.PUSHED, log2=4))
        for _ in range(8):
            await bench.write(guest, one(bench))
        await bench.finish()
        chain = three(bench)
        await bench.write(guest, replace(chain, segments=chain.segments[:good], status=Status.BAD_OFFLOAD, taken=missing))
        for at in range(missing, 4):
            # that one is missing, and what would stand behind it
            guest.slots.pop(guest.place(16 + at))
        await bench.finish()
        assert guest.ended[-1] == Status.BAD_OFFLOAD


@cocotb.test
async def in_parts(dut: Any) -> None:
    """A fetched chain goes as far as its descriptors do, asks for no more than it needs, and holds up nobody."""
    bench = await begin(dut, pressure="bursts")
    slow = [await bench.add(Guest(endpoint, mode=Mode.IOMMU)) for endpoint in (0, 31)]
    other = await bench.add(Guest(62, Form.PUSHED))
    for _ in range(4):
        parts = []
        for guest in slow:
            chain = some_chain(bench)
            await bench.write(guest, chain, 1)
            parts.append((guest, chain.descriptors[1:]))
        while any(part for _, part in parts):
            for guest, part in parts:
                count = bench.random.randint(0, 3)
                bench.more(guest, part[:count])
                del part[:count]
            before = len(other.ended)
            await bench.write(other, one(bench))
            await settle(bench.dut, lambda: len(other.ended) > before, "the other endpoint's chain ends")  # noqa: B023
        await bench.finish()


@cocotb.test
async def fetch_error(dut: Any) -> None:
    """When the fetch fails, segments of which all is here leave; the chain ends once, with FETCH_ERROR, and halts."""
    bench = await begin(dut)
    for there, good in ((1, 0), (2, 1), (3, 1)):
        guest = await bench.add(Guest(8))
        await bench.write(guest, three(bench))
        await bench.finish()
        chain = three(bench)
        await bench.write(guest, replace(chain, segments=chain.segments[:good], status=Status.FETCH_ERROR), there)
        await cycles(bench.dut, bench.random.randint(0, 200))
        guest.failed = True
        await settle(bench.dut, lambda: guest.halted, "the endpoint halts")  # noqa: B023
        await bench.finish()
        assert guest.ended == [Status.OK, Status.FETCH_ERROR]


@cocotb.test
@cocotb.parametrize(wrong=[None, 0, 1, 2, 3, 4, 5])
async def validated(dut: Any, wrong: int | None) -> None:
    """Mode `validated`: a descriptor whose sequence number is not its index's ends the chain before it is read, header or
    payload, and halts the endpoint; the address is what is left."""
    bench = await begin(dut)
    guest = await bench.add(Guest(9, mode=Mode.VALIDATED))

    def signed(chain: Chain, at: int | None) -> Chain:
        first = guest.producer
        return replace(chain, descriptors=[changed(d, address=parse(d).address | sequence(first + n + (n == at)))
                                           for n, d in enumerate(chain.descriptors)])

    job = a_job(bench.random, 90, 270)
    await bench.write(guest, signed(three(bench), None))
    chain = a_chain(bench, job, [20, 15, 200], [90, 50, 130])
    good = 3 if wrong is None else max(wrong - 3, 0) if wrong < 5 else 1
    status = Status.OK if wrong is None else Status.STALE_DESCRIPTOR
    await bench.write(guest, replace(signed(chain, wrong), segments=chain.segments[:good], status=status))
    await bench.finish()
    assert guest.ended == [Status.OK, status]


@cocotb.test
async def anew(dut: Any) -> None:
    """An endpoint that is enabled again in the middle of a chain has forgotten it; its neighbours have not."""
    bench = await begin(dut)
    neighbour = await bench.add(Guest(4))
    half = three(bench)
    await bench.write(neighbour, half, 3)
    for there in (2, 3):
        guest = await bench.add(Guest(5))
        await bench.write(guest, three(bench), there)
        await cycles(bench.dut, 400)
        guest = await bench.add(Guest(5))
        await bench.write(guest, three(bench))
        await settle(bench.dut, lambda: bool(guest.ended), "the chain ends")  # noqa: B023
    bench.more(neighbour, half.descriptors[3:])
    await bench.finish()


@cocotb.test
@cocotb.parametrize(idle=["always", "bursts"], pressure=["always", "rare"])
async def traffic(dut: Any, idle: str, pressure: str) -> None:
    """Chains of many endpoints in both forms, good ones and others, their segments in turn: each endpoint's chains end in
    its order, each segment as if it were alone."""
    bench = await begin(dut, idle=idle, pressure=pressure)
    rng = bench.random
    guests = [await bench.add(Guest(endpoint, rng.choice((Form.PUSHED, Form.FETCHED)), rng.choice((Mode.NATIVE, Mode.IOMMU))))
              for endpoint in rng.sample(range(64), 4)]
    bad = mistakes(bench)
    for _ in range(CHAINS):
        guest = rng.choice(guests)
        if rng.random() < 0.3:
            name, chains = rng.choice(bad)
            for chain in chains:
                await bench.write(guest, replace(chain, name=name))
        await bench.write(guest, some_chain(bench))
    await bench.finish()
    assert all(guest.ended[-1:] in ([], [Status.OK]) for guest in guests)
