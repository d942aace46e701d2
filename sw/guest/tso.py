"""Descriptors of a TSO chain: one big TCP packet that the NIC cuts into segments of MSS bytes of payload."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final

from sw.abi.registers import SendDescriptor
from sw.guest.send_buffers import Piece

MAX_DESCRIPTORS: Final = 96
"""Of a chain. More pieces have to be copied together first."""
MAX_HEADER_PIECES: Final = 12
SMALL_SEGMENT: Final = 1520
"""Largest MSS whose payload is marked SMALL."""

_DESCRIPTOR = struct.Struct(">QHHBBBB")
_FIRST = SendDescriptor.CONTROL_FIRST_M
_HEADER = SendDescriptor.CONTROL_SMALL_M
_ODD = SendDescriptor.CONTROL_ALIGN_ODD_M
_LAST = SendDescriptor.CONTROL_CKSUM_M
_CHOP = SendDescriptor.CONTROL_NO_TSO_M
_PAYLOAD = SendDescriptor.CONTROL_TSO_PLD_M


def tso_chain(
    header: Sequence[Piece], payload: Sequence[Piece], mss: int, cksum_offset: int, *, ipv6: bool
) -> list[bytes]:
    """The 16-byte descriptors of one chain, in ring order.

    `header` and `payload`: device address and bytes (1 to 65535) of each piece. `mss`: payload bytes of a segment.
    `cksum_offset`: offset of the TCP header in the packet over IPv4, length of the TCP header over IPv6.
    Raises `ValueError` for a chain that the NIC does not take.
    """
    for name, pieces in (("header", header), ("payload", payload)):
        if not pieces or any(not 1 <= length <= 0xFFFF for _, length in pieces):
            raise ValueError(f"TSO {name}: needs one piece at least, each of 1 to 65535 bytes")
    if len(header) > MAX_HEADER_PIECES or len(header) + len(payload) > MAX_DESCRIPTORS:
        raise ValueError(
            f"TSO chain of {len(header)} header and {len(payload)} payload pieces: {MAX_HEADER_PIECES} of a header "
            f"and {MAX_DESCRIPTORS} in all are possible"
        )
    if not 1 <= mss <= 0xFFFF or not 1 <= cksum_offset <= 0xFF:
        raise ValueError(f"TSO chain: mss {mss} is not 1 to 65535, or cksum_offset {cksum_offset} not 1 to 255")
    return [*_header(header, mss, cksum_offset, ipv6=ipv6), *_payload(payload, mss, cksum_offset if ipv6 else 0)]


def _header(pieces: Sequence[Piece], mss: int, cksum_offset: int, *, ipv6: bool) -> Iterator[bytes]:
    left = sum(length for _, length in pieces)
    for n, (address, length) in enumerate(pieces):
        flags = _HEADER | (0 if n else _FIRST) | (_ODD if left % 2 else 0)
        yield _DESCRIPTOR.pack(address, mss, length, 0, 1 if n else len(pieces), cksum_offset, flags)
        left -= length
        if not ipv6:
            cksum_offset = max(cksum_offset - length, 0)


def _payload(pieces: Sequence[Piece], mss: int, cksum_offset: int) -> Iterator[bytes]:
    starts = [0]
    for _, length in pieces:
        starts.append(starts[-1] + length)
    total = starts[-1]
    # the last place where a segment starts: in the piece that holds it begins what is marked as last
    last_start = (total - 1) // mss * mss
    for n, (address, length) in enumerate(pieces):
        start, end = starts[n], starts[n + 1]
        last_cut = (end - 1) // mss * mss  # of those before the end
        flags = _PAYLOAD | (_HEADER if mss <= SMALL_SEGMENT else 0) | (_ODD if start % mss % 2 else 0)
        count = 1
        if start % mss == 0:
            flags |= _FIRST
        if last_cut > start:
            flags |= _CHOP
        if flags & (_FIRST | _CHOP):
            segment_end = min(last_cut + mss, total)
            count = sum(1 for s in starts[n:-1] if s < segment_end)
        if end > last_start:
            flags |= _LAST
        yield _DESCRIPTOR.pack(address, mss, length, 0, count, cksum_offset, flags)
