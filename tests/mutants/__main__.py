"""`make mutants`: every planted bug must be found, with a message that points to it. ONLY=name,name; JOBS=2."""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tb.sim import report
from tests.mutants.campaign import LOGS, Mutant, MutantError, Outcome, Verdict, read_mutants, run

SUMMARY: Final = LOGS / "summary.json"
_MAX_JOBS: Final = 64


def main() -> int:
    console = report.console()
    try:
        mutants = _chosen(read_mutants(), os.environ.get("ONLY", ""))
        jobs = _jobs(os.environ.get("JOBS", "2"))
    except MutantError as error:
        print(error, file=sys.stderr)
        return 2
    outcomes: list[Outcome] = []
    columns = (TextColumn("bugs"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with ThreadPoolExecutor(jobs) as pool, Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=len(mutants))
        for future in as_completed([pool.submit(run, mutant) for mutant in mutants]):
            outcome = future.result()
            outcomes.append(outcome)
            bar.update(task, advance=1, description=f"{outcome.mutant.name}: {outcome.verdict}")
            if not console.is_terminal:
                console.print(f"{outcome.mutant.name}: {outcome.verdict}")
    order = {mutant.name: n for n, mutant in enumerate(mutants)}
    outcomes.sort(key=lambda outcome: order[outcome.mutant.name])
    console.print(_table(outcomes))
    bad = [outcome for outcome in outcomes if outcome.verdict is not Verdict.CAUGHT]
    _write(SUMMARY, outcomes, ok=not bad)
    for outcome in bad:
        print(f"FAILED: {outcome.mutant.name}: {outcome.verdict}; log: {outcome.log}", file=sys.stderr)
        print(f"again: {outcome.mutant.command}", file=sys.stderr)
    return 1 if bad else 0


def _chosen(mutants: list[Mutant], only: str) -> list[Mutant]:
    names = [name for name in only.split(",") if name]
    if unknown := sorted(set(names) - {mutant.name for mutant in mutants}):
        raise MutantError(f"ONLY={only}: no mutant {', '.join(unknown)}; there are {', '.join(m.name for m in mutants)}")
    return [mutant for mutant in mutants if not names or mutant.name in names]


def _jobs(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MAX_JOBS:
        raise MutantError(f"JOBS={text}: must be a number from 1 to {_MAX_JOBS}")
    return int(text)


def _table(outcomes: list[Outcome]) -> Table:
    table = Table(title="Planted bugs", title_justify="left")
    for name in ("module", "bug", "found by", "verdict", "message"):
        table.add_column(name, overflow="fold")
    for outcome in outcomes:
        mutant = outcome.mutant
        table.add_row(*map(escape, (mutant.module, mutant.bug, mutant.test.name, outcome.verdict, outcome.said)))
    return table


def _write(path: Path, outcomes: list[Outcome], *, ok: bool) -> None:
    entries = [
        {"name": o.mutant.name, "module": o.mutant.module, "bug": o.mutant.bug, "test": o.mutant.test.name,
         "verdict": o.verdict, "message": o.said}
        for o in outcomes
    ]  # fmt: skip
    path.write_text(json.dumps({"ok": ok, "mutants": entries}, indent=1) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
