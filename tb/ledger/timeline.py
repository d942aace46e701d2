"""One packet's life as text."""

from __future__ import annotations

from sw.platform import CYCLE_NS
from tb.ledger.row import Row
from tb.ledger.stages import Stamp


def timeline(packet: Row) -> str:
    """A line for each stamp: cycle, time since the packet's first stamp, and since the one before."""
    lines = [f"{packet}: {packet.form}, {packet.frame_bytes} bytes, {packet.status.name}"]
    moments = [(packet.stamps[stamp], str(stamp)) for stamp in Stamp if stamp in packet.stamps]
    if packet.failed_at is not None:
        moments = sorted([*moments, (packet.failed_at, "failed")])
    first = before = moments[0][0] if moments else 0
    for cycle, name in moments:
        lines.append(f"  {cycle:>12}  {(cycle - first) * CYCLE_NS:>8} ns  +{cycle - before:<6} {name}")
        before = cycle
    return "\n".join(lines)
