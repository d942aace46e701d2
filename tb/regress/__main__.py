"""`make sim SUITE=smoke|regress|nightly`, `make sim TEST=name SEED=n`: run, report. Exit 0 only when every run passed.

Exit 1: a run failed; 2: nothing was run; 130: interrupted, and the report is of what ran.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Final

from tb.cosim.toolchain import ToolchainError
from tb.regress.config import parse
from tb.regress.regression import UsageError, regress
from tb.regress.suites import SuitesError
from tb.regress.testplan import PlanError
from tb.sim.report import console

INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    config = parse(argv)
    # ended by another program, it leaves a report as well
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        found = regress(console(), config)
    except (SuitesError, PlanError, ToolchainError, UsageError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted before anything was run", file=sys.stderr)
        return INTERRUPTED
    if found.left:
        return INTERRUPTED
    return 0 if found.passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
