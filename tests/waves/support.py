"""What the real GTKWave shows of a save file, on a virtual display."""

from __future__ import annotations

import subprocess
from pathlib import Path

from PIL import Image

from tb.waves.desk import SAVE_FILE

_QUESTIONS = """
%s
for {set i 0} {$i < [gtkwave::getTotalNumTraces]} {incr i} {
    puts "ROW\t[gtkwave::getTraceNameFromIndex $i]\t[gtkwave::getTraceValueAtMarkerFromIndex $i]"
}
gtkwave::/File/Grab_To_File %s
gtkwave::/File/Quit
"""


def ask_gtkwave(folder: Path, marker_ps: int | None = None) -> tuple[list[tuple[str, str]], Image.Image]:
    """(name, value at the primary marker, or at `marker_ps`) of every row, and the picture."""
    script, picture = folder / "ask.tcl", folder / "picture.png"
    script.write_text(_QUESTIONS % ("" if marker_ps is None else f"gtkwave::setMarker {marker_ps}", picture))
    command = ["xvfb-run", "-a", "-s", "-screen 0 1700x1100x24", "gtkwave", "-S", str(script), "--save", str(folder / SAVE_FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    # it goes on without what it does not find
    assert "Could not" not in done.stderr + done.stdout
    rows = [line.split("\t")[1:] for line in done.stdout.splitlines() if line.startswith("ROW\t")]
    return [(name, value) for name, value in rows], Image.open(picture).convert("RGB")
