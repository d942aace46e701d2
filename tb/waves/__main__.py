"""`make waves`: one run again, with an FST, and GTKWave on it.

Exit 0: the run passed; 1: it failed, and the view is of its failure; 2: nothing was shown.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tb.cosim.plant import results_root
from tb.cosim.toolchain import ToolchainError
from tb.regress.regression import UsageError
from tb.regress.suites import SuitesError
from tb.regress.testplan import PlanError
from tb.sim import report
from tb.sim.__main__ import shown
from tb.sim.capture import CaptureError
from tb.sim.rtl_files import WAVES
from tb.uvm import plan
from tb.waves import viewer
from tb.waves.config import WavesConfig, WavesError
from tb.waves.desk import Prepared, prepare, prepare_block
from tb.waves.dump import DumpError
from tb.waves.packet_lanes import PacketError
from tb.waves.rerun import TRACE, Rerun, of_plan, of_sim, of_test
from tb.waves.view import ViewError, read_views

_ERRORS: Final = (
    CaptureError, plan.PlanError, OSError, DumpError, PacketError, PlanError, SuitesError, ToolchainError, UsageError, ViewError, WavesError,
)  # fmt: skip


def main(environment: Mapping[str, str] = os.environ, folder: Path | None = None) -> int:
    console = report.console()
    folder = folder or results_root() / "waves"
    try:
        config = WavesConfig.parse(read_views(), environment)
        folder.mkdir(parents=True, exist_ok=True)
        for old in (WAVES, TRACE):
            (folder / old).unlink(missing_ok=True)
        if config.plan:
            run = of_plan(console, Path(config.plan), folder, config.window_ns)
        else:
            run = (of_test if config.test else of_sim)(console, environment, folder, config.window_ns)
        made = _prepare(folder, config, run)
    except _ERRORS as error:
        print(error, file=sys.stderr)
        return 2
    console.print(f"{run.name}: {'passed' if run.passed else 'FAILED'}", highlight=False)
    if not run.passed:
        print(run.reason, file=sys.stderr)
    console.print("ports and instances of the bench" if run.top else f"{config.view.story}: {made.packets:,} packets")
    for why in made.left_out:
        console.print(f"left out: {why}", markup=False)
    if not viewer.open_viewer(made.save_file):
        console.print("no display, or no gtkwave (apt-get install gtkwave); this opens the view:")
    opens = viewer.shown(shown(made.save_file))
    print(opens)
    told = {"ok": run.passed, "run": run.name, "reason": run.reason, "digest": run.digest, "packets": made.packets,
            "left_out": list(made.left_out), "opens": opens}  # fmt: skip
    report.write(folder / "summary.json", told)
    return 0 if run.passed else 1


def _prepare(folder: Path, config: WavesConfig, run: Rerun) -> Prepared:
    """Raises `DumpError`, `PacketError`, `WavesError`."""
    if run.top is None:
        return prepare(folder, folder / WAVES, folder / TRACE, config, run.failed_ps)
    if config.packet is not None:
        raise WavesError(f"PACKET={config.packet}: {config.test} is the bench of a block, which has no packets")
    return prepare_block(folder, folder / WAVES, run.top, run.failed_ps)


if __name__ == "__main__":
    raise SystemExit(main())
