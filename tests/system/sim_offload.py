"""Runs in the simulator: checksum insertion and TSO, every frame against one that scapy built by itself."""

from __future__ import annotations

import os
import random
import struct
import zlib
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import cocotb
from cocotb.handle import SimHandleBase
from cocotb.triggers import gather

from hypervisor_model.hypervisor import Hypervisor
from sw.abi.registers import Form, SendDescriptor, Status
from sw.guest.tso import tso_chain
from sw.platform import PAGE_SHIFT, PAGE_SIZE
from tb.cosim.platform import HostConfig, RtlPlatform
from tb.sim.hostile import RawEndpoint
from tests.system.packets import Bulk, Sample, bulk, checksum_sample, raw_sample

PAGES: Final = 40
"""Payload pages of an endpoint, 160 KiB: no chain, or batch of frames, wastes more than half of that between its pieces."""
DESCRIPTOR: Final = struct.Struct(">QHHBBBB")
FIRST: Final = SendDescriptor.CONTROL_FIRST_M
NO_TSO: Final = SendDescriptor.CONTROL_NO_TSO_M
CKSUM: Final = SendDescriptor.CONTROL_CKSUM_M
ALIGN_ODD: Final = SendDescriptor.CONTROL_ALIGN_ODD_M
INLINE: Final = SendDescriptor.CONTROL_INLINE_M
MAX_PIECES: Final = 12
INLINE_MAX: Final = 192
BATCH: Final = 4
"""Chains in flight of one endpoint: twelve pieces of each fit a ring of 64."""


@dataclass(frozen=True)
class Chain:
    """Slots of one request, and what is to become of it."""

    slots: bytes
    status: Status
    length: int
    frames: tuple[bytes, ...]


class Sender:
    """One endpoint driven by hand, with mapped pages that it fills from the bottom up."""

    def __init__(self, endpoint: RawEndpoint, platform: RtlPlatform, number: int) -> None:
        self.endpoint, self.platform, self.number = endpoint, platform, number
        self._pages: list[tuple[memoryview, int]] = []
        self._at = 0
        self._index = 0

    @classmethod
    async def open(cls, platform: RtlPlatform, hypervisor: Hypervisor, form: Form, number: int) -> Sender:
        domain = hypervisor.create_domain(f"guest{number}", 128)
        sender = cls(await RawEndpoint.allocate(domain, form), platform, number)
        for _ in range(PAGES):
            gfn, address = await sender.endpoint.map_page(readonly=True)
            sender._pages.append((domain.memory.page(gfn), address))
        await sender.endpoint.enable()
        return sender

    def rewind(self) -> None:
        """Nothing that was placed is needed any more."""
        self._at = 0

    def place(self, data: bytes, gap: int) -> int:
        """Store a piece `gap` bytes after the last one, on the next page if it does not fit; its device address."""
        at = self._at + gap
        if at % PAGE_SIZE + len(data) > PAGE_SIZE:
            at = (at + PAGE_SIZE - 1) & -PAGE_SIZE
        page, address = self._pages[at >> PAGE_SHIFT]
        offset = at % PAGE_SIZE
        page[offset : offset + len(data)] = data
        self._at = at + len(data)
        return address + offset

    async def run(self, chains: list[Chain], batch: int) -> None:
        """Submit them, `batch` of them at a time, and hold every completion against what it must be."""
        for first in range(0, len(chains), batch):
            part = chains[first : first + batch]
            self.endpoint.index = self._index
            for chain in part:
                self.endpoint.submit(chain.slots)
                self.endpoint.index += len(chain.slots) // SendDescriptor.BYTES
            for n, chain in enumerate(part, first):
                self._index = (self._index + len(chain.slots) // SendDescriptor.BYTES) & 0xFFFF
                told = await self.endpoint.completion()
                expected = (self._index, chain.length, chain.status)
                shape = [(d[1], d[2], d[4], d[5], hex(d[6])) for d in DESCRIPTOR.iter_unpack(chain.slots)]
                assert told == expected, (f"guest {self.number} chain {n}: completion {told}, expected {expected}; "
                                          f"descriptors (MSS, length, count, offset, flags) {shape}, "
                                          f"{chain.frames[0][:140].hex() if chain.frames else 'no frame'}")


def pieces_of(rng: random.Random, data: bytes, most: int) -> list[bytes]:
    """`data` cut into 1 to `most` pieces, none longer than a page."""
    while True:
        count = rng.randint(1, min(most, len(data)))
        cuts = [0, *sorted(rng.sample(range(1, len(data)), count - 1)), len(data)]
        pieces = [data[a:b] for a, b in pairwise(cuts)]
        if max(map(len, pieces)) <= PAGE_SIZE:
            return pieces


def checksum_chain(rng: random.Random, sender: Sender, sample: Sample, *, inline: bool) -> Chain:
    """A frame with CKSUM in every descriptor, as Linux builds it."""
    flags = NO_TSO | CKSUM
    data = sample.data
    if inline:
        count = 1 + -(-len(data) // 16)
        # what stands behind the frame in its last slot must not count
        slots = DESCRIPTOR.pack(0, sample.field, len(data), 0, count, sample.start, flags | FIRST | INLINE)
        slots += data + rng.randbytes((count - 1) * 16 - len(data))
    else:
        slots = b""
        done = 0
        pieces = pieces_of(rng, data, MAX_PIECES)
        for n, piece in enumerate(pieces):
            slots += DESCRIPTOR.pack(sender.place(piece, rng.randint(0, 9)), sample.field, len(piece), 0,
                                     len(pieces) if n == 0 else 1, max(sample.start - done, 0),
                                     flags | (FIRST if n == 0 else 0) | (ALIGN_ODD if done % 2 else 0))
            done += len(piece)
    if sample.expected is None:
        return Chain(slots, Status.BAD_OFFLOAD, 0, ())
    return Chain(slots, Status.OK, len(data), (sample.expected,))


async def checksums(rng: random.Random, sender: Sender, *, inline: bool, count: int) -> list[bytes]:
    """Frames of all kinds; those that must leave, in order."""
    leave: list[bytes] = []
    for _ in range(count // BATCH):
        sender.rewind()
        chains = []
        for _ in range(BATCH):
            longest = INLINE_MAX if inline else rng.choice([300, 1514, 9014])
            sample = rng.choice([checksum_sample, checksum_sample, raw_sample])(rng, sender.number, longest)
            # the guard frame behind it, without an offload, must not be changed
            chains.append(checksum_chain(rng, sender, sample, inline=inline))
        if not inline:
            plain = rng.randbytes(4)
            data = bytes(11) + bytes([sender.number]) + plain * 20
            chains[-1] = Chain(DESCRIPTOR.pack(sender.place(data, 3), 20, len(data), 0, 1, 30, NO_TSO | FIRST), Status.OK,
                               len(data), (data,))
        await sender.run(chains, 1 if inline else BATCH)
        leave += [frame for chain in chains for frame in chain.frames]
    return leave


def cut(rng: random.Random, sender: Sender, data: bytes, sizes: list[int]) -> list[tuple[int, int]]:
    """Pieces of these sizes, in turn, at any alignment: device address and bytes."""
    pieces = []
    at = n = 0
    while at < len(data):
        piece = data[at : at + sizes[n % len(sizes)]]
        pieces.append((sender.place(piece, rng.randint(0, 9)), len(piece)))
        at += len(piece)
        n += 1
    return pieces


def tso(rng: random.Random, sender: Sender, job: Bulk, header_sizes: list[int], sizes: list[int]) -> Chain:
    slots = b"".join(tso_chain(cut(rng, sender, job.header, header_sizes), cut(rng, sender, job.payload, sizes), job.mss,
                               job.cksum_offset, ipv6=job.ipv6))
    return Chain(slots, Status.OK, len(job.segments[-1]), job.segments)


def random_tso(rng: random.Random, sender: Sender) -> Chain:
    """Any chain of at most 60 descriptors."""
    mss = rng.choice([88, 536, 1448, 8960, rng.randint(88, 8960)])
    length = rng.choice([1, mss - 1, mss, mss + 1, 2 * mss, rng.randint(1, min(12 * mss, 60_000))])
    job = bulk(rng, link(rng, sender.number), mss, length)
    sizes = [rng.choice([1, 2, mss, 2 * mss, 2048, 4096, rng.randint(1, 4096)]) for _ in range(50)]
    sizes = [min(size, PAGE_SIZE) for size in sizes]
    while count_pieces(sizes, length) > 56:
        sizes = [min(size * 2, PAGE_SIZE) for size in sizes]
    header_sizes = rng.choice([[2000], [14, 2000], [rng.randint(1, 53), 2000], [20, rng.randint(1, 30), 2000]])
    return tso(rng, sender, job, header_sizes, sizes)


def count_pieces(sizes: list[int], length: int) -> int:
    count = 0
    while length > 0:
        length -= sizes[count % len(sizes)]
        count += 1
    return count


async def chains(rng: random.Random, sender: Sender, count: int) -> list[bytes]:
    """TSO chains one by one, sometimes two at once with a plain frame behind; the frames that must leave."""
    leave: list[bytes] = []
    for _ in range(count):
        sender.rewind()
        some = [random_tso(rng, sender)]
        if len(some[0].slots) < 40 * SendDescriptor.BYTES and len(some[0].frames) < 8:
            sample = checksum_sample(rng, link(rng, sender.number), 1000)
            some.append(checksum_chain(rng, sender, sample, inline=False))
        await sender.run(some, len(some))
        leave += [frame for chain in some for frame in chain.frames]
    return leave


def collect(platform: RtlPlatform) -> dict[int, list[bytes]]:
    """Frames on the wire by the guest that they name, FCS checked and cut off."""
    found: dict[int, list[bytes]] = {}
    for frame in platform.wire_frames():
        assert zlib.crc32(frame.data[:-4]).to_bytes(4, "little") == frame.data[-4:]
        found.setdefault(frame.data[11], []).append(frame.data[:-4])
    return found


def compare(found: dict[int, list[bytes]], expected: dict[int, list[bytes]]) -> None:
    for number, frames in expected.items():
        mine = found.get(number, [])
        for n, (a, b) in enumerate(zip(mine, frames, strict=False)):
            b = b.ljust(60, b"\0")
            at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            assert a == b, (f"guest {number} frame {n}: {len(a)} bytes, expected {len(b)}, first difference at {at}: "
                            f"{a[at:at + 8].hex()}, expected {b[at:at + 8].hex()}")
        assert len(mine) == len(frames), f"guest {number}: {len(mine)} frames, expected {len(frames)}"
    assert set(found) <= set(expected)


async def checksum_case(platform: RtlPlatform, hypervisor: Hypervisor, seed: int) -> None:
    jobs = [(Form.PUSHED, False), (Form.FETCHED, False), (Form.PUSHED, True)]
    senders = [await Sender.open(platform, hypervisor, form, n) for n, (form, _) in enumerate(jobs)]
    told = await gather(*(checksums(random.Random(seed * 10 + n), sender, inline=inline, count=160)
                          for n, (sender, (_, inline)) in enumerate(zip(senders, jobs, strict=True))))
    compare(collect(platform), dict(enumerate(told)))


async def tso_case(platform: RtlPlatform, hypervisor: Hypervisor, seed: int) -> None:
    senders = [await Sender.open(platform, hypervisor, form, n)
               for n, form in enumerate([Form.PUSHED, Form.FETCHED, Form.FETCHED])]
    told = await gather(*(chains(random.Random(seed * 100 + n), sender, 40) for n, sender in enumerate(senders)))
    compare(collect(platform), dict(enumerate(told)))


async def example_case(platform: RtlPlatform, hypervisor: Hypervisor, seed: int) -> None:
    """The worked example of the host interface's chapter on TSO: flags, counts and segments."""
    for n, form in enumerate([Form.PUSHED, Form.FETCHED]):
        rng = random.Random(seed)
        sender = await Sender.open(platform, hypervisor, form, n)
        job = bulk(rng, link(rng, n), 1448, 200 + 2048 + 2048 + 1000)
        while len(job.header) != 54:
            job = bulk(rng, link(rng, n), 1448, 200 + 2048 + 2048 + 1000)
        chain = tso(rng, sender, job, [54], [200, 2048, 2048, 1000])
        told = [(flags & ~ALIGN_ODD, count) for *_, count, _, flags in DESCRIPTOR.iter_unpack(chain.slots)]
        assert told == [(0x03, 1), (0x23, 2), (0x31, 2), (0x31, 2), (0x39, 1)]
        await sender.run([chain], 1)
        found = collect(platform)
        assert [len(frame) - 54 for frame in found[n]] == [1448, 1448, 1448, 952]
        compare(found, {n: list(chain.frames)})


def spoiled(rng: random.Random, sender: Sender) -> Chain:
    """A chain of two segments whose header cannot be edited: it fails as a whole, and nothing leaves."""
    job = bulk(rng, link(rng, sender.number), 600, 1200)
    while len(job.header) > 90:
        job = bulk(rng, link(rng, sender.number), 600, 1200)
    header, offset, mss = bytearray(job.header), job.cksum_offset, job.mss
    tagged = 4 * (header[12:14] == b"\x81\x00")
    network = 14 + tagged
    transport = len(header) - offset if job.ipv6 else offset
    kind = rng.randrange(8)
    if kind == 0:
        header[12 + tagged] ^= 0x20  # neither IPv4 nor IPv6
    elif kind == 1:
        header[network] ^= 0x10  # version
    elif kind == 2:
        header[network + (6 if job.ipv6 else 9)] = 17  # UDP
    elif kind == 3:
        header[transport + 12] += 0x10  # longer than the header pieces are
    elif kind == 4:
        offset += 2
    elif kind == 5:
        header.append(0)
    elif kind == 6:
        header += bytes(1025 - len(header))
    else:
        mss = 9019  # no frame holds it
    sizes = [700, 500]
    slots = b"".join(tso_chain(cut(rng, sender, bytes(header), [len(header)]), cut(rng, sender, job.payload, sizes), mss,
                               offset, ipv6=job.ipv6))
    return Chain(slots, Status.BAD_OFFLOAD, 0, ())


def inconsistent(rng: random.Random, sender: Sender) -> Chain:
    """A chain whose flags or counts do not fit its bytes from its first payload descriptor on: nothing leaves."""
    job = bulk(rng, link(rng, sender.number), 600, 1800)
    pieces = cut(rng, sender, job.payload, [600, 300, 900])
    slots = tso_chain(cut(rng, sender, job.header, [len(job.header)]), pieces, 600, job.cksum_offset, ipv6=job.ipv6)
    address, mss, length, pad, count, offset, flags = DESCRIPTOR.unpack(slots[1])
    kind = rng.randrange(5)
    if kind == 0:
        flags |= SendDescriptor.CONTROL_NO_TSO_M  # a cut where there is none
    elif kind == 1:
        flags &= ~FIRST
    elif kind == 2:
        count = 2
    elif kind == 3:
        length = 601
    else:
        count = 0
    slots[1] = DESCRIPTOR.pack(address, mss, length, pad, count, offset, flags)
    return Chain(b"".join(slots), Status.BAD_OFFLOAD, 0, ())


async def garbage(rng: random.Random, sender: Sender, stop: list[bool]) -> int:
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
        await sender.platform.sleep(rng.randint(300, 3000))
    return count


async def hostile_case(platform: RtlPlatform, hypervisor: Hypervisor, seed: int) -> None:
    """Chains that must fail, one by one; then two endpoints full of garbage beside two that send."""
    expected: dict[int, list[bytes]] = {}
    for n, form in enumerate([Form.PUSHED, Form.FETCHED]):
        rng = random.Random(seed * 10 + n)
        sender = await Sender.open(platform, hypervisor, form, n)
        expected[n] = []
        for _ in range(60):
            sender.rewind()
            bad = rng.choice([spoiled, inconsistent])(rng, sender)
            good = tso(rng, sender, bulk(rng, link(rng, n), 536, 1500), [60, 300], [1000])
            await sender.run([bad, good], 2)
            expected[n] += good.frames
        # a chain that comes in three parts: the endpoint waits, and its neighbours do not
        if form is Form.FETCHED:
            sender.rewind()
            chain = tso(rng, sender, bulk(rng, link(rng, n), 1000, 40_000), [2000], [900])
            start, slots = sender.endpoint.index, len(chain.slots) // SendDescriptor.BYTES
            sender.endpoint.submit(chain.slots[: 10 * SendDescriptor.BYTES])
            await platform.sleep(20_000)
            other = await Sender.open(platform, hypervisor, Form.FETCHED, 7)
            expected[7] = await chains(random.Random(seed), other, 3)
            sender.endpoint.index = start
            sender.endpoint.submit(chain.slots)
            told = await sender.endpoint.completion()
            assert told == (start + slots & 0xFFFF, chain.length, Status.OK)
            expected[n] += chain.frames
    compare(collect(platform), expected)

    senders = [await Sender.open(platform, hypervisor, form, 2 + n) for n, form in enumerate([Form.PUSHED, Form.FETCHED])]
    attackers = [await Sender.open(platform, hypervisor, form, 4 + n) for n, form in enumerate([Form.PUSHED, Form.FETCHED])]
    stop: list[bool] = []
    tasks = [cocotb.start_soon(garbage(random.Random(seed * 7 + a.number), a, stop)) for a in attackers]
    left = await gather(*(chains(random.Random(seed * 100 + s.number), s, 15) for s in senders))
    stop.append(True)
    counts = [await task for task in tasks]
    cocotb.log.info("%s chains of garbage", counts)
    assert min(counts) > 10
    found = collect(platform)
    compare({n: found.get(n, []) for n in (2, 3)}, {s.number: frames for s, frames in zip(senders, left, strict=True)})
    # the attackers are no worse for it, either: released and taken again, in the middle of whatever they were in
    for attacker in attackers:
        await attacker.endpoint.release()
    collect(platform)
    for n, form in enumerate([Form.PUSHED, Form.FETCHED]):
        heir = await Sender.open(platform, hypervisor, form, 8 + n)
        frames = await chains(random.Random(seed + n), heir, 5)
        compare({k: f for k, f in collect(platform).items() if k == 8 + n}, {8 + n: frames})


@cocotb.test
async def run(dut: SimHandleBase) -> None:
    """The case that the environment names: one machine is one process."""
    seed = int(os.environ["COCOTB_RANDOM_SEED"])
    platform = RtlPlatform(dut, HostConfig(seed=seed, read_jitter=50, reorder=True, mrrs=512, random_split=True))
    hypervisor = Hypervisor(platform, max_read=512)
    await hypervisor.boot()
    await {"checksum": checksum_case, "example": example_case, "tso": tso_case,
           "hostile": hostile_case}[os.environ["MYR_CASE"]](platform, hypervisor, seed)
