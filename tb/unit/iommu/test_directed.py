"""Directed tests of the IOMMU: each names the property it protects. Expected values come from `reference.walk`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cocotb

from sw.abi.registers import Iommu
from tb.unit.iommu.bench import Bench, Record, completion, context_inval, iotlb_inval
from tb.unit.iommu.reference import GIB1, MIB2, PAGE, READ, WRITE, Refused, Tables, walk
from tb.unit.tlp import CPL, CPLD, MRD, MWR, Tlp, read, refusal, write

A, B = 0x0101, 0x0102
HIT_CYCLES = 3
IOVA = 0x7_4000_2000
LOW = 0x4000_2000


async def bench(dut: Any, *, enable: bool = True) -> Bench:
    made = Bench(dut, cocotb.RANDOM_SEED)
    await made.start(enable=enable)
    return made


def payload(count: int, start: int = 0) -> bytes:
    """Bytes where a shifted one shows."""
    return bytes((start + i * 7) & 0xFF for i in range(count))


async def check(env: Bench, tlp: Tlp) -> None:
    """One request alone does what the reference says, and leaves the record that it says."""
    crosses = tlp.address % PAGE + tlp.length * 4 > PAGE
    answer = walk(
        env.memory,
        env.tables.root,
        tlp.sid,
        tlp.address,
        write=tlp.kind == MWR,
        blocked=crosses or tlp.at != 0,
        short=not tlp.long,
    )
    out = await env.outcome(tlp)
    records = await env.records()
    if isinstance(answer, Refused):
        assert out is None, f"{tlp} should be refused with reason {answer.reason}, but left as {out}"
        expected = [] if answer.quiet else [Record(tlp.address & ~0xFFF, tlp.sid, answer.reason, tlp.kind == MRD)]
        assert records == expected
    else:
        assert out == tlp.moved(answer.address)
        assert records == []


async def check_both(env: Bench, sid: int, iova: int) -> None:
    """A read and a write, each cold and then warm."""
    for _ in range(2):
        await check(env, read(sid, 9, iova, 16))
        await check(env, write(sid, iova, payload(64)))


def reason_of(env: Bench, tlp: Tlp) -> int:
    """What the reference says: a test that means to provoke a reason checks that it does."""
    crosses = tlp.address % PAGE + tlp.length * 4 > PAGE
    answer = walk(
        env.memory,
        env.tables.root,
        tlp.sid,
        tlp.address,
        write=tlp.kind == MWR,
        blocked=crosses or tlp.at != 0,
        short=not tlp.long,
    )
    return answer.reason if isinstance(answer, Refused) else 0


# ---------------------------------------------------------------------------------------------- passing
@cocotb.test
async def disabled_passes_unchanged(dut: Any) -> None:
    """Translation off: every TLP leaves as it came, after the fixed latency."""
    env = await bench(dut, enable=False)
    sent = [
        read(A, 1, IOVA),
        write(B, LOW, payload(256)),
        Tlp(CPLD, 0x0100, 3, length=1, data=payload(4), requester=0, byte_count=4),
        write(A, IOVA, payload(4)),
        Tlp(CPL, 0x0100, 3, requester=0, status=1, byte_count=4),
    ]
    await env.send(*sent)
    await env.until("all to leave", lambda: len(env.mem_up.seen) == len(sent))
    assert env.mem_up.tlps() == sent
    assert env.mem_up.seen[0].cycles[0] - env.up.taken[0][0] == HIT_CYCLES
    assert await env.read(Iommu.TRANSLATIONS) == 0


@cocotb.test
async def hit_latency_is_constant(dut: Any) -> None:
    """Every beat of a hit leaves exactly HIT_CYCLES after it came, back to back, whatever the TLP is."""
    env = await bench(dut)
    domain = env.tables.domain(5)
    env.tables.attach(A, domain)
    env.tables.map(domain, IOVA, 0x9000)
    env.tables.map(domain, LOW, 0xA000)
    await env.outcome(read(A, 0, IOVA))
    await env.outcome(read(A, 0, LOW))
    env.up.taken.clear()
    env.mem_up.seen.clear()
    sent = []
    for base in (IOVA, LOW):
        sent += [read(A, 1, base, 128), read(A, 2, base), read(A, 3, base + 64, 16)]
        sent += [write(A, base + size % 64 * 4, payload(4 * size)) for size in range(1, 65)]
    await env.send(*sent)
    await env.until("all to leave", lambda: len(env.mem_up.seen) == len(sent))
    assert env.mem_up.tlps() == [tlp.moved((0x9000 if tlp.long else 0xA000) + tlp.address % PAGE) for tlp in sent]
    came = [cycle for cycle, _ in env.up.taken]
    left = [cycle for seen in env.mem_up.seen for cycle in seen.cycles]
    assert [b - a for a, b in zip(came, left, strict=True)] == [HIT_CYCLES] * len(came)
    assert came == list(range(came[0], came[0] + len(came))), "one beat a cycle goes in"
    assert await env.read(Iommu.TRANSLATIONS) == len(sent) + 2
    assert await env.read(Iommu.IOTLB_MISSES) == 2


@cocotb.test
async def allowed_read_and_write(dut: Any) -> None:
    """A mapped page is read and written, cold and warm, with 3-DW and 4-DW headers, which keep their size."""
    env = await bench(dut)
    domain = env.tables.domain(5)
    env.tables.attach(A, domain)
    env.tables.map(domain, IOVA, 0x123000)
    env.tables.map(domain, LOW, 0x456000)
    await check_both(env, A, IOVA)
    await check_both(env, A, LOW)
    await check(env, read(A, 200, LOW, 1024))
    assert len(env.walks.walk_reads()) == 6 + 4, "cold: root, context and four levels; then four levels"


@cocotb.test
async def pass_through(dut: Any) -> None:
    """Translation type 2: the address is unchanged; wider than 48 bits it faults."""
    env = await bench(dut)
    env.tables.attach(A, env.tables.domain(5), kind=2)
    await check_both(env, A, IOVA)
    assert len(env.walks.walk_reads()) == 2
    await check(env, read(A, 9, 1 << 48))
    await check(env, read(A, 9, 0x1000 + PAGE - 4, 2))


@cocotb.test
async def interrupt_window(dut: Any) -> None:
    """Writes to 0xFEE00000-0xFEEFFFFF are not translated; the pages beside it, and reads of it, are."""
    env = await bench(dut)
    env.tables.attach(A, env.tables.domain(5))
    for address in (0xFEE0_0000, 0xFEEF_FFFC):
        assert await env.outcome(write(A, address, payload(4))) == write(A, address, payload(4))
    for tlp in (
        write(A, 0xFEDF_FFFC, payload(4)),
        write(A, 0xFEF0_0000, payload(4)),
        read(A, 1, 0xFEE0_0000),
        write(A, 0x1_FEE0_0000, payload(4)),
    ):
        assert reason_of(env, tlp) in (5, 6)
        await check(env, tlp)


# ---------------------------------------------------------------------------------------------- faults
Setup = Callable[[Tables], int]
"""Breaks the tables for requester A; returns the address to use."""


def mapped(tables: Tables, permission: int = READ | WRITE, iova: int = IOVA) -> int:
    domain = tables.domain(5)
    tables.attach(A, domain)
    return tables.map(domain, iova, 0x123000, permission)


def patched(where: Callable[[Tables], int], change: Callable[[int], int]) -> Setup:
    """A good mapping of which one 8-byte word is changed."""

    def setup(tables: Tables) -> int:
        mapped(tables)
        at = where(tables)
        tables.memory.write64(at, change(tables.memory.read64(at)) & (1 << 64) - 1)
        return IOVA

    return setup


def level(number: int) -> Callable[[Tables], int]:
    return lambda tables: tables.entry(tables.domain(5), IOVA, number)


def permission(bits: int) -> Setup:
    def setup(tables: Tables) -> int:
        mapped(tables, bits)
        return IOVA

    return setup


def other(iova: int) -> Setup:
    def setup(tables: Tables) -> int:
        mapped(tables)
        return iova

    return setup


OUTSIDE = 1 << 40
FAULTS: dict[str, tuple[Setup, int, int]] = {
    # name: (set-up, reason of a read, reason of a write); 0: allowed
    "read_only": (permission(READ), 0, 5),
    "write_only": (permission(WRITE), 6, 0),
    "absent": (permission(0), 6, 5),
    "absent_table": (other(IOVA + (1 << 39)), 6, 5),
    "root_absent": (patched(lambda t: t.root_entry(A), lambda _: 0), 1, 1),
    "context_absent": (patched(lambda t: t.context_entry(A), lambda v: v & ~1), 2, 2),
    "width_3_level": (patched(lambda t: t.context_entry(A) + 8, lambda v: v - 1), 3, 3),
    "width_5_level": (patched(lambda t: t.context_entry(A) + 8, lambda v: v + 1), 3, 3),
    "type_device_tlb": (patched(lambda t: t.context_entry(A), lambda v: v | 4), 3, 3),
    "type_reserved": (patched(lambda t: t.context_entry(A), lambda v: v | 12), 3, 3),
    "beyond_width": (other(1 << 48 | IOVA), 4, 4),
    "far_beyond_width": (other(1 << 63 | IOVA), 4, 4),
    "table_unreadable": (patched(level(4), lambda v: v | OUTSIDE), 7, 7),
    "leaf_table_unreadable": (patched(level(2), lambda v: v | OUTSIDE), 7, 7),
    "context_unreadable": (patched(lambda t: t.root_entry(A), lambda v: v | OUTSIDE), 9, 9),
    "root_reserved": (patched(lambda t: t.root_entry(A), lambda v: v | 2), 10, 10),
    "root_reserved_high": (patched(lambda t: t.root_entry(A) + 8, lambda _: 1), 10, 10),
    "context_reserved": (patched(lambda t: t.context_entry(A), lambda v: v | 1 << 7), 11, 11),
    "context_reserved_high": (patched(lambda t: t.context_entry(A) + 8, lambda v: v | 1 << 24), 11, 11),
    "level4_superpage": (patched(level(4), lambda v: v | 0x80), 12, 12),
    "level4_snoop": (patched(level(4), lambda v: v | 0x800), 12, 12),
    "leaf_snoop": (patched(level(1), lambda v: v | 0x800), 12, 12),
    "leaf_transient": (patched(level(1), lambda v: v | 1 << 62), 12, 12),
    "misaligned_2m": (patched(level(2), lambda _: 0x0123_0000 + PAGE | 0x83), 12, 12),
    "misaligned_1g": (patched(level(3), lambda _: MIB2 | 0x83), 12, 12),
    "level4_read_only": (patched(level(4), lambda v: v & ~WRITE), 0, 5),
    "level3_write_only": (patched(level(3), lambda v: v & ~READ), 6, 0),
    "level2_read_only": (patched(level(2), lambda v: v & ~WRITE), 0, 5),
    "disjoint_permissions": (patched(level(3), lambda v: v & ~WRITE), 0, 5),
    "ignored_bits": (patched(level(1), lambda v: v | 0x700 | 0x3FF << 52 | 1 << 63), 0, 0),
}


@cocotb.test
@cocotb.parametrize(case=list(FAULTS))
async def fault(dut: Any, case: str) -> None:
    """Each broken table gives its reason, record and answer, cold and warm; the neighbour B is not touched."""
    env = await bench(dut)
    setup, read_reason, write_reason = FAULTS[case]
    iova = setup(env.tables)
    assert reason_of(env, read(A, 9, iova, 16)) == read_reason
    assert reason_of(env, write(A, iova, payload(64))) == write_reason
    if not case.startswith("root") and case != "context_unreadable":
        env.tables.attach(B, env.tables.domain(6))
        env.tables.map(env.tables.domain(6), IOVA, 0x77000)
        await check_both(env, B, IOVA)
    await check_both(env, A, iova)
    faults = 2 * (bool(read_reason) + bool(write_reason))
    assert await env.read(Iommu.FAULTS) == faults


@cocotb.test
async def root_table_unreadable(dut: Any) -> None:
    """Reason 8, when the root table itself is outside memory; the new pointer counts only after SRTP."""
    env = await bench(dut)
    mapped(env.tables)
    await env.write(Iommu.RTADDR_HI, 1)
    await check(env, read(B, 1, IOVA))
    await env.write(Iommu.GCMD, Iommu.GCMD_QIE_M | Iommu.GCMD_TE_M | Iommu.GCMD_SRTP_M)
    env.tables.root |= 1 << 32
    tlp = read(A, 1, IOVA)
    assert reason_of(env, tlp) == 8
    await check(env, tlp)


@cocotb.test
async def blocked_requests(dut: Any) -> None:
    """Reason 13: a request that crosses its page, or that claims to be translated; half of one never passes."""
    env = await bench(dut)
    mapped(env.tables)
    env.tables.map(env.tables.domain(5), IOVA + PAGE, 0x124000)
    for tlp in (
        read(A, 9, IOVA + PAGE - 4, 2),
        write(A, IOVA + PAGE - 252, payload(256)),
        read(A, 9, IOVA + 4, 1024),
        read(A, 9, IOVA, at=2),
        write(A, IOVA, payload(4), at=1),
    ):
        assert reason_of(env, tlp) == 13
        await check(env, tlp)
        await check(env, read(A, 9, IOVA + PAGE - 8, 2))
        await check(env, tlp)


@cocotb.test
async def high_address_behind_short_header(dut: Any) -> None:
    """A machine address above 4 GiB does not fit a 3-DW header: refused (12), never cut off. A 4-DW one passes."""
    env = await bench(dut)
    domain = env.tables.domain(5)
    env.tables.attach(A, domain)
    env.tables.map(domain, LOW, 0x5_6789_A000)
    for _ in range(2):
        tlp = read(A, 9, LOW)
        assert reason_of(env, tlp) == 12
        await check(env, tlp)
        await check(env, Tlp(MRD, A, 9, LOW, 1, long=True))


@cocotb.test
async def requester_not_in_root_table(dut: Any) -> None:
    """Another bus has no root entry: reason 1."""
    env = await bench(dut)
    mapped(env.tables)
    await check(env, read(0x0501, 1, IOVA))
    await check_both(env, A, IOVA)


@cocotb.test
async def fault_processing_disable(dut: Any) -> None:
    """FPD: faults are answered and counted, not recorded; cold, warm and with an absent context."""
    env = await bench(dut)
    env.tables.attach(A, env.tables.domain(5), fpd=1)
    env.tables.map(env.tables.domain(5), IOVA, 0x9000, READ)
    await check_both(env, A, IOVA)
    at = env.tables.context_entry(B)
    env.memory.write64(at, 2)
    await check(env, read(B, 1, IOVA))
    assert await env.read(Iommu.FAULTS) == 3


@cocotb.test
async def refused_read_byte_counts(dut: Any) -> None:
    """A UR completion carries byte count and lower address of the read's byte enables, its tag, class, attributes."""
    env = await bench(dut)
    env.tables.attach(A, env.tables.domain(5))
    sent = [Tlp(MRD, A, tag, IOVA + 0x7C - 4 * (tag % 3), 1, first_be=tag, long=True) for tag in range(16)]
    sent += [
        Tlp(MRD, A, 16 + n, IOVA + 8, length, first_be=first, last_be=last, tc=5, attr=n % 8, long=True)
        for n, (length, first, last) in enumerate([(2, 15, 15), (2, 8, 1), (3, 14, 7), (64, 12, 3), (512, 4, 2)])
    ]
    sent += [read(A, 30, IOVA, 1024)]
    for tlp in sent:
        assert await env.outcome(tlp) is None
    assert env.dev_dn.tlps() == [refusal(tlp) for tlp in sent]


@cocotb.test
async def fault_records_overflow(dut: Any) -> None:
    """Eight records in order from the oldest; the ninth fault sets PFO and is lost, as are all until PFO is cleared."""
    env = await bench(dut)
    env.tables.attach(A, env.tables.domain(5))
    await env.write(Iommu.FECTL, 0)

    async def provoke(count: int, first: int) -> list[Record]:
        for n in range(first, first + count):
            assert await env.outcome(write(A, IOVA + n * PAGE, payload(4))) is None
        return [Record(IOVA + n * PAGE, A, 5, False) for n in range(first, first + count)]

    assert int(dut.fault_irq_o.value) == 0
    expected = await provoke(5, 0)
    assert int(dut.fault_irq_o.value) == 1
    assert await env.records() == expected
    assert int(dut.fault_irq_o.value) == 0
    expected = await provoke(8, 10)
    status = await env.read(Iommu.FSTS)
    assert status == Iommu.FSTS_PPF_M | 5 << Iommu.FSTS_FRI_S, "oldest record is the one after the five taken"
    await provoke(2, 20)
    assert await env.read(Iommu.FSTS) == status | Iommu.FSTS_PFO_M
    assert await env.records() == expected
    await provoke(1, 30)
    assert await env.records() == [], "nothing is recorded while PFO is set"
    await env.write(Iommu.FSTS, Iommu.FSTS_PFO_M)
    assert await env.read(Iommu.FSTS) & Iommu.FSTS_PFO_M == 0
    expected = await provoke(1, 40)
    assert await env.records() == expected
    assert await env.read(Iommu.FAULTS) == 17
    await env.write(Iommu.FECTL, Iommu.FECTL_IM_M)
    await provoke(1, 50)
    assert int(dut.fault_irq_o.value) == 0, "masked"


# ---------------------------------------------------------------------------------------------- superpages
@cocotb.test
async def superpages(dut: Any) -> None:
    """2 MiB and 1 GiB leaves translate every page below them, from one cached entry each."""
    env = await bench(dut)
    domain = env.tables.domain(5)
    env.tables.attach(A, domain)
    env.tables.map(domain, 3 * GIB1, 0, size=GIB1)
    env.tables.map(domain, 5 * MIB2, 7 * MIB2, size=MIB2)
    for iova in (3 * GIB1, 3 * GIB1 + 0x0FED_CBA8, 4 * GIB1 - 64, 5 * MIB2, 5 * MIB2 + 0x12_3440, 6 * MIB2 - 64):
        await check_both(env, A, iova)
    assert await env.read(Iommu.IOTLB_MISSES) == 2
    await check(env, read(A, 1, 5 * MIB2 - 4))
    await check(env, read(A, 1, 6 * MIB2))
    await check(env, read(A, 1, 3 * GIB1 - 4))


# ---------------------------------------------------------------------------------------------- caches and invalidation
@cocotb.test
async def stale_iotlb_until_flushed(dut: Any) -> None:
    """An unmapped page still hits until its flush; not-present entries are never cached (caching mode off)."""
    env = await bench(dut)
    at = mapped(env.tables)
    good = read(A, 1, IOVA)
    moved = good.moved(0x123000)
    assert await env.outcome(good) == moved
    old = env.memory.read64(at)
    env.memory.write64(at, 0)
    assert await env.outcome(good) == moved, "the stale entry is visible as a hit"
    await env.invalidate(iotlb_inval(3, 5, IOVA))
    await check(env, good)
    env.memory.write64(at, old)
    assert await env.outcome(good) == moved, "absent to present needs no flush"


@cocotb.test
async def flush_granularities(dut: Any) -> None:
    """Global, domain and page-selective flushes drop what they name and nothing else."""
    env = await bench(dut)
    pages = {}
    for sid, did in ((A, 5), (B, 6)):
        domain = env.tables.domain(did)
        env.tables.attach(sid, domain)
        for n in range(4):
            env.tables.map(domain, IOVA + n * PAGE, 0x100000 + did * 0x10000 + n * PAGE)
            pages[sid, n] = read(sid, 1, IOVA + n * PAGE)
        env.tables.map(domain, 8 * MIB2, 0, size=MIB2)
        pages[sid, 4] = read(sid, 1, 8 * MIB2 + 0x5000)

    async def missing() -> set[tuple[int, int]]:
        """Which of the pages are walked again; all are cached afterwards."""
        found = set()
        for key, tlp in pages.items():
            before = await env.read(Iommu.IOTLB_MISSES)
            assert await env.outcome(tlp) is not None
            if await env.read(Iommu.IOTLB_MISSES) != before:
                found.add(key)
        return found

    everything = set(pages)
    assert await missing() == everything
    assert await missing() == set()
    await env.invalidate(iotlb_inval(2, 5))
    assert await missing() == {(A, n) for n in range(5)}, "a domain flush leaves the other domain"
    await env.invalidate(iotlb_inval(3, 6, IOVA + PAGE))
    assert await missing() == {(B, 1)}
    await env.invalidate(iotlb_inval(3, 6, IOVA + 2 * PAGE, 1))
    assert await missing() == {(B, 2), (B, 3)}
    await env.invalidate(iotlb_inval(3, 5, 8 * MIB2 + 0x9000))
    assert await missing() == {(A, 4)}, "a superpage goes when any page of it is named"
    await env.invalidate(iotlb_inval(3, 5, 0, 18))
    assert await missing() == {(A, 4)}, "mask 18 covers the first GiB"
    await env.invalidate(iotlb_inval(1))
    assert await missing() == everything
    await env.invalidate(context_inval(1))
    assert await missing() == set(), "a context flush leaves the IOTLB, ..."
    assert len([a for a in env.walks.walk_reads() if a & ~0xFFF == env.tables.root]) == 4, "... but drops both contexts"


@cocotb.test
async def shared_domain_shares_entries(dut: Any) -> None:
    """The IOTLB is tagged by domain: a second requester of the domain hits what the first one walked."""
    env = await bench(dut)
    mapped(env.tables)
    env.tables.attach(B, env.tables.domain(5))
    await check(env, read(A, 1, IOVA))
    before = len(env.walks.walk_reads())
    await check(env, read(B, 1, IOVA))
    assert len(env.walks.walk_reads()) - before == 2, "root and context only"


@cocotb.test
async def context_flush_granularities(dut: Any) -> None:
    """A changed context counts after its flush, by domain, device and function mask; others stay cached."""
    env = await bench(dut)
    sids = [0x0100, 0x0101, 0x0102, 0x0104, 0x0107, 0x0108]
    for sid in sids:
        domain = env.tables.domain(0x20 + sid % 2)
        env.tables.attach(sid, domain)
        env.tables.map(domain, IOVA, 0x9000)

    async def missing() -> set[int]:
        found = set()
        for sid in sids:
            before = len(env.walks.walk_reads())
            assert await env.outcome(read(sid, 1, IOVA)) is not None
            if len(env.walks.walk_reads()) != before:
                found.add(sid)
        return found

    assert await missing() == set(sids)
    assert await missing() == set()
    await env.invalidate(context_inval(2, did=0x21))
    assert await missing() == {0x0101, 0x0107}
    await env.invalidate(context_inval(3, sid=0x0102))
    assert await missing() == {0x0102}
    await env.invalidate(context_inval(3, sid=0x0100, mask=1))
    assert await missing() == {0x0100, 0x0104}
    await env.invalidate(context_inval(3, sid=0x0100, mask=2))
    assert await missing() == {0x0100, 0x0102, 0x0104}
    await env.invalidate(context_inval(3, sid=0x0100, mask=3))
    assert await missing() == {0x0100, 0x0101, 0x0102, 0x0104, 0x0107}
    env.memory.write64(env.tables.context_entry(0x0108), 0)
    assert await env.outcome(read(0x0108, 1, IOVA)) is not None, "a stale context is visible as a hit"
    await env.invalidate(context_inval(1), iotlb_inval(1))
    await check(env, read(0x0108, 1, IOVA))


@cocotb.test
async def iotlb_replaces_in_turn(dut: Any) -> None:
    """65 pages do not fit 64 entries: the first one is walked again, and all stay right."""
    env = await bench(dut)
    domain = env.tables.domain(5)
    env.tables.attach(A, domain)
    for n in range(65):
        env.tables.map(domain, IOVA + n * PAGE, 0x200000 + n * PAGE)
        assert await env.outcome(read(A, 1, IOVA + n * PAGE)) == read(A, 1, IOVA).moved(0x200000 + n * PAGE)
    for n in [*range(1, 65), 0]:
        assert await env.read(Iommu.IOTLB_MISSES) == 65
        assert await env.outcome(read(A, 1, IOVA + n * PAGE)) == read(A, 1, IOVA).moved(0x200000 + n * PAGE)
    assert await env.read(Iommu.IOTLB_MISSES) == 66


@cocotb.test
async def invalidation_poisons_walks(dut: Any) -> None:
    """A walk that read its leaf before the page was unmapped and flushed neither passes nor caches it."""
    env = await bench(dut)
    at = mapped(env.tables)
    held = True
    env.walks.withheld = lambda _id, address: held and address == at & ~15
    await env.send(read(A, 1, IOVA))
    await env.until("the leaf to be read", lambda: at & ~15 in env.walks.walk_reads())
    env.memory.write64(at, 0)
    await env.invalidate(iotlb_inval(3, 5, IOVA, reads=True, writes=True))
    assert not env.mem_up.seen
    held = False
    await env.until("the refusal", lambda: bool(env.dev_dn.seen))
    assert env.dev_dn.tlps() == [refusal(read(A, 1, IOVA))] and not env.mem_up.seen
    assert await env.records() == [Record(IOVA, A, 6, True)]
    await check(env, read(A, 2, IOVA))


@cocotb.test
async def drain_reads(dut: Any) -> None:
    """With read drain the invalidation completes after the last completion of reads already translated, not before;
    reads translated later are not waited for. Without it, it completes at once."""
    env = await bench(dut)
    mapped(env.tables)
    await env.send(read(A, 1, IOVA, 64), read(A, 2, IOVA, 4))
    await env.until("both reads to leave", lambda: len(env.mem_up.seen) == 2)
    await env.invalidate(iotlb_inval(1, writes=True))
    await env.submit(iotlb_inval(1, reads=True), env.wait_descriptor())
    env.dn.append(completion(1, A, payload(128), 256))
    env.dn.append(completion(2, A, payload(16), 16))
    await env.cycles(200)
    assert not env.waited(), "half of read 1 is still out"
    await env.send(read(A, 3, IOVA))
    await env.until("the later read to leave", lambda: len(env.mem_up.seen) == 3)
    env.dn.append(completion(1, A, payload(128), 128))
    await env.until("the drain", env.waited, 300)
    await env.submit(iotlb_inval(2, 5, reads=True), env.wait_descriptor())
    await env.cycles(200)
    assert not env.waited(), "read 3 is now one of those before"
    env.dn.append(Tlp(CPL, 0, 3, requester=A, status=1, byte_count=4))
    await env.until("the drain", env.waited, 300)
    assert len(env.dev_dn.seen) == 4


@cocotb.test
async def drain_reads_to_the_byte(dut: Any) -> None:
    """A completion that leaves 1 to 3 bytes for another is not the last one, however many DWs it has."""
    env = await bench(dut)
    mapped(env.tables)
    tag = 0
    for skip in (1, 2, 3):
        for rest in range(1, skip + 1):
            tag += 1
            first_be, last_be = 0xF << skip & 0xF, 0xF >> 4 - rest
            await env.send(replace(read(A, tag, IOVA, 17), first_be=first_be, last_be=last_be))
            await env.until("the read to leave", lambda: len(env.mem_up.seen) == tag)  # noqa: B023
            await env.submit(iotlb_inval(1, reads=True), env.wait_descriptor())
            env.dn.append(completion(tag, A, payload(64), 64 - skip + rest, lower=skip))
            await env.cycles(200)
            assert not env.waited(), f"{rest} bytes of a read that begins at byte {skip} are still out"
            env.dn.append(completion(tag, A, payload(4), rest))
            await env.until("the drain", env.waited, 300)


@cocotb.test
async def drain_writes(dut: Any) -> None:
    """With write drain the invalidation completes when the writes sent before it are visible in memory."""
    env = await bench(dut)
    mapped(env.tables)
    interrupt = write(A, 0xFEE0_0000, payload(4))
    await env.send(*(write(A, IOVA, payload(64)) for _ in range(3)), interrupt)
    await env.until("the writes to leave", lambda: len(env.mem_up.seen) == 4)
    assert env.mem_up.tlps()[3] == interrupt, "it stays behind the parked writes, and is not translated there either"
    await env.invalidate(iotlb_inval(1, reads=True))
    await env.submit(iotlb_inval(1, writes=True), env.wait_descriptor())
    dut.posted_landed_i.value = 3
    await env.cycles(200)
    assert not env.waited()
    await env.send(write(A, IOVA, payload(64)))
    dut.posted_landed_i.value = 4
    await env.until("the drain", env.waited, 300)


@cocotb.test
async def queue_errors_and_wrap(dut: Any) -> None:
    """The head wraps; a bad descriptor sets IQE and stops the queue there until it is mended and IQE cleared."""
    env = await bench(dut)
    mapped(env.tables)
    for _ in range(130):
        await env.submit(iotlb_inval(1), env.wait_descriptor())
        await env.until("the queue", env.waited)
    await env.cycles(4)
    assert env.queue_tail == 4 and await env.read(Iommu.IQH_LO) == 4 * 16
    for bad in ((0, 0), (3, 0), (15, 0), (1, 0), (2, 0), iotlb_inval(3, 5, 0, 19), iotlb_inval(3, 5, 1 << 48)):
        at = env.queue_tail
        await env.write(Iommu.FECTL, 0)
        await env.submit(bad, env.wait_descriptor())
        await env.cycles(300)
        assert await env.read(Iommu.FSTS) & Iommu.FSTS_IQE_M, f"descriptor {bad} is an error"
        assert int(dut.fault_irq_o.value) == 1
        assert await env.read(Iommu.IQH_LO) == at * 16 and not env.waited()
        env.memory.write64(env.queue + at * 16, 2 | 1 << 4)
        await env.write(Iommu.FSTS, Iommu.FSTS_IQE_M)
        await env.until("the mended queue", env.waited)
        assert await env.read(Iommu.FSTS) == 0
    await env.submit((5 | 1 << 4, 0))
    await env.cycles(100)
    assert await env.read(Iommu.ICS) == Iommu.ICS_IWC_M
    await env.write(Iommu.ICS, Iommu.ICS_IWC_M)
    assert await env.read(Iommu.ICS) == 0
    await env.write(Iommu.GCMD, Iommu.GCMD_TE_M)
    assert await env.read(Iommu.GSTS) == Iommu.GSTS_TES_M | Iommu.GSTS_RTPS_M
    assert await env.read(Iommu.IQH_LO) == 0, "disabling the queue rewinds it"


@cocotb.test
async def queue_of_two_pages(dut: Any) -> None:
    """Size 1: 512 descriptors in 8 KiB."""
    env = await bench(dut, enable=False)
    await env.write(Iommu.IQA_LO, env.queue | 1)
    await env.write(Iommu.GCMD, Iommu.GCMD_QIE_M)
    env.queue_size, env.queue_tail = 512, 0
    env.memory.allocate()
    for _ in range(3):
        await env.invalidate(*[iotlb_inval(1)] * 180)
    await env.cycles(4)
    assert env.queue_tail == 543 - 512 and await env.read(Iommu.IQH_LO) == 16 * 31


# ---------------------------------------------------------------------------------------------- ordering
@cocotb.test
async def walks_block_nobody_else(dut: Any) -> None:
    """While A's walk is not answered, B's hit leaves with the latency of a hit, and C's walk completes."""
    env = await bench(dut)
    for sid, did in ((A, 5), (B, 6), (0x0103, 7)):
        env.tables.attach(sid, env.tables.domain(did))
        env.tables.map(env.tables.domain(did), IOVA, 0x100000 + did * PAGE)
    await env.outcome(read(B, 1, IOVA))
    held = True
    root_a = env.tables.domain(5).root
    env.walks.withheld = lambda _id, address: held and address & ~0xFFF == root_a
    env.up.taken.clear()
    env.mem_up.seen.clear()
    first, second, third = write(A, IOVA, payload(256)), write(B, IOVA, payload(128)), read(0x0103, 3, IOVA)
    await env.send(first, second, third)
    await env.until("B and C to leave", lambda: len(env.mem_up.seen) == 2)
    await env.cycles(100)
    assert env.mem_up.tlps() == [second.moved(0x106000), third.moved(0x107000)]
    entered = env.up.taken[len(first.beats())][0]
    assert env.mem_up.seen[0].cycles[0] - entered == HIT_CYCLES
    held = False
    await env.until("A to leave", lambda: len(env.mem_up.seen) == 3)
    assert env.mem_up.tlps()[2] == first.moved(0x105000)


@cocotb.test
async def requester_order_is_kept(dut: Any) -> None:
    """Hits of a requester stay behind its own miss; pages walked later but answered sooner do not overtake."""
    env = await bench(dut)
    domain = env.tables.domain(5)
    env.tables.attach(A, domain)
    leaves = [env.tables.map(domain, IOVA + n * MIB2, 0x100000 + n * PAGE) for n in range(4)]
    await env.outcome(read(A, 0, IOVA))
    held = True
    env.walks.withheld = lambda _id, address: held and address == leaves[1] & ~15
    sent = [
        write(A, IOVA + MIB2, payload(64)),
        read(A, 1, IOVA),
        write(A, IOVA + 2 * MIB2, payload(8)),
        write(A, IOVA + 7 * MIB2, payload(8)),
        read(A, 2, IOVA + 3 * MIB2, 16),
        write(A, IOVA + MIB2, payload(4)),
        read(A, 3, IOVA),
    ]
    env.mem_up.seen.clear()
    await env.send(*sent)
    await env.cycles(400)
    assert not env.mem_up.seen and not await env.records(), "all wait, even the one that faults"
    held = False
    await env.until("all to leave", lambda: len(env.mem_up.seen) == 6)
    pages = [1, 0, 2, None, 3, 1, 0]
    assert env.mem_up.tlps() == [
        tlp.moved(0x100000 + n * PAGE) for tlp, n in zip(sent, pages, strict=True) if n is not None
    ]
    assert await env.records() == [Record(IOVA + 7 * MIB2, A, 5, False)]
    assert await env.read(Iommu.IOTLB_MISSES) == 5, "the second write to page 1 made no walk of its own"


@cocotb.test
async def completions_stay_behind_writes(dut: Any) -> None:
    """A completion of the device leaves after every write that was sent before it, parked or not; not after reads."""
    env = await bench(dut)
    mapped(env.tables)
    env.tables.attach(B, env.tables.domain(6))
    env.tables.map(env.tables.domain(6), IOVA, 0x9000)
    held = True
    env.walks.withheld = lambda _id, _address: held
    answer = Tlp(CPLD, 0x0100, 3, length=1, data=payload(4), requester=0, byte_count=4)
    await env.send(read(B, 1, IOVA), answer)
    await env.until("the completion to pass the read", lambda: env.mem_up.tlps() == [answer])
    await env.send(write(A, IOVA, payload(16)), answer, answer)
    await env.cycles(100)
    assert len(env.mem_up.seen) == 1
    held = False
    await env.until("all to leave", lambda: len(env.mem_up.seen) == 5)
    kinds = [tlp.kind for tlp in env.mem_up.tlps() if tlp.kind != MRD]
    assert kinds == [CPLD, MWR, CPLD, CPLD]


@cocotb.test
async def full_park_stalls_and_recovers(dut: Any) -> None:
    """A seventeenth miss waits for a slot; nothing is lost or reordered within its requester."""
    env = await bench(dut)
    domain = env.tables.domain(5)
    env.tables.attach(A, domain)
    held = True
    env.walks.withheld = lambda _id, _address: held
    for n in range(24):
        env.tables.map(domain, IOVA + n * PAGE, 0x300000 + n * PAGE)
    sent = [write(A, IOVA + n * PAGE, payload(256, n)) for n in range(24)]
    for tlp in sent:
        env.up.append(tlp)
    await env.cycles(1500)
    assert env.up.sent == 16, "16 parked; the next one's first beats are in the pipeline"
    held = False
    await env.until("all to leave", lambda: len(env.mem_up.seen) == 24)
    assert env.mem_up.tlps() == [tlp.moved(0x300000 + n * PAGE) for n, tlp in enumerate(sent)]
