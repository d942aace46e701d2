"""Message-signalled interrupts of the NIC: vectors are chosen and written here, and by nobody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hypervisor_model.pci import PciBus, PciError
from sw.abi.registers import NicControl
from sw.platform import Platform

CONTROL_BAR: Final = 4
MESSAGE_BASE: Final = 0xFEE0_0000
"""Writes to this MiB are interrupts; bits 19:12 name the core."""
APIC_SHIFT: Final = 12
APIC_MASK: Final = 0xFF
FIRST_VECTOR: Final = 0x30
"""Endpoint n interrupts with vector FIRST_VECTOR + n; lower ones belong to exceptions and old devices."""


class Interrupts:
    """MSI-X table of the NIC: one vector for each endpoint. All are masked until they are routed."""

    def __init__(
        self, platform: Platform, bus: PciBus, write: Callable[[int, int], None], deliver: Callable[[int], None]
    ) -> None:
        """`write` posts a control-register write; `deliver` gets the endpoint of each interrupt that arrives."""
        self._platform = platform
        self._bus = bus
        self._write = write
        self._deliver = deliver
        self._routes: dict[tuple[int, int], int] = {}
        self._enabled = False
        self.spurious = 0
        """Messages that no route expects: wrong core or vector, or on their way when the route was removed."""

    async def enable(self) -> None:
        """Switch MSI-X on, if it is not yet."""
        if not self._enabled:
            bar, offset, entries = await self._bus.enable_msix()
            if (bar, offset) != (CONTROL_BAR, NicControl.MSIX_BASE) or entries < NicControl.MSIX_COUNT:
                raise PciError(
                    f"MSI-X table of {entries} entries at BAR {bar} offset {offset:#x}: expected "
                    f"{NicControl.MSIX_COUNT} at BAR {CONTROL_BAR} offset {NicControl.MSIX_BASE:#x}"
                )
            # Two guests may ask at once.
            if not self._enabled:
                self._platform.on_interrupt(self._message)
                self._enabled = True

    def route(self, endpoint: int, core: int) -> None:
        """Send the endpoint's interrupts to a core (APIC id), from now on. MSI-X must be on."""
        address = MESSAGE_BASE | (core & APIC_MASK) << APIC_SHIFT
        data = FIRST_VECTOR + endpoint
        at = endpoint * NicControl.MSIX_STRIDE
        self._write(NicControl.MSIX_ADDRESS_LO + at, address)
        self._write(NicControl.MSIX_ADDRESS_HI + at, 0)
        self._write(NicControl.MSIX_DATA + at, data)
        self._routes[address, data] = endpoint
        # Unmasked last: the entry must be whole.
        self._write(NicControl.MSIX_CONTROL + at, 0)

    def remove(self, endpoint: int) -> None:
        """Mask the endpoint's vector; a message under way counts as spurious."""
        self._write(NicControl.MSIX_CONTROL + endpoint * NicControl.MSIX_STRIDE, NicControl.MSIX_CONTROL_MASK_M)
        self._routes = {key: number for key, number in self._routes.items() if number != endpoint}

    def _message(self, address: int, data: int) -> None:
        endpoint = self._routes.get((address, data))
        if endpoint is None:
            self.spurious += 1
        else:
            self._deliver(endpoint)
