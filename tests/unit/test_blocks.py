"""Every block bench of `tb/unit/blocks.toml`, each cocotb module with each of its seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tb.cosim.toolchain import build, rtl_sources
from tb.regress import suites
from tb.unit.__main__ import parse
from tb.unit.blocks import BlockError, read_blocks
from tb.unit.models import BLOCKS

JOINED: Final = {"myr_nic": "the whole machine is its bench"}
"""Modules without a bench of their own, and why."""
RUNS = [(name, test, seed) for name, block in BLOCKS.items() for test, seeds in block.tests.items()
        for seed in range(1, seeds + 1)]


@pytest.mark.parametrize(("name", "test", "seed"), RUNS, ids=[".".join(map(str, run)) for run in RUNS])
def test_block(name: str, test: str, seed: int) -> None:
    """Every test of `tb/unit/<name>/<test>.py` passes."""
    block = BLOCKS[name]
    result = block.run(build(block.recipe()), test, seed)
    assert result.passed, f"{result.tests or 'no result'}; log {result.log}; again: {block.command(seed)}"


def test_every_module_is_in_a_model() -> None:
    """Each RTL module is part of what some bench is built from, but for those that only join the others."""
    modules = {source.stem for source in rtl_sources() if not source.stem.endswith("_pkg")}
    benched = {source.stem for block in BLOCKS.values() for source in block.sources}
    assert modules - benched == JOINED.keys(), "in no model of tb/unit/blocks.toml, or in one and listed here"


def test_every_bench_is_listed() -> None:
    """No cocotb module of `tb/unit` is forgotten."""
    found = {(file.parent.name, file.stem) for file in Path("tb/unit").glob("*/test_*.py")}
    assert found == {(name, test) for name, test, _ in RUNS}


def test_every_bench_is_part_of_a_regression() -> None:
    """`make sim SUITE=regress` runs them, too."""
    in_suite = {test.module for test in suites.load().of("regress")}
    assert {f"tb.unit.{name}.{test}" for name, test, _ in RUNS} <= in_suite


@pytest.mark.parametrize(("environment", "word"), [
    ({"BLOCK": "nothing"}, "BLOCK=nothing"),
    ({"BLOCK": "mac", "SEED": "-1"}, "SEED=-1"),
    ({"BLOCK": "mac", "WAVES": "2"}, "WAVES=2"),
])
def test_bad_request(environment: dict[str, str], word: str) -> None:
    """The message names the field."""
    with pytest.raises(BlockError, match=word):
        parse(environment)


@pytest.mark.parametrize(("text", "word"), [
    ('[model.a]\ntop = "t"\nrtl = ["myr_none"]\n[block]\n', "myr_none"),
    ('[model.a]\ntop = "t"\nrtl = []\n[block.mac]\nmodel = "b"\ntests = {}\n', "block.mac.model"),
    ('[model.a]\ntop = "t"\nrtl = []\n[block.mac]\nmodel = "a"\ntests = { test_none = 1 }\n', "test_none"),
    ('[model.a]\ntop = "t"\nrtl = []\n[block.mac]\nmodel = "a"\ntests = { test_mac = 0 }\n', "test_mac"),
])
def test_bad_list(tmp_path: Path, text: str, word: str) -> None:
    """The message names the file and the field."""
    path = tmp_path / "blocks.toml"
    path.write_text(text)
    with pytest.raises(BlockError, match=word) as caught:
        read_blocks(path)
    assert str(path) in str(caught.value)
