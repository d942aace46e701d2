"""Functional coverage of a run: what was sent and received, how, and under which circumstances.

`coverage.json`: `{"schema": 1, "points": {name: {"kind": "point" | "cross", "of": [names], "bins": {bin: hits}}}}`. Bins of a
cross are those of its points, joined by `/`. Files of many runs are merged by adding hits of equal names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from cocotb_coverage.coverage import CoverCross, CoverPoint, coverage_db
from pyuvm import uvm_subscriber

from sw.abi.registers import Form, Mode, RxDrop, SendDescriptor, Status
from tb.uvm.items import Item, ReceivedItem, SentItem
from tb.uvm.plan import Plan

SCHEMA: Final = 1
SIZES: Final = ((60, "to 60"), (63, "61 to 63"), (64, "64"), (127, "65 to 127"), (128, "128"), (255, "129 to 255"), (511, "256 to 511"),
                (1023, "512 to 1023"), (1518, "1024 to 1518"), (4095, "1519 to 4095"), (4096, "4096"), (8191, "4097 to 8191"),
                (9018, "8192 to 9018"))
PIECES: Final = ((1, "1"), (2, "2"), (4, "3 to 4"), (8, "5 to 8"), (12, "9 to 12"))
FORMS: Final = ("inline", "pushed", "fetched")
ALIGNMENTS: Final = ("64", "8", "4", "2", "odd")
OFFLOADS: Final = ("none", "checksum", "tso")
PRESSURES: Final = ("none", "stalls", "starvation")
FATES: Final = ("wire", "inside", "both", "nowhere")
BUFFERS: Final = ("small", "one big", "several big")
SOURCES: Final = ("wire", "sibling")
MODES: Final = tuple(mode.name.lower() for mode in Mode)
STATUSES: Final = tuple(status.name for status in Status)
DROPS: Final = tuple(drop.name for drop in RxDrop)


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


def _sampler(group: str, bins: dict[str, Sequence[str]], crosses: Sequence[tuple[str, ...]]) -> Callable[[Any], None]:
    """A function that samples one record: a point for each of its fields, and crosses of some."""
    points = [
        CoverPoint(f"{group}.{field}", xf=lambda record, field=field: getattr(record, field), bins=list(names))
        for field, names in bins.items()
    ]
    joined = [CoverCross(f"{group}.{' x '.join(cross)}", items=[f"{group}.{field}" for field in cross]) for cross in crosses]

    def sample(record: Any) -> None:
        """All that is to be done the decorators do."""

    found: Callable[[Any], None] = sample
    # a cross reads what its points have just hit: it comes behind them
    for decorator in (*joined, *points):
        found = decorator(found)
    return found


class Coverage(uvm_subscriber):
    """Samples what the scoreboard has found out about each packet."""

    def build_phase(self) -> None:
        """Points, empty."""
        self._setting: Setting = self.cdb_get("setting")
        around: dict[str, Sequence[str]] = {"mode": MODES, "pressure": PRESSURES}
        self._sent = _sampler(
            "sent",
            {"form": FORMS, "size": [name for _, name in SIZES], "alignment": ALIGNMENTS, "pieces": [name for _, name in PIECES],
             "offload": OFFLOADS, "status": STATUSES, "fate": FATES, **around},
            [("form", "size"), ("form", "pieces"), ("form", "alignment"), ("form", "offload"), ("form", "status"), ("form", "mode"),
             ("form", "pressure"), ("fate", "size"), ("offload", "fate")],
        )
        self._received = _sampler(
            "received",
            {"source": SOURCES, "size": [name for _, name in SIZES], "buffers": BUFFERS, **around},
            [("source", "buffers"), ("source", "size"), ("buffers", "mode"), ("buffers", "pressure")],
        )
        self._dropped = _sampler("dropped", {"reason": DROPS, **around}, [("reason", "mode"), ("reason", "pressure")])

    def write(self, tt: Item) -> None:
        """One packet."""
        around = self._setting.mode, self._setting.pressure
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
        return _Sent(form, size_class(max(item.lengths, default=0)), alignment, pieces, offload, item.status.name, fate, *around)

    def write_file(self, path: Path) -> None:
        """All points and crosses of the run, those without a hit included."""
        points = {}
        for name, item in sorted(coverage_db.items()):
            if isinstance(item, (CoverPoint, CoverCross)):
                cross = isinstance(item, CoverCross)
                group = name.split(".")[0]
                bins = {"/".join(key) if cross else str(key): hits for key, hits in item.detailed_coverage.items()}
                of = [f"{group}.{field}" for field in name.split(".", 1)[1].split(" x ")] if cross else []
                points[name] = {"kind": "cross" if cross else "point", "of": of, "bins": bins}
        path.write_text(json.dumps({"schema": SCHEMA, "points": points}, indent=1) + "\n")
