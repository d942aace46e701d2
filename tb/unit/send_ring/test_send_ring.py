"""Send rings and their executor: chains in order, around the ring, pushed and fetched, inline, with mistakes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import cocotb

from sw.abi.registers import Form, Mode, Status
from tb.unit.send_ring.bench import TB, Chain, Guest
from tb.unit.send_ring.oracle import (
    CKSUM,
    FIRST,
    INLINE,
    INLINE_MAX,
    MAX_FRAME,
    MAX_PIECES,
    NO_TSO,
    SLOT,
    UNSUPPORTED,
    Descriptor,
    sequence,
)
from tb.unit.streams import PATTERNS, cycles, settle

ROUNDS: Final = 25


async def begin(dut: Any, **options: Any) -> TB:
    bench = TB(dut.u_send_ring, random.Random(cocotb.RANDOM_SEED), **options)
    await bench.start()
    return bench


def a_chain(rng: random.Random, pieces: int, *, most: int = 700) -> list[Descriptor]:
    """A good chain; the hardware does not look at FIRST, count and the rest but in its head."""
    head = Descriptor(rng.getrandbits(44), rng.randint(1, most), FIRST | NO_TSO, pieces)
    if rng.random() < 0.3:
        head = replace(head, flags=head.flags | CKSUM, start=rng.randrange(40), field=rng.randrange(60))
    rest = [Descriptor(rng.getrandbits(44), rng.randint(1, most), rng.randrange(1, 256), rng.randrange(256)) for _ in range(pieces - 1)]
    return [head, *rest]


def inline(rng: random.Random, length: int) -> Chain:
    data = rng.randbytes(-(-length // SLOT) * SLOT)
    head = Descriptor(0, length, FIRST | NO_TSO | INLINE | (CKSUM if rng.random() < 0.3 else 0), len(data) // SLOT + 1,
                      rng.randrange(40), rng.randrange(60))
    return [head, *(data[at : at + SLOT] for at in range(0, len(data), SLOT))]


def mistakes(rng: random.Random) -> list[Chain]:
    """One of each mistake, in a chain whose other descriptors are good."""
    good = a_chain(rng, 3)
    alone = replace(good[0], count=1)
    return [
        [replace(alone, flags=NO_TSO)],
        [replace(alone, count=0)],
        [replace(alone, count=MAX_PIECES + 1)],
        [replace(alone, count=255)],
        *([replace(good[0], flags=good[0].flags | bit), *good[1:]] for bit in (0x20, 0x80, UNSUPPORTED)),
        [replace(good[0], length=0), *good[1:]],
        [good[0], replace(good[1], length=0), good[2]],
        [*good[:2], replace(good[2], length=0)],
        [*good[:2], replace(good[2], length=MAX_FRAME)],
        [replace(alone, length=MAX_FRAME + 1)],
        [replace(alone, length=0xFFFF)],
        [good[0], good[1], replace(good[2], length=0xFFFF)],
        [replace(alone, length=60, flags=FIRST | NO_TSO | CKSUM, start=60, field=0)],
        [replace(alone, length=60, flags=FIRST | NO_TSO | CKSUM, start=59, field=59)],
        [replace(alone, length=60, flags=FIRST | NO_TSO | CKSUM, start=59, field=58)],
        [replace(alone, length=MAX_FRAME)],
    ]


def bad_inlines(rng: random.Random) -> list[Chain]:
    head, *data = inline(rng, 40)
    assert isinstance(head, Descriptor)
    return [[replace(head, count=0)], [replace(head, count=INLINE_MAX // SLOT + 2)], [replace(head, length=0), *data],
            [replace(head, length=INLINE_MAX + 1), *data], [replace(head, length=49), *data], [replace(head, length=32), *data],
            [replace(head, flags=head.flags & ~NO_TSO), *data], [replace(head, flags=head.flags | 0x80), *data]]


async def room(bench: TB, guest: Guest, slots: int) -> None:
    await settle(bench.dut, lambda: guest.room() >= slots, "the ring has room")


async def halted(bench: TB, guest: Guest) -> None:
    await settle(bench.dut, lambda: guest.halted, "the endpoint halts")
    await cycles(bench.dut, 50)


async def offer(bench: TB, guest: Guest, chain: Chain) -> None:
    """Push or fetch a chain once the ring has room, as a driver does."""
    await room(bench, guest, len(chain))
    if guest.form == Form.PUSHED:
        bench.push(guest, chain)
    else:
        bench.fetch(guest, [chain])


@cocotb.test
@cocotb.parametrize(form=[Form.PUSHED, Form.FETCHED])
async def laps(dut: Any, form: int) -> None:
    """Chains of every length, several times around the smallest and a larger ring: each piece is read once, in order,
    to its place in the frame."""
    bench = await begin(dut)
    guests = [await bench.add(Guest(endpoint, form, Mode.IOMMU, log2)) for endpoint, log2 in ((0, 4), (63, 6))]
    for _ in range(2):
        for pieces in range(1, MAX_PIECES + 1):
            for guest in guests:
                await offer(bench, guest, a_chain(bench.random, pieces))
    await bench.finish()
    assert len(bench.closed) == 4 * MAX_PIECES


@cocotb.test
@cocotb.parametrize(pressure=["always", "bursts"])
async def inlines(dut: Any, pressure: str) -> None:
    """Inline frames of every length are copied byte for byte, around the ring's end, too."""
    bench = await begin(dut, pressure=pressure)
    guest = await bench.add(Guest(7, Form.PUSHED, Mode.NATIVE, 4))
    for length in (*range(1, 34), 63, 64, 65, INLINE_MAX - 1, INLINE_MAX):
        await offer(bench, guest, inline(bench.random, length))
    await bench.finish()


@cocotb.test
@cocotb.parametrize(form=[Form.PUSHED, Form.FETCHED])
async def bad(dut: Any, form: int) -> None:
    """Each mistake ends its own chain with its own status; what follows in the ring is executed."""
    bench = await begin(dut)
    guest = await bench.add(Guest(20, form, Mode.IOMMU, 5))
    for chain in mistakes(bench.random) + bad_inlines(bench.random):
        await offer(bench, guest, chain)
        await offer(bench, guest, a_chain(bench.random, 2))
    await bench.finish()
    assert {status for _, status in bench.closed} == {
        Status.OK, Status.BAD_DESCRIPTOR, Status.BAD_LENGTH, Status.UNSUPPORTED, Status.BAD_OFFLOAD}


@cocotb.test
async def hole(dut: Any) -> None:
    """A pushed chain with a slot that was never written is BAD_DESCRIPTOR, not what another lap has left there; a ring
    that starts anew has forgotten everything."""
    bench = await begin(dut)
    guest = await bench.add(Guest(3, Form.PUSHED, Mode.NATIVE, 4))
    for pieces in (5, 5, 6, 3):  # a lap and more
        await offer(bench, guest, a_chain(bench.random, pieces))
    await bench.finish()
    for missing in (1, 2):
        chain: list[Descriptor | bytes | None] = [*a_chain(bench.random, 3)]
        chain[missing] = None
        await offer(bench, guest, chain)
        await offer(bench, guest, a_chain(bench.random, 1))
        await bench.finish()
    assert [status for _, status in bench.closed].count(Status.BAD_DESCRIPTOR) == 2
    data = inline(bench.random, 48)
    bench.push(guest, data[1:], first=1)  # and no head: it stays, until the endpoint is enabled again
    await cycles(bench.dut, 20)
    guest = await bench.add(Guest(3, Form.PUSHED, Mode.NATIVE, 4))
    await offer(bench, guest, [data[0], None, None, None])
    await bench.finish()


@cocotb.test
async def fetched_in_parts(dut: Any) -> None:
    """A fetched chain is executed when all of it is there, and not before; until then others are not held up. When its
    fetch fails, all chains in front of it are done, and it ends once, with FETCH_ERROR."""
    bench = await begin(dut)
    slow, other = [await bench.add(Guest(endpoint, Form.FETCHED, Mode.IOMMU, 5)) for endpoint in (4, 5)]
    for part in range(4):
        for _ in range(4):
            await offer(bench, slow, a_chain(bench.random, bench.random.randint(1, 6)))
        await bench.finish()
        before = len(bench.closed)
        bench.fail(slow, a_chain(bench.random, 8)[: 2 * part])
        await offer(bench, other, a_chain(bench.random, 3))
        await halted(bench, slow)
        assert sorted(endpoint for endpoint, _ in bench.closed[before:]) == [4, 5]
        assert (4, Status.FETCH_ERROR) in bench.closed[before:]
        slow = await bench.add(Guest(4, Form.FETCHED, Mode.IOMMU, 5))


@cocotb.test
async def validated(dut: Any) -> None:
    """Mode `validated`: every descriptor's sequence number is that of its index, or the endpoint halts there, before any
    read of that descriptor; the address is what is left."""
    bench = await begin(dut)

    def signed(guest: Guest, chain: list[Descriptor], wrong: int | None) -> list[Descriptor]:
        return [replace(d, address=d.address | sequence(guest.producer + at + (at == wrong))) for at, d in enumerate(chain)]

    for wrong in (0, 1, 2):
        guest = await bench.add(Guest(9, Form.FETCHED, Mode.VALIDATED, 4))
        for _ in range(12):
            await room(bench, guest, 3)
            bench.fetch(guest, [signed(guest, a_chain(bench.random, 3), None)])
        await bench.finish()
        bench.fetch(guest, [signed(guest, a_chain(bench.random, 3), wrong)])
        await halted(bench, guest)
    assert [status for _, status in bench.closed].count(Status.STALE_DESCRIPTOR) == 3


@cocotb.test
@cocotb.parametrize(pressure=list(PATTERNS))
async def traffic(dut: Any, pressure: str) -> None:
    """Many endpoints of both forms with good chains, inline frames and mistakes, slow memories, few frame slots: each
    endpoint's chains end in its order, each as if it were alone."""
    bench = await begin(dut, pressure=pressure, gaps=0.3, slots=0.1)
    rng = bench.random
    for endpoint, form in zip(rng.sample(range(64), 5), (0, 1, 0, 1, 0), strict=True):
        await bench.add(Guest(endpoint, form, rng.choice((Mode.NATIVE, Mode.IOMMU)), rng.randint(4, 6)))
    makers: tuple[Callable[[], Chain], ...] = (
        lambda: a_chain(rng, rng.randint(1, MAX_PIECES)), lambda: inline(rng, rng.randint(1, INLINE_MAX)),
        lambda: rng.choice(mistakes(rng)), lambda: rng.choice(bad_inlines(rng)))
    for _ in range(ROUNDS):
        for guest in rng.sample(list(bench.guests.values()), 3):
            await offer(bench, guest, makers[rng.choice((0, 0, 0, 1, 2, 3))]())
    await bench.finish()
    assert len(bench.closed) == 3 * ROUNDS
