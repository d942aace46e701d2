"""The lives of endpoints, each from an enabling on, and how they were set up: read from the waves, so that any run has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Final

from sw.abi.registers import Form
from tb.ledger.decode import EndpointSetup
from tb.waves.dump import Dump, cycle_at

_ENABLE: Final = "u_nic.enable"
_LOOK: Final = ("u_nic.look_ep", "u_nic.look_ctrl.enable", "u_nic.look_ctrl.form", "u_nic.look_ctrl.send_log2")
"""The send ring looks at one enabled endpoint after the other, all the time."""


@dataclass(frozen=True)
class Life:
    """An endpoint from one enabling to the next."""

    endpoint: int
    start: int
    """The cycle of its enabling; 0 where it was enabled when the dump begins."""
    setup: EndpointSetup


def endpoint_lives(dump: Dump) -> list[Life]:
    """Every life in which the send ring was looked at, in the order of their starts."""
    starts: list[tuple[int, int]] = []
    before = 0
    for n, (time, enabled) in enumerate(dump.changes(_ENABLE)):
        risen = enabled & ~before
        starts += [(cycle_at(time) if n else 0, endpoint) for endpoint in range(risen.bit_length()) if risen >> endpoint & 1]
        before = enabled
    setups: dict[tuple[int, int], EndpointSetup] = {}
    begun: dict[int, int] = {}
    following = iter(starts)
    upcoming = next(following, None)
    for cycle, (endpoint, enabled, form, log2) in _looks(dump):
        while upcoming is not None and upcoming[0] <= cycle:
            begun[upcoming[1]] = upcoming[0]
            upcoming = next(following, None)
        if enabled and endpoint in begun:
            setups[begun[endpoint], endpoint] = EndpointSetup(Form(form), 1 << log2)
    return [Life(endpoint, start, setup) for (start, endpoint), setup in sorted(setups.items())]


def _looks(dump: Dump) -> Iterator[tuple[int, list[int]]]:
    """(cycle, values of `_LOOK`) of every moment in which one of them changes."""
    changes = sorted((time, n, value) for n, path in enumerate(_LOOK) for time, value in dump.changes(path))
    now = [0] * len(_LOOK)
    for time, together in groupby(changes, key=itemgetter(0)):
        for _, signal, value in together:
            now[signal] = value
        yield cycle_at(time), now
