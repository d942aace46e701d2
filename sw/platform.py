"""The one interface between software (hypervisor, drivers) and the machine.

Two implementations exist: the RTL co-simulation (`tb.cosim.platform`) and the reference NIC (`tb.model.platform`).
Addresses here are machine addresses; guests reach them through their domain's P2M only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

PAGE_SHIFT: Final = 12
PAGE_SIZE: Final = 1 << PAGE_SHIFT
CYCLE_NS: Final = 4
"""The 250 MHz clock of the PCIe transaction layer, the NIC and the IOMMU."""


@dataclass(frozen=True)
class MachineMap:
    """Machine address map: RAM from 0, then MMIO. All values in bytes."""

    ram_bytes: int = 256 << 20
    pci_window: int = 0xC000_0000
    """Where the hypervisor places BARs."""
    pci_window_bytes: int = 0x2000_0000
    ecam: int = 0xE000_0000
    """Configuration space: ecam + (bus << 20 | devfn << 12) + offset."""
    ecam_bytes: int = 0x1000_0000
    iommu: int = 0xFED9_0000
    """One page of IOMMU registers."""
    nic_bus: int = 1
    """The NIC's physical function is nic_bus:00.0; endpoint n's own function has requester ID 0x0101 + n."""


class PlatformTimeoutError(TimeoutError):
    """A bounded wait ended: the message says who waited for what and how long, in simulated time."""


class HostMemory(Protocol):
    """Machine memory. Out-of-range accesses raise `IndexError` naming address and limit."""

    @property
    def size(self) -> int: ...

    def read(self, address: int, size: int) -> bytes: ...

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None: ...

    def view(self, address: int, size: int) -> memoryview:
        """A writable window on the memory itself; no copy."""
        ...


class Signal(Protocol):
    """Wakes coroutines from software: from an interrupt handler, for instance."""

    def notify(self) -> None:
        """Wake everybody who waits now."""
        ...

    async def wait(self, timeout_ns: int) -> bool:
        """Sleep until the next `notify`: True; False when `timeout_ns` of simulated time has passed."""
        ...


class Platform(Protocol):
    """Host memory, MMIO, time, interrupts: nothing else."""

    @property
    def memory(self) -> HostMemory: ...

    @property
    def machine(self) -> MachineMap: ...

    def now(self) -> int:
        """Simulated time in ns."""
        ...

    def mmio_write(self, address: int, data: bytes) -> None:
        """Post one write of 1 to 64 bytes (one MWr TLP, or one CfgWr0); never blocks, order is kept."""
        ...

    async def mmio_read(self, address: int, size: int) -> bytes:
        """Read 4 bytes; all ones where nothing answers. Raises `PlatformTimeoutError`."""
        ...

    async def sleep(self, ns: int) -> None: ...

    def call_after(self, ns: int, action: Callable[[], None]) -> None:
        """Call `action()` when `ns` of simulated time have passed, as a timer interrupt would; it must not block."""
        ...

    async def monitor(self, address: int, expected: bytes, mask: bytes, timeout_ns: int) -> bool:
        """Sleep until `memory & mask == expected` at `address`, as a core in MONITOR/MWAIT would.

        True when the bytes match, False when `timeout_ns` of simulated time has passed. Costs one wake-up however
        many writes went by.
        """
        ...

    def on_interrupt(self, handler: Callable[[int, int], None]) -> None:
        """Call handler(address, data) for each message-signalled interrupt, when its write reaches the interrupt
        controller, in the order of arrival; it must not block. One handler: a second one raises `RuntimeError`.

        Without a handler interrupts are ignored.
        """
        ...

    def signal(self) -> Signal:
        """A new signal, with nobody waiting."""
        ...
