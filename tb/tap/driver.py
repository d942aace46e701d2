"""A guest's network driver as the pump sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from sw.guest.virtual_nic import VirtualNic
from sw.platform import CYCLE_NS, Platform
from tb.tap.vnet import Packet

RECEIVE_NS: Final = 10_000_000
"""Simulated time after which a receiver that got nothing looks whether it is still wanted."""
_STAMP_M: Final = 0xFFFF_FFFF

Deliver = Callable[[bytes, bool, int], None]
"""Takes a received frame, whether its checksums are known to be right, and when its last byte left the NIC, in ns."""


class GuestDriver:
    """Implements `tb.tap.pump.Driver` on an open NIC."""

    def __init__(self, nic: VirtualNic, platform: Platform, deliver: Deliver) -> None:
        self._nic = nic
        self._platform = platform
        self._deliver = deliver
        self._open = True

    def transmit(self, packet: Packet) -> bool:
        """Queue a packet; checksums and segmentation are the NIC's work."""
        if packet.checksum is None or packet.segments == 1:
            return self._nic.send(packet.frame, packet.checksum)
        start, _ = packet.checksum
        header, payload = packet.frame[: packet.headers], packet.frame[packet.headers :]
        return self._nic.send_tso(header, payload, packet.mss, start, ipv6=packet.ipv6)

    def flush(self) -> None:
        """Ring the doorbell, take completions."""
        self._nic.kick()
        self._nic.reap()

    async def set_groups(self, groups: Iterable[bytes]) -> None:
        """Tell the hypervisor."""
        await self._nic.set_multicast(groups)

    async def receive(self) -> None:
        """Hand frames over until `close`, as the NAPI loop of a kernel does."""
        while self._open:
            for frame in await self._nic.receive(RECEIVE_NS):
                cycle = self._platform.now() // CYCLE_NS
                left = cycle - (cycle - frame.stamp & _STAMP_M)
                self._deliver(frame.data, frame.transport_checksum_ok() is True, left * CYCLE_NS)

    async def close(self) -> dict[str, int]:
        """Stop; the counters as they were."""
        counters = await self._nic.statistics()
        self._open = False
        await self._nic.close()
        return counters
