"""A test that ends too early, on purpose: what the scoreboard still waits for then is its failure."""

from __future__ import annotations

import pyuvm

from tb.ethernet import on_line
from tb.uvm.frames import request
from tb.uvm.tests.plan_test import PlanTest


@pyuvm.test()
class UndrainedTest(PlanTest):
    """Queues the plan's first frames and stops."""

    async def traffic(self) -> None:
        """Nobody waits for anything."""
        await self.bench.boot()
        for operation in self.plan.operations:
            if operation.kind == "send":
                station = self.bench.stations[operation.guest]
                station.nic.send(request(self.plan.seed, operation, self.bench.stations[operation.to].mac, station.mac, 0).data)
                station.nic.kick()
            else:
                self.platform.wire_send(on_line(request(self.plan.seed, operation, self.bench.stations[0].mac, bytes(6), 0).data))
        self.failures += self.environment.scoreboard.missing()
