"""`make sim`: build, simulate, judge, report. Exit 0 only when every frame arrived bit-exact and once."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tb.cosim.run import Recording, RunResult, run_model
from tb.cosim.toolchain import Model, ToolchainError, build_machine
from tb.sim import report, rtl_files
from tb.sim.capture import CaptureError, load
from tb.sim.config import SimConfig, parse
from tb.sim.judge import judge
from tb.sim.reference import run_reference
from tb.sim.scenario import ScenarioResult, shares_of
from tb.sim.verify import read_wire

POLL_S: Final = 0.1
PLAIN_STEPS: Final = 10
"""Lines of progress when nobody watches a terminal."""


def main(argv: Sequence[str] | None = None) -> int:
    config = parse(argv)
    folder = config.folder
    console = report.console()
    try:
        frames = load(config.pcap)
        console.print(f"{config.guests} guests, {len(frames):,} frames of {config.pcap.name}, mode {config.mode}, seed {config.seed}")
        console.print("building the simulator: about a minute when the hardware has changed, else nothing")
        model = build_machine(variant=config.variant)
    except (CaptureError, ToolchainError) as error:
        print(error, file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*rtl_files.OUTPUTS, "summary.json"):
        (folder / name).unlink(missing_ok=True)
    record = Recording((folder / rtl_files.WAVES).resolve(), window_ns=config.window_ns) if config.waves else None
    outcome = simulate(console, model, config, len(frames), record)
    if not outcome.passed:
        report.write(folder / "summary.json", {"ok": False, "command": config.command, "log": str(outcome.log)})
        return failed(config, ["the simulation itself did not end well, see above"])
    rtl: ScenarioResult = pickle.loads((folder / rtl_files.RESULT).read_bytes())
    with console.status("judging: reading the wire back, running the reference NIC, decoding the trace"):
        reference, reference_wire = run_reference(frames, config.guests, config.seed, config.mode)
        wire = read_wire(folder / rtl_files.WIRE)
        trace = np.load(folder / rtl_files.TRACE)
        verdict = judge(
            shares_of(frames, config.guests, config.mode), rtl, wire, trace, reference, reference_wire,
            bypass=not config.mode.enters_on_data_path,
        )  # fmt: skip
    files = {"pcapng": shown(folder / rtl_files.WIRE), "trace": shown(folder / rtl_files.TRACE)}
    if config.waves:
        files["waves"] = shown(folder / rtl_files.WAVES)
    figures = report.summary(config, rtl, verdict, files)
    report.write(folder / "summary.json", figures)
    report.show(console, figures, verdict)
    return failed(config, verdict.failures) if verdict.failures else 0


def simulate(
    console: Console, model: Model, config: SimConfig, frames: int, record: Recording | None = None
) -> RunResult:
    """Run the simulation process to its end and show how far it is."""
    # the simulation runs in its own folder
    job = replace(config, pcap=config.pcap.resolve())
    folder = config.folder.resolve()
    (folder / rtl_files.CONFIG).write_bytes(pickle.dumps(job))
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            run_model,
            model,
            "tb.sim.rtl_job",
            folder,
            seed=config.seed,
            environment={rtl_files.JOB: str(folder)},
            record=record,
        )
        columns = (
            TextColumn("simulating"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("frames, {task.fields[us]} us"),
        )
        with Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("simulating", total=frames, us=0)
            told = 0
            while not wait([running], POLL_S).done:
                now = rtl_files.read_progress(folder / rtl_files.PROGRESS)
                bar.update(task, completed=now.frames, us=now.ns // 1000)
                if not console.is_terminal and now.frames * PLAIN_STEPS // frames > told:
                    told = now.frames * PLAIN_STEPS // frames
                    console.print(f"{now.frames:,} of {frames:,} frames, {now.ns // 1000:,} us simulated")
            bar.update(task, completed=frames if running.result().passed else None)
        return running.result()


def shown(path: Path) -> Path:
    """The path as a person would type it."""
    return Path(os.path.relpath(path))


def failed(config: SimConfig, reasons: list[str]) -> int:
    """Say what went wrong and how to repeat it."""
    for reason in reasons:
        print(f"FAILED: {reason}", file=sys.stderr)
    print(f"again: {config.command}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
