"""The cache of models: by content, side by side, safe for processes, and bounded. The compiler here only counts."""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from tb.cosim import toolchain
from tb.cosim.toolchain import Recipe, ToolchainError, Variant, recipe, verilator_environment
from tb.regress import models
from tests.regress import fakes


def of(source: Path, variant: Variant = Variant.PLAIN) -> Recipe:
    return recipe("tiny", "tiny", [source], variant=variant)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.sv"
    path.write_text("module tiny; endmodule\n")
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    # put back what the fake compiler changes
    monkeypatch.setattr(toolchain, "MODELS", folder)
    monkeypatch.setattr(toolchain, "_compile", toolchain._compile)
    return folder


def compiled(cache: Path) -> list[str]:
    log = cache / "compiled"
    return log.read_text().split() if log.is_file() else []


def test_unchanged_content_is_compiled_once_and_changed_content_again(source: Path, cache: Path) -> None:
    first = fakes.build(of(source), cache)
    assert fakes.build(of(source), cache) == first and len(compiled(cache)) == 1
    source.write_text("module tiny; wire a; endmodule\n")
    assert fakes.build(of(source), cache) != first and len(compiled(cache)) == 2


def test_variants_lie_side_by_side(source: Path, cache: Path) -> None:
    built = {fakes.build(of(source, variant), cache) for variant in Variant}
    assert len(built) == len(Variant) and all(executable.is_file() for executable in built)
    assert "--trace-fst" in of(source, Variant.WAVES).flags and "--trace-fst" not in of(source).flags
    # what coverage leaves out is a source as well
    [added] = set(of(source, Variant.COVERAGE).inputs) - set(of(source).inputs)
    assert added.name == "coverage.vlt" and "--coverage-toggle" not in of(source).flags


def test_two_processes_that_want_the_same_model_compile_it_once(source: Path, cache: Path) -> None:
    other = source.with_name("other.sv")
    other.write_text("module tiny; wire b; endmodule\n")
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        wanted = [of(source), of(source), of(other), of(source)]
        found = list(pool.map(fakes.build, wanted, [cache] * len(wanted)))
    assert found[0] == found[1] == found[3] != found[2]
    assert len(compiled(cache)) == 2


def test_sources_that_change_under_the_compiler_make_no_model(
    source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_while_another_writes(folder: Path, flags: object, inputs: object) -> None:
        source.write_text("module tiny; wire late; endmodule\n")

    monkeypatch.setattr(toolchain, "_compile", compile_while_another_writes)
    made_of = of(source)
    folder = made_of.folder()
    with pytest.raises(ToolchainError, match="sources of tiny changed while it was built"):
        toolchain.build(made_of)
    assert not (folder / "complete").exists()


def test_the_models_used_last_are_kept(source: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "KEPT_MODELS", 2)
    built = []
    for number in range(3):
        source.write_text(f"module tiny; wire w{number}; endmodule\n")
        built.append((source.read_text(), fakes.build(of(source), cache)))
        if number == 1:
            # the older one is used again
            for age, (_, path) in zip((200, 100), built, strict=True):
                os.utime(path.parent / "complete", (time.time() - age,) * 2)
            source.write_text(built[0][0])
            fakes.build(of(source), cache)
    assert [path.is_file() for _, path in built] == [True, False, True]
    # one that a process holds stays
    held = built[0][1].parent
    os.utime(held / "complete", (0, 0))
    with toolchain._locked(held.name):
        source.write_text("module tiny; wire last; endmodule\n")
        newest = fakes.build(of(source), cache)
    assert newest.is_file() and held.is_dir()


def test_content_is_the_same_wherever_the_tree_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name in ("here", "there"):
        place = tmp_path / name / "rtl/tiny.sv"
        place.parent.mkdir(parents=True)
        place.write_text("module tiny; endmodule\n")
        monkeypatch.setattr(toolchain, "ROOT", tmp_path / name)
        made_of = of(place)
        found.append((made_of.content(), made_of.folder()))
    (content, folder), (other_content, other_folder) = found
    assert content == other_content and folder != other_folder


def test_content_is_of_every_source_flag_and_header(source: Path) -> None:
    header = source.with_name("tiny.h")
    header.write_text("1")
    made_of = recipe("tiny", "tiny", [source], headers=[header], parameters={"N": 1})
    contents = {made_of.content(), recipe("tiny", "tiny", [source], headers=[header], parameters={"N": 2}).content(),
                recipe("tiny", "other", [source], headers=[header], parameters={"N": 1}).content(), of(source).content()}  # fmt: skip
    header.write_text("2")
    contents.add(made_of.content())
    assert len(contents) == 5


def test_every_model_has_a_content_of_its_own() -> None:
    recipes = [models.recipe(name, variant) for name in models.NAMES for variant in Variant]
    # small blocks share a model
    assert len({made_of.content() for made_of in recipes}) == len({made_of.name for made_of in recipes}) * len(Variant)


def test_an_outer_make_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKEFLAGS", "-j8 --jobserver-auth=3,4 -- TEST=x CXX=cc")
    monkeypatch.setenv("MAKELEVEL", "1")
    assert not {"MAKEFLAGS", "MAKELEVEL"} & verilator_environment().keys()
    assert "PATH" in verilator_environment()
