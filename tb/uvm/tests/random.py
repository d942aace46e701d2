"""One run of a plan, or of a constraint file and a seed."""

from __future__ import annotations

import pyuvm

from tb.uvm.tests.plan_test import PlanTest


@pyuvm.test()
class RandomTest(PlanTest):
    """`PlanTest` as it is."""
