"""Memory and root complex: what the NIC does to memory, and reads that go wrong."""

from __future__ import annotations

from typing import Final

from sw.abi.registers import TraceKind
from tb.cosim.platform import ReadError
from tb.uvm.agent import Agent, Driver, Monitor
from tb.uvm.items import HostItem, Item
from tb.uvm.observed import ObservedPlatform, Record

SEEN: Final = frozenset(
    {
        TraceKind.WIRE_FIRST,
        TraceKind.CPL_OUT,
        TraceKind.CPL_VISIBLE,
        TraceKind.FAILED,
        TraceKind.RX_FIRST,
        TraceKind.RX_LOCAL,
        TraceKind.RX_GRANT,
        TraceKind.RX_DROP,
        TraceKind.RX_DATA_OUT,
        TraceKind.RX_CPL_OUT,
        TraceKind.RX_CPL_VISIBLE,
        TraceKind.IRQ_OUT,
    }
)
"""What is published of the hardware's trace; the rest is the ledger's."""


class HostMonitor(Monitor):
    """Deliveries, completions and drops, in the hardware's order; injected errors."""

    def listen(self, platform: ObservedPlatform) -> None:
        """The trace, and the root complex's settings."""
        platform.on_record.append(self._record)
        platform.on_read_error.append(lambda address, error: self.port.write(HostItem(error, address=address)))

    def _record(self, record: Record) -> None:
        if record.kind in SEEN:
            self.port.write(HostItem(record.kind, record.endpoint, record.index, record.info, record.cycle))


class HostDriver(Driver):
    """Makes reads of pages fail, and well again."""

    async def play(self, item: Item) -> None:
        """One setting of the root complex."""
        assert isinstance(item, HostItem) and isinstance(item.kind, ReadError)
        self.platform.inject_read_error(item.address, item.kind)


class HostAgent(Agent):
    """Active: sequences of `HostItem` with a `ReadError`."""

    monitor_type = HostMonitor
    driver_type = HostDriver
