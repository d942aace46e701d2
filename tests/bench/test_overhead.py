"""Ratios of CPU time: of which runs they are, and which of several counts."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from tb.bench import __main__ as bench
from tb.bench.cases import DUPLEX_1514_4G, TX_1514_4G, Case, Measurement
from tb.bench.overhead import COVERAGE, FST, PLAIN, ROUNDS, UNCHECKED, rows
from tb.cosim.toolchain import Variant


def test_each_ratio_is_of_the_best_runs_and_of_the_worst_case() -> None:
    of_tx = {PLAIN: [5.0, 4.0, 6.0], UNCHECKED: [3.0, 2.0, 9.0], COVERAGE: [12.0, 20.0, 16.0], FST: [9.0, 7.0, 6.0]}
    of_duplex = {PLAIN: [10.0], UNCHECKED: [8.0], COVERAGE: [25.0], FST: [50.0]}
    found = rows({(case, way): cpu_s for case, of in ((TX_1514_4G, of_tx), (DUPLEX_1514_4G, of_duplex)) for way, cpu_s in of.items()})
    assert [(row.name, row.value, row.bound) for row in found] == [
        ("verif.ratio.checkers", 2.0, 1.5), ("verif.ratio.coverage", 3.0, None), ("verif.ratio.fst", 5.0, 4.0),
    ]  # fmt: skip
    assert found[2].note == "CPU time FST / plain: tx_1514_4g 1.50, duplex_1514_4g 5.00"


def test_every_way_is_measured_in_turn_on_its_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool, Any]] = []

    def run_case(_: Console, model: Any, case: Case) -> Measurement:
        seen.append((case.name.removesuffix("_unchecked"), case.checkers, model))
        return Measurement(1, 2.0, 1)

    monkeypatch.setattr(bench, "run_case", run_case)
    models: Any = {variant: variant for variant in Variant}
    found = bench.measure_overhead(Console(), models)
    assert found is not None and [row.value for row in found] == [1.0] * 3
    turn = [(True, Variant.PLAIN), (False, Variant.PLAIN), (True, Variant.COVERAGE), (True, Variant.WAVES)]
    assert seen == [(case.name, *way) for case in (TX_1514_4G, DUPLEX_1514_4G) for way in turn * ROUNDS]


def test_a_run_that_fails_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "run_case", lambda *_: None)
    models: Any = dict.fromkeys(Variant)
    assert bench.measure_overhead(Console(), models) is None
