"""The simulation's side of a run, on either platform: boot, guests, pump, answers to the run, captures."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from hypervisor_model.hypervisor import Hypervisor
from sw.abi.registers import Form, NicControl
from sw.guest.virtual_nic import ReceiveConfig, SendForm, VirtualNic
from sw.platform import Platform
from tb.sim.config import form_of
from tb.sim.rtl_files import CONFIG, JOB, TRACE
from tb.tap import control
from tb.tap.config import DEVICE, MTU, WIRE, WIRE_MAC, TapConfig
from tb.tap.driver import GuestDriver
from tb.tap.namespaces import TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6
from tb.tap.pump import QUIET_NS, Guest, Left, Line, Pump, Tap
from tb.tap.service import Service, Trace, write_captures

GUEST_OFFLOADS: Final = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6
"""What a guest's stack leaves to the NIC."""
RING_ENTRIES: Final = 512
RECEIVE_ENTRIES: Final = 512
"""Buffers of each ring: more than all sockets may have under way to one guest."""
BUFFER_PAGES: Final = 256
DRAIN_NS: Final = 100_000_000
"""Bound of the wait for full rings to empty."""
DOMAIN_PAGES: Final = 2048
NIC_COUNTERS: Final = {
    "frames_sent": NicControl.FRAMES,
    "frames_from_the_wire": NicControl.RX_FRAMES,
    "frames_between_guests": NicControl.LOCAL_FRAMES,
    "interrupts": NicControl.INTERRUPTS,
}
NIC_FAULTS: Final = {
    "failed_chains": NicControl.FAILED_CHAINS,
    "bad_fcs": NicControl.RX_BAD_FCS,
    "runts": NicControl.RX_RUNT,
    "oversize_frames": NicControl.RX_OVERSIZE,
    "bad_framing": NicControl.RX_BAD_FRAMING,
    "receive_buffer_overflows": NicControl.RX_OVERFLOW,
    "frames_without_guest_buffers": NicControl.RX_NO_BUFFER,
    "spoofed_frames": NicControl.SPOOFED_FRAMES,
}
"""Counters that must be zero."""

Gather = Callable[[list[Coroutine[Any, Any, None]]], Awaitable[object]]
"""Runs coroutines side by side, as the platform's event loop does it."""


class TapPlatform(Platform, Line, Protocol):
    """A platform with a line towards its NIC."""


@dataclass(frozen=True)
class TapJob:
    """What the simulation process gets: the run, and files that it inherits."""

    config: TapConfig
    control: int
    taps: dict[str, int]
    """TAP files by host."""
    groups: list[int]
    """Of each guest's namespace, a file that lists its link-layer groups."""


def load() -> tuple[Path, TapJob]:
    """The folder that the environment names, and the job in it."""
    # Ctrl-C in a terminal reaches every process; this one ends when the run says so, or is gone
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    folder = Path(os.environ[JOB])
    job: TapJob = pickle.loads((folder / CONFIG).read_bytes())
    return folder, job


async def serve(
    platform: TapPlatform, left: Left, gather: Gather, folder: Path, job: TapJob, trace: Trace | None = None
) -> None:
    """Boot, join the stacks until the run ends, leave captures and trace; tell the run.

    `trace` gives the hardware's trace records since its last call, where there is hardware.
    """
    config = job.config
    with socket.socket(fileno=job.control) as end:
        hypervisor = Hypervisor(platform, seed=config.seed)
        await hypervisor.boot()
        guests: list[Guest] = []
        nics: list[VirtualNic] = []
        for number in range(config.guests):
            name = f"guest{number}"
            domain = hypervisor.create_domain(name, DOMAIN_PAGES)
            receive = ReceiveConfig(mtu=MTU, form=Form.PUSHED if number & 1 else Form.FETCHED, entries=RECEIVE_ENTRIES)
            nic = VirtualNic(domain, form_of(number), RING_ENTRIES, buffer_pages=BUFFER_PAGES, receive=receive)
            await nic.open()
            nics.append(nic)
            guests.append(Guest(name, nic.mac, Tap(job.taps[name]), job.groups[number], DEVICE))
        pump = Pump(platform, left, guests, Tap(job.taps[WIRE]), WIRE_MAC, WIRE)
        drivers = [
            GuestDriver(nic, platform, partial(pump.deliver, guest)) for guest, nic in zip(guests, nics, strict=True)
        ]
        for guest, driver in zip(guests, drivers, strict=True):
            guest.driver = driver

        async def quiet() -> None:
            for nic in nics:
                await nic.drain(DRAIN_NS)
            await platform.sleep(QUIET_NS)

        service = Service(end, pump, platform.now, quiet, trace)
        counters: list[dict[str, int]] = []
        began = platform.now()

        async def run() -> None:
            endpoints = [
                {"endpoint": nic.endpoint, "form": _form(nic).name, "send_entries": RING_ENTRIES, "mac": nic.mac.hex()}
                for nic in nics
            ]
            control.send(end, {"kind": "ready", "guests": endpoints})
            await pump.run(service.poll, end.fileno())
            if trace is not None:
                np.save(folder / TRACE, service.trace())
            counters.extend([await driver.close() for driver in drivers])

        await gather([run(), *(driver.receive() for driver in drivers)])
        await hypervisor.handle_faults()
        captures = write_captures(folder, pump.capture, {guest.name: guest.capture for guest in guests})
        totals = await _totals(hypervisor, pump, guests, counters)
        totals |= {"simulated_ns": platform.now() - began, "cpu_s": time.process_time()}
        if service.asked:
            told = {"captures": captures, "totals": totals, "software_costs": hypervisor.costs.describe()}
            control.send(end, {"kind": "end", **told})


def _form(nic: VirtualNic) -> Form:
    return Form.FETCHED if nic.form is SendForm.FETCHED else Form.PUSHED


async def _totals(
    hypervisor: Hypervisor, pump: Pump, guests: list[Guest], counters: list[dict[str, int]]
) -> dict[str, Any]:
    """What NIC, drivers and pump counted."""
    read = hypervisor.endpoints.read
    faults = {name: await read(register) for name, register in NIC_FAULTS.items()}
    for guest, of_guest in zip(guests, counters, strict=True):
        for name, value in of_guest.items():
            if "dropped" in name or name == "tx_errors":
                faults[f"{guest.name}_{name}"] = value
    faults["hypervisor_entries_on_the_data_path"] = hypervisor.entries.data_path
    faults["device_faults"] = len(hypervisor.faults.device)
    faults["frames_lost"] = pump.lost
    return {
        "nic": {name: await read(register) for name, register in NIC_COUNTERS.items()},
        "offloads": {name: sum(guest.left_to_nic[name] for guest in guests) for name in guests[0].left_to_nic},
        "hypervisor": {
            "entries_on_the_data_path": hypervisor.entries.data_path,
            "interrupts_taken": hypervisor.entries.interrupts,
        },
        "pump": {
            "frames_lost": pump.lost,
            "pause_frames": pump.pauses,
            "frames_refused_by_stacks": sum(guest.tap.refused for guest in guests),
        },
        "drivers": {guest.name: of_guest for guest, of_guest in zip(guests, counters, strict=True)},
        "must_be_zero": faults,
    }
