"""Clients of the store: their transactions, their watches, and who hears of which change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from hypervisor_model.xenstore import paths
from hypervisor_model.xenstore.errors import StoreError
from hypervisor_model.xenstore.operations import Operations
from hypervisor_model.xenstore.permissions import PRIVILEGED, Access, Permission, access_of
from hypervisor_model.xenstore.quotas import Quotas
from hypervisor_model.xenstore.tree import Change, Transaction, Tree
from sw.xen.io.xs_wire import Error

NO_TRANSACTION: Final = 0
_LAST_TRANSACTION: Final = 0xFFFF_FFFF
_T = TypeVar("_T")


@dataclass(frozen=True)
class Watch:
    """Asks for events on a node and all below it."""

    path: str
    token: str
    prefix: int
    """Bytes of the domain's home that a watch by relative path is told nothing of."""

    def told(self, path: str) -> str:
        """A changed node's path as the watcher knows it."""
        return path[self.prefix :]


class Connection:
    """One client. A domain has one at most; domain 0's programs have one each."""

    def __init__(self, store: Store, domid: int, deliver: Callable[[str, str], None]) -> None:
        """`deliver` gets path and token of each watch event; it must not use the store at once."""
        self._store = store
        self.domid = domid
        self.deliver = deliver
        self._watches: dict[tuple[str, str], Watch] = {}
        self._transactions: dict[int, Transaction] = {}
        self._next_transaction = 1

    def check(self, transaction: int) -> None:
        """A number other than 0 must be that of an open transaction. ENOENT."""
        if transaction != NO_TRANSACTION:
            self._open(transaction)

    def run(self, transaction: int, action: Callable[[Operations], _T]) -> _T:
        """Operate on the store, or inside a transaction if its number is not 0. Raises `StoreError`."""
        inside = None if transaction == NO_TRANSACTION else self._open(transaction)
        tree = self._store.tree
        operations = Operations(tree if inside is None else inside, self.domid, self._store.quotas)
        result = action(operations)
        if inside is None:
            self._store.fire(operations.changes)
        else:
            for change in operations.changes:
                inside.changed(change)
        return result

    def start(self) -> int:
        """Open a transaction; its number. ENOSPC."""
        quotas = self._store.quotas
        if len(self._transactions) >= quotas.transactions and self.domid != PRIVILEGED:
            raise StoreError(Error.ENOSPC, f"domain {self.domid} may have {quotas.transactions} transactions open")
        number = self._next_transaction
        while number in self._transactions or number == NO_TRANSACTION:
            number = (number + 1) & _LAST_TRANSACTION
        self._next_transaction = (number + 1) & _LAST_TRANSACTION
        self._transactions[number] = Transaction(self._store.tree, self.domid, quotas)
        return number

    def end(self, transaction: int, *, commit: bool) -> None:
        """Close a transaction, whatever comes of it. EAGAIN: it conflicted, nothing is changed. ENOENT, ENOSPC."""
        closing = self._open(transaction)
        del self._transactions[transaction]
        if commit:
            self._store.fire(closing.commit())

    def watch(self, path: str, token: str) -> Watch:
        """Add a watch; the caller sees to its first event. EEXIST, EINVAL, E2BIG."""
        name = paths.canonical(path, self.domid, special=True)
        if (name, token) in self._watches:
            raise StoreError(Error.EEXIST, f"domain {self.domid} watches {name} with that token already")
        quotas = self._store.quotas
        if len(self._watches) >= quotas.watches and self.domid != PRIVILEGED:
            raise StoreError(Error.E2BIG, f"domain {self.domid} may have {quotas.watches} watches")
        prefix = len(paths.domain_path(self.domid)) + 1 if paths.is_relative(path) else 0
        watch = Watch(name, token, prefix)
        self._watches[name, token] = watch
        return watch

    def trigger(self, watch: Watch) -> None:
        """The event that every watch begins with."""
        self.deliver(watch.told(watch.path), watch.token)

    def unwatch(self, path: str, token: str) -> None:
        """Remove a watch. ENOENT, EINVAL."""
        name = paths.canonical(path, self.domid, special=True)
        if self._watches.pop((name, token), None) is None:
            raise StoreError(Error.ENOENT, f"domain {self.domid} does not watch {name} with that token")

    def reset(self) -> None:
        """Drop all watches and transactions."""
        self._watches.clear()
        self._transactions.clear()

    @property
    def watches(self) -> list[Watch]:
        """Oldest first."""
        return list(self._watches.values())

    def _open(self, number: int) -> Transaction:
        transaction = self._transactions.get(number)
        if transaction is None:
            raise StoreError(Error.ENOENT, f"domain {self.domid} has no transaction {number}")
        return transaction


class Store:
    """The nodes and those who use them."""

    def __init__(self, quotas: Quotas) -> None:
        self.tree = Tree()
        self.quotas = quotas
        self._connections: list[Connection] = []

    def connect(self, domid: int, deliver: Callable[[str, str], None]) -> Connection:
        """A new client; as `Connection`."""
        connection = Connection(self, domid, deliver)
        self._connections.append(connection)
        return connection

    def disconnect(self, connection: Connection) -> None:
        """Forget a client, with its watches and transactions."""
        connection.reset()
        self._connections.remove(connection)

    @property
    def watches(self) -> int:
        """Watches of all clients."""
        return sum(len(connection.watches) for connection in self._connections)

    def fire(self, changes: Iterable[Change]) -> None:
        """Tell everybody who watches and could, or can, read the node or its parent."""
        for change in changes:
            for connection in self._connections:
                hits = [watch for watch in connection.watches if _matches(change, watch)]
                if hits and self._readable(change, connection.domid):
                    for watch in hits:
                        connection.deliver(watch.told(change.path), watch.token)

    def forget_domain(self, domid: int) -> None:
        """Remove what a domain that is gone has owned, and its rights: another may get its number."""
        operations = Operations(self.tree, PRIVILEGED, self.quotas)
        for path in sorted(self.tree.snapshot()):
            node = self.tree.get(path)
            if node is None:
                continue
            if node.owner == domid and path.startswith("/") and path != "/":
                operations.remove_tree(path)
            elif any(entry.domid == domid for entry in node.permissions):
                first = node.permissions[0]
                # Root and special nodes stay, and go back to domain 0.
                owner = Permission(Access.NONE, PRIVILEGED) if first.domid == domid else first
                rest = tuple(entry for entry in node.permissions[1:] if entry.domid != domid)
                self.tree.put(path, replace(node, permissions=(owner, *rest), generation=self.tree.tick()))
        self.fire(operations.changes)

    def _readable(self, change: Change, domid: int) -> bool:
        now = self.tree.get(change.path)
        above = self.tree.get(paths.parent(change.path))
        seen = (change.before, now and now.permissions, above and above.permissions)
        return any(access_of(domid, entry) & Access.READ for entry in seen if entry)


def _matches(change: Change, watch: Watch) -> bool:
    return change.path == watch.path if change.exact else paths.is_child(change.path, watch.path)
