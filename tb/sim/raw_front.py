"""A front end of a `vif` that writes its rings byte by byte, sensibly or not."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any, Final

from sw.guest.machine import GuestMachine
from sw.guest.netfront import VifConnection
from sw.platform import PAGE_SIZE
from sw.xen.io.netif import EXTRA, TX_REQUEST, TX_RESPONSE, TX_SLOT_BYTES, NetifStatus
from sw.xen.io.ring import HEADER_BYTES, REQ_EVENT, REQ_PROD, RSP_EVENT, RSP_PROD, ring_entries
from sw.xen.io.vif import FrontKeys

INDEX: Final = struct.Struct("<I")
ENTRIES: Final = ring_entries(TX_SLOT_BYTES, PAGE_SIZE)
FIRST_ID: Final = 100
"""Id of a packet of one slot whose data lie in page 0; the next page has the next id."""


class RawFront:
    """One front end; it knows its rings and pages, and no rule."""

    def __init__(self, machine: GuestMachine, connection: VifConnection) -> None:
        self.guest = machine
        self._connection = connection
        self.mac = b""
        """The device's own address; valid once open."""
        self.pages: list[memoryview] = []
        self.references: list[int] = []
        """One for each page: the back end may read and write it."""
        self.ring_references: list[int] = []
        """Of the two rings, sending first."""
        self.gfn = 0
        """First data page; the two rings lie before it."""
        self.port = 0
        self.keys: FrontKeys
        self.produced = 0
        self.consumed = 0

    async def open(self, pages: int = 24, **keys: Any) -> None:
        """Grant two rings and `pages` data pages, reserve a port, connect; `keys` change what is published."""
        kernel = self.guest.kernel
        first = kernel.allocate_pages(2 + pages)
        self.tx, self.rx = (self.guest.memory.page(first + n) for n in range(2))
        self.gfn = first + 2
        self.pages = [self.guest.memory.page(self.gfn + n) for n in range(pages)]
        self.ring_references = [await kernel.grant_access(first + n, readonly=False) for n in range(2)]
        self.references = [await kernel.grant_access(self.gfn + n, readonly=False) for n in range(pages)]
        self.port = await self.guest.hypercall.event_alloc_unbound(0)
        tx_ring, rx_ring = self.ring_references
        self.keys = FrontKeys(tx_ring, rx_ring, self.port, self.port, **keys)
        await self.connect()

    async def connect(self, *, requests: int = 0, **keys: Any) -> None:
        """Meet the back end with new rings, which say that there are `requests`; `keys` change what is published this time."""
        for ring in (self.tx, self.rx):
            ring[:] = bytes(PAGE_SIZE)
            INDEX.pack_into(ring, REQ_EVENT, 1)
            INDEX.pack_into(ring, RSP_EVENT, 1)
        INDEX.pack_into(self.tx, REQ_PROD, requests)
        self.produced = self.consumed = 0
        self.mac = (await self._connection.offer()).mac
        await self._connection.connect(replace(self.keys, **keys))

    async def close(self) -> None:
        """Have the back end let go."""
        await self._connection.close()

    def request(self, reference: int, offset: int, flags: int, number: int, size: int) -> None:
        """One slot of the send ring."""
        TX_REQUEST.pack_into(self.tx, self._slot(), reference, offset, flags, number, size)
        self.produced += 1

    def extra(self, kind: int, flags: int, value: bytes) -> None:
        """An extra info in a slot of its own."""
        EXTRA.pack_into(self.tx, self._slot(), kind, flags, value)
        self.produced += 1

    def put(self, page: int, data: bytes, flags: int = 0, offset: int = 0) -> None:
        """A packet of one slot."""
        self.pages[page][offset : offset + len(data)] = data
        self.request(self.references[page], offset, flags, FIRST_ID + page, len(data))

    async def kick(self) -> None:
        """Show the back end what was written, and send it an event."""
        INDEX.pack_into(self.tx, REQ_PROD, self.produced & 0xFFFF_FFFF)
        await self.guest.hypercall.event_send(self.port)

    @property
    def answered(self) -> int:
        """Responses that `answers` has not taken yet."""
        (end,) = INDEX.unpack_from(self.tx, RSP_PROD)
        return int(end) - self.consumed

    def answers(self) -> list[tuple[int, int]]:
        """Id and status of each response since the last call; extra infos' ids do not count."""
        found = []
        for _ in range(self.answered):
            number, status = TX_RESPONSE.unpack_from(self.tx, HEADER_BYTES + self.consumed % ENTRIES * TX_SLOT_BYTES)
            found.append((0 if status == NetifStatus.NULL else number, status))
            self.consumed += 1
        return found

    def _slot(self) -> int:
        return HEADER_BYTES + self.produced % ENTRIES * TX_SLOT_BYTES
