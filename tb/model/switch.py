"""The switch inside the reference NIC: who gets a frame, and who may send it. Nothing is learned from frames."""

from __future__ import annotations

from typing import Final, NamedTuple

from sw.abi.registers import NicControl
from sw.abi.registers import Switch as Policy

_BROADCAST: Final = b"\xff" * 6
_BRIDGE: Final = bytes.fromhex("0180C20000")
"""Bridges' own addresses, with a last byte below 0x10."""
_MAC_CONTROL: Final = b"\x88\x08"
_TAG: Final = b"\x81\x00"
_HEADER_BYTES: Final = 18
_CACHED: Final = 4096
_POLICY_WRITABLE: Final = (
    NicControl.PORT_POLICY_VLAN_M
    | NicControl.PORT_POLICY_ENABLE_M
    | NicControl.PORT_POLICY_CHECK_MAC_M
    | NicControl.PORT_POLICY_CHECK_VLAN_M
    | NicControl.PORT_POLICY_PROMISCUOUS_M
    | NicControl.PORT_POLICY_ALL_MULTICAST_M
    | NicControl.PORT_POLICY_BROADCAST_M
)


class Decision(NamedTuple):
    """What becomes of a frame that an endpoint sends."""

    wire: bool
    inside: tuple[int, ...]
    """Siblings that get it."""
    spoofed: bool


_OUTSIDE = Decision(True, (), False)
_SPOOFED = Decision(False, (), True)


class _Port:
    def __init__(self) -> None:
        self.mac_hi = self.mac_lo = self.policy = self.spoofed = 0
        self.refresh()

    def refresh(self) -> None:
        policy = self.policy
        self.mac = self.mac_hi.to_bytes(4, "big") + self.mac_lo.to_bytes(2, "big")
        self.vlan = policy & NicControl.PORT_POLICY_VLAN_M
        self.enable = bool(policy & NicControl.PORT_POLICY_ENABLE_M)
        self.check_mac = bool(policy & NicControl.PORT_POLICY_CHECK_MAC_M)
        self.check_vlan = bool(policy & NicControl.PORT_POLICY_CHECK_VLAN_M)
        self.promiscuous = bool(policy & NicControl.PORT_POLICY_PROMISCUOUS_M)
        self.all_multicast = bool(policy & NicControl.PORT_POLICY_ALL_MULTICAST_M)
        self.broadcast = bool(policy & NicControl.PORT_POLICY_BROADCAST_M)


class _Group:
    def __init__(self) -> None:
        self.words = [0, 0, 0, 0]


def _header(frame: bytes) -> tuple[bytes, bytes, int, bytes]:
    """Destination, source, VLAN (0: none), ethertype behind the tag."""
    if len(frame) < _HEADER_BYTES:
        frame = frame.ljust(_HEADER_BYTES, b"\0")
    kind = frame[12:14]
    if kind == _TAG:
        return frame[:6], frame[6:12], (frame[14] << 8 | frame[15]) & 0xFFF, frame[16:18]
    return frame[:6], frame[6:12], 0, kind


class Switch:
    """PORT_TABLE and GROUP_TABLE with their look-ups."""

    def __init__(self) -> None:
        self._ports = [_Port() for _ in range(NicControl.PORT_COUNT)]
        self._groups = [_Group() for _ in range(NicControl.GROUP_COUNT)]
        self._known: dict[tuple[bytes, int], tuple[tuple[int, ...], bool]] = {}
        self.policy: int = Policy.VEB
        """SWITCH_CTRL.policy."""

    def read(self, offset: int) -> int:
        """A word of the tables, `offset` in the control BAR."""
        if offset < NicControl.GROUP_BASE:
            number, at = divmod(offset - NicControl.PORT_BASE, NicControl.PORT_STRIDE)
            port = self._ports[number]
            return (port.mac_hi, port.mac_lo, port.policy, port.spoofed & 0xFFFF_FFFF)[at // 4]
        number, at = divmod(offset - NicControl.GROUP_BASE, NicControl.GROUP_STRIDE)
        return self._groups[number].words[at // 4]

    def write(self, offset: int, value: int) -> None:
        """A word of the tables."""
        self._known.clear()
        if offset < NicControl.GROUP_BASE:
            number, at = divmod(offset - NicControl.PORT_BASE, NicControl.PORT_STRIDE)
            port = self._ports[number]
            register = at + NicControl.PORT_BASE
            if register == NicControl.PORT_MAC_HI:
                port.mac_hi = value
            elif register == NicControl.PORT_MAC_LO:
                port.mac_lo = value & NicControl.PORT_MAC_LO_ADDRESS_M
            elif register == NicControl.PORT_POLICY:
                port.policy = value & _POLICY_WRITABLE
            port.refresh()
            return
        number, at = divmod(offset - NicControl.GROUP_BASE, NicControl.GROUP_STRIDE)
        if at + NicControl.GROUP_BASE == NicControl.GROUP_MAC_LO:
            value &= NicControl.GROUP_MAC_LO_ADDRESS_M | NicControl.GROUP_MAC_LO_VALID_M
        self._groups[number].words[at // 4] = value

    def from_wire(self, frame: bytes) -> tuple[int, ...]:
        """Endpoints that get a frame of the line."""
        destination, _, vlan, _ = _header(frame)
        return self._look_up(destination, vlan)[0]

    def from_endpoint(self, sender: int, frame: bytes) -> Decision:
        """Where a sent frame goes. Counts it for its port when it is spoofed."""
        port = self._ports[sender]
        if not port.enable:
            return _OUTSIDE
        destination, source, vlan, kind = _header(frame)
        if (
            (port.check_mac and source != port.mac)
            or (port.check_vlan and vlan != port.vlan)
            or (kind == _MAC_CONTROL and not port.promiscuous)
        ):
            port.spoofed += 1
            return _SPOOFED
        if self.policy == Policy.VEPA:
            return _OUTSIDE
        takers, owned = self._look_up(destination, vlan)
        inside = tuple(taker for taker in takers if taker != sender)
        return Decision(not owned or self.policy != Policy.VEB, inside, False)

    def _look_up(self, destination: bytes, vlan: int) -> tuple[tuple[int, ...], bool]:
        """Endpoints that take an address and VLAN; and whether it is the unicast address of one of them."""
        key = destination, vlan
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _CACHED:
                self._known.clear()
            addressed = self._addressed(destination)
            owners = [n for n in addressed if not self._ports[n].check_vlan or self._ports[n].vlan == vlan]
            promiscuous = [n for n, port in enumerate(self._ports) if port.enable and port.promiscuous]
            takers = tuple(sorted({*owners, *promiscuous}))
            known = self._known[key] = takers, bool(owners) and not destination[0] & 1
        return known

    def _addressed(self, destination: bytes) -> list[int]:
        """Ports of the switch that take an address, whatever the VLAN and without being promiscuous."""
        ports = [(n, port) for n, port in enumerate(self._ports) if port.enable]
        if destination == _BROADCAST:
            return [n for n, port in ports if port.broadcast]
        if not destination[0] & 1:
            return [n for n, port in ports if port.mac == destination]
        members = 0
        for group in self._groups:
            mac_hi, mac_lo, low, high = group.words
            address = mac_hi.to_bytes(4, "big") + (mac_lo & NicControl.GROUP_MAC_LO_ADDRESS_M).to_bytes(2, "big")
            if mac_lo & NicControl.GROUP_MAC_LO_VALID_M and address == destination:
                members |= high << 32 | low
        bridge = destination[:5] == _BRIDGE and destination[5] < 0x10
        return [n for n, port in ports if members >> n & 1 or (port.all_multicast and not bridge)]
