"""The block benches of `blocks.toml`: what each is built from, and how a run of one is repeated."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tb.cosim.plant import results_root
from tb.cosim.run import RunResult, run_block
from tb.cosim.toolchain import ROOT, Model, Recipe, Variant, block, rtl_sources

UNIT: Final = ROOT / "tb/unit"
LIST: Final = UNIT / "blocks.toml"


class BlockError(ValueError):
    """The list of blocks, or what was asked of it, is wrong: the message names the field."""


@dataclass(frozen=True)
class Block:
    """One block's bench."""

    name: str
    model: str
    top: str
    sources: tuple[Path, ...]
    tests: dict[str, int]
    """cocotb module: seeds that the test suite runs, from 1."""

    def recipe(self, variant: Variant = Variant.PLAIN) -> Recipe:
        """What its simulator is made of."""
        return block(self.model, self.sources, self.top, variant=variant)

    def command(self, seed: int, *, waves: bool = False) -> str:
        """The command that repeats a run."""
        return f"make unit BLOCK={self.name} SEED={seed}{' WAVES=1' if waves else ''}"

    def run(self, model: Model, test: str, seed: int) -> RunResult:
        """Run one cocotb module; its files go to `build/unit/<block>/<test>-<seed>/`."""
        return run_block(model, f"tb.unit.{self.name}.{test}", results_root() / f"unit/{self.name}/{test}-{seed}", seed=seed)


def read_blocks(path: Path = LIST) -> dict[str, Block]:
    """All blocks by name. Raises `BlockError`."""
    table = tomllib.loads(path.read_text())
    rtl = rtl_sources()
    known = {source.stem: source for source in rtl}
    packages = [source for source in rtl if source.stem.endswith("_pkg")]
    users: dict[str, list[str]] = {}
    for name, entry in table["block"].items():
        users.setdefault(entry["model"], []).append(name)
    models: dict[str, tuple[str, tuple[Path, ...]]] = {}
    for name, entry in table["model"].items():
        if unknown := [stem for stem in entry["rtl"] if stem not in known]:
            raise BlockError(f"{path}: model.{name}.rtl names modules that are not in rtl/: {', '.join(unknown)}")
        benches = [file for user in users.get(name, []) for file in sorted((UNIT / user).glob("*.sv"))]
        others = [ROOT / f"tb/cosim/{stem}.sv" for stem in entry.get("cosim", [])]
        models[name] = entry["top"], (*packages, *(known[stem] for stem in entry["rtl"]), *others, *benches,
                                      *UNIT.glob(f"{entry['top']}.sv"))
    blocks = {}
    for name, entry in table["block"].items():
        if entry["model"] not in models:
            raise BlockError(f"{path}: block.{name}.model is {entry['model']}: it must be one of {', '.join(models)}")
        blocks[name] = Block(name, entry["model"], *models[entry["model"]], _tests(path, name, entry["tests"]))
    return blocks


def _tests(path: Path, name: str, tests: dict[str, Any]) -> dict[str, int]:
    for module, seeds in tests.items():
        if not (UNIT / name / f"{module}.py").is_file():
            raise BlockError(f"{path}: block.{name}.tests names {module}, and there is no tb/unit/{name}/{module}.py")
        if not isinstance(seeds, int) or seeds < 1:
            raise BlockError(f"{path}: block.{name}.tests.{module} is {seeds!r}: it must be a number of seeds from 1 on")
    return tests
