"""The xenstore daemon: one store, a ring page for each domain, and domain 0's own programs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from hypervisor_model.xenstore.connections import Store
from hypervisor_model.xenstore.errors import StoreError
from hypervisor_model.xenstore.local import LocalStore
from hypervisor_model.xenstore.paths import INTRODUCE_DOMAIN, RELEASE_DOMAIN
from hypervisor_model.xenstore.permissions import PRIVILEGED
from hypervisor_model.xenstore.quotas import Quotas
from hypervisor_model.xenstore.ring_server import RingServer
from hypervisor_model.xenstore.tree import Change
from sw.xen.io.xs_wire import Error

DEFAULT_QUOTAS: Final = Quotas()
Ring = tuple[memoryview, Callable[[], None]]
"""A domain's ring page, and what sends its event."""


class XenstoreDaemon:
    """Synchronous; takes no simulated time. Whatever a guest does, no call raises on its account."""

    def __init__(
        self,
        quotas: Quotas = DEFAULT_QUOTAS,
        *,
        attach: Callable[[int, int, int], Ring] | None = None,
        spend: Callable[[int], None] | None = None,
    ) -> None:
        """`attach` maps a domain's frame and binds its port, for INTRODUCE messages (domid, frame, port); without it
        they are refused. `spend` is told how many requests and events were carried out, to account for time.
        """
        self._store = Store(quotas)
        self._attach = attach
        self._spend = spend
        self._rings: dict[int, RingServer] = {}
        self._due: dict[int, None] = {}
        self._calls: deque[Callable[[], None]] = deque()
        self._busy = False
        self.local: Final = self.open()
        """A handle for domain 0's toolstack and back ends."""

    def open(self) -> LocalStore:
        """Another handle for a program in domain 0."""
        return LocalStore(lambda deliver: self._store.connect(PRIVILEGED, deliver), self._calls.append, self._local_done)

    # --- domains ---------------------------------------------------------------------------------

    def introduce(self, domid: int, ring: memoryview, notify: Callable[[], None]) -> None:
        """Serve a domain over its ring page; `notify` sends its event. Again: page and event are replaced.

        Raises `ValueError` when the page is too small.
        """
        server = self._rings.get(domid)
        if server is None:
            self._rings[domid] = RingServer(
                self._store, domid, self, lambda: self._schedule(domid), ring, notify
            )
            self._store.fire([Change(INTRODUCE_DOMAIN, None, exact=True)])
        else:
            server.attach(ring, notify)
        self.event(domid)

    def attach(self, domid: int, frame: int, port: int) -> None:
        """INTRODUCE by message. Raises `StoreError`."""
        if self._attach is None:
            raise StoreError(Error.ENOSYS, "domains are not introduced by message")
        if domid == PRIVILEGED:
            raise StoreError(Error.EINVAL, "domain 0 introduces others")
        page, notify = self._attach(domid, frame, port)
        self.introduce(domid, page, notify)

    def event(self, domid: int) -> None:
        """The domain's event channel fired: take its requests, put out replies and events, notify it of changes."""
        self._schedule(domid)
        self._settle()

    def release(self, domid: int) -> None:
        """The domain is gone: so are its watches, transactions, nodes and rights. `StoreError` (ENOENT) if unknown."""
        server = self._rings.pop(domid, None)
        if server is None:
            raise StoreError(Error.ENOENT, f"domain {domid} is not introduced")
        server.detach()
        if domid != PRIVILEGED:
            self._store.forget_domain(domid)
        self._store.fire([Change(RELEASE_DOMAIN, None, exact=True)])
        self._settle()

    def is_introduced(self, domid: int) -> bool:
        """It has been introduced and not been released."""
        return domid in self._rings

    def nodes_owned(self, domid: int) -> int:
        """Nodes that count against a domain."""
        return self._store.tree.owned(domid)

    def watches_of(self, domid: int) -> int:
        """Watches that an introduced domain has."""
        return len(self._rings[domid].connection.watches)

    @property
    def watches(self) -> int:
        """Watches of all domains and of all programs of domain 0."""
        return self._store.watches

    # --- turns -----------------------------------------------------------------------------------

    def _schedule(self, domid: int) -> None:
        self._due[domid] = None

    def _settle(self) -> None:
        # A notified guest, or a callback, may come back at once: it is served when the present turn is over.
        if self._busy:
            return
        self._busy = True
        try:
            while self._due or self._calls:
                if self._calls:
                    self._account(1)
                    self._calls.popleft()()
                    continue
                domid = next(iter(self._due))
                del self._due[domid]
                server = self._rings.get(domid)
                if server is not None:
                    self._account(server.serve())
        finally:
            self._busy = False

    def _local_done(self) -> None:
        self._account(1)
        self._settle()

    def _account(self, operations: int) -> None:
        if operations and self._spend is not None:
            self._spend(operations)
