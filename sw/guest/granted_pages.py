"""Pages that a front end shares with its back end, one grant reference for each."""

from __future__ import annotations

from sw.guest.machine import GuestMachine
from sw.platform import PAGE_SIZE


class GrantHeldError(RuntimeError):
    """The other end still uses a page that it has given back."""


class GrantedPages:
    """A run of pages. A page is granted while its slot is with the back end; a persistent one for the whole connection."""

    def __init__(self, machine: GuestMachine, domid: int, *, readonly: bool, persistent: bool) -> None:
        """`domid`: who gets access."""
        self._machine = machine
        self._domid = domid
        self._readonly = readonly
        self.persistent = persistent
        self._gfn = 0
        self._views: list[memoryview] = []
        self._references: list[int] = []
        self._granted: list[bool] = []

    async def allocate(self, count: int) -> None:
        """Reserve pages and references."""
        kernel = self._machine.kernel
        self._gfn = kernel.allocate_pages(count)
        self._views = [self._machine.memory.page(self._gfn + n) for n in range(count)]
        self._references = await kernel.reserve_references(count)
        self._granted = [False] * count

    def view(self, slot: int) -> memoryview:
        """The page of a slot."""
        return self._views[slot]

    def clear(self) -> None:
        """Zero all pages: what they held before is nobody else's business."""
        for view in self._views:
            view[:] = bytes(PAGE_SIZE)

    def grant(self, slot: int) -> int:
        """Let the back end reach the page; its reference."""
        if not self._granted[slot]:
            self._granted[slot] = True
            self._machine.kernel.grant_reference(
                self._references[slot], self._gfn + slot, readonly=self._readonly, domid=self._domid
            )
        return self._references[slot]

    def end(self, slot: int) -> None:
        """The slot is back. Raises `GrantHeldError` if the back end still has the page."""
        if not self.persistent:
            self._end(slot)

    def _end(self, slot: int) -> None:
        if self._granted[slot] and not self._machine.kernel.end_reference(self._references[slot]):
            raise GrantHeldError(f"grant {self._references[slot]} is still in use")
        self._granted[slot] = False

    def release(self) -> bool:
        """Revoke what is granted and give everything back; False while the back end still has a page: call it again."""
        for slot, granted in enumerate(self._granted):
            if granted and not self._machine.kernel.end_reference(self._references[slot]):
                return False
            self._granted[slot] = False
        self._machine.kernel.release_references(self._references)
        self._machine.kernel.free_pages(self._gfn, len(self._views))
        self._views.clear()
        self._references.clear()
        self._granted.clear()
        return True
