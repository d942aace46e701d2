"""Accesses by processors: BARs, configuration space, the IOMMU's registers."""

from __future__ import annotations

from tb.uvm.agent import Agent, Driver, Monitor
from tb.uvm.items import Item, MmioItem
from tb.uvm.observed import ObservedPlatform


class MmioMonitor(Monitor):
    """Every access, whoever makes it: writes when they are posted, reads when they are answered."""

    def listen(self, platform: ObservedPlatform) -> None:
        """Writes and reads."""
        platform.on_write.append(lambda address, data: self.port.write(MmioItem(address, data)))
        platform.on_read.append(
            lambda address, data, landed: self.port.write(MmioItem(address, data, write=False, landed=landed))
        )


class MmioDriver(Driver):
    """Makes accesses, for a guest as the guest's own software would."""

    async def play(self, item: Item) -> None:
        """One access; a read's answer is in `item.data` afterwards."""
        assert isinstance(item, MmioItem)
        who = item.guest if item.guest is not None else self.platform
        if item.write:
            who.mmio_write(item.address, item.data)
        else:
            item.data = await who.mmio_read(item.address, 4)


class MmioAgent(Agent):
    """Active: sequences of `MmioItem`."""

    monitor_type = MmioMonitor
    driver_type = MmioDriver
