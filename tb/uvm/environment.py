"""The environment: agents at the machine's edges, the scoreboard behind their monitors."""

from __future__ import annotations

from typing import Final

from pyuvm import uvm_env

from tb.uvm.coverage import Coverage
from tb.uvm.expectation import Mismatch
from tb.uvm.host_agent import HostAgent
from tb.uvm.interrupt_agent import InterruptAgent
from tb.uvm.mmio_agent import MmioAgent
from tb.uvm.observed import ObservedPlatform
from tb.uvm.scoreboard import Scoreboard
from tb.uvm.wire_agent import WireInAgent, WireOutAgent

DRAIN_NS: Final = 400_000
"""What has not come so long after the last request never will."""
STEP_NS: Final = 5_000


class Environment(uvm_env):
    """Needs two keys in the ConfigDB: `platform` (an `ObservedPlatform`) and `setting` (a `Setting`, for coverage).

    `is_active` makes an agent passive.
    """

    def build_phase(self) -> None:
        """The parts. Monitors first of all: their order is the order in which they hear of one event."""
        self.platform: ObservedPlatform = self.cdb_get("platform")
        self.mmio = MmioAgent("mmio", self)
        self.wire_in = WireInAgent("wire_in", self)
        self.host = HostAgent("host", self)
        self.wire_out = WireOutAgent("wire_out", self)
        self.interrupt = InterruptAgent("interrupt", self)
        self.scoreboard = Scoreboard("scoreboard", self)
        self.coverage = Coverage("coverage", self)
        self.agents = (self.mmio, self.wire_in, self.host, self.wire_out, self.interrupt)

    def connect_phase(self) -> None:
        """Every monitor to the scoreboard, what it has found out to coverage."""
        for agent in self.agents:
            agent.monitor.port.connect(self.scoreboard.analysis_export)
        self.scoreboard.packets.connect(self.coverage.analysis_export)

    async def drain(self) -> list[Mismatch]:
        """Wait, bounded, until the scoreboard waits for nothing; what it still waits for."""
        deadline = self.platform.now() + DRAIN_NS
        while self.scoreboard.missing() and self.platform.now() < deadline:
            await self.platform.sleep(STEP_NS)
        self.scoreboard.drop_lost_completions()
        return self.scoreboard.missing()

    async def check_counters(self, control: int) -> None:
        """Every counter of the NIC that the scoreboard follows; `control`: machine address of the control BAR."""
        for register in self.scoreboard.counters():
            data = await self.platform.mmio_read(control + register, 4)
            self.scoreboard.check_counter(register, int.from_bytes(data, "little"))
