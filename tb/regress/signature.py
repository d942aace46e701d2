"""What failed, in one line that is the same for every run that fails for the same reason."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

LENGTH: Final = 200
_MASKS: Final = (
    (re.compile(r"(?:/[\w.+-]+)+/(?=[\w.+-]+)"), ""),  # folders
    (re.compile(r"0x[0-9a-fA-F]+"), "#"),
    (re.compile(r"b(['\"]).*?\1"), "b#"),  # payloads
    (re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{8,}\b"), "#"),  # digests and dumps
    (re.compile(r"(?<![A-Za-z_])\d+(?:[.,_]\d+)*|\d+"), "#"),
    (re.compile(r"\s+"), " "),
)
_TOLD: Final = re.compile(r"%Error|\bError\b|[Aa]ssertion|\w+Error:|\bFATAL\b|\bfatal\b|terminate called")


def first_line(text: str) -> str:
    """The first line that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def masked(line: str) -> str:
    """The line without what differs from run to run: numbers, addresses, seeds, folders, payloads."""
    for pattern, instead in _MASKS:
        line = pattern.sub(instead, line)
    return line.strip()[:LENGTH]


def signature(place: str, reason: str) -> str:
    """`place`, the module or block and its test, and what it said."""
    return f"{place}: {masked(first_line(reason))}"


def reason_of(tests: Mapping[str, str | None], errors: Sequence[str], log: str, exit_status: int) -> tuple[str, str]:
    """Place and words of the first failure.

    What the hardware's assertions and checkers said (`errors`) comes first: a test only finds that the simulator stopped. Then a
    failed test's own words, then the log's first error, then the exit status.
    """
    failed = next(((name, why) for name, why in tests.items() if why), None)
    if errors:
        return failed[0] if failed else "", errors[0]
    if failed:
        return failed
    told = next((line.strip() for line in log.splitlines() if _TOLD.search(line)), "")
    return "", told or f"ended with status {exit_status} and no result"
