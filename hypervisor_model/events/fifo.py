"""FIFO ABI: an event word for each port, linked into 16 queues of each vCPU by priority, all in pages of the guest.

Source: Xen `xen/common/event_fifo.c` (behaviour restated). Xen's tail of each queue is its own: whatever the guest
writes into words and heads, no link leads the hypervisor anywhere, and only the guest's own events suffer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hypervisor_model.events.ports import Port
from hypervisor_model.guest_pages import GuestPages
from sw.platform import PAGE_SIZE
from sw.xen.errno import Errno, HypercallError
from sw.xen.event_channel import (
    FIFO_BUSY,
    FIFO_CONTROL_BYTES,
    FIFO_HEADS,
    FIFO_LINK_MASK,
    FIFO_LINKED,
    FIFO_MASKED,
    FIFO_PENDING,
    FIFO_PORTS,
    FIFO_READY,
    FIFO_WORD,
    FIFO_WORDS_PER_PAGE,
)
from sw.xen.shared_bits import clear_bit, set_bit, test_bit

_WORD_BITS = 8 * FIFO_WORD.size


class Fifo:
    """The hypervisor's half."""

    limit = FIFO_PORTS

    def __init__(self, pages: GuestPages, notify: Callable[[int], None], pending: Iterable[int]) -> None:
        """`notify` raises a vCPU's upcall; `pending`: ports that were so under the 2-level ABI."""
        self._pages = pages
        self._notify = notify
        self._array: list[memoryview] = []
        self._control: dict[int, memoryview] = {}
        self._tails: dict[tuple[int, int], int] = {}
        """Last port of each (vCPU, priority); it may have been served."""
        self._queues: dict[int, tuple[int, int]] = {}
        """Queue that each port was linked into last. It outlives the port, as the tail does."""
        self._early = set(pending)
        """Pending ports whose page of the array is not there yet."""

    def add_control_block(self, vcpu: int, gfn: int, offset: int) -> None:
        """Queues of a vCPU, at `offset` in a guest page. EINVAL: misplaced, not RAM, or there already."""
        if offset > PAGE_SIZE - FIFO_CONTROL_BYTES or offset % 8:
            raise HypercallError(Errno.EINVAL, f"control block at offset {offset}: 8-byte aligned within its page")
        if vcpu in self._control:
            raise HypercallError(Errno.EINVAL, f"vCPU {vcpu} has a control block")
        self._control[vcpu] = self._pages.hold(gfn)[offset : offset + FIFO_CONTROL_BYTES]

    def add_array_page(self, gfn: int, ports: dict[int, Port]) -> None:
        """Event words of the next 1024 ports. Those of `ports` that became pending before are raised now."""
        first = len(self._array) * FIFO_WORDS_PER_PAGE
        if first >= FIFO_PORTS:
            raise HypercallError(Errno.ENOSPC, f"the event array has all its {FIFO_PORTS} words")
        self._array.append(self._pages.hold(gfn))
        for number in sorted(n for n in self._early if n < first + FIFO_WORDS_PER_PAGE):
            self._early.remove(number)
            self.set_pending(ports[number])

    def set_pending(self, port: Port) -> bool:
        """Set the event pending and, unless it is masked, link it; True if it was pending already."""
        page, bits = self._word(port.number)
        if page is None:
            was = port.number in self._early
            self._early.add(port.number)
            return was
        was = set_bit(page, 0, bits + FIFO_PENDING)
        control = self._control.get(port.vcpu)
        # Without a control block the guest had no business to unmask the event.
        if control is None or test_bit(page, 0, bits + FIFO_MASKED):
            return was
        if not set_bit(page, 0, bits + FIFO_LINKED):
            self._link(port, control)
        return was

    def clear_pending(self, number: int) -> None:
        """The event is gone. It stays linked: the guest unlinks it, and passes over it."""
        self._early.discard(number)
        page, bits = self._word(number)
        if page is not None:
            clear_bit(page, 0, bits + FIFO_PENDING)

    def mask(self, number: int) -> None:
        """It is not linked any more until it is unmasked."""
        page, bits = self._word(number)
        if page is not None:
            set_bit(page, 0, bits + FIFO_MASKED)

    def unmask(self, port: Port) -> None:
        """Clear the mask; link the event if it is pending."""
        page, bits = self._word(port.number)
        if page is not None:
            clear_bit(page, 0, bits + FIFO_MASKED)
            if test_bit(page, 0, bits + FIFO_PENDING):
                self.set_pending(port)

    def is_pending(self, number: int) -> bool:
        """The event waits for the guest."""
        page, bits = self._word(number)
        return number in self._early if page is None else test_bit(page, 0, bits + FIFO_PENDING)

    def is_busy(self, number: int) -> bool:
        """The event is still linked: its port must not be used for another."""
        page, bits = self._word(number)
        return page is not None and test_bit(page, 0, bits + FIFO_LINKED)

    def _link(self, port: Port, control: memoryview) -> None:
        queue = (port.vcpu, port.priority)
        old = self._queues.get(port.number)
        if old is not None and self._tails[old] == port.number:
            # It was served; linked anew, it would be mistaken for a tail that still waits there.
            self._tails[old] = 0
        self._queues[port.number] = queue
        tail = self._tails.get(queue, 0)
        self._tails[queue] = port.number
        if tail and self._append(tail, port.number):
            return
        FIFO_WORD.pack_into(control, FIFO_HEADS + port.priority * FIFO_WORD.size, port.number)
        if not set_bit(control, FIFO_READY, port.priority):
            self._notify(port.vcpu)

    def _append(self, tail: int, number: int) -> bool:
        """Make `number` the successor of `tail`; False if the guest has taken that one: the queue is empty."""
        page, bits = self._word(tail)
        if page is None or not test_bit(page, 0, bits + FIFO_LINKED):
            return False
        (word,) = FIFO_WORD.unpack_from(page, bits // 8)
        FIFO_WORD.pack_into(page, bits // 8, word & ~(FIFO_LINK_MASK | 1 << FIFO_BUSY) | number)
        return True

    def _word(self, number: int) -> tuple[memoryview | None, int]:
        """Page of a port's event word, None before it is there, and the bit offset of the word."""
        page, index = divmod(number, FIFO_WORDS_PER_PAGE)
        return self._array[page] if page < len(self._array) else None, index * _WORD_BITS
