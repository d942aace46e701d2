"""The co-simulation's C++ host without a simulator, under the address and undefined-behaviour sanitizers."""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path

import pytest

from tb.cosim.toolchain import COSIM, ROOT

CHECKS = ("completions", "credits", "errors", "grants", "interrupts", "many_reads", "mmio", "monitors", "ordering", "randomness",
          "walks", "wire", "wire_in", "wire_pause")
FLAGS = ("-std=c++17", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined",
         "-fno-sanitize-recover=all")


@pytest.fixture(scope="session")
def driver() -> Path:
    """The compiled driver; make keeps it when no source is newer."""
    folder = ROOT / "build/cosim_host"
    folder.mkdir(parents=True, exist_ok=True)
    # The driver has a main program of its own.
    host = sorted(source for source in COSIM.glob("*.cpp") if source.name not in ("main.cpp", "peek.cpp", "stillness.cpp"))  # those need a model
    sources = [Path(__file__).with_name("driver.cpp"), *host]
    inputs = [*sources, *COSIM.glob("*.h")]
    program = folder / "driver"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.is_file() or program.stat().st_mtime < max(f.stat().st_mtime for f in inputs):
            subprocess.run(["g++", *FLAGS, f"-I{COSIM}", "-o", str(program), *map(str, sources)], check=True)
    return program


def test_every_check_is_run(driver: Path) -> None:
    listed = subprocess.run([driver, "list"], check=True, capture_output=True, text=True).stdout.split()
    assert tuple(listed) == CHECKS


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize("check", CHECKS)
def test_host(driver: Path, check: str, seed: int) -> None:
    done = subprocess.run([driver, check, str(seed)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{driver} {check} {seed}\n{done.stderr}"
