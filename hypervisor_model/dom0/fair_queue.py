"""The queue before the line: stations take turns by bytes, so that none gets more by queueing more.

Deficit round robin (Shreedhar and Varghese, SIGCOMM 1995), as in Linux `sch_sfq` and `sch_fq_codel`; a flow is a source address.
A guest's address is its own (`PortFilter`), and is the same when it comes back: what a dead vif left in the queue counts as its.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from hypervisor_model.dom0.packet import Packet

QUANTUM: Final = 1514
"""Bytes that a station may send in its turn; unused ones are kept while it has packets."""


@dataclass
class _Station:
    credit: int = QUANTUM
    packets: deque[Packet] = field(default_factory=deque)


class FairQueue:
    """Packets by source address. Not bounded: who puts packets in bounds them."""

    def __init__(self) -> None:
        self._stations: dict[bytes, _Station] = {}
        """Those that have packets; the first has its turn."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, packet: Packet) -> None:
        """Queue a packet behind the others of its source."""
        self._stations.setdefault(packet.frame[6:12], _Station()).packets.append(packet)
        self._count += 1

    def head(self) -> Packet:
        """The next packet; stays the same until `take`, whatever is put in. Raises `IndexError` when there is none."""
        while self._stations:
            address, station = next(iter(self._stations.items()))
            if len(station.packets[0].frame) <= station.credit:
                return station.packets[0]
            del self._stations[address]
            station.credit += QUANTUM
            self._stations[address] = station
        raise IndexError("no packet is queued")

    def take(self) -> Packet:
        """Remove the next packet. Raises `IndexError` when there is none."""
        packet = self.head()
        address, station = next(iter(self._stations.items()))
        station.packets.popleft()
        station.credit -= len(packet.frame)
        self._count -= 1
        if not station.packets:
            del self._stations[address]
        return packet
