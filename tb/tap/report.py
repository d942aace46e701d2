"""What `make tap` prints: what the programs saw in real time beside what the NIC took in simulated time."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from tb.sim.report import facts
from tb.tap.config import TapConfig, addresses
from tb.tap.namespaces import Namespace

TOTALS = ("nic", "offloads", "hypervisor", "pump")


def seen(real: dict[str, Any]) -> str:
    """What a program saw."""
    if "failed" in real:
        return "[red]failed[/red]"
    if "rtt_min_ms" in real:
        return f"{real['rtt_ms']:,.1f} ms"
    return f"{real['mbit_s']:,.1f} Mbit/s"


def flow_of(flows: list[dict[str, Any]], source: str, target: str) -> dict[str, Any] | None:
    """The account of one direction of a step."""
    return next((flow for flow in flows if (flow["from"], flow["to"]) == (source, target)), None)


def taken(row: dict[str, Any], source: str, target: str) -> tuple[str, str]:
    """Frames of one direction, and the median of their times: the hardware's trace where there is one."""
    flow = flow_of(row["simulated"], source, target)
    traced = flow_of(row.get("ledger", row["simulated"]), source, target)
    return (f"{flow['frames']:,}", f"{traced['median_ns']:,}" if traced else "") if flow else ("0", "")


def gbps(flow: dict[str, Any] | None) -> float:
    """Frame bits per simulated time in which the flow had something under way."""
    return float(flow["bytes"] * 8 / flow["busy_ns"]) if flow and flow["busy_ns"] else 0.0


def table(rows: list[dict[str, Any]], nic: str) -> Table:
    """All steps."""
    shown = Table(
        title=f"Real time: what the programs saw. Simulated time: what the {nic} took, median",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    shown.add_column("program")
    shown.add_column("from > to", no_wrap=True)
    shown.add_column("saw, real time")
    for name in ("frames", "ns", "Gb/s", "back", "ns"):
        shown.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        source, target = row["from"], row["to"]
        there = flow_of(row["simulated"], source, target)
        rate = f"{gbps(there):.2f}" if there and "mbit_s" in row["real"] else ""
        shown.add_row(
            row["title"],
            f"{source} > {target}",
            seen(row["real"]),
            *taken(row, source, target),
            rate,
            *taken(row, target, source),
        )
    return shown


def line(row: dict[str, Any]) -> str:
    """One step as a line, for where nobody watches a terminal."""
    return f"{row['title']}, {row['from']} > {row['to']}: {seen(row['real'])}"


def invitation(config: TapConfig, spaces: dict[str, Namespace]) -> str:
    """How to use the namespaces by hand."""
    lines = ["The namespaces stay until Ctrl-C:"]
    for number, space in enumerate(spaces.values()):
        four, six = addresses(number, len(config.hosts))
        lines.append(f"  {space.host:<8} {four:<12} {six:<10} ip netns exec {space.name} bash")
    return "\n".join(lines)


def show(out: Console, figures: dict[str, Any]) -> None:
    """The end of a run for a person."""
    out.print(table(figures["steps"], figures["nic"]))
    totals = figures["totals"]
    time = f"{totals['simulated_ns'] / 1e6:,.2f} ms simulated in {totals['cpu_s']:.1f} CPU s"
    counted = {
        "Stacks": figures["stacks"],
        **{name.upper() if name == "nic" else name.capitalize(): totals[name] for name in TOTALS},
    }
    facts(
        out,
        *(
            (name, ", ".join(f"{n:,} {what.replace('_', ' ')}" for what, n in rows.items()))
            for name, rows in counted.items()
        ),
        # The stacks are Linux's own: a table of what such software costs has no say over them.
        ("Costs", f"{figures['software_costs']}; the stacks take real time"),
        ("Time", f"{time}, {figures['real_s']:.0f} s of real time"),
        (
            "Captures",
            ", ".join(f"{c['path']} ({c['frames']:,} frames, {c['bad']} bad)" for c in figures["captures"].values()),
        ),
    )
