"""Why the store refused."""

from __future__ import annotations

from sw.xen.io.xs_wire import Error


class StoreError(RuntimeError):
    """A request was refused; `error` is the name that goes on the wire."""

    def __init__(self, error: Error, reason: str) -> None:
        super().__init__(f"{error}: {reason}")
        self.error = error
