"""Both ends of a shared ring page. The other end is not trusted: what it writes is read once, and checked.

Source: Xen `xen/include/public/io/ring.h`. No call loops by what the other end says: impossible indices break the ring
for good (`RingBrokenError`).
"""

from __future__ import annotations

from typing import Final

from sw.xen.io.ring import HEADER_BYTES, INDEX_MASK, REQ_EVENT, REQ_PROD, RSP_EVENT, RSP_PROD, must_notify, ring_entries

_INDEX_BYTES: Final = 4


class RingBrokenError(RuntimeError):
    """The other end has broken the protocol; the ring is not used any more."""


class _Ring:
    """What the two ends have in common."""

    def __init__(self, page: memoryview, slot_bytes: int) -> None:
        self._page = page
        self._slot_bytes = slot_bytes
        self.entries = ring_entries(slot_bytes, len(page))
        self.broken = False
        """Set for good when the other end has broken the protocol."""

    def fail(self, reason: str) -> RingBrokenError:
        """Break the ring; the error to raise."""
        self.broken = True
        return RingBrokenError(reason)

    def _index(self, at: int) -> int:
        if self.broken:
            raise RingBrokenError("the ring is broken")
        return int.from_bytes(self._page[at : at + _INDEX_BYTES], "little")

    def _set_index(self, at: int, value: int) -> None:
        self._page[at : at + _INDEX_BYTES] = (value & INDEX_MASK).to_bytes(_INDEX_BYTES, "little")

    def _read(self, index: int) -> bytes:
        """A copy of a slot: the other end may write it again while it is looked at."""
        at = HEADER_BYTES + (index & self.entries - 1) * self._slot_bytes
        return bytes(self._page[at : at + self._slot_bytes])

    def _write(self, index: int, data: bytes) -> None:
        at = HEADER_BYTES + (index & self.entries - 1) * self._slot_bytes
        self._page[at : at + len(data)] = data


class FrontRing(_Ring):
    """Puts requests in, takes responses out. Owns the page and makes the ring."""

    def __init__(self, page: memoryview, slot_bytes: int) -> None:
        super().__init__(page, slot_bytes)
        page[:HEADER_BYTES] = bytes(HEADER_BYTES)
        self._set_index(REQ_EVENT, 1)
        self._set_index(RSP_EVENT, 1)
        self._pushed = 0
        self.produced = 0
        """Requests put in so far, modulo 2^32; pushed or not."""
        self.consumed = 0
        """Responses taken so far, modulo 2^32."""

    @property
    def outstanding(self) -> int:
        """Requests whose responses have not been taken."""
        return (self.produced - self.consumed) & INDEX_MASK

    @property
    def free(self) -> int:
        """Requests that still fit."""
        return self.entries - self.outstanding

    def put(self, request: bytes) -> int:
        """Write the next request; its index. The back end sees it after `push`."""
        if not self.free:
            raise IndexError(f"the ring is full: {self.entries} requests are outstanding")
        index = self.produced
        self._write(index, request)
        self.produced = (index + 1) & INDEX_MASK
        return index

    def push(self) -> bool:
        """Show the back end what was put in; True when it wants an event."""
        old, self._pushed = self._pushed, self.produced
        self._set_index(REQ_PROD, self._pushed)
        return must_notify(old, self._pushed, self._index(REQ_EVENT))

    def responses(self) -> int:
        """Responses that are there. Raises `RingBrokenError` if there are more than pushed requests."""
        count = (self._index(RSP_PROD) - self.consumed) & INDEX_MASK
        if count > (self._pushed - self.consumed) & INDEX_MASK:
            raise self.fail(f"{count} responses to {(self._pushed - self.consumed) & INDEX_MASK} requests")
        return count

    def take(self) -> bytes:
        """The next response: call only while `responses` says that there is one."""
        data = self._read(self.consumed)
        self.consumed = (self.consumed + 1) & INDEX_MASK
        return data

    def arm(self, count: int = 1) -> bool:
        """Ask for an event when `count` responses are there; True when they are already, and no event may come."""
        self._set_index(RSP_EVENT, self.consumed + count)
        return self.responses() >= count


class BackRing(_Ring):
    """Takes requests out, puts responses in. Attaches to a page that a front end has made."""

    def __init__(self, page: memoryview, slot_bytes: int) -> None:
        """Goes on after the responses that a back end before this one gave. Raises `RingBrokenError`."""
        super().__init__(page, slot_bytes)
        self._consumed = self._produced = self._pushed = self._index(RSP_PROD)
        self.requests()

    def requests(self) -> int:
        """Requests that are there. Raises `RingBrokenError` if more are outstanding than there are slots."""
        count = (self._index(REQ_PROD) - self._consumed) & INDEX_MASK
        limit = self.entries - ((self._consumed - self._produced) & INDEX_MASK)
        if count > limit:
            raise self.fail(f"{count} requests: {limit} are possible")
        return count

    def peek(self) -> bytes:
        """A copy of the next request: call only while `requests` says that there is one."""
        return self._read(self._consumed)

    def take(self) -> bytes:
        """The same, and it is consumed."""
        data = self._read(self._consumed)
        self._consumed = (self._consumed + 1) & INDEX_MASK
        return data

    def arm(self, count: int = 1) -> bool:
        """Ask for an event when `count` requests are there; True when they are already, and no event may come."""
        self._set_index(REQ_EVENT, self._consumed + count)
        return self.requests() >= count

    def put(self, response: bytes) -> None:
        """Write the next response; the front end sees it after `push`."""
        if self._produced == self._consumed:
            raise IndexError("a response to no request")
        self._write(self._produced, response)
        self._produced = (self._produced + 1) & INDEX_MASK

    def push(self) -> bool:
        """Show the front end what was put in; True when it wants an event."""
        old, self._pushed = self._pushed, self._produced
        self._set_index(RSP_PROD, self._pushed)
        return must_notify(old, self._pushed, self._index(RSP_EVENT))
