"""Runs in the simulator: checksum insertion and TSO on the RTL, held against the reference NIC; garbage; failing reads."""

from __future__ import annotations

import os
import random
from typing import Any

import cocotb
from cocotb.handle import SimHandleBase
from cocotb.triggers import gather

from sw.abi.registers import Form, NicControl, SendDescriptor, Status
from sw.guest.tso import tso_chain
from sw.platform import PAGE_SHIFT, PAGE_SIZE
from tb.cosim.platform import HostConfig, ReadError, RtlPlatform
from tb.model.platform import ModelPlatform
from tb.packets import bulk, link
from tests.system.offload import CASES, CKSUM, MAX_READ, Bench, Chain, Sender, chains, compare, cut, tso, whole_before
from tests.system.sim_errors import EXPECTED, TIMEOUT_CYCLES


async def garbage(bench: Bench, rng: random.Random, sender: Sender, stop: list[bool]) -> int:
    """Chains with flags, counts and lengths that mean nothing, or no end, as fast as they can be written."""
    count = 0
    endpoint = sender.endpoint
    while not stop:
        sender.rewind()
        mss = rng.choice([8, 88, 1448])
        job = bulk(rng, link(rng, sender.number), mss, 6 * mss)
        pieces = cut(rng, sender, job.payload, [rng.randint(mss, 2000) for _ in range(4)])
        slots = [bytearray(d) for d in tso_chain(cut(rng, sender, job.header, [len(job.header)]), pieces, job.mss,
                                                 job.cksum_offset, ipv6=job.ipv6)]
        if rng.random() < 0.3:
            for d in slots[1:]:
                d[15] &= ~CKSUM  # TSO_LAST: it never ends
        for _ in range(rng.randint(1, 4)):
            d = rng.choice(slots)
            d[rng.choice([7, 8, 9, 10, 11, 13, 14, 15])] = rng.randrange(256)
        endpoint.submit(b"".join(slots))
        endpoint.index += len(slots)
        count += 1
        await bench.platform.sleep(rng.randint(300, 3000))
    return count


async def garbage_case(bench: Bench) -> None:
    """Two endpoints full of garbage beside two that send."""
    seed = bench.seed
    forms = [Form.PUSHED, Form.FETCHED]
    senders = [await Sender.open(bench, form, 2 + n) for n, form in enumerate(forms)]
    attackers = [await Sender.open(bench, form, 4 + n) for n, form in enumerate(forms)]
    stop: list[bool] = []
    tasks = [cocotb.start_soon(garbage(bench, random.Random(seed * 7 + a.number), a, stop)) for a in attackers]
    left = await gather(*(chains(random.Random(seed * 100 + s.number), s, 15) for s in senders))
    stop.append(True)
    counts = [await task for task in tasks]
    cocotb.log.info("%s chains of garbage", counts)
    assert min(counts) > 10
    found = bench.collect()
    compare({n: found.get(n, []) for n in (2, 3)}, {s.number: frames for s, frames in zip(senders, left, strict=True)})
    # the attackers are no worse for it, either: released and taken again, in the middle of whatever they were in
    for attacker in attackers:
        await attacker.endpoint.release()
    bench.collect()
    bench.frames.clear()
    for n, form in enumerate(forms):
        heir = await Sender.open(bench, form, 8 + n)
        frames = await chains(random.Random(seed + n), heir, 5)
        compare({k: f for k, f in bench.collect().items() if k == 8 + n}, {8 + n: frames})


async def read_error_case(bench: Bench, platform: RtlPlatform, error: ReadError) -> None:
    """A page that fails in the middle of a chain, then well again; last, what fails only when segments have left."""
    bench.hypervisor.endpoints.write(NicControl.READ_TIMEOUT, TIMEOUT_CYCLES)
    expected: dict[int, list[bytes]] = {}
    unlucky = [await Sender.open(bench, form, n) for n, form in enumerate([Form.PUSHED, Form.FETCHED])]
    neighbour = await Sender.open(bench, Form.FETCHED, 2)

    def inject(sender: Sender, gfn: int, kind: ReadError) -> None:
        frame = sender.domain.p2m.frame(gfn)
        assert frame is not None
        platform.inject_read_error(frame << PAGE_SHIFT, kind)

    async def suffer(sender: Sender) -> None:
        rng = random.Random(bench.seed * 10 + sender.number)
        expected[sender.number] = []
        for _ in range(8):
            sender.rewind()
            mss = rng.choice([536, 1448, rng.randint(88, 4000)])
            job = bulk(rng, link(rng, sender.number), mss, rng.randint(mss, 6 * mss))
            header = cut(rng, sender, job.header, [rng.randint(1, 53), 2000])
            payload = cut(rng, sender, job.payload, [rng.randint(600, 4096) for _ in range(8)])
            pages = [address & -PAGE_SIZE for address, _ in (*header, *payload)]
            page = rng.choice(pages)
            lengths = [length for _, length in (*header, *payload)]
            at = sum(lengths[: pages.index(page)]) - len(job.header)
            slots = b"".join(tso_chain(header, payload, job.mss, job.cksum_offset, ipv6=job.ipv6))
            inject(sender, sender.gfns[page], error)
            await sender.run([Chain(slots, EXPECTED[error], 0, before := whole_before(job, at))], 1)
            inject(sender, sender.gfns[page], ReadError.NONE)
            await sender.run([Chain(slots, Status.OK, len(job.segments[-1]), job.segments)], 1)
            expected[sender.number] += [*before, *job.segments]

    async def go_on() -> None:
        expected[2] = await chains(random.Random(bench.seed), neighbour, 8)

    await gather(suffer(unlucky[0]), suffer(unlucky[1]), go_on())

    sender, size = unlucky[1], SendDescriptor.BYTES
    rng = random.Random(bench.seed)

    async def broken_off(page: int | None) -> tuple[int, int]:
        """Two segments leave, then the header's page fails, or `page`, then the rest of the chain is there; its indices."""
        sender.rewind()
        job = bulk(rng, link(rng, sender.number), 600, 3000)
        header = cut(rng, sender, job.header, [2000])
        slots = b"".join(tso_chain(header, cut(rng, sender, job.payload, [600]), job.mss, job.cksum_offset, ipv6=job.ipv6))
        start = sender.endpoint.index
        sender.endpoint.submit(slots[: 3 * size])
        expected[sender.number] += job.segments[:2]
        while len(bench.collect()[sender.number]) < len(expected[sender.number]):
            assert await platform.wire_wait(1_000_000), "the first segments did not leave within 1 ms"
        bad = sender.gfns[header[0][0] & -PAGE_SIZE] if page is None else page
        inject(sender, bad, error)
        sender.endpoint.index = start
        sender.endpoint.submit(slots)
        told = await sender.completion()
        inject(sender, bad, ReadError.NONE)
        assert told[1:] == (0, EXPECTED[error] if page is None else Status.FETCH_ERROR)
        return told[0], start if page is not None else start + len(slots) // size

    async def goes_on() -> None:
        sender.rewind()
        good = tso(rng, sender, bulk(rng, link(rng, sender.number), 536, 1500), [60, 300], [1000])
        sender.endpoint.submit(good.slots)
        assert (await sender.completion())[1:] == (good.length, Status.OK)
        expected[sender.number] += good.frames

    told, due = await broken_off(None)
    assert told == due & 0xFFFF
    await goes_on()
    # descriptors that cannot be fetched halt the endpoint; it is taken again
    told, due = await broken_off(sender.endpoint.ring_gfn)
    assert told == due & 0xFFFF
    register = NicControl.ENDPOINT_STATUS + sender.endpoint.grant.endpoint * NicControl.ENDPOINT_STRIDE
    assert await bench.hypervisor.endpoints.read(register) & NicControl.ENDPOINT_STATUS_HALTED_M
    if error is not ReadError.DROPPED:
        # the IOMMU waits for a read whose completion was lost until its tag is used again: no release meanwhile
        await sender.endpoint.release()
        sender = await Sender.open(bench, Form.FETCHED, sender.number)
        await goes_on()
    compare(bench.collect(), expected)


def check_model(name: str, bench: Bench) -> None:
    """The reference NIC completes the same chains in the same way and sends the same frames."""
    model = ModelPlatform()

    async def same() -> Bench:
        other = await Bench.boot(model, model.gather, bench.seed)
        await CASES[name](other)
        return other

    [other] = model.run(same())
    for number, told in bench.completions.items():
        assert told == other.completions[number], f"guest {number}: completions {told}, of the model {other.completions[number]}"
    compare(bench.frames, other.frames)


@cocotb.test
async def run(dut: SimHandleBase) -> None:
    """The case that the environment names: one machine is one process."""
    seed = int(os.environ["COCOTB_RANDOM_SEED"])
    platform = RtlPlatform(dut, HostConfig(seed=seed, read_jitter=50, reorder=True, mrrs=MAX_READ, random_split=True))

    async def side_by_side(coroutines: list[Any]) -> None:
        await gather(*coroutines)

    bench = await Bench.boot(platform, side_by_side, seed)
    name, *arguments = os.environ["MYR_CASE"].split()
    if name == "garbage":
        await garbage_case(bench)
    elif name == "error":
        await read_error_case(bench, platform, ReadError[arguments[0]])
    else:
        await CASES[name](bench)
        check_model(name, bench)
