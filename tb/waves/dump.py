"""The FST of a run: its signals, and beats of its TLP streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pywellen

TOP: Final = "myr_top"
PERIOD_PS: Final = 4_000
_PORTS: Final = ("Input", "Output", "InOut")
_FIRST_EDGE_PS: Final = 2_000
"""Of the clock: a rising edge comes half a period into the simulation, then every period."""


class DumpError(RuntimeError):
    """The FST cannot be used; the message names file and signal."""


def cycle_start_ps(cycle: int) -> int:
    """When a cycle begins, as `myr_top.cycle_q` counts them: what the ledger's stamps mean in the waves."""
    return cycle * PERIOD_PS - _FIRST_EDGE_PS


def cycle_at(ps: int) -> int:
    """The cycle in which a moment lies."""
    return (ps + _FIRST_EDGE_PS) // PERIOD_PS


@dataclass(frozen=True)
class Beat:
    """One 64-bit beat that was taken."""

    start_ps: int
    """When the cycle of its transfer began."""
    data: int
    last: bool


@dataclass(frozen=True)
class Instance:
    """A module of the design and its own signals, members of structs and arrays among them."""

    path: str
    """Below the top; empty: the top itself."""
    ports: Sequence[str]
    others: Sequence[str]


class Dump:
    """One FST file; signals are named by their paths below `top`, the module at the top of the design."""

    def __init__(self, path: Path, top: str = TOP) -> None:
        if not path.is_file():
            raise DumpError(f"{path}: there is no such file")
        try:
            self._wave = pywellen.Waveform(str(path))
        except Exception as error:  # the library raises what its Rust side happens to raise
            raise DumpError(f"{path}: {error}") from error
        self.path = path
        self.top = top
        self._span: tuple[int, int] | None = None
        self._vars = {var.full_name: var for var in self._wave.all_vars()}

    def __contains__(self, path: str) -> bool:
        """There is such a signal."""
        return f"{self.top}.{path}" in self._vars

    def width(self, path: str) -> int:
        """Bits of a signal."""
        return int(self._var(path).bitwidth)

    def names(self, path: str) -> dict[int, str]:
        """Names of a signal's values; empty where it is no enumeration."""
        kind = self._var(path).enum_type
        return {int(value, 2): name for value, name in kind[1]} if kind is not None else {}

    def instances(self) -> Iterator[Instance]:
        """All modules of the design, from the top down. Raises `DumpError`."""
        top = next((scope for scope in self._wave.scopes() if scope.name == self.top), None)
        if top is None:
            raise DumpError(f"{self.path}: no module {self.top}")
        yield from self._instances(top)

    def _instances(self, module: pywellen.Scope) -> Iterator[Instance]:
        inner: list[pywellen.Scope] = []
        found: dict[bool, list[str]] = {True: [], False: []}
        within = [module]
        while within:
            scope = within.pop(0)
            for var in scope.vars():
                if var.var_type != "Parameter":
                    found[var.direction in _PORTS].append(var.full_name.removeprefix(f"{self.top}."))
            for below in scope.scopes():
                (inner if below.scope_type == "module" else within).append(below)
        yield Instance(module.full_name.removeprefix(self.top).removeprefix("."), found[True], found[False])
        for below in inner:
            yield from self._instances(below)

    def changes(self, path: str) -> list[tuple[int, int]]:
        """(time in ps, value) of each change of a signal."""
        return [(int(time), int(value)) for time, value in self._var(path).tv if isinstance(value, int)]

    def span_ps(self) -> tuple[int, int]:
        """First and last change of the clock in the file. Raises `DumpError`."""
        if self._span is None:
            clock = self.changes("clk_i")
            if not clock:
                raise DumpError(f"{self.path}: the clock never changes in it")
            self._span = clock[0][0], clock[-1][0]
        return self._span

    def beats(self, stream: str) -> Iterator[Beat]:
        """Beats of a TLP stream (`view.STREAMS`), each in the cycle in which valid and ready were set."""
        valid, ready = {
            "mem_up": ("mem_up_valid", "out_q.up_ready"),
            "mem_dn": ("out_q.dn_valid", "mem_dn_ready"),
        }.get(stream, (f"{stream}_valid", f"{stream}_ready"))
        traces = [self.changes(path) for path in (valid, ready, f"{stream}.data", f"{stream}.last")]
        places = [0] * 4
        now = [0] * 4
        # cycles in which valid is set: only there is something to look at
        ups = traces[0]
        for n, (start, value) in enumerate(ups):
            if not value:
                continue
            end = ups[n + 1][0] if n + 1 < len(ups) else self.span_ps()[1]
            # the dump itself may begin in the middle of a cycle
            for cycle in range(start - (start - _FIRST_EDGE_PS) % PERIOD_PS, end, PERIOD_PS):
                for k, trace in enumerate(traces):
                    while places[k] < len(trace) and trace[places[k]][0] < cycle + PERIOD_PS:
                        now[k] = trace[places[k]][1]
                        places[k] += 1
                if now[0] and now[1]:
                    yield Beat(cycle, now[2], bool(now[3]))

    def _var(self, path: str) -> pywellen.Var:
        try:
            return self._vars[f"{self.top}.{path}"]
        except KeyError:
            raise DumpError(f"{self.path}: no signal {self.top}.{path}") from None
