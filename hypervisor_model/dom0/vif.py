"""Back end of `vif` on the bus: xenstore's keys make and connect a `Netback`.

Source: Xen `xen/include/public/io/netif.h`; keys as libxl writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from hypervisor_model.dom0.bridge import Bridge
from hypervisor_model.dom0.credit import Rate
from hypervisor_model.dom0.foreign import ForeignFrames
from hypervisor_model.dom0.netback import ConnectError, Netback, NetbackConfig
from hypervisor_model.dom0.netback_transmit import TxMode
from hypervisor_model.switch import PortPolicy
from hypervisor_model.xenbus import Device, FrontEndError
from sw.guest.machine import GuestMachine
from sw.xen.io.vif import FrontKeys


class VifBackEnd:
    """Implements `hypervisor_model.xenbus.BackEndDriver`."""

    def __init__(
        self, device: Device, netback: Netback, start: Callable[[Coroutine[Any, Any, None]], object]
    ) -> None:
        """`start` runs a coroutine as a task of the control domain."""
        self._device = device
        self._start = start
        self.netback = netback

    def features(self) -> Mapping[str, str]:
        """What netback can do, and the VLAN of its port."""
        config = self.netback.config
        return {**config.features.to_keys(), "carrier": "1", "vlan": str(config.policy.vlan)}

    async def connect(self) -> None:
        """Read the front end's keys, map its rings, serve it. Raises `FrontEndError`."""
        device = self._device
        keys = FrontKeys.parse(lambda key: device.read_front(key) is not None, device.front_number)
        try:
            await self.netback.connect(keys)
        except ConnectError as error:
            raise FrontEndError(str(error)) from error
        self._start(self.netback.run())

    async def disconnect(self) -> None:
        """Unmap everything and close the ports."""
        await self.netback.disconnect()
        self.netback.stop()


class VifDrivers:
    """Makes the driver of each device of kind `vif`: for `BackEndBus`."""

    def __init__(
        self,
        machine: GuestMachine,
        bridge: Bridge,
        foreign: ForeignFrames,
        start: Callable[[Coroutine[Any, Any, None]], object],
        *,
        tx: TxMode = TxMode.COPY,
        policy: Callable[[int], PortPolicy | None] = lambda _: None,
    ) -> None:
        """`machine` is the control domain, `foreign` where it maps pages of others. `policy`: rights of a domain's ports, by number; None: the default ones."""
        self._machine = machine
        self._bridge = bridge
        self._start = start
        self._tx = tx
        self._policy = policy
        self._foreign = foreign
        self.netbacks: dict[tuple[int, int], Netback] = {}
        """By domain and handle, as last plugged."""

    def __call__(self, device: Device) -> VifBackEnd:
        """The toolstack has plugged a device. Raises `ValueError` for keys that make no sense."""
        policy = self._policy(device.domid)
        rate = device.read("rate")
        config = NetbackConfig(
            mac=bytes.fromhex((device.read("mac") or "").replace(":", "")),
            mtu=int(device.read("mtu") or "1500"),
            tx=self._tx,
            policy=policy if policy is not None else PortPolicy(),
            rate=Rate.parse(rate) if rate is not None else None,
        )
        netback = Netback(self._machine, device.domid, self._bridge, self._foreign, config)
        self.netbacks[device.domid, device.handle] = netback
        return VifBackEnd(device, netback, self._start)
