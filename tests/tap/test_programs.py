"""A step is over when its connections are: what a program leaves under way must not count as the next one's."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tb.tap import programs
from tb.tap.namespaces import Namespace

LISTEN, ESTABLISHED, FIN_WAIT1, TIME_WAIT = "0A", "01", "04", "06"  # Linux include/net/tcp_states.h


class Host:
    host = "guest0"


def sockets(monkeypatch: pytest.MonkeyPatch, *looks: list[str]) -> list[int]:
    """Let each look at the sockets find the next of these states; the looks taken."""
    taken: list[int] = []

    def connections(_: Any) -> list[tuple[str, str, str]]:
        states = looks[min(len(taken), len(looks) - 1)]
        taken.append(1)
        return [("0100000A:1451", "0200000A:9C40", state) for state in states]

    monkeypatch.setattr(programs, "_connections", connections)
    return taken


def test_waits_for_the_last_connection_and_not_for_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = sockets(monkeypatch, [LISTEN, ESTABLISHED], [LISTEN, FIN_WAIT1], [LISTEN, TIME_WAIT])
    programs.wait_until_closed([cast(Namespace, Host())], 30.0)
    assert len(taken) == 3


def test_says_what_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    sockets(monkeypatch, [ESTABLISHED])
    with pytest.raises(programs.ProgramError, match="still open after 0 s: guest0 0100000A:1451 > 0200000A:9C40"):
        programs.wait_until_closed([cast(Namespace, Host())], 0.0)
