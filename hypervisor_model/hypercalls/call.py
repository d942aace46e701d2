"""One hypercall under way: who calls, with what arguments, and the caller's memory, which is never trusted."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sw.platform import PAGE_SHIFT, PAGE_SIZE
from sw.xen.errno import Errno, HypercallError
from sw.xen.xen import DOMID_SELF

if TYPE_CHECKING:
    from hypervisor_model.domains import Domain
    from hypervisor_model.hypervisor import Hypervisor

_OFFSET = PAGE_SIZE - 1


@dataclass
class Call:
    """Arguments are unsigned 64-bit numbers, as in registers. Refusals raise `HypercallError`."""

    hv: Hypervisor
    domain: Domain
    arguments: tuple[int, ...]
    concerned: set[int] = field(default_factory=set)
    """Endpoints that the call is about; empty: all of the caller's."""

    def argument(self, index: int) -> int:
        """Argument `index`; 0 where the caller gave fewer."""
        return self.arguments[index] if index < len(self.arguments) else 0

    def read(self, gpa: int, size: int) -> bytes:
        """Copy from the caller's memory (copy_from_guest). EFAULT outside its RAM."""
        result = bytearray()
        while len(result) < size:
            at = gpa + len(result)
            offset = at & _OFFSET
            part = min(PAGE_SIZE - offset, size - len(result))
            result += self._page(at)[offset : offset + part]
        return bytes(result)

    def write(self, gpa: int, data: bytes) -> None:
        """Copy to the caller's memory (copy_to_guest). EFAULT outside its RAM and where it may only read."""
        done = 0
        while done < len(data):
            at = gpa + done
            offset = at & _OFFSET
            part = min(PAGE_SIZE - offset, len(data) - done)
            page = self._page(at)
            if page.readonly:
                raise HypercallError(Errno.EFAULT, f"guest address {at:#x} is read-only for {self.domain.name}")
            page[offset : offset + part] = data[done : done + part]
            done += part

    def unpack(self, layout: struct.Struct, gpa: int) -> tuple[Any, ...]:
        """Read one structure."""
        return layout.unpack(self.read(gpa, layout.size))

    def pack(self, layout: struct.Struct, gpa: int, *values: int | bytes) -> None:
        """Write one structure."""
        self.write(gpa, layout.pack(*values))

    def target(self, domid: int) -> Domain:
        """The domain that an argument names: the caller itself, or any if the caller is privileged."""
        if domid in (DOMID_SELF, self.domain.domid):
            return self.domain
        if not self.domain.privileged:
            raise HypercallError(Errno.EPERM, f"{self.domain.name} is not privileged: it cannot act for domain {domid}")
        target = self.hv.domains.get(domid)
        if target is None:
            raise HypercallError(Errno.ESRCH, f"there is no domain {domid}")
        return target

    def _page(self, gpa: int) -> memoryview:
        page = self.domain.p2m.pages.get(gpa >> PAGE_SHIFT)
        if page is None:
            raise HypercallError(Errno.EFAULT, f"guest address {gpa:#x} is not RAM of {self.domain.name}")
        return page


@dataclass(frozen=True)
class Operation:
    """One entry of the hypercall table."""

    handler: Callable[[Call], Awaitable[int] | int]
    """Returns what the caller gets: 0 or more."""
    control: bool = False
    """It makes, stops or configures something: never part of the data path."""
