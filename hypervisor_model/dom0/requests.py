"""Packets that a front end has put on its send ring: read once, then checked. Rules as in Linux `xen-netback`.

What a front end of good will can get wrong drops the packet; what only a broken one does breaks the ring.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sw.guest.gso import MIN_MSS
from sw.guest.headers import ETHERNET_BYTES
from sw.guest.shared_ring import BackRing
from sw.platform import PAGE_SIZE
from sw.xen.io.netif import (
    EXTRA,
    EXTRA_GSO,
    EXTRA_MORE,
    MAX_SLOTS,
    TX_REQUEST,
    ExtraType,
    GsoType,
    NetifStatus,
    TxFlag,
)

FATAL_SLOTS: Final = 20
"""A packet of more slots breaks the ring; one of more than `MAX_SLOTS` is dropped. Linux: `fatal_skb_slots`."""


class Slot(NamedTuple):
    """One request that carries data."""

    reference: int
    offset: int
    size: int
    number: int
    """Its id, for the response."""


@dataclass
class Request:
    """One packet, or one message about multicast groups."""

    slots: list[Slot]
    flags: int
    size: int
    """Of the whole packet, bytes."""
    extras: int = 0
    """Ring slots of extra infos."""
    mss: int = 0
    """Payload bytes of a segment; 0: a plain frame."""
    gso: GsoType = GsoType.NONE
    joins: list[bytes] = field(default_factory=list)
    """Groups to join."""
    leaves: list[bytes] = field(default_factory=list)
    status: NetifStatus = NetifStatus.OKAY
    """What it will be answered with."""

    @property
    def message(self) -> bool:
        """No packet."""
        return bool(self.joins or self.leaves)


def next_size(ring: BackRing) -> int:
    """Bytes of the next packet, as its first request says."""
    return int(TX_REQUEST.unpack(ring.peek())[4])


def read_request(ring: BackRing) -> Request:
    """Consume the next packet's requests, at least one of which is there. Raises `RingBrokenError`."""
    left = ring.requests() - 1
    reference, offset, flags, number, size = TX_REQUEST.unpack(ring.take())
    request = Request([], flags, size)
    if flags & TxFlag.EXTRA_INFO:
        left = _read_extras(ring, request, left)
    slots = [Slot(reference, offset, size, number)]
    if request.message:
        request.slots = slots
        return request
    rest = size
    more = bool(flags & TxFlag.MORE_DATA)
    while more:
        if not left:
            raise ring.fail("a packet whose next request is not there")
        if len(slots) >= FATAL_SLOTS:
            raise ring.fail(f"a packet of more than {FATAL_SLOTS} slots")
        left -= 1
        reference, offset, flags, number, size = TX_REQUEST.unpack(ring.take())
        if size > rest:
            # Whoever sends 64 KiB or more has let the size overflow: the requests are consumed, nothing is sent.
            request.status = NetifStatus.ERROR
        elif offset + size > PAGE_SIZE:
            raise ring.fail(f"slot of {size} bytes at offset {offset} crosses a page")
        rest -= min(size, rest)
        slots.append(Slot(reference, offset, size, number))
        more = bool(flags & TxFlag.MORE_DATA)
    slots[0] = slots[0]._replace(size=rest)
    request.slots = slots
    if len(slots) > MAX_SLOTS or request.size < ETHERNET_BYTES or 0 in {slot.size for slot in slots}:
        request.status = NetifStatus.ERROR
    if request.status is NetifStatus.OKAY and slots[0].offset + rest > PAGE_SIZE:
        raise ring.fail(f"slot of {rest} bytes at offset {slots[0].offset} crosses a page")
    return request


def _read_extras(ring: BackRing, request: Request, left: int) -> int:
    """Consume extra infos; requests that are left after them."""
    while True:
        if not left:
            raise ring.fail("an extra info that is not there")
        left -= 1
        request.extras += 1
        data = ring.take()
        kind, flags, value = EXTRA.unpack_from(data)
        if kind == ExtraType.GSO:
            _, _, request.mss, gso, _, _ = EXTRA_GSO.unpack_from(data)
            if gso not in (GsoType.TCPV4, GsoType.TCPV6) or not request.mss:
                raise ring.fail(f"segments of {request.mss} bytes, of type {gso}")
            request.gso = GsoType(gso)
            if request.mss < MIN_MSS:
                request.status = NetifStatus.ERROR
        elif kind == ExtraType.MCAST_ADD:
            request.joins.append(value)
        elif kind == ExtraType.MCAST_DEL:
            request.leaves.append(value)
        elif kind not in (ExtraType.HASH, ExtraType.XDP):
            raise ring.fail(f"extra info of type {kind}")
        if not flags & EXTRA_MORE:
            return left
