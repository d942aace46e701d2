"""Checksums of the guest's driver against scapy."""

from __future__ import annotations

import random

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw
from scapy.utils import checksum as scapy_checksum

from sw.guest.checksum import insert_checksum, ones_sum, verify_transport


def complete(frame: bytes) -> int:
    """What the NIC puts into the completion, from scapy's inverted sum."""
    return ~int(scapy_checksum(frame[14:])) & 0xFFFF


def packet(rng: random.Random, *, ipv6: bool, tcp: bool, tagged: bool, size: int) -> Packet:
    link = Ether(src="00:60:dd:00:01:00", dst="00:60:dd:00:02:00")
    if tagged:
        link = link / Dot1Q(vlan=5)
    if ipv6:
        link = link / IPv6(src="fd00::1", dst=f"fd00::{rng.randint(2, 0xFFFF):x}")
    else:
        options = [b"\x01" * 4 * rng.randint(0, 3)]
        link = link / IP(src="10.0.0.1", dst=f"10.0.0.{rng.randint(2, 254)}", id=rng.randint(0, 65535), options=options)
    sport, dport = rng.randint(1, 65535), rng.randint(1, 65535)
    transport = TCP(sport=sport, dport=dport, seq=rng.getrandbits(32)) if tcp else UDP(sport=sport, dport=dport)
    return link / transport / Raw(rng.randbytes(size))


@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize("tagged", [False, True])
def test_verify_accepts_right_and_refuses_wrong(ipv6: bool, tcp: bool, tagged: bool) -> None:
    rng = random.Random(3)
    for size in (0, 1, 2, 3, 17, 64, 1000, 1001):
        frame = bytes(packet(rng, ipv6=ipv6, tcp=tcp, tagged=tagged, size=size))
        for padding in (b"", b"\0" * 4, rng.randbytes(5), rng.randbytes(6)):
            padded = frame + padding
            assert verify_transport(padded, complete(padded)) is True
        if size:
            at = len(frame) - 1 - rng.randrange(size)
            broken = bytearray(frame)
            broken[at] ^= 1 << rng.randrange(8)
            assert verify_transport(bytes(broken), complete(bytes(broken))) is False


def test_what_has_no_checksum_to_check() -> None:
    link = Ether(src="00:60:dd:00:01:00", dst="ff:ff:ff:ff:ff:ff")
    none = [
        bytes(link / ARP()),
        bytes(link / IP() / ICMP()),
        bytes(link / IP(flags="MF") / UDP() / Raw(b"x" * 40)),
        bytes(link / IP(frag=10) / TCP()),
        bytes(link / IP() / UDP(chksum=0) / Raw(b"x" * 40)),
        bytes(link / IP() / TCP())[:40],
        b"\0" * 14,
        b"",
    ]
    for frame in none:
        assert verify_transport(frame, ones_sum(frame[14:])) is None
    assert verify_transport(bytes(link / IPv6() / UDP(chksum=0)), 0) is False


@pytest.mark.parametrize("ipv6", [False, True])
def test_insert_is_what_scapy_computes(ipv6: bool) -> None:
    rng = random.Random(4)
    for size in range(40):
        whole = packet(rng, ipv6=ipv6, tcp=True, tagged=False, size=size)
        frame = bytes(whole)
        start = len(frame) - size - 20
        addresses = frame[start - (32 if ipv6 else 8) : start]
        if not ipv6:
            addresses = frame[26:34]
        pseudo = ones_sum(addresses + (6).to_bytes(2, "big") + (20 + size).to_bytes(2, "big"))
        partial = frame[: start + 16] + pseudo.to_bytes(2, "big") + frame[start + 18 :]
        assert insert_checksum(partial, start, start + 16) == frame


def test_sum_of_zero_is_written_as_all_ones() -> None:
    assert insert_checksum(b"\xff\xff\0\0", 0, 2) == b"\xff\xff\xff\xff"
