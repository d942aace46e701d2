"""The reference NIC beside the RTL, on the RTL's own memory: what it writes goes to a shadow and is compared.

It executes a request when software posts it, with memory as it is then; it ends nothing by itself. Chains wait for
the hardware to end them, frames for the hardware to grant them their buffers: of the orders that are legal the
hardware's is taken, what happens in it is the reference's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sw.abi.registers import NicControl, RxDrop, Status
from sw.platform import PAGE_SHIFT, MachineMap
from tb.cosim.platform import ReadError, RtlMemory
from tb.model.bus import Bus
from tb.model.endpoint import Endpoint, ReceiveRing
from tb.model.iommu import ReferenceIommu
from tb.model.nic import Outcome, ReferenceNic
from tb.model.pci_config import APERTURE_BAR_BYTES, CONTROL_BAR_BYTES
from tb.model.rx import PAD

_STATUS: Final = {
    ReadError.UR: Status.READ_UR,
    ReadError.CA: Status.READ_CA,
    ReadError.POISONED: Status.READ_POISONED,
    ReadError.DROPPED: Status.READ_TIMEOUT,
}
_APERTURE: Final = APERTURE_BAR_BYTES // NicControl.ENDPOINT_COUNT
APERTURE_BAR: Final = 2
CONTROL_BAR: Final = 4


class ShadowMachine:
    """What the reference NIC needs of its machine (`tb.model.clock.Clock`, `tb.model.iommu.Memory`)."""

    def __init__(self, memory: RtlMemory, now: Callable[[], int]) -> None:
        self._memory = memory
        self.now = now
        self.errors: dict[int, ReadError] = {}
        """By machine page: how reads that touch it end."""
        self.failed = ReadError.NONE
        """Of the last read that failed."""
        self.writes: list[tuple[int, bytes]] = []
        """What devices would have written since `take`."""

    def take(self) -> list[tuple[int, bytes]]:
        """Writes since the last call."""
        writes, self.writes = self.writes, []
        return writes

    def schedule(self, delay: int, action: Callable[[Any], None], argument: Any) -> None:
        """Nothing happens in the reference's own time: timers and messages are the hardware's."""

    def interrupt(self, address: int, data: int) -> None:
        """Never called: messages are the hardware's."""

    def device_read(self, address: int, size: int) -> bytes | None:
        """DMA read of the RTL's memory; None outside RAM and where an error was injected."""
        if address + size > self._memory.size:
            return None
        for page in range(address >> PAGE_SHIFT, (address + size - 1 >> PAGE_SHIFT) + 1) if self.errors else ():
            if page in self.errors:
                self.failed = self.errors[page]
                return None
        return self._memory.read(address, size)

    def device_write(self, address: int, data: bytes) -> bool:
        """DMA write: remembered; False outside RAM."""
        if address + len(data) > self._memory.size:
            return False
        self.writes.append((address, bytes(data)))
        return True


class Reference:
    """The reference NIC behind the reference IOMMU, led by what the hardware does."""

    def __init__(self, machine: MachineMap, memory: RtlMemory, now: Callable[[], int]) -> None:
        self.shadow = ShadowMachine(memory, now)
        iommu = ReferenceIommu(self.shadow)
        self.nic = ReferenceNic(self.shadow, iommu, machine.nic_bus)
        self.nic.on_outcome = self._executed
        self._bus = Bus(machine, iommu, self.nic)
        self._outcomes: list[Outcome] = []

    def write(self, address: int, data: bytes) -> list[Outcome]:
        """One posted write, and the chains that it has started, whole."""
        self._bus.write(address, data)
        self.shadow.writes.clear()
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def read_control(self, offset: int) -> int:
        """A control register, as the reference has it."""
        return self.nic.mmio_read(self.nic.config.bar(CONTROL_BAR) + offset) or 0

    def control(self, address: int) -> int | None:
        """Offset in the control BAR."""
        base = self.nic.config.bar(CONTROL_BAR)
        return address - base if base and 0 <= address - base < CONTROL_BAR_BYTES else None

    def aperture(self, address: int) -> tuple[int, int] | None:
        """Endpoint, and offset in its aperture."""
        base = self.nic.config.bar(APERTURE_BAR)
        return divmod(address - base, _APERTURE) if base and 0 <= address - base < APERTURE_BAR_BYTES else None

    def complete(self, outcome: Outcome) -> list[tuple[int, bytes]]:
        """End a chain; its completion entry as it must be in memory, nothing where it does not get there."""
        self.shadow.take()
        self.nic.complete(outcome)
        return self.shadow.take()

    def fill(self, endpoint: int, frame: bytes, *, local: bool) -> list[tuple[int, bytes]] | RxDrop:
        """Give an endpoint a frame: what must be in memory then, its completion entry last; or why it cannot get it."""
        self.shadow.take()
        reason = self.nic.receiver.fill(endpoint, frame, local=local)
        return self.shadow.take() if reason is None else reason

    def receive_ring(self, endpoint: Endpoint, length: int) -> tuple[ReceiveRing, int]:
        """Where a frame of `length` bytes takes its buffers, and how many."""
        if length <= endpoint.small_max:
            return endpoint.small, 1
        return endpoint.big, -(-(length + PAD) // (1 << endpoint.buffer_log2))

    def _executed(self, outcome: Outcome) -> None:
        if outcome.status in (Status.READ_UR, Status.FETCH_ERROR) and (failed := self.shadow.failed) is not ReadError.NONE:
            # how a fetch failed the NIC does not tell
            outcome.status = _STATUS[failed] if outcome.status is Status.READ_UR else outcome.status
            outcome.injected = True
            self.shadow.failed = ReadError.NONE
        self._outcomes.append(outcome)
