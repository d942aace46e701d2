"""`make bench`: run every case, print the figures and write `build/bench/summary.json`."""

from __future__ import annotations

import json
import os
import pickle
import sys
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.table import Table

from hypervisor_model.hypervisor import MAX_PAYLOAD
from sw.platform import CYCLE_NS
from tb.bench.bounds import frame_rate, receive_rate, wire_gbps
from tb.bench.cases import (
    CASE_VARIABLE,
    CASES,
    DUPLEX_1514_4G,
    GUEST_TO_GUEST,
    IDLE,
    LATENCY,
    RESULT,
    RX_60_8G,
    RX_1514_1G,
    RX_1514_8G,
    RX_9014_8G,
    TX_60_1G,
    TX_60_4G,
    TX_60_8G,
    TX_1514_1G,
    TX_1514_4G,
    TX_1514_8G,
    WIRE_TO_MEMORY,
    Measurement,
)
from tb.cosim.run import run_model
from tb.cosim.toolchain import ROOT, ToolchainError, build_machine
from tb.sim import report

FOLDER: Final = ROOT / "build/bench"


@dataclass(frozen=True)
class Row:
    """One figure; `bound` is the computed limit where there is one, `note` what sets it."""

    name: str
    value: float
    unit: str
    bound: float | None = None
    note: str = ""


def rows(measured: dict[str, Measurement]) -> list[Row]:
    """The figures of all cases."""
    busy, small, idle = measured[TX_1514_4G.name], measured[TX_60_4G.name], measured[IDLE.name]
    latency = measured[LATENCY.name]
    found = [
        Row("sim.cycles_per_cpu_s.tx_1514_4g", busy.cycles_per_cpu_s, "cycles/s"),
        Row("sim.packets_per_cpu_s.tx_60_4g", small.frames / small.cpu_s, "packets/s"),
        Row(
            "sim.ratio_to_idle.tx_1514_4g",
            busy.cycles_per_cpu_s / idle.cycles_per_cpu_s,
            "",
            1.0,
            f"idle: {idle.cycles_per_cpu_s:,.0f} cycles/s",
        ),
        *(Row(f"nic.cycles.{form}", share, "cycles") for form, share in latency.nic_share.items()),
    ]
    for case in (TX_1514_1G, TX_1514_8G):
        gbps = measured[case.name].frames_per_us() * case.frame_bytes * 8 / 1000
        found.append(
            Row(f"nic.gbps.{case.name}", gbps, "Gb/s", wire_gbps(case.frame_bytes), "wire, frames without FCS")
        )
    for case in (TX_60_1G, TX_60_8G):
        bound = frame_rate(case.frame_bytes, latency.payload_read * CYCLE_NS)
        found.append(
            Row(f"nic.mpps.{case.name}", measured[case.name].frames_per_us(), "Mpps", bound.value, bound.binds)
        )
    return found + receive_rows(measured)


def receive_rows(measured: dict[str, Measurement]) -> list[Row]:
    """The figures of the receive side."""
    duplex = measured[DUPLEX_1514_4G.name]
    found = []
    for case in (RX_1514_1G, RX_1514_8G, RX_9014_8G):
        bound = receive_rate(case.frame_bytes, MAX_PAYLOAD, case.buffer_bytes)
        to_gbps = case.frame_bytes * 8 / 1000
        gbps = measured[case.name].frames_per_us() * to_gbps
        found.append(Row(f"nic.gbps.{case.name}", gbps, "Gb/s", bound.value * to_gbps, bound.binds))
    bound = receive_rate(RX_60_8G.frame_bytes, MAX_PAYLOAD, RX_60_8G.buffer_bytes)
    found.append(
        Row(f"nic.mpps.{RX_60_8G.name}", measured[RX_60_8G.name].frames_per_us(), "Mpps", bound.value, bound.binds)
    )
    for case, what in (
        (WIRE_TO_MEMORY, "last beat of 60 bytes to completion visible"),
        (GUEST_TO_GUEST, "doorbell of 60 bytes inline to completion visible at the sibling"),
    ):
        found.append(Row(f"nic.ns.{case.name}", measured[case.name].latency * CYCLE_NS, "ns", None, what))
    rate = duplex.frames / duplex.cpu_s
    found.append(
        Row(
            f"sim.cycles_per_cpu_s.{DUPLEX_1514_4G.name}",
            duplex.cycles_per_cpu_s,
            "cycles/s",
            None,
            f"{rate:,.0f} packets/s",
        )
    )
    return found


def main() -> int:
    console = report.console()
    try:
        console.print("building the simulator: about a minute when the hardware has changed, else nothing")
        model = build_machine()
    except ToolchainError as error:
        print(error, file=sys.stderr)
        return 2
    measured: dict[str, Measurement] = {}
    for name in CASES:
        folder = FOLDER / name
        with console.status(f"measuring {name}"):
            outcome = run_model(model, "tb.bench.rtl_job", folder, seed=1, environment={CASE_VARIABLE: name})
        if not outcome.passed:
            print(f"FAILED: bench case {name}\nagain: {outcome.repeat}", file=sys.stderr)
            return 1
        measured[name] = pickle.loads((folder / RESULT).read_bytes())
    found = rows(measured)
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("name", "value", "unit", "bound", "what bounds it"):
        number = column in ("value", "bound")
        shown.add_column(column, justify="right" if number else "left", no_wrap=number or column == "name")
    for row in found:
        bound = "" if row.bound is None else f"{row.bound:,.2f}"
        shown.add_row(row.name, f"{row.value:,.2f}", row.unit, bound, row.note)
    console.print(shown)
    path = FOLDER / "summary.json"
    path.write_text(
        json.dumps([{"name": r.name, "value": r.value, "unit": r.unit, "bound": r.bound} for r in found], indent=2)
        + "\n"
    )
    console.print(os.path.relpath(path), highlight=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
