"""The header of a TAP device: what it asks for is read right, and what nobody agreed to is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from tb.tap import vnet

MACS: dict[str, Any] = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
PAYLOAD = bytes(range(256)) * 20


def tcp_v4(payload: bytes, **fields: Any) -> bytes:
    return bytes(Ether(**MACS) / IP(src="10.77.0.1", dst="10.77.0.2") / TCP(**fields) / payload)


def header(flags: int = 0, kind: int = 0, size: int = 0, start: int = 0, offset: int = 0) -> bytes:
    # hdr_len is a hint: a wrong one must not matter
    return vnet.HEADER.pack(flags, kind, 7, size, start, offset)


def test_plain_frame() -> None:
    frame = tcp_v4(b"abc")
    assert vnet.parse(header() + frame) == vnet.Packet(frame)
    assert vnet.Packet(frame).segments == 1


def test_header_is_ten_bytes() -> None:
    """struct virtio_net_hdr of linux/virtio_net.h."""
    assert vnet.HEADER.size == 10
    assert vnet.PLAIN == bytes(10)
    assert vnet.CHECKED == b"\x02" + bytes(9)


def test_partial_checksum() -> None:
    frame = bytes(Ether(**MACS) / IPv6(src="fd77::1", dst="fd77::2") / UDP() / PAYLOAD)
    packet = vnet.parse(header(vnet.NEEDS_CSUM, start=54, offset=6) + frame)
    assert packet == vnet.Packet(frame, (54, 60))


@pytest.mark.parametrize(
    ("kind", "frame", "start", "headers"),
    [
        (vnet.GSO_TCPV4, tcp_v4(PAYLOAD), 34, 54),
        (vnet.GSO_TCPV4, tcp_v4(PAYLOAD, options=[("Timestamp", (1, 2)), ("NOP", None), ("NOP", None)]), 34, 66),
        (vnet.GSO_TCPV6, bytes(Ether(**MACS) / IPv6(src="fd77::1", dst="fd77::2") / TCP() / PAYLOAD), 54, 74),
    ],
)
def test_segmentation(kind: int, frame: bytes, start: int, headers: int) -> None:
    packet = vnet.parse(header(vnet.NEEDS_CSUM, kind, 1448, start, 16) + frame)
    assert packet == vnet.Packet(frame, (start, start + 16), 1448, headers, ipv6=kind == vnet.GSO_TCPV6)
    assert packet.segments == -(-len(PAYLOAD) // 1448) == 4


@pytest.mark.parametrize("payload, segments", [(0, 1), (1, 1), (100, 1), (101, 2), (200, 2), (201, 3)])
def test_segments(payload: int, segments: int) -> None:
    packet = vnet.parse(header(vnet.NEEDS_CSUM, vnet.GSO_TCPV4, 100, 34, 16) + tcp_v4(bytes(payload)))
    assert packet.segments == segments


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "packet of 0 bytes"),
        (header() + bytes(13), "packet of 23 bytes"),
        (header(vnet.NEEDS_CSUM, start=50, offset=6) + bytes(57), "checksum field at 56: the frame has 57 bytes"),
        (header(kind=3) + bytes(60), "segmentation of kind 3"),
        (header(kind=0x81) + bytes(60), "segmentation of kind 129"),
        (header(kind=vnet.GSO_TCPV4, size=1448) + bytes(60), "needs an MSS and a partial checksum"),
        (header(vnet.NEEDS_CSUM, vnet.GSO_TCPV4, 0, 34, 16) + bytes(60), "needs an MSS and a partial checksum"),
        (header(vnet.NEEDS_CSUM, vnet.GSO_TCPV4, 100, 58, 0) + bytes(60), "TCP header at 58"),
        (header(vnet.NEEDS_CSUM, vnet.GSO_TCPV4, 100, 34, 16) + bytes(60), "TCP header from 34 to 34"),
    ],
)
def test_refused(data: bytes, said: str) -> None:
    with pytest.raises(vnet.VnetError, match=said):
        vnet.parse(data)
