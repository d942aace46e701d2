"""A TLP's header as one line of text. Fields as in PCI Express Base Specification 3.0, section 2.2."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from tb.waves.dump import PERIOD_PS, Beat
from tb.waves.lane import Change

_NAMES: Final = {
    0x00: "MRd32", 0x20: "MRd64", 0x40: "MWr32", 0x60: "MWr64",
    0x04: "CfgRd0", 0x44: "CfgWr0", 0x0A: "Cpl", 0x4A: "CplD",
}  # fmt: skip
_COLOURS: Final = {"MRd": "blue4", "MWr": "darkgreen", "Cpl": "purple4", "Cfg": "gray30"}
_STATUS: Final = {0: "SC", 1: "UR", 2: "CRS", 4: "CA"}
_BAD: Final = "red4"


def tlp_text(head: int, second: int) -> tuple[str, str]:
    """Text and colour of the TLP whose first two beats are these: header DW 0 in bits 31:0, as in `tlp_beat_t`."""
    dw0, dw1 = head & 0xFFFF_FFFF, head >> 32
    dw2, dw3 = second & 0xFFFF_FFFF, second >> 32
    name = _NAMES.get(dw0 >> 24)
    if name is None:
        return f"TLP {dw0 >> 24:02x}?", _BAD
    size = ((dw0 & 0x3FF) or 1024) * 4
    colour = _COLOURS[name[:3]]
    if name.startswith("Cpl"):
        status = _STATUS.get(dw1 >> 13 & 7, "?")
        text = f"{name} {status} for {_function(dw2 >> 16)} tag {dw2 >> 8 & 0xFF}"
        if name == "CplD":
            text += f" {size} B of {(dw1 & 0xFFF) or 4096} left"
        return text, colour if status == "SC" else _BAD
    source = f"{_function(dw1 >> 16)} tag {dw1 >> 8 & 0xFF}"
    if name.startswith("Cfg"):
        return f"{name} {_function(dw2 >> 16)} reg 0x{dw2 & 0xFFC:x} by {source}", colour
    address = dw2 << 32 | dw3 & ~3 if name.endswith("64") else dw2 & ~3
    enables = f" be {dw1 & 0xF:x}/{dw1 >> 4 & 0xF:x}"
    return f"{name} {size} B @0x{address:x}{enables} by {source}", colour


def tlp_changes(beats: Iterable[Beat]) -> Iterator[Change]:
    """One text from each TLP's first beat to the end of its last."""
    inside: list[Beat] = []
    for beat in beats:
        inside.append(beat)
        if beat.last:
            text, colour = tlp_text(inside[0].data, inside[1].data if len(inside) > 1 else 0)
            yield Change(inside[0].start_ps, beat.start_ps + PERIOD_PS, text, colour)
            inside = []


def _function(rid: int) -> str:
    """Bus, device, function as Linux writes them."""
    return f"{rid >> 8:02x}:{rid >> 3 & 0x1F:02x}.{rid & 7}"
