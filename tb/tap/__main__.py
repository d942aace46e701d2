"""`make tap`: Linux stacks in network namespaces talk through the NIC. Exit 0 only when every program was content."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType

from tb.cosim.toolchain import ToolchainError, build_machine
from tb.sim.report import console, write
from tb.sim.rtl_files import TRACE
from tb.tap import report
from tb.tap.config import parse
from tb.tap.control import ControlError
from tb.tap.namespaces import NamespaceError, missing
from tb.tap.programs import ProgramError
from tb.tap.session import Session

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    config = parse(argv)
    if lacks := missing():
        print("make tap needs network namespaces and TAP devices; this machine lacks:", file=sys.stderr)
        for what in lacks:
            print(f"  {what}", file=sys.stderr)
        return 2
    out = console()
    config.folder.mkdir(parents=True, exist_ok=True)
    summary = config.folder / "summary.json"
    for old in (summary, *config.folder.glob("*.pcapng"), config.folder / TRACE):
        old.unlink(missing_ok=True)
    signal.signal(signal.SIGTERM, _end)
    try:
        model = None
        if not config.model:
            out.print("building the simulator: about a minute when the hardware has changed, else nothing")
            model = build_machine()
        figures = Session(config, model, out).execute()
    except ToolchainError as error:
        print(error, file=sys.stderr)
        return 2
    except (ControlError, NamespaceError, ProgramError) as error:
        write(summary, {"ok": False, "failures": [str(error)], "command": config.command})
        print(f"FAILED: {error}\nagain: {config.command}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the namespaces are gone", file=sys.stderr)
        return INTERRUPTED
    write(summary, figures)
    report.show(out, figures)
    for reason in figures["failures"]:
        print(f"FAILED: {reason}", file=sys.stderr)
    if figures["failures"]:
        print(f"again: {config.command}", file=sys.stderr)
    return 1 if figures["failures"] else 0


def _end(number: int, frame: FrameType | None) -> None:
    """As Ctrl-C: the namespaces must go."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
