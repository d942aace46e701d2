"""Shared by the tests of costs, vCPUs and life cycle: guests that send to each other, and a record of who was on a core."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from hypervisor_model.costs import CostTable
from hypervisor_model.domains import Domain
from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.scheduler import Core, Scheduler
from hypervisor_model.vcpus import Vcpu
from sw.guest.virtual_nic import ReceiveConfig, SendForm, VirtualNic
from tb.model.platform import ModelPlatform
from tests.model.model_support import WAIT_NS, machine, random_frames

Machine = tuple[ModelPlatform, Hypervisor]


def free_machine() -> Machine:
    return machine()


def timed_machine(cores: int = 4, slice_ns: int = 1_000_000, **overrides: float) -> Machine:
    """Software costs what the table says, or what `overrides` say."""
    platform = ModelPlatform()
    hv = Hypervisor(platform, costs=CostTable.load(overrides=overrides), cores=cores, slice_ns=slice_ns)
    platform.run(hv.boot())
    return platform, hv


def scheduler_of(hv: Hypervisor) -> Scheduler:
    assert hv.scheduler is not None
    return hv.scheduler


@dataclass
class Exchange:
    """What a run has left."""

    frames: list[Any]
    completions: list[Any]
    end: int
    entries: tuple[int, int, int]
    accounts: list[Any]
    received: list[list[bytes]] = field(default_factory=list)
    sent: list[list[bytes]] = field(default_factory=list)


def exchange(
    on: Machine,
    form: SendForm,
    *,
    interrupts: bool = True,
    guests: int = 3,
    frames: int = 40,
    seed: int = 1,
    posted: Sequence[bool] = (False,),
) -> Exchange:
    """Guests in a circle, each sending to the next and receiving from the one before at the same time."""
    platform, hv = on
    domains = [hv.create_domain(f"guest{n}", 512, posted=posted[n % len(posted)]) for n in range(guests)]
    config = ReceiveConfig(interrupts=interrupts)
    nics = [VirtualNic(domain, form, 64, buffer_pages=32, receive=config) for domain in domains]
    sent: list[list[bytes]] = [[] for _ in domains]
    received: list[list[bytes]] = [[] for _ in domains]
    ready = 0

    async def guest(n: int) -> None:
        nonlocal ready
        nic, domain = nics[n], domains[n]
        await nic.open()
        ready += 1
        while ready < guests:
            await domain.sleep(1_000)

        async def receive() -> None:
            while len(received[n]) < frames:
                got = await nic.receive(WAIT_NS)
                assert got, f"guest {n} waited in vain for frame {len(received[n])}"
                received[n] += [frame.data for frame in got]

        async def send() -> None:
            for data in random_frames(100 * seed + n, frames, 1500):
                frame = (nics[(n + 1) % guests].mac + nic.mac + b"\x08\x00" + data)[:1514].ljust(60, b"\0")
                sent[n].append(frame)
                while not nic.send(frame):
                    await nic.wait_for_room(WAIT_NS)
                nic.kick()
            await nic.drain(WAIT_NS)

        await platform.gather([receive(), send()])
        await nic.close()

    async def everybody() -> None:
        await platform.gather(guest(n) for n in range(guests))

    platform.run(everybody())
    accounts = hv.scheduler.accounts.rows() if hv.scheduler is not None else []
    entries = (hv.entries.setup, hv.entries.interrupts, hv.entries.posted)
    return Exchange(platform.frames, platform.completions, platform.now(), entries, accounts, received, sent)


@dataclass
class Stay:
    core: int
    vcpu: Vcpu
    begin: int
    end: int


@contextmanager
def watched(platform: ModelPlatform) -> Iterator[list[Stay]]:
    """Every stay of a vCPU on a core, from the moments at which cores change hands."""
    stays: list[Stay] = []
    here: dict[int, Stay] = {}
    enter, leave = Vcpu.enter_core, Vcpu.leave_core

    def entering(vcpu: Vcpu, core: Core) -> None:
        assert core.number not in here, f"core {core.number} has {here[core.number].vcpu.name} already"
        here[core.number] = Stay(core.number, vcpu, platform.now(), -1)
        enter(vcpu, core)

    def leaving(vcpu: Vcpu, *, willing: bool) -> None:
        if vcpu.core is not None:
            stay = here.pop(vcpu.core.number)
            assert stay.vcpu is vcpu
            stay.end = platform.now()
            stays.append(stay)
        leave(vcpu, willing=willing)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Vcpu, "enter_core", entering)
        patch.setattr(Vcpu, "leave_core", leaving)
        yield stays
    for stay in here.values():
        stay.end = platform.now()
        stays.append(stay)


def check_conservation(hv: Hypervisor, stays: Sequence[Stay]) -> None:
    """Busy and idle add up to the cores' time; accounts to busy; nobody is at two places, no core has two."""
    scheduler = scheduler_of(hv)
    elapsed = scheduler.elapsed()
    times = scheduler.times()
    assert all(busy + idle == elapsed for busy, idle in times)
    assert sum(busy + idle for busy, idle in times) == len(scheduler.cores) * elapsed
    for core, (busy, _) in enumerate(times):
        assert busy == sum(stay.end - stay.begin for stay in stays if stay.core == core)
    assert sum(busy for busy, _ in times) * 1000 == scheduler.accounts.total()
    for keys in (lambda stay: stay.core, lambda stay: id(stay.vcpu)):
        by_key: dict[int, list[Stay]] = {}
        for stay in stays:
            by_key.setdefault(keys(stay), []).append(stay)
        for mine in by_key.values():
            mine.sort(key=lambda stay: (stay.begin, stay.end))
            assert all(before.end <= after.begin for before, after in itertools.pairwise(mine))
    for domain in hv.domains.values():
        own = sum(stay.end - stay.begin for stay in stays if stay.vcpu in domain.vcpus)
        assert own * 1000 == scheduler.accounts.total(domid=domain.domid)


def watch_writes(platform: ModelPlatform) -> list[tuple[int, int]]:
    """(time, address) of every MMIO write from here on."""
    log: list[tuple[int, int]] = []
    post = platform.mmio_write

    def posting(address: int, data: bytes) -> None:
        log.append((platform.now(), address))
        post(address, data)

    platform.mmio_write = posting  # type: ignore[method-assign]
    return log


def raw(domain: Domain, data: bytes, page: int = 8) -> int:
    """Put bytes into a page of the guest that its kernel does not use yet; their address."""
    at = (domain.ram.stop - page) << 12
    domain.memory.write(at, data)
    return at
