"""Packed structures of the RTL as integers: first member in the highest bits, as SystemVerilog packs them."""

from __future__ import annotations


class Packed:
    """`Packed("last:1 half:1 data:64")`: names and widths in bits."""

    def __init__(self, members: str) -> None:
        self._widths = {name: int(width) for name, width in (member.split(":") for member in members.split())}
        self.bits = sum(self._widths.values())

    def pack(self, **values: int) -> int:
        """Members that are not named are 0. Raises `ValueError` for one that is unknown or does not fit."""
        if unknown := values.keys() - self._widths:
            raise ValueError(f"no members {sorted(unknown)}")
        word = 0
        for name, width in self._widths.items():
            value = int(values.get(name, 0))
            if not 0 <= value < 1 << width:
                raise ValueError(f"{name}: {value:#x} does not fit in {width} bits")
            word = word << width | value
        return word

    def unpack(self, word: int) -> dict[str, int]:
        values = {}
        for name, width in reversed(self._widths.items()):
            values[name] = word & (1 << width) - 1
            word >>= width
        return values


def lanes(be: int) -> int:
    """Bits of a DW whose bytes are enabled."""
    return sum(0xFF << 8 * n for n in range(4) if be >> n & 1)
