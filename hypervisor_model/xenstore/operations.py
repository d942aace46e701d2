"""Reads and changes of one domain on a view of the nodes, with permissions and quotas.

Source: `tools/xenstored/core.c` of Xen for the order of checks and their errors.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from hypervisor_model.xenstore import paths
from hypervisor_model.xenstore.errors import StoreError
from hypervisor_model.xenstore.permissions import PRIVILEGED, Access, Permissions, access_of
from hypervisor_model.xenstore.quotas import Quotas
from hypervisor_model.xenstore.tree import Change, Node, View
from sw.xen.io.xs_wire import Error

_NODE_BYTES: Final = 16
"""Of a node without value, permissions and children, when its size is held against the quota."""
_PERMISSION_BYTES: Final = 8


class Operations:
    """Every operation happens whole or, when it raises `StoreError`, not at all. Paths may be relative."""

    def __init__(self, view: View, domid: int, quotas: Quotas) -> None:
        self._view = view
        self._domid = domid
        self._quotas = quotas
        self.changes: list[Change] = []
        """What was changed, in the order in which watches hear of it."""

    def node(self, path: str, *, special: bool = False) -> Node:
        """A node that the domain may read. EACCES, ENOENT, EINVAL."""
        return self._existing(paths.canonical(path, self._domid, special=special), Access.READ)

    def write(self, path: str, value: bytes) -> None:
        """Set a value; makes the node and missing ancestors. EACCES, EINVAL, ENOSPC."""
        name = paths.canonical(path, self._domid)
        node = self._find(name, Access.WRITE)
        if node is None:
            self._create(name, value)
        else:
            self._put({name: replace(node, value=value)})
        self.changes.append(Change(name, None if node is None else node.permissions))

    def mkdir(self, path: str) -> None:
        """Make an empty node and missing ancestors; an existing one stays as it is. EACCES, EINVAL, ENOSPC."""
        name = paths.canonical(path, self._domid)
        if self._find(name, Access.WRITE) is None:
            self._create(name, b"")
            self.changes.append(Change(name, None))

    def remove(self, path: str) -> None:
        """Remove a node and all below it; none is fine if its parent exists. EACCES, EINVAL, ENOENT."""
        name = paths.canonical(path, self._domid)
        if name == "/":
            raise StoreError(Error.EINVAL, "the root stays")
        if self._find(name, Access.WRITE) is not None:
            self.remove_tree(name)
        elif self._view.get(paths.parent(name)) is None:
            raise StoreError(Error.ENOENT, f"{paths.parent(name)} does not exist")

    def remove_tree(self, name: str) -> None:
        """Remove an existing node by its absolute path, whoever owns it."""
        below = [name]
        for path in below:
            node = self._view.get(path)
            below += [paths.join(path, child) for child in (() if node is None else node.children)]
        above = self._view.get(paths.parent(name))
        if above is None:
            raise AssertionError(f"{name} has no parent")
        for path in reversed(below):
            node = self._view.get(path)
            if node is not None:
                self._view.delete(path)
                self.changes.append(Change(path, node.permissions, exact=path != name))
        rest = tuple(child for child in above.children if child != paths.leaf(name))
        self._view.put(paths.parent(name), replace(above, children=rest, generation=self._view.tick()))

    def set_permissions(self, path: str, permissions: Permissions) -> None:
        """Of an owned node; only domain 0 may give it to another owner. EACCES, EINVAL, ENOENT, ENOSPC, EPERM."""
        if not permissions:
            raise StoreError(Error.EINVAL, "a node has at least one permission entry")
        if self._domid != PRIVILEGED and len(permissions) > self._quotas.permissions:
            raise StoreError(Error.ENOSPC, f"{len(permissions)} permissions: at most {self._quotas.permissions}")
        name = paths.canonical(path, self._domid, special=True)
        node = self._existing(name, Access.WRITE | Access.OWNER)
        if self._domid != PRIVILEGED and permissions[0].domid != node.owner:
            raise StoreError(Error.EPERM, f"domain {self._domid} may not change the owner of {name}")
        self._put({name: replace(node, permissions=permissions)})
        self.changes.append(Change(name, node.permissions))

    def _existing(self, name: str, access: Access) -> Node:
        node = self._find(name, access)
        if node is None:
            raise StoreError(Error.ENOENT, f"{name} does not exist")
        return node

    def _find(self, name: str, access: Access) -> Node | None:
        """The node if the domain has all of `access` to it; None only for those who may know that it does not exist."""
        node = self._view.get(name)
        if node is not None:
            allowed = access_of(self._domid, node.permissions) & access == access
        else:
            above = name
            holder = None
            while holder is None:
                above = paths.parent(above)
                holder = self._view.get(above)
            allowed = bool(access_of(self._domid, holder.permissions) & access)
        if not allowed:
            raise StoreError(Error.EACCES, f"domain {self._domid} has no {access.name} access to {name}")
        return node

    def _create(self, name: str, value: bytes) -> None:
        missing = [name]
        while (holder := self._view.get(paths.parent(missing[-1]))) is None:
            missing.append(paths.parent(missing[-1]))
        permissions = holder.permissions
        if self._domid != PRIVILEGED:
            permissions = (permissions[0]._replace(domid=self._domid), *permissions[1:])
            if self._view.owned(self._domid) + len(missing) > self._quotas.nodes:
                raise StoreError(Error.ENOSPC, f"domain {self._domid} may own {self._quotas.nodes} nodes")
        holder = replace(holder, children=(*holder.children, paths.leaf(missing[-1])))
        fresh: dict[str, Node] = {}
        child: tuple[str, ...] = ()
        for path in missing:
            fresh[path] = Node(value if path == name else b"", permissions, child, 0)
            child = (paths.leaf(path),)
        self._put({paths.parent(missing[-1]): holder, **fresh})

    def _put(self, nodes: dict[str, Node]) -> None:
        for node in nodes.values():
            size = _NODE_BYTES + _PERMISSION_BYTES * len(node.permissions) + len(node.value)
            size += sum(len(child) + 1 for child in node.children)
            if self._domid != PRIVILEGED and size > self._quotas.node_bytes:
                raise StoreError(Error.ENOSPC, f"node of {size} bytes: at most {self._quotas.node_bytes}")
        for name, node in nodes.items():
            self._view.put(name, replace(node, generation=self._view.tick()))
