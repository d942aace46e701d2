"""The store for programs of domain 0: typed calls without a ring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from hypervisor_model.xenstore import permissions
from hypervisor_model.xenstore.connections import NO_TRANSACTION, Connection
from hypervisor_model.xenstore.errors import StoreError
from hypervisor_model.xenstore.operations import Operations
from hypervisor_model.xenstore.paths import join
from sw.xen.io.xs_wire import Error

_T = TypeVar("_T")


class LocalAccess:
    """Reads and changes, in the store itself or in one transaction. Values are text, one character for each byte."""

    def __init__(self, connection: Connection, transaction: int, done: Callable[[], None]) -> None:
        """`done` is called after each operation: events may be due."""
        self._connection = connection
        self._transaction = transaction
        self._done = done

    def read(self, path: str) -> str:
        """Value of a node. Raises `StoreError`."""
        # Guests may have written any bytes: reading must not fail over them.
        return self._run(lambda on: on.node(path)).value.decode("latin-1")

    def read_or_none(self, path: str) -> str | None:
        """Value of a node; None when it does not exist."""
        try:
            return self.read(path)
        except StoreError as refused:
            if refused.error is not Error.ENOENT:
                raise
            return None

    def directory(self, path: str) -> list[str]:
        """Last parts of the paths of a node's children, oldest first; none when it does not exist."""
        try:
            return list(self._run(lambda on: on.node(path)).children)
        except StoreError as refused:
            if refused.error is not Error.ENOENT:
                raise
            return []

    def write(self, path: str, value: str) -> None:
        """Set a node's value; makes it and its ancestors. Raises `StoreError`."""
        self._run(lambda on: on.write(path, value.encode("latin-1")))

    def write_all(self, path: str, values: Mapping[str, str]) -> None:
        """Set children of `path`. Raises `StoreError`."""
        for key, value in values.items():
            self.write(join(path, key), value)

    def mkdir(self, path: str) -> None:
        """Make a node if it is not there. Raises `StoreError`."""
        self._run(lambda on: on.mkdir(path))

    def remove(self, path: str) -> None:
        """Remove a node and all below it, if it is there."""
        try:
            self._run(lambda on: on.remove(path))
        except StoreError as refused:
            if refused.error is not Error.ENOENT:
                raise

    def permissions(self, path: str) -> list[str]:
        """Entries of a node, `n0` for instance. Raises `StoreError`."""
        return [str(entry) for entry in self._run(lambda on: on.node(path, special=True)).permissions]

    def set_permissions(self, path: str, *entries: str) -> None:
        """First the owner with the access of all others, then one entry for each other domain. Raises `StoreError`."""
        parsed = tuple(permissions.parse(entry) for entry in entries)
        self._run(lambda on: on.set_permissions(path, parsed))

    def _run(self, action: Callable[[Operations], _T]) -> _T:
        result = self._connection.run(self._transaction, action)
        self._done()
        return result


class LocalWatch:
    """A watch of a program in domain 0."""

    def __init__(self, path: str, token: str, callback: Callable[[str], None]) -> None:
        self.path = path
        self.token = token
        self.callback = callback
        """Gets the path that changed. It may use the store."""


class LocalStore(LocalAccess):
    """One handle on the store, as domain 0."""

    def __init__(
        self,
        connect: Callable[[Callable[[str, str], None]], Connection],
        defer: Callable[[Callable[[], None]], None],
        done: Callable[[], None],
    ) -> None:
        """`connect` takes what delivers events; `defer` keeps a call for when the store is idle."""
        super().__init__(connect(self._deliver), NO_TRANSACTION, done)
        self._defer = defer
        self._watches: dict[str, LocalWatch] = {}
        self._next_token = 0

    def watch(self, path: str, callback: Callable[[str], None]) -> LocalWatch:
        """Call back at once and at each change of a node or of one below it, until `unwatch`. Raises `StoreError`."""
        self._next_token += 1
        watch = LocalWatch(path, str(self._next_token), callback)
        registered = self._connection.watch(path, watch.token)
        self._watches[watch.token] = watch
        self._connection.trigger(registered)
        self._done()
        return watch

    def unwatch(self, watch: LocalWatch) -> None:
        """Not called back any more. Raises `StoreError` (ENOENT) the second time."""
        self._connection.unwatch(watch.path, watch.token)
        del self._watches[watch.token]

    @property
    def watches(self) -> int:
        """How many there are."""
        return len(self._watches)

    @contextmanager
    def transaction(self) -> Iterator[LocalAccess]:
        """Several operations as one. Raises `StoreError` (EAGAIN) at the end if what was looked at has changed."""
        number = self._connection.start()
        try:
            yield LocalAccess(self._connection, number, self._done)
        except BaseException:
            self._connection.end(number, commit=False)
            raise
        self._connection.end(number, commit=True)
        self._done()

    def _deliver(self, path: str, token: str) -> None:
        def call() -> None:
            # It may have been removed while the event waited.
            if (watch := self._watches.get(token)) is not None:
                watch.callback(path)

        self._defer(call)
