"""Registrations of an application's own pages, kept until room is needed: most sends then find their pages registered.

After the pin-down cache (Tezuka et al., IPPS 1998), as MX and verbs libraries have it: by page, least recently used
first out, several at once, for a deregistration waits for the hardware however many pages it is for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sw.guest.device_pages import DeviceSpaceError
from sw.guest.machine import DeviceMemory

LIMIT: Final = 128
"""Pages that stay registered at most, by default: half of an endpoint's windows."""
BATCH: Final = 16
"""Pages deregistered at once, by default."""


class RegistrationsInUseError(RuntimeError):
    """Pages are in use by frames in flight: no room can be made, or one of them cannot be dropped. Nothing has changed."""


@dataclass
class CacheCounts:
    """Pages, not calls."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    invalidations: int = 0


class RegistrationCache:
    """Registrations of one open endpoint, for reading. Not re-entrant: under the transmit lock of its driver."""

    def __init__(self, memory: DeviceMemory, *, limit: int = LIMIT, batch: int = BATCH) -> None:
        """`limit` and `batch` in pages. Raises `ValueError` naming field and limit."""
        if limit < 1:
            raise ValueError(f"limit is {limit}: 1 or more")
        if not 1 <= batch <= limit:
            raise ValueError(f"batch is {batch}: 1 to {limit}, the limit")
        self._memory = memory
        self.limit = limit
        self._batch = batch
        self._users: OrderedDict[int, int] = OrderedDict()
        """Page to frames in flight that use it; least recently used first."""
        self.counts = CacheCounts()

    def __len__(self) -> int:
        return len(self._users)

    @property
    def pages(self) -> list[int]:
        """Registered pages, least recently used first."""
        return list(self._users)

    async def acquire(self, pages: Sequence[int]) -> None:
        """Have different pages registered, and keep them so until as many `release`.

        Raises `RegistrationsInUseError` when frames in flight hold what room there is, `ValueError` for more pages than
        the limit, and what `DeviceMemory.register` raises for pages that are not its owner's.
        """
        if len(pages) > self.limit:
            raise ValueError(f"{len(pages)} pages at once: the limit is {self.limit}")
        missing = []
        for page in pages:
            if page in self._users:
                self._users[page] += 1
                self._users.move_to_end(page)
            else:
                missing.append(page)
        try:
            await self._fill(missing)
        except BaseException:
            self.release([page for page in pages if page not in missing])
            raise
        self.counts.hits += len(pages) - len(missing)
        self.counts.misses += len(missing)

    def release(self, pages: Sequence[int]) -> None:
        """Undo one `acquire`: the frame has completed. They stay registered."""
        for page in pages:
            self._users[page] -= 1

    async def invalidate(self, pages: Sequence[int]) -> None:
        """Their owner gives pages back: those that are registered are so no more when this returns.

        Raises `RegistrationsInUseError` if a frame in flight uses one.
        """
        busy = [page for page in pages if self._users.get(page)]
        if busy:
            raise RegistrationsInUseError(f"page {busy[0]:#x} is in use by {self._users[busy[0]]} frames in flight")
        gone = [page for page in pages if page in self._users]
        if gone:
            await self._drop(gone)
            self.counts.invalidations += len(gone)

    async def _fill(self, missing: list[int]) -> None:
        """Register pages and count one user of each; as long runs as there is room for."""
        excess = len(self._users) + len(missing) - self.limit
        if excess > 0:
            await self._evict(excess)
        done = 0
        size = len(missing)
        try:
            while done < len(missing):
                some = missing[done : done + size]
                try:
                    await self._memory.register(some)
                except DeviceSpaceError:
                    # Windows may be free, but not side by side.
                    if size > 1:
                        size = size // 2
                    else:
                        await self._evict(1)
                    continue
                self._users.update((page, 1) for page in some)
                done += len(some)
        except BaseException:
            self.release(missing[:done])
            raise

    async def _evict(self, least: int) -> None:
        """Deregister a batch of the least recently used pages, `least` of them at least."""
        unused = [page for page, users in self._users.items() if not users]
        if len(unused) < least:
            raise RegistrationsInUseError(
                f"room for {least} pages is wanted: {len(self._users)} are registered, {len(unused)} of them not in use"
            )
        gone = unused[: max(least, self._batch)]
        await self._drop(gone)
        self.counts.evictions += len(gone)

    async def _drop(self, pages: Sequence[int]) -> None:
        for page in pages:
            # First: nobody may find it any more.
            del self._users[page]
        await self._memory.deregister(pages)
