"""The views' file: what it may say, and what is told when it says something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tb.cosim.toolchain import ROOT
from tb.waves.view import ViewError, read_views

GOOD = """
[group.one]
title = "one"
stages = ["authorise"]
tlp = ["nic_tx"]
lanes = ["guests"]
signals = [{ path = "u_nic.head", format = "dec" }]
[view.all]
story = "everything"
groups = ["one"]
"""


def test_the_shipped_views_are_the_stories_that_the_docs_tell() -> None:
    page = (ROOT / "docs/waves.md").read_text()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| `")]
    told = {cells[0].strip("`"): cells[2].split(", ") for cells in table if len(cells) == 3}
    views = read_views()
    assert {name: [group.title for group in view.groups] for name, view in views.items()} == told
    assert list(views) == list(told) and next(iter(views)) == "send"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"authorise"]', '"authorize"]', "group.one.stages: 'authorize' is none of"),
        ('"guests"', '"guest"', "group.one.lanes: 'guest' is none of descriptors, errors, guests, interrupts"),
        ('"nic_tx"', '"nic"', "group.one.tlp: 'nic' is none of"),
        ('"dec"', '"octal"', "group.one.signals.format: 'octal' is none of"),
        ('title = "one"', "", "group.one needs title, a str"),
        ('path = "u_nic.head", ', "", "group.one.signals needs path, a str"),
        ('groups = ["one"]', 'groups = ["two"]', "view.all.groups: 'two' is none of one"),
        ("[view.all]", "[other.all]", r"it has no \[view.NAME\]"),
        ("[view.all]", "[view.all", "line 8"),
    ],
)
def test_a_mistake_is_told_with_file_and_entry(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = tmp_path / "views.toml"
    path.write_text(GOOD)
    assert read_views(path)["all"].groups[0].signals[0].format == "dec"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(ViewError, match=f"views.toml: .*{told}"):
        read_views(path)
