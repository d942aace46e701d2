"""Read captures to be replayed. A file that cannot be replayed is refused with its name, frame number and limit."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Final

from scapy.error import Scapy_Exception
from scapy.utils import RawPcapReader

from sw.abi.registers import NicControl

SHIPPED: Final = Path(__file__).parent / "data" / "capture.pcap.gz"
MIN_FRAME: Final = 14
"""Bytes of an Ethernet header; the MAC pads to 60."""
MAX_FRAME: Final = NicControl.LIMITS_MAX_FRAME_VALUE
"""Longest frame, bytes without FCS."""
LINKTYPE_ETHERNET: Final = 1


class CaptureError(ValueError):
    """The capture cannot be replayed; the message names file, frame and limit."""


def load(path: Path) -> list[bytes]:
    """The frames of a pcap or pcapng file (gzip allowed), in order, without FCS. Frames are numbered from 1."""
    try:
        with RawPcapReader(str(path)) as reader:
            records = list(reader)
            linktype = getattr(reader, "linktype", None)
    except (OSError, EOFError, zlib.error, Scapy_Exception) as error:
        raise CaptureError(f"PCAP={path}: not a readable pcap or pcapng file: {error}") from error
    frames = []
    for number, (data, meta) in enumerate(records, 1):
        kind = getattr(meta, "linktype", linktype)
        if kind != LINKTYPE_ETHERNET:
            raise CaptureError(f"PCAP={path}: frame {number} has link type {kind}, only Ethernet (1) can be sent")
        if len(data) != meta.wirelen:
            raise CaptureError(f"PCAP={path}: frame {number} is cut: {len(data)} of its {meta.wirelen} bytes are there")
        frames.append(bytes(data))
    if not frames:
        raise CaptureError(f"PCAP={path}: no frames in it")
    bad = [n for n, frame in enumerate(frames, 1) if not MIN_FRAME <= len(frame) <= MAX_FRAME]
    if bad:
        raise CaptureError(
            f"PCAP={path}: frame {bad[0]} has {len(frames[bad[0] - 1])} bytes, limits are {MIN_FRAME} to {MAX_FRAME}"
            f" without FCS ({len(bad)} such of {len(frames)} frames)"
        )
    return frames


def share(frames: list[bytes], guests: int) -> list[list[bytes]]:
    """Frame i belongs to guest i modulo `guests`."""
    return [frames[g::guests] for g in range(guests)]
