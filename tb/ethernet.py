"""Frames as the line carries them: padding and frame check sequence (IEEE 802.3, 3.2.7 to 3.2.9)."""

from __future__ import annotations

import zlib
from typing import Final

MIN_FRAME: Final = 60
"""Shortest frame that a sender may put on the line, bytes without FCS."""
FCS_BYTES: Final = 4


def with_fcs(frame: bytes) -> bytes:
    """The frame as long as it is, followed by its FCS."""
    return frame + zlib.crc32(frame).to_bytes(FCS_BYTES, "little")


def on_line(frame: bytes) -> bytes:
    """The frame padded with zeros to the shortest length, followed by its FCS."""
    return with_fcs(frame.ljust(MIN_FRAME, b"\0"))


def without_fcs(line: bytes) -> bytes:
    """What came before the FCS. Raises `ValueError` when the FCS is wrong."""
    frame = line[:-FCS_BYTES]
    if with_fcs(frame) != line:
        raise ValueError(f"FCS of a frame of {len(frame)} bytes is {line[-FCS_BYTES:].hex()}, "
                         f"{zlib.crc32(frame).to_bytes(FCS_BYTES, 'little').hex()} is right")
    return frame
