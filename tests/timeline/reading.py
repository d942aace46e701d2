"""The ledger read a second time, by the words of docs/ledger.md and from the raw records alone: plain loops, no tb.ledger.

Good for short traces: it looks for every event from the start, and indices must not wrap.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sw.abi.registers import TraceKind

K = TraceKind
CYCLE_NS = 4
COMPLETION_BYTES = 16

TO_WIRE = [("to wire", K.WIRE_FIRST), ("on wire", K.WIRE_LAST), ("to completion", K.CPL_OUT)]
READ = [("authorise", K.AUTHORISED), ("issue read", K.READ_OUT), ("payload read", K.DATA_IN), *TO_WIRE]
VISIBLE = ("completion visible", K.CPL_VISIBLE)
STAGES = {
    "inline": [("doorbell to grant", K.GRANT), ("authorise", K.AUTHORISED), ("copy", K.DATA_IN), *TO_WIRE, VISIBLE],
    "pushed": [("doorbell to grant", K.GRANT), *READ, VISIBLE],
    "fetched": [
        ("doorbell to fetch", K.FETCH_OUT),
        ("descriptor read", K.FETCH_BACK),
        ("descriptor to grant", K.GRANT),
        *READ,
        VISIBLE,
    ],
}
"""Of each form: its stages and the event that ends each; the first one begins at the doorbell."""
NIC_STAGES = {
    "doorbell to fetch", "doorbell to grant", "descriptor to grant", "authorise", "copy", "issue read", "to wire",
}  # fmt: skip
NAMES = {name for stages in STAGES.values() for name, _ in stages}


@dataclass
class Sent:
    """One packet as this reading finds it."""

    guest: str
    number: int
    form: str
    size: int
    stages: list[tuple[str, int, int]] = field(default_factory=list)
    """(name, start, end) in ns."""

    @property
    def label(self) -> str:
        return f"{self.guest} send {self.number}"

    @property
    def start(self) -> int:
        return self.stages[0][1]

    @property
    def total(self) -> int:
        return self.stages[-1][2] - self.stages[0][1]

    @property
    def nic(self) -> int:
        return sum(end - start for name, start, end in self.stages if name in NIC_STAGES)

    def bytes_between(self, start: int, end: int) -> int:
        """Of its bytes, evenly spread over its time on the wire, those that end in (start, end] ns."""
        first, last = next((a, b) for name, a, b in self.stages if name == "on wire")
        size = self.size
        return sum(start * size < first * size + k * (last - first) <= end * size for k in range(1, size + 1))


@dataclass
class Reading:
    """All of a run of `make sim`."""

    sent: list[Sent] = field(default_factory=list)
    refused: list[tuple[int, int, int]] = field(default_factory=list)
    """(endpoint, ns, status) of what nobody in the summary sent."""


def read(folder: Path, summary: dict[str, Any]) -> Reading:
    records = [tuple(map(int, r)) for r in np.load(folder / "trace.npy").tolist()]
    by_kind = {kind: [r for r in records if r[1] == kind] for kind in TraceKind}
    names = {guest["endpoint"]: guest["name"] for guest in summary["by_guest"]}
    visible: dict[int, list[int]] = {}
    for cycle, _, _, tag, _ in by_kind[K.CPL_VISIBLE]:
        visible.setdefault(tag, []).append(cycle)
    found = Reading()
    for endpoint, name in names.items():
        setup = summary["endpoints"][str(endpoint)]
        own = {kind: [r for r in by_kind[kind] if r[2] == endpoint] for kind in TraceKind}
        grants = own[K.GRANT]
        # chains complete in their order, each completion write may tell of several
        completions = [(c, info >> 24) for c, _, _, _, info in own[K.CPL_OUT] for _ in range(info & 0xFFFF)]
        for number, ((granted, _, _, head, _), (out, tag)) in enumerate(zip(grants, completions, strict=True)):
            moments = {
                kind: next(r[0] for r in own[kind] if r[3] == head)
                for kind in (K.AUTHORISED, K.READ_OUT, K.DATA_IN, K.WIRE_FIRST, K.WIRE_LAST)
                if any(r[3] == head for r in own[kind])
            }
            moments |= {K.GRANT: granted, K.CPL_OUT: out, K.CPL_VISIBLE: next(c for c in visible[tag] if c >= out)}
            after = grants[number + 1][3] if number + 1 < len(grants) else own[K.DOORBELL][-1][3]
            if setup["form"] == "FETCHED":
                form = "fetched"
                back, first, count = max(
                    (r[0], r[3], r[4])
                    for r in own[K.FETCH_BACK]
                    if r[0] <= granted and r[3] < after and r[3] + r[4] > head
                )
                moments[K.FETCH_BACK] = back
                moments[K.FETCH_OUT] = max(r[0] for r in own[K.FETCH_OUT] if r[3:] == (first, count) and r[0] < back)
                last = min(after, first + count)
                start = next(r[0] for r in own[K.DOORBELL] if r[3] >= last)
            else:
                form = "pushed" if K.READ_OUT in moments else "inline"
                slots = setup["send_entries"]
                start = max(
                    r[0]
                    for r in own[K.DOORBELL]
                    if r[0] <= granted and (head - r[3]) % slots < r[4]
                )
            packet = Sent(name, number, form, sum(r[4] for r in own[K.WIRE_LAST] if r[3] == head))
            for stage, kind in STAGES[form]:
                packet.stages.append((stage, start * CYCLE_NS, moments[kind] * CYCLE_NS))
                start = moments[kind]
            found.sent.append(packet)
    found.refused = [(r[2], r[0] * CYCLE_NS, r[4]) for r in by_kind[K.FAILED] if r[2] not in names]
    return found
