"""The suites' file: what it says is read, and what is wrong is named by entry, field and limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tb.regress import suites
from tb.regress.suites import SuitesError

GOOD = """
[suite.quick]
about = "quick"
[suite.long]
about = "long"
[[test]]
name = "limits"
module = "tests.system.sim_limits"
job = { n = 1 }
vary = { case = ["a b", "c"] }
seeds = { quick = 1, long = 30 }
bound_us = 500
contract = ["C1", "C5"]
[[test]]
name = "block"
module = "tb.unit.windows.test_random"
model = "windows"
seeds = { long = 2 }
directed = true
bound_us = 10
contract = ["C3"]
"""


def load(folder: Path, text: str) -> suites.Suites:
    path = folder / "suites.toml"
    path.write_text(text)
    return suites.load(path)


def test_entries_become_tests(tmp_path: Path) -> None:
    found = load(tmp_path, GOOD)
    assert dict(found.about) == {"quick": "quick", "long": "long"}
    assert [(t.name, t.model, dict(t.job), t.directed) for t in found.tests] == [
        ("limits.a_b", "machine", {"n": 1, "case": "a b"}, False),
        ("limits.c", "machine", {"n": 1, "case": "c"}, False),
        ("block", "windows", {}, True),
    ]
    assert [t.name for t in found.of("quick")] == ["limits.a_b", "limits.c"]
    assert found.test("block") == found.tests[2] and found.test("limits") is None


@pytest.mark.parametrize(("old", "new", "words"), [
    ('name = "block"', 'name = "Block 1"', "test Block 1: name: 'Block 1': must be small letters"),
    ('name = "block"', 'name = "limits"\nvary = { case = ["c"] }', r"test limits.c: there are two of this name"),
    ("tb.unit.windows.test_random", "tb.unit.nothing", "test block: module: tb.unit.nothing: there is no such module"),
    ('model = "windows"', 'model = "engine"', "test block: model: 'engine': must be one of machine, interrupt"),
    ("{ long = 2 }", "{ weekly = 2 }", "test block: seeds: weekly: no such suite; there are quick, long"),
    ("{ long = 2 }", "{ long = 0 }", "test block: seeds.long: 0: must be a whole number from 1 to 10000"),
    ("{ long = 2 }", "{ long = true }", "test block: seeds.long: True: must be a whole number"),
    ("{ long = 2 }", "2", "test block: seeds: 2: must be a table"),
    ("bound_us = 10\n", "bound_us = 10_000_001\n", "test block: bound_us: 10000001: must be a whole number from 1 to 10000000"),
    ("bound_us = 10\n", "", "test block: bound_us: missing"),
    ('["C3"]', '["C9"]', "test block: contract: .*must be a list of C1 to C8"),
    ("directed = true", "directed = 1", "test block: directed: 1: must be true or false"),
    ("directed = true", "direct = true", "test block: direct: no such field; there are name"),
    ("job = { n = 1 }", "job = 1", "test limits: job: 1: must be a table"),
    ('{ case = ["a b", "c"] }', "{ case = [] }", "test limits: vary: case: must be a list of values"),
    ('{ case = ["a b", "c"] }', "{ a = [1], b = [2] }", "test limits: vary: .*must name one field"),
    ('about = "long"', 'say = "long"', "suite.long: must have the field about"),
    ("[suite.quick]", "[extra]\n[suite.quick]", "extra: no such table"),
    ("[suite.quick]", "[suite.quick", "cannot be read"),
])  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert GOOD.count(old) >= 1
    with pytest.raises(SuitesError, match=rf"{tmp_path}/suites\.toml: {words}"):
        load(tmp_path, GOOD.replace(old, new))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SuitesError, match=r"none\.toml: cannot be read"):
        suites.load(tmp_path / "none.toml")
