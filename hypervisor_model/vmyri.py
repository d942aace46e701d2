"""Back end of `vmyri`, the device class of the bypass driver.

There is no ring to serve: endpoints are set up by hypercalls. The back end says what the guest may have, and the guest
says what it took.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hypervisor_model.xenbus import Device
from sw.xen.xen import EVENT_PORTS

ENDPOINTS: Final = 64
_GFN_MAX: Final = (1 << 40) - 1
FEATURES: Final = "rx,tx,csum,tso,rss,multicast"
"""Value of the `features` key."""


@dataclass(frozen=True)
class VmyriFront:
    """What a connected front end has said."""

    event_channel: int
    """Port in its own domain."""
    doorbell_gfn: int
    endpoint_first: int
    endpoint_count: int


class VmyriBackEnd:
    """Implements `hypervisor_model.xenbus.BackEndDriver`."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.front: VmyriFront | None = None
        """While connected."""

    def features(self) -> Mapping[str, str]:
        """The toolstack wrote mac, mtu and mode; the line is up."""
        return {"features": FEATURES, "carrier": "1"}

    async def connect(self) -> None:
        """Read the front end's keys. Raises `FrontEndError`."""
        number = self._device.front_number
        limit = int(self._device.read("max-endpoints") or "1")
        first = number("endpoint-first", 0, ENDPOINTS - 1)
        self.front = VmyriFront(
            event_channel=number("event-channel", 1, EVENT_PORTS - 1),
            doorbell_gfn=number("doorbell-gfn", 0, _GFN_MAX),
            endpoint_first=first,
            endpoint_count=number("endpoint-count", 1, min(limit, ENDPOINTS - first)),
        )

    async def disconnect(self) -> None:
        """Forget the front end."""
        self.front = None
