"""What a back end has done, for accounts and for the administrator."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass
class NetbackCounts:
    """Counters of one vif since it was made; `tx` is what the guest sends."""

    tx_packets: int = 0
    tx_bytes: int = 0
    tx_errors: int = 0
    """Requests that made no sense, or whose pages were not granted."""
    tx_dropped_spoofed: int = 0
    rx_packets: int = 0
    rx_bytes: int = 0
    rx_errors: int = 0
    """Packets whose buffers were not granted."""
    rx_dropped_refused: int = 0
    """Not for this port: another address, VLAN or group."""
    rx_dropped_too_long: int = 0
    """Longer than the port's MTU, or than a buffer of a front end that takes one slot only."""
    rx_dropped_no_buffer: int = 0
    """The queue was full: the guest posts no buffers, or too few."""
    grant_copies: int = 0
    grant_maps: int = 0
    grant_unmaps: int = 0
    bytes_copied: int = 0
    """By the control domain itself."""
    segmented: int = 0
    """Packets that had to be cut in software."""
    rings_broken: int = 0
    """Connections that ended because the front end broke the protocol."""

    def statistics(self) -> dict[str, int]:
        """By name."""
        return asdict(self)
