"""Beside the JUnit file of a run, `summary.json`: when it was, of which commit, what it took, and whether it passed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from pytest import Config, Session

from tb.regress.report import commit


class Summary:
    """Counts what the run takes; its own processes, which do the work, have ended when it is written."""

    def __init__(self, path: Path, selected: list[str]) -> None:
        self._path = path
        self._selected = selected
        self._started = time.time()
        self._commit = commit()
        self._told: dict[str, Any] = {}

    def pytest_sessionfinish(self, session: Session, exitstatus: int) -> None:
        self._told = {"ok": int(exitstatus) == 0, "tests": session.testscollected, "failed": session.testsfailed}

    def pytest_unconfigure(self) -> None:
        used = os.times()
        self._told |= {
            "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started)),
            "commit": self._commit,
            "arguments": self._selected,
            "wall_s": round(time.time() - self._started, 1),
            "cpu_s": round(used.user + used.system + used.children_user + used.children_system, 1),
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self._told, indent=2) + "\n")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: Config) -> None:
    junit = config.getoption("xmlpath", None)
    # a worker of pytest-xdist has the options of the whole run
    if junit and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Summary(Path(junit).with_name("summary.json"), list(config.invocation_params.args)))
