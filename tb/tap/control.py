"""What the run and its simulation process say to each other: one JSON object per message on a socket pair."""

from __future__ import annotations

import json
import select
import socket
from typing import Any, Final

MESSAGE_MAX: Final = 1 << 20


class ControlError(RuntimeError):
    """The other side is gone or silent."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends; a message is sent whole or not at all."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(end: socket.socket, message: dict[str, Any]) -> None:
    """Raises `ControlError` when the other side is gone."""
    try:
        end.sendall(json.dumps(message).encode())
    except OSError as error:
        raise ControlError(f"cannot send {message.get('kind')!r}: {error}") from error


def receive(end: socket.socket, timeout_s: float) -> list[dict[str, Any]]:
    """What has come, waiting at most `timeout_s` for the first message. Raises `ControlError` when the other is gone."""
    messages: list[dict[str, Any]] = []
    while select.select([end], [], [], 0.0 if messages else timeout_s)[0]:
        try:
            data = end.recv(MESSAGE_MAX)
        except OSError as error:
            raise ControlError(f"cannot receive: {error}") from error
        if not data:
            if messages:
                break
            raise ControlError("the other side has closed")
        messages.append(json.loads(data))
    return messages
