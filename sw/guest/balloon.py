"""The balloon: gives the guest's free pages back to the hypervisor, and fetches them again."""

from __future__ import annotations

from sw.guest.hypercalls import RESERVATION_BATCH
from sw.guest.kernel import OutOfPagesError
from sw.guest.machine import GuestMachine
from sw.xen.errno import Errno, HypercallError


class Balloon:
    """Holds the guest frames that have no memory behind them."""

    def __init__(self, machine: GuestMachine) -> None:
        self._machine = machine
        self._inflated: list[int] = []

    @property
    def pages(self) -> int:
        """Pages that the guest has, of those that it was built with."""
        return len(self._machine.ram) - len(self._inflated)

    async def set_target(self, pages: int) -> int:
        """Give pages back or fetch them until the guest has `pages`; what it has then.

        Fewer than wanted when the hypervisor has no more, more when the kernel has none free.
        """
        if not 0 <= pages <= len(self._machine.ram):
            raise ValueError(f"target is {pages} pages: 0 to {len(self._machine.ram)}")
        while self.pages > pages and await self._inflate(min(self.pages - pages, RESERVATION_BATCH)):
            pass
        while self.pages < pages and await self._deflate(min(pages - self.pages, RESERVATION_BATCH)):
            pass
        return self.pages

    async def _inflate(self, count: int) -> bool:
        """False when not all `count` pages could be given back."""
        kernel, taken = self._machine.kernel, list[int]()
        try:
            while len(taken) < count:
                taken.append(kernel.allocate_pages(1))
        except OutOfPagesError:
            pass
        if not taken:
            return False
        done = await self._machine.hypercall.decrease_reservation(*taken)
        self._inflated += taken[:done]
        for gfn in taken[done:]:
            kernel.free_pages(gfn, 1)
        return done == count

    async def _deflate(self, count: int) -> bool:
        """False when not all `count` pages were to be had."""
        wanted = self._inflated[-count:]
        try:
            done = await self._machine.hypercall.populate_physmap(*wanted)
        except HypercallError as error:
            if error.errno is not Errno.ENOMEM:
                raise
            return False
        for gfn in wanted[:done]:
            self._machine.kernel.free_pages(gfn, 1)
        self._inflated[-count:] = wanted[done:]
        return done == count
