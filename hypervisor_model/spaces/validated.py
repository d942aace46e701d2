"""Mode VALIDATED: the hypervisor checks every descriptor and writes it, with a sequence number, into a ring of its own.

After Concurrent Direct Network Access (Willmann et al., HPCA 2007): pages are pinned when a batch is enqueued and
unpinned lazily, when the NIC is known to have passed them; a descriptor that the NIC finds without the sequence number
of its index is stale.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from hypervisor_model.grants import Mapping
from hypervisor_model.memory import OWNER_XEN, FrameAllocator, PageType
from hypervisor_model.p2m import P2M
from hypervisor_model.spaces.native import PassThrough
from hypervisor_model.spaces.space import Wait
from sw.abi.registers import DmaAddress, SendDescriptor
from sw.platform import PAGE_SHIFT, PAGE_SIZE
from sw.xen.errno import Errno, HypercallError

_SEND: Final = struct.Struct(">QII")
_RECEIVE: Final = struct.Struct(">Q")
_LENGTH_M: Final = SendDescriptor.LENGTH_LENGTH_M
_INDEX_M: Final = 0xFFFF


@dataclass
class Ring:
    """A ring that only the hypervisor writes: entries, and the frames that they have pinned."""

    first_frame: int
    pages: int
    entries: int
    entry_bytes: int
    buffer_bytes: int = 0
    """Bytes that the NIC may write behind each address; 0: the descriptor says how many it reads."""
    producer: int = 0
    """Free-running."""
    consumer: int = 0
    """Entries before it are unpinned."""
    pinned: deque[int] = field(default_factory=deque)
    """A frame for each entry from `consumer` on."""

    @property
    def held(self) -> PageType:
        """What a pinned page counts as."""
        return PageType.WRITABLE if self.buffer_bytes else PageType.NONE

    @property
    def room(self) -> int:
        """Entries that may be written."""
        return self.entries - (self.producer - self.consumer)


class ValidatedSpace:
    """Implements `AddressSpace`. Mapped pages are for completions and are named by machine address."""

    def __init__(self, frames: FrameAllocator, pass_through: PassThrough, domid: int, disable: Wait) -> None:
        """`disable` stops the endpoint, if it runs, and returns when nothing of it is in flight."""
        self._frames = frames
        self._pass_through = pass_through
        self._domid = domid
        self._disable = disable
        self._pages: dict[int, list[int]] = {}
        """Frame to how often it is mapped, in all and writable."""
        self.rings: dict[str, Ring] = {}
        """While the endpoint is enabled: `send`, `small`, `big`."""
        pass_through.attach()

    @property
    def pages(self) -> int:
        """Pages mapped."""
        return sum(total for total, _ in self._pages.values())

    def install(self, mappings: Sequence[Mapping]) -> list[int]:
        """Machine addresses."""
        for mapping in mappings:
            counts = self._pages.setdefault(mapping.frame, [0, 0])
            counts[0] += 1
            counts[1] += mapping.write
        return [mapping.frame << PAGE_SHIFT for mapping in mappings]

    async def revoke(self, mappings: Sequence[Mapping]) -> None:
        """The NIC does not check completion rings: an endpoint that might use one of the pages is stopped."""
        for mapping in mappings:
            counts = self._pages[mapping.frame]
            counts[0] -= 1
            counts[1] -= mapping.write
            if not counts[0]:
                del self._pages[mapping.frame]
        await self._disable()

    def install_superpage(self, p2m: P2M, gfn: int, *, write: bool) -> int:
        """Refused: buffers need no mapping."""
        raise HypercallError(Errno.EINVAL, "a validated endpoint maps no superpages: each descriptor is checked")

    def check_ring(self, name: str, address: int, size: int, *, write: bool) -> None:
        """Every page must be mapped by the owner, writable where the NIC writes."""
        for frame in range(address >> PAGE_SHIFT, (address + size - 1 >> PAGE_SHIFT) + 1):
            total, writable = self._pages.get(frame, (0, 0))
            if not (writable if write else total):
                raise HypercallError(Errno.EINVAL, f"{name}: {address:#x} is not a page that the caller has mapped")

    def start_ring(self, name: str, entries: int, entry_bytes: int, buffer_bytes: int = 0) -> int:
        """A new, zeroed ring; its machine address."""
        pages = -(-entries * entry_bytes // PAGE_SIZE)
        first = self._frames.allocate_run(OWNER_XEN, pages)
        self.rings[name] = Ring(first, pages, entries, entry_bytes, buffer_bytes)
        return first << PAGE_SHIFT

    def stop_rings(self) -> None:
        """The endpoint is disabled and nothing of it is in flight: everything is unpinned."""
        for ring in self.rings.values():
            self.retire(ring, ring.producer)
            for frame in range(ring.first_frame, ring.first_frame + ring.pages):
                self._frames.put(frame)
        self.rings.clear()

    def enqueue_send(self, p2m: P2M, descriptors: bytes) -> int:
        """Check, pin and write send descriptors whose addresses are guest-physical; how many found room.

        EINVAL for one that is inline, empty, longer than a page's rest, or not in the caller's RAM; those before it
        have been written.
        """
        ring = self._ring("send")
        done = 0
        for address, length, control in _SEND.iter_unpack(descriptors):
            if not ring.room:
                break
            size = length & _LENGTH_M
            if control & SendDescriptor.CONTROL_INLINE_M:
                raise HypercallError(Errno.EINVAL, f"descriptor {done} is inline: validated ones name memory")
            machine = self._pin(ring, p2m, address, size, f"descriptor {done}")
            self._write(ring, _SEND.pack(machine, length, control))
            done += 1
        return done

    def enqueue_receive(self, p2m: P2M, name: str, buffers: bytes) -> int:
        """The same for receive buffers of ring `small` or `big`."""
        ring = self._ring(name)
        done = 0
        for (address,) in _RECEIVE.iter_unpack(buffers):
            if not ring.room:
                break
            machine = self._pin(ring, p2m, address, ring.buffer_bytes, f"{name} buffer {done}")
            self._write(ring, _RECEIVE.pack(machine))
            done += 1
        return done

    def retire(self, ring: Ring, index: int) -> None:
        """Unpin what stands before `index` (modulo 2^16): no DMA of it is in flight or to come."""
        for _ in range(min(index - ring.consumer & _INDEX_M, len(ring.pinned))):
            self._frames.put(ring.pinned.popleft(), ring.held)
            ring.consumer += 1

    async def release(self) -> None:
        """Nothing is left but the physical function's context entry."""
        self.stop_rings()
        await self._pass_through.detach()

    def _ring(self, name: str) -> Ring:
        ring = self.rings.get(name)
        if ring is None:
            raise HypercallError(Errno.EINVAL, f"the endpoint has no {name} ring: it is disabled, or set up without")
        return ring

    def _pin(self, ring: Ring, p2m: P2M, address: int, size: int, what: str) -> int:
        """The machine address, with the sequence number of the ring's next index; the page is pinned."""
        offset = address & PAGE_SIZE - 1
        if not size or offset + size > PAGE_SIZE:
            raise HypercallError(Errno.EINVAL, f"{what}: {size} bytes at {address:#x} do not lie in one page")
        frame = p2m.frame(address >> PAGE_SHIFT)
        if frame is None or not self._frames.get(frame, self._domid, ring.held):
            raise HypercallError(Errno.EINVAL, f"{what}: {address:#x} is not the caller's RAM, or not ordinary")
        ring.pinned.append(frame)
        sequence = ring.producer + 1 & _INDEX_M
        return sequence << DmaAddress.VALIDATED_SEQUENCE_S | frame << PAGE_SHIFT | offset

    def _write(self, ring: Ring, entry: bytes) -> None:
        at = ring.producer % ring.entries * ring.entry_bytes
        page = self._frames.page(ring.first_frame + (at >> PAGE_SHIFT))
        page[at & PAGE_SIZE - 1 : (at & PAGE_SIZE - 1) + ring.entry_bytes] = entry
        ring.producer += 1
