"""The nodes, and what a transaction sees of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final, Protocol

from hypervisor_model.xenstore.errors import StoreError
from hypervisor_model.xenstore.paths import INTRODUCE_DOMAIN, RELEASE_DOMAIN
from hypervisor_model.xenstore.permissions import PRIVILEGED, Access, Permission, Permissions
from hypervisor_model.xenstore.quotas import Quotas
from sw.xen.io.xs_wire import Error

_ABSENT: Final = 0
"""Generation of a node that does not exist."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node; a change makes a new one."""

    value: bytes
    permissions: Permissions
    children: tuple[str, ...]
    """Last parts of their paths, oldest first."""
    generation: int
    """No two states of any node have the same one."""

    @property
    def owner(self) -> int:
        """Domain that the node counts against."""
        return self.permissions[0].domid


@dataclass(frozen=True)
class Change:
    """Something that watches may have to hear of."""

    path: str
    before: Permissions | None
    """Of the node as it was: who could read it hears that he no longer can."""
    exact: bool = False
    """The node went with an ancestor: only watches on itself fire."""


class View(Protocol):
    """Nodes as operations see them: the store itself, or a transaction's copy."""

    def get(self, path: str) -> Node | None: ...

    def put(self, path: str, node: Node) -> None: ...

    def delete(self, path: str) -> None: ...

    def tick(self) -> int:
        """A new generation."""
        ...

    def owned(self, domid: int) -> int:
        """Nodes that count against a domain."""
        ...


class Tree:
    """The store itself. A node's parent exists and lists it: whoever puts or deletes sees to that."""

    def __init__(self) -> None:
        self._generation = _ABSENT
        self._nodes: dict[str, Node] = {}
        self._owned: Counter[int] = Counter()
        nobody = (Permission(Access.NONE, PRIVILEGED),)
        for path in ("/", INTRODUCE_DOMAIN, RELEASE_DOMAIN):
            self.put(path, Node(b"", nobody, (), self.tick()))

    def get(self, path: str) -> Node | None:
        """The node, if it exists."""
        return self._nodes.get(path)

    def put(self, path: str, node: Node) -> None:
        """Create or replace."""
        old = self._nodes.get(path)
        if old is not None:
            self._count(old.owner, -1)
        self._count(node.owner, 1)
        self._nodes[path] = node

    def delete(self, path: str) -> None:
        """Remove an existing node."""
        self._count(self._nodes.pop(path).owner, -1)

    def tick(self) -> int:
        """A new generation."""
        self._generation += 1
        return self._generation

    def owned(self, domid: int) -> int:
        """Nodes that count against a domain."""
        return self._owned[domid]

    def snapshot(self) -> dict[str, Node]:
        """All nodes by path, as they are now."""
        return dict(self._nodes)

    def _count(self, domid: int, step: int) -> None:
        self._owned[domid] += step
        if not self._owned[domid]:
            del self._owned[domid]


class Transaction:
    """A copy of the store with changes of its own. It commits only if nothing that it has looked at has changed since."""

    def __init__(self, tree: Tree, domid: int, quotas: Quotas) -> None:
        self._tree = tree
        self._domid = domid
        self._quotas = quotas
        self._snapshot = tree.snapshot()
        self._seen: dict[str, int] = {}
        self._written: dict[str, Node | None] = {}
        self._owned: Counter[int] = Counter()
        self._changes: dict[str, Change] = {}

    def get(self, path: str) -> Node | None:
        """The node as it was at the start, or as this transaction has made it. Raises `StoreError` (ENOSPC)."""
        if path in self._written:
            return self._written[path]
        node = self._snapshot.get(path)
        if path not in self._seen:
            if len(self._seen) >= self._quotas.transaction_nodes and self._domid != PRIVILEGED:
                raise StoreError(Error.ENOSPC, f"transaction has touched {len(self._seen)} nodes, the most it may")
            self._seen[path] = _generation(node)
        return node

    def put(self, path: str, node: Node) -> None:
        """Create or replace."""
        self._replace(path, node)

    def delete(self, path: str) -> None:
        """Remove an existing node."""
        self._replace(path, None)

    def tick(self) -> int:
        """A new generation."""
        return self._tree.tick()

    def owned(self, domid: int) -> int:
        """Nodes that would count against a domain if this were committed now."""
        return self._tree.owned(domid) + self._owned[domid]

    def changed(self, change: Change) -> None:
        """Watches hear of it if the transaction commits: once for a node, with what could be read at the start."""
        first = self._changes.get(change.path)
        if first is not None:
            change = Change(change.path, first.before, first.exact and change.exact)
        self._changes[change.path] = change

    def commit(self) -> list[Change]:
        """Make the changes the store's. Raises `StoreError`: EAGAIN when something seen has changed, ENOSPC."""
        for path, generation in self._seen.items():
            if _generation(self._tree.get(path)) != generation:
                raise StoreError(Error.EAGAIN, f"{path} has changed since the transaction looked at it")
        # Others may have used the quota up since the nodes were made.
        if self._domid != PRIVILEGED and self._owned[self._domid] > 0 and self.owned(self._domid) > self._quotas.nodes:
            raise StoreError(Error.ENOSPC, f"domain {self._domid} may own {self._quotas.nodes} nodes")
        for path, node in self._written.items():
            if node is not None:
                self._tree.put(path, node)
            elif self._tree.get(path) is not None:
                self._tree.delete(path)
        return list(self._changes.values())

    def _replace(self, path: str, node: Node | None) -> None:
        old = self.get(path)
        if old is not None:
            self._owned[old.owner] -= 1
        if node is not None:
            self._owned[node.owner] += 1
        self._written[path] = node


def _generation(node: Node | None) -> int:
    return _ABSENT if node is None else node.generation
