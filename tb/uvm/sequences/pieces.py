"""Small sequences: one request, one frame, one arming, by raw accesses of a guest. Each runs on one agent's sequencer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pyuvm import uvm_sequence

from hypervisor_model.domains import Domain
from sw.abi.registers import Aperture, ReceiveBuffer, SendDescriptor
from tb.cosim.platform import ReadError
from tb.uvm.items import HostItem, InterruptItem, Item, MmioItem, WireItem

SLOT: Final = SendDescriptor.BYTES


class ItemSequence(uvm_sequence):
    """Some items, one after the other."""

    def __init__(self, name: str, items: Iterable[Item]) -> None:
        super().__init__(name)
        self.items = list(items)

    async def body(self) -> None:
        """Each to its end."""
        for item in self.items:
            await self.start_item(item)
            await self.finish_item(item)


def read_word(address: int, guest: Domain | None = None) -> ItemSequence:
    """One MMIO read; the answer is in `items[0].data`."""
    return ItemSequence("read_word", [MmioItem(address, write=False, guest=guest)])


def write_word(address: int, value: int, guest: Domain | None = None) -> ItemSequence:
    """One MMIO write of 4 bytes."""
    return ItemSequence("write_word", [MmioItem(address, value.to_bytes(4, "little"), guest=guest)])


def doorbell(guest: Domain, aperture: int, producer: int) -> ItemSequence:
    """Ring for descriptors in memory before index `producer` (FETCHED)."""
    return write_word(aperture + Aperture.SEND_DOORBELL, producer & 0xFFFF, guest)


def pushed_chain(guest: Domain, aperture: int, ring: int, index: int, slots: bytes) -> ItemSequence:
    """A chain of descriptors, or an inline frame behind its descriptor, by PIO; its head last. `ring`: entries."""
    count = len(slots) // SLOT
    items = [
        MmioItem(aperture + Aperture.SEND_RING + (index + n) % ring * SLOT, slots[n * SLOT : (n + 1) * SLOT], guest=guest)
        for n in reversed(range(count))
    ]
    return ItemSequence("pushed_chain", items)


def fetched_chain(guest: Domain, aperture: int, ring_gpa: int, ring: int, index: int, slots: bytes) -> ItemSequence:
    """A chain in the guest's own ring in memory, and the doorbell behind it."""
    count = len(slots) // SLOT
    for n in range(count):
        guest.memory.write(ring_gpa + (index + n) % ring * SLOT, slots[n * SLOT : (n + 1) * SLOT])
    return doorbell(guest, aperture, index + count)


def receive_buffers(guest: Domain, window: int, entries: int, first: int, addresses: Iterable[int]) -> ItemSequence:
    """Post buffers by PIO from index `first` on. `window`: GPA of a receive ring's window with so many `entries`."""
    return ItemSequence(
        "receive_buffers",
        [
            MmioItem(window + (first + n) % entries * ReceiveBuffer.BYTES, address.to_bytes(8, "big"), guest=guest)
            for n, address in enumerate(addresses)
        ],
    )


def arm(guest: Domain, aperture: int, ring: int, index: int) -> ItemSequence:
    """Ask for one interrupt from entry `index` of completion ring `ring` on."""
    return ItemSequence("arm", [InterruptItem(aperture, guest=guest, ring=ring, index=index)])


def wire_frame(item: WireItem) -> ItemSequence:
    """One frame from the line."""
    return ItemSequence("wire_frame", [item])


def pause(quanta: int) -> ItemSequence:
    """One pause frame from the line."""
    return ItemSequence("pause", [WireItem.pause(quanta)])


def read_error(address: int, error: ReadError) -> ItemSequence:
    """Reads of a machine page end so from now on."""
    return ItemSequence("read_error", [HostItem(error, address=address)])
