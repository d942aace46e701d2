"""`make lint`: everything that reads the sources without running them. Exit 1 when anything is found.

Results also go to `build/lint/summary.json`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from tb.cosim.toolchain import ROOT, checker_sources, rtl_sources, verilator_command, verilator_environment

TOPS: Final = ("myr_nic", "myr_iommu")
PYTHON: Final = ("hypervisor_model", "rtl/regs", "sw", "tb", "tests", "tools")
LINES: Final = 60
"""Of each check's complaints, so many are shown."""
WAIVERS: Final = ROOT / "rtl/lint.vlt"


def run(command: Sequence[str], environment: dict[str, str] | None = None) -> str | None:
    """What the command says when it fails, else None."""
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    return (done.stdout + done.stderr).strip() or f"exit {done.returncode}"


def verilator(top: str) -> str | None:
    waivers = [str(WAIVERS)] if WAIVERS.is_file() else []
    return run([*verilator_command(), "--lint-only", "-Wall", "--timing", "--top-module", top, *waivers,
                *map(str, rtl_sources())], verilator_environment())


def checkers() -> str | None:
    """Each protocol checker by itself; `myr_checkers` only joins them to the machine's signals."""
    waivers = [str(WAIVERS)] if WAIVERS.is_file() else []
    files = [file for file in checker_sources() if file.stem != "myr_checkers"]
    found = [run([*verilator_command(), "--lint-only", "-Wall", "--timing", "--top-module", file.stem, *waivers,
                  *map(str, [*(f for f in rtl_sources() if f.stem.endswith("_pkg")), *files])], verilator_environment())
             for file in files if not file.stem.endswith("_pkg")]
    return "\n".join(said for said in found if said is not None) or None


def yosys(top: str) -> str | None:
    """The slang front end reads it, and `check` finds no loop, no conflict, no undriven wire; no latch either."""
    script = ["read_slang", "-D", "SYNTHESIS", "--top", top, *map(str, rtl_sources())]
    program = ("import pyosys.libyosys as ys\n"
               "d = ys.Design()\n"
               f"for line in ({' '.join(script)!r}, 'hierarchy -check', 'proc', 'select -assert-none t:$dlatch*',\n"
               "             'check -assert'):\n"
               "    ys.run_pass(line, d)\n")
    said = run([sys.executable, "-c", program])
    complaints = [] if said is None else [line for line in said.splitlines() if "rror" in line or "arning" in line]
    return said if not complaints else "\n".join(complaints)


def python(*command: str) -> str | None:
    folders = [name for name in PYTHON if any((ROOT / name).rglob("*.py"))]
    return run([sys.executable, "-m", *command, *folders])


def main() -> int:
    checks: list[tuple[str, Callable[[], str | None]]] = []
    for top in TOPS:
        checks += [(f"verilator {top}", partial(verilator, top)), (f"yosys {top}", partial(yosys, top))]
    checks += [
        ("verilator checkers", checkers),
        ("ruff", lambda: python("ruff", "check")),
        ("mypy", lambda: python("mypy", "--strict")),
        ("generated files", lambda: run([sys.executable, "rtl/regs/generate.py", "--check"])),
        ("testplan", lambda: run([sys.executable, "-m", "tb.regress.testplan", "--check"])),
        ("checkers' rules", lambda: run([sys.executable, "-m", "tb.cosim.checkers.generate", "--check"])),
    ]
    summary: dict[str, bool] = {}
    for name, check in checks:
        said = check()
        summary[name] = said is None
        print(f"{name:20} {'ok' if said is None else 'FAILED'}", flush=True)
        if said is not None:
            lines = said.splitlines()
            print(*lines[:LINES], *([f"... {len(lines) - LINES} more lines"] if len(lines) > LINES else []), sep="\n")
    out = Path(ROOT / "build/lint")
    out.mkdir(parents=True, exist_ok=True)
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return 0 if all(summary.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
