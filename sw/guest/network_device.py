"""A guest's network device as its applications see it: the same in every way of sharing the NIC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sw.guest.receive import BUDGET, ReceivedFrame

FEATURES = ("rx-checksum", "scatter-gather", "tx-checksum", "tx-tcp-segmentation", "tx-tcp6-segmentation", "multicast")
"""What the stack may leave to the device, as `ethtool -k` names it: every driver here can do all of it."""

@dataclass(frozen=True)
class DeviceDescription:
    """What `ip link` and `ethtool` show."""

    name: str
    mac: bytes
    mtu: int
    vlan: int
    features: tuple[str, ...]
    carrier: bool


class NetworkDevice(Protocol):
    """`VirtualNic` and `NetFront` have this shape."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    @property
    def mac(self) -> bytes: ...

    @property
    def vlan(self) -> int: ...

    def send(self, frame: bytes, checksum: tuple[int, int] | None = None) -> bool: ...

    def send_tso(self, header: bytes, payload: bytes, mss: int, tcp_offset: int, *, ipv6: bool) -> bool: ...

    def kick(self) -> None: ...

    async def wait_for_room(self, timeout_ns: int) -> None: ...

    async def drain(self, timeout_ns: int) -> None: ...

    def poll(self, budget: int = BUDGET) -> list[ReceivedFrame]: ...

    async def receive(self, timeout_ns: int, budget: int = BUDGET) -> list[ReceivedFrame]: ...

    async def set_multicast(self, groups: list[bytes]) -> bool: ...

    async def statistics(self) -> dict[str, int]: ...


class PluggedDevice(NetworkDevice, Protocol):
    """One that the toolstack has plugged: `VmyriNic`, `NetFront`."""

    def describe(self) -> DeviceDescription: ...
