"""Event channels of one domain, 2-level ABI: pending and mask bits in its shared-info page, upcall to its vCPU 0."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from sw.xen.errno import Errno, HypercallError
from sw.xen.xen import (
    EVENT_MASK,
    EVENT_PENDING,
    EVENT_PORTS,
    EVENT_WORD_BITS,
    PENDING_SELECTOR,
    UPCALL_MASK,
    UPCALL_PENDING,
)

_WORD: Final = struct.Struct("<Q")


class EventChannels:
    """Ports of one domain. Each is bound to a physical interrupt; port 0 is never valid."""

    def __init__(self, shared: memoryview, upcall: Callable[[], None]) -> None:
        """`shared` is the domain's shared-info page; `upcall` runs its vCPU's event handler."""
        self._shared = shared
        self._upcall = upcall
        self._ports: dict[int, int] = {}
        self.upcalls = 0
        """Times that the vCPU was kicked: fewer than events, because pending bits coalesce."""

    def bind(self, pirq: int) -> int:
        """A free port for a physical interrupt; it starts neither pending nor unmasked."""
        port = next((n for n in range(1, EVENT_PORTS) if n not in self._ports), None)
        if port is None:
            raise HypercallError(Errno.ENOSPC, f"all {EVENT_PORTS - 1} event channels are in use")
        self._clear(EVENT_PENDING, port)
        self._set(EVENT_MASK, port)
        self._ports[port] = pirq
        return port

    def close(self, port: int) -> int:
        """Free a port; the interrupt that it was bound to."""
        pirq = self._bound(port)
        del self._ports[port]
        self._clear(EVENT_PENDING, port)
        return pirq

    @property
    def ports(self) -> dict[int, int]:
        """Port to physical interrupt, of all bound ports."""
        return dict(self._ports)

    def send(self, port: int) -> None:
        """Set the port pending; raise the upcall unless something has done so already, or a mask forbids it."""
        self._bound(port)
        if not self._set(EVENT_PENDING, port):
            self._notify(port)

    def unmask(self, port: int) -> None:
        """Clear the mask bit; an event that is pending is notified now."""
        self._bound(port)
        self._clear(EVENT_MASK, port)
        if self._test(EVENT_PENDING, port):
            self._notify(port)

    def _notify(self, port: int) -> None:
        if self._test(EVENT_MASK, port) or self._set(PENDING_SELECTOR, port // EVENT_WORD_BITS):
            return
        self._shared[UPCALL_PENDING] = 1
        if not self._shared[UPCALL_MASK]:
            self.upcalls += 1
            self._upcall()

    def _bound(self, port: int) -> int:
        pirq = self._ports.get(port)
        if pirq is None:
            raise HypercallError(Errno.EINVAL, f"event channel {port} is closed")
        return pirq

    def _test(self, base: int, bit: int) -> bool:
        (word,) = _WORD.unpack_from(self._shared, base + bit // EVENT_WORD_BITS * _WORD.size)
        return bool(word >> bit % EVENT_WORD_BITS & 1)

    def _set(self, base: int, bit: int) -> bool:
        """Set a bit; what it was."""
        at = base + bit // EVENT_WORD_BITS * _WORD.size
        (word,) = _WORD.unpack_from(self._shared, at)
        _WORD.pack_into(self._shared, at, word | 1 << bit % EVENT_WORD_BITS)
        return bool(word >> bit % EVENT_WORD_BITS & 1)

    def _clear(self, base: int, bit: int) -> None:
        at = base + bit // EVENT_WORD_BITS * _WORD.size
        (word,) = _WORD.unpack_from(self._shared, at)
        _WORD.pack_into(self._shared, at, word & ~(1 << bit % EVENT_WORD_BITS))
