"""What one run is: a pure function of these fields. Read from the command line and the environment."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hypervisor_model.sharing import Sharing
from sw.guest.virtual_nic import SendForm
from tb.cosim.toolchain import Variant
from tb.sim.capture import SHIPPED

MAX_GUESTS: Final = 64
"""Endpoints of the NIC."""
MAX_SEED: Final = 2**32 - 1
FORMS: Final = (SendForm.INLINE, SendForm.PUSHED, SendForm.FETCHED, SendForm.FETCHED)
"""How guests 0, 1, 2, 3 send; the pattern repeats."""


def form_of(guest: int) -> SendForm:
    return FORMS[guest % len(FORMS)]


@dataclass(frozen=True)
class SimConfig:
    """One run of `make sim`."""

    guests: int = 4
    pcap: Path = SHIPPED
    seed: int = 1
    waves: bool = False
    coverage: bool = False
    mode: Sharing = Sharing.IOMMU
    """How the guests share the NIC."""
    folder: Path = Path("build/sim")
    """Where the run leaves its files."""
    window_ns: tuple[int, int] | None = None
    """The part of simulated time that is in the FST; None: all of it."""

    @property
    def variant(self) -> Variant:
        """Of the simulator."""
        return Variant.WAVES if self.waves else Variant.COVERAGE if self.coverage else Variant.PLAIN

    @property
    def command(self) -> str:
        """The command that repeats this run."""
        mode = "" if self.mode is Sharing.IOMMU else f" MODE={self.mode}"
        pcap = "" if self.pcap == SHIPPED else f" PCAP={self.pcap}"
        return f"make sim GUESTS={self.guests} SEED={self.seed}{mode}{pcap}{' WAVES=1' if self.waves else ''}"


def parse(argv: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> SimConfig:
    """Options win over the environment (GUESTS, PCAP, SEED, WAVES), that over the defaults.

    A bad value ends the program with status 2 and a line that names the field and its limits.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tb.sim",
        description="Guests replay a capture by bypass through the RTL NIC and IOMMU; the run proves what arrived.",
    )
    default = SimConfig()
    parser.add_argument("--guests", metavar="N", help=f"guests, 1 to {MAX_GUESTS} (GUESTS; {default.guests})")
    parser.add_argument("--pcap", metavar="FILE", help="pcap or pcapng, split over the guests (PCAP; the shipped one)")
    parser.add_argument("--seed", metavar="N", help=f"0 to {MAX_SEED}: the host's timing (SEED; {default.seed})")
    modes = ", ".join(Sharing)
    parser.add_argument("--mode", metavar="MODE", help=f"how guests share the NIC: {modes} (MODE; {default.mode})")
    parser.add_argument("--waves", metavar="0|1", help="1: leave an FST (WAVES; 0)")
    parser.add_argument("--coverage", action="store_true", help="leave coverage.dat: for make cov, not with waves")
    parser.add_argument("--window", metavar="NS:NS", help="with waves: only this part of simulated time is in the FST")
    parser.add_argument("--folder", metavar="DIR", type=Path, default=default.folder, help="results (build/sim)")
    options = vars(parser.parse_args(argv))

    def value(name: str) -> str:
        return options[name] if options[name] is not None else environment.get(name.upper(), "")

    def number(name: str, low: int, high: int, fallback: int) -> int:
        text = value(name)
        if not text:
            return fallback
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            parser.error(f"{name.upper()}={text}: must be a number from {low} to {high}")
        return int(text)

    waves = bool(number("waves", 0, 1, 0))
    if waves and options["coverage"]:
        parser.error("WAVES=1 and --coverage are two simulators: leave one of them out")
    window = None
    if options["window"] is not None:
        start, _, end = options["window"].partition(":")
        if not (start + end).isdecimal() or not start or not end or int(start) >= int(end):
            parser.error(f"--window {options['window']}: must be two times in ns, the earlier first")
        window = int(start), int(end)
    mode = value("mode") or default.mode.value
    if mode not in list(Sharing):
        parser.error(f"MODE={mode}: must be one of {modes}")
    return SimConfig(
        guests=number("guests", 1, MAX_GUESTS, default.guests),
        pcap=Path(value("pcap")) if value("pcap") else default.pcap,
        seed=number("seed", 0, MAX_SEED, default.seed),
        waves=waves,
        coverage=options["coverage"],
        mode=Sharing(mode),
        folder=options["folder"],
        window_ns=window,
    )
