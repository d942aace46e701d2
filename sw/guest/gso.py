"""Segmentation in software: what a NIC with TSO does, for those who have none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sw.guest.checksum import insert_checksum, ones_sum, pseudo_sum
from sw.guest.headers import tcp_headers

MIN_MSS: Final = 88
"""Smaller segments are refused, for one packet would become very many. Linux: `TCP_MIN_MSS`."""

_LENGTH: Final = 2
_IDENTIFICATION: Final = 4
_HEADER_CHECKSUM: Final = 10
_PAYLOAD_LENGTH: Final = 4
_SEQUENCE: Final = 4
_FLAGS: Final = 13
_TCP_CHECKSUM: Final = 16
_FIN_PSH: Final = 0x09
_CWR: Final = 0x80


def segment(frame: bytes, mss: int) -> Iterator[bytes]:
    """Cut one big TCP packet into frames of `mss` payload bytes, all checksums right.

    IPv4 identifications count up; FIN and PSH are in the last segment only, CWR in the first. Raises `ValueError` for a
    frame that is no TCP packet with payload.
    """
    found = tcp_headers(frame)
    if found is None or mss < 1:
        raise ValueError(f"a frame of {len(frame)} bytes is no TCP packet to be cut at {mss}")
    transport, headers = found
    at, tcp = transport.network, transport.start
    sequence = int.from_bytes(frame[tcp + _SEQUENCE : tcp + _SEQUENCE + 4], "big")
    identification = int.from_bytes(frame[at + _IDENTIFICATION : at + _IDENTIFICATION + 2], "big")
    for number, first in enumerate(range(headers, len(frame), mss)):
        head, payload = bytearray(frame[:headers]), frame[first : first + mss]
        length = headers - tcp + len(payload)
        if transport.ipv6:
            _put16(head, at + _PAYLOAD_LENGTH, length)
        else:
            _put16(head, at + _LENGTH, length + tcp - at)
            _put16(head, at + _IDENTIFICATION, identification + number)
            _put16(head, at + _HEADER_CHECKSUM, 0)
            _put16(head, at + _HEADER_CHECKSUM, ~ones_sum(bytes(head[at:tcp])))
        head[tcp + _SEQUENCE : tcp + _SEQUENCE + 4] = (sequence + first - headers & 0xFFFF_FFFF).to_bytes(4, "big")
        if first + mss < len(frame):
            head[tcp + _FLAGS] &= ~_FIN_PSH & 0xFF
        if number:
            head[tcp + _FLAGS] &= ~_CWR & 0xFF
        one = bytes(head) + payload
        _put16(head, tcp + _TCP_CHECKSUM, pseudo_sum(one, transport._replace(end=len(one))))
        yield insert_checksum(bytes(head) + payload, tcp, tcp + _TCP_CHECKSUM)


def _put16(data: bytearray, at: int, value: int) -> None:
    data[at : at + 2] = (value & 0xFFFF).to_bytes(2, "big")
