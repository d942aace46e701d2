"""Where the headers of a frame are: Ethernet, one 802.1Q tag or none, IPv4 or IPv6, TCP or UDP."""

from __future__ import annotations

from typing import Final, NamedTuple

ETHERNET_BYTES: Final = 14
TCP: Final = 6
UDP: Final = 17
IPV6_BYTES: Final = 40

_TAG_BYTES: Final = 4
_VLAN: Final = 0x8100
_IPV4: Final = 0x0800
_IPV6: Final = 0x86DD
_FRAGMENT: Final = 0x3FFF
"""More fragments, or an offset."""
_FIELD: Final = {TCP: 16, UDP: 6}
"""Offset of the checksum in the transport header."""
_SMALLEST: Final = {TCP: 20, UDP: 8}


class Transport(NamedTuple):
    """A TCP or UDP header inside a frame. Offsets in bytes from the frame's start."""

    ipv6: bool
    protocol: int
    network: int
    """Of the IP header."""
    start: int
    """Of the transport header."""
    end: int
    """Of what follows the IP packet."""

    @property
    def field(self) -> int:
        """Offset of the checksum."""
        return self.start + _FIELD[self.protocol]

    def addresses(self, frame: bytes) -> bytes:
        """Source and destination, as they stand in the pseudo-header."""
        at = self.network
        return frame[at + 8 : at + 40] if self.ipv6 else frame[at + 12 : at + 20]


def locate_transport(frame: bytes, *, whole: bool = False) -> Transport | None:
    """Find the transport header. None for another protocol, a fragment, IPv6 with extension headers, or lengths that do
    not fit the frame. `whole`: the packet fills the frame, whatever its IP header says."""
    if len(frame) < ETHERNET_BYTES + _TAG_BYTES:
        return None
    at = ETHERNET_BYTES
    kind = int.from_bytes(frame[12:14], "big")
    if kind == _VLAN:
        kind = int.from_bytes(frame[16:18], "big")
        at += _TAG_BYTES
    if kind == _IPV4 and len(frame) >= at + 20:
        header = (frame[at] & 0xF) * 4
        total = int.from_bytes(frame[at + 2 : at + 4], "big")
        protocol = frame[at + 9]
        if frame[at] >> 4 != 4 or header < 20 or int.from_bytes(frame[at + 6 : at + 8], "big") & _FRAGMENT:
            return None
    elif kind == _IPV6 and len(frame) >= at + IPV6_BYTES:
        header = IPV6_BYTES
        total = header + int.from_bytes(frame[at + 4 : at + 6], "big")
        protocol = frame[at + 6]
    else:
        return None
    start = at + header
    end = len(frame) if whole else at + total
    if protocol not in _SMALLEST or end > len(frame) or end - start < _SMALLEST[protocol]:
        return None
    return Transport(kind == _IPV6, protocol, at, start, end)


def tcp_headers(frame: bytes) -> tuple[Transport, int] | None:
    """Transport and bytes of all headers, TCP's options included, of a TCP packet that fills the frame."""
    transport = locate_transport(frame, whole=True)
    if transport is None or transport.protocol != TCP:
        return None
    length = (frame[transport.start + 12] >> 4) * 4
    if length < _SMALLEST[TCP] or transport.start + length >= len(frame):
        return None
    return transport, transport.start + length
