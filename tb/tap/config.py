"""What one run is. Read from the command line and the environment."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MTU: Final = 9000
WIRE: Final = "wire"
"""Name of the host on the wire."""
WIRE_MAC: Final = bytes.fromhex("027700000001")
DEVICE: Final = "eth0"
"""What each namespace calls its network device."""
MAX_GUESTS: Final = 8
MAX_SEED: Final = 2**32 - 1
MAX_BYTES: Final = 1 << 30


@dataclass(frozen=True)
class TapConfig:
    """One run of `make tap`."""

    guests: int = 2
    seed: int = 1
    stream_bytes: int = 4 << 20
    """Bytes that each iperf3 sends."""
    file_bytes: int = 1 << 20
    """Length of the file that curl fetches."""
    stay: bool = False
    model: bool = False
    folder: Path = Path("build/tap")

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names of the guests, then of the host on the wire."""
        return (*(f"guest{n}" for n in range(self.guests)), WIRE)

    @property
    def command(self) -> str:
        """The command that repeats this run."""
        default = TapConfig()
        options = [
            f"{option} {value}"
            for option, value, usual in (
                ("--stream-bytes", self.stream_bytes, default.stream_bytes),
                ("--file-bytes", self.file_bytes, default.file_bytes),
            )
            if value != usual
        ]
        options += [option for option, on in (("--model", self.model), ("--stay", self.stay)) if on]
        arguments = f' args="{" ".join(options)}"' if options else ""
        return f"make tap GUESTS={self.guests} SEED={self.seed}{arguments}"


def addresses(host: int, hosts: int) -> tuple[str, str]:
    """IPv4 and IPv6 address of a host by its number; the last one is on the wire."""
    number = 254 if host == hosts - 1 else 1 + host
    return f"10.77.0.{number}", f"fd77::{number:x}"


def parse(argv: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> TapConfig:
    """Options win over the environment (GUESTS, SEED), that over the defaults.

    A bad value ends the program with status 2 and a line that names the field and its limits.
    """
    default = TapConfig()
    parser = argparse.ArgumentParser(
        prog="python -m tb.tap",
        description="Linux network stacks talk to each other through the RTL NIC: ping, iperf3, curl. Needs root.",
    )
    parser.add_argument("--guests", metavar="N", help=f"guests, 2 to {MAX_GUESTS} (GUESTS; {default.guests})")
    parser.add_argument("--seed", metavar="N", help=f"0 to {MAX_SEED}: the host's timing (SEED; {default.seed})")
    parser.add_argument("--stream-bytes", metavar="N", help=f"bytes of each iperf3 run ({default.stream_bytes})")
    parser.add_argument("--file-bytes", metavar="N", help=f"bytes of the file for curl ({default.file_bytes})")
    parser.add_argument("--stay", action="store_true", help="no script: keep the namespaces until Ctrl-C")
    parser.add_argument("--model", action="store_true", help="the reference NIC in place of the RTL: no simulator")
    parser.add_argument("--folder", metavar="DIR", type=Path, default=default.folder, help="results (build/tap)")
    options = vars(parser.parse_args(argv))

    def number(name: str, low: int, high: int, fallback: int, variable: str = "") -> int:
        text = options[name] if options[name] is not None else environment.get(variable, "")
        if not text:
            return fallback
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            shown = variable or f"--{name.replace('_', '-')}"
            parser.error(f"{shown}={text}: must be a number from {low} to {high}")
        return int(text)

    return TapConfig(
        guests=number("guests", 2, MAX_GUESTS, default.guests, "GUESTS"),
        seed=number("seed", 0, MAX_SEED, default.seed, "SEED"),
        stream_bytes=number("stream_bytes", 1, MAX_BYTES, default.stream_bytes),
        file_bytes=number("file_bytes", 1, MAX_BYTES, default.file_bytes),
        stay=options["stay"],
        model=options["model"],
        folder=options["folder"],
    )
