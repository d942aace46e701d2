"""Functional coverage of a run: what was sent and received, how, and under which circumstances.

`coverage.json`: `{"schema": 1, "points": {name: {"kind": "point" | "cross", "of": [names], "bins": {bin: hits}}}}`. Bins of a
cross are those of its points, joined by `/`. `make cov` adds the files of many runs; `points.py` declares points and crosses.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from cocotb_coverage.coverage import CoverCross, CoverPoint, coverage_db
from pyuvm import uvm_subscriber

from sw.abi.registers import Form, Mode, RxDrop, SendDescriptor, Status
from tb.uvm.items import Item, ReceivedItem, SentItem
from tb.uvm.plan import Plan
from tb.uvm.points import ALIGNMENTS, BUFFERS, DROPPED, GROUPS, PIECES, RECEIVED, SCHEMA, SENT, SIZES, SOURCES, Group

_FAULTS: Final = {
    Status.OK: "none",
    Status.NOT_AUTHORISED: "refused",
    Status.SPOOFED: "refused",
    Status.STALE_DESCRIPTOR: "refused",
    Status.READ_UR: "IOMMU fault",
    Status.READ_CA: "read error",
    Status.READ_POISONED: "read error",
    Status.READ_TIMEOUT: "read error",
}
"""Statuses that are no bad request. Of READ_UR: where no error was injected."""


def size_class(length: int) -> str:
    """Of a frame's bytes, without FCS."""
    return next(name for limit, name in SIZES if length <= limit)


@dataclass(frozen=True)
class Setting:
    """What holds for a whole run."""

    mode: str
    pressure: str

    @classmethod
    def of(cls, plan: Plan) -> Setting:
        """Of a plan's run."""
        config = plan.host_config()
        if config.starvation_permille or config.credit_ph < 8:
            return cls(plan.mode, "starvation")
        return cls(plan.mode, "stalls" if config.link_stall_permille or config.rc_stall_permille else "none")


class _Sent(NamedTuple):
    form: str
    size: str
    alignment: str
    pieces: str
    offload: str
    status: str
    fault: str
    fate: str
    mode: str
    pressure: str


class _Received(NamedTuple):
    source: str
    size: str
    buffers: str
    mode: str
    pressure: str


class _Dropped(NamedTuple):
    reason: str
    mode: str
    pressure: str


def _sampler(group: Group) -> Callable[[Any], None]:
    """A function that samples one record: a point for each of its fields, and crosses of some."""
    points = [
        CoverPoint(f"{group.name}.{field}", xf=lambda record, field=field: getattr(record, field), bins=list(names))
        for field, (names, _) in group.points.items()
    ]
    joined = [
        CoverCross(f"{group.name}.{' x '.join(fields)}", items=[f"{group.name}.{field}" for field in fields]) for fields in group.crosses
    ]

    def sample(record: Any) -> None:
        """All that is to be done the decorators do."""

    found: Callable[[Any], None] = sample
    # a cross reads what its points have just hit: it comes behind them
    for decorator in (*joined, *points):
        found = decorator(found)
    return found


def _fault(item: SentItem) -> str:
    """Of a chain that no bench made fail."""
    if item.status is Status.FETCH_ERROR:
        return "IOMMU fault" if item.mode is Mode.IOMMU else "refused"
    return _FAULTS.get(item.status, "bad request")


class Coverage(uvm_subscriber):
    """Samples what the scoreboard has found out about each packet."""

    def build_phase(self) -> None:
        """Points, empty."""
        self._setting: Setting = self.cdb_get("setting")
        self._sent, self._received, self._dropped = map(_sampler, (SENT, RECEIVED, DROPPED))

    def write(self, tt: Item) -> None:
        """One packet."""
        mode: Mode | None = getattr(tt, "mode", None)
        around = self._setting.mode if mode is None else mode.name.lower(), self._setting.pressure
        match tt:
            case SentItem():
                self._sent(self._of_sent(tt, around))
            case ReceivedItem(drop=None):
                buffers = BUFFERS[min(tt.buffers, 2)]
                self._received(_Received(SOURCES[tt.local], size_class(tt.length), buffers, *around))
            case ReceivedItem(drop=RxDrop() as drop):
                self._dropped(_Dropped(drop.name, *around))

    @staticmethod
    def _of_sent(item: SentItem, around: tuple[str, str]) -> _Sent:
        head = int.from_bytes(item.descriptor[12:16])
        inline = bool(head & SendDescriptor.CONTROL_INLINE_M)
        segmented = bool(item.descriptor) and not inline and not head & SendDescriptor.CONTROL_NO_TSO_M
        offload = "tso" if segmented else "checksum" if head & SendDescriptor.CONTROL_CKSUM_M else "none"
        address = int.from_bytes(item.descriptor[:8])
        alignment = next((name for name in ALIGNMENTS[:-1] if address % int(name) == 0), "odd")
        count = head >> SendDescriptor.CONTROL_RDMA_COUNT_S & 0xFF
        # bad requests have any count
        pieces = next((name for limit, name in PIECES if count <= limit), PIECES[-1][1])
        fate = {(True, True): "both", (True, False): "wire", (False, True): "inside"}.get((item.on_wire, item.inside), "nowhere")
        form = "inline" if inline else "fetched" if item.form is Form.FETCHED else "pushed"
        fault = "read error" if item.injected else _fault(item)
        size = size_class(max(item.lengths, default=0))
        return _Sent(form, size, alignment, pieces, offload, item.status.name, fault, fate, *around)

    def write_file(self, path: Path) -> None:
        """All points and crosses of the run, those without a hit included."""
        points = {}
        for cover in (cover for group in GROUPS for cover in group.covers()):
            item = coverage_db[cover.name]
            cross = len(cover.fields) > 1
            bins = {"/".join(key) if cross else str(key): hits for key, hits in item.detailed_coverage.items()}
            group = cover.name.split(".")[0]
            of = [f"{group}.{field}" for field in cover.fields] if cross else []
            points[cover.name] = {"kind": "cross" if cross else "point", "of": of, "bins": bins}
        path.write_text(json.dumps({"schema": SCHEMA, "points": points}, indent=1) + "\n")
