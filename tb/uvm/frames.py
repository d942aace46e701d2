"""The bytes of an operation's frame. What the NIC must make of it, the reference says."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from sw.guest.headers import locate_transport
from tb.uvm.plan import Operation

ETHERTYPE: Final = b"\x88\xb5"
"""IEEE 802 local experimental."""
GAP: Final = 40
"""Between pieces at most."""


@dataclass(frozen=True)
class Request:
    """A frame, or a TSO packet, with what the driver is to be told."""

    data: bytes
    checksum: tuple[int, int] | None = None
    """Where summing starts, where the field is."""
    tso: tuple[bytes, int, bool] | None = None
    """Header, offset of its TCP header, IPv6; `data` is the payload."""


def request(seed: int, operation: Operation, to: bytes, source: bytes, vlan: int) -> Request:
    """What a guest sends for `operation`."""
    rng = random.Random(f"{seed}/{operation.id}")
    if operation.offload == "none":
        tag = b"\x81\x00" + vlan.to_bytes(2, "big") if vlan else b""
        head = to + source + tag + ETHERTYPE + operation.id.to_bytes(4, "big")
        return Request((head + rng.randbytes(max(operation.length - len(head), 0)))[: operation.length])
    layer: Packet = Ether(dst=to.hex(":"), src=source.hex(":"))
    if vlan:
        layer /= Dot1Q(vlan=vlan, prio=rng.randrange(8))
    layer /= rng.choice([IP(src="10.0.0.1", dst="10.0.0.2", id=operation.id & 0xFFFF), IPv6(src="2001:db8::1", dst="2001:db8::2")])
    if operation.offload == "tso":
        options = rng.choice([[], [("Timestamp", (operation.id, 7))]])
        packet = layer / TCP(sport=operation.id & 0xFFFF, dport=80, seq=rng.getrandbits(32), flags="PA", options=options)
        header = bytes(packet)
        ipv6 = IPv6 in packet
        return Request(rng.randbytes(operation.length), tso=(header, len(header) - len(bytes(packet[TCP])), ipv6))
    layer /= rng.choice([UDP(sport=operation.id & 0xFFFF, dport=7), TCP(sport=operation.id & 0xFFFF, dport=7, flags="PA")])
    data = bytes(layer / Raw(rng.randbytes(max(operation.length - len(layer), 1))))
    transport = locate_transport(data)
    assert transport is not None
    return Request(data, checksum=(transport.start, transport.field))


def cut(seed: int, operation: Operation, length: int) -> list[tuple[int, int]]:
    """Pieces of a frame: gap before each, and length."""
    rng = random.Random(f"{seed}/{operation.id}/pieces")
    count = min(operation.pieces, length)
    bounds = [0, *sorted(rng.sample(range(1, length), count - 1)), length]
    return [(rng.randint(0, GAP) if count > 1 else 0, b - a) for a, b in pairwise(bounds)]
