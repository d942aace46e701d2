"""The simulators that tests run on, by name."""

from __future__ import annotations

from typing import Final

from tb.cosim.toolchain import Recipe, Variant, machine
from tb.unit import models as blocks

MACHINE: Final = "machine"
NAMES: Final = (MACHINE, *blocks.BLOCKS)


def recipe(name: str, variant: Variant) -> Recipe:
    """What the simulator `name` is made of: the whole machine, or a block of `tb/unit`."""
    return machine(variant=variant) if name == MACHINE else blocks.recipe(name, variant)
