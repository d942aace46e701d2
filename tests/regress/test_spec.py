"""Descriptions and results as files: what is written is read, and what cannot be is refused by file, field and limit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tb.cosim.toolchain import Variant
from tb.regress.spec import RunResult, RunSpec, SpecError
from tests.regress import fakes


def test_a_description_is_read_as_it_was_written(tmp_path: Path) -> None:
    spec = RunSpec("limits.chain", "tests.system.sim_limits", "machine", {"case": "chain", "n": [1, 2]}, 7, 900,
                   Variant.WAVES, "abc", ("one", "two"), "fetch_wrap")
    spec.write(tmp_path / "run.json")
    assert RunSpec.read(tmp_path / "run.json") == spec
    assert spec.repeat == "PLANT=fetch_wrap make sim TEST=limits.chain SEED=7 WAVES=1"
    assert spec.look == "PLANT=fetch_wrap make waves TEST=limits.chain SEED=7"
    assert spec.name == "limits.chain-7"
    assert replace(spec, variant=Variant.COVERAGE, plant="").repeat == "make cov TEST=limits.chain SEED=7"
    assert replace(spec, variant=Variant.PLAIN, plant="").repeat == "make sim TEST=limits.chain SEED=7"


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    result = fakes.run(fakes.spec("wrong", 3), tmp_path / "run")
    assert RunResult.read(tmp_path / "run/result.json") == result


@pytest.mark.parametrize(("change", "words"), [
    ({"seed": -1}, "seed -1: must be a whole number"),
    ({"seed": "1"}, "seed '1': must be a whole number"),
    ({"bound_us": 1.5}, "bound_us 1.5: must be a whole number"),
    ({"variant": "fast"}, "variant 'fast': must be one of plain, waves, coverage"),
    ({"module": 3}, "module 3: must be a text"),
    ({"job": []}, r"job \[\]: must be an object"),
    ({"colour": 1}, "colour: no such field"),
    ({"seed": None}, "seed None"),
], ids=str)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "run.json"
    fakes.spec().write(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SpecError, match=f"{path}: {words}"):
        RunSpec.read(path)


@pytest.mark.parametrize(("text", "words"), [("{", "cannot be read"), ("[]", "must be an object"), ("{}", "bound_us: missing")])
def test_what_is_no_description_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(SpecError, match=words):
        RunSpec.read(path)
