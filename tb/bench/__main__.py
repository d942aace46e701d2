"""`make bench`: run every case, or every way of sharing, print the figures and write `build/bench/summary.json`."""

from __future__ import annotations

import argparse
import os
import pickle
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from hypervisor_model.costs import CostTable
from hypervisor_model.hypervisor import MAX_PAYLOAD
from hypervisor_model.sharing import Sharing
from sw.platform import CYCLE_NS
from tb.bench import figures, modes, overhead, verification
from tb.bench.bounds import frame_rate, receive_rate, wire_gbps
from tb.bench.cases import (
    CASE_VARIABLE,
    CHECKED,
    DUPLEX_1514_4G,
    GUEST_TO_GUEST,
    IDLE,
    LATENCY,
    RECEIVE_CASES,
    RESULT,
    RX_60_8G,
    RX_1514_1G,
    RX_1514_8G,
    RX_9014_8G,
    SEND_CASES,
    TX_60_1G,
    TX_60_4G,
    TX_60_8G,
    TX_1514_1G,
    TX_1514_4G,
    TX_1514_8G,
    WIRE_TO_MEMORY,
    Case,
    Measurement,
)
from tb.bench.figures import Row
from tb.bench.overhead import Way
from tb.cosim.run import Recording, run_model
from tb.cosim.toolchain import ROOT, Model, ToolchainError, Variant, build_machine
from tb.sim import report

FOLDER: Final = ROOT / "build/bench"


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


def main(argv: Sequence[str] | None = None) -> int:
    by_mode = parse(argv)
    console = report.console()
    try:
        console.print("building simulators: minutes when the hardware has changed, else nothing")
        models = {variant: build_machine(variant=variant) for variant in ((Variant.PLAIN,) if by_mode else Variant)}
    except ToolchainError as error:
        print(error, file=sys.stderr)
        return 2
    # The cases are about the hardware alone.
    costs = CostTable.load() if by_mode else CostTable.free()
    found = measure_modes(console, models[Variant.PLAIN], costs) if by_mode else measure_cases(console, models)
    if found is None:
        return 1
    path = FOLDER / "summary.json"
    figures.write(path, found, costs.describe())
    report.facts(console, ("Costs", costs.describe()))
    console.print(os.path.relpath(path), highlight=False)
    return 0


def parse(argv: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether to compare the ways of sharing. The option wins over the environment (MODES).

    A bad value ends the program with status 2 and a line that names the field and its limits.
    """
    parser = argparse.ArgumentParser(prog="python -m tb.bench", description="The figures of NIC and simulation.")
    parser.add_argument("--modes", metavar="0|1", help="1: the five ways of sharing with software costs (MODES; 0)")
    given = parser.parse_args(argv).modes
    text = (given if given is not None else environment.get("MODES", "")) or "0"
    if text not in ("0", "1"):
        parser.error(f"MODES={text}: must be 0 or 1")
    return bool(text == "1")


def measure_cases(console: Console, models: Mapping[Variant, Model]) -> list[Row] | None:
    """Run every case and print the figures; None when one failed."""
    measured: dict[str, Measurement] = {}
    for case in (*SEND_CASES, *RECEIVE_CASES):
        found = run_case(console, models[Variant.PLAIN], case)
        if found is None:
            return None
        measured[case.name] = found
    ratios = measure_overhead(console, models)
    verified = verification.rows(console)
    if ratios is None or verified is None:
        return None
    result = [*rows(measured), *ratios, *verified]
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("name", "value", "unit", "bound", "what bounds it"):
        number = column in ("value", "bound")
        shown.add_column(column, justify="right" if number else "left", no_wrap=number or column == "name")
    for row in result:
        bound = "" if row.bound is None else f"{row.bound:,.2f}"
        shown.add_row(row.name, f"{row.value:,.2f}", row.unit, bound, row.note)
    console.print(shown)
    return result


def measure_overhead(console: Console, models: Mapping[Variant, Model]) -> list[Row] | None:
    """What checkers, coverage and an FST cost; None when a run failed."""
    cpu_s: dict[tuple[Case, Way], list[float]] = defaultdict(list)
    for case, _, way in product(CHECKED, range(overhead.ROUNDS), overhead.WAYS):
        found = run_case(console, models[way.variant], way.case(case))
        if found is None:
            return None
        cpu_s[case, way].append(found.cpu_s)
    return overhead.rows(cpu_s)


def measure_modes(console: Console, model: Model, costs: CostTable) -> list[Row] | None:
    """Run every way of sharing and print the figures side by side; None when one failed."""
    found: dict[Sharing, list[Row]] = {}
    for sharing in Sharing:
        measured = run_job(console, model, "tb.bench.modes_job", str(sharing), modes.MODE_VARIABLE, modes.RESULT)
        if measured is None:
            return None
        found[sharing] = modes.rows(sharing, measured, costs)
    for table in modes.tables(found):
        console.print(table)
    version = Row("mode.costs.version", costs.version, "")
    return [version, *(row for of_mode in found.values() for row in of_mode)]


def run_case(console: Console, model: Model, case: Case) -> Measurement | None:
    """One simulation of a case; None when it failed."""
    found = run_job(console, model, "tb.bench.rtl_job", case.name, CASE_VARIABLE, RESULT)
    assert found is None or isinstance(found, Measurement)
    return found


def run_job(console: Console, model: Model, module: str, name: str, variable: str, result: str) -> Any:
    """One simulation process, which is told `name` in `variable`; what it left, None when it failed."""
    folder = FOLDER / (name if model.variant is Variant.PLAIN else f"{name}_{model.variant}")
    record = Recording(folder / "waves.fst") if model.variant is Variant.WAVES else None
    with console.status(f"measuring {folder.name}"):
        outcome = run_model(model, module, folder, seed=1, environment={variable: name}, record=record)
    if not outcome.passed:
        print(f"FAILED: bench case {name}\nagain: {outcome.repeat}", file=sys.stderr)
        return None
    return pickle.loads((folder / result).read_bytes())


if __name__ == "__main__":
    raise SystemExit(main())
