"""Chains of the send offloads on any platform, driven by hand; every frame against one that scapy built by itself."""

from __future__ import annotations

import random
import struct
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, Protocol

from hypervisor_model.domains import Domain
from hypervisor_model.hypervisor import Hypervisor
from sw.abi.registers import Form, SendDescriptor, Status
from sw.guest.tso import tso_chain
from sw.platform import PAGE_SHIFT, PAGE_SIZE, Platform, PlatformTimeoutError
from tb.ethernet import MIN_FRAME, without_fcs
from tb.packets import MAX_FRAME, Bulk, Sample, bulk, checksum_sample, link, raw_sample
from tb.sim.hostile import UNMAPPED, RawEndpoint

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
MAX_READ: Final = 512
BATCH: Final = 4
"""Chains in flight of one endpoint: twelve pieces of each fit a ring of 64."""


QUIET_NS: Final = 40_000
"""Nothing for so long after a chain: nothing more comes."""
DAMAGED_PAGES: Final = 12
UNAUTHORISED: Final = 1 << 48
"""No device address is so high."""

Gather = Callable[[list[Coroutine[Any, Any, Any]]], Awaitable[Any]]


class Frame(Protocol):
    """What has left on the wire."""

    @property
    def data(self) -> bytes:
        """With FCS."""


class Machine(Platform, Protocol):
    """A platform whose wire can be seen."""

    def wire_frames(self) -> Sequence[Frame]: ...


@dataclass
class Bench:
    """A booted machine, and what came out of it."""

    platform: Machine
    hypervisor: Hypervisor
    gather: Gather
    seed: int
    completions: dict[int, list[tuple[int, int, Status]]] = field(default_factory=dict)
    """Index, length and status, by sender."""
    frames: dict[int, list[bytes]] = field(default_factory=dict)
    """Frames on the wire without FCS, by the guest that they name."""

    @classmethod
    async def boot(cls, platform: Machine, gather: Gather, seed: int) -> Bench:
        hypervisor = Hypervisor(platform, seed=seed, max_read=MAX_READ)
        await hypervisor.boot()
        return cls(platform, hypervisor, gather, seed)

    def collect(self) -> dict[int, list[bytes]]:
        """What has left so far."""
        for frame in self.platform.wire_frames():
            data = without_fcs(frame.data)
            self.frames.setdefault(data[11], []).append(data)
        return self.frames


@dataclass(frozen=True)
class Chain:
    """Slots of one request, and what is to become of it."""

    slots: bytes
    status: Status
    length: int
    frames: tuple[bytes, ...]


class Sender:
    """One endpoint driven by hand, with mapped pages that it fills from the bottom up."""

    def __init__(self, domain: Domain, endpoint: RawEndpoint, number: int) -> None:
        self.domain, self.endpoint, self.number = domain, endpoint, number
        self.completions: list[tuple[int, int, Status]] = []
        self.gfns: dict[int, int] = {}
        """Guest frame numbers by device page address."""
        self._pages: list[tuple[memoryview, int]] = []
        self._at = 0
        self._index = 0

    @classmethod
    async def open(cls, bench: Bench, form: Form, number: int, pages: int = PAGES) -> Sender:
        domain = bench.hypervisor.create_domain(f"guest{number}", 16 + 3 * pages)
        sender = cls(domain, await RawEndpoint.allocate(domain, form), number)
        for _ in range(pages):
            gfn, address = await sender.endpoint.map_page(readonly=True)
            sender._pages.append((domain.memory.page(gfn), address))
            sender.gfns[address] = gfn
        await sender.endpoint.enable()
        bench.completions.setdefault(number, sender.completions)
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

    async def completion(self) -> tuple[int, int, Status]:
        """The next one; it must come."""
        told = await self.endpoint.completion()
        self.completions.append(told)
        return told

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
                told = await self.completion()
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
            sample = (raw_sample(rng, sender.number, longest) if rng.random() < 0.3
                      else checksum_sample(rng, link(rng, sender.number), longest))
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


def compare(found: dict[int, list[bytes]], expected: dict[int, list[bytes]]) -> None:
    for number, frames in expected.items():
        mine = found.get(number, [])
        for n, (a, b) in enumerate(zip(mine, frames, strict=False)):
            b = b.ljust(MIN_FRAME, b"\0")
            at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            assert a == b, (f"guest {number} frame {n}: {len(a)} bytes, expected {len(b)}, first difference at {at}: "
                            f"{a[at:at + 8].hex()}, expected {b[at:at + 8].hex()}")
        assert len(mine) == len(frames), f"guest {number}: {len(mine)} frames, expected {len(frames)}"
    assert set(found) <= set(expected)


async def checksum_case(bench: Bench) -> None:
    """Frames in every form, side by side."""
    jobs = [(Form.PUSHED, False), (Form.FETCHED, False), (Form.PUSHED, True)]
    senders = [await Sender.open(bench, form, n) for n, (form, _) in enumerate(jobs)]
    expected: dict[int, list[bytes]] = {}

    async def one(n: int, inline: bool) -> None:
        expected[n] = await checksums(random.Random(bench.seed * 10 + n), senders[n], inline=inline, count=160)

    await bench.gather([one(n, inline) for n, (_, inline) in enumerate(jobs)])
    compare(bench.collect(), expected)


async def tso_case(bench: Bench) -> None:
    """Chains of any shape, of three endpoints at once."""
    senders = [await Sender.open(bench, form, n) for n, form in enumerate([Form.PUSHED, Form.FETCHED, Form.FETCHED])]
    expected: dict[int, list[bytes]] = {}

    async def one(n: int) -> None:
        expected[n] = await chains(random.Random(bench.seed * 100 + n), senders[n], 40)

    await bench.gather([one(n) for n in range(len(senders))])
    compare(bench.collect(), expected)


async def example_case(bench: Bench) -> None:
    """The worked example of the host interface's chapter on TSO: flags, counts and segments."""
    for n, form in enumerate([Form.PUSHED, Form.FETCHED]):
        rng = random.Random(bench.seed)
        sender = await Sender.open(bench, form, n)
        job = bulk(rng, link(rng, n), 1448, 200 + 2048 + 2048 + 1000)
        while len(job.header) != 54:
            job = bulk(rng, link(rng, n), 1448, 200 + 2048 + 2048 + 1000)
        chain = tso(rng, sender, job, [54], [200, 2048, 2048, 1000])
        told = [(flags & ~ALIGN_ODD, count) for *_, count, _, flags in DESCRIPTOR.iter_unpack(chain.slots)]
        assert told == [(0x03, 1), (0x23, 2), (0x31, 2), (0x31, 2), (0x39, 1)]
        await sender.run([chain], 1)
        found = bench.collect()
        assert [len(frame) - 54 for frame in found[n]] == [1448, 1448, 1448, 952]
        compare({n: found[n]}, {n: list(chain.frames)})


def spoiled(rng: random.Random, sender: Sender) -> Chain:
    """A chain of two segments whose header cannot be edited: it fails as a whole, and nothing leaves."""
    job = bulk(rng, link(rng, sender.number), 600, 1200)
    while len(job.header) > 90:
        job = bulk(rng, link(rng, sender.number), 600, 1200)
    header, offset, mss = bytearray(job.header), job.cksum_offset, job.mss
    tagged = 4 * (header[12:14] == b"\x81\x00")
    network = 14 + tagged
    transport = len(header) - offset if job.ipv6 else offset
    payload, sizes = job.payload, [700, 500]
    kind = rng.randrange(12)
    if kind == 8 and job.ipv6:
        kind = 7
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
    elif kind == 8:
        # a fragment: more of them follow, or it is not the first one
        header[network + rng.choice([6, 7])] |= 0x20
    elif kind == 9:
        header[network] = 0x60 | header[network] & 0xF if not job.ipv6 else 0x44 if rng.random() < 0.5 else 0x50
    elif kind == 10:
        header += bytes(2 * rng.randint(1, 60))  # the TCP header ends before
    elif kind == 11:
        # a frame would hold it without its headers
        mss, sizes = MAX_FRAME, [PAGE_SIZE]
        payload = rng.randbytes(MAX_FRAME - len(header) + 1)
    else:
        mss = MAX_FRAME + 1
    slots = b"".join(tso_chain(cut(rng, sender, bytes(header), [len(header)]), cut(rng, sender, payload, sizes), mss,
                               offset, ipv6=job.ipv6))
    return Chain(slots, Status.BAD_OFFLOAD, 0, ())


def inconsistent(rng: random.Random, sender: Sender) -> Chain:
    """A chain whose flags or counts do not fit its bytes, mostly from its first payload descriptor on."""
    job = bulk(rng, link(rng, sender.number), 600, 1800)
    pieces = cut(rng, sender, job.payload, [600, 300, 900])
    slots = tso_chain(cut(rng, sender, job.header, [len(job.header)]), pieces, 600, job.cksum_offset, ipv6=job.ipv6)
    address, mss, length, pad, count, offset, flags = DESCRIPTOR.unpack(slots[1])
    kind = rng.randrange(6)
    if kind == 5:
        # a segment starts where one has started
        slots[3] = slots[3][:-1] + bytes([slots[3][-1] | FIRST])
        return Chain(b"".join(slots), Status.BAD_OFFLOAD, 0, whole_before(job, 900))
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


async def refused_case(bench: Bench) -> None:
    """Chains that must fail, a good one behind each; a chain that comes in parts."""
    expected: dict[int, list[bytes]] = {}
    for n, form in enumerate([Form.PUSHED, Form.FETCHED]):
        rng = random.Random(bench.seed * 10 + n)
        sender = await Sender.open(bench, form, n)
        expected[n] = []
        for _ in range(60):
            sender.rewind()
            bad = rng.choice([spoiled, inconsistent])(rng, sender)
            good = tso(rng, sender, bulk(rng, link(rng, n), 536, 1500), [60, 300], [1000])
            await sender.run([bad, good], 2)
            expected[n] += [*bad.frames, *good.frames]
        # a chain that comes in two parts: the endpoint waits, and its neighbours do not
        if form is Form.FETCHED:
            sender.rewind()
            chain = tso(rng, sender, bulk(rng, link(rng, n), 1000, 40_000), [2000], [900])
            start, slots = sender.endpoint.index, len(chain.slots) // SendDescriptor.BYTES
            sender.endpoint.submit(chain.slots[: 10 * SendDescriptor.BYTES])
            await bench.platform.sleep(20_000)
            other = await Sender.open(bench, Form.FETCHED, 7)
            expected[7] = await chains(random.Random(bench.seed), other, 3)
            sender.endpoint.index = start
            sender.endpoint.submit(chain.slots)
            assert await sender.completion() == (start + slots & 0xFFFF, chain.length, Status.OK)
            expected[n] += chain.frames
    compare(bench.collect(), expected)


def whole_before(job: Bulk, at: int) -> tuple[bytes, ...]:
    """Segments that end before byte `at` of the payload, none if that is in the header (negative).

    The chain fails there, so that none of them is the last.
    """
    return tuple(job.segment(n) for n in range(max(at, 0) // job.mss))


def faulty(rng: random.Random, sender: Sender) -> Chain:
    """A chain of which one piece, of header or payload, cannot be read."""
    mss = rng.choice([88, 536, 1448, rng.randint(88, 4000)])
    job = bulk(rng, link(rng, sender.number), mss, rng.randint(1, min(10 * mss, 20_000)))
    header = cut(rng, sender, job.header, [rng.randint(1, 53), 2000])
    payload = cut(rng, sender, job.payload, [rng.choice([mss, rng.randint(600, 4096)]) for _ in range(8)])
    number = rng.choice([rng.randrange(len(header)), *(len(header) + rng.randrange(len(payload)) for _ in range(4))])
    pieces = [*header, *payload]
    address, length = pieces[number]
    bad, status = rng.choice([(UNMAPPED, Status.READ_UR), (UNAUTHORISED, Status.NOT_AUTHORISED)])
    pieces[number] = bad + address % PAGE_SIZE, length
    at = sum(size for _, size in pieces[:number]) - len(job.header)
    slots = tso_chain(pieces[: len(header)], pieces[len(header) :], job.mss, job.cksum_offset, ipv6=job.ipv6)
    return Chain(b"".join(slots), status, 0, whole_before(job, at))


async def fault_case(bench: Bench) -> None:
    """Pieces that cannot be read, a good chain behind each; a neighbour that loses nothing."""
    expected: dict[int, list[bytes]] = {}
    forms = [Form.PUSHED, Form.FETCHED]
    unlucky = [await Sender.open(bench, form, n) for n, form in enumerate(forms)]
    neighbour = await Sender.open(bench, Form.FETCHED, 2)

    async def suffer(sender: Sender) -> None:
        rng = random.Random(bench.seed * 10 + sender.number)
        expected[sender.number] = []
        for _ in range(30):
            sender.rewind()
            some = [faulty(rng, sender), tso(rng, sender, bulk(rng, link(rng, sender.number), 536, 1500), [60, 300], [1000])]
            await sender.run(some, 2)
            expected[sender.number] += [frame for chain in some for frame in chain.frames]

    async def go_on() -> None:
        expected[2] = await chains(random.Random(bench.seed), neighbour, 20)

    await bench.gather([suffer(unlucky[0]), suffer(unlucky[1]), go_on()])
    compare(bench.collect(), expected)


def damaged(rng: random.Random, sender: Sender) -> bytes:
    """A chain with one byte wrong in one of its descriptors: flags, counts, lengths, offsets or addresses."""
    mss = rng.choice([536, 1448])
    job = bulk(rng, link(rng, sender.number), mss, rng.randint(mss, 6 * mss))
    header = cut(rng, sender, job.header, rng.choice([[2000], [rng.randint(1, 53), 2000]]))
    payload = cut(rng, sender, job.payload, [rng.choice([mss, 2 * mss, rng.randint(mss, 3000)]) for _ in range(4)])
    slots = [bytearray(d) for d in tso_chain(header, payload, job.mss, job.cksum_offset, ipv6=job.ipv6)]
    slot, at = rng.choice(slots), rng.choice([5, 7, 8, 9, 10, 11, 13, 14, 15, 15, 15, 15])
    slot[at] = slot[at] ^ 1 << rng.randrange(8) if rng.random() < 0.7 else rng.randrange(256)
    return b"".join(slots)


async def damage_case(bench: Bench) -> None:
    """Damaged chains, each on an endpoint of its own, a plain frame behind it: no platform may do what another does not."""
    rng = random.Random(bench.seed)
    for n in range(50):
        sender = await Sender.open(bench, rng.choice([Form.PUSHED, Form.FETCHED]), n, DAMAGED_PAGES)
        slots = damaged(rng, sender)
        guard = bytes(11) + bytes([n]) + rng.randbytes(60)
        slots += DESCRIPTOR.pack(sender.place(guard, 0), 0, len(guard), 0, 1, 0, NO_TSO | FIRST)
        sender.endpoint.submit(slots)
        with suppress(PlatformTimeoutError):
            while True:
                sender.completions.append(await sender.endpoint.completion(QUIET_NS))
        await sender.endpoint.release()
        left = [without_fcs(frame.data) for frame in bench.platform.wire_frames()]
        # of a chain that waits for more descriptors segments may have left
        bench.frames[n] = left if sender.completions else []
    told = [status for log in bench.completions.values() for _, _, status in log]
    assert {Status.OK, Status.BAD_OFFLOAD, Status.READ_UR} <= set(told)


CASES: Final = {"checksum": checksum_case, "example": example_case, "tso": tso_case, "refused": refused_case, "fault": fault_case,
                "damage": damage_case}
"""What any platform runs."""
