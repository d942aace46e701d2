"""What the switch does with a frame, from the rules: plain Python over the whole table, nothing of the hardware's way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Raw

from sw.abi.registers import NicControl, Switch

PORTS = NicControl.PORT_COUNT
BROADCAST = "ff:ff:ff:ff:ff:ff"
RESERVED = "01:80:c2:00:00:0"
PAUSE_ADDRESS = "01:80:c2:00:00:01"
MAC_CONTROL = 0x8808


@dataclass(frozen=True)
class Frame:
    """A frame's header: addresses as text, VLAN ID of its tag (None: untagged), type behind the tag."""

    dst: str
    src: str
    vid: int | None = None
    ethertype: int = 0x0800

    def encode(self, payload: bytes = bytes(46)) -> bytes:
        """The frame, built by scapy."""
        if self.vid is None:
            return bytes(Ether(dst=self.dst, src=self.src, type=self.ethertype) / Raw(payload))
        tag = Dot1Q(vlan=self.vid, prio=5, dei=1, type=self.ethertype)
        return bytes(Ether(dst=self.dst, src=self.src, type=0x8100) / tag / Raw(payload))

    @property
    def group(self) -> bool:
        """For more than one receiver, broadcast included."""
        return int(self.dst[:2], 16) % 2 == 1


@dataclass
class Port:
    """One endpoint's row of PORT_TABLE."""

    mac: str = "00:00:00:00:00:00"
    vlan: int = 0
    enable: bool = False
    check_mac: bool = False
    check_vlan: bool = False
    promiscuous: bool = False
    all_multicast: bool = False
    broadcast: bool = False


@dataclass
class Group:
    """One row of GROUP_TABLE."""

    mac: str
    members: set[int]
    valid: bool = True


@dataclass(frozen=True)
class Verdict:
    """Where a sent frame goes."""

    siblings: frozenset[int]
    to_wire: bool
    spoofed: bool = False


@dataclass
class Rules:
    """The tables."""

    ports: list[Port] = field(default_factory=lambda: [Port() for _ in range(PORTS)])
    groups: list[Group] = field(default_factory=list)

    def _in_vlan(self, port: Port, frame: Frame) -> bool:
        return not port.check_vlan or (frame.vid or 0) == port.vlan

    def _wants(self, number: int, frame: Frame) -> bool:
        port = self.ports[number]
        if frame.dst == BROADCAST:
            return port.broadcast
        if not frame.group:
            return port.mac == frame.dst
        member = any(g.valid and g.mac == frame.dst and number in g.members for g in self.groups)
        return member or (port.all_multicast and not frame.dst.startswith(RESERVED))

    def addressed(self, frame: Frame) -> set[int]:
        """Ports that take the frame for its address and VLAN."""
        return {n for n, port in enumerate(self.ports)
                if port.enable and self._wants(n, frame) and self._in_vlan(port, frame)}

    def from_wire(self, frame: Frame) -> set[int]:
        """Receivers of a frame from the wire."""
        return self.addressed(frame) | self._promiscuous()

    def _promiscuous(self) -> set[int]:
        return {n for n, port in enumerate(self.ports) if port.enable and port.promiscuous}

    def sent(self, source: int, frame: Frame, policy: Switch) -> Verdict:
        """What becomes of a frame that `source` sends."""
        port = self.ports[source]
        if not port.enable:
            return Verdict(frozenset(), True)
        forged = (port.check_mac and frame.src != port.mac, port.check_vlan and not self._in_vlan(port, frame),
                  frame.ethertype == MAC_CONTROL and not port.promiscuous)
        if any(forged):
            return Verdict(frozenset(), False, True)
        if policy == Switch.VEPA:
            return Verdict(frozenset(), True)
        known = bool(self.addressed(frame)) and not frame.group
        siblings = (self.addressed(frame) | self._promiscuous()) - {source}
        return Verdict(frozenset(siblings), not known or policy == Switch.BOTH)


def bitmap(ports: Sequence[int] | set[int] | frozenset[int]) -> int:
    """Bit of each port."""
    return sum(1 << n for n in ports)
