"""The hash of receive-side scaling against Microsoft's published verification vectors."""

from __future__ import annotations

import ipaddress

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1Q, Ether

from tb.model.toeplitz import IPV4, IPV4_PORTS, IPV6, IPV6_PORTS, NO_HASH, Toeplitz, flow_of

ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
KEY = bytes.fromhex("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa")
# source, source port, destination, destination port, hash of the addresses, hash with ports
VECTORS = [
    ("66.9.149.187", 2794, "161.142.100.80", 1766, 0x323E8FC2, 0x51CCC178),
    ("199.92.111.2", 14230, "65.69.140.83", 4739, 0xD718262A, 0xC626B0EA),
    ("24.19.198.95", 12898, "12.22.207.184", 38024, 0xD2D0A5DE, 0x5C2B394A),
    ("38.27.205.30", 48228, "209.142.163.6", 2217, 0x82989176, 0xAFC7327F),
    ("153.39.163.191", 44251, "202.188.127.2", 1303, 0x5D1809C5, 0x10E828A2),
    ("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x2CC18CD5, 0x40207D3D),
    ("3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0x0F0C461C, 0xDDE51BBF),
    ("3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, "fe80::200:f8ff:fe21:67cf", 38024, 0x4B61E985, 0x02D1FEEF),
]


@pytest.mark.parametrize("vector", VECTORS)
@pytest.mark.parametrize("tagged", [False, True])
@pytest.mark.parametrize("transport", [TCP, UDP])
def test_published_vectors(
    vector: tuple[str, int, str, int, int, int], tagged: bool, transport: type[TCP | UDP]
) -> None:
    source, source_port, destination, destination_port, pair, four = vector
    version = ipaddress.ip_address(source).version
    ip = IP(src=source, dst=destination) if version == 4 else IPv6(src=source, dst=destination)
    ether = ETHER / Dot1Q(vlan=7) if tagged else ETHER
    hashed = Toeplitz(KEY)
    kind, data = flow_of(bytes(ether / ip / transport(sport=source_port, dport=destination_port) / (b"x" * 40)))
    assert kind == (IPV4_PORTS if version == 4 else IPV6_PORTS)
    assert hashed.hash(data) == hashed.hash(data) == four
    ip.proto = 1
    if version == 6:
        ip.nh = 58
    kind, data = flow_of(bytes(ether / ip / (b"x" * 40)))
    assert kind == (IPV4 if version == 4 else IPV6)
    assert hashed.hash(data) == pair


def test_what_has_no_ports_and_what_is_not_hashed() -> None:
    four = IP(src="1.2.3.4", dst="5.6.7.8")
    assert flow_of(bytes(ETHER / IP(src="1.2.3.4", dst="5.6.7.8", frag=3) / UDP() / (b"x" * 40)))[0] == IPV4
    assert flow_of(bytes(ETHER / IP(src="1.2.3.4", dst="5.6.7.8", flags="MF") / UDP() / (b"x" * 40)))[0] == IPV4
    assert flow_of(bytes(ETHER / IP(src="1.2.3.4", dst="5.6.7.8", flags="DF") / UDP() / (b"x" * 40)))[0] == IPV4_PORTS
    assert flow_of(bytes(ETHER / IPv6() / IPv6ExtHdrHopByHop() / UDP() / (b"x" * 40)))[0] == IPV6
    for frame in (
        ETHER / ARP(),
        ETHER / Dot1Q() / Dot1Q() / four / UDP(),
        Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=0x88CC) / (b"x" * 60),
    ):
        assert flow_of(bytes(frame)) == (NO_HASH, b"")
    assert flow_of(
        bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=0x800) / b"\x44" / (b"x" * 60))
    ) == (NO_HASH, b"")
    assert flow_of(bytes(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=0x800) / b"\x45")) == (
        NO_HASH,
        b"",
    )
    options = IP(src="1.2.3.4", dst="5.6.7.8", options=b"\x01" * 8)
    kind, data = flow_of(bytes(ETHER / options / UDP(sport=5, dport=6) / (b"x" * 40)))
    assert kind == IPV4_PORTS and data[8:] == b"\0\5\0\6"


def test_a_key_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="39 bytes: must be 40"):
        Toeplitz(bytes(39))
