"""Build the checkers by themselves, drive them cycle by cycle, and read what they said."""

from __future__ import annotations

import re
import subprocess
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

from tb.cosim.toolchain import Model, build, checker_sources, recipe, rtl_sources, verilator_environment

HERE: Final = Path(__file__).parent
IDLE_CYCLES: Final = 128
"""As in checker_bench.sv."""
LIMIT: Final = 16 << 32 | 256 << 20 | 8 << 12 | 4
"""Posted headers and data, non-posted headers and data (fc_t) that every case starts with."""

Cycle = dict[str, int]
"""Pins that are not 0 in a cycle."""


@dataclass(frozen=True)
class Said:
    """What the checkers said: ids of the rules that were broken with their lines, and how often each was applied."""

    broken: dict[str, str]
    applied: dict[tuple[str, str], int]


@cache
def model() -> Model:
    """The bench, from the cache when nothing has changed."""
    shared = [file for file in rtl_sources() if file.stem in ("myr_pkg", "myr_abi_pkg", "myr_nic_pkg")]
    checkers = [file for file in checker_sources() if file.stem != "myr_checkers"]
    return build(recipe("checkers", "checker_bench", [*shared, *checkers, HERE / "checker_bench.sv"], cpp=[HERE / "main.cpp"]))


def run(cycles: Iterable[Cycle], *, enable: bool = True) -> Said:
    """Drive the pins after a reset; the first cycle here is cycle 0."""
    reset = [{"rst": 1, "limit": LIMIT}] * 2
    lines = [
        " ".join(f"{pin}={value:x}" for pin, value in ({"limit": LIMIT, "enable": enable} | cycle).items())
        for cycle in (*reset, *cycles, *[Cycle()] * 3)
    ]
    done = subprocess.run(
        [str(model().executable), "+verilator+error+limit+1000000"], input="\n".join(lines) + "\n", text=True,
        capture_output=True, check=False, env=verilator_environment(), timeout=60,
    )
    assert done.returncode == 0, done.stderr
    broken: dict[str, str] = {}
    for line in done.stdout.splitlines():
        if found := re.search(r"\[myr_check_\w+\] cycle \d+ [^:]+: ([A-Z]+-\w+) ", line):
            broken.setdefault(found[1], line)
        else:
            assert "%Error" not in line, line
    applied = {
        (stream, rule): int(times)
        for stream, rule, times in re.findall(r"^\[myr_check_\w+\] ([^:]+): (\S+) checked (\d+) times$", done.stdout, re.MULTILINE)
    }
    return Said(broken, applied)


@dataclass(frozen=True)
class Tlp:
    """A TLP of raw DWs: header byte 0 in bits 31:24, payload DWs with the lowest address in bits 7:0."""

    dws: tuple[int, ...]

    def beats(self) -> list[tuple[int, bool, bool]]:
        """Data, last, half of each beat."""
        pairs = [self.dws[at : at + 2] for at in range(0, len(self.dws), 2)]
        return [
            (sum(dw << (32 * i) for i, dw in enumerate(pair)), at == len(pairs) - 1, len(pair) == 1)
            for at, pair in enumerate(pairs)
        ]

    def set(self, dw: int, clear: int, bits: int) -> Tlp:
        """The same with the bits `clear` of one DW replaced by `bits`."""
        dws = list(self.dws)
        dws[dw] = dws[dw] & ~clear | bits
        return Tlp(tuple(dws))

    def cut(self, dws: int) -> Tlp:
        """Its first DWs only."""
        return replace(self, dws=self.dws[:dws])

    def on(self, stream: str) -> list[Cycle]:
        """As cycles, with an idle one behind."""
        return [
            {f"{stream}_moved": 1, f"{stream}_data": data, f"{stream}_last": last, f"{stream}_half": half}
            for data, last, half in self.beats()
        ] + [Cycle()]


def memory(
    kind: str, address: int, size: int, *, requester: int = 0x0102, tag: int = 0, payload: Sequence[int] | None = None
) -> Tlp:
    """MRd ("read") or MWr ("write") of `size` bytes at `address`, 3-DW header below 4 GiB."""
    lead = address & 3
    dws = (lead + size + 3) // 4
    tail = (lead + size) % 4
    first, last = 0xF << lead & 0xF, (1 << tail) - 1 if tail else 0xF
    if dws == 1:
        first, last = first & last, 0
    wide = address >> 32 != 0
    dw0 = (0x40 if kind == "write" else 0) << 24 | (0x20 if wide else 0) << 24 | dws & 0x3FF
    header = [dw0, requester << 16 | tag << 8 | last << 4 | first]
    header += [address >> 32] if wide else []
    header += [address & 0xFFFF_FFFC]
    data = list(payload if payload is not None else [0x0101_0101 * (n % 251) for n in range(dws)])
    return Tlp(tuple(header + (data if kind == "write" else [])))


def completion(
    left: int, lower: int, dws: int, *, requester: int = 0x0102, tag: int = 0, status: int = 0, completer: int = 0
) -> Tlp:
    """Cpl, or CplD with `dws` DWs."""
    return Tlp((
        (0x4A if dws else 0x0A) << 24 | dws, completer << 16 | status << 13 | left & 0xFFF, requester << 16 | tag << 8 | lower,
        *range(dws),
    ))


def config_write(register: int, value: int, *, tag: int = 0, device: int = 0x0100) -> Tlp:
    """CfgWr0 of a DW; `device` is bus, device and function."""
    return Tlp((0x44000001, tag << 8 | 0xF, device << 16 | register, value))


def config_read(register: int, *, tag: int = 0, device: int = 0x0100) -> Tlp:
    """CfgRd0 of a DW."""
    return Tlp((0x04000001, tag << 8 | 0xF, device << 16 | register))


def set_up(mps: int = 128, mrrs: int = 512) -> list[Cycle]:
    """Software writes Device Control of function 1:00.0, which answers: bus 1, and these limits."""
    value = (mps // 128).bit_length() - 1 << 5 | (mrrs // 128).bit_length() - 1 << 12
    answer = completion(4, 0, 0, requester=0, completer=0x0100)
    return [*config_write(0x64, value).on("dn"), *answer.on("up"), Cycle()]


PREAMBLE: Final = 0xD555_5555_5555_5555
GAP: Final = 12


def with_fcs(frame: bytes) -> bytes:
    """Padded to 60 bytes, with its frame check sequence."""
    frame = frame.ljust(60, b"\0")
    return frame + zlib.crc32(frame).to_bytes(4, "little")


def line(frames: Iterable[bytes], side: str, *, gap: int = GAP, start: int = 0) -> list[Cycle]:
    """Frames (FCS included) on the line at exactly 5 bytes a cycle from byte time `start` on; `side` is tx or rx."""
    beats: list[tuple[int, Cycle]] = []
    time = start
    for frame in frames:
        chunks = [frame[at : at + 8] for at in range(0, len(frame), 8)]
        words = [(PREAMBLE, 8, True, False)]
        words += [(int.from_bytes(c, "little"), len(c), False, n == len(chunks) - 1) for n, c in enumerate(chunks)]
        for data, size, first, last in words:
            pins = {"valid": 1, "data": data, "bytes": size, "first": first, "last": last}
            beats.append((time // 5, {f"{side}_{pin}": value for pin, value in pins.items()}))
            time += size
        time += gap
    cycles = [Cycle() for _ in range(time // 5 + 1)]
    for cycle, pins in beats:
        assert not cycles[cycle], "two beats in a cycle"
        cycles[cycle] = pins
    return cycles
