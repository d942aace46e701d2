"""Offloads of the reference NIC's send side: checksum insertion and TCP segmentation (host interface 5.5, 5.6)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from sw.abi.registers import NicControl, SendDescriptor
from tb.model.sums import ones_sum

MAX_FRAME: Final = NicControl.LIMITS_MAX_FRAME_VALUE
MAX_HEADER_PIECES: Final = 12
MAX_HEADER: Final = 1024
MAX_CHAIN: Final = 96
"""Descriptors of a TSO chain."""

_DESCRIPTOR = struct.Struct(">QHHI")
_COUNT_S: Final = SendDescriptor.CONTROL_RDMA_COUNT_S
_START_S: Final = SendDescriptor.CONTROL_CKSUM_OFFSET_S
_HEADER_PIECE: Final = SendDescriptor.CONTROL_SMALL_M
_FIRST: Final = SendDescriptor.CONTROL_FIRST_M
_LAST: Final = SendDescriptor.CONTROL_CKSUM_M
_CHOP: Final = SendDescriptor.CONTROL_NO_TSO_M
_PAYLOAD: Final = SendDescriptor.CONTROL_TSO_PLD_M
_NEVER: Final = SendDescriptor.CONTROL_INLINE_M | SendDescriptor.CONTROL_RESERVED_M
_NOT_IN_HEADER: Final = _NEVER | _LAST | _CHOP | _PAYLOAD
_TCP: Final = 6
_FRAGMENT: Final = 0x3FFF
"""More fragments, or an offset."""
_FIN_PSH: Final = 0x09
_CWR: Final = 0x80


class BadOffloadError(Exception):
    """Status BAD_OFFLOAD."""


def insert_checksum(frame: bytes, start: int, at: int) -> bytes:
    """Complement of the sum from `start` to the end, stored at `at`; zero is written as ones."""
    if start >= len(frame) or at + 2 > len(frame):
        raise BadOffloadError
    value = ~ones_sum(frame[start:]) & 0xFFFF or 0xFFFF
    return frame[:at] + value.to_bytes(2, "big") + frame[at + 2 :]


@dataclass
class TsoChain:
    """Descriptors of one chain."""

    mss: int
    start: int
    """cksum_offset of its first descriptor."""
    header: list[tuple[int, int]] = field(default_factory=list)
    """Address and length of each piece."""
    payload: list[tuple[int, int]] = field(default_factory=list)
    """Of a chain that breaks the rules: what comes before."""
    slots: int = 0
    """Descriptors that the chain uses."""
    broken: bool = False
    stale: int | None = None
    """Address of a stale descriptor: `header` and `payload` are what comes before it."""


class _Broken(Exception):
    """The chain breaks the rules at the descriptor that is looked at."""


class _Stale(Exception):
    """The descriptor that is looked at is stale."""

    def __init__(self, address: int) -> None:
        self.address = address


class _Missing(Exception):
    """The producer does not cover the next descriptor yet."""


class _Walk:
    """From the head of a chain to its end, by the counts and flags of its descriptors."""

    def __init__(
        self, peek: Callable[[int], bytes | None], valid: Callable[[int], bool], stale: Callable[[int, int], bool]
    ) -> None:
        self._peek = peek
        self._valid = valid
        self._stale = stale
        self.at = 0
        self.end: int | None = None
        """Descriptors of the chain, once its TSO_LAST has been seen."""

    def get(self, n: int) -> tuple[int, int, int, int]:
        descriptor = self._peek(n)
        if descriptor is None:
            raise _Missing
        if not self._valid(n):
            raise _Broken
        address, field, length, control = _DESCRIPTOR.unpack(descriptor)
        if self._stale(n, address):
            raise _Stale(address)
        return address, field, length, control

    def header(self, chain: TsoChain, count: int) -> None:
        if not 1 <= count <= MAX_HEADER_PIECES or not 1 <= chain.mss <= MAX_FRAME:
            raise _Broken
        total = 0
        for n in range(count):
            address, _, length, control = self.get(n)
            total += length
            if not control & _HEADER_PIECE or control & _NOT_IN_HEADER or bool(control & _FIRST) != (n == 0):
                raise _Broken
            if not length or total > MAX_HEADER:
                raise _Broken
            chain.header.append((address, length))
            self.at = n + 1

    def payload(self, chain: TsoChain) -> None:
        room, begin, count = chain.mss, self.at, 0
        while self.end is None or self.at < self.end:
            address, _, length, control = self.get(self.at)
            declared = control >> _COUNT_S & 0xFF
            opens = room == chain.mss
            cuts = length > room
            if not control & _PAYLOAD or control & _NEVER or not length or not declared:
                raise _Broken
            if bool(control & _FIRST) != opens or bool(control & _CHOP) != cuts:
                raise _Broken
            # TSO_LAST: from the last start or cut of a segment to the end
            last = bool(control & _LAST)
            if (not last or opens or cuts) if self.end is not None else (last and not (opens or cuts)):
                raise _Broken
            if cuts:
                # the segment before the first cut ends here; those between cuts are whole inside
                if not opens and self.at - begin + 1 != count:
                    raise _Broken
                length_of_rest = (length - room) % chain.mss
                room = chain.mss - length_of_rest
                begin, count = self.at, declared
                ends = not length_of_rest
            else:
                if opens:
                    begin, count = self.at, declared
                room -= length
                ends = not room
            if last and self.end is None:
                self.end = self.at + declared
                if self.end > MAX_CHAIN:
                    raise _Broken
            self.at += 1
            if ends:
                if self.at - begin != count:
                    raise _Broken
                room = chain.mss
            elif self.at - begin >= count and self.at != self.end:
                raise _Broken
            chain.payload.append((address, length))

    def skip(self) -> None:
        """To the end of a chain that breaks the rules: its TSO_LAST, the next head or the longest chain."""
        while self.at < MAX_CHAIN and (self.end is None or self.at < self.end):
            try:
                _, _, _, control = self.get(self.at)
            except _Broken:
                return
            if not control & _PAYLOAD and control & (_FIRST | _CHOP):
                return
            self.at += 1
            if control & _PAYLOAD and control & _LAST and self.end is None:
                declared = control >> _COUNT_S & 0xFF
                self.end = self.at - 1 + declared if 1 <= declared <= MAX_CHAIN else self.at


def walk_tso(
    peek: Callable[[int], bytes | None], valid: Callable[[int], bool], stale: Callable[[int, int], bool]
) -> TsoChain | None:
    """The TSO chain at the consumer: `peek(n)` is its descriptor n, `stale(n, address)` tells whether it is too old.

    None while it is not all there.
    """
    walk = _Walk(peek, valid, stale)
    head = peek(0)
    assert head is not None
    _, mss, _, control = _DESCRIPTOR.unpack(head)
    chain = TsoChain(mss, control >> _START_S & 0xFF)
    try:
        try:
            walk.header(chain, control >> _COUNT_S & 0xFF)
            walk.payload(chain)
        except _Broken:
            chain.broken = True
            walk.at = max(walk.at, 1)
            walk.skip()
    except _Missing:
        return None
    except _Stale as found:
        chain.stale = found.address
        return chain
    chain.slots = walk.at
    return chain


class Segmenter:
    """Makes frames of one chain's header and payload."""

    def __init__(self, header: bytes, start: int) -> None:
        self._header = header
        self._ip = 18 if header[12:14] == b"\x81\x00" else 14
        kind = header[self._ip - 2 : self._ip]
        if kind == b"\x08\x00":
            self._ipv6 = False
            self._need(self._ip + 20)
            self._tcp = self._ip + (header[self._ip] & 0xF) * 4
            fragment = int.from_bytes(header[self._ip + 6 : self._ip + 8], "big") & _FRAGMENT
            fits = 0x45 <= header[self._ip] <= 0x4F and header[self._ip + 9] == _TCP and self._tcp == start
            fits = fits and not fragment
        elif kind == b"\x86\xdd":
            self._ipv6 = True
            self._need(self._ip + 40)
            self._tcp = self._ip + 40
            fits = header[self._ip] >> 4 == 6 and header[self._ip + 6] == _TCP and len(header) - self._tcp == start
        else:
            raise BadOffloadError
        self._need(self._tcp + 20)
        words = header[self._tcp + 12] >> 4
        if not fits or words < 5 or self._tcp + 4 * words != len(header):
            raise BadOffloadError

    def _need(self, length: int) -> None:
        if len(self._header) < length:
            raise BadOffloadError

    def segment(self, number: int, offset: int, data: bytes, *, last: bool) -> bytes:
        """Frame `number` (from 0), whose payload starts `offset` bytes into the chain's."""
        ip, tcp = self._ip, self._tcp
        head = bytearray(self._header)
        if self._ipv6:
            struct.pack_into(">H", head, ip + 4, len(head) - ip - 40 + len(data))
            addresses = bytes(head[ip + 8 : ip + 40])
        else:
            struct.pack_into(">H", head, ip + 2, len(head) - ip + len(data))
            (ident,) = struct.unpack_from(">H", head, ip + 4)
            struct.pack_into(">H", head, ip + 4, ident + number & 0xFFFF)
            struct.pack_into(">H", head, ip + 10, 0)
            struct.pack_into(">H", head, ip + 10, ~ones_sum(bytes(head[ip:tcp])) & 0xFFFF)
            addresses = bytes(head[ip + 12 : ip + 20])
        (sequence,) = struct.unpack_from(">I", head, tcp + 4)
        struct.pack_into(">I", head, tcp + 4, sequence + offset & 0xFFFF_FFFF)
        if not last:
            head[tcp + 13] &= ~_FIN_PSH
        if number:
            head[tcp + 13] &= ~_CWR
        struct.pack_into(">H", head, tcp + 16, 0)
        length = len(head) - tcp + len(data)
        pseudo = addresses + struct.pack(">IHH", length, 0, _TCP)
        value = ~ones_sum(pseudo + bytes(head[tcp:]) + data) & 0xFFFF
        struct.pack_into(">H", head, tcp + 16, value or 0xFFFF)
        return bytes(head) + data
