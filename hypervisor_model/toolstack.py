"""Domain 0's toolstack: what `xl create`, `network-attach`, `pci-attach`, their opposites and `destroy` write into xenstore.

Source: Xen `tools/libs/light/libxl_create.c`, `libxl_device.c`, `libxl_nic.c`, `libxl_pci.c` (keys and permissions restated).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from hypervisor_model.xenbus import BACKENDS, Device
from hypervisor_model.xenstore.local import LocalStore
from hypervisor_model.xenstore.paths import domain_path, join, parent
from hypervisor_model.xenstore.permissions import PRIVILEGED
from sw.abi.registers import Mode
from sw.pci import slot
from sw.platform import PlatformTimeoutError, Signal
from sw.xen.io.xenbus import XenbusState, parse_state

TIMEOUT_NS: Final = 100_000_000
"""Bound of each wait for a back end, simulated (libxl: 10 s)."""
_UP: Final = (XenbusState.INIT_WAIT, XenbusState.INITIALISED, XenbusState.CONNECTED)
_DOWN: Final = (XenbusState.CLOSED, XenbusState.UNKNOWN)


@dataclass(frozen=True)
class VifConfig:
    """A network device of the split driver."""

    mac: bytes
    bridge: str = "xenbr0"
    script: str = "/etc/xen/scripts/vif-bridge"
    rate: tuple[int, int] | None = None
    """Bytes per interval, and the interval in microseconds; None: not limited."""
    mtu: int = 1500
    trusted: bool = True
    """The front end may trust the back end."""

    kind = "vif"

    def back_keys(self) -> dict[str, str]:
        """What the back end is told."""
        rate = {} if self.rate is None else {"rate": f"{self.rate[0]},{self.rate[1]}"}
        # An empty status holds the back end back until the network script has run.
        return {
            "script": self.script,
            "mac": self.mac.hex(":"),
            **rate,
            "mtu": str(self.mtu),
            "bridge": self.bridge,
            "type": "vif",
            "hotplug-status": "",
        }


@dataclass(frozen=True)
class VmyriConfig:
    """A network device of the bypass driver."""

    mac: bytes
    mode: Mode
    max_endpoints: int = 1
    max_windows: int = 0
    mtu: int = 9000
    trusted: bool = True

    kind = "vmyri"

    def back_keys(self) -> dict[str, str]:
        """What the back end is told, and the guest may read."""
        return {
            "mac": self.mac.hex(":"),
            "mtu": str(self.mtu),
            "mode": self.mode.name.lower(),
            "max-endpoints": str(self.max_endpoints),
            "max-windows": str(self.max_windows),
        }


NetworkConfig = VifConfig | VmyriConfig


class Toolstack:
    """Makes and removes domains' nodes and devices."""

    def __init__(
        self,
        store: LocalStore,
        signal: Callable[[], Signal],
        now: Callable[[], int],
        timeout_ns: int = TIMEOUT_NS,
    ) -> None:
        """`now` is simulated time in ns; `timeout_ns` bounds each wait for a back end."""
        self._store = store
        self._signal = signal
        self._now = now
        self._timeout_ns = timeout_ns

    def create_domain(self, domid: int, name: str, memory_kib: int, ring_gfn: int, port: int) -> None:
        """Home of a domain: to be written before the daemon is told of it. `ring_gfn` and `port` are xenstore's own."""
        home = domain_path(domid)
        with self._store.transaction() as inside:
            inside.remove(home)
            inside.mkdir(home)
            inside.set_permissions(home, f"n{PRIVILEGED}", f"r{domid}")
            inside.write_all(
                home,
                {
                    "name": name,
                    "domid": str(domid),
                    "memory/static-max": str(memory_kib),
                    "memory/target": str(memory_kib),
                    "store/ring-ref": str(ring_gfn),
                    "store/port": str(port),
                },
            )
            for key in ("device", "control"):
                inside.mkdir(join(home, key))
            # These are the guest's own.
            for key in ("control/shutdown", "data", "drivers", "feature", "attr", "error"):
                inside.mkdir(join(home, key))
                inside.set_permissions(join(home, key), f"n{domid}")
            inside.mkdir(_private(domid))

    async def destroy_domain(self, domid: int) -> None:
        """Remove all devices, without a word from the guest, and all nodes. The hypervisor tells the daemon by itself that the domain is gone."""
        for kind, handle in self.devices(domid):
            await self._unplug(domid, kind, handle, force=True)
        for path in (domain_path(domid), _private(domid)):
            self._remove(path)

    def devices(self, domid: int) -> list[tuple[str, int]]:
        """Kind and handle of a domain's devices, in the order in which they were plugged."""
        devices = join(_private(domid), "device")
        return [
            (kind, int(handle))
            for kind in self._store.directory(devices)
            for handle in self._store.directory(join(devices, kind))
        ]

    async def network_attach(self, domid: int, config: NetworkConfig) -> int:
        """Plug a network device and run its script; its handle.

        Raises `PlatformTimeoutError`, with the device removed, when no back end takes it up.
        """
        handle = 1 + max((n for kind, n in self.devices(domid) if kind == config.kind), default=-1)
        device = Device(self._store, config.kind, domid, handle)
        number = {"handle": str(handle)}
        front = {"mac": config.mac.hex(":"), "trusted": str(int(config.trusted))}
        # The guest reads its MTU there and may not change it.
        await self._plug(device, number | config.back_keys(), number | front, {"mtu": str(config.mtu)})
        if device.read("hotplug-status") == "":
            self._store.write(join(device.backend, "hotplug-status"), "connected")
        return handle

    async def network_detach(self, domid: int, kind: str, handle: int, *, force: bool = False) -> bool:
        """Unplug a network device. False: it was not let go in time, and was removed all the same.

        `force`: of a guest that will not answer any more. Its half goes at once, and only the back end is waited for.
        """
        return await self._unplug(domid, kind, handle, force=force)

    async def pci_attach(self, domid: int, requester: int) -> None:
        """Plug a PCI function, which the hypervisor has assigned to the domain. Raises as `network_attach`, undone."""
        function = slot(requester)
        name = self._store.read_or_none(join(domain_path(domid), "name"))
        keys = {
            "domain": name or "",
            "key-0": function,
            "dev-0": function,
            "opts-0": "msitranslate=0,power_mgmt=0,permissive=0",
            "state-0": str(XenbusState.INITIALISING.value),
            "num_devs": "1",
        }
        await self._plug(Device(self._store, "pci", domid, 0), keys, {}, {})

    async def pci_detach(self, domid: int) -> bool:
        """Unplug the domain's PCI function; the result as of `network_detach`."""
        return await self._unplug(domid, "pci", 0, force=False)

    async def _plug(
        self, device: Device, back: Mapping[str, str], front: Mapping[str, str], fixed: Mapping[str, str]
    ) -> None:
        self._write_device(device, back, front, fixed)
        if not await self._wait_for_back_end(device, _UP):
            self._remove_device(device)
            raise PlatformTimeoutError(f"{device.backend}: no back end in {self._timeout_ns} ns")

    async def _unplug(self, domid: int, kind: str, handle: int, *, force: bool) -> bool:
        device = Device(self._store, kind, domid, handle)
        if not device.exists():
            raise ValueError(f"domain {domid} has no {kind} {handle}")
        with self._store.transaction() as inside:
            inside.write(join(device.backend, "online"), "0")
            if parse_state(inside.read_or_none(join(device.backend, "state"))) is not XenbusState.CLOSED:
                inside.write(join(device.backend, "state"), str(XenbusState.CLOSING.value))
            if force:
                inside.remove(device.frontend)
        orderly = await self._wait_for_back_end(device, _DOWN)
        self._remove_device(device)
        return orderly

    def _write_device(
        self, device: Device, back: Mapping[str, str], front: Mapping[str, str], fixed: Mapping[str, str]
    ) -> None:
        """Both halves: what every class has, and its own keys. `fixed`: in the guest's half, not for it to change."""
        state = str(XenbusState.INITIALISING.value)
        back = {"frontend-id": str(device.domid), "online": "1", "state": state, **back}
        front = {"backend-id": str(PRIVILEGED), "state": state, **front}
        private = join(_private(device.domid), f"device/{device.kind}/{device.handle}")
        with self._store.transaction() as inside:
            for path, other, keys, entries in (
                (device.frontend, {"backend": device.backend}, front, (f"n{device.domid}", f"r{PRIVILEGED}")),
                (device.backend, {"frontend": device.frontend}, back, (f"n{PRIVILEGED}", f"r{device.domid}")),
            ):
                inside.remove(path)
                inside.mkdir(path)
                inside.set_permissions(path, *entries)
                inside.write_all(path, {**other, **keys})
            for key, value in fixed.items():
                inside.write(join(device.frontend, key), value)
                inside.set_permissions(join(device.frontend, key), f"n{PRIVILEGED}", f"r{device.domid}")
            # The toolstack's own copy: back ends need not be trusted.
            paths: Mapping[str, str] = {"frontend": device.frontend, "backend": device.backend}
            inside.write_all(private, {**paths, **back})

    async def _wait_for_back_end(self, device: Device, wanted: tuple[XenbusState, ...]) -> bool:
        signal = self._signal()
        watch = self._store.watch(join(device.backend, "state"), lambda _: signal.notify())
        try:
            deadline = self._now() + self._timeout_ns
            while parse_state(device.read("state")) not in wanted:
                if not await signal.wait(deadline - self._now()):
                    return parse_state(device.read("state")) in wanted
            return True
        finally:
            self._store.unwatch(watch)

    def _remove_device(self, device: Device) -> None:
        private = join(_private(device.domid), f"device/{device.kind}/{device.handle}")
        for path, stop in (
            (device.error_path, domain_path(PRIVILEGED)),
            (device.frontend, domain_path(device.domid)),
            (device.backend, BACKENDS),
            (private, _private(device.domid)),
        ):
            self._remove(path, stop)

    def _remove(self, path: str, stop: str | None = None) -> None:
        """Remove a node, and then ancestors below `stop` that it has left empty."""
        self._store.remove(path)
        above = parent(path)
        while stop is not None and above != stop and not self._store.directory(above):
            self._store.remove(above)
            above = parent(above)


def _private(domid: int) -> str:
    return f"/libxl/{domid}"
