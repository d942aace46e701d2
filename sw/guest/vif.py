"""A front end meets its back end over xenstore. Source: Xen `xen/include/public/io/netif.h`, `xenbus.h`."""

from __future__ import annotations

from sw.guest.xenbus import FrontEnd
from sw.guest.xenstore import Xenstore
from sw.xen.io.vif import BackFeatures, BackOffer, FrontKeys


class XenbusVif:
    """One `vif` of this guest's. Implements `sw.guest.netfront.VifConnection`; can be used again after `close`."""

    def __init__(self, store: Xenstore, handle: int) -> None:
        self._store = store
        self._handle = handle
        self._front = FrontEnd(store, "vif", handle)

    async def offer(self) -> BackOffer:
        """Find the device, wait for its back end. Raises what `FrontEnd.open` and `ready` raise."""
        front = self._front = FrontEnd(self._store, "vif", self._handle)
        await front.open()
        await front.ready()
        features = {key: await front.read_backend(key) for key in BackFeatures().to_keys()}
        return BackOffer(
            domid=front.backend_domid,
            mac=bytes.fromhex((await self._store.read(f"{front.path}/mac")).replace(":", "")),
            mtu=int(await self._store.read(f"{front.path}/mtu")),
            features=BackFeatures.parse({key: text for key, text in features.items() if text is not None}),
            vlan=await front.feature("vlan"),
            handle=self._handle,
            carrier=await front.read_backend("carrier") == "1",
        )

    async def connect(self, front: FrontKeys) -> None:
        """Publish the keys; the back end serves the rings when this returns. Raises what `FrontEnd.connect` raises."""
        await self._front.connect(front.to_keys())

    async def close(self) -> None:
        """The back end has let go when this returns."""
        await self._front.close()
        await self._front.detach()
