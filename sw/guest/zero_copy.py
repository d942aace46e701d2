"""`VirtualNic` that also sends from memory of its user's own, without a copy: registrations are cached."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from sw.guest.machine import DriverMachine
from sw.guest.registration_cache import BATCH, LIMIT, CacheCounts, RegistrationCache, RegistrationsInUseError
from sw.guest.transmit import MAX_PIECES, NicError
from sw.guest.virtual_nic import ReceiveConfig, SendForm, VirtualNic
from sw.platform import PAGE_SHIFT


class ZeroCopyNic(VirtualNic):
    """One endpoint, of a kernel or of a process. The transmit lock covers `send_from` and `invalidate` as well."""

    def __init__(
        self,
        machine: DriverMachine,
        form: SendForm,
        ring_entries: int = 256,
        *,
        buffer_pages: int = 16,
        receive: ReceiveConfig | None = None,
        cache_pages: int = LIMIT,
        cache_batch: int = BATCH,
    ) -> None:
        """Arguments as of `VirtualNic`; `cache_pages` stay registered at most, `cache_batch` are deregistered at once."""
        super().__init__(machine, form, ring_entries, buffer_pages=buffer_pages, receive=receive)
        self._cache_pages = cache_pages
        self._cache_batch = cache_batch
        self._cache: RegistrationCache | None = None
        self._permanent: frozenset[int] = frozenset()
        """The driver's own pages: registered while it is open."""
        self._borrowed: deque[tuple[int, list[int]]] = deque()
        """Number of a frame that was accepted, and the pages that it holds until it completes."""

    @property
    def cache_counts(self) -> CacheCounts:
        """Of the cache; valid while open."""
        return self._opened_cache().counts

    @property
    def cached_pages(self) -> list[int]:
        """Pages of the user's own that are registered, least recently used first; valid while open."""
        return self._opened_cache().pages

    async def open(self) -> None:
        """As `VirtualNic.open`; nothing is cached."""
        await super().open()
        self._permanent = frozenset(self._pages.addresses)
        self._cache = RegistrationCache(self._pages, limit=self._cache_pages, batch=self._cache_batch)

    async def close(self) -> None:
        """As `VirtualNic.close`; registrations end with the endpoint's."""
        await super().close()
        self._cache = None
        self._borrowed.clear()

    async def send_from(self, address: int, length: int, checksum: tuple[int, int] | None = None) -> bool:
        """Send the frame that lies at `address`, in place; it must stay unchanged until it has completed.

        Hits of the cache cost no call. False when the queue is stopped, or when frames in flight hold all registrations:
        `wait_for_room` then. `checksum` as of `xmit`. Raises `NicError` for a frame of no byte or on too many pages.
        """
        first, last = address >> PAGE_SHIFT, address + length - 1 >> PAGE_SHIFT
        most = min(MAX_PIECES, self._cache_pages)
        if length < 1 or last - first >= most:
            raise NicError(f"frame of {length} bytes at {address:#x}: 1 byte or more, on {most} pages at most")
        if self.stopped:
            return False
        if self.form is SendForm.INLINE and length <= self._inline_max:
            return self.xmit([(address, length)], checksum=checksum)
        cache = self._opened_cache()
        pages = [page for page in range(first, last + 1) if page not in self._permanent]
        self.reap()
        try:
            await cache.acquire(pages)
        except RegistrationsInUseError:
            if not self.in_flight:
                raise
            self._stopped = True
            return False
        number = self.frames_accepted
        try:
            accepted = self.xmit([(address, length)], checksum=checksum)
        except BaseException:
            cache.release(pages)
            raise
        if accepted:
            self._borrowed.append((number, pages))
        else:
            cache.release(pages)
        return accepted

    async def invalidate(self, pages: Sequence[int]) -> None:
        """To be called before pages are given back (`Process.on_free`). `RegistrationsInUseError` if one is in flight."""
        if self._cache is not None:
            self.reap()
            await self._cache.invalidate(pages)

    def reap(self) -> int:
        """As `VirtualNic.reap`; pages of what has completed may be deregistered again."""
        done = super().reap()
        if self._cache is not None:
            completed = self.frames_accepted - self.in_flight
            while self._borrowed and self._borrowed[0][0] < completed:
                self._cache.release(self._borrowed.popleft()[1])
        return done

    def _opened_cache(self) -> RegistrationCache:
        if self._cache is None:
            raise NicError("the NIC is not open")
        return self._cache
