"""`make timeline`: write `timeline.json` and `timeline.html` into a run's folder."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from rich.progress import track

from tb.ledger.row import LedgerError
from tb.ledger.run import TRACE_FILE, load
from tb.sim.report import console
from tb.timeline import page, trace
from tb.timeline.packets import view
from tb.timeline.rates import rates

TRACE: Final = "timeline.json"
PAGE: Final = "timeline.html"
LAST_RUN: Final = "build/sim"


def main(argv: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    parser = argparse.ArgumentParser(prog="python -m tb.timeline", description=__doc__)
    fallback = Path(environment.get("RUN") or LAST_RUN)
    parser.add_argument("run", nargs="?", type=Path, default=fallback, help=f"folder of a run (RUN; {LAST_RUN})")
    folder: Path = parser.parse_args(argv).run
    out = console()
    try:
        run = load(folder)
    except LedgerError as error:
        parser.error(str(error))
    try:
        with out.status(f"reading the ledger of {len(run.records):,} events"):
            shown = view(run)
            curves = rates(shown.entries)
    except LedgerError as error:
        parser.error(f"{folder / TRACE_FILE}: {error}")
    watched = track(shown.entries, f"writing {TRACE}", console=out, disable=not out.is_terminal)
    trace.write(folder / TRACE, shown, curves, run.command, watched)
    with out.status(f"writing {PAGE}"):
        (folder / PAGE).write_text(page.render(shown, curves, run.command))
    packets, errors = len(shown.entries), sum(bool(entry.error) for entry in shown.entries)
    out.print(f"{packets:,} packets, {errors:,} with errors", highlight=False)
    out.print(f"{folder / PAGE}: open it in a browser", highlight=False)
    out.print(f"{folder / TRACE}: open it in Perfetto's UI or in Chrome's trace viewer", highlight=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
