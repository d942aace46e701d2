"""The control domain's learning bridge: vifs and the physical port. Rules as in IEEE 802.1D and Linux `net/bridge`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from hypervisor_model.dom0.packet import Packet

AGEING_NS: Final = 300_000_000_000
"""An address that has not been seen for so long is forgotten."""
ADDRESSES_PER_PORT: Final = 1024
"""Learned addresses of one port: a port that makes addresses up loses its own."""

_LINK_LOCAL: Final = bytes.fromhex("0180c20000")
"""Not for forwarding, with a last byte below 16."""


class BridgePort(Protocol):
    """Where packets go."""

    def deliver(self, packet: Packet) -> bool:
        """Queue or drop a packet; never blocks. True: `packet.on_sent` will be called, and not yet."""
        ...


@dataclass
class _Entry:
    port: BridgePort
    seen: int


class Bridge:
    """Forwards by destination address, learns source addresses."""

    def __init__(
        self, now: Callable[[], int], spend: Callable[[str], None], *, ageing_ns: int = AGEING_NS
    ) -> None:
        """`now` is simulated time in ns; `spend` takes an entry of the cost table."""
        self._now = now
        self._spend = spend
        self._ageing_ns = ageing_ns
        self._ports: dict[BridgePort, dict[bytes, None]] = {}
        """Each port's learned addresses, oldest first."""
        self._entries: dict[bytes, _Entry] = {}
        self._static: dict[bytes, BridgePort] = {}
        self.forwarded = 0
        """Packets for one port."""
        self.flooded = 0
        """Packets for all ports but their own."""
        self.filtered = 0
        """Packets that stay: for a station on the port they came from, or link-local."""

    def attach(self, port: BridgePort, static: Sequence[bytes] = ()) -> None:
        """Add a port. Addresses that are `static` are its own and cannot be learned elsewhere."""
        self._ports[port] = {}
        for address in static:
            self._static[address] = port
            self._forget(address)

    def detach(self, port: BridgePort) -> None:
        """Remove a port and all its addresses."""
        for address in list(self._ports.pop(port, {})):
            del self._entries[address]
        self._static = {address: owner for address, owner in self._static.items() if owner is not port}

    def forward(self, port: BridgePort, packet: Packet) -> int:
        """A packet has come in at a port. How many ports will call `packet.on_sent`."""
        self._spend("bridge_forward")
        frame = packet.frame
        destination = frame[:6]
        self._learn(port, frame[6:12])
        if destination[:5] == _LINK_LOCAL and destination[5] < 16:
            self.filtered += 1
            return 0
        target = None if destination[0] & 1 else self._look_up(destination)
        if target is None:
            self.flooded += 1
            return sum(other.deliver(packet) for other in list(self._ports) if other is not port)
        if target is port:
            self.filtered += 1
            return 0
        self.forwarded += 1
        return int(target.deliver(packet))

    def addresses(self, port: BridgePort) -> list[bytes]:
        """Learned addresses of a port, expired ones included."""
        return list(self._ports[port])

    def _look_up(self, address: bytes) -> BridgePort | None:
        if (port := self._static.get(address)) is not None:
            return port
        entry = self._entries.get(address)
        if entry is None or self._now() - entry.seen > self._ageing_ns:
            return None
        return entry.port

    def _learn(self, port: BridgePort, address: bytes) -> None:
        if address[0] & 1 or address in self._static:
            return
        entry = self._entries.get(address)
        if entry is not None and entry.port is port:
            entry.seen = self._now()
            return
        self._forget(address)
        learned = self._ports[port]
        if len(learned) >= ADDRESSES_PER_PORT:
            self._forget(next(iter(learned)))
        learned[address] = None
        self._entries[address] = _Entry(port, self._now())

    def _forget(self, address: bytes) -> None:
        if (entry := self._entries.pop(address, None)) is not None:
            del self._ports[entry.port][address]
