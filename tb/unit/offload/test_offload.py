"""Checksum insertion and the headers of TSO segments, against frames that scapy has built."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import product
from typing import Any, Final

import cocotb
from scapy.layers.inet import IP, TCP, IPOption_NOP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet
from scapy.utils import checksum

from tb.packets import Bulk, bulk, checksum_sample, link
from tb.unit.offload.bench import SEGMENT, TB, Job
from tb.unit.streams import PATTERNS

FRAMES: Final = 15
FLAGS: Final = "FSRPAUEC"


async def begin(dut: Any, **options: Any) -> TB:
    bench = TB(dut.u_offload, random.Random(cocotb.RANDOM_SEED), **options)
    await bench.start()
    return bench


def plain(data: bytes, start: int, place: int) -> Job:
    """A checksum anywhere; scapy adds up."""
    value = checksum(data[start:]) or 0xFFFF
    return Job(data, data[:place] + value.to_bytes(2, "big") + data[place + 2 :], start, place)


def chain(head: Packet, mss: int, payload: bytes) -> Bulk:
    """A TCP chain with these headers; lengths and checksums of its template are wrong."""
    template = head.copy()
    layer = template[IP] if IP in template else template[IPv6]
    layer.setfieldval("len" if IP in template else "plen", 0x1234)
    if IP in template:
        layer.chksum = 0x5678
    template[TCP].chksum = 0x9ABC
    data = bytes(template)
    tcp = len(bytes(template[TCP]))
    return Bulk(head, data, payload, mss, tcp if IPv6 in head else len(data) - tcp, IPv6 in head)


def a_chain(rng: random.Random, flags: str = "PA", **tcp: Any) -> Bulk:
    """Three segments over IPv4."""
    head = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src="10.0.0.1", dst="10.0.0.2", id=7) / TCP(flags=flags, **tcp)
    return chain(head, 40, rng.randbytes(101))


@cocotb.test
async def edges(dut: Any) -> None:
    """Start, field and length of either parity, the field in each lane of a word and across two, sums of one byte."""
    bench = await begin(dut)
    rng = bench.random
    for start, place, odd in product((12, 13), range(16, 25), (0, 1)):
        bench.jobs.append(plain(rng.randbytes(60 + odd), start, place))
    for length in (20, 21, 27, 28):
        bench.jobs.append(plain(rng.randbytes(length), length - 1, length - 2))
        bench.jobs.append(plain(rng.randbytes(length), length - 2, 0))
        bench.jobs.append(plain(rng.randbytes(length), 0, length - 2))
    await bench.finish()


@cocotb.test
async def sums(dut: Any) -> None:
    """A sum of zero, or of ones, is stored as 0xFFFF; carries run from end to end."""
    bench = await begin(dut)
    for data in (bytes(64), b"\xff" * 64, b"\xff" * 63, bytes(62) + b"\xff\xff", bytes(20) + b"\xff\xfe\0\x01" + bytes(9), b"\xff\0" * 30,
                 b"\0\xff" * 30 + b"\0"):
        for start in (0, 1, 2, 17):
            bench.jobs.append(plain(data, start, 30))
    await bench.finish()
    assert any(frame[30:32] == b"\xff\xff" for _, frame, _ in bench.buffer.left)


@cocotb.test
async def in_time(dut: Any) -> None:
    """A frame with a checksum may leave 2 cycles later, 3 when the field lies across two words; a segment 9 cycles later
    and one for each 2 bytes of its header."""
    bench = await begin(dut)
    rng = bench.random
    for place in range(16, 24):
        bench.jobs.append(plain(rng.randbytes(80), 14, place))
        await bench.finish()
        assert bench.buffer.left[-1][2] == (3 if place % 8 == 7 else 2), f"field at {place}: {bench.buffer.left[-1][2]} cycles"
    for _ in range(6):
        job = bulk(rng, link(rng, 1), 100, 250)
        bench.jobs.append(Job.tso(job, 1))
        await bench.finish()
        assert bench.buffer.left[-1][2] == 9 + len(job.header) // 2


@cocotb.test
@cocotb.parametrize(tag=[False, True], ipv6=[False, True])
async def headers(dut: Any, tag: bool, ipv6: bool) -> None:
    """With a tag or none, IPv4 with every length of options or IPv6, TCP with every length of options; the first, a middle
    and the last segment, where sequence number and identification wrap."""
    bench = await begin(dut)
    rng = bench.random
    for network_words, tcp_words in (*zip(range(11), reversed(range(11)), strict=True), (10, 10)):
        head: Packet = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
        if tag:
            head /= Dot1Q(vlan=rng.randrange(1, 4095), prio=rng.randrange(8))
        if ipv6:
            head /= IPv6(src="2001:db8::1", dst="2001:db8::ffff", tc=rng.randrange(256), fl=rng.randrange(1 << 20))
        else:
            head /= IP(src="10.0.0.1", dst="10.255.0.2", id=0xFFFF, tos=rng.randrange(256), flags="DF",
                       options=[IPOption_NOP()] * 4 * network_words)
        head /= TCP(flags="CEPFA", seq=0xFFFF_FFC0, ack=rng.getrandbits(32), window=rng.getrandbits(16),
                    options=[("NOP", None)] * 4 * tcp_words)
        job = chain(head, 60 + tcp_words % 2, rng.randbytes(150))
        bench.jobs.extend(Job.tso(job, n) for n in range(job.count))
    await bench.finish()
    assert len(bench.buffer.left) == 36


@cocotb.test
async def flags(dut: Any) -> None:
    """FIN and PSH leave with the last segment only, CWR with the first only, every other flag with all; a chain of one
    segment keeps all."""
    bench = await begin(dut)
    for flag in (*FLAGS, FLAGS):
        job = a_chain(bench.random, flag)
        bench.jobs.extend(Job.tso(job, n) for n in range(job.count))
        bench.jobs.append(Job.tso(replace(job, payload=job.payload[:40]), 0))
    await bench.finish()


@cocotb.test
async def far(dut: Any) -> None:
    """A segment late in a chain: its number and the payload before it, of 16 and 32 bits, are added as they are."""
    bench = await begin(dut)
    rng = bench.random
    for number, before in ((0xFFFF, 1), (1, 0xFFFF_FFFF), (0x8000, 0x8000_0000), (255, 0xFFFF), (256, 0x1_0000)):
        job = a_chain(rng)
        late = job.head.copy()
        late[IP].id, late[TCP].seq, late[TCP].flags = (7 + number) % (1 << 16), before, "A"
        late = late / job.payload[:40]
        record = SEGMENT.pack(header=len(job.header), start=job.cksum_offset, number=number, bytes=before)
        bench.jobs.append(Job(job.header + job.payload[:40], bytes(late), segment=record))
    await bench.finish()


def spoiled(job: Bulk, tagged: bool) -> list[Job]:
    """Its first segment, with each mistake that a header can have."""
    good = Job.tso(job, 0)
    network = 18 if tagged else 14
    tcp = job.tcp_offset

    def changed(at: int, value: int) -> Job:
        return replace(good, data=good.data[:at] + bytes([value]) + good.data[at + 1 :], expected=None)

    def told(**fields: int) -> Job:
        assert good.segment is not None
        return replace(good, segment=SEGMENT.pack(**SEGMENT.unpack(good.segment) | fields), expected=None)

    one = [changed(network - 1, 0x06), changed(network - 2, 0x09), changed(network, job.header[network] ^ 0x20),
           changed(tcp + 12, 0x40), changed(tcp + 12, job.header[tcp + 12] + 0x10), changed(network + (6 if job.ipv6 else 9), 17),
           told(start=job.cksum_offset + 2), told(start=job.cksum_offset - 1), told(header=len(job.header) - 1),
           told(header=len(job.header) + 2), told(header=52), told(header=140), told(header=1024)]
    if not job.ipv6:
        one += [changed(network, 0x44), changed(network, job.header[network] + 1), changed(network + 6, 0x20), changed(network + 7, 0x01),
                changed(network + 6, 0x10)]
    return one


def short(rng: random.Random) -> list[Job]:
    """An IPv4 header of 16 bytes, and a TCP header of 16, in which all else fits."""
    head = bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(options=[IPOption_NOP()] * 4) / TCP(options=[("NOP", None)] * 4))
    link_layer, network, tcp = head[:14], head[14:38], head[38:]
    record = {"first": 1, "header": 54}
    return [Job(link_layer + b"\x44" + network[1:16] + tcp + rng.randbytes(40), None, segment=SEGMENT.pack(start=30, **record)),
            Job(link_layer + network + tcp[:12] + b"\x40" + tcp[13:16] + rng.randbytes(40), None, segment=SEGMENT.pack(start=38, **record))]


@cocotb.test
async def refused(dut: Any) -> None:
    """A header that is not one of those that can be edited is refused, and not a byte of its frame changes; the frames
    beside it lose nothing."""
    bench = await begin(dut)
    rng = bench.random
    total = 0
    for tagged, ipv6 in product((False, True), (False, True)):
        while True:
            job = bulk(rng, link(rng, 3), 90, 200)
            if (job.header[12:14] == b"\x81\0", job.ipv6) == (tagged, ipv6) and len(job.header) < 90:
                break
        good = Job.tso(job, rng.randrange(job.count))
        for bad in (*spoiled(job, tagged), *short(rng)):
            bench.jobs.extend((bad, good))
            total += 1
    await bench.finish()
    assert bench.buffer.failed == total and len(bench.buffer.left) == 2 * total


@cocotb.test
async def broken(dut: Any) -> None:
    """A frame that is closed with an error is not edited, and its slot starts anew with the next frame."""
    bench = await begin(dut, most=2)
    for n in range(40):
        job = Job.tso(a_chain(bench.random), n % 3) if n % 2 else plain(bench.random.randbytes(70), 14, 30)
        bench.jobs.extend((replace(job, bad=True), job))
    await bench.finish()
    assert len(bench.buffer.left) == 40 and not bench.buffer.failed


@cocotb.test
@cocotb.parametrize(idle=["always", "bursts"], pressure=list(PATTERNS))
async def traffic(dut: Any, idle: str, pressure: str) -> None:
    """Checksums and segments of all kinds side by side, bytes in any order, edits that wait: each frame leaves as scapy
    builds it."""
    bench = await begin(dut, idle=idle, pressure=pressure, most=12)
    rng = bench.random
    for _ in range(FRAMES):
        kind = rng.randrange(4)
        if kind == 0:
            data = rng.randbytes(rng.randint(20, 200))
            bench.jobs.append(plain(data, rng.randrange(len(data)), rng.randrange(len(data) - 1)))
        elif kind == 1:
            bench.jobs.append(Job.checksum(checksum_sample(rng, link(rng, 1), rng.choice((120, 400)))))
        else:
            job = bulk(rng, link(rng, 1), rng.randint(1, 150), rng.randint(1, 400))
            bench.jobs.extend(Job.tso(job, n) for n in {0, rng.randrange(job.count), job.count - 1})
    await bench.finish()
