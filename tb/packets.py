"""Packets that a send offload works on, and what it must make of them. scapy computes every checksum."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

MAX_FRAME: Final = 9018
TCP_FIELD: Final = 16
UDP_FIELD: Final = 6


@dataclass(frozen=True)
class Sample:
    """A frame with a checksum to be inserted: where summing starts, where it goes; None expected: it is refused."""

    data: bytes
    start: int
    field: int
    expected: bytes | None


def ones_sum(data: bytes) -> int:
    """16-bit ones' complement sum of big-endian words, an odd last byte padded with 0."""
    data += b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def link(rng: random.Random, guest: int) -> Packet:
    """An Ethernet header that names the guest, with a tag or without."""
    layer = Ether(dst="02:00:00:00:01:00", src=f"02:00:00:00:00:{guest:02x}")
    return layer / Dot1Q(vlan=rng.randint(1, 4094), prio=rng.randrange(8)) if rng.random() < 0.4 else layer


def network(rng: random.Random) -> Packet:
    """IPv4, perhaps with options, or IPv6."""
    if rng.random() < 0.5:
        return IPv6(src=f"2001:db8::{rng.randrange(65536):x}", dst=f"2001:db8:1::{rng.randrange(65536):x}",
                    hlim=rng.randint(1, 255), fl=rng.randrange(1 << 20), tc=rng.randrange(256))
    options = [b"\x01" * 4, b"\x94\x04\0\0" + b"\x01" * 8, b"\x44\x28\x05\0" + bytes(36)]
    packet = IP(src=f"10.{rng.randrange(256)}.{rng.randrange(256)}.1", dst=f"10.1.{rng.randrange(256)}.2",
                id=rng.choice([0, 0xFFFE, rng.randrange(65536)]), ttl=rng.randint(1, 255), tos=rng.randrange(256),
                flags=rng.choice([0, "DF"]))
    if rng.random() < 0.4:
        chosen = rng.choice(options)
        packet.ihl = 5 + len(chosen) // 4
        packet = IP(bytes(packet) + chosen)
        packet.len = packet.chksum = None
        del packet.proto  # what follows decides
    return packet


@dataclass(frozen=True)
class Bulk:
    """A TCP packet for TSO, and the segments that it must become."""

    head: Packet
    """Headers of the first segment, flags and all."""
    header: bytes
    """The same with what a stack leaves in it."""
    payload: bytes
    mss: int
    cksum_offset: int
    ipv6: bool

    @property
    def count(self) -> int:
        """Segments."""
        return -(-len(self.payload) // self.mss)

    @cached_property
    def segments(self) -> tuple[bytes, ...]:
        """All frames."""
        return tuple(self.segment(n) for n in range(self.count))

    def segment(self, n: int) -> bytes:
        """Frame `n`."""
        one = self.head.copy()
        if IP in one:
            one[IP].id = (one[IP].id + n) % 65536
        one[TCP].seq = (one[TCP].seq + n * self.mss) % (1 << 32)
        gone = ("FP" if n < self.count - 1 else "") + ("C" if n else "")
        one[TCP].flags = "".join(flag for flag in str(one[TCP].flags) if flag not in gone)
        return bytes(one / Raw(self.payload[n * self.mss : (n + 1) * self.mss]))

    @property
    def tcp_offset(self) -> int:
        """Where the TCP header starts."""
        return len(self.header) - self.cksum_offset if self.ipv6 else self.cksum_offset


def bulk(rng: random.Random, layer: Packet, mss: int, length: int, *, longest: int = MAX_FRAME, port: int | None = None) -> Bulk:
    """Random headers behind `layer`, `mss` as far as a frame of `longest` bytes holds it, source port `port` or any.

    Lengths and checksums in the header are what a stack leaves there: anything.
    """
    options = rng.choice([[], [("Timestamp", (rng.getrandbits(32), 7))], [("NOP", None), ("NOP", None), ("SAckOK", b"")],
                          [("Timestamp", (1, 2)), ("MSS", 1460), ("WScale", 7), ("SAckOK", b""), ("NOP", None)]])
    flags = "A" + "".join(flag for flag in "FPCEU" if rng.random() < 0.4)
    tcp = TCP(sport=rng.randrange(65536) if port is None else port, dport=rng.randrange(65536),
              seq=rng.choice([0xFFFFFF00, rng.getrandbits(32)]), ack=rng.getrandbits(32), flags=flags, window=rng.randrange(65536), options=options)
    head = layer / network(rng) / tcp
    mss = min(mss, longest - len(head))
    body = rng.randbytes(length)
    template = head.copy()
    if IP in template:
        template[IP].len, template[IP].chksum = rng.randrange(65536), rng.randrange(65536)
    else:
        template[IPv6].plen = rng.randrange(65536)
    template[TCP].chksum = rng.randrange(65536)
    data = bytes(template)
    start = len(data) - len(bytes(template[TCP]))
    ipv6 = IPv6 in head
    return Bulk(head, data, body, mss, len(data) - start if ipv6 else start, ipv6)


def checksum_sample(rng: random.Random, layer: Packet, longest: int, *, port: int | None = None) -> Sample:
    """UDP or TCP over IP behind `layer`, source port `port` or any; the field holds the pseudo-header's sum, as a stack leaves it."""
    head = layer / network(rng)
    source = rng.randrange(65536) if port is None else port
    if udp := rng.random() < 0.5:
        head /= UDP(sport=source, dport=rng.randrange(65536))
    else:
        head /= TCP(sport=source, dport=rng.randrange(65536), seq=rng.getrandbits(32), flags="PA",
                    options=rng.choice([[], [("Timestamp", (rng.getrandbits(32), 7))]]))
    transport = UDP if udp else TCP
    body = rng.randbytes(rng.choice([1, 2, 3, rng.randint(1, max(longest - len(head), 1))]))[: max(longest - len(head), 1)]
    expected = bytes(head / Raw(body))
    start = len(head) - len(head[transport])
    field = start + (UDP_FIELD if udp else TCP_FIELD)
    if udp and len(body) > 2 and rng.random() < 0.2:
        # a checksum that comes out as zero
        zero = expected[:field] + b"\0\0" + expected[field + 2 :]
        told = int.from_bytes(expected[field : field + 2], "big")
        parity = len(head) - start & 1
        word = int.from_bytes(body[parity : parity + 2], "big") + told
        body = body[:parity] + ((word & 0xFFFF) + (word >> 16)).to_bytes(2, "big") + body[parity + 2 :]
        expected = bytes(head / Raw(body))
        assert expected[field : field + 2] == b"\xff\xff", zero.hex()
    total = ones_sum(expected[start:field] + b"\0\0" + expected[field + 2 :])
    stored = int.from_bytes(expected[field : field + 2], "big")
    # pseudo header = complement of what scapy stored, less the sum of the rest
    pseudo = (~stored & 0xFFFF) + (~total & 0xFFFF)
    pseudo = (pseudo & 0xFFFF) + (pseudo >> 16)
    return Sample(expected[:field] + pseudo.to_bytes(2, "big") + expected[field + 2 :], start, field, expected)


def raw_sample(rng: random.Random, guest: int, longest: int) -> Sample:
    """Any bytes, start and field of any parity, sometimes where they must not be."""
    data = bytes(11) + bytes([guest]) + rng.randbytes(rng.randint(20, longest - 12))
    start = rng.randint(12, min(255, len(data) + 5))
    field = rng.choice([rng.randint(12, min(len(data) + 3, 0xFFFF)), len(data) - 2, len(data) - 1, 0xFFFF])
    if start >= len(data) or field + 2 > len(data):
        return Sample(data, start, field, None)
    value = ~ones_sum(data[start:]) & 0xFFFF or 0xFFFF
    return Sample(data, start, field, data[:field] + value.to_bytes(2, "big") + data[field + 2 :])
