"""Write frames as pcapng: nanosecond stamps of simulated time, one interface per wire."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from pcapng import FileWriter
from pcapng.blocks import EnhancedPacket, InterfaceDescription, SectionHeader

WIRE_BITS_PER_S: Final = 10_000_000_000
FCS_BYTES: Final = 4
SNAPLEN: Final = 65535


def write(
    path: Path, wires: Sequence[str], frames: Iterable[tuple[int, int, bytes]], *, fcs_bytes: int = FCS_BYTES
) -> int:
    """Write `(wire, ns, frame with FCS)` in the order given; returns the number of frames.

    `wire` counts the names in `wires`; `ns` is the simulated time of the frame's first beat. `fcs_bytes` 0: the frames
    have none.
    """
    section = SectionHeader(options={"shb_userappl": "Myrmidon"})
    interfaces = [
        section.new_member(
            InterfaceDescription,
            link_type=1,
            snaplen=SNAPLEN,
            options={"if_name": name, "if_speed": WIRE_BITS_PER_S, "if_tsresol": b"\x09", "if_fcslen": fcs_bytes},
        )
        for name in wires
    ]
    count = 0
    with path.open("wb") as stream:
        writer = FileWriter(stream, section)
        for wire, ns, frame in frames:
            block = section.new_member(EnhancedPacket, interface_id=interfaces[wire].interface_id)
            block.timestamp_high, block.timestamp_low = ns >> 32, ns & 0xFFFF_FFFF
            block.packet_len = len(frame)
            block.packet_data = frame
            writer.write_block(block)
            count += 1
    return count
