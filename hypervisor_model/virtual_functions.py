"""Which domain each virtual function of the NIC is assigned to: endpoint n's own function has number n."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sw.abi.registers import Mode
from sw.xen.errno import Errno, HypercallError


@dataclass
class _Assignment:
    domid: int
    master: bool = False


class VirtualFunctions:
    """Assignments, and the bus-master bit of each assigned function."""

    def __init__(self) -> None:
        self._assigned: dict[int, _Assignment] = {}

    def assign(self, number: int, domid: int) -> None:
        """Keep a function for a domain. EBUSY when it is kept for one already."""
        self.check_free(number)
        self._assigned[number] = _Assignment(domid)

    def is_free(self, number: int) -> bool:
        """It is not assigned."""
        return number not in self._assigned

    def check_free(self, number: int) -> None:
        """EBUSY when it is assigned."""
        if not self.is_free(number):
            raise HypercallError(Errno.EBUSY, f"function {number} is assigned to domain {self._assigned[number].domid}")

    def deassign(self, number: int, domid: int) -> None:
        """Give a function back. ENODEV when it is not the domain's."""
        self._owned(number, domid)
        del self._assigned[number]

    def of_domain(self, domid: int) -> list[int]:
        """Functions assigned to a domain, by number."""
        return sorted(number for number, assigned in self._assigned.items() if assigned.domid == domid)

    @property
    def in_use(self) -> int:
        """Functions that are assigned."""
        return len(self._assigned)

    def choose(self, free: Iterable[int], domid: int, mode: Mode) -> int | None:
        """Which of the free endpoints a domain gets: its own function's first, nobody's else; None when there is none."""
        numbers = list(free)
        own = self.of_domain(domid) if mode is Mode.IOMMU else []
        wanted = [number for number in own if number in numbers]
        return next(iter([*wanted, *(number for number in numbers if number not in self._assigned)]), None)

    def set_master(self, number: int, domid: int, *, on: bool) -> None:
        """The function may issue requests, or not. ENODEV when it is not the domain's."""
        self._owned(number, domid).master = on

    def check_master(self, number: int) -> None:
        """EACCES for an assigned function that may not issue requests."""
        if number in self._assigned and not self._assigned[number].master:
            raise HypercallError(Errno.EACCES, f"function {number} is not bus master")

    def _owned(self, number: int, domid: int) -> _Assignment:
        assigned = self._assigned.get(number)
        if assigned is None or assigned.domid != domid:
            raise HypercallError(Errno.ENODEV, f"function {number} is not assigned to domain {domid}")
        return assigned
