"""Run a compiled model with a Python test module, directly: no runner, no shared folder, one subprocess."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from cocotb_tools import config as cocotb_config
from find_libpython import find_libpython

from tb.cosim.bound import BOUND
from tb.cosim.toolchain import ROOT, Model, ToolchainError, Variant

TRACE_FILE: Final = "MYR_TRACE_FILE"
"""Environment variable: where a machine leaves all of its trace records (`tb/cosim/trace.h`)."""


@dataclass(frozen=True)
class RunResult:
    """How a run ended. `tests`: name to what went wrong, None for a pass; `simulated_ns`: name to its time; `errors`: what
    the hardware's assertions and the protocol checkers said.
    """

    exit_status: int
    tests: dict[str, str | None]
    simulated_ns: dict[str, float]
    log: Path
    repeat: str
    errors: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Every test of the module ran and passed, and no assertion of the hardware fired."""
        return self.exit_status == 0 and bool(self.tests) and not any(self.tests.values()) and not self.errors


@dataclass(frozen=True)
class Recording:
    """What a run of a model with waves leaves for the desk."""

    fst: Path
    trace: Path | None = None
    """All trace records of the run, as the hardware and the host told them, also of a run that breaks off."""
    window_ns: tuple[int, int] | None = None
    """The part of simulated time that is in the FST; None: all of it."""


def run_model(
    model: Model,
    module: str,
    folder: Path,
    *,
    seed: int,
    environment: Mapping[str, str] | None = None,
    test_filter: str | None = None,
    record: Recording | None = None,
    timeout_s: float = 1800.0,
    bound_ns: int | None = None,
    stderr: int | None = None,
    pass_fds: Sequence[int] = (),
) -> RunResult:
    """Run `module`'s cocotb tests on `model`; files go to `folder` (made if missing), stdout to `folder/sim.log`.

    `stderr`, as for `subprocess`, is the caller's when not given, for progress. `bound_ns` bounds the simulated time
    (`tb.cosim.bound`), `timeout_s` CPU gone wild, in wall seconds. The process inherits the files `pass_fds`, under the
    same numbers. On failure the command that repeats the run is printed to stderr.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / "results.xml"
    results.unlink(missing_ok=True)
    command = [str(model.executable)]
    recorded = {}
    if record is not None:
        if model.variant is not Variant.WAVES:
            raise ToolchainError(f"{model.executable}: built without waves")
        command += ["--trace", "--trace-file", str(record.fst)]
        if record.window_ns is not None:
            start, end = (ns * 1000 for ns in record.window_ns)
            command += ["--trace-from", str(start), "--trace-to", str(end)]
        if record.trace is not None:
            recorded[TRACE_FILE] = str(record.trace)
    settings = {**_cocotb_environment(model, module, seed), "COCOTB_RESULTS_FILE": str(results), **recorded, **(environment or {})}
    if bound_ns is not None:
        settings[BOUND] = str(bound_ns)
    if test_filter is not None:
        settings["COCOTB_TEST_FILTER"] = test_filter
    script = folder / "repeat.sh"
    script.write_text(
        "".join(
            [
                "#!/bin/sh\n",
                f"cd {shlex.quote(str(folder))}\n",
                *(f"export {key}={shlex.quote(value)}\n" for key, value in sorted(settings.items())),
                f"exec {shlex.join(command)}\n",
            ]
        )
    )
    repeat = f"sh {script}"
    log = folder / "sim.log"
    with log.open("wb") as out:
        try:
            status = subprocess.run(
                command,
                cwd=folder,
                env={**os.environ, **settings},
                stdout=out,
                stderr=stderr,
                check=False,
                timeout=timeout_s,
                pass_fds=pass_fds,
            ).returncode
        except subprocess.TimeoutExpired:
            status = 124
    found = read_results(results)
    tests = {name: why for name, (why, _) in found.items()}
    result = RunResult(status, tests, {name: ns for name, (_, ns) in found.items()}, log, repeat, _read_errors(log))
    if not result.passed:
        told = [f"{name}: {why}" for name, why in result.tests.items() if why]
        reasons = [*result.errors, *told] or [f"exit status {status}"]
        print(
            f"FAILED {module} (seed {seed})", *reasons, f"log: {log}", f"again: {repeat}", sep="\n  ", file=sys.stderr
        )
    return result


def run_block(model: Model, module: str, folder: Path, *, seed: int, test_filter: str | None = None) -> RunResult:
    """Run a block bench; its waves, when the model has them, are `folder/waves.fst`."""
    return run_model(
        model,
        module,
        folder,
        seed=seed,
        test_filter=test_filter,
        record=Recording(folder / "waves.fst") if model.variant is Variant.WAVES else None,
    )


def _cocotb_environment(model: Model, module: str, seed: int) -> dict[str, str]:
    libpython = find_libpython()
    if libpython is None:
        raise ToolchainError("no shared libpython for this Python: apt-get install libpython3.11")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {
        "GPI_USERS": f"{libpython};{cocotb_config.pygpi_entry_point()}",
        "PYGPI_PYTHON_BIN": sys.executable,
        "COCOTB_TOPLEVEL": model.top,
        "COCOTB_TEST_MODULES": module,
        "TOPLEVEL_LANG": "verilog",
        "COCOTB_RANDOM_SEED": str(seed),
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "PYTHONPATH": path,
        "OPENBLAS_NUM_THREADS": "1",  # numpy's idle threads would spin
    }


def _read_errors(log: Path) -> tuple[str, ...]:
    """Messages of `$error` in a simulator's output, without Verilator's word that it stops."""
    lines = log.read_text(errors="replace").splitlines()
    found = [line.split("%Error: ", 1)[1] for line in lines if "%Error: " in line]
    return tuple(text for text in found if not text.endswith("Verilog $stop"))


def read_results(results: Path) -> dict[str, tuple[str | None, float]]:
    """cocotb's results file: of each test what went wrong, None for a pass, and its simulated ns. Empty: no file."""
    if not results.is_file():
        return {}
    found: dict[str, tuple[str | None, float]] = {}
    for case in ElementTree.parse(results).iter("testcase"):
        failure = next((child for child in case if child.tag in ("failure", "error")), None)
        name = f"{case.get('classname')}.{case.get('name')}"
        why = None if failure is None else failure.get("error_msg") or failure.get("message") or "failed"
        time = case.find("properties/property[@name='sim_time_duration']")
        found[name] = why, 0.0 if time is None else float(time.get("value", 0))
    return found
