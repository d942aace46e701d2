"""The programs of the scripted run, in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from tb.tap import programs
from tb.tap.config import MTU, WIRE, TapConfig, addresses
from tb.tap.namespaces import Namespace

JUMBO_V4: Final = MTU - 20 - 8
JUMBO_V6: Final = MTU - 40 - 8
"""Bytes of an echo request that fills a packet."""


@dataclass(frozen=True)
class Step:
    """One program: what it is, which way most bytes go, and how it is run."""

    title: str
    source: str
    target: str
    action: Callable[[], dict[str, Any]]
    """What the program saw. Raises `ProgramError`."""
    orderly: bool = True
    """It ends its connections in order. iperf3 closes with its last bytes under way, which are answered by resets."""


def steps(config: TapConfig, spaces: dict[str, Namespace], macs: dict[str, bytes]) -> list[Step]:
    """Every pair by ping, then streams and files."""
    where = {host: addresses(number, len(config.hosts)) for number, host in enumerate(config.hosts)}
    others = [f"guest{n}" for n in range(2, config.guests)]
    found: list[Step] = []
    for source, target in [("guest0", "guest1"), ("guest0", WIRE), *((o, t) for o in others for t in ("guest0", WIRE))]:
        four, six = where[target]
        here, there = spaces[source], spaces[target]
        ping = partial(programs.ping, here)
        found += [
            Step("ping -6, discovery", source, target, partial(programs.discover, here, there, six, macs[target])),
            Step("ping -4", source, target, partial(ping, four)),
            Step(f"ping -4 -s {JUMBO_V4}", source, target, partial(ping, four, size=JUMBO_V4, fragment=False)),
            Step(f"ping -6 -s {JUMBO_V6}", source, target, partial(ping, six, size=JUMBO_V6, fragment=False)),
        ]
    streams = [("guest0", "guest1", 4), ("guest1", "guest0", 6), ("guest0", WIRE, 4), (WIRE, "guest0", 6)]
    for source, target, version in [*streams, *((other, "guest0", 4) for other in others)]:
        address = where[target][version == 6]
        action = partial(programs.iperf, spaces[source], spaces[target], address, config.stream_bytes)
        found.append(Step(f"iperf3 -{version}", source, target, action, orderly=False))
    for source, target, version in [("guest1", "guest0", 4), (WIRE, "guest0", 6), ("guest0", WIRE, 4)]:
        action = partial(
            programs.curl,
            *(spaces[target], spaces[source], where[source][version == 6]),
            *(config.folder, config.file_bytes, config.seed),
        )
        found.append(Step(f"curl -{version}", source, target, action))
    return found
