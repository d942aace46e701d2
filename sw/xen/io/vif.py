"""What the two halves of a `vif` tell each other before the first packet. Source: Xen `xen/include/public/io/netif.h`.

Each half is a dataclass, and its xenstore keys: one queue, no control ring.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

REFERENCE_MAX: Final = 0xFFFF_FFFF
PORT_MAX: Final = (1 << 17) - 1


@dataclass(frozen=True)
class BackFeatures:
    """What a back end can do."""

    sg: bool = True
    """Packets of several slots."""
    gso_tcpv4: bool = True
    """Takes TCP packets to be cut."""
    gso_tcpv6: bool = True
    ipv6_csum: bool = True
    """Takes blank checksums over IPv6; over IPv4 it always does."""
    multicast_control: bool = True
    """Filters multicast by the groups that the front end has joined."""
    split_event_channels: bool = True
    """One port for each direction."""
    persistent: bool = False
    """Keeps grants mapped that are used again; blkif's word for it, not in netif.h."""

    def to_keys(self) -> dict[str, str]:
        """In the back end's directory."""
        return {
            "feature-sg": _flag(self.sg),
            "feature-gso-tcpv4": _flag(self.gso_tcpv4),
            "feature-gso-tcpv6": _flag(self.gso_tcpv6),
            "feature-ipv6-csum-offload": _flag(self.ipv6_csum),
            "feature-rx-copy": "1",
            "feature-rx-flip": "0",
            "feature-multicast-control": _flag(self.multicast_control),
            "feature-split-event-channels": _flag(self.split_event_channels),
            "feature-persistent": _flag(self.persistent),
            "multi-queue-max-queues": "1",
        }

    @classmethod
    def parse(cls, keys: Mapping[str, str]) -> BackFeatures:
        """As a front end reads them: what is not there is not offered."""
        return cls(
            sg=_on(keys, "feature-sg"),
            gso_tcpv4=_on(keys, "feature-gso-tcpv4"),
            gso_tcpv6=_on(keys, "feature-gso-tcpv6"),
            ipv6_csum=_on(keys, "feature-ipv6-csum-offload"),
            multicast_control=_on(keys, "feature-multicast-control"),
            split_event_channels=_on(keys, "feature-split-event-channels"),
            persistent=_on(keys, "feature-persistent"),
        )


@dataclass(frozen=True)
class BackOffer:
    """What a front end knows of its device and its back end."""

    domid: int
    """Domain of the back end: grants and ports are for it."""
    mac: bytes
    mtu: int
    features: BackFeatures = BackFeatures()
    vlan: int = 0
    """VLAN of the port, 0 for untagged frames."""
    handle: int = 0
    carrier: bool = True
    """The line is up."""


@dataclass(frozen=True)
class FrontKeys:
    """Rings, ports and abilities of a front end."""

    tx_ring: int
    """Grant reference of the ring page."""
    rx_ring: int
    tx_port: int
    """Event channel in the front end's domain."""
    rx_port: int
    """The same as `tx_port` without split event channels."""
    sg: bool = True
    gso_tcpv4: bool = False
    """Takes TCP packets that nobody has cut."""
    gso_tcpv6: bool = False
    ipv6_csum: bool = True
    """Takes blank checksums over IPv6; over IPv4 unless `no_csum`."""
    no_csum: bool = False
    multicast_control: bool = False
    persistent: bool = False
    """The same pages are granted for as long as it is connected."""

    def to_keys(self) -> dict[str, str]:
        """In the front end's directory."""
        ports = {"event-channel": str(self.tx_port)}
        if self.tx_port != self.rx_port:
            ports = {"event-channel-tx": str(self.tx_port), "event-channel-rx": str(self.rx_port)}
        return {
            "tx-ring-ref": str(self.tx_ring),
            "rx-ring-ref": str(self.rx_ring),
            **ports,
            "request-rx-copy": "1",
            "feature-rx-notify": "1",
            "feature-sg": _flag(self.sg),
            "feature-gso-tcpv4": _flag(self.gso_tcpv4),
            "feature-gso-tcpv6": _flag(self.gso_tcpv6),
            "feature-ipv6-csum-offload": _flag(self.ipv6_csum),
            "feature-no-csum-offload": _flag(self.no_csum),
            "request-multicast-control": _flag(self.multicast_control),
            "feature-persistent": _flag(self.persistent),
        }

    @classmethod
    def parse(cls, has: Callable[[str], bool], number: Callable[[str, int, int], int]) -> FrontKeys:
        """As a back end reads them. `has` tells whether a key is there; `number` (key, lowest, highest) raises what its
        owner raises for a key that is missing or no such number."""

        def flag(key: str) -> bool:
            return has(key) and bool(number(key, 0, 1))

        number("request-rx-copy", 1, 1)
        if has("multi-queue-num-queues"):
            number("multi-queue-num-queues", 1, 1)
        split = has("event-channel-tx")
        return cls(
            tx_ring=number("tx-ring-ref", 0, REFERENCE_MAX),
            rx_ring=number("rx-ring-ref", 0, REFERENCE_MAX),
            tx_port=number("event-channel-tx" if split else "event-channel", 1, PORT_MAX),
            rx_port=number("event-channel-rx" if split else "event-channel", 1, PORT_MAX),
            sg=flag("feature-sg"),
            gso_tcpv4=flag("feature-gso-tcpv4"),
            gso_tcpv6=flag("feature-gso-tcpv6"),
            ipv6_csum=flag("feature-ipv6-csum-offload"),
            no_csum=flag("feature-no-csum-offload"),
            multicast_control=flag("request-multicast-control"),
            persistent=flag("feature-persistent"),
        )


def _flag(value: bool) -> str:
    return str(int(value))


def _on(keys: Mapping[str, str], key: str) -> bool:
    return keys.get(key) == "1"
