"""One run again, with its waves: what `make sim` would run, by its settings or as a test of the suites."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from tb.cosim.plant import planted
from tb.cosim.run import Recording
from tb.cosim.toolchain import Variant, build_machine
from tb.regress import config as regress_config
from tb.regress import models, one, suites, testplan
from tb.regress.regression import build_all, describe
from tb.regress.spec import RunSpec
from tb.sim import config as sim_config
from tb.sim.__main__ import simulate
from tb.sim.capture import load
from tb.sim.rtl_files import WAVES
from tb.uvm.plan import Plan
from tb.waves.failure import failed_ps

TRACE: Final = "trace.bin"
RANDOM: Final = "tb.uvm.tests.random"
PLAN_BOUND_US: Final = 20_000
"""Simulated time of a plan's run, as of the suites' random systems."""


@dataclass(frozen=True)
class Rerun:
    """What came of it."""

    name: str
    """For people."""
    passed: bool
    reason: str
    """The first error. Empty: nothing."""
    failed_ps: int | None
    """When it failed; None: it did not, or only a judge afterwards says so."""
    top: str | None
    """Top module of a block's bench; None: it was the whole machine."""
    digest: str = ""
    """As in `RunResult`, of a test."""


def of_sim(console: Console, environment: Mapping[str, str], folder: Path, window_ns: tuple[int, int] | None) -> Rerun:
    """`make sim` with the settings in `environment`, without its judge. Raises `CaptureError`, `ToolchainError`."""
    config = sim_config.parse(["--waves", "1", "--folder", str(folder)], environment)
    frames = load(config.pcap)
    _say_build(console)
    done = simulate(console, build_machine(variant=Variant.WAVES), config, len(frames), _recording(folder, window_ns))
    told = [*done.errors, *(why for why in done.tests.values() if why), f"ended with status {done.exit_status}"]
    name = f"{config.guests} guests, mode {config.mode}, seed {config.seed}"
    return Rerun(name, done.passed, "" if done.passed else told[0], None if done.passed else failed_ps(folder), None)


def of_test(console: Console, environment: Mapping[str, str], folder: Path, window_ns: tuple[int, int] | None) -> Rerun:
    """A test of the suites: TEST and SEED in `environment`, as `make sim` takes them.

    Raises `UsageError`, `SuitesError`, `PlanError`, `ToolchainError`.
    """
    wanted = {key: environment.get(key, "") for key in ("TEST", "SEED")}
    config = regress_config.parse([], {**wanted, "WAVES": "1"})
    [spec] = describe(config, suites.load(config.suites), testplan.load())
    return _of_spec(console, spec, folder, window_ns)


def of_plan(console: Console, path: Path, folder: Path, window_ns: tuple[int, int] | None) -> Rerun:
    """A random system from its plan. Raises `PlanError` of `tb.uvm.plan`, `ToolchainError`."""
    seed = Plan.read(path).seed
    made_of = models.recipe(models.MACHINE, Variant.WAVES)
    spec = RunSpec(path.name, RANDOM, models.MACHINE, {"plan": str(path.resolve())}, seed, PLAN_BOUND_US, Variant.WAVES,
                   made_of.content(), plant=planted())  # fmt: skip
    return _of_spec(console, spec, folder, window_ns)


def _of_spec(console: Console, spec: RunSpec, folder: Path, window_ns: tuple[int, int] | None) -> Rerun:
    machine = spec.model == models.MACHINE
    _say_build(console)
    build_all(console, [spec])
    console.print(f"simulating {spec.test}, seed {spec.seed}", highlight=False)
    # a bench has cocotb's own main program: it writes the whole FST
    result = one.run(spec, folder, _recording(folder, window_ns) if machine else None)
    when = None if result.passed else failed_ps(folder)
    top = None if machine else models.recipe(spec.model, spec.variant).top
    return Rerun(f"{spec.test}, seed {spec.seed}", result.passed, result.reason, when, top, result.digest)


def _recording(folder: Path, window_ns: tuple[int, int] | None) -> Recording:
    return Recording((folder / WAVES).resolve(), (folder / TRACE).resolve(), window_ns)


def _say_build(console: Console) -> None:
    console.print("building the simulator with waves: a few minutes when the hardware has changed, else nothing")
