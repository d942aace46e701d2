"""What functional coverage counts: points with their bins, crosses, and the bins that cannot be hit, each with its reason.

`coverage.py` samples them; `make cov` takes bins, reasons and lines of this file from here.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product
from pathlib import Path
from typing import Final

from sw.abi.registers import Mode, NicControl, RxDrop, Status

SCHEMA: Final = 1
RUN_FILE: Final = "coverage.json"
"""Of a run, in its folder."""
FILE: Final = Path(__file__)
SIZES: Final = ((60, "to 60"), (63, "61 to 63"), (64, "64"), (127, "65 to 127"), (128, "128"), (255, "129 to 255"), (511, "256 to 511"),
                (1023, "512 to 1023"), (1518, "1024 to 1518"), (4095, "1519 to 4095"), (4096, "4096"), (8191, "4097 to 8191"),
                (9018, "8192 to 9018"))
"""Most bytes of a frame without FCS, and the bin's name."""
PIECES: Final = ((1, "1"), (2, "2"), (4, "3 to 4"), (8, "5 to 8"), (12, "9 to 12"))
FORMS: Final = ("inline", "pushed", "fetched")
ALIGNMENTS: Final = ("64", "8", "4", "2", "odd")
OFFLOADS: Final = ("none", "checksum", "tso")
PRESSURES: Final = ("none", "stalls", "starvation")
FATES: Final = ("wire", "inside", "both", "nowhere")
FAULTS: Final = ("none", "bad request", "refused", "IOMMU fault", "read error")
BUFFERS: Final = ("small", "one big", "several big")
SOURCES: Final = ("wire", "sibling")
MODES: Final = tuple(mode.name.lower() for mode in Mode)
STATUSES: Final = tuple(status.name for status in Status)
DROPS: Final = tuple(drop.name for drop in RxDrop)

_SIZE_NAMES: Final = tuple(name for _, name in SIZES)
_PIECE_NAMES: Final = tuple(name for _, name in PIECES)
_ABOVE_INLINE: Final = tuple(
    name for (low, _), (_, name) in pairwise(SIZES) if low >= NicControl.LIMITS_INLINE_MAX_VALUE
)


class PointsError(ValueError):
    """A declaration names a field or a bin that is not there: the message says which."""


@dataclass(frozen=True)
class Cover:
    """A point, or a cross of several."""

    name: str
    """`group.field`, or `group.field x field`."""
    fields: tuple[str, ...]
    bins: tuple[str, ...]
    """Of a cross: those of its points, joined by `/`."""
    impossible: Mapping[str, str]
    """Bins that cannot be hit: why."""
    line: int
    """Of its declaration in `FILE`."""


@dataclass(frozen=True)
class Impossible:
    """Values of fields that never meet, or of one that never comes; it holds for every cross of these fields, and wider ones."""

    why: str
    values: Mapping[str, Sequence[str]]

    def holds(self, values: Mapping[str, str]) -> bool:
        """Is this a combination of them?"""
        return all(name in values and values[name] in those for name, those in self.values.items())


@dataclass(frozen=True)
class Group:
    """Points that are sampled together."""

    name: str
    points: Mapping[str, tuple[tuple[str, ...], int]]
    """By field: bins, and the line that declares them."""
    crosses: Mapping[tuple[str, ...], int]
    impossible: tuple[Impossible, ...] = field(default=())

    def covers(self) -> list[Cover]:
        """All points, then all crosses. Raises `PointsError`."""
        for rule in self.impossible:
            for name, values in rule.values.items():
                if name not in self.points or (strange := sorted({*values} - {*self.points[name][0]})):
                    raise PointsError(f"{self.name}: impossible {name} {strange if name in self.points else ''}: no such bin")
        declared: dict[tuple[str, ...], int] = {(name,): line for name, (_, line) in self.points.items()}
        declared |= self.crosses
        return [self._cover(fields, line) for fields, line in declared.items()]

    def _cover(self, fields: tuple[str, ...], line: int) -> Cover:
        impossible = {}
        bins = []
        for values in product(*(self.points[name][0] for name in fields)):
            bins.append("/".join(values))
            met = dict(zip(fields, values, strict=True))
            if (rule := next((rule for rule in self.impossible if rule.holds(met)), None)) is not None:
                impossible[bins[-1]] = rule.why
        return Cover(f"{self.name}.{' x '.join(fields)}", fields, tuple(bins), impossible, line)


def _line() -> int:
    """Where the caller of this function's caller stands."""
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None and frame.f_back.f_back is not None
    return frame.f_back.f_back.f_lineno


def _point(name: str, bins: Sequence[str]) -> tuple[str, tuple[tuple[str, ...], int]]:
    return name, (tuple(bins), _line())


def _cross(*fields: str) -> tuple[tuple[str, ...], int]:
    return fields, _line()


def _never(why: str, **values: Sequence[str]) -> Impossible:
    return Impossible(why, values)


SENT: Final = Group(
    "sent",
    dict([
        _point("form", FORMS),
        _point("size", _SIZE_NAMES),
        _point("alignment", ALIGNMENTS),
        _point("pieces", _PIECE_NAMES),
        _point("offload", OFFLOADS),
        _point("status", STATUSES),
        _point("fault", FAULTS),
        _point("fate", FATES),
        _point("mode", MODES),
        _point("pressure", PRESSURES),
    ]),
    dict([
        _cross("form", "size"),
        _cross("form", "pieces"),
        _cross("form", "alignment"),
        _cross("form", "offload"),
        _cross("form", "status"),
        _cross("form", "fault"),
        _cross("form", "mode"),
        _cross("form", "pressure"),
        _cross("fault", "mode"),
        _cross("fault", "pressure"),
        _cross("fate", "size"),
        _cross("offload", "fate"),
    ]),
    (
        _never("an inline frame's flag excludes TSO", form=["inline"], offload=["tso"]),
        _never("longer than an inline frame may be", form=["inline"], size=_ABOVE_INLINE),
        _never("an inline frame has no address: its field is 0", form=["inline"], alignment=ALIGNMENTS[1:]),
        _never("slots of an inline frame: 60 bytes, the shortest that guests send, take 5, and the hostile one leaves out one",
               form=["inline"], pieces=_PIECE_NAMES[:2]),
        _never("an inline frame comes with its request: no address is checked, nothing is read", form=["inline"],
               status=["NOT_AUTHORISED", "READ_UR", "READ_CA", "READ_POISONED", "READ_TIMEOUT", "FETCH_ERROR", "STALE_DESCRIPTOR"]),
        _never("an inline frame comes with its request: nothing is read", form=["inline"], fault=["IOMMU fault", "read error"]),
        _never("only descriptors that the NIC fetches can fail to come or be stale", form=["pushed"],
               status=["FETCH_ERROR", "STALE_DESCRIPTOR"]),
        _never("VALIDATED takes fetched rings alone: no guest may write them", mode=["validated"], form=["inline", "pushed"]),
        _never("only mode iommu has a requester ID and tables of its own for an endpoint", fault=["IOMMU fault"],
               mode=["native", "windows", "validated"]),
        _never("the owner of a NATIVE card is trusted", fault=["refused"], mode=["native"]),
        _never("the owner of a NATIVE card is trusted, and the hypervisor writes no bad descriptor into a VALIDATED ring",
               fault=["bad request"], mode=["native", "validated"]),
        _never("no frame was made of it: its length is none", fate=["nowhere"], size=_SIZE_NAMES[1:]),
        _never("no sequence drops completions: the IOMMU's drain and an endpoint's close wait for every read;"
               " tests/system/sim_offload.py does", status=["READ_TIMEOUT"]),
    ),
)
RECEIVED: Final = Group(
    "received",
    dict([
        _point("source", SOURCES),
        _point("size", _SIZE_NAMES),
        _point("buffers", BUFFERS),
        _point("mode", MODES),
        _point("pressure", PRESSURES),
    ]),
    dict([
        _cross("source", "buffers"),
        _cross("source", "size"),
        _cross("buffers", "mode"),
        _cross("buffers", "pressure"),
    ]),
)
DROPPED: Final = Group(
    "dropped",
    dict([
        _point("reason", DROPS),
        _point("mode", MODES),
        _point("pressure", PRESSURES),
    ]),
    dict([
        _cross("reason", "mode"),
        _cross("reason", "pressure"),
    ]),
    (
        _never("the owner of a NATIVE card is trusted, and the hypervisor writes VALIDATED rings of buffers", reason=["REFUSED"],
               mode=["native", "validated"]),
    ),
)
GROUPS: Final = (SENT, RECEIVED, DROPPED)
