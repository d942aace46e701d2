"""Maptrack: the handles of one domain on what it has mapped by grants."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hypervisor_model.grant_table import GrantError
from sw.xen.grant_table import GrantStatus

MAPTRACK_LIMIT: Final = 1024 * 256
"""Handles of a domain: 1024 frames of 256."""


@dataclass(frozen=True, eq=False)
class Mapping:
    """A device mapping for an endpoint of the granter's own. Two of one page are two: each has a handle and, perhaps, an address."""

    granter: int
    reference: int
    endpoint: int
    gfn: int
    frame: int
    write: bool


@dataclass
class HostMapping:
    """A mapping into the grantee's own address space, its device's, or both."""

    granter: int
    reference: int
    frame: int
    write: bool
    gfn: int | None
    """Where the grantee has it, None: not mapped for its processor."""
    device: bool
    """Mapped for its device."""


class Maptrack:
    """Handles are reused in the order in which they became free."""

    def __init__(self) -> None:
        self._entries: list[Mapping | HostMapping | None] = []
        self._free: deque[int] = deque()

    def __iter__(self) -> Iterator[tuple[int, Mapping | HostMapping]]:
        return ((handle, entry) for handle, entry in enumerate(self._entries) if entry is not None)

    def reserve(self) -> None:
        """Make sure of a free handle. Raises `GrantError`."""
        if not self._free:
            if len(self._entries) >= MAPTRACK_LIMIT:
                raise GrantError(GrantStatus.NO_SPACE)
            self._free.append(len(self._entries))
            self._entries.append(None)

    def add(self, mapping: Mapping | HostMapping) -> int:
        """The handle of a new mapping, after `reserve`."""
        handle = self._free.popleft()
        self._entries[handle] = mapping
        return handle

    def get(self, handle: int) -> Mapping | HostMapping | None:
        """What a live handle stands for."""
        return self._entries[handle] if 0 <= handle < len(self._entries) else None

    def remove(self, handle: int) -> None:
        """From here the handle names nothing."""
        self._entries[handle] = None
        self._free.append(handle)
