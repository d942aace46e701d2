"""A run as data: the machine, its guests, and the list of operations that they carry out. Read and written as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from sw.abi.registers import Form, Mode
from sw.guest.virtual_nic import ReceiveConfig, SendForm
from tb.cosim.platform import HostConfig

STRANGER: Final = -1
"""`Operation.to`: an address that no guest has."""
BROADCAST: Final = -2
MULTICAST: Final = -3
"""`Operation.to`: a group that nobody has joined."""
GUESTS: Final = ("send", "reopen", "read_error", "fetch_error")
"""Kinds of operations that a guest carries out."""
KINDS: Final = (*GUESTS, "frame", "pause", "hostile")
OFFLOADS: Final = ("none", "checksum", "tso")
FLAWS: Final = ("none", "fcs", "runt", "oversize", "error")


class PlanError(ValueError):
    """A plan that cannot be run: the message names the field and its limit."""


@dataclass(frozen=True)
class GuestPlan:
    """One guest and its endpoint."""

    form: str = "fetched"
    """`SendForm`, by value."""
    ring: int = 64
    cq: int = 64
    alignment: int = 64
    """Bytes, a power of two: where its frames start."""
    vlan: int = 0
    mtu: int = 1500
    receive_form: str = "fetched"
    entries: int = 64
    queues: int = 1
    interrupts: bool = True
    small_bytes: int | None = None

    def send_form(self) -> SendForm:
        """How its requests reach the NIC."""
        return SendForm(self.form)

    def receive(self) -> ReceiveConfig:
        """Its receive side."""
        return ReceiveConfig(mtu=self.mtu, form=Form[self.receive_form.upper()], entries=self.entries, queues=self.queues,
                             interrupts=self.interrupts, small_bytes=self.small_bytes)


@dataclass(frozen=True)
class Operation:
    """One thing that somebody does. Those of one guest, of the line and of the hostile guest are done in order."""

    id: int
    """Its frame's bytes follow from it and the plan's seed: they stay when other operations go."""
    kind: str
    guest: int = -1
    """Kinds in `GUESTS`: who."""
    to: int = STRANGER
    """send, frame: a guest's number, `STRANGER`, `BROADCAST` or `MULTICAST`."""
    length: int = 60
    """send, frame: bytes without FCS; tso: payload bytes; hostile: of the frame for its buffer."""
    pieces: int = 1
    """send."""
    offload: str = "none"
    """send."""
    mss: int = 0
    """tso."""
    what: str = "none"
    """frame: its flaw; read_error, fetch_error: the error; hostile: the request."""
    quanta: int = 0
    """pause."""


@dataclass(frozen=True)
class Plan:
    """Everything that a run depends on."""

    seed: int
    mode: str = "iommu"
    machine: dict[str, Any] = field(default_factory=dict)
    """Fields of `HostConfig` that are not at their defaults."""
    guests: tuple[GuestPlan, ...] = ()
    operations: tuple[Operation, ...] = ()

    def host_config(self) -> HostConfig:
        """The root complex. `PlanError` for a field that it does not have."""
        try:
            return HostConfig(seed=self.seed, **({"peer_pause": True} | self.machine))
        except TypeError as error:
            raise PlanError(f"machine: {error}") from error

    def protection(self) -> Mode:
        """Of the guests' endpoints."""
        return Mode[self.mode.upper()]

    def fetches(self, guest: int) -> bool:
        """Has this guest a send ring of its own in memory?"""
        return self.guests[guest].send_form() is SendForm.FETCHED and self.protection() is not Mode.VALIDATED

    def check(self) -> None:
        """Raise `PlanError` for what nobody can carry out."""
        if self.mode.upper() not in Mode.__members__:
            raise PlanError(f"mode is {self.mode!r}: one of {', '.join(m.lower() for m in Mode.__members__)}")
        for operation in self.operations:
            name = f"operation {operation.id}"
            if operation.kind not in KINDS:
                raise PlanError(f"{name}: kind is {operation.kind!r}: one of {', '.join(KINDS)}")
            if operation.kind in GUESTS and not 0 <= operation.guest < len(self.guests):
                raise PlanError(f"{name}: guest is {operation.guest}: there are {len(self.guests)}")
            if operation.kind == "fetch_error" and not self.fetches(operation.guest):
                raise PlanError(f"{name}: kind is fetch_error: guest {operation.guest} has no send ring of its own in memory")
            if not MULTICAST <= operation.to < len(self.guests):
                raise PlanError(f"{name}: to is {operation.to}: {MULTICAST} to {len(self.guests) - 1}")

    def write(self, path: Path, **more: Any) -> None:
        """As JSON, an operation a line."""
        head = {key: value for key, value in asdict(self).items() if key != "operations"} | more
        lines = [json.dumps(_short(operation)) for operation in self.operations]
        text = json.dumps(head)[:-1] + ', "operations": [\n' + ",\n".join(lines) + "\n]}\n"
        path.write_text(text)

    @classmethod
    def of(cls, data: dict[str, Any], name: str = "plan") -> Plan:
        """From what JSON holds; keys that are no part of a plan are ignored."""
        try:
            plan = cls(data["seed"], data.get("mode", "iommu"), data.get("machine", {}),
                       tuple(GuestPlan(**guest) for guest in data.get("guests", [])),
                       tuple(Operation(**operation) for operation in data["operations"]))
        except (KeyError, TypeError) as error:
            raise PlanError(f"{name}: {error}") from error
        plan.check()
        return plan

    @classmethod
    def read(cls, path: Path) -> Plan:
        """From a file of `write`."""
        return cls.of(json.loads(path.read_text()), str(path))


_DEFAULTS: Final = {f.name: f.default for f in fields(Operation)}


def _short(operation: Operation) -> dict[str, Any]:
    return {key: value for key, value in asdict(operation).items() if value != _DEFAULTS[key]}
