"""The run itself, on any `Platform`: boot, create guests, replay their shares, and a hostile guest beside them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from hypervisor_model.costs import PS, CostTable
from hypervisor_model.domains import Domain
from hypervisor_model.host import DeviceConfig, Guest, Host, Start
from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.sharing import Sharing
from hypervisor_model.switch import PortPolicy, endpoint_mac
from sw.abi.registers import Form, Iommu, NicControl
from sw.guest.network_device import NetworkDevice
from sw.guest.virtual_nic import SendForm, VirtualNic
from sw.platform import Platform
from tb.sim.attempts import Attempt, Hostile
from tb.sim.capture import share
from tb.sim.config import MAX_GUESTS, form_of
from tb.sim.hostile import HostileGuest
from tb.sim.hostile_front import HostileFront
from tb.sim.outsider import Outsider

RING_ENTRIES: Final = 256
BUFFER_PAGES: Final = 64
DOMAIN_PAGES: Final = 384
APPLICATION_PAGES: Final = 192
"""Of a native owner, for each of its endpoints."""
HOSTILE_PAGES: Final = 64
RECEIVE_ENTRIES: Final = 32
"""Receive buffers of each size: nothing is sent to the guests."""
JUMBO_MTU: Final = 9000
FIRST_GUEST: Final = 1
"""Number of the first guest's domain."""
REPLAY_POLICY: Final = PortPolicy(check_mac=False, check_vlan=False, broadcast=False)
KICK_BATCH: Final = 16
"""Frames of a fetched ring that one doorbell announces."""
FRAME_LIMIT_NS: Final = 20_000
"""Longest time that one frame of any guest may take, for the bound of a wait: 2.7 jumbo frames on the wire."""

Gather = Callable[[list[Coroutine[Any, Any, None]]], Awaitable[object]]
"""Runs coroutines side by side, as the platform's event loop does it."""
Progress = Callable[[int, int], None]
"""Called now and then with frames completed and simulated ns."""


@dataclass
class GuestResult:
    """One guest: what it handed over and what it was told."""

    name: str
    form: str
    endpoint: int
    frames: int
    completions: list[tuple[int, int, int]]
    """(index, length, status), in order."""


@dataclass
class ScenarioResult:
    """What a run leaves behind, apart from wire and trace. Times in ns."""

    guests: list[GuestResult] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    hostile_frames: dict[int, list[bytes]] = field(default_factory=dict)
    """Frames that the hostile guest may send, by endpoint."""
    hostile_completions: list[tuple[int, int, int]] = field(default_factory=list)
    endpoints: dict[int, dict[str, str | int]] = field(default_factory=dict)
    """Of the guests: form, mode and send_entries, as the ledger wants them."""
    entries: dict[str, int] = field(default_factory=dict)
    costs: str = ""
    """The cost table, and what was changed in it."""
    software_ns: dict[str, dict[str, int]] = field(default_factory=dict)
    """vCPU time during traffic: by domain, whose software it was (`guest`, `hypervisor`)."""
    counters: dict[str, int] = field(default_factory=dict)
    device_faults: int = 0
    start_ns: int = 0
    end_ns: int = 0
    cpu_s: float = 0.0
    """CPU seconds of this process from start to end of traffic."""


def shares_of(frames: list[bytes], guests: int, sharing: Sharing) -> list[list[bytes]]:
    """What each guest sends. Behind a learning bridge a guest uses its own address: it must not take over others'."""
    shares = share(frames, guests)
    if sharing is not Sharing.SPLIT:
        return shares
    return [
        [frame[:6] + endpoint_mac(FIRST_GUEST + number, 0) + frame[12:] for frame in own]
        for number, own in enumerate(shares)
    ]


async def replay(nic: NetworkDevice, frames: list[bytes], limit_ns: int, report: Callable[[], None]) -> None:
    """Send frames as fast as the queue takes them; returns when the last has completed.

    `limit_ns` bounds each wait; raises what the device's `wait_for_room` and `drain` raise.
    """
    since_kick = 0
    for frame in frames:
        while not nic.send(frame):
            await nic.wait_for_room(limit_ns)
            report()
        since_kick += 1
        if since_kick == KICK_BATCH:
            nic.kick()
            since_kick = 0
    await nic.drain(limit_ns)
    report()


@dataclass
class Sender:
    """One guest, or one application of a native owner, and its device."""

    device: NetworkDevice
    log: list[tuple[int, int, int]]
    form: str
    endpoint: int
    guest: Guest | None = None


class _Machine:
    """The guests of a run, in one way of sharing the NIC."""

    def __init__(self, hypervisor: Hypervisor, platform: Platform, start: Start, sharing: Sharing) -> None:
        self._hv = hypervisor
        self._platform = platform
        self.sharing = sharing
        self._host = Host(hypervisor, platform, start, sharing, JUMBO_MTU)
        self.senders: list[Sender] = []
        self.domains: list[Domain] = []

    async def build(self, guests: int) -> None:
        """Boot what the guests need, and them."""
        if self.sharing is Sharing.NATIVE:
            # One system without a hypervisor's services: its applications have an endpoint each.
            owner = self._hv.create_domain("owner", APPLICATION_PAGES * guests, mode=self.sharing.mode)
            self.domains.append(owner)
            for number in range(guests):
                log: list[tuple[int, int, int]] = []
                nic = VirtualNic(owner, form_of(number), RING_ENTRIES, buffer_pages=BUFFER_PAGES, completion_log=log)
                await nic.open()
                self.senders.append(Sender(nic, log, nic.form.value, nic.endpoint))
            return
        await self._host.boot()
        for number in range(guests):
            # Captured frames have any source address.
            domain = self._hv.create_domain(
                f"guest{number}", DOMAIN_PAGES, mode=self.sharing.mode, port_policy=REPLAY_POLICY
            )
            self.domains.append(domain)
            log = []
            device = DeviceConfig(form_of(number), RING_ENTRIES, BUFFER_PAGES, JUMBO_MTU, RECEIVE_ENTRIES)
            guest = await self._host.add_guest(domain, device, log)
            if isinstance(guest.device, VirtualNic):
                self.senders.append(Sender(guest.device, log, guest.device.form.value, guest.device.endpoint, guest))
            else:
                self.senders.append(Sender(guest.device, log, "netfront", self._host.uplink.endpoint, guest))

    def rings(self) -> dict[int, VirtualNic]:
        """The NICs whose packets the trace shows, by endpoint."""
        nics = [s.device for s in self.senders if isinstance(s.device, VirtualNic)]
        if self.sharing is Sharing.SPLIT:
            nics.append(self._host.uplink)
        return {nic.endpoint: nic for nic in nics}

    async def hostile(self) -> Hostile:
        """One guest more, which does what it may not. A native owner is trusted: there it is one that has not got the NIC."""
        hypervisor, map_ = self._hv, self._platform.machine
        # It has a function of its own, whatever the others have.
        machine = hypervisor.create_domain("hostile", HOSTILE_PAGES)
        victim, endpoint = self.domains[0], self.senders[0].endpoint
        if self.sharing is Sharing.NATIVE:
            outsider = Outsider(hypervisor, machine, victim, endpoint, map_)
            await outsider.prepare()
            return outsider
        if self.sharing is Sharing.SPLIT:
            plug = await self._host.plug(machine, JUMBO_MTU)
            return HostileFront(hypervisor, self._host, machine, plug, victim)
        has_endpoint = len(self.senders) < MAX_GUESTS
        return HostileGuest(hypervisor, machine, victim, endpoint, map_, has_endpoint=has_endpoint)

    async def drain(self, timeout_ns: int) -> None:
        """Until what guests have handed over has left."""
        if self.sharing is not Sharing.NATIVE:
            await self._host.drain(timeout_ns)

    async def end(self) -> None:
        """Close every device, end the control domain's tasks."""
        for sender in self.senders:
            await sender.device.close()
        if self.sharing is not Sharing.NATIVE:
            await self._host.shut_down()


async def run(
    platform: Platform,
    gather: Gather,
    start: Start,
    frames: list[bytes],
    guests: int,
    seed: int,
    sharing: Sharing,
    progress: Progress,
) -> ScenarioResult:
    """The whole scenario. `seed` scatters guest memory; timing is the platform's."""
    result = ScenarioResult()
    hypervisor = Hypervisor(platform, seed=seed, costs=CostTable.load())
    await hypervisor.boot()
    shares = shares_of(frames, guests, sharing)
    machine = _Machine(hypervisor, platform, start, sharing)
    await machine.build(guests)
    senders = machine.senders
    hostile = await machine.hostile()

    def report() -> None:
        progress(sum(len(sender.log) for sender in senders), platform.now())

    # a ring of the longest frames of every guest may be ahead
    limit_ns = RING_ENTRIES * FRAME_LIMIT_NS * (guests + 1)
    await _pay(hypervisor)
    time_before, entries_before = _software_ns(hypervisor), _data_path(hypervisor, sharing)

    async def traffic() -> None:
        await gather([replay(s.device, f, limit_ns, report) for s, f in zip(senders, shares, strict=True)])
        await machine.drain(limit_ns)
        # The hostile guest may have more to try: what that costs is nobody's traffic.
        await _pay(hypervisor)
        for (name, payer), ns in _software_ns(hypervisor).items():
            result.software_ns.setdefault(name, {})[payer] = ns - time_before.get((name, payer), 0)
        result.entries["data_path"] = _data_path(hypervisor, sharing) - entries_before

    result.start_ns, cpu_start = platform.now(), time.process_time()
    await gather([traffic(), hostile.run()])
    await machine.drain(limit_ns)
    result.end_ns, result.cpu_s = platform.now(), time.process_time() - cpu_start

    result.costs = hypervisor.costs.describe()
    await hypervisor.handle_faults()
    result.entries |= {"setup": hypervisor.entries.setup, "faults": hypervisor.entries.faults}
    result.device_faults = len(hypervisor.faults.device)
    result.counters = await _counters(hypervisor, platform)
    for endpoint, nic in machine.rings().items():
        result.endpoints[endpoint] = {
            "form": (Form.FETCHED if nic.form is SendForm.FETCHED else Form.PUSHED).name,
            "mode": sharing.mode.name,
            "send_entries": nic.ring_entries,
        }
    for number, sender in enumerate(senders):
        result.guests.append(
            GuestResult(f"guest{number}", sender.form, sender.endpoint, len(shares[number]), sender.log)
        )
    result.attempts = hostile.result.attempts
    result.hostile_frames = hostile.result.frames
    result.hostile_completions = hostile.result.completions
    await machine.end()
    return result


async def _pay(hypervisor: Hypervisor) -> None:
    """Have every domain pay for what its software has done so far: it does so at its next call that sleeps."""
    for domain in hypervisor.domains.values():
        await domain.sleep(1)


def _data_path(hypervisor: Hypervisor, sharing: Sharing) -> int:
    """Entries for traffic so far; of guests without endpoints all, which have no other way to send."""
    return hypervisor.entries.total if sharing is Sharing.SPLIT else hypervisor.entries.data_path


def _software_ns(hypervisor: Hypervisor) -> dict[tuple[str, str], int]:
    """vCPU time so far by domain's name and payer."""
    found: dict[tuple[str, str], int] = {}
    scheduler = hypervisor.scheduler
    for domid, _, payer, _, picoseconds in scheduler.accounts.rows() if scheduler is not None else ():
        key = hypervisor.domains[domid].name, str(payer)
        found[key] = found.get(key, 0) + picoseconds
    return {key: picoseconds // PS for key, picoseconds in found.items()}


async def _counters(hypervisor: Hypervisor, platform: Platform) -> dict[str, int]:
    """What the hardware itself counted."""
    read = hypervisor.endpoints.read
    nic = {
        "frames": NicControl.FRAMES,
        "failed_chains": NicControl.FAILED_CHAINS,
        "auth_checks": NicControl.AUTH_CHECKS,
        "auth_denied": NicControl.AUTH_DENIED,
        "read_errors": NicControl.READ_ERRORS,
        "read_timeouts": NicControl.READ_TIMEOUTS,
        "unexpected_completions": NicControl.UNEXPECTED_CPL,
        "mmio_dropped": NicControl.MMIO_DROPPED,
    }
    iommu = {
        "translations": Iommu.TRANSLATIONS,
        "iotlb_misses": Iommu.IOTLB_MISSES,
        "iommu_faults": Iommu.FAULTS,
    }
    found = {name: await read(register) for name, register in nic.items()}
    for name, register in iommu.items():
        found[name] = int.from_bytes(await platform.mmio_read(platform.machine.iommu + register, 4), "little")
    return found
