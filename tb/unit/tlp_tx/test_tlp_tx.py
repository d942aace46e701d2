"""The sender of TLPs: headers, arbitration, credits, back-pressure."""

from __future__ import annotations

import random
from typing import Any, Final

import cocotb

from tb.unit.mwr import a_write
from tb.unit.streams import PATTERNS, cycles
from tb.unit.tlp_tx.bench import TB, units

FOR_EVER: Final = 127
"""Header credits that may be open at once: half of the field (PCIe 3.0, 2.6.1)."""
MPS_DWS: Final = 64
MIX: Final = 90


async def begin(dut: Any, **options: Any) -> TB:
    bench = TB(dut.u_tlp_tx, cocotb.RANDOM_SEED, **options)
    await bench.start()
    return bench


def completion(bench: TB) -> None:
    rng = bench.random
    bench.complete(has_data=rng.randrange(2), status=rng.choice((0, 1, 4)), requester=rng.getrandbits(16),
                   tag=rng.getrandbits(8), lower=rng.getrandbits(7), bytes=rng.getrandbits(12), data=rng.getrandbits(32))


def read(bench: TB, address: int | None = None, length: int | None = None) -> None:
    rng = bench.random
    if address is None:
        address = rng.getrandbits(rng.choice((32, 48)))
    if length is None:
        length = rng.choice((rng.randint(1, 8), rng.randint(1, 4096 - address % 4)))
    bench.read(rid=rng.getrandbits(16), tag=rng.getrandbits(8), addr=address, len=length, fetch=rng.randrange(2),
               rx=rng.randrange(2), first=rng.randrange(2), ep=rng.randrange(64), index=rng.getrandbits(16))


def write(bench: TB, dws: int, tag: int = 0) -> None:
    bench.write(a_write(bench.random, dws, tag, above_4g=bench.random.random() < 0.5))


@cocotb.test
@cocotb.parametrize(pressure=list(PATTERNS))
async def headers(dut: Any, pressure: str) -> None:
    """Reads ask for exactly the bytes wanted, writes carry exactly theirs; 3 header DWs below 4 GiB and 4 above."""
    bench = await begin(dut, pressure=pressure)
    bench.grant(FOR_EVER, 2047, FOR_EVER)
    for address in (0x1000, 0xFFFF_F000, 0x1_0000_0000, 0xFFFF_FFFF_F000):
        for skip in range(4):
            for length in (1, 2, 3, 4, 5, 8, 4092):
                read(bench, address + skip, length)
                if bench.limits.nph - bench.used.nph < FOR_EVER:
                    bench.grant(nph=1)
    for dws in (*range(1, 10), 31, 32, 63, MPS_DWS):
        for _ in range(3):
            write(bench, dws)
    for _ in range(20):
        completion(bench)
    await bench.finish()


@cocotb.test
async def no_credits(dut: Any) -> None:
    """A class without credits waits, for headers and for data alike, and holds nobody else; one more credit is one more
    TLP."""
    bench = await begin(dut)
    for _ in range(3):
        completion(bench)
        write(bench, 5)
        read(bench)
    await cycles(bench.dut, 100)
    assert bench.order == ["cpl"] * 3
    bench.grant(nph=1)
    await cycles(bench.dut, 50)
    bench.grant(ph=3)
    await cycles(bench.dut, 50)
    bench.grant(pd=1)
    await cycles(bench.dut, 50)
    assert bench.order == ["cpl"] * 3 + ["mrd"]
    bench.grant(pd=1)
    await cycles(bench.dut, 50)
    assert bench.order == ["cpl"] * 3 + ["mrd", "mwr"]
    bench.grant(pd=3)
    await cycles(bench.dut, 50)
    assert bench.order == ["cpl"] * 3 + ["mrd", "mwr", "mwr"]
    bench.grant(pd=1, nph=2)
    await bench.finish()


@cocotb.test
async def turns(dut: Any) -> None:
    """Writes and reads that never stop leave in turn; an answer to an MMIO read goes before both."""
    bench = await begin(dut)
    bench.grant(FOR_EVER, 2047, FOR_EVER)
    for _ in range(40):
        write(bench, bench.random.randint(1, 6))
        read(bench)
    await cycles(bench.dut, 60)
    completion(bench)
    await bench.finish()
    requests = [name for name in bench.order if name != "cpl"]
    assert requests == ["mwr", "mrd"] * 40
    assert bench.order.index("cpl") < 30


@cocotb.test
async def wrap(dut: Any) -> None:
    """The cumulative counters of headers (8 bits) and data (12 bits) wrap without a TLP too many or a stop."""
    bench = await begin(dut)
    for number in range(300):
        write(bench, MPS_DWS if number % 2 else 61, number % 256)
        read(bench, 0x1000, 4)
        owed = units(bench.queued["mwr"][-1])
        bench.grant(1, owed, 1)
        if number % 4 == 3:
            await bench.finish()
    await bench.finish()
    assert bench.used.ph > 256 and bench.used.pd > 4096 and bench.used.nph > 256


async def partner(bench: TB, rng: random.Random) -> None:
    """A link partner that gives credits as it likes, never more than half of a field."""
    while True:
        await cycles(bench.dut, rng.randint(1, 40))
        bench.grant(*(min(rng.randrange(top), most - (limit - used)) for top, most, limit, used in (
            (6, FOR_EVER, bench.limits.ph, bench.used.ph), (40, 2047, bench.limits.pd, bench.used.pd),
            (6, FOR_EVER, bench.limits.nph, bench.used.nph))))


@cocotb.test
@cocotb.parametrize(idle=list(PATTERNS), pressure=list(PATTERNS))
async def traffic(dut: Any, idle: str, pressure: str) -> None:
    """Whatever is offered, granted and stalled: every TLP leaves whole, once, in its source's order, in its turn, and
    never without credits."""
    bench = await begin(dut, idle=idle, pressure=pressure)
    cocotb.start_soon(partner(bench, bench.random))
    for number in range(MIX):
        kind = bench.random.randrange(3)
        if kind == 0:
            completion(bench)
        elif kind == 1:
            read(bench)
        else:
            write(bench, bench.random.randint(1, MPS_DWS // 4), number)
    await bench.finish()
