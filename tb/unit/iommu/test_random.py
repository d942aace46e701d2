"""Constrained random traffic: several requesters, back-pressure everywhere, answers out of order, invalidations and
completions in between; every TLP is compared with the reference walk."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import cocotb

from sw.abi.registers import Iommu
from tb.unit.iommu.bench import BeatMonitor, Bench, Record, Seen, completion, context_inval, iotlb_inval
from tb.unit.iommu.reference import GIB1, MIB2, PAGE, READ, WRITE, Domain, Refused, walk
from tb.unit.tlp import CPL, CPLD, MRD, MWR, Tlp, refusal

SIDS = (0x0100, 0x0101, 0x0102, 0x0103, 0x0141, 0x0205, 0x0307)
"""0x0101 and 0x0141 share a context cache line; 0x0307 is on a bus without a root entry."""
ROUNDS = 12
TLPS = 150


@dataclass
class World:
    """Random tables, and addresses worth using under them."""

    env: Bench
    random: Random
    iovas: list[int] = field(default_factory=list)

    def build(self) -> None:
        """New mappings and contexts, some of them broken; to be called with no traffic, and flushed afterwards."""
        draw, tables, memory = self.random, self.env.tables, self.env.memory
        domains = [tables.domain(did) for did in (3, 4, 0xFFFF)]
        self.iovas = [0xFEE0_1000, 1 << 50, 0x5000]
        for domain in domains:
            for _ in range(10):
                self._map(domain)
        for sid in SIDS[:-1]:
            tables.attach(sid, draw.choice(domains), kind=draw.choice([0] * 8 + [2]), fpd=int(draw.random() < 0.1))
        sid = draw.choice(SIDS[:-1])
        if draw.random() < 0.5:
            at = tables.context_entry(sid)
            # a domain of its own: contexts of one domain share cached leaves, whatever their roots are
            memory.write64(at + 8, draw.choice([2, 0, 3, 2 | 1 << 60]) | sid << 8)
            memory.write64(at, draw.choice([0, 1, 3, 1 << 60 | 1]))

    def _map(self, domain: Domain) -> None:
        draw, tables = self.random, self.env.tables
        size = draw.choice([PAGE] * 6 + [MIB2, GIB1])
        region = draw.choice([1 << 30, 3 << 30, 5 << 30, 0x7F << 40])
        if size == GIB1:
            region += 8 << 30
            iova = region
        elif size == MIB2:
            iova = region + draw.randrange(4, 8) * MIB2
        else:
            iova = region + draw.randrange(3) * MIB2 + draw.randrange(4) * PAGE
        address = draw.randrange(16) * size if size != GIB1 else 0
        at = tables.map(domain, iova, address, draw.choice([READ, WRITE, 3, 3, 3, 3]), size)
        if draw.random() < 0.1:
            tables.memory.write64(at, tables.memory.read64(at) ^ draw.choice([0x800, 1 << 62, 3, 1 << 45]))
        self.iovas += [iova, iova + draw.randrange(size // PAGE) * PAGE]

    def tlp(self, tags: list[int]) -> Tlp:
        """One random upstream TLP that never crosses a page, except when it means to."""
        draw = self.random
        sid = draw.choice(SIDS)
        what = draw.random()
        if what < 0.05:
            return Tlp(CPLD, 0x0100, draw.randrange(256), length=2, data=draw.randbytes(8), requester=0, byte_count=8)
        page = draw.choice(self.iovas)
        length = draw.choice([1, 2, 3, 16, draw.randrange(1, 65)])
        offset = draw.randrange(0, 1024 - length + 1) * 4
        if draw.random() < 0.02:
            offset, length = PAGE - 8, 3
        address = page + offset
        base = Tlp(
            MRD,
            sid,
            0,
            address,
            length,
            first_be=draw.choice([15, 15, 8, 12, 14]),
            last_be=0 if length == 1 else draw.choice([15, 1, 7]),
            at=draw.choice([0] * 30 + [2]),
            attr=draw.randrange(8),
            long=address >= 1 << 32 or draw.random() < 0.2,
        )
        if what < 0.5 and tags:
            return replace(base, tag=tags.pop(draw.randrange(len(tags))))
        if what < 0.55:
            return Tlp(MWR, sid, 0, 0xFEE0_0000 + draw.randrange(1 << 18) * 4, 1, data=draw.randbytes(4))
        return replace(base, kind=MWR, data=draw.randbytes(4 * length))


def untranslated(tlp: Tlp) -> bool:
    """Completions and interrupt messages."""
    inside = tlp.address % PAGE + 4 * tlp.length <= PAGE
    return tlp.kind in (CPL, CPLD) or (tlp.kind == MWR and tlp.address >> 20 == 0xFEE and not tlp.at and inside)


def expected(env: Bench, tlp: Tlp) -> Tlp | Refused:
    """What is to become of an upstream TLP."""
    if untranslated(tlp):
        return tlp
    crosses = tlp.address % PAGE + 4 * tlp.length > PAGE
    answer = walk(
        env.memory,
        env.tables.root,
        tlp.sid,
        tlp.address,
        write=tlp.kind == MWR,
        blocked=crosses or tlp.at != 0,
        short=not tlp.long,
    )
    return answer if isinstance(answer, Refused) else tlp.moved(answer.address)


def streams(tlps: list[Tlp]) -> dict[tuple[int, bool], list[Tlp]]:
    """What must stay in order: the requests of each requester; the completions."""
    by: dict[tuple[int, bool], list[Tlp]] = defaultdict(list)
    for tlp in tlps:
        by[tlp.sid, tlp.kind in (CPL, CPLD)].append(tlp)
    return by


def check_completions(sent: list[Tlp], allowed: list[bool], left: list[Tlp]) -> None:
    """No completion has overtaken a write that was sent before it."""
    before: list[Counter[int]] = []
    writes: Counter[int] = Counter()
    for tlp, passed in zip(sent, allowed, strict=True):
        if tlp.kind == CPLD:
            before.append(writes.copy())
        writes[tlp.sid] += tlp.kind == MWR and passed
    seen: Counter[int] = Counter()
    for tlp in left:
        seen[tlp.sid] += tlp.kind == MWR
        if tlp.kind == CPLD:
            assert before.pop(0) <= seen, f"{tlp} has overtaken a write"


class RootComplex:
    """Answers reads after a while, in any order and in pieces, and lets writes land late."""

    def __init__(self, env: Bench, draw: Random) -> None:
        self._env, self._draw = env, draw
        self.completions: list[Tlp] = []
        self._waiting: list[Tlp] = []
        self._open: dict[int, Tlp] = {}
        self._writes: list[Tlp] = []
        self._landed = 0
        env.mem_up.add_callback(self._left)
        env.dev_dn.add_callback(self._arrived)
        cocotb.start_soon(self._run())

    def _left(self, seen: Seen) -> None:
        tlp = seen.tlp
        if tlp.kind == MRD:
            self._waiting.append(tlp)
            self._open[tlp.tag] = tlp
        elif tlp.kind == MWR:
            self._writes.append(tlp)

    def _arrived(self, seen: Seen) -> None:
        if seen.tlp.kind == CPLD and seen.tlp.byte_count == len(seen.tlp.data):
            del self._open[seen.tlp.tag]

    def out(self) -> list[Tlp]:
        """Reads whose last completion the device has not got, and writes that have not landed."""
        return [*self._open.values(), *self._writes[self._landed :]]

    async def _run(self) -> None:
        draw, env = self._draw, self._env
        while True:
            await env.cycles(draw.randrange(1, 12))
            self._landed = min(len(self._writes), self._landed + draw.randrange(4))
            env.dut.posted_landed_i.value = self._landed
            if self._waiting and draw.random() < 0.7:
                tlp = self._waiting.pop(draw.randrange(len(self._waiting)))
                left = 4 * tlp.length
                while left:
                    size = min(left, draw.choice([64, 128]))
                    self.completions.append(completion(tlp.tag, tlp.sid, draw.randbytes(size), left))
                    env.dn.append(self.completions[-1])
                    left -= size


async def disturb(env: Bench, draw: Random, stop: list[bool]) -> None:
    """Invalidations of any kind while traffic runs: they cost time and change nothing, for the tables stand still."""
    while not stop:
        await env.cycles(draw.randrange(10, 400))
        flush = {"reads": draw.random() < 0.5, "writes": draw.random() < 0.5}
        await env.invalidate(
            draw.choice(
                [
                    context_inval(1),
                    context_inval(2, did=3),
                    context_inval(3, sid=draw.choice(SIDS)),
                    iotlb_inval(1, **flush),
                    iotlb_inval(2, 4, **flush),
                    iotlb_inval(3, 3, draw.randrange(1 << 30, 1 << 31) & ~0xFFF, 9, **flush),
                ]
            )
        )


def more(monitor: BeatMonitor, count: int) -> Callable[[], bool]:
    """Has it seen at least so many TLPs?"""
    return lambda: len(monitor.seen) >= count


def set_pace(env: Bench, draw: Random) -> None:
    """Draw back-pressure for every stream and the memory's delay."""
    up, down, walks, gap = (draw.choice([1.0, 0.9, 0.5]) for _ in range(4))
    slowest = draw.choice([3, 30, 200])
    env.mem_up.ready = lambda: draw.random() < up
    env.dev_dn.ready = lambda: draw.random() < down
    env.walks.ready = lambda: draw.random() < walks
    env.up.gap = lambda: 0 if draw.random() < gap else draw.randrange(6)
    env.walks.delay = lambda: draw.randrange(1, slowest)


@cocotb.test
async def random_traffic(dut: Any) -> None:
    """Per requester: exactly the allowed TLPs, in order, at the reference's address; every refused read answered once;
    every fault counted; downstream TLPs untouched and in order."""
    env = Bench(dut, cocotb.RANDOM_SEED)
    draw = env.random
    print(f"seed {cocotb.RANDOM_SEED}")
    world = World(env, draw)
    world.build()
    await env.start()
    host = RootComplex(env, Random(draw.random()))
    faults = translations = 0
    reasons: set[int] = set()
    for number in range(ROUNDS):
        set_pace(env, draw)
        tags = list(range(256))
        sent = [world.tlp(tags) for _ in range(TLPS)]
        answers = [expected(env, tlp) for tlp in sent]
        left = [answer for answer in answers if not isinstance(answer, Refused)]
        refused = [(tlp, a) for tlp, a in zip(sent, answers, strict=True) if isinstance(a, Refused)]
        answered = [refusal(tlp) for tlp, _ in refused if tlp.kind == MRD]
        for stream in (env.mem_up.seen, env.dev_dn.seen, host.completions):
            stream.clear()
        stop: list[bool] = []
        disturber = cocotb.start_soon(disturb(env, Random(draw.random()), stop))
        await env.send(*sent)
        await env.until(f"round {number}: {len(left)} TLPs to leave", more(env.mem_up, len(left)))
        stop.append(True)
        await disturber
        await env.until("the root complex", lambda: not host.out())
        downs = len(answered) + len(host.completions)
        await env.until(f"{downs} completions", more(env.dev_dn, downs))
        faults += len(refused)
        for _ in range(200):
            if await env.read(Iommu.FAULTS) >= faults:
                break
            await env.cycles(100)
        await env.cycles(400)

        assert streams(env.mem_up.tlps()) == streams(left)
        check_completions(sent, [not isinstance(answer, Refused) for answer in answers], env.mem_up.tlps())
        assert [tlp for tlp in env.dev_dn.tlps() if tlp.kind == CPLD] == host.completions
        got = [tlp for tlp in env.dev_dn.tlps() if tlp.kind == CPL]
        assert sorted(got, key=lambda tlp: tlp.tag) == sorted(answered, key=lambda tlp: tlp.tag)
        translations += sum(not untranslated(tlp) for tlp in sent)
        assert await env.read(Iommu.FAULTS) == faults
        assert await env.read(Iommu.TRANSLATIONS) == translations
        loud = {Record(tlp.address & ~0xFFF, tlp.sid, a.reason, tlp.kind == MRD) for tlp, a in refused if not a.quiet}
        recorded = await env.records()
        assert set(recorded) <= loud and bool(recorded) == bool(loud)
        reasons |= {a.reason for _, a in refused}
        await env.write(Iommu.FSTS, Iommu.FSTS_PFO_M)
        world.build()
        await env.invalidate(context_inval(1), iotlb_inval(1, reads=True))
    print(f"{translations} translations, {faults} faults of reasons {sorted(reasons)}")
    assert faults and translations > faults


@cocotb.test
async def revocation_under_traffic(dut: Any) -> None:
    """Contract of a revocation: when unmap and a flush with drain are done, no request to the page leaves any more, no
    read of it is out and no write of it has still to land; other pages and requesters go on."""
    env = Bench(dut, cocotb.RANDOM_SEED)
    draw = env.random
    print(f"seed {cocotb.RANDOM_SEED}")
    sids = {0x0101: env.tables.domain(5), 0x0102: env.tables.domain(5), 0x0103: env.tables.domain(6)}
    for sid, domain in sids.items():
        env.tables.attach(sid, domain)
    pages: dict[tuple[int, int], int] = {}
    fresh = iter(range(0x800000, 0x8000000, PAGE))

    def remap(did: int, iova: int) -> None:
        pages[did, iova] = next(fresh)
        env.tables.map(env.tables.domain(did), iova, pages[did, iova])

    for did in (5, 6):
        for iova in range(0x10000, 0x16000, PAGE):
            remap(did, iova)
    await env.start()
    set_pace(env, draw)
    env.walks.delay = lambda: draw.randrange(1, 120)
    host = RootComplex(env, Random(draw.random()))
    dead: set[int] = set()
    late: list[Tlp] = []
    free = list(range(256))

    def left(seen: Seen) -> None:
        if seen.tlp.address & ~0xFFF in dead:
            late.append(seen.tlp)

    def arrived(seen: Seen) -> None:
        if seen.tlp.kind == CPL or seen.tlp.byte_count == len(seen.tlp.data):
            free.append(seen.tlp.tag)

    env.mem_up.add_callback(left)
    env.dev_dn.add_callback(arrived)

    async def traffic() -> None:
        while True:
            sid = draw.choice(list(sids))
            address = draw.choice([iova for did, iova in pages if did == sids[sid].did]) + draw.randrange(16) * 64
            if free and draw.random() < 0.6:
                await env.send(Tlp(MRD, sid, free.pop(0), address, 16, last_be=15))
            else:
                await env.send(Tlp(MWR, sid, 0, address, 16, last_be=15, data=draw.randbytes(64)))

    cocotb.start_soon(traffic())
    for _ in range(60):
        await env.cycles(draw.randrange(100, 300))
        did, iova = draw.choice(list(pages))
        old = pages[did, iova]
        env.memory.write64(env.tables.entry(env.tables.domain(did), iova, 1), 0)
        flush = draw.choice(
            [
                iotlb_inval(3, did, iova, reads=True, writes=True),
                iotlb_inval(2, did, reads=True, writes=True),
                iotlb_inval(1, reads=True, writes=True),
            ]
        )
        await env.invalidate(flush)
        dead.add(old)
        assert [tlp for tlp in host.out() if tlp.address & ~0xFFF == old] == []
        await env.cycles(draw.randrange(0, 200))
        remap(did, iova)
    assert late == []
    used = {seen.tlp.address & ~0xFFF for seen in env.mem_up.seen}
    assert len(used & dead) > 40 and await env.read(Iommu.FAULTS) > 10, "pages were in use and were refused"
