"""One run: namespaces, the simulation process that joins them, the programs, what is found."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any, Final

import numpy as np
from rich.console import Console

from sw.abi.registers import Form
from tb.cosim.run import run_model
from tb.cosim.toolchain import ROOT, Model
from tb.ledger.decode import EndpointSetup
from tb.ledger.row import LedgerError
from tb.sim.rtl_files import CONFIG, JOB, TRACE
from tb.tap import control, ledger, programs, report, tshark
from tb.tap.config import WIRE, WIRE_MAC, TapConfig, addresses
from tb.tap.control import ControlError
from tb.tap.job import GUEST_OFFLOADS, TapJob
from tb.tap.namespaces import Namespace, NamespaceError, namespaces
from tb.tap.programs import ProgramError
from tb.tap.script import steps

READY_LIMIT_S: Final = 300.0
"""Bound of the boot of hypervisor and guests, real time."""
ANSWER_LIMIT_S: Final = 120.0
ADDRESS_LIMIT_S: Final = 60.0
RUN_LIMIT_S: Final = 24 * 3600.0
SLICE_S: Final = 0.2
FAILED: Final = (ProgramError, NamespaceError, ValueError, KeyError)
"""What a step may raise that the run reports and survives."""
MUST_BE_ZERO: Final = ("retransmissions", "bad_checksums", "dropped", "errors")


class Session:
    """Makes everything, runs everything, leaves nothing but files."""

    def __init__(self, config: TapConfig, model: Model | None, out: Console) -> None:
        """`model` None: on the reference NIC."""
        self._config = config
        self._model = model
        self._out = out
        self._failures: list[str] = []
        self._steps: list[dict[str, Any]] = []
        self._marks: list[int] = []
        self._guests: list[dict[str, Any]] = []
        self._end: socket.socket
        self._running: Future[str]

    def execute(self) -> dict[str, Any]:
        """The whole run; its figures. Raises `NamespaceError`, `ControlError`, `ProgramError` when it cannot go on."""
        config = self._config
        began = time.monotonic()
        offloads = {host: 0 if host == WIRE else GUEST_OFFLOADS for host in config.hosts}
        end, other = control.pair()
        with namespaces(offloads) as spaces, ThreadPoolExecutor(1) as pool, closing(end):
            self._end = end
            with closing(other):
                ready = self._start(pool, other, spaces)
            self._guests = ready["guests"]
            macs = [*(bytes.fromhex(guest["mac"]) for guest in self._guests), WIRE_MAC]
            for number, (space, mac) in enumerate(zip(spaces.values(), macs, strict=True)):
                space.configure(mac, *addresses(number, len(spaces)))
            programs.wait_for_addresses(list(spaces.values()), ADDRESS_LIMIT_S)
            self._mark()
            # the first ones' groups are announced while the last ones are still down
            before = self._stacks(spaces)
            self._script(spaces, dict(zip(config.hosts, macs, strict=True)))
            stacks = {counter: value - before[counter] for counter, value in self._stacks(spaces).items()}
            if config.stay:
                self._ask("stay")
                self._stay(spaces)
            totals = self._ask("end")
            if said := self._running.result():
                self._failures.append(said)
        self._judge(stacks, totals)
        if not config.model:
            self._ledger()
        return {
            "ok": not self._failures,
            "failures": self._failures,
            "command": config.command,
            "nic": "reference NIC" if config.model else "RTL",
            "guests": config.guests,
            "seed": config.seed,
            "endpoints": {guest["endpoint"]: guest for guest in self._guests},
            "steps": self._steps,
            "stacks": stacks,
            "totals": totals["totals"],
            "software_costs": totals["software_costs"],
            "captures": self._captures(totals["captures"]),
            "real_s": time.monotonic() - began,
        }

    # --- the simulation process ------------------------------------------------------------------

    def _start(self, pool: ThreadPoolExecutor, other: socket.socket, spaces: dict[str, Namespace]) -> dict[str, Any]:
        groups = [space.open_groups() for space in spaces.values() if space.host != WIRE]
        try:
            taps = {host: space.tap for host, space in spaces.items()}
            job = TapJob(self._config, other.fileno(), taps, groups)
            (self._config.folder / CONFIG).write_bytes(pickle.dumps(job))
            self._running = pool.submit(self._simulate, [other.fileno(), *taps.values(), *groups])
            return self._receive("ready", READY_LIMIT_S)
        finally:
            for fd in groups:
                os.close(fd)

    def _simulate(self, fds: list[int]) -> str:
        """Run the process to its end; what went wrong, empty when nothing did."""
        folder = self._config.folder.resolve()
        environment = {JOB: str(folder)}
        if self._model is not None:
            result = run_model(
                *(self._model, "tb.tap.rtl_job", folder),
                seed=self._config.seed,
                environment=environment,
                timeout_s=RUN_LIMIT_S,
                pass_fds=fds,
            )
            return "" if result.passed else f"the simulation did not end well: {result.log}"
        log = folder / "sim.log"
        with log.open("wb") as out:
            status = subprocess.run(
                [sys.executable, "-m", "tb.tap.model_job"],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdout=out,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=RUN_LIMIT_S,
                pass_fds=fds,
            ).returncode
        return "" if status == 0 else f"the reference NIC did not end well: {log}"

    def _receive(self, kind: str, limit_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + limit_s
        while not self._running.done():
            try:
                messages = control.receive(self._end, SLICE_S)
            except ControlError:
                break
            for message in messages:
                if message["kind"] == kind:
                    return message
            if time.monotonic() > deadline:
                raise ControlError(f"the simulation did not say {kind!r} in {limit_s:.0f} s")
        raise ControlError(self._running.result() or f"the simulation ended before it said {kind!r}")

    def _mark(self) -> list[dict[str, Any]]:
        """End a span of the trace; its flows."""
        answer = self._ask("mark")
        self._marks.append(answer["cycle"])
        flows: list[dict[str, Any]] = answer["flows"]
        return flows

    def _ask(self, kind: str) -> dict[str, Any]:
        control.send(self._end, {"kind": kind})
        return self._receive(kind, ANSWER_LIMIT_S)

    # --- the programs ----------------------------------------------------------------------------

    def _script(self, spaces: dict[str, Namespace], macs: dict[str, bytes]) -> None:
        for step in steps(self._config, spaces, macs):
            name = f"{step.title}, {step.source} > {step.target}"
            before = self._stacks(spaces)
            with self._out.status(name):
                try:
                    seen = step.action()
                    # Else the late bytes of one program would count as another's.
                    programs.wait_until_closed(list(spaces.values()), programs.CLOSE_LIMIT_S)
                except FAILED as error:
                    seen = {"failed": str(error)}
                    self._failures.append(f"{name}: {error}")
            counted = {counter: value - before[counter] for counter, value in self._stacks(spaces).items()}
            if step.orderly and counted["resets"]:
                self._failures.append(f"{name}: {counted['resets']} connections reset")
            row = {
                "title": step.title,
                "from": step.source,
                "to": step.target,
                "real": seen,
                "stacks": counted,
                "simulated": self._mark(),
            }
            self._steps.append(row)
            if not self._out.is_terminal:
                self._out.print(report.line(row), highlight=False)

    def _stay(self, spaces: dict[str, Namespace]) -> None:
        """Until Ctrl-C, or until the simulation ends."""
        self._out.print(report.invitation(self._config, spaces), highlight=False)
        try:
            while not self._running.done():
                time.sleep(SLICE_S)
        except KeyboardInterrupt:
            self._out.print()

    # --- what is found ---------------------------------------------------------------------------

    def _stacks(self, spaces: dict[str, Namespace]) -> dict[str, int]:
        """What the stacks counted, all together."""
        found: dict[str, int] = {}
        for space in spaces.values():
            for name, value in space.counters().items():
                found[name] = found.get(name, 0) + value
        return found

    def _judge(self, stacks: dict[str, int], totals: dict[str, Any]) -> None:
        for name in MUST_BE_ZERO:
            if stacks[name]:
                self._failures.append(f"the stacks counted {stacks[name]} {name.replace('_', ' ')}")
        for name, value in totals["totals"]["must_be_zero"].items():
            if value:
                self._failures.append(f"{value} {name.replace('_', ' ')}")

    def _ledger(self) -> None:
        """Put what the hardware's trace says beside each step."""
        records = np.load(self._config.folder / TRACE)
        setups = {g["endpoint"]: EndpointSetup(Form[g["form"]], g["send_entries"]) for g in self._guests}
        hosts = {guest["endpoint"]: host for guest, host in zip(self._guests, self._config.hosts, strict=False)}
        try:
            spans = ledger.times(records, setups, hosts, self._marks)
        except LedgerError as error:
            self._failures.append(f"the trace does not add up: {error}")
            return
        for row, taken in zip(self._steps, spans, strict=True):
            row["ledger"] = ledger.figures(taken)

    def _captures(self, written: dict[str, int]) -> dict[str, dict[str, Any]]:
        """What tshark finds in each capture."""
        found: dict[str, dict[str, Any]] = {}
        for name, frames in written.items():
            path = self._config.folder / name
            bad, again = tshark.count(path, tshark.BAD), tshark.count(path, tshark.RETRANSMITTED)
            if bad:
                self._failures.append(f"{path}: tshark finds {bad} malformed packets or bad checksums")
            found[path.stem] = {"path": str(path), "frames": frames, "bad": bad, "retransmitted_or_reset": again}
        return found
