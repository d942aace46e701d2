"""`make cov SUITE=smoke|regress|nightly SEEDS=n JOBS=n`: a regression on simulators that count, and what it has reached.

Exit 0: every run passed; 1: one failed, or coverage cannot be what it says; 2: nothing was run; 130: interrupted, and the
page is of what had ended.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from tb.cosim.toolchain import ToolchainError
from tb.coverage import report
from tb.coverage.merged import Merged
from tb.coverage.verilator import CoverageError
from tb.regress.__main__ import INTERRUPTED
from tb.regress.config import parse
from tb.regress.regression import UsageError, regress
from tb.regress.suites import SuitesError
from tb.regress.testplan import PlanError
from tb.sim.report import console


def main(argv: Sequence[str] | None = None) -> int:
    config = parse(argv, coverage=True)
    # ended by another program, it leaves a page as well
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    out = console()
    merged = Merged()
    try:
        found = regress(out, config, merged.add)
        wrong = merged.wrong()
        report.write(config.folder, found, merged, wrong)
    except (SuitesError, PlanError, ToolchainError, UsageError) as error:
        print(error, file=sys.stderr)
        return 2
    except CoverageError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted before anything was run", file=sys.stderr)
        return INTERRUPTED
    report.show(out, config.folder)
    for problem in wrong:
        print(problem, file=sys.stderr)
    if found.left:
        return INTERRUPTED
    return 0 if found.passed and not wrong else 1


if __name__ == "__main__":
    raise SystemExit(main())
