"""The line, both directions."""

from __future__ import annotations

from tb.cosim.platform import WireFrame
from tb.uvm.agent import Agent, Driver, Monitor
from tb.uvm.items import Direction, Item, WireItem
from tb.uvm.observed import ObservedPlatform, Record


class WireInMonitor(Monitor):
    """Frames towards the NIC, when they are queued on the line: they arrive in this order."""

    def listen(self, platform: ObservedPlatform) -> None:
        """The line towards the NIC."""
        platform.on_send.append(lambda data, error: self.port.write(WireItem(data, error=error)))


class WireInDriver(Driver):
    """The far end's transmitter."""

    async def play(self, item: Item) -> None:
        """Queue one frame on the line."""
        assert isinstance(item, WireItem)
        self.platform.wire_send(item.data, error=item.error)


class WireInAgent(Agent):
    """Active: sequences of `WireItem`."""

    monitor_type = WireInMonitor
    driver_type = WireInDriver


class WireOutMonitor(Monitor):
    """Frames that have left, each with the endpoint and chain that the trace names."""

    def listen(self, platform: ObservedPlatform) -> None:
        """The line from the NIC."""
        platform.on_left.append(self._left)

    def _left(self, frame: WireFrame, record: Record | None) -> None:
        item = WireItem(frame.data, Direction.OUT, cycle=frame.last_cycle)
        if record is not None:
            item.endpoint, item.head = record.endpoint, record.index
        self.port.write(item)


class WireOutAgent(Agent):
    """The far end's receiver: it has nothing to drive, and is passive."""

    monitor_type = WireOutMonitor
    driver_type = WireInDriver

    def active(self) -> bool:
        """Never."""
        return False
