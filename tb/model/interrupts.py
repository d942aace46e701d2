"""Interrupts of the reference NIC: armed by guests, moderated by the hypervisor, sent as MSI-X messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sw.abi.registers import NicControl
from sw.platform import CYCLE_NS
from tb.model.clock import Clock
from tb.model.pci_config import ConfigSpace

RINGS: Final = 5
"""Completion rings of an endpoint: its sends', then four receive queues'."""
MESSAGE_NS: Final = 200
"""From the decision to the interrupt controller."""
_CAPABILITY: Final = 0x11
_ENABLE: Final = 1 << 31
_FUNCTION_MASK: Final = 1 << 30
_MOST: Final = 255
_MODERATION_WRITABLE: Final = NicControl.IRQ_MODERATION_CYCLES_M | NicControl.IRQ_MODERATION_COUNT_M


class _Vector:
    def __init__(self) -> None:
        self.moderation = 0
        self.address_lo = self.address_hi = self.data = 0
        self.mask = NicControl.MSIX_CONTROL_MASK_M
        self.pending = False
        self.enabled = False
        self.timer = 0
        self.waiting = False
        self.restart()

    def restart(self) -> None:
        self.armed = [False] * RINGS
        self.events = [0] * RINGS
        self.posted = [0] * RINGS
        self.cancel()

    def cancel(self) -> None:
        self.waiting = False
        self.timer += 1


class Interrupts:
    """One vector for each endpoint. `send(vector, address, data)` puts a message on the link."""

    def __init__(self, clock: Clock, config: ConfigSpace, send: Callable[[int, int, int], None]) -> None:
        self._clock = clock
        self._config = config
        self._send = send
        self._vectors = [_Vector() for _ in range(NicControl.MSIX_COUNT)]
        self.messages = 0
        """Sent so far."""

    # --- what happens to endpoints -----------------------------------------------------------------

    def enable(self, number: int, *, enabled: bool) -> None:
        """An endpoint starts anew with nothing armed, or stops."""
        vector = self._vectors[number]
        vector.restart()
        vector.enabled = enabled

    def posted(self, number: int, ring: int, index: int) -> None:
        """An entry is in memory; `index` is the one after it."""
        vector = self._vectors[number]
        vector.posted[ring] = index
        if vector.armed[ring]:
            vector.events[ring] += 1
            self._consider(number, vector)

    def arm(self, number: int, ring: int, index: int) -> None:
        """Software has seen all entries before `index`: one event for the next one, at once if it is there."""
        vector = self._vectors[number]
        if not vector.enabled:
            return
        vector.armed[ring] = True
        vector.events[ring] = min(vector.posted[ring] - index & 0xFFFF, _MOST)
        self._consider(number, vector)

    def _consider(self, number: int, vector: _Vector) -> None:
        events = sum(vector.events)
        if not events:
            vector.cancel()
            return
        cycles = vector.moderation & NicControl.IRQ_MODERATION_CYCLES_M
        count = (vector.moderation & NicControl.IRQ_MODERATION_COUNT_M) >> NicControl.IRQ_MODERATION_COUNT_S
        if not cycles or events >= count:
            self._fire(number, vector)
        elif not vector.waiting:
            vector.waiting = True
            self._clock.schedule(cycles * CYCLE_NS, self._time_is_up, (number, vector.timer))

    def _time_is_up(self, wait: tuple[int, int]) -> None:
        number, timer = wait
        vector = self._vectors[number]
        if vector.waiting and vector.timer == timer:
            self._fire(number, vector)

    def _fire(self, number: int, vector: _Vector) -> None:
        if not vector.enabled:
            return
        for ring in range(RINGS):
            if vector.events[ring]:
                vector.armed[ring] = False
                vector.events[ring] = 0
        vector.cancel()
        vector.pending = True
        self._message(number, vector)

    # --- messages ----------------------------------------------------------------------------------

    def _message(self, number: int, vector: _Vector) -> None:
        if not vector.pending or vector.mask or not self._config.bus_master:
            return
        control = self._control()
        if not control & _ENABLE or control & _FUNCTION_MASK:
            return
        vector.pending = False
        self.messages += 1
        message = number, vector.address_hi << 32 | vector.address_lo, vector.data
        self._clock.schedule(MESSAGE_NS, self._deliver, message)

    def _deliver(self, message: Any) -> None:
        self._send(*message)

    def _control(self) -> int:
        """First word of the MSI-X capability, 0 where there is none."""
        at = self._config.read(0x34)[0]
        while at:
            word = int.from_bytes(self._config.read(at), "little")
            if word & 0xFF == _CAPABILITY:
                return word
            at = word >> 8 & 0xFF
        return 0

    def refresh(self) -> None:
        """Configuration or a mask has changed: send what may be sent now."""
        for number, vector in enumerate(self._vectors):
            self._message(number, vector)

    # --- registers ---------------------------------------------------------------------------------

    def read(self, offset: int) -> int:
        """A word of IRQ_TABLE or MSIX_TABLE, `offset` in the control BAR."""
        if offset < NicControl.MSIX_BASE:
            return self._vectors[(offset - NicControl.IRQ_BASE) // NicControl.IRQ_STRIDE].moderation
        if offset in (NicControl.PBA_LO, NicControl.PBA_HI):
            first = 0 if offset == NicControl.PBA_LO else 32
            return sum(self._vectors[first + n].pending << n for n in range(32))
        if offset >= NicControl.PBA_LO:
            return 0
        number, at = divmod(offset - NicControl.MSIX_BASE, NicControl.MSIX_STRIDE)
        vector = self._vectors[number]
        return (vector.address_lo, vector.address_hi, vector.data, vector.mask)[at // 4]

    def write(self, offset: int, value: int) -> None:
        """A word of the tables; pending bits are read-only."""
        if offset < NicControl.MSIX_BASE:
            vector = self._vectors[(offset - NicControl.IRQ_BASE) // NicControl.IRQ_STRIDE]
            vector.moderation = value & _MODERATION_WRITABLE
            return
        if offset >= NicControl.PBA_LO:
            return
        number, at = divmod(offset - NicControl.MSIX_BASE, NicControl.MSIX_STRIDE)
        vector = self._vectors[number]
        register = at + NicControl.MSIX_BASE
        if register == NicControl.MSIX_ADDRESS_LO:
            vector.address_lo = value & NicControl.MSIX_ADDRESS_LO_ADDRESS_M
        elif register == NicControl.MSIX_ADDRESS_HI:
            vector.address_hi = value
        elif register == NicControl.MSIX_DATA:
            vector.data = value
        else:
            vector.mask = value & NicControl.MSIX_CONTROL_MASK_M
            self._message(number, vector)
