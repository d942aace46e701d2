"""Registers: values of reset, access policies, holes, front door against back door."""

from __future__ import annotations

from pathlib import Path

from tests.uvm.support import results, run


def test_registers(tmp_path: Path) -> None:
    result = run(tmp_path, "registers")
    assert result.passed, f"{result.tests}; log {result.log}; again: {result.repeat}"
    compared = results(tmp_path)["compared"]
    kinds = {"reset", "doors", "writable bits", "other bits", "stored bits", "kept bits", "cleared bits", "holes", "beside holes",
             "apertures", "dropped writes"}
    assert compared.keys() == kinds, compared
    assert min(compared.values()) > 9, compared
