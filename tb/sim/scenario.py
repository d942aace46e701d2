"""The run itself, on any `Platform`: boot, create guests, replay their shares, and a hostile guest beside them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from hypervisor_model.hypervisor import Hypervisor
from sw.abi.registers import Form, Iommu, Mode, NicControl
from sw.guest.virtual_nic import SendForm, VirtualNic
from sw.platform import Platform
from tb.sim.capture import share
from tb.sim.config import MAX_GUESTS, form_of
from tb.sim.hostile import Attempt, HostileGuest

RING_ENTRIES: Final = 256
BUFFER_PAGES: Final = 64
DOMAIN_PAGES: Final = 256
HOSTILE_PAGES: Final = 64
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
    counters: dict[str, int] = field(default_factory=dict)
    device_faults: int = 0
    start_ns: int = 0
    end_ns: int = 0
    cpu_s: float = 0.0
    """CPU seconds of this process from start to end of traffic."""


async def replay(nic: VirtualNic, frames: list[bytes], limit_ns: int, report: Callable[[], None]) -> None:
    """Send frames as fast as the queue takes them; returns when the last has completed.

    `limit_ns` bounds each wait; raises what `VirtualNic.wait_for_room` and `drain` raise.
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


async def run(
    platform: Platform, gather: Gather, frames: list[bytes], guests: int, seed: int, progress: Progress
) -> ScenarioResult:
    """The whole scenario. `seed` scatters guest memory; timing is the platform's."""
    result = ScenarioResult()
    hypervisor = Hypervisor(platform, seed=seed)
    await hypervisor.boot()
    shares = share(frames, guests)
    nics: list[VirtualNic] = []
    logs: list[list[tuple[int, int, int]]] = []
    domains = []
    for number in range(guests):
        domain = hypervisor.create_domain(f"guest{number}", DOMAIN_PAGES)
        logs.append([])
        nic = VirtualNic(domain, form_of(number), RING_ENTRIES, buffer_pages=BUFFER_PAGES, completion_log=logs[number])
        await nic.open()
        domains.append(domain)
        nics.append(nic)
    attacker = hypervisor.create_domain("hostile", HOSTILE_PAGES)
    hostile = HostileGuest(hypervisor, attacker, domains[0], nics[0].endpoint, platform.machine)

    def report() -> None:
        progress(sum(map(len, logs)), platform.now())

    async def attack() -> None:
        await hostile.run(has_endpoint=guests < MAX_GUESTS)

    # a ring of the longest frames of every guest may be ahead
    limit_ns = RING_ENTRIES * FRAME_LIMIT_NS * (guests + 1)
    result.start_ns, cpu_start = platform.now(), time.process_time()
    await gather([*(replay(n, f, limit_ns, report) for n, f in zip(nics, shares, strict=True)), attack()])
    result.end_ns, result.cpu_s = platform.now(), time.process_time() - cpu_start

    await hypervisor.handle_faults()
    for number, nic in enumerate(nics):
        form = nic.form
        result.guests.append(GuestResult(f"guest{number}", form.value, nic.endpoint, len(shares[number]), logs[number]))
        result.endpoints[nic.endpoint] = {
            "form": (Form.FETCHED if form is SendForm.FETCHED else Form.PUSHED).name,
            "mode": Mode.IOMMU.name,
            "send_entries": RING_ENTRIES,
        }
    result.attempts = hostile.result.attempts
    result.hostile_frames = hostile.result.frames
    result.hostile_completions = hostile.result.completions
    result.entries = {
        "setup": hypervisor.entries.setup,
        "data_path": hypervisor.entries.data_path,
        "faults": hypervisor.entries.faults,
    }
    result.device_faults = len(hypervisor.faults.device)
    result.counters = await _counters(hypervisor, platform)
    return result


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
