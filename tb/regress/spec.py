"""A run as data: what it is (`RunSpec`), and what came of it (`RunResult`). Both are JSON files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Self

from tb.cosim.plant import prefix
from tb.cosim.toolchain import Variant

SPEC_FILE: Final = "run.json"
RESULT_FILE: Final = "result.json"


def words(variant: Variant) -> tuple[str, str]:
    """The verb whose runs are of this variant, and what else its command needs."""
    return "cov" if variant is Variant.COVERAGE else "sim", " WAVES=1" if variant is Variant.WAVES else ""


class SpecError(ValueError):
    """A description cannot be read: the message names file, field and limit."""


@dataclass(frozen=True)
class RunSpec:
    """One run: the same description gives the same trace."""

    test: str
    """Name in the suites' file."""
    module: str
    """cocotb module, or `tb.sim`: the whole of `make sim`, its judge included."""
    model: str
    """`machine`, or the block of `tb/unit` that the module is the bench of."""
    job: dict[str, Any]
    """What the module is told beside the seed: `MYR_JOB`; its `case`: `MYR_CASE`; of `tb.sim`: options."""
    seed: int
    bound_us: int
    """Simulated microseconds after which the run is a hung one."""
    variant: Variant
    model_hash: str
    """Content of the model: sources, flags, tool versions."""
    points: tuple[str, ...] = ()
    """Points of the testplan that the test belongs to."""
    plant: str = ""
    """Bug that is planted in the RTL (`tb.cosim.plant`); empty: none."""

    @property
    def name(self) -> str:
        """Unique in a regression; a folder's name."""
        return f"{self.test}-{self.seed}"

    @property
    def repeat(self) -> str:
        """The command that repeats this run."""
        verb, waves = words(self.variant)
        return f"{prefix(self.plant)}make {verb} TEST={self.test} SEED={self.seed}{waves}"

    @property
    def look(self) -> str:
        """The command that runs it again and opens GTKWave on it."""
        return f"{prefix(self.plant)}make waves TEST={self.test} SEED={self.seed}"

    def write(self, path: Path) -> None:
        """Leave the description as a file."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """A description from a file. Raises `SpecError`."""
        values = _object(path, cls)
        try:
            variant = Variant(values["variant"])
        except ValueError:
            raise SpecError(f"{path}: variant {values['variant']!r}: must be one of {', '.join(Variant)}") from None
        for name in ("seed", "bound_us"):
            if type(values[name]) is not int or values[name] < 0:
                raise SpecError(f"{path}: {name} {values[name]!r}: must be a whole number, 0 or more")
        for name in ("test", "module", "model", "model_hash", "plant"):
            if not isinstance(values[name], str):
                raise SpecError(f"{path}: {name} {values[name]!r}: must be a text")
        if not isinstance(values["job"], dict):
            raise SpecError(f"{path}: job {values['job']!r}: must be an object")
        return cls(**{**values, "variant": variant, "points": tuple(values["points"])})


@dataclass(frozen=True)
class RunResult:
    """How a run ended."""

    name: str
    test: str
    seed: int
    passed: bool
    signature: str
    """What failed, with numbers masked: the same in every run that fails for the same reason. Empty: nothing."""
    reason: str
    """The first error, as it was told. Empty: nothing."""
    simulated_ns: float
    cpu_s: float
    """Of the simulation and whatever judges it, without the build of the model."""
    digest: str
    """SHA-256 of what the run produced; the same description gives the same. Empty: it produced nothing."""
    log: str
    repeat: str
    look: str
    """The command that runs it again and opens GTKWave on it."""
    points: tuple[str, ...]

    def write(self, path: Path) -> None:
        """Leave the result as a file."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """A result from a file. Raises `SpecError`."""
        values = _object(path, cls)
        return cls(**{**values, "points": tuple(values["points"])})


def _object(path: Path, kind: type[Any]) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: cannot be read: {error}") from None
    known = {field.name for field in fields(kind)}
    if not isinstance(values, dict):
        raise SpecError(f"{path}: must be an object with {', '.join(sorted(known))}")
    if strange := sorted(values.keys() - known):
        raise SpecError(f"{path}: {strange[0]}: no such field; there are {', '.join(sorted(known))}")
    if missing := sorted(known - values.keys()):
        raise SpecError(f"{path}: {missing[0]}: missing")
    return values
