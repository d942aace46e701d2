"""Software on the machine: hypervisor, guests with the project's own driver, and a hostile one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hypervisor_model.domains import Domain
from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.switch import PortPolicy
from sw.abi.registers import Mode, NicControl
from sw.guest.virtual_nic import VirtualNic
from sw.platform import PAGE_SHIFT
from tb.uvm.hostile import Hostile
from tb.uvm.observed import ObservedPlatform
from tb.uvm.plan import GuestPlan, Plan
from tb.uvm.reference import CONTROL_BAR

BUFFER_PAGES: Final = 24
READ_TIMEOUT_CYCLES: Final = 50_000
"""200 us: longer than any read takes on an unfriendly machine."""
WAIT_NS: Final = 4_000_000
"""Bound of each wait of a guest."""
POLL_NS: Final = 50_000
WINDOW_PAGES: Final = 2048
"""Long runs of buffers lie in windows of 2 MiB."""


@dataclass(eq=False)
class Station:
    """One guest."""

    plan: GuestPlan
    domain: Domain
    nic: VirtualNic
    mac: bytes = b""
    open: bool = False

    async def start(self) -> None:
        """Open its endpoint."""
        await self.nic.open()
        self.mac = self.nic.mac
        self.open = True

    async def stop(self) -> None:
        """Close it, whatever is in flight."""
        self.open = False
        await self.nic.close()


class Bench:
    """The software of a plan. `boot` first."""

    def __init__(self, platform: ObservedPlatform, plan: Plan) -> None:
        self.platform = platform
        self.plan = plan
        config = plan.host_config()
        self.hypervisor = Hypervisor(platform, seed=plan.seed, max_payload=config.mps, max_read=config.mrrs)
        self.stations: list[Station] = []
        self.hostile: Hostile | None = None

    @property
    def control(self) -> int:
        """Machine address of the control BAR."""
        return self.hypervisor.device.bars[CONTROL_BAR][0]

    async def boot(self) -> None:
        """Bring the machine up, open an endpoint for each guest."""
        await self.hypervisor.boot()
        self.hypervisor.endpoints.write(NicControl.READ_TIMEOUT, READ_TIMEOUT_CYCLES)
        mode = self.plan.protection()
        for number, guest in enumerate(self.plan.guests):
            receive = guest.receive()
            pages = 128 + receive.entries * (receive.big_bytes + receive.small + 200) // 4096
            pages += WINDOW_PAGES if mode is Mode.WINDOWS else 0
            domain = self.hypervisor.create_domain(f"guest{number}", pages, mode=mode, port_policy=PortPolicy(vlan=guest.vlan))
            nic = VirtualNic(domain, guest.send_form(), guest.ring, cq_entries=guest.cq, buffer_pages=BUFFER_PAGES,
                             buffer_alignment=guest.alignment, receive=receive)
            station = Station(guest, domain, nic)
            await station.start()
            self.stations.append(station)
        if any(operation.kind == "hostile" for operation in self.plan.operations):
            self.hostile = Hostile(self.hypervisor, mode)
            await self.hostile.start()

    async def receive(self, station: Station) -> None:
        """What a guest's reader does, for ever."""
        while True:
            if station.open:
                await station.nic.receive(POLL_NS)
            if not station.open:
                await self.platform.sleep(POLL_NS)

    async def shut_down(self) -> None:
        """Close every endpoint."""
        for station in self.stations:
            if station.open:
                await station.stop()
        await self.hypervisor.handle_faults()

    def page_of(self, station: Station, gpa: int) -> int:
        """Machine address of the page behind a guest's address."""
        frame = station.domain.p2m.frame(gpa >> PAGE_SHIFT)
        if frame is None:
            raise ValueError(f"{station.domain.name} has no page at {gpa:#x}")
        return frame << PAGE_SHIFT
