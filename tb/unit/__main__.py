"""`make unit BLOCK=fetch SEED=3 WAVES=1`: one block's bench with one seed. Exit 1 when a test fails."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Final

from tb.cosim.toolchain import ROOT, ToolchainError, Variant, build
from tb.unit.blocks import Block, BlockError
from tb.unit.models import BLOCKS

MAX_SEED: Final = 2**31 - 1


def parse(environment: Mapping[str, str]) -> tuple[Block, int, bool]:
    """Block, seed, waves from BLOCK, SEED, WAVES. Raises `BlockError` that names the field and its limits."""
    name, seed, waves = (environment.get(key, default) for key, default in (("BLOCK", ""), ("SEED", "1"), ("WAVES", "0")))
    if name not in BLOCKS:
        raise BlockError(f"BLOCK={name}: it must be one of {', '.join(sorted(BLOCKS))}")
    if not seed.isdecimal() or int(seed) > MAX_SEED:
        raise BlockError(f"SEED={seed}: it must be a number from 0 to {MAX_SEED}")
    if waves not in ("0", "1"):
        raise BlockError(f"WAVES={waves}: it must be 0 or 1")
    return BLOCKS[name], int(seed), waves == "1"


def main(environment: Mapping[str, str] = os.environ) -> int:
    try:
        block, seed, waves = parse(environment)
        model = build(block.recipe(Variant.WAVES if waves else Variant.PLAIN))
    except (BlockError, ToolchainError) as error:
        print(error, file=sys.stderr)
        return 2
    summary: dict[str, str | None] = {}
    passed = True
    for test in block.tests:
        result = block.run(model, test, seed)
        passed &= result.passed
        summary |= result.tests or {test: f"no result: see {result.log}"}
        print(f"{test}: {sum(why is None for why in result.tests.values())} of {len(result.tests)} passed; {result.log}")
        if waves:
            print(f"waves: {result.log.parent / 'waves.fst'}")
    out = ROOT / "build/unit/summary.json"
    command = block.command(seed, waves=waves)
    out.write_text(json.dumps({"command": command, "passed": passed, "tests": summary}, indent=2) + "\n")
    if not passed:
        print(f"again: {command}", file=sys.stderr)
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
