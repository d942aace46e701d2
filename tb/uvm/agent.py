"""What every agent has: a monitor always, sequencer and driver when it is active."""

from __future__ import annotations

from typing import ClassVar

from pyuvm import uvm_agent, uvm_analysis_port, uvm_driver, uvm_monitor, uvm_sequencer

from tb.uvm.items import Item
from tb.uvm.observed import ObservedPlatform


class Monitor(uvm_monitor):
    """Publishes on `port` what it hears from the platform."""

    def build_phase(self) -> None:
        """Listen from the first moment on."""
        self.port = uvm_analysis_port("port", self)
        platform: ObservedPlatform = self.cdb_get("platform")
        self.listen(platform)

    def listen(self, platform: ObservedPlatform) -> None:
        """Subscribe to the platform's listeners."""
        raise NotImplementedError


class Driver(uvm_driver):
    """Plays items one after the other."""

    def build_phase(self) -> None:
        """Know the platform."""
        self.platform: ObservedPlatform = self.cdb_get("platform")

    async def run_phase(self) -> None:
        """For ever."""
        while True:
            item = await self.seq_item_port.get_next_item()
            await self.play(item)
            self.seq_item_port.item_done()

    async def play(self, item: Item) -> None:
        """One item, until it is done."""
        raise NotImplementedError


class Agent(uvm_agent):
    """`monitor`; `sequencer` and `driver` unless `is_active` says passive."""

    monitor_type: ClassVar[type[Monitor]]
    driver_type: ClassVar[type[Driver]]

    def build_phase(self) -> None:
        """The parts."""
        super().build_phase()
        self.monitor = self.monitor_type("monitor", self)
        if self.active():
            self.sequencer = uvm_sequencer("sequencer", self)
            self.driver = self.driver_type("driver", self)

    def connect_phase(self) -> None:
        """Driver to sequencer."""
        if self.active():
            self.driver.seq_item_port.connect(self.sequencer.seq_item_export)
