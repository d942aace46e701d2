"""What the hardware's own trace says of a run: the time of each frame, by step and direction."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sw.abi.registers import Status
from sw.platform import CYCLE_NS
from tb.ledger.decode import EndpointSetup, Packet, decode
from tb.ledger.receive import Delivery, decode_receive
from tb.ledger.row import LedgerError
from tb.ledger.stages import Stamp
from tb.tap.config import WIRE

Direction = tuple[str, str]
"""Source and target host."""


def times(
    records: npt.NDArray[np.void], setups: dict[int, EndpointSetup], hosts: dict[int, str], marks: Sequence[int]
) -> list[dict[Direction, list[int]]]:
    """Of each span between two `marks` (cycles): the ns that each frame took, by direction.

    Guest to guest: doorbell to completion visible to the receiver. Guest to wire: doorbell to last beat. Wire to
    guest: first beat to completion visible. `hosts` names endpoints. Raises `LedgerError`.
    """
    sends = decode(records, setups)
    received = decode_receive(records)
    found: list[dict[Direction, list[int]]] = [defaultdict(list) for _ in marks[1:]]
    chains: dict[tuple[int, int], list[Packet]] = defaultdict(list)

    def note(source: str, target: str, start: int, end: int) -> None:
        span = bisect_right(marks, end) - 1
        if 0 <= span < len(found):
            found[span][source, target].append((end - start) * CYCLE_NS)

    for send in sends:
        chains[send.endpoint, send.head].append(send)
        if send.status == Status.OK and Stamp.WIRE_LAST in send.stamps:
            note(hosts[send.endpoint], WIRE, send.stamps[Stamp.DOORBELL], send.stamps[Stamp.WIRE_LAST])
    for delivery in received.deliveries:
        end = delivery.stamps.get(Stamp.RX_CPL_VISIBLE)
        if end is None:
            raise LedgerError(f"{delivery}: its completion left but was never visible")
        if delivery.sender is None:
            note(WIRE, hosts[delivery.endpoint], delivery.stamps[Stamp.RX_FIRST], end)
        else:
            sender = _sender(chains.get(delivery.sender, []), delivery)
            note(hosts[sender.endpoint], hosts[delivery.endpoint], sender.stamps[Stamp.DOORBELL], end)
    return found


def _sender(chains: list[Packet], delivery: Delivery) -> Packet:
    """Of the chains with the same 16-bit head, the last one that had begun."""
    begun = [chain for chain in chains if chain.stamps[Stamp.GRANT] <= delivery.stamps[Stamp.RX_LOCAL]]
    if not begun:
        raise LedgerError(f"{delivery}: no chain of its sender {delivery.sender} had begun")
    return begun[-1]


def figures(taken: dict[Direction, list[int]]) -> list[dict[str, Any]]:
    """One span as JSON."""
    rows = []
    for (source, target), frames in sorted(taken.items()):
        low, median, p99 = (int(v) for v in np.percentile(frames, [0, 50, 99], method="inverted_cdf"))
        rows.append(
            {"from": source, "to": target, "frames": len(frames), "min_ns": low, "median_ns": median, "p99_ns": p99}
        )
    return rows
