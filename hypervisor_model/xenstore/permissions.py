"""Who may read and write a node.

Source: Xen `docs/misc/xenstore.txt` (GET_PERMS), `perm_for_conn` of C xenstored.
"""

from __future__ import annotations

import re
from enum import IntFlag
from typing import Final, NamedTuple

from hypervisor_model.xenstore.errors import StoreError
from sw.xen.io.xs_wire import Error
from sw.xen.xen import DOMID_CONTROL

PRIVILEGED: Final = DOMID_CONTROL
"""Domain 0 owns everything, and no quota binds it."""


class Access(IntFlag):
    """What a domain may do with a node."""

    NONE = 0
    READ = 1
    WRITE = 2
    OWNER = 4
    """May change permissions."""
    BOTH = READ | WRITE


_LETTERS: Final = {"n": Access.NONE, "r": Access.READ, "w": Access.WRITE, "b": Access.BOTH}
_NAMES: Final = {access: letter for letter, access in _LETTERS.items()}
_ENTRY: Final = re.compile(r"([nrwb])([0-9]{1,5})")


class Permission(NamedTuple):
    """One entry. The first of a node names its owner, and the access of everybody who has no entry of his own."""

    access: Access
    domid: int

    def __str__(self) -> str:
        return f"{_NAMES[self.access]}{self.domid}"


Permissions = tuple[Permission, ...]
"""Never empty."""


def parse(text: str) -> Permission:
    """`r3`, for instance. Raises `StoreError` (EINVAL)."""
    match = _ENTRY.fullmatch(text)
    if match is None or int(match[2]) > 0xFFFF:
        raise StoreError(Error.EINVAL, f"permission {text[:16]!r}: one of n r w b, and a domain")
    return Permission(_LETTERS[match[1]], int(match[2]))


def access_of(domid: int, permissions: Permissions) -> Access:
    """What a domain may do."""
    if domid in (PRIVILEGED, permissions[0].domid):
        return Access.BOTH | Access.OWNER
    return next((entry.access for entry in permissions[1:] if entry.domid == domid), permissions[0].access)
