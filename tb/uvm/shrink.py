"""From a failing run to a small one that fails the same way: `python -m tb.uvm.shrink build/uvm/uvm.json`.

Takes operations, guests and settings away, then makes operations simpler, as long as the first failure stays of the
same kind (`signature` in uvm.json). Writes `small.json`, a plan, and prints the command that repeats it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from tb.cosim.plant import planted, prefix
from tb.cosim.run import run_model
from tb.cosim.toolchain import ROOT, Model, build_machine
from tb.uvm.plan import Operation, Plan

T = TypeVar("T")
Fails = Callable[[Plan], bool]
SHORTEST: Final = 60


def minimise(items: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> list[T]:
    """A part of `items`, in order, that fails, and from which no single item can go (Zeller's ddmin).

    `items` themselves must fail.
    """
    kept = list(items)
    parts = 2
    while len(kept) > 1:
        size = -(-len(kept) // parts)
        chunks = [kept[n : n + size] for n in range(0, len(kept), size)]
        rests = [[x for m, chunk in enumerate(chunks) if m != n for x in chunk] for n in range(len(chunks))]
        smaller = next((c for c in (*chunks, *rests) if len(c) < len(kept) and fails(c)), None)
        if smaller is not None:
            parts = 2 if smaller in chunks else max(parts - 1, 2)
            kept = smaller
        elif size == 1:
            break
        else:
            parts = min(2 * parts, len(kept))
    return kept if len(kept) != 1 or not fails([]) else []


def shrink(plan: Plan, fails: Fails) -> Plan:
    """A plan that fails, too, as small as can be found. `plan` itself must fail."""
    operations = minimise(plan.operations, lambda kept: fails(replace(plan, operations=tuple(kept))))
    plan = replace(plan, operations=tuple(operations))
    for smaller in _simpler(plan):
        candidate = smaller(plan)
        if candidate != plan and fails(candidate):
            plan = candidate
    return plan


def _simpler(plan: Plan) -> Iterator[Callable[[Plan], Plan]]:
    """Steps that each make a plan simpler, to be tried in turn."""
    yield partial(replace, machine={})
    for name in plan.machine:
        yield partial(_without_setting, name=name)
    for number in reversed(range(len(plan.guests))):
        yield partial(_without_guest, number=number)
    for n in range(len(plan.operations)):
        yield partial(_changed, n=n, offload="none", mss=0)
        yield partial(_changed, n=n, pieces=1)
        yield partial(_changed, n=n, length=SHORTEST)


def _without_setting(plan: Plan, name: str) -> Plan:
    return replace(plan, machine={key: value for key, value in plan.machine.items() if key != name})


def _changed(plan: Plan, n: int, **fields: Any) -> Plan:
    operations = list(plan.operations)
    changed: Operation = replace(operations[n], **fields)
    operations[n] = changed
    return replace(plan, operations=tuple(operations))


def _without_guest(plan: Plan, number: int) -> Plan:
    """The same without a guest that no operation needs; the plan itself when one does."""
    if any(number in (o.guest, o.to) for o in plan.operations):
        return plan

    def moved(operation: Operation) -> Operation:
        return replace(operation, guest=operation.guest - (operation.guest > number), to=operation.to - (operation.to > number))

    guests = plan.guests[:number] + plan.guests[number + 1 :]
    return replace(plan, guests=guests, operations=tuple(map(moved, plan.operations)))


class Signature:
    """How a plan fails on a simulator."""

    def __init__(self, model: Model, folder: Path) -> None:
        self._model = model
        self._folder = folder
        self.runs = 0

    def of(self, plan: Plan) -> str | None:
        """Kind of the first failure; None: it passes."""
        self.runs += 1
        self._folder.mkdir(parents=True, exist_ok=True)
        results = self._folder / "uvm.json"
        results.unlink(missing_ok=True)
        path = self._folder / "candidate.json"
        plan.write(path)
        job = {"plan": str(path), "folder": str(self._folder)}
        with contextlib.redirect_stderr(io.StringIO()):
            result = run_model(self._model, "tb.uvm.tests.random", self._folder, seed=plan.seed,
                               environment={"MYR_JOB": json.dumps(job)}, timeout_s=600)
        if not results.is_file():
            return f"exit status {result.exit_status}"
        found: str | None = json.loads(results.read_text())["signature"]
        return found


def main() -> int:
    """0: a small plan was written."""
    parser = argparse.ArgumentParser(prog="python -m tb.uvm.shrink", description=__doc__)
    parser.add_argument("run", type=Path, help="uvm.json of a failing run")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/shrink")
    arguments = parser.parse_args()
    plan = Plan.read(arguments.run)
    folder = arguments.folder.resolve()
    signature = Signature(build_machine(), folder)
    kind = signature.of(plan)
    if kind is None:
        print(f"{arguments.run} passes: nothing to shrink", file=sys.stderr)
        return 1
    small = shrink(plan, lambda candidate: signature.of(candidate) == kind)
    path = folder / "small.json"
    small.write(path, signature=kind)
    print(f"{len(plan.operations)} operations, {len(plan.guests)} guests -> {len(small.operations)} operations,"
          f" {len(small.guests)} guests, in {signature.runs} runs: {kind}")
    shown = os.path.relpath(path)
    plant = prefix(planted())
    print(f"again: {plant}python -m tb.uvm {shown}", f"look:  {plant}make waves PLAN={shown}", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
