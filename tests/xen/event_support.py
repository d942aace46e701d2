"""Shared by the event-channel tests: a domain's channels with vCPUs that only count."""

from __future__ import annotations

import struct

from hypervisor_model.events.channels import EventChannels
from hypervisor_model.guest_pages import GuestPages
from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.memory import FrameAllocator
from hypervisor_model.p2m import P2M
from sw.platform import MachineMap
from tb.model.platform import ModelPlatform

PAGE = 4096
# struct shared_info, 64 bit: 32 vcpu_info of 64 bytes, then 64 pending and 64 mask words
UPCALL_PENDING, UPCALL_MASK, SELECTOR, PENDING, MASK = 0, 1, 8, 2048, 2048 + 512
ROOM = MachineMap(ram_bytes=8 << 20)


def word(page: memoryview, at: int) -> int:
    """64 bits."""
    return int(struct.unpack_from("<Q", page, at)[0])


def half(page: memoryview, at: int) -> int:
    """32 bits."""
    return int(struct.unpack_from("<I", page, at)[0])


class Vcpus:
    """Event channels of domain `domid`, its shared-info page and 16 pages of RAM from GFN 0."""

    def __init__(self, domid: int = 1, vcpus: int = 1, max_port: int = (1 << 17) - 1) -> None:
        self.frames = FrameAllocator(ModelPlatform(MachineMap(ram_bytes=1 << 20)).memory, 1)
        self.p2m = P2M(self.frames)
        for gfn in range(16):
            self.p2m.add_ram(gfn, self.frames.allocate(domid))
        self.page = memoryview(bytearray(PAGE))
        self.kicked: list[int] = []
        self.pirqs_closed: list[int] = []
        self.channels = EventChannels(
            domid,
            self.page,
            [self.kicked.append] * vcpus,
            GuestPages(self.frames, self.p2m, domid),
            self.pirqs_closed.append,
            max_port,
        )

    @property
    def upcalls(self) -> int:
        return len(self.kicked)


def small_machine(seed: int = 1) -> tuple[ModelPlatform, Hypervisor]:
    """As `model_support.machine`, with less memory to clear."""
    platform = ModelPlatform(ROOM)
    hv = Hypervisor(platform, seed=seed)
    platform.run(hv.boot())
    return platform, hv
