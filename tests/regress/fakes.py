"""Runs that simulate nothing, for the runner; module-level, so that a pool's processes find them."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from typing import Final

from tb.cosim import toolchain
from tb.cosim.toolchain import Recipe, Variant
from tb.regress.signature import signature
from tb.regress.spec import RESULT_FILE, RunResult, RunSpec

CPU_S: Final = 2.5


def spec(test: str = "fine", seed: int = 1, points: tuple[str, ...] = ("a_point",)) -> RunSpec:
    """A description of a run by `run`."""
    return RunSpec(test, "tests.fake", "machine", {}, seed, 1000, Variant.PLAIN, "0" * 16, points)


def run(what: RunSpec, folder: Path) -> RunResult:
    """By the test's name: `fine` passes, `wrong` fails with its seed in the words, `broken` raises, `slow` takes a minute."""
    folder.mkdir(parents=True)
    if what.test == "broken":
        raise OSError(f"no such file: /tmp/{what.seed}")
    if what.test == "slow":
        (folder / "started").touch()
        time.sleep(60)
    reason = f"AssertionError: frame {what.seed} of guest 3 at {what.seed:#x} differs" if what.test == "wrong" else ""
    result = RunResult(
        name=what.name,
        test=what.test,
        seed=what.seed,
        passed=not reason,
        signature=signature("tests.fake.run", reason) if reason else "",
        reason=reason,
        simulated_ns=1000.0,
        cpu_s=CPU_S,
        digest="d",
        log=str(folder / "sim.log"),
        repeat=what.repeat,
        look=what.look,
        points=what.points,
    )
    result.write(folder / RESULT_FILE)
    return result


def build(made_of: Recipe, models: Path) -> Path:
    """`toolchain.build` with a compiler that takes a while and counts."""

    def compile_slowly(folder: Path, flags: object, inputs: object) -> None:
        with (models / "compiled").open("a") as log:
            fcntl.flock(log, fcntl.LOCK_EX)
            log.write(f"{folder.name}\n")
        time.sleep(0.5)
        (folder / "sim").write_text("a simulator")

    toolchain.MODELS = models  # type: ignore[misc]
    toolchain._compile = compile_slowly
    return toolchain.build(made_of).executable
