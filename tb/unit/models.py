"""What each block bench is compiled from, by the folder of the bench in `tb/unit`."""

from __future__ import annotations

from typing import Final

from tb.cosim.toolchain import Recipe, Variant
from tb.unit.blocks import read_blocks

BLOCKS: Final = read_blocks()


def recipe(name: str, variant: Variant = Variant.PLAIN) -> Recipe:
    """What the simulator of the bench `tb/unit/<name>` is made of."""
    return BLOCKS[name].recipe(variant)
