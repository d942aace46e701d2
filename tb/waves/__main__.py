"""`make waves`: one run again, with an FST, and GTKWave on it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rich.console import Console

from tb.cosim.run import Recording
from tb.cosim.toolchain import ToolchainError, Variant, build_machine
from tb.sim import rtl_files
from tb.sim.__main__ import shown, simulate
from tb.sim.capture import CaptureError, load
from tb.sim.config import parse
from tb.waves import viewer
from tb.waves.config import WavesConfig, WavesError
from tb.waves.desk import prepare
from tb.waves.dump import DumpError
from tb.waves.packet_lanes import PacketError
from tb.waves.view import ViewError, read_views

FOLDER: Final = Path("build/waves")
TRACE: Final = "trace.bin"


def main(environment: Mapping[str, str] = os.environ, folder: Path = FOLDER) -> int:
    console = Console()
    try:
        config = WavesConfig.parse(read_views(), environment)
    except (WavesError, ViewError) as error:
        print(error, file=sys.stderr)
        return 2
    run = parse(["--waves", "1", "--folder", str(folder)], environment)
    folder.mkdir(parents=True, exist_ok=True)
    record = Recording((folder / rtl_files.WAVES).resolve(), (folder / TRACE).resolve(), config.window_ns)
    try:
        frames = load(run.pcap)
        console.print("building the simulator with waves: a few minutes when the hardware has changed, else nothing")
        outcome = simulate(console, build_machine(variant=Variant.WAVES), run, len(frames), record)
        made = prepare(folder, record.fst, folder / TRACE, config)
    except (CaptureError, ToolchainError, DumpError, PacketError) as error:
        print(error, file=sys.stderr)
        return 2
    console.print(f"{config.view.story}: {made.packets:,} packets")
    for why in made.left_out:
        console.print(f"left out: {why}", markup=False)
    if not viewer.open_viewer(made.save_file):
        console.print("no display, or no gtkwave (apt-get install gtkwave); this opens the view:")
    print(viewer.shown(shown(made.save_file)))
    return 0 if outcome.passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
