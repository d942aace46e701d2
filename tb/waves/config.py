"""What `make waves` is asked for. Read from the environment, as all verbs do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from tb.waves.view import View


class WavesError(ValueError):
    """A setting makes no sense; the message names it and its limits."""


@dataclass(frozen=True)
class WavesConfig:
    """Which packet and which part of the run are shown, and with which view."""

    view: View
    test: str = ""
    """Of the suites; empty: a run of `make sim`."""
    plan: str = ""
    """File of a random system (docs/uvm.md), instead."""
    packet: int | None = None
    window_ns: tuple[int, int] | None = None
    """Simulated time that the FST holds; None: all."""

    @classmethod
    def parse(cls, views: Mapping[str, View], environment: Mapping[str, str] = os.environ) -> WavesConfig:
        """VIEW, TEST, PLAN, PACKET, FROM and TO (ns). Raises `WavesError`."""
        name = environment.get("VIEW") or next(iter(views))
        if name not in views:
            raise WavesError(f"VIEW={name}: must be one of {', '.join(views)}")
        packet, start, end = (_number(environment, key) for key in ("PACKET", "FROM", "TO"))
        window = None
        if start is not None or end is not None:
            if end is None or (start or 0) >= end:
                raise WavesError(f"FROM={environment.get('FROM', '')} TO={environment.get('TO', '')}: ns, FROM before TO")
            window = (start or 0, end)
        test, plan = environment.get("TEST", ""), environment.get("PLAN", "")
        if test and plan:
            raise WavesError(f"TEST={test} PLAN={plan}: one of them")
        return cls(views[name], test, plan, packet, window)


def _number(environment: Mapping[str, str], key: str) -> int | None:
    text = environment.get(key, "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise WavesError(f"{key}={text}: must be a number from 0 on")
    return int(text)
