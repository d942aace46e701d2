"""Interrupts: messages at the controller, and guests that ask for them."""

from __future__ import annotations

from typing import Final

from sw.abi.registers import Aperture
from tb.uvm.agent import Agent, Driver, Monitor
from tb.uvm.items import InterruptItem, Item
from tb.uvm.observed import ObservedPlatform

_WORD: Final = 4


class InterruptMonitor(Monitor):
    """Every message."""

    def listen(self, platform: ObservedPlatform) -> None:
        """The interrupt controller."""
        platform.on_message.append(lambda address, data: self.port.write(InterruptItem(address, data)))


class InterruptDriver(Driver):
    """Arms rings for guests."""

    async def play(self, item: Item) -> None:
        """One arming, by the guest in its own aperture."""
        assert isinstance(item, InterruptItem) and item.guest is not None
        value = item.ring << Aperture.ARM_QUEUE_S | item.index & Aperture.ARM_INDEX_M
        item.guest.mmio_write(item.address + Aperture.ARM, value.to_bytes(_WORD, "little"))


class InterruptAgent(Agent):
    """Active: sequences of `InterruptItem` that arm."""

    monitor_type = InterruptMonitor
    driver_type = InterruptDriver
