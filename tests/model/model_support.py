"""Shared by the model tests: traffic, the wire's expectation, and a guest without a driver."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from hypervisor_model.domains import Domain
from hypervisor_model.hypervisor import Hypervisor
from sw.abi.registers import Aperture, Form, Status
from sw.guest.virtual_nic import VirtualNic
from sw.xen.grant_table import GrantStatus
from tb.model.platform import ModelPlatform

WAIT_NS = 20_000_000
PAGE = 4096


def random_frames(seed: int, count: int, largest: int = 9018) -> list[bytes]:
    rng = random.Random(seed)
    sizes = [rng.choice((rng.randint(1, 200), rng.randint(60, 1518), rng.randint(60, largest))) for _ in range(count)]
    return [rng.randbytes(size) for size in sizes]


async def send_all(nic: VirtualNic, frames: Sequence[bytes]) -> None:
    for frame in frames:
        while not nic.send(frame):
            await nic.wait_for_room(WAIT_NS)
    await nic.drain(WAIT_NS)


def machine(seed: int = 1) -> tuple[ModelPlatform, Hypervisor]:
    platform = ModelPlatform()
    hv = Hypervisor(platform, seed=seed)
    platform.run(hv.boot())
    return platform, hv


def frames_of(platform: ModelPlatform, endpoint: int) -> list[bytes]:
    return [frame.data for frame in platform.frames if frame.endpoint == endpoint]


def descriptor(address: int, length: int, *, count: int = 1, flags: int = 0x12) -> bytes:
    """A send descriptor by its layout: address, length, rdma_count, flags (FIRST | NO_TSO)."""
    return struct.pack(">QHHBBBB", address & (1 << 64) - 1, 0, length, 0, count, 0, flags)


@dataclass
class RawCompletion:
    index: int
    length: int
    status: Status
    phase: int


class RawEndpoint:
    """An endpoint of a guest that writes what it likes."""

    def __init__(self, domain: Domain, form: Form, entries_log2: int = 4) -> None:
        self.domain = domain
        self.form = form
        self.log2 = entries_log2

    async def open(self, *, cq_readonly: bool = False, cq_base: int | None = None) -> None:
        call = self.domain.hypercall
        self.grant = await call.endpoint_allocate(self.form)
        self.number = self.grant.endpoint
        self.aperture = self.grant.aperture
        gfn = self.domain.kernel.allocate_pages(3)
        self.handles: list[int] = []
        self.addresses: list[int] = []
        for n, readonly in enumerate((cq_readonly, True, True)):
            reference = await self.domain.kernel.grant_access(gfn + n, readonly=readonly)
            mapping = await call.grant_map_to_device(self.number, reference, readonly=readonly)
            assert mapping.status is GrantStatus.OKAY
            self.handles.append(mapping.handle)
            self.addresses.append(mapping.device_address)
        # the page after the ring is not mapped for the device
        self.cq_gpa, self.buffer_gpa, self.ring_gpa = ((gfn + n) * PAGE for n in range(3))
        cq, self.buffer, ring = self.addresses
        await call.endpoint_enable(self.number, self.log2, self.log2, ring, cq if cq_base is None else cq_base)

    def push(self, slot: int, data: bytes) -> None:
        for n in range(0, len(data), 16):
            at = (slot + n // 16) % (1 << self.log2)
            self.domain.mmio_write(self.aperture + Aperture.SEND_RING + at * 16, data[n : n + 16])

    def put(self, slot: int, data: bytes) -> None:
        for n in range(0, len(data), 16):
            at = (slot + n // 16) % (1 << self.log2)
            self.domain.memory.write(self.ring_gpa + at * 16, data[n : n + 16])

    def ring(self, producer: int) -> None:
        self.domain.mmio_write(self.aperture, struct.pack("<I", producer))

    def completion(self, entry: int) -> RawCompletion:
        data = self.domain.memory.read(self.cq_gpa + entry % (1 << self.log2) * 16, 16)
        index, length, status, phase = struct.unpack(">8xHHxxBB", data)
        return RawCompletion(index, length, Status(status), phase)
