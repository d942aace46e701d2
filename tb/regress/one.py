"""`python -m tb.regress.one run.json`: carry out one run from its description; results are files beside it.

Exit 0: it passed; 1: it failed; 2: the description cannot be read, or is of other sources.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tb.cosim import record
from tb.cosim.bound import BOUND
from tb.cosim.plant import planted
from tb.cosim.run import TRACE_FILE, Recording, read_results, run_model
from tb.cosim.toolchain import COVERAGE_FILE, ROOT, Model, ToolchainError, Variant, build
from tb.regress import models
from tb.regress.signature import reason_of, signature
from tb.regress.spec import RESULT_FILE, SPEC_FILE, RunResult, RunSpec, SpecError
from tb.sim.rtl_files import WAVES

WALL_S: Final = 1800.0
"""Last resort, wall seconds: Python that spins without simulated time. Far above any run's."""
TIMED_OUT: Final = 124
MAKE_SIM: Final = "tb.sim"


class _Outcome:
    """What one kind of run leaves."""

    def __init__(
        self, tests: Mapping[str, str | None], simulated_ns: Mapping[str, float], log: Path, exit_status: int,
        errors: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.tests = tests
        self.simulated_ns = simulated_ns
        self.log = log
        self.exit_status = exit_status
        self.errors = errors
        self.passed = exit_status == 0 and bool(tests) and not any(tests.values())


def run(spec: RunSpec, folder: Path, recording: Recording | None = None) -> RunResult:
    """Carry out `spec`; its files, the description and the result among them, go to `folder`.

    `recording`: what a run with waves leaves, its FST as `folder/dump.fst`; without it that FST alone, whole.
    Raises `SpecError` when the sources are not those of the description, `ToolchainError` when they do not build.
    """
    if spec.plant != planted():
        raise SpecError(f"{spec.name}: it is of the RTL with PLANT={spec.plant}, and PLANT={planted()} is set")
    made_of = models.recipe(spec.model, spec.variant)
    if (content := made_of.content()) != spec.model_hash:
        raise SpecError(
            f"{spec.name}: model {spec.model} is {content} in this tree, the description is of {spec.model_hash}:"
            " its sources, flags or tools differ"
        )
    model = build(made_of)
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for name in (RESULT_FILE, record.FILE, COVERAGE_FILE):
        (folder / name).unlink(missing_ok=True)
    spec.write(folder / SPEC_FILE)
    before = _cpu_s()
    if recording is None and spec.variant is Variant.WAVES:
        recording = Recording(folder / WAVES)
    carry_out = _make_sim if spec.module == MAKE_SIM else _simulate
    outcome = carry_out(spec, model, folder, recording)
    cpu_s = _cpu_s() - before
    place, reason = "", ""
    if not outcome.passed:
        log = outcome.log.read_text(errors="replace") if outcome.log.is_file() else ""
        place, reason = reason_of(outcome.tests, outcome.errors, log, outcome.exit_status)
        if outcome.exit_status == TIMED_OUT:
            reason = f"not done after {WALL_S:.0f} s of wall time"
    result = RunResult(
        name=spec.name,
        test=spec.test,
        seed=spec.seed,
        passed=outcome.passed,
        signature="" if outcome.passed else signature(place or spec.module, reason),
        reason=reason,
        simulated_ns=sum(outcome.simulated_ns.values()),
        cpu_s=round(cpu_s, 3),
        digest=_digest(outcome, folder),
        log=str(outcome.log),
        repeat=spec.repeat,
        look=spec.look,
        points=spec.points,
    )
    result.write(folder / RESULT_FILE)
    return result


def _simulate(spec: RunSpec, model: Model, folder: Path, recording: Recording | None) -> _Outcome:
    """A cocotb module in the simulator."""
    environment = {"MYR_JOB": json.dumps({**spec.job, "seed": spec.seed})}
    if "case" in spec.job:
        environment["MYR_CASE"] = spec.job["case"]
    # the result says it; many runs print side by side
    with contextlib.redirect_stderr(io.StringIO()):
        done = run_model(
            model,
            spec.module,
            folder,
            seed=spec.seed,
            environment=environment,
            record=recording,
            timeout_s=WALL_S,
            bound_ns=spec.bound_us * 1000,
            stderr=subprocess.STDOUT,
        )
    return _Outcome(done.tests, done.simulated_ns, done.log, done.exit_status, done.errors)


def _make_sim(spec: RunSpec, model: Model, folder: Path, recording: Recording | None) -> _Outcome:
    """The whole of `make sim`, with its judge."""
    options = {**spec.job, "seed": spec.seed, "folder": folder, "waves": int(model.variant is Variant.WAVES)}
    environment = {**os.environ, BOUND: str(spec.bound_us * 1000)}
    if recording is not None and recording.window_ns is not None:
        options["window"] = "{}:{}".format(*recording.window_ns)
    if recording is not None and recording.trace is not None:
        environment[TRACE_FILE] = str(recording.trace)
    command = [sys.executable, "-m", MAKE_SIM, *(f"--{name}={value}" for name, value in options.items())]
    command += ["--coverage"] if spec.variant is Variant.COVERAGE else []
    log = folder / "run.log"
    summary = folder / "summary.json"
    results = folder / "results.xml"
    for old in (summary, results):
        old.unlink(missing_ok=True)
    with log.open("wb") as out:
        try:
            status = subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=WALL_S,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            status = TIMED_OUT
    told = json.loads(summary.read_text()) if summary.is_file() else {}
    if "failures" in told:
        failures = told["failures"]
        return _Outcome({MAKE_SIM: failures[0] if failures else None}, {MAKE_SIM: told["simulated_ns"]}, log, status)
    # it was not judged: the simulation itself says why
    found = read_results(results)
    return _Outcome({name: why for name, (why, _) in found.items()}, {name: ns for name, (_, ns) in found.items()}, log, status)


def _digest(outcome: _Outcome, folder: Path) -> str:
    """Of what the machine did where there is one, and of each test's fate and time."""
    machine = folder / record.FILE
    if not outcome.tests and not machine.is_file():
        return ""
    produced = {
        "machine": json.loads(machine.read_text()) if machine.is_file() else None,
        "tests": {name: (why is None, outcome.simulated_ns[name]) for name, why in outcome.tests.items()},
    }
    return hashlib.sha256(json.dumps(produced, sort_keys=True).encode()).hexdigest()


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tb.regress.one", description="One run from its description.")
    parser.add_argument("spec", type=Path, metavar="run.json", help="results go to the same folder")
    path: Path = parser.parse_args(argv).spec
    try:
        result = run(RunSpec.read(path), path.parent)
    except (SpecError, ToolchainError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{'passed' if result.passed else 'FAILED'}: {result.name}, {result.simulated_ns / 1000:,.0f} us simulated")
    if not result.passed:
        print(result.reason, f"log: {result.log}", f"again: {result.repeat}", sep="\n", file=sys.stderr)
    return 0 if result.passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
