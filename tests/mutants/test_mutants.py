"""A sample of the planted bugs is found; the list says what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tb.cosim.toolchain import ToolchainError, Variant, machine
from tb.regress.models import MACHINE, recipe
from tests.mutants.campaign import Mutant, MutantError, Verdict, judge, read_mutants, run

SAMPLE = ("window_endpoint", "msix_mask", "fetch_wrap")


def named(name: str) -> Mutant:
    return next(mutant for mutant in read_mutants() if mutant.name == name)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_planted_bug_is_found_and_its_block_is_named(name: str) -> None:
    outcome = run(named(name))
    assert outcome.verdict is Verdict.CAUGHT, f"{outcome.said}; log {outcome.log}; again: {outcome.mutant.command}"


def test_there_are_twenty_in_different_modules() -> None:
    mutants = read_mutants()
    assert len(mutants) >= 20
    assert len({mutant.module for mutant in mutants}) >= 20
    for mutant in mutants:
        touched = [line for line in mutant.patch.read_text().splitlines() if line.startswith("+++ ")]
        assert [Path(line).stem for line in touched] == [mutant.module], "each patch is of the module that it names"


def test_only_the_module_with_the_bug_is_other_than_the_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = machine().inputs
    monkeypatch.setenv("PLANT", "runt_limit")
    planted = machine().inputs
    assert [new.stem for old, new in zip(ours, planted, strict=True) if old != new] == ["myr_mac_rx"]


def test_a_bug_that_is_none_of_these_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANT", "fetch")
    for name in (MACHINE, "fetch"):
        with pytest.raises(ToolchainError, match=r"^PLANT=fetch: must be one of arm_behind, .*fetch_wrap"):
            recipe(name, Variant.PLAIN)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('bug = "b"\n', "", r"\[runt_limit\] needs bug, a string"),
        ('test = "block_mac"', 'test = "mac"', r"\[runt_limit\] test mac: it is not in the suite regress"),
        ('bug = "b"\n', 'bug = "b"\nblock = "x"\n', r"\[runt_limit\] has block: only bug, module, test, message are known"),
        ("[runt_limit]", "[no_such]", r"\[no_such\] has no no_such.patch"),
        ("", "", "no entry for arm_behind, "),
        ("[runt_limit]", "[runt_limit", "line 1"),
    ],
)
def test_a_bad_list_is_told(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = tmp_path / "mutants.toml"
    path.write_text('[runt_limit]\nbug = "b"\nmodule = "m"\ntest = "block_mac"\nmessage = "x"\n'.replace(old, new))
    with pytest.raises(MutantError, match=f"mutants.toml: .*{told}"):
        read_mutants(path)


@pytest.mark.parametrize(
    ("told", "verdict", "said"),
    [
        (None, Verdict.BROKEN, ""),
        ({"ok": True, "passed": 2, "signatures": []}, Verdict.SURVIVED, "2 runs passed"),
        ({"ok": False, "passed": 1, "signatures": [{"signature": "a: x"}, {"signature": "b: y"}]}, Verdict.SILENT, "a: x | b: y"),
        (
            {"ok": False, "passed": 1, "signatures": [{"signature": "a: x"}, {"signature": "tb.unit.mac.test_mac.lengths: # bytes"}]},
            Verdict.CAUGHT,
            "tb.unit.mac.test_mac.lengths: # bytes",
        ),
    ],
)
def test_only_a_failure_that_points_to_the_bug_counts(told: dict[str, Any] | None, verdict: Verdict, said: str) -> None:
    assert judge(named("runt_limit"), told) == (verdict, said)
