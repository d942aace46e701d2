"""What tshark, which nobody here wrote, makes of the captures."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from tb.tap.programs import ProgramError

LIMIT_S: Final = 600.0
CHECKED: Final = ("ip", "tcp", "udp")
"""Protocols whose checksums tshark leaves unchecked unless told."""
BAD: Final = (
    "_ws.malformed || ip.checksum.status == 0 || udp.checksum.status == 0 || icmp.checksum.status == 0"
    " || icmpv6.checksum.status == 0 || eth.fcs.status == 0"
    " || (tcp.checksum.status == 0 && !(tcp.checksum == 0xffff && tcp.checksum_calculated == 0))"
)
"""Linux, in software too (CSUM_MANGLED_0), sends a TCP checksum of 0 as 0xFFFF, which is the same number in ones'
complement; once in 65536 packets tshark objects to the spelling."""
RETRANSMITTED: Final = "tcp.analysis.retransmission || tcp.analysis.lost_segment || tcp.flags.reset == 1"


def count(capture: Path, display_filter: str) -> int:
    """Packets of a capture that match. Raises `ProgramError`."""
    options = [option for protocol in CHECKED for option in ("-o", f"{protocol}.check_checksum:TRUE")]
    command = ["tshark", "-n", "-r", str(capture), *options, "-o", "eth.check_fcs:TRUE", "-Y", display_filter]
    try:
        done = subprocess.run(
            [*command, "-T", "fields", "-e", "frame.number"],
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProgramError(f"tshark: {error}") from error
    if done.returncode:
        raise ProgramError(f"{' '.join(command)}: {done.stderr.strip()[-400:]}")
    return len(done.stdout.split())
