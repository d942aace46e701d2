"""Open GTKWave, or say how."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path


def command(save_file: Path) -> list[str]:
    """What opens a view."""
    return ["gtkwave", "--dark", "--save", str(save_file)]


def open_viewer(save_file: Path) -> bool:
    """Start GTKWave beside this process. False where it cannot be: no display, or not installed."""
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not display or shutil.which("gtkwave") is None:
        return False
    subprocess.Popen(command(save_file), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    return True


def shown(save_file: Path) -> str:
    """The command for a person."""
    return shlex.join(command(save_file))
