"""2-level ABI: one pending and one mask bit a port in the shared-info page, and a selector of words for each vCPU.

Source: Xen `xen/common/event_2l.c` (behaviour restated).
"""

from __future__ import annotations

from collections.abc import Callable

from hypervisor_model.events.ports import Port
from sw.xen.shared_bits import clear_bit, set_bit, test_bit
from sw.xen.xen import EVENT_MASK, EVENT_PENDING, EVENT_PORTS, EVENT_WORD_BITS, PENDING_SELECTOR, VCPU_INFO_BYTES


class TwoLevel:
    """The hypervisor's half. The guest may write anything here; only its own events suffer."""

    limit = EVENT_PORTS

    def __init__(self, shared: memoryview, notify: Callable[[int], None]) -> None:
        """`shared` is the domain's shared-info page; `notify` raises a vCPU's upcall."""
        self._shared = shared
        self._notify = notify

    def set_pending(self, port: Port) -> bool:
        """Steps 1 to 3 of a send; True if the event was pending already and nothing more is done."""
        if set_bit(self._shared, EVENT_PENDING, port.number):
            return True
        if not test_bit(self._shared, EVENT_MASK, port.number):
            self._select(port)
        return False

    def clear_pending(self, number: int) -> None:
        """The event is gone."""
        clear_bit(self._shared, EVENT_PENDING, number)

    def mask(self, number: int) -> None:
        """No upcall until it is unmasked."""
        set_bit(self._shared, EVENT_MASK, number)

    def unmask(self, port: Port) -> None:
        """Steps 2 and 3 again, if the port was masked and is pending."""
        if clear_bit(self._shared, EVENT_MASK, port.number) and self.is_pending(port.number):
            self._select(port)

    def is_pending(self, number: int) -> bool:
        """The event waits for the guest."""
        return test_bit(self._shared, EVENT_PENDING, number)

    def is_busy(self, number: int) -> bool:
        """A closed port can be used again at once."""
        return False

    def _select(self, port: Port) -> None:
        selector = port.vcpu * VCPU_INFO_BYTES + PENDING_SELECTOR
        if not set_bit(self._shared, selector, port.number // EVENT_WORD_BITS):
            self._notify(port.vcpu)
