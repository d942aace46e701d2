"""Ports and groups of the switch inside the NIC: who has which address, VLAN and rights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sw.abi.registers import NicControl, Switch
from sw.xen.errno import Errno, HypercallError

MAC_PREFIX: Final = 0x0060DD
"""Myricom's; the hypervisor gives the lower 24 bits: 16 of the domain, 8 of its endpoint."""
PAUSE_MAC: Final = MAC_PREFIX << 24 | 0xFF_FFFF
"""Source of the NIC's own pause frames: no domain has number 0xFFFF."""
BROADCAST: Final = b"\xff" * 6
_MEMBERS: Final = 32



def endpoint_mac(domid: int, ordinal: int) -> bytes:
    """Address of a domain's endpoint, by its order among the domain's own."""
    return (MAC_PREFIX << 24 | domid << 8 | ordinal).to_bytes(6, "big")


@dataclass(frozen=True)
class PortPolicy:
    """What a domain's endpoints may send and get. Fixed when the domain is created."""

    vlan: int = 0
    """0: untagged frames; else 1 to 4094."""
    check_mac: bool = True
    """Frames with another source address are refused."""
    check_vlan: bool = True
    """Frames of other VLANs are refused, and not delivered."""
    broadcast: bool = True
    """Broadcast frames are delivered."""

    def __post_init__(self) -> None:
        if not 0 <= self.vlan <= 4094:
            raise ValueError(f"vlan is {self.vlan}: 0 to 4094")


SEND_ONLY: Final = PortPolicy(check_mac=False, check_vlan=False, broadcast=False)
"""Of an endpoint that only sends: it may replay what it has captured, but MAC control frames are refused as anybody's."""


@dataclass(frozen=True)
class SwitchConfig:
    """Behaviour of the switch as a whole, chosen at boot."""

    policy: Switch = Switch.VEB
    pause_rx: bool = True
    """Received pause frames stop the transmitter."""
    pause_tx: bool = True
    """Pause frames are sent when the receive buffer fills."""


@dataclass
class _Group:
    address: bytes
    members: int


class SwitchTables:
    """The port and group tables. Groups are shared by all endpoints, and few."""

    def __init__(self, write: Callable[[int, int], None]) -> None:
        """`write` posts a control-register write."""
        self._write = write
        self._groups: list[_Group | None] = [None] * NicControl.GROUP_COUNT

    def start(self, config: SwitchConfig) -> None:
        """Set the switch as a whole."""
        self._write(NicControl.MAC_HI, PAUSE_MAC >> 16)
        self._write(NicControl.MAC_LO, PAUSE_MAC & 0xFFFF)
        self._write(
            NicControl.SWITCH_CTRL,
            config.policy
            | config.pause_rx << NicControl.SWITCH_CTRL_PAUSE_RX_S
            | config.pause_tx << NicControl.SWITCH_CTRL_PAUSE_TX_S,
        )

    def set_port(
        self, endpoint: int, mac: bytes, policy: PortPolicy, *, promiscuous: bool, all_multicast: bool
    ) -> None:
        """Let an endpoint take part."""
        at = endpoint * NicControl.PORT_STRIDE
        self._write(NicControl.PORT_MAC_HI + at, int.from_bytes(mac[:4], "big"))
        self._write(NicControl.PORT_MAC_LO + at, int.from_bytes(mac[4:], "big"))
        self._write(
            NicControl.PORT_POLICY + at,
            NicControl.PORT_POLICY_ENABLE_M
            | policy.vlan
            | policy.check_mac << NicControl.PORT_POLICY_CHECK_MAC_S
            | policy.check_vlan << NicControl.PORT_POLICY_CHECK_VLAN_S
            | policy.broadcast << NicControl.PORT_POLICY_BROADCAST_S
            | promiscuous << NicControl.PORT_POLICY_PROMISCUOUS_S
            | all_multicast << NicControl.PORT_POLICY_ALL_MULTICAST_S,
        )

    def clear_port(self, endpoint: int) -> None:
        """Take an endpoint out. It must have stopped: what is sent from outside the switch is not checked."""
        self._write(NicControl.PORT_POLICY + endpoint * NicControl.PORT_STRIDE, 0)

    def join(self, endpoint: int, group: bytes) -> bool:
        """Add an endpoint to a multicast group; False when all entries hold other groups."""
        if len(group) != 6 or not group[0] & 1 or group == BROADCAST:
            raise HypercallError(Errno.EINVAL, f"group {group.hex(':')} is not a multicast address")
        free = None
        for index, entry in enumerate(self._groups):
            if entry is None:
                free = index if free is None else free
            elif entry.address == group:
                entry.members |= 1 << endpoint
                self._write_members(index, entry.members)
                return True
        if free is None:
            return False
        self._groups[free] = _Group(group, 1 << endpoint)
        self._write_members(free, 1 << endpoint)
        at = free * NicControl.GROUP_STRIDE
        self._write(NicControl.GROUP_MAC_HI + at, int.from_bytes(group[:4], "big"))
        # The word with the valid bit goes last: the entry must be whole.
        self._write(NicControl.GROUP_MAC_LO + at, int.from_bytes(group[4:], "big") | NicControl.GROUP_MAC_LO_VALID_M)
        return True

    def leave(self, endpoint: int, group: bytes) -> None:
        """Remove an endpoint from a group. Raises `HypercallError` when it is no member."""
        for index, entry in enumerate(self._groups):
            if entry is not None and entry.address == group and entry.members >> endpoint & 1:
                self._remove(index, entry, endpoint)
                return
        raise HypercallError(Errno.EINVAL, f"endpoint {endpoint} is not in group {group.hex(':')}")

    def leave_all(self, endpoint: int) -> None:
        """Remove an endpoint from every group."""
        for index, entry in enumerate(self._groups):
            if entry is not None and entry.members >> endpoint & 1:
                self._remove(index, entry, endpoint)

    @property
    def groups_used(self) -> int:
        """Group entries in use."""
        return sum(entry is not None for entry in self._groups)

    def _remove(self, index: int, entry: _Group, endpoint: int) -> None:
        entry.members &= ~(1 << endpoint)
        if not entry.members:
            self._groups[index] = None
            self._write(NicControl.GROUP_MAC_LO + index * NicControl.GROUP_STRIDE, 0)
        self._write_members(index, entry.members)

    def _write_members(self, index: int, members: int) -> None:
        at = index * NicControl.GROUP_STRIDE
        self._write(NicControl.GROUP_MEMBERS_LO + at, members & 0xFFFF_FFFF)
        self._write(NicControl.GROUP_MEMBERS_HI + at, members >> _MEMBERS)
