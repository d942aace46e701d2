"""What a port may send and gets: the rules of the NIC's own switch, so that guests see the same in every mode."""

from __future__ import annotations

from typing import Final

from hypervisor_model.switch import BROADCAST, PortPolicy

MAX_GROUPS: Final = 64
"""Multicast groups of a port. Linux: `XEN_NETBK_MCAST_MAX`."""

_TAG: Final = b"\x81\x00"
_MAC_CONTROL: Final = b"\x88\x08"
_VID: Final = 0xFFF


class PortFilter:
    """Rules of one port."""

    def __init__(self, mac: bytes, policy: PortPolicy) -> None:
        self._mac = mac
        self._policy = policy
        self.groups: set[bytes] = set()
        """Multicast groups that it has joined."""
        self.all_multicast = False
        """It gets every group."""

    def may_send(self, frame: bytes) -> bool:
        """Source address and VLAN are its own, and it is no MAC control frame."""
        policy = self._policy
        vlan, kind = _vlan(frame)
        return (
            (not policy.check_mac or frame[6:12] == self._mac)
            and (not policy.check_vlan or vlan == policy.vlan)
            and kind != _MAC_CONTROL
        )

    def gets(self, frame: bytes) -> bool:
        """It is for this port."""
        destination = frame[:6]
        if self._policy.check_vlan and _vlan(frame)[0] != self._policy.vlan:
            return False
        if destination == BROADCAST:
            return self._policy.broadcast
        if destination[0] & 1:
            return self.all_multicast or destination in self.groups
        return destination == self._mac

    def join(self, group: bytes) -> bool:
        """Add a multicast group; False when it is none, or when there are too many."""
        if not group[0] & 1 or group == BROADCAST or (group not in self.groups and len(self.groups) >= MAX_GROUPS):
            return False
        self.groups.add(group)
        return True

    def reset(self, *, all_multicast: bool) -> None:
        """A new front end has joined nothing."""
        self.groups.clear()
        self.all_multicast = all_multicast


def _vlan(frame: bytes) -> tuple[int, bytes]:
    """VLAN, 0 for none, and the type behind the tag."""
    if frame[12:14] == _TAG:
        return int.from_bytes(frame[14:16], "big") & _VID, frame[16:18]
    return 0, frame[12:14]
