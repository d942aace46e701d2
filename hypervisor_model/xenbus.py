"""Back ends' half of split devices: the handshake over xenstore, the same for every device class.

Source: Xen `xen/include/public/io/xenbus.h`, `netif.h`; reactions to states as in Linux `xen-netback/xenbus.c`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from hypervisor_model.xenstore.local import LocalStore, LocalWatch
from hypervisor_model.xenstore.paths import domain_path, join
from hypervisor_model.xenstore.permissions import PRIVILEGED
from sw.platform import Signal
from sw.xen.io.xenbus import XenbusState, parse_state

BACKENDS: Final = f"{domain_path(PRIVILEGED)}/backend"
"""`<kind>/<domid>/<handle>` follow."""
_IDLE_NS: Final = 1_000_000_000
"""The bus looks again after so long, simulated, even if nothing has happened."""


class FrontEndError(RuntimeError):
    """A front end has published what a back end cannot use; the message names the key."""


class Device:
    """Where one device's halves are, and what is written there."""

    def __init__(self, store: LocalStore, kind: str, domid: int, handle: int) -> None:
        self._store = store
        self.kind = kind
        self.domid = domid
        """Domain of the front end."""
        self.handle = handle
        self.backend: Final = f"{BACKENDS}/{kind}/{domid}/{handle}"
        self.frontend: Final = f"{domain_path(domid)}/device/{kind}/{handle}"

    def exists(self) -> bool:
        """The toolstack has plugged it, and not removed it."""
        return self.read("frontend") is not None

    def read(self, key: str) -> str | None:
        """A key of the back end's directory."""
        return self._store.read_or_none(join(self.backend, key))

    def read_front(self, key: str) -> str | None:
        """A key of the front end's directory: a guest wrote it."""
        return self._store.read_or_none(join(self.frontend, key))

    def front_number(self, key: str, low: int, high: int) -> int:
        """A number that the front end must have published. Raises `FrontEndError`."""
        text = self.read_front(key)
        if text is None or not (text.isascii() and text.isdigit() and len(text) <= 20 and low <= int(text) <= high):
            said = "is missing" if text is None else f"is {text[:24]!r}"
            raise FrontEndError(f"{join(self.frontend, key)} {said}: {low} to {high}")
        return int(text)

    @property
    def error_path(self) -> str:
        """Where a back end leaves the reason why it gave up."""
        return f"{domain_path(PRIVILEGED)}/error/backend/{self.kind}/{self.domid}/{self.handle}"


class BackEndDriver(Protocol):
    """What a device class adds."""

    def features(self) -> Mapping[str, str]:
        """Keys to publish before the front end comes."""
        ...

    async def connect(self) -> None:
        """Read the front end's keys, map its rings, bind its event channels. Raises `FrontEndError`, undone."""
        ...

    async def disconnect(self) -> None:
        """Let go of all that `connect` took, before the front end is told."""
        ...


class BackEnd:
    """The back half of one device: follows the front end's state."""

    def __init__(self, store: LocalStore, device: Device, driver: BackEndDriver) -> None:
        self._store = store
        self._driver = driver
        self.device = device
        self.state = XenbusState.INITIALISING
        """What it is in; the node may say CLOSING on the toolstack's behalf."""

    async def step(self) -> bool:
        """React to what is written now; False when the device has been removed and nothing of it is held."""
        if not self.device.exists():
            await self._disconnect()
            self.state = XenbusState.UNKNOWN
            return False
        online = self.device.read("online") == "1"
        front = parse_state(self.device.read_front("state"))
        if front is XenbusState.CLOSING:
            await self._down(XenbusState.CLOSING)
        elif front in (XenbusState.INITIALISED, XenbusState.CONNECTED):
            if self.state not in (XenbusState.CONNECTED, XenbusState.CLOSING) and online:
                await self._connect()
        elif front in (XenbusState.INITIALISING, XenbusState.CLOSED) and online:
            # The next front end may come at once; one that has crashed and starts again says no goodbye.
            await self._listen()
        elif front in (XenbusState.INITIALISING, XenbusState.CLOSED, XenbusState.UNKNOWN):
            await self._down(XenbusState.CLOSED)
        return True

    async def _listen(self) -> None:
        if self.state is not XenbusState.INIT_WAIT:
            await self._disconnect()
            self._switch(XenbusState.INIT_WAIT, self._driver.features())

    async def _connect(self) -> None:
        await self._listen()
        # A device whose network script runs is connected when that is done.
        if self.device.read("hotplug-status") not in (None, "connected"):
            return
        try:
            await self._driver.connect()
        except FrontEndError as nonsense:
            self._store.write(join(self.device.error_path, "error"), str(nonsense))
            self._switch(XenbusState.CLOSING)
            return
        self._switch(XenbusState.CONNECTED)

    async def _down(self, state: XenbusState) -> None:
        await self._disconnect()
        if self.state is not state:
            self._switch(state)

    async def _disconnect(self) -> None:
        if self.state is XenbusState.CONNECTED:
            await self._driver.disconnect()

    def _switch(self, state: XenbusState, keys: Mapping[str, str] | None = None) -> None:
        self.state = state
        with self._store.transaction() as inside:
            # The driver may have waited, and the device may have been removed meanwhile: it stays so.
            if inside.read_or_none(join(self.device.backend, "frontend")) is not None:
                inside.write_all(self.device.backend, keys or {})
                inside.write(join(self.device.backend, "state"), str(state.value))


class BackEndBus:
    """All back ends of domain 0: finds devices that the toolstack plugs and runs their state machines, one by one."""

    def __init__(
        self,
        store: LocalStore,
        signal: Callable[[], Signal],
        drivers: Mapping[str, Callable[[Device], BackEndDriver]],
    ) -> None:
        """`drivers` makes one driver for each device, by kind (`vif`, `vmyri`)."""
        self._store = store
        self._signal = signal()
        self._drivers = dict(drivers)
        self._back_ends: dict[tuple[str, int, int], BackEnd] = {}
        self._front_watches: dict[tuple[str, int, int], LocalWatch] = {}
        self._due: dict[tuple[str, int, int], None] = {}
        self._running = False

    async def run(self) -> None:
        """Serve until `stop`. One coroutine, as Linux has one xenwatch thread: a slow driver delays the others."""
        self._running = True
        watch = self._store.watch(BACKENDS, self._changed)
        while self._running:
            while self._due and self._running:
                key = next(iter(self._due))
                del self._due[key]
                await self._step(key)
            if self._running:
                await self._signal.wait(_IDLE_NS)
        self._store.unwatch(watch)
        for front in self._front_watches.values():
            self._store.unwatch(front)
        self._front_watches.clear()

    def stop(self) -> None:
        """End `run`. Devices stay as they are."""
        self._running = False
        self._signal.notify()

    def state(self, kind: str, domid: int, handle: int) -> XenbusState:
        """State of a back end; UNKNOWN if there is none."""
        back_end = self._back_ends.get((kind, domid, handle))
        return XenbusState.UNKNOWN if back_end is None else back_end.state

    async def _step(self, key: tuple[str, int, int]) -> None:
        back_end = self._back_ends.get(key)
        if back_end is None:
            device = Device(self._store, *key)
            if not device.exists():
                return
            back_end = BackEnd(self._store, device, self._drivers[device.kind](device))
            self._back_ends[key] = back_end
            self._front_watches[key] = self._store.watch(f"{device.frontend}/state", lambda _: self._mark(key))
        if not await back_end.step():
            del self._back_ends[key]
            self._store.unwatch(self._front_watches.pop(key))

    def _changed(self, path: str) -> None:
        parts = path.removeprefix(BACKENDS).split("/")[1:4]
        if len(parts) == 3:
            if parts[0] in self._drivers and parts[1].isdigit() and parts[2].isdigit():
                self._mark((parts[0], int(parts[1]), int(parts[2])))
            return
        # Something above the devices: whatever is there, and whatever was.
        for kind in self._drivers:
            for domid in self._store.directory(f"{BACKENDS}/{kind}"):
                for handle in self._store.directory(f"{BACKENDS}/{kind}/{domid}"):
                    self._mark((kind, int(domid), int(handle)))
        for key in self._back_ends:
            self._mark(key)

    def _mark(self, key: tuple[str, int, int]) -> None:
        self._due[key] = None
        self._signal.notify()
