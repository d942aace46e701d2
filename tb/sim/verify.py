"""Every frame once, bit-exact, in its guest's order, with a right FCS: judged from the pcapng as scapy reads it."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from scapy.utils import RawPcapNgReader

from tb.ethernet import on_line

FCS_BYTES: Final = 4
MIN_WIRE: Final = 60
"""Bytes of a frame without FCS after padding (IEEE 802.3, 64 with FCS)."""
NS_PER_S: Final = 10**9
MAX_FINDINGS: Final = 5
"""Findings kept for each sender: the first ones tell."""


@dataclass
class SenderCheck:
    """What the wire showed of one sender."""

    sent: int = 0
    sent_bytes: int = 0
    verified: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return self.verified == self.sent and not self.findings


def read_wire(path: Path) -> list[tuple[int, bytes]]:
    """Time stamp (ns) and frame with FCS of each packet of a pcapng, read by scapy."""
    with RawPcapNgReader(str(path)) as reader:
        records: list[tuple[bytes, Any]] = list(reader)
    return [(((meta.tshigh << 32) + meta.tslow) * NS_PER_S // meta.tsresol, bytes(data)) for data, meta in records]


def by_sender(frames: Sequence[bytes], senders: Sequence[int]) -> dict[int, list[bytes]]:
    """Frames by the endpoint that the trace names for each, in order. Raises `ValueError` when the counts differ."""
    if len(frames) != len(senders):
        raise ValueError(f"{len(frames)} frames left the wire, but the trace has {len(senders)} WIRE_FIRST events")
    found: dict[int, list[bytes]] = {}
    for frame, sender in zip(frames, senders, strict=True):
        found.setdefault(sender, []).append(frame)
    return found


def check_sender(sent: Sequence[bytes], wire: Sequence[bytes]) -> SenderCheck:
    """Compare what one sender handed over with what left in its name, frame by frame."""
    check = SenderCheck(sent=len(sent), sent_bytes=sum(map(len, sent)))
    for number, (frame, seen) in enumerate(zip_longest(sent, wire)):
        finding = _difference(frame, seen)
        if finding is None:
            check.verified += 1
        elif len(check.findings) < MAX_FINDINGS:
            check.findings.append(f"frame {number}: {finding}")
    return check


def check_among(sent: Sequence[bytes], wire: Sequence[bytes]) -> SenderCheck:
    """The same where several senders share an endpoint: each frame, in order, somewhere among what left."""
    check = SenderCheck(sent=len(sent), sent_bytes=sum(map(len, sent)))
    left = iter(wire)
    for number, frame in enumerate(sent):
        if not any(_difference(frame, seen) is None for seen in left):
            check.findings.append(f"frame {number}: did not leave the wire after the one before it")
            break
        check.verified += 1
    return check


def check_together(shares: Sequence[Sequence[bytes]], wire: Sequence[bytes]) -> list[str]:
    """Findings on an endpoint that several senders share: what left is what all of them sent, each frame once."""
    due = Counter(on_line(frame) for sent in shares for frame in sent)
    left = Counter(wire)
    lost, extra = (due - left).total(), (left - due).total()
    return [f"{lost} frames never left, {extra} left that nobody sent"] if lost or extra else []


def _difference(frame: bytes | None, seen: bytes | None) -> str | None:
    if seen is None:
        return "never left the wire"
    if frame is None:
        return f"left the wire ({len(seen)} bytes) and was never sent"
    body, fcs = seen[:-FCS_BYTES], seen[-FCS_BYTES:]
    expected = frame.ljust(MIN_WIRE, b"\0")
    if len(body) != len(expected):
        return f"{len(body)} bytes on the wire, {len(expected)} expected"
    if body != expected:
        at = next(n for n, (a, b) in enumerate(zip(body, expected, strict=True)) if a != b)
        return f"byte {at} is {body[at]:#04x}, {expected[at]:#04x} was sent"
    if zlib.crc32(body).to_bytes(FCS_BYTES, "little") != fcs:
        return f"FCS is {fcs.hex()}, {zlib.crc32(body).to_bytes(FCS_BYTES, 'little').hex()} is right"
    return None


def check_all(
    sent: Mapping[int, Sequence[bytes]], frames: Sequence[bytes], senders: Sequence[int]
) -> dict[int, SenderCheck]:
    """One check for each sender, by endpoint; a sender that sent nothing and was seen has a finding."""
    wire = by_sender(frames, senders)
    return {e: check_sender(sent.get(e, []), wire.get(e, [])) for e in sorted(sent.keys() | wire.keys())}
