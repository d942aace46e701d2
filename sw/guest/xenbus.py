"""Front end's half of a split device: the handshake over xenstore, the same for every device class.

Source: Xen `xen/include/public/io/xenbus.h`, `netif.h`; order of states as in Linux `xenbus_probe_frontend.c`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sw.guest.xenstore import Accessor, StoreWatch, Xenstore, XenstoreError
from sw.platform import PlatformTimeoutError
from sw.xen.io.xenbus import XenbusState, parse_state
from sw.xen.io.xs_wire import Error

TIMEOUT_NS: Final = 100_000_000
"""Bound of each wait for the back end, simulated."""
_GONE: Final = (XenbusState.CLOSING, XenbusState.CLOSED, XenbusState.UNKNOWN)
_DOWN: Final = (XenbusState.CLOSED, XenbusState.UNKNOWN, XenbusState.INIT_WAIT)
"""A back end that stays online waits for the next front end at once."""


class BackendGoneError(RuntimeError):
    """The back end closes, or has never been, while the front end waits for it to come up."""


async def device_handles(store: Xenstore, kind: str) -> list[int]:
    """Handles of this guest's devices of a kind, `vif` for instance, in the order in which they were plugged."""
    try:
        return [int(name) for name in await store.directory(f"device/{kind}") if name.isdigit()]
    except XenstoreError as refused:
        if refused.error not in (Error.ENOENT, Error.EACCES):
            raise
        return []


async def wait_for_device(store: Xenstore, kind: str, handle: int, timeout_ns: int) -> None:
    """Until the toolstack has plugged a device. Raises `PlatformTimeoutError`."""
    watch = await store.watch("device")
    try:
        deadline = store.now() + timeout_ns
        while True:
            watch.take()
            if handle in await device_handles(store, kind):
                return
            if not await watch.wait(deadline - store.now()):
                raise PlatformTimeoutError(f"device/{kind}/{handle} was not plugged in {timeout_ns} ns")
    finally:
        await watch.remove()


class FrontEnd:
    """The front half of one device. Calls in order: `open`, `ready`, `publish` or `connect`, `close`, `detach`."""

    def __init__(self, store: Xenstore, kind: str, handle: int, timeout_ns: int = TIMEOUT_NS) -> None:
        """`timeout_ns` bounds each wait for the back end."""
        self._store = store
        self._timeout_ns = timeout_ns
        self.path: Final = f"device/{kind}/{handle}"
        self.state = XenbusState.UNKNOWN
        """As last read or written here."""
        self.backend = ""
        """Directory of the back end."""
        self.backend_domid = 0
        """Domain that grants and event channels are for."""
        self._watch: StoreWatch | None = None

    async def open(self) -> None:
        """Find the back end and begin to follow its state. Raises `XenstoreError` if the device is not plugged."""
        self.backend = await self._store.read(f"{self.path}/backend")
        self.backend_domid = int(await self._store.read(f"{self.path}/backend-id"))
        self.state = parse_state(await self._store.read_or_none(f"{self.path}/state"))
        self._watch = await self._store.watch(f"{self.backend}/state")

    async def ready(self) -> None:
        """Wait until the back end awaits keys. What a front end before this one has left is closed down first."""
        if self.state is not XenbusState.INITIALISING:
            if self.state not in (XenbusState.CLOSED, XenbusState.UNKNOWN):
                await self._switch(XenbusState.CLOSING)
                await self._wait((*_GONE, XenbusState.INIT_WAIT), "to let go of the old connection")
            await self._switch(XenbusState.CLOSED)
            await self._wait(_DOWN, "to close the old connection")
            await self._switch(XenbusState.INITIALISING)
        await self._wait((XenbusState.INIT_WAIT,), "to come up", fail=(XenbusState.CLOSING, XenbusState.UNKNOWN))

    async def read_backend(self, key: str) -> str | None:
        """What the back end or the toolstack has published."""
        return await self._store.read_or_none(f"{self.backend}/{key}")

    async def feature(self, key: str, default: int = 0) -> int:
        """A number that the back end has published; the default where there is none."""
        text = await self.read_backend(key)
        return int(text) if text is not None and text.isdigit() else default

    async def publish(self, keys: Mapping[str, str], state: XenbusState = XenbusState.CONNECTED) -> None:
        """Write all keys (a slash makes a directory, `queue-0/tx-ring-ref`) and the state as one transaction."""

        async def write(inside: Accessor) -> None:
            await inside.write_all(self.path, keys)
            await inside.write(f"{self.path}/state", str(state.value))

        await self._store.transact(write)
        self.state = state

    async def connect(self, keys: Mapping[str, str], state: XenbusState = XenbusState.CONNECTED) -> None:
        """Publish, and wait until the back end is connected. With state INITIALISED, follow it to CONNECTED."""
        await self.publish(keys, state)
        await self._wait((XenbusState.CONNECTED,), "to connect", fail=_GONE)
        if self.state is not XenbusState.CONNECTED:
            await self._switch(XenbusState.CONNECTED)

    async def backend_state(self) -> XenbusState:
        """The back end's state now."""
        return parse_state(await self.read_backend("state"))

    async def wait_closing(self, timeout_ns: int) -> bool:
        """True when the back end closes (hot unplug: `close` is due), False after `timeout_ns` of simulated time."""
        return await self._follow(_GONE, timeout_ns) is not None

    async def close(self) -> None:
        """Close down. When it returns the back end has let go of rings and event channels: grants may be ended."""
        if await self._exists():
            await self._switch(XenbusState.CLOSING)
            await self._wait((*_GONE, XenbusState.INIT_WAIT), "to let go")
            await self._switch(XenbusState.CLOSED)
            await self._wait(_DOWN, "to close")

    async def detach(self) -> None:
        """Stop following the back end."""
        if self._watch is not None:
            await self._watch.remove()
            self._watch = None

    async def _exists(self) -> bool:
        return await self._store.read_or_none(f"{self.path}/state") is not None

    async def _switch(self, state: XenbusState) -> None:
        # Never make the node anew: a device that was removed meanwhile stays removed.
        async def write(inside: Accessor) -> None:
            if await inside.read_or_none(f"{self.path}/state") is not None:
                await inside.write(f"{self.path}/state", str(state.value))

        await self._store.transact(write)
        self.state = state

    async def _wait(
        self, wanted: tuple[XenbusState, ...], why: str, *, fail: tuple[XenbusState, ...] = ()
    ) -> None:
        state = await self._follow((*wanted, *fail), self._timeout_ns)
        if state is None:
            raise PlatformTimeoutError(
                f"{self.path}: {self._timeout_ns} ns were not enough for {self.backend} {why}; "
                f"it is {(await self.backend_state()).name}"
            )
        if state not in wanted:
            raise BackendGoneError(f"{self.path}: waited for {self.backend} {why}, and it is {state.name}")

    async def _follow(self, wanted: tuple[XenbusState, ...], timeout_ns: int) -> XenbusState | None:
        """The back end's state once it is one of these; None when time is up."""
        watch = self._watch
        if watch is None:
            raise RuntimeError(f"{self.path} is not open")
        deadline = self._store.now() + timeout_ns
        while True:
            watch.take()
            state = await self.backend_state()
            if state in wanted:
                return state
            if not await watch.wait(deadline - self._store.now()):
                return None
