"""Requests as bytes: what each type takes and answers.

Source: Xen `docs/misc/xenstore.txt`, `wire_funcs` of C xenstored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from hypervisor_model.xenstore import permissions
from hypervisor_model.xenstore.connections import NO_TRANSACTION, Connection
from hypervisor_model.xenstore.errors import StoreError
from hypervisor_model.xenstore.operations import Operations
from hypervisor_model.xenstore.paths import domain_path
from hypervisor_model.xenstore.permissions import PRIVILEGED
from sw.xen.io.xs_wire import PAYLOAD_MAX, Error, Message, MessageType

_OK: Final = b"OK\0"
_T = TypeVar("_T")


class Domains(Protocol):
    """What the daemon knows of domains."""

    def attach(self, domid: int, frame: int, port: int) -> None:
        """INTRODUCE by numbers: the ring's frame, the domain's unbound event channel. `StoreError`."""
        ...

    def release(self, domid: int) -> None:
        """`StoreError` (ENOENT) when it is not introduced."""
        ...

    def is_introduced(self, domid: int) -> bool: ...


@dataclass(frozen=True)
class Request:
    """A request, who makes it, and how to answer."""

    message: Message
    connection: Connection
    domains: Domains
    reply: Callable[[int, bytes], None]
    """Takes type and payload."""

    def answer(self, payload: bytes = _OK) -> None:
        """Reply of the request's own type. Raises `StoreError` (E2BIG)."""
        if len(payload) > PAYLOAD_MAX:
            raise StoreError(Error.E2BIG, f"reply of {len(payload)} bytes: at most {PAYLOAD_MAX}")
        self.reply(self.message.type, payload)

    def run(self, action: Callable[[Operations], _T]) -> _T:
        """Operate inside the request's transaction, if it has one."""
        return self.connection.run(self.message.transaction, action)

    def strings(self, count: int) -> list[str]:
        """The payload as exactly so many strings. Raises `StoreError` (EINVAL)."""
        parts = self.message.payload.split(b"\0")
        if len(parts) != count + 1 or parts[-1]:
            raise StoreError(Error.EINVAL, f"payload is not {count} strings, each with a final zero byte")
        return [_text(part) for part in parts[:-1]]

    def domid(self) -> int:
        """The payload as one domain number."""
        return _number(self.strings(1)[0], "domain")


def handle(request: Request) -> None:
    """Carry out a request and reply: once, with ERROR if it is refused."""
    message = request.message
    try:
        if message.type in _PRIVILEGED_ONLY and request.connection.domid != PRIVILEGED:
            raise StoreError(Error.EACCES, f"message type {message.type} is for domain 0")
        action = _ACTIONS.get(message.type)
        if action is None:
            raise StoreError(Error.ENOSYS, f"message type {message.type}")
        if message.type not in _WITHOUT_TRANSACTION:
            request.connection.check(message.transaction)
        action(request)
    except StoreError as refused:
        request.reply(MessageType.ERROR, refused.error.encode() + b"\0")


def _text(part: bytes) -> str:
    # Any byte is a character: what paths may hold is decided elsewhere, tokens may hold anything.
    return part.decode("latin-1")


def _number(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise StoreError(Error.EINVAL, f"{what} {text[:16]!r} is not a decimal number")
    return int(text)


def _directory(request: Request) -> None:
    (path,) = request.strings(1)
    children = request.run(lambda on: on.node(path)).children
    request.answer(b"".join(child.encode() + b"\0" for child in children))


def _directory_part(request: Request) -> None:
    path, offset = request.strings(2)
    start = _number(offset, "offset")
    node = request.run(lambda on: on.node(path))
    listing = b"".join(child.encode() + b"\0" for child in node.children)
    head = str(node.generation).encode() + b"\0"
    part = listing[start : start + PAYLOAD_MAX - len(head) - 1]
    # Whole names only; after the last one an empty name.
    part = part[: part.rfind(b"\0") + 1]
    request.answer(head + part + (b"\0" if start + len(part) >= len(listing) else b""))


def _read(request: Request) -> None:
    (path,) = request.strings(1)
    request.answer(request.run(lambda on: on.node(path)).value)


def _write(request: Request) -> None:
    path, zero, value = request.message.payload.partition(b"\0")
    if not zero:
        raise StoreError(Error.EINVAL, "WRITE without a path")
    request.run(lambda on: on.write(_text(path), value))
    request.answer()


def _mkdir(request: Request) -> None:
    (path,) = request.strings(1)
    request.run(lambda on: on.mkdir(path))
    request.answer()


def _remove(request: Request) -> None:
    (path,) = request.strings(1)
    request.run(lambda on: on.remove(path))
    request.answer()


def _get_permissions(request: Request) -> None:
    (path,) = request.strings(1)
    entries = request.run(lambda on: on.node(path, special=True)).permissions
    request.answer(b"".join(str(entry).encode() + b"\0" for entry in entries))


def _set_permissions(request: Request) -> None:
    path, *entries = request.strings(max(request.message.payload.count(b"\0"), 1))
    parsed = tuple(permissions.parse(entry) for entry in entries)
    request.run(lambda on: on.set_permissions(path, parsed))
    request.answer()


def _watch(request: Request) -> None:
    path, token = request.strings(2)
    watch = request.connection.watch(path, token)
    request.answer()
    request.connection.trigger(watch)


def _unwatch(request: Request) -> None:
    path, token = request.strings(2)
    request.connection.unwatch(path, token)
    request.answer()


def _reset_watches(request: Request) -> None:
    request.connection.reset()
    request.answer()


def _transaction_start(request: Request) -> None:
    if request.message.transaction != NO_TRANSACTION:
        raise StoreError(Error.EBUSY, "transactions do not nest")
    request.answer(str(request.connection.start()).encode() + b"\0")


def _transaction_end(request: Request) -> None:
    (verdict,) = request.strings(1)
    if verdict not in ("T", "F"):
        raise StoreError(Error.EINVAL, f"TRANSACTION_END {verdict[:16]!r}: T or F")
    request.connection.end(request.message.transaction, commit=verdict == "T")
    request.answer()


def _introduce(request: Request) -> None:
    domid, frame, port = (_number(text, "INTRODUCE") for text in request.strings(3))
    request.domains.attach(domid, frame, port)
    request.answer()


def _release(request: Request) -> None:
    request.domains.release(request.domid())
    request.answer()


def _get_domain_path(request: Request) -> None:
    request.answer(domain_path(request.domid()).encode() + b"\0")


def _is_domain_introduced(request: Request) -> None:
    request.answer(b"T\0" if request.domains.is_introduced(request.domid()) else b"F\0")


_ACTIONS: Final[dict[int, Callable[[Request], None]]] = {
    MessageType.DIRECTORY: _directory,
    MessageType.READ: _read,
    MessageType.GET_PERMS: _get_permissions,
    MessageType.WATCH: _watch,
    MessageType.UNWATCH: _unwatch,
    MessageType.TRANSACTION_START: _transaction_start,
    MessageType.TRANSACTION_END: _transaction_end,
    MessageType.INTRODUCE: _introduce,
    MessageType.RELEASE: _release,
    MessageType.GET_DOMAIN_PATH: _get_domain_path,
    MessageType.WRITE: _write,
    MessageType.MKDIR: _mkdir,
    MessageType.RM: _remove,
    MessageType.SET_PERMS: _set_permissions,
    MessageType.IS_DOMAIN_INTRODUCED: _is_domain_introduced,
    MessageType.RESET_WATCHES: _reset_watches,
    MessageType.DIRECTORY_PART: _directory_part,
}
_WITHOUT_TRANSACTION: Final = frozenset({MessageType.WATCH, MessageType.UNWATCH})
"""These ignore the transaction id of the header."""
_PRIVILEGED_ONLY: Final = frozenset(
    {
        MessageType.CONTROL,
        MessageType.INTRODUCE,
        MessageType.RELEASE,
        MessageType.IS_DOMAIN_INTRODUCED,
        MessageType.RESUME,
        MessageType.SET_TARGET,
    }
)
