"""Make the shipped capture: `python -m tb.sim.make_capture [OUT]`. Same code, same bytes.

Conversations among eight hosts of a small network, interleaved by a seeded choice: ARP, ICMP, IPv6 neighbour
discovery, DNS, bulk UDP, TCP with standard and jumbo segments, some of each with an 802.1Q tag. Frames carry no
FCS and are at least 60 bytes, as a sender hands them to its NIC.
"""

from __future__ import annotations

import gzip
import io
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw
from scapy.utils import PcapWriter

SEED: Final = 20100
"""Of the interleaving and of the hosts' choices."""
START_S: Final = 1_700_000_000
"""Time stamp of the first frame, seconds."""
GAP_US: Final = 10
MIN_FRAME: Final = 60
STANDARD_MTU: Final = 1500
JUMBO_MTU: Final = 9000
TAGGED_VLAN: Final = 42
OUT: Final = Path(__file__).parent / "data" / "capture.pcap.gz"


def payload(size: int, start: int) -> bytes:
    """`size` bytes that count up from `start`: a shifted or swapped piece shows at a glance."""
    return bytes((start + k) % 251 for k in range(size))


class Host:
    """One station: its addresses and the link header towards another."""

    def __init__(self, number: int) -> None:
        self.mac = f"02:00:5e:00:00:{number:02x}"
        self.ip = f"10.0.0.{number}"
        self.ip6 = f"fe80::5eff:fe00:{number:x}"

    def link(self, peer: Host, vlan: int | None) -> Packet:
        header = Ether(src=self.mac, dst=peer.mac)
        return header / Dot1Q(vlan=vlan) if vlan is not None else header


def arp(a: Host, b: Host, vlan: int | None) -> Iterator[Packet]:
    ask = Ether(src=a.mac, dst="ff:ff:ff:ff:ff:ff")
    yield (ask / Dot1Q(vlan=vlan) if vlan is not None else ask) / ARP(op=1, hwsrc=a.mac, psrc=a.ip, pdst=b.ip)
    yield b.link(a, vlan) / ARP(op=2, hwsrc=b.mac, psrc=b.ip, hwdst=a.mac, pdst=a.ip)


def ping(a: Host, b: Host, vlan: int | None, sizes: list[int], ident: int) -> Iterator[Packet]:
    for seq, size in enumerate(sizes):
        data = Raw(payload(size, ident + seq))
        yield a.link(b, vlan) / IP(src=a.ip, dst=b.ip, id=seq) / ICMP(type=8, id=ident, seq=seq) / data
        yield b.link(a, vlan) / IP(src=b.ip, dst=a.ip, id=seq) / ICMP(type=0, id=ident, seq=seq) / data


def neighbours(a: Host, b: Host, vlan: int | None) -> Iterator[Packet]:
    yield (
        a.link(b, vlan)
        / IPv6(src=a.ip6, dst=b.ip6, hlim=255)
        / ICMPv6ND_NS(tgt=b.ip6)
        / ICMPv6NDOptSrcLLAddr(lladdr=a.mac)
    )
    yield (
        b.link(a, vlan)
        / IPv6(src=b.ip6, dst=a.ip6, hlim=255)
        / ICMPv6ND_NA(tgt=b.ip6, R=0, S=1, O=1)
        / ICMPv6NDOptDstLLAddr(lladdr=b.mac)
    )
    for seq, size in enumerate((8, 56, 1232)):
        data = payload(size, seq)
        yield a.link(b, vlan) / IPv6(src=a.ip6, dst=b.ip6) / ICMPv6EchoRequest(id=1, seq=seq, data=data)
        yield b.link(a, vlan) / IPv6(src=b.ip6, dst=a.ip6) / ICMPv6EchoReply(id=1, seq=seq, data=data)


def dns(a: Host, b: Host, vlan: int | None, name: str, ident: int) -> Iterator[Packet]:
    question = DNSQR(qname=name)
    yield (
        a.link(b, vlan) / IP(src=a.ip, dst=b.ip) / UDP(sport=40000 + ident, dport=53) / DNS(id=ident, rd=1, qd=question)
    )
    answer = DNS(id=ident, qr=1, rd=1, ra=1, qd=question, an=DNSRR(rrname=name, ttl=300, rdata=b.ip))
    yield b.link(a, vlan) / IP(src=b.ip, dst=a.ip) / UDP(sport=53, dport=40000 + ident) / answer


def datagrams(a: Host, b: Host, vlan: int | None, port: int, sizes: list[int]) -> Iterator[Packet]:
    for k, size in enumerate(sizes):
        yield a.link(b, vlan) / IP(src=a.ip, dst=b.ip, id=k) / UDP(sport=port, dport=port + 1) / Raw(payload(size, k))


def tcp(a: Host, b: Host, vlan: int | None, port: int, mtu: int, segments: list[int]) -> Iterator[Packet]:
    """A connection: handshake with MSS, `segments` bytes from `a`, an ACK for each two, close from `a`."""
    mss = mtu - 40
    seq, ack = 1000 * port, 77 * port
    there = a.link(b, vlan) / IP(src=a.ip, dst=b.ip, flags="DF")
    back = b.link(a, vlan) / IP(src=b.ip, dst=a.ip, flags="DF")
    yield there / TCP(sport=port, dport=80, flags="S", seq=seq, options=[("MSS", mss)])
    yield back / TCP(sport=80, dport=port, flags="SA", seq=ack, ack=seq + 1, options=[("MSS", mss)])
    seq, ack = seq + 1, ack + 1
    yield there / TCP(sport=port, dport=80, flags="A", seq=seq, ack=ack)
    for k, size in enumerate(segments):
        data = Raw(payload(min(size, mss), port + k))
        yield there / TCP(sport=port, dport=80, flags="PA", seq=seq, ack=ack) / data
        seq += len(data)
        if k % 2:
            yield back / TCP(sport=80, dport=port, flags="A", seq=ack, ack=seq)
    yield there / TCP(sport=port, dport=80, flags="FA", seq=seq, ack=ack)
    yield back / TCP(sport=80, dport=port, flags="FA", seq=ack, ack=seq + 1)
    yield there / TCP(sport=port, dport=80, flags="A", seq=seq + 1, ack=ack + 1)


def conversations(rng: random.Random) -> list[Iterator[Packet]]:
    """Every conversation of the capture; each is in order by itself."""
    hosts = [Host(n) for n in range(1, 9)]
    found: list[Iterator[Packet]] = []
    for n in range(32):
        a, b = rng.sample(hosts, 2)
        vlan = TAGGED_VLAN if n % 4 == 3 else None
        found.append(arp(a, b, vlan))
        found.append(neighbours(a, b, vlan))
        found.append(ping(a, b, vlan, [56, rng.randrange(18, 1473), 1472], ident=n))
        found.extend(dns(a, b, vlan, f"host{k}.example.net", ident=8 * n + k) for k in range(4))
        small = [rng.randrange(18, 160) for _ in range(16)]
        found.append(datagrams(a, b, vlan, 50000 + 2 * n, small + [534] * 4))
        segments = [rng.choice((STANDARD_MTU, STANDARD_MTU, STANDARD_MTU, 512, 1)) for _ in range(20)]
        found.append(tcp(a, b, vlan, 20000 + n, STANDARD_MTU, segments))
    for n in range(4):
        a, b = rng.sample(hosts, 2)
        vlan = TAGGED_VLAN if n == 3 else None
        mtu = JUMBO_MTU - 4 if vlan else JUMBO_MTU  # the longest frame is 9014 bytes, tag or not
        found.append(tcp(a, b, vlan, 30000 + n, mtu, [mtu] * 7 + [4096]))
        found.append(ping(a, b, vlan, [mtu - 28], ident=100 + n))
        found.append(datagrams(a, b, vlan, 52000 + 2 * n, [mtu - 28, 4096 - 28]))
    return found


def frames(seed: int = SEED) -> list[bytes]:
    """All frames, interleaved: the next frame comes from a conversation chosen at random."""
    rng = random.Random(seed)
    waiting = conversations(rng)
    done: list[bytes] = []
    while waiting:
        k = rng.randrange(len(waiting))
        packet = next(waiting[k], None)
        if packet is None:
            waiting.pop(k)
        else:
            done.append(bytes(packet).ljust(MIN_FRAME, b"\0"))
    return done


def write(path: Path, seed: int = SEED) -> int:
    """Write the capture to `path` (gzip without time and name); returns the number of frames."""
    plain = io.BytesIO()
    writer = PcapWriter(plain, linktype=1, endianness="<")
    writer.write_header(None)
    sent = frames(seed)
    for k, frame in enumerate(sent):
        writer.write_packet(frame, sec=START_S + k * GAP_US // 1_000_000, usec=k * GAP_US % 1_000_000)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed:
        packed.write(plain.getvalue())
    return len(sent)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    print(f"{write(target)} frames in {target}")
