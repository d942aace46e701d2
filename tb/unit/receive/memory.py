"""Sparse memory whose bytes hold a guard value until they are written."""

from __future__ import annotations

from typing import Final

PAGE: Final = 4096
GUARD: Final = 0xA5
_FRESH: Final = bytes([GUARD]) * PAGE


class Memory:
    """Bytes by address; writes and reads may cross pages."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def write(self, address: int, data: bytes) -> None:
        at = 0
        while at < len(data):
            number, offset = divmod(address + at, PAGE)
            size = min(PAGE - offset, len(data) - at)
            page = self._pages.setdefault(number, bytearray(_FRESH))
            page[offset : offset + size] = data[at : at + size]
            at += size

    def read(self, address: int, length: int) -> bytes:
        found = b""
        while len(found) < length:
            number, offset = divmod(address + len(found), PAGE)
            size = min(PAGE - offset, length - len(found))
            found += self._pages.get(number, _FRESH)[offset : offset + size]
        return found

    def difference(self, other: Memory) -> int | None:
        """The first address at which two memories differ, or None."""
        for number in sorted(self._pages.keys() | other._pages.keys()):
            mine, theirs = self._pages.get(number, _FRESH), other._pages.get(number, _FRESH)
            if mine != theirs:
                return number * PAGE + next(n for n in range(PAGE) if mine[n] != theirs[n])
        return None
