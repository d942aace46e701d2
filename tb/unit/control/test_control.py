"""The privileged BAR and configuration requests: every register by its policy, endpoints by hand, answers in order."""

from __future__ import annotations

import random
from typing import Any, Final

import cocotb

from sw.abi.registers import Form, Mode, NicControl, Refusal, Status
from tb.unit.control.bench import DEPTH, TB
from tb.unit.control.oracle import ARRAYS, ENDPOINT, PLAIN, SIZE, TABLES, WRITABLE, table_at
from tb.unit.dma_read.bench import REFUSAL
from tb.unit.streams import PATTERNS, cycles

BAR: Final = 1 << 20
ACCESSES: Final = 250
LAST: Final = ENDPOINT.count - 1


async def begin(dut: Any, **options: Any) -> TB:
    bench = TB(dut.u_control, random.Random(cocotb.RANDOM_SEED), **options)
    await bench.start()
    return bench


def at(endpoint: int, register: int) -> int:
    return register + endpoint * ENDPOINT.stride


def set_up(bench: TB, endpoint: int, **ctrl: int) -> None:
    """Write all of an endpoint's set-up, CTRL last."""
    for register in reversed(WRITABLE):
        data = bench.random.getrandbits(32)
        if register.address == NicControl.ENDPOINT_CTRL:
            data = control(**ctrl)
        bench.write(at(endpoint, register.address), data)


def control(enable: int = 0, form: int = Form.FETCHED, mode: int = Mode.NATIVE, send_log2: int = 6, cq_log2: int = 6) -> int:
    return (enable << NicControl.ENDPOINT_CTRL_ENABLE_S | form << NicControl.ENDPOINT_CTRL_FORM_S | mode << NicControl.ENDPOINT_CTRL_MODE_S
            | send_log2 << NicControl.ENDPOINT_CTRL_SEND_LOG2_S | cq_log2 << NicControl.ENDPOINT_CTRL_CQ_LOG2_S)


def receive(enable: int = 1, form: int = Form.FETCHED, **fields: int) -> int:
    shifts = {"rss": NicControl.ENDPOINT_RX_CTRL_RSS_S, "queues": NicControl.ENDPOINT_RX_CTRL_QUEUES_S,
              "small_log2": NicControl.ENDPOINT_RX_CTRL_SMALL_LOG2_S, "big_log2": NicControl.ENDPOINT_RX_CTRL_BIG_LOG2_S,
              "buffer_log2": NicControl.ENDPOINT_RX_CTRL_BUFFER_LOG2_S, "rq_log2": NicControl.ENDPOINT_RX_CTRL_RQ_LOG2_S}
    return enable | form << NicControl.ENDPOINT_RX_CTRL_FORM_S | sum(value << shifts[name] for name, value in fields.items())


@cocotb.test
async def registers(dut: Any) -> None:
    """Every register outside tables: its value after reset, and what each combination of bytes, ones and zeros do to it."""
    bench = await begin(dut)
    for address in PLAIN:
        bench.read(address)
        for be in range(16):
            for data in (0xFFFF_FFFF, 0, bench.random.getrandbits(32)):
                bench.write(address, data, be)
                bench.read(address)
    await bench.finish()


@cocotb.test
async def holes(dut: Any) -> None:
    """What is no register reads as 0, and a write there changes no other; above the last table likewise, in the whole BAR."""
    bench = await begin(dut)
    rng = bench.random
    tables = range(ENDPOINT.base, ENDPOINT.base + ENDPOINT.count * ENDPOINT.stride)
    holes = [address for address in (*range(0, 0x100, 4), *(4 * rng.randrange(ENDPOINT.base // 4) for _ in range(30)), 0x6A00, 0x6D00,
                                     0x7408, 0x7800, 0x7FFC, 0xA800, 0x3FFFC, SIZE, BAR - 4, *(4 * rng.randrange(SIZE // 4, BAR // 4) for _ in range(30)))
             if address not in PLAIN and address not in tables and table_at(address) is None]
    for address in holes:
        bench.write(address, 0xFFFF_FFFF)
        bench.read(address)
    for address in PLAIN:
        bench.read(address)
    await bench.finish()


@cocotb.test
async def tables(dut: Any) -> None:
    """First, last and some other registers of each table: accesses come there, at their offset, whenever it answers."""
    bench = await begin(dut)
    for name, (_, size) in TABLES.items():
        base = ARRAYS[name].base
        for offset in (0, 4, 8, size - 4, size // 2, *(4 * bench.random.randrange(size // 4) for _ in range(6))):
            bench.write(base + offset, bench.random.getrandbits(32))
            bench.read(base + offset)
    await bench.finish()


@cocotb.test
async def no_byte(dut: Any) -> None:
    """A write of no byte has no effect, in tables, too (PCIe 3.0, 2.2.5)."""
    bench = await begin(dut)
    set_up(bench, 3)
    bench.write(at(3, NicControl.ENDPOINT_CTRL), control(enable=1), 0)
    bench.write(at(3, NicControl.ENDPOINT_SEND_BASE_LO), 0x1234_5678, 0)
    bench.write(NicControl.WINDOW_BASE, 0xFFFF_FFFF, 0)
    bench.write(NicControl.CTRL, 1, 0)
    for register in WRITABLE:
        bench.read(at(3, register.address))
    await bench.finish()


@cocotb.test
async def endpoints(dut: Any) -> None:
    """Every register of an endpoint, by its neighbours: what is written reads back, and only there; holes read as 0."""
    bench = await begin(dut)
    some = (0, 1, 31, 32, LAST)
    for endpoint in some:
        set_up(bench, endpoint)
    for endpoint in some:
        for offset in range(0, ENDPOINT.stride, 4):
            bench.read(at(endpoint, ENDPOINT.base + offset))
    for endpoint in some:
        for data in (0xFFFF_FFFF, 0):
            for offset in range(0, ENDPOINT.stride, 4):
                # never enabled here
                bench.write(at(endpoint, ENDPOINT.base + offset), data & ~1 if offset == 0 else data)
                bench.read(at(endpoint, ENDPOINT.base + offset))
    await bench.finish()
    await cycles(bench.dut, 100)


@cocotb.test
async def limits(dut: Any) -> None:
    """Sizes that are not allowed are taken as the nearest one that is, in each field by itself."""
    bench = await begin(dut)
    set_up(bench, 40)
    for size in range(16):
        for ctrl in (control(send_log2=size), control(cq_log2=size)):
            bench.write(at(40, NicControl.ENDPOINT_CTRL), ctrl)
            bench.read(at(40, NicControl.ENDPOINT_CTRL))
        for name in ("small_log2", "big_log2", "buffer_log2", "rq_log2"):
            sizes = {"small_log2": 5, "big_log2": 6, "buffer_log2": 11, "rq_log2": 7} | {name: size}
            bench.write(at(40, NicControl.ENDPOINT_RX_CTRL), receive(**sizes))
            bench.read(at(40, NicControl.ENDPOINT_RX_CTRL))
    await bench.finish()


@cocotb.test
async def looked_up(dut: Any) -> None:
    """The other blocks are told of every endpoint what has been set up for it, each of the same."""
    bench = await begin(dut)
    for endpoint in range(ENDPOINT.count):
        set_up(bench, endpoint, enable=bench.random.randrange(2), form=bench.random.randrange(2), mode=bench.random.randrange(5),
               send_log2=bench.random.randrange(16), cq_log2=bench.random.randrange(16))
    await bench.finish()
    await cycles(bench.dut, 800)


@cocotb.test
async def enable(dut: Any) -> None:
    """Enabling starts an endpoint once, and not while it is enabled; mode `validated` with a pushed ring is never enabled,
    nor does its receive side take what is pushed."""
    bench = await begin(dut)
    for endpoint in (0, LAST):
        set_up(bench, endpoint)
        for mode in (Mode.NATIVE, Mode.IOMMU, Mode.WINDOWS, Mode.VALIDATED):
            for form in (Form.PUSHED, Form.FETCHED):
                for rx_form in (Form.PUSHED, Form.FETCHED):
                    bench.write(at(endpoint, NicControl.ENDPOINT_RX_CTRL), receive(form=rx_form))
                    for on in (1, 1, 0, 1, 0):
                        bench.write(at(endpoint, NicControl.ENDPOINT_CTRL), control(enable=on, form=form, mode=mode))
                        bench.read(at(endpoint, NicControl.ENDPOINT_STATUS))
                        await bench.finish()
                        await cycles(bench.dut, 2)


@cocotb.test
async def status(dut: Any) -> None:
    """An endpoint's last error, halted and stale stay until it is enabled, and not only disabled; its neighbour's as well."""
    bench = await begin(dut)
    word = {endpoint: at(endpoint, NicControl.ENDPOINT_STATUS) for endpoint in (5, 6)}
    for endpoint in word:
        set_up(bench, endpoint, enable=1)
    await bench.finish()

    async def told() -> None:
        for address in word.values():
            bench.read(address)
        await bench.finish()
        await cycles(bench.dut, 70)

    for error in (Status.BAD_LENGTH, Status.READ_UR, Status.NOT_AUTHORISED):
        await bench.event(failed=5, status=error)
        await told()
    for events in ({"halt": 5}, {"halt": 6, "stale": 1}, {"rx_stale": 5}, {"rx_stale": 6, "failed": 6, "status": Status.READ_CA},
                   {"halt": 6, "stale": 1, "rx_stale": 5}):
        await bench.event(**events)
        await told()
        for on in (0, 1):
            for endpoint in word:
                bench.write(at(endpoint, NicControl.ENDPOINT_CTRL), control(enable=on))
            await bench.finish()
            await told()


@cocotb.test
async def in_flight(dut: Any) -> None:
    """Busy is an endpoint with a frame or a completion in flight, whatever happens in the same cycle, of it or of others."""
    bench = await begin(dut)
    rng = bench.random
    word = {endpoint: at(endpoint, NicControl.ENDPOINT_STATUS) for endpoint in (2, 3)}
    for endpoint in word:
        set_up(bench, endpoint, enable=1)
    await bench.finish()
    flights = {endpoint: bench.map.endpoints[endpoint] for endpoint in word}
    for n in range(120):
        grow = n % 40 < 20
        events = {}
        used = dict.fromkeys(word, 0)
        if rng.random() < (0.9 if grow else 0.3) and sum(e.flight for e in flights.values()) < 40:
            events["alloc"] = rng.choice(list(word))
        if rng.random() < 0.5 and (ready := [number for number, e in flights.items() if e.flight]):
            events["retire"] = number = rng.choice(ready)
            events["count"] = used[number] = rng.randint(1, min(8, flights[number].flight if not grow else 1))
        if rng.random() < 0.4 and (ready := [number for number, e in flights.items() if e.flight > used[number]]):
            events["silent"] = rng.choice(ready)
        await bench.event(**events)
        if rng.random() < 0.3 or not any(e.flight for e in flights.values()):
            for address in word.values():
                bench.read(address)
            await bench.finish()
    for number, state in flights.items():
        while state.flight:
            await bench.event(retire=number, count=min(8, state.flight))
            bench.read(word[number])
            await bench.finish()


@cocotb.test
async def hardware_sets(dut: Any) -> None:
    """A refusal is recorded and cleared by writing ones, byte by byte; a fence starts once for each write; counters count
    what is counted."""
    bench = await begin(dut)
    dut, values = bench.dut, bench.map.values
    for n, reason in enumerate(Refusal):
        record = {"ep": 60 - n, "write": n % 2, "reason": reason, "addr": bench.random.getrandbits(64)}
        dut.refusal_i.value, dut.overflow_i.value = REFUSAL.pack(valid=1, **record), n % 2
        await cycles(dut, 1)
        dut.refusal_i.value = dut.overflow_i.value = 0
        values[NicControl.REFUSAL] = (1 | n % 2 << 1 | record["write"] << 2 | reason << NicControl.REFUSAL_REASON_S
                                      | record["ep"] << NicControl.REFUSAL_ENDPOINT_S)
        values[NicControl.REFUSAL_ADDRESS_LO], values[NicControl.REFUSAL_ADDRESS_HI] = record["addr"] & 0xFFFF_FFFF, record["addr"] >> 32
        for data, be in ((0, 15), (3, 0b1110), (2, 1), (0, 15), (1, 1)):
            bench.read(NicControl.REFUSAL)
            bench.write(NicControl.REFUSAL, data, be)
        for address in (NicControl.REFUSAL, NicControl.REFUSAL_ADDRESS_LO, NicControl.REFUSAL_ADDRESS_HI):
            bench.read(address)
        await bench.finish()
    for data, be, starts in ((1, 15, 1), (0, 15, 1), (1, 0b1110, 1), (1, 1, 2), (0xFFFF_FFFE, 15, 2)):
        bench.write(NicControl.FENCE, data, be)
        await bench.finish()
        assert bench.fences == starts
    dut.fence_busy_i.value, dut.fences_i.value = 1, 0x8001
    values[NicControl.FENCE] = 1 << NicControl.FENCE_BUSY_S | 0x8001 << NicControl.FENCE_ENDED_S
    dut.frame_i.value = 1
    await cycles(dut, 7)
    dut.frame_i.value = 0
    values[NicControl.FRAMES] = 7
    dut.cycle_i.value = 0x1122_3344_5566_7788
    values[NicControl.CYCLE_LO], values[NicControl.CYCLE_HI] = 0x5566_7788, 0x1122_3344
    await cycles(dut, 1)
    for address in (NicControl.FENCE, NicControl.FRAMES, NicControl.CYCLE_LO, NicControl.CYCLE_HI):
        bench.read(address)
    await bench.finish()


@cocotb.test
async def functions(dut: Any) -> None:
    """Configuration requests reach the physical function only; what is for another, or is no request for this device, is
    answered with Unsupported Request and changes nothing; the endpoints' BAR reads as 0."""
    bench = await begin(dut)
    for function in (0, 1, 2, 64, 128, 255, 0):
        bench.cfg_read(4 * bench.random.randrange(1024), function)
        bench.cfg_write(4 * bench.random.randrange(1024), bench.random.getrandbits(32), bench.random.randrange(16), function,
                        bench.random.getrandbits(8))
    bench.aperture(0x1234)
    bench.aperture(NicControl.CTRL)
    bench.bad(addr=NicControl.CTRL, control=1, be=15)
    bench.bad(cfg=1)
    bench.bad(cfg=1, cfg_write=1)
    bench.read(NicControl.ID)
    await bench.finish()


@cocotb.test
@cocotb.parametrize(idle=["always", "bursts"], pressure=list(PATTERNS))
async def traffic(dut: Any, idle: str, pressure: str) -> None:
    """Accesses of all kinds, as many as there are credits for, to tables that answer when they like: each is done once and
    answered in order, so that a read sees every write before it."""
    bench = await begin(dut, idle=idle, pressure=pressure)
    rng = bench.random
    some = rng.sample(range(ENDPOINT.count), 3)
    for endpoint in some:
        set_up(bench, endpoint, enable=rng.randrange(2))
    plain = list(PLAIN)
    for _ in range(ACCESSES if idle == "always" else ACCESSES // 2):
        kind = rng.randrange(8)
        address = rng.choice((rng.choice(plain), 4 * rng.randrange(SIZE // 4), at(rng.choice(some), ENDPOINT.base + 4 * rng.randrange(32))))
        if kind < 3 and not ENDPOINT.base <= address < ENDPOINT.base + ENDPOINT.count * ENDPOINT.stride:
            bench.write(address, rng.getrandbits(32), rng.randrange(16) if address in PLAIN else 15)
        elif kind < 3:
            bench.write(at(rng.choice(some), rng.choice(WRITABLE).address), rng.getrandbits(32))
        elif kind < 6:
            number = (address - ENDPOINT.base) // ENDPOINT.stride
            bench.read(address if not 0 <= number < ENDPOINT.count or number in some else at(some[0], NicControl.ENDPOINT_STATUS))
        elif kind == 6:
            bench.cfg_read(4 * rng.randrange(1024), rng.choice((0, 0, 3)))
        else:
            bench.cfg_write(4 * rng.randrange(1024), rng.getrandbits(32), rng.randrange(16), rng.choice((0, 0, 64)))
    assert len(bench.queue) > DEPTH
    await bench.finish()
