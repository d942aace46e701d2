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
_NOT_IN_HEADER: Final = _NEVER | _CHOP | _PAYLOAD
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


Piece = tuple[int, int]
"""Address and length."""


@dataclass
class TsoChain:
    """Descriptors of one chain."""

    mss: int
    start: int
    """cksum_offset of its first descriptor."""
    header: list[Piece] = field(default_factory=list)
    segments: list[list[Piece]] = field(default_factory=list)
    """Payload of each; of a chain that breaks the rules: of those before."""
    slots: int = 0
    """Descriptors that the chain uses."""
    broken: bool = False
    stale: int | None = None
    """Address of a stale descriptor: `segments` are those before it."""


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
        self,
        peek: Callable[[int], bytes | None],
        valid: Callable[[int], bool],
        stale: Callable[[int, int], bool],
        chain: TsoChain,
    ) -> None:
        self._peek = peek
        self._valid = valid
        self._stale = stale
        self._chain = chain
        self._offset = 0
        """Bytes of the next descriptor that earlier segments have had."""
        self._header_bytes = 0
        self.at = 1
        """Next descriptor."""
        self.end: int | None = None
        """Descriptors of the chain, once its TSO_LAST has been seen."""

    def get(self, n: int) -> tuple[int, int, int, int]:
        """Address, length, rdma_count and flags of descriptor `n`."""
        descriptor = self._peek(n)
        if descriptor is None:
            raise _Missing
        if not self._valid(n):
            raise _Broken
        address, _, length, control = _DESCRIPTOR.unpack(descriptor)
        if self._stale(n, address):
            raise _Stale(address)
        return address, length, control >> _COUNT_S & 0xFF, control

    def chain(self) -> None:
        """The whole of it."""
        _, _, front, control = self.get(0)
        header_only = control & _HEADER_PIECE and not control & _NOT_IN_HEADER
        if not header_only or not 1 <= front <= MAX_HEADER_PIECES or not 1 <= self._chain.mss <= MAX_FRAME:
            raise _Broken
        self.at = front
        touched = self._look()
        self._header(front)
        while not self._segment(touched):
            touched = self._look()

    def _look(self) -> int:
        """Descriptors that the next segment touches, by the one in which it starts; they must all be there."""
        _, length, count, control = self.get(self.at)
        inside = length - self._offset >= self._chain.mss if self._offset else bool(control & _CHOP)
        touched = 1 if inside else count
        starts = self._offset or control & _FIRST
        if not control & _PAYLOAD or control & _NEVER or self._offset >= length or not starts:
            raise _Broken
        if not touched or self.at + touched > MAX_CHAIN:
            raise _Broken
        if self._peek(self.at + touched - 1) is None:
            raise _Missing
        return touched

    def _header(self, front: int) -> None:
        for n in range(front):
            address, length, _, control = self.get(n)
            self._header_bytes += length
            if not control & _HEADER_PIECE or control & _NOT_IN_HEADER or bool(control & _FIRST) != (n == 0):
                raise _Broken
            if not length or self._header_bytes > MAX_HEADER:
                raise _Broken
            self._chain.header.append((address, length))

    def _segment(self, touched: int) -> bool:
        """One segment, which must end with the last of `touched` descriptors; True at the chain's end."""
        room, pieces = self._chain.mss, list[Piece]()
        while True:
            address, length, count, control = self.get(self.at)
            rest = length - self._offset
            take = min(rest, room)
            size = self._header_bytes + self._chain.mss - room + take
            if not control & _PAYLOAD or control & _NEVER or rest <= 0 or not count or size > MAX_FRAME:
                raise _Broken
            if not self._offset:
                self._check_flags(control, opens=not pieces, cuts=rest > room)
            if self.end is None and control & _LAST:
                if self.at + count > MAX_CHAIN:
                    raise _Broken
                end: int | None = self.at + count
            else:
                end = self.end
            drained, full = take == rest, take == room
            over = drained and end == self.at + 1
            if (full or over) != (touched == 1):
                raise _Broken
            self.end = end
            pieces.append((address + self._offset, take))
            room -= take
            touched -= 1
            self._offset += take
            if drained:
                self.at, self._offset = self.at + 1, 0
            if full or over:
                self._chain.segments.append(pieces)
                return over

    def _check_flags(self, control: int, *, opens: bool, cuts: bool) -> None:
        if bool(control & _FIRST) != opens or bool(control & _CHOP) != cuts:
            raise _Broken
        # TSO_LAST: from the last start or cut of a segment to the end
        last = bool(control & _LAST)
        if self.end is None:
            if last and not (opens or cuts):
                raise _Broken
        elif not last or opens or cuts or self.at >= self.end:
            raise _Broken

    def skip(self) -> None:
        """To the end of a chain that breaks the rules: its TSO_LAST, the next head or the longest chain."""
        while self.at < MAX_CHAIN and (self.end is None or self.at < self.end):
            try:
                _, _, declared, control = self.get(self.at)
            except _Broken:
                return
            if not control & _PAYLOAD and control & (_FIRST | _CHOP):
                return
            self.at += 1
            if control & _PAYLOAD and control & _LAST and self.end is None:
                self.end = self.at - 1 + declared if 1 <= declared <= MAX_CHAIN else self.at


def walk_tso(
    peek: Callable[[int], bytes | None], valid: Callable[[int], bool], stale: Callable[[int, int], bool]
) -> TsoChain | None:
    """The TSO chain at the consumer: `peek(n)` is its descriptor n, `stale(n, address)` tells whether it is too old.

    None while it is not all there.
    """
    head = peek(0)
    assert head is not None
    _, mss, _, control = _DESCRIPTOR.unpack(head)
    chain = TsoChain(mss, control >> _START_S & 0xFF)
    walk = _Walk(peek, valid, stale, chain)
    try:
        try:
            walk.chain()
        except _Broken:
            chain.broken = True
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
