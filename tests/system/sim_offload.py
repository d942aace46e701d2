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
from sw.platform import PAGE_SHIFT, PAGE_SIZE
from tb.cosim.platform import HostConfig, RtlPlatform
from tb.sim.hostile import RawEndpoint
from tests.system.packets import Sample, checksum_sample, raw_sample

PAGES: Final = 20
"""Payload pages of an endpoint, 80 KiB: more than the longest chain, or a batch of frames."""
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
                assert told == expected, f"guest {self.number} chain {n}: completion {told}, expected {expected}"


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


@cocotb.test
async def run(dut: SimHandleBase) -> None:
    """The case that the environment names: one machine is one process."""
    seed = int(os.environ["COCOTB_RANDOM_SEED"])
    platform = RtlPlatform(dut, HostConfig(seed=seed, read_jitter=50, reorder=True, mrrs=512, random_split=True))
    hypervisor = Hypervisor(platform, max_read=512)
    await hypervisor.boot()
    await {"checksum": checksum_case}[os.environ["MYR_CASE"]](platform, hypervisor, seed)
