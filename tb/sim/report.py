"""What `make sim` prints and writes at the end."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from sw.platform import CYCLE_NS
from tb.ledger.latency import table
from tb.sim.config import SimConfig
from tb.sim.judge import Verdict
from tb.sim.scenario import ScenarioResult


def summary(config: SimConfig, rtl: ScenarioResult, verdict: Verdict, files: dict[str, Path]) -> dict[str, Any]:
    """The figures of a run as JSON; `files` are the paths that it names."""
    cycles = (rtl.end_ns - rtl.start_ns) // CYCLE_NS
    return {
        "ok": not verdict.failures,
        "failures": verdict.failures,
        "command": config.command,
        "mode": str(config.mode),
        "guests": config.guests,
        "seed": config.seed,
        "capture": str(config.pcap),
        "frames_sent": sum(check.sent for check in verdict.guests),
        "frames_verified": sum(check.verified for check in verdict.guests),
        "by_guest": [
            {
                "name": guest.name,
                "form": guest.form,
                "endpoint": guest.endpoint,
                "frames": check.sent,
                "bytes": check.sent_bytes,
                "verified": check.verified,
            }
            for guest, check in zip(rtl.guests, verdict.guests, strict=True)
        ],
        "hypervisor_entries_data_path": rtl.entries["data_path"],
        "hypervisor_entries_setup": rtl.entries["setup"],
        "hypervisor_entries_faults": rtl.entries["faults"],
        "software_costs": rtl.costs,
        "software_ns": rtl.software_ns,
        "protection_checks": rtl.counters["auth_checks"] + rtl.counters["translations"],
        "violations_attempted": verdict.violations_attempted,
        "violations_caught": sum(attempt.caught for attempt in rtl.attempts),
        "violations_escaped": verdict.violations_escaped,
        "violations": [asdict(attempt) for attempt in rtl.attempts],
        "hostile_frames_sent": sum(check.sent for check in verdict.hostile),
        "hostile_frames_verified": sum(check.verified for check in verdict.hostile),
        "device_faults": rtl.device_faults,
        "counters": rtl.counters,
        "latency": [row.as_json() for row in verdict.latencies],
        "simulated_ns": rtl.end_ns - rtl.start_ns,
        "cycles": cycles,
        "cpu_s": rtl.cpu_s,
        "cycles_per_cpu_s": round(cycles / rtl.cpu_s) if rtl.cpu_s else 0,
        "endpoints": rtl.endpoints,
        **{name: str(path) for name, path in files.items()},
    }


PLAIN_WIDTH: Final = 100
"""Columns where there is no terminal to ask."""


def console() -> Console:
    """Where a run shows itself."""
    shown = Console()
    return shown if shown.is_terminal else Console(width=PLAIN_WIDTH)


def write(path: Path, figures: dict[str, Any]) -> None:
    path.write_text(json.dumps(figures, indent=2) + "\n")


def facts(out: Console, *lines: tuple[str, str]) -> None:
    """Name and text of each line at the end of a run."""
    for name, text in lines:
        out.print(f"{name + ':':<12}{text}", highlight=False)


def show(out: Console, figures: dict[str, Any], verdict: Verdict) -> None:
    """The end of a run for a person."""
    guests = Table(title="Frames on the wire, bit-exact and once", title_justify="left")
    for name in ("guest", "form", "frames", "bytes", "verified"):
        guests.add_column(name, justify="left" if name in ("guest", "form") else "right")
    for row in figures["by_guest"]:
        good = row["verified"] == row["frames"]
        told = "all" if good else f"[red]{row['verified']}[/red]"
        guests.add_row(row["name"], row["form"], f"{row['frames']:,}", f"{row['bytes']:,}", told)
    out.print(guests)
    if verdict.latencies:
        out.print(table(verdict.latencies))
    hypervisor = (
        f"{figures['hypervisor_entries_data_path']} entries on the data path,"
        f" {figures['hypervisor_entries_setup']} in set-up, {figures['hypervisor_entries_faults']} for faults"
    )
    frames = figures["frames_sent"]
    # What the vCPUs of each did: waiting by polling counts.
    software = ", ".join(
        f"{name} {sum(times.values()) / frames:,.0f}" for name, times in _by_role(figures["software_ns"]).items()
    )
    protection = (
        f"{figures['protection_checks']:,} checks; violations: {figures['violations_attempted']} attempted,"
        f" {figures['violations_caught']} caught, {figures['violations_escaped']} escaped"
    )
    speed = (
        f"{figures['simulated_ns'] / 1000:,.0f} us simulated in {figures['cpu_s']:.2f} CPU s:"
        f" {figures['cycles_per_cpu_s']:,} cycles per CPU second"
    )
    files = ", ".join(figures[name] for name in ("pcapng", "trace", "waves") if name in figures)
    software = f"vCPU ns a frame: {software or 'none'}"
    facts(
        out,
        ("Hypervisor", hypervisor),
        ("Software", software),
        ("Costs", figures["software_costs"]),
        ("Protection", protection),
        ("Simulation", speed),
        ("Files", files),
    )


def _by_role(software_ns: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """Guests together, the control domain, the hypervisor."""
    found: dict[str, dict[str, int]] = {}
    for domain, times in software_ns.items():
        for payer, ns in times.items():
            role = "hypervisor" if payer == "hypervisor" else domain if domain in ("dom0", "hostile") else "guests"
            found.setdefault(role, {})[domain] = found.get(role, {}).get(domain, 0) + ns
    return found
