"""Constraints of a random run: a TOML file that, with a seed, becomes a plan. docs/uvm.md lists the fields."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from sw.abi.registers import Mode
from sw.guest.virtual_nic import MAX_PIECES, SendForm
from tb.uvm.hostile import ATTACKS, SMALL_BYTES
from tb.uvm.plan import BROADCAST, FLAWS, MULTICAST, OFFLOADS, STRANGER, GuestPlan, Operation, Plan

MAX_GUESTS: Final = 16
MAX_PACKETS: Final = 5000
MAX_FRAME: Final = 9018
MIN_FRAME: Final = 60
MSS: Final = (88, 536, 1448)
EDGES: Final = (60, 61, 63, 64, 65, 127, 128, 129, 191, 192, 193, 255, 256, 257, 511, 512, 513, 1513, 1514, 1518, 2045, 2046,
                2047, 4094, 4095, 4096, 8190, 8191, 9014, 9018)
READ_ERRORS: Final = ("ur", "ca", "poisoned")
"""Without `dropped`: the IOMMU's drain waits for every read, and so would the close of an endpoint."""
EVENTS: Final = ("pause", "reopen", "read_error", "fetch_error", "hostile")
MODES: Final = tuple(mode.lower() for mode in Mode.__members__)
FORMS: Final = tuple(form.value for form in SendForm)
RECEIVE_FORMS: Final = ("pushed", "fetched")
DIRECTIONS: Final = ("sibling", "wire", "broadcast", "multicast")
_STARVED: Final[dict[str, Sequence[Any]]] = {
    "credit_ph": (1, 2, 4), "credit_pd": (16, 64), "credit_nph": (1, 3), "starvation_permille": (200, 500),
    "rc_stall_permille": (100, 400), "reorder": (True,), "mps": (128, 256),
}
PROFILES: Final[dict[str, dict[str, Sequence[Any]]]] = {
    "friendly": {},
    "unfriendly": {
        "read_jitter": (0, 20, 200), "walk_jitter": (0, 40), "reorder": (True, False), "random_split": (True, False),
        "link_stall_permille": (0, 100), "rc_stall_permille": (0, 100), "mps": (128, 256),
        "mrrs": (128, 256, 512, 1024, 4096),
    },
    "starved": _STARVED,
    # the line does not stop when the NIC asks it to
    "flooded": _STARVED | {"peer_pause": (False,)},
}
"""Machines: of each field of `HostConfig`, the values to choose from."""


class ConstraintError(ValueError):
    """A constraint file is wrong: the message names file, field and limit."""


class _Table:
    """One section of a file, read field by field; what is left over at the end is unknown."""

    def __init__(self, file: str, name: str, values: Mapping[str, Any]) -> None:
        self._file, self._name = file, name
        self._values = dict(values)

    def _take(self, field: str, default: Any) -> Any:
        return self._values.pop(field, default)

    def wrong(self, field: str, value: Any, limit: str) -> ConstraintError:
        return ConstraintError(f"{self._file}: {self._name}.{field} is {value!r}: {limit}")

    def integer(self, field: str, default: int, low: int, high: int) -> int:
        value = self._take(field, default)
        if type(value) is not int or not low <= value <= high:
            raise self.wrong(field, value, f"must be a whole number, {low} to {high}")
        return value

    def share(self, field: str, default: float) -> float:
        value = self._take(field, default)
        if type(value) not in (int, float) or not 0 <= value <= 1:
            raise self.wrong(field, value, "must be a number, 0 to 1")
        return float(value)

    def span(self, field: str, default: list[int], low: int, high: int) -> tuple[int, int]:
        value = self._take(field, default)
        if not (isinstance(value, list) and len(value) == 2 and all(type(v) is int for v in value)
                and low <= value[0] <= value[1] <= high):
            raise self.wrong(field, value, f"must be [least, most] within {low} to {high}")
        return value[0], value[1]

    def choices(self, field: str, default: list[Any], allowed: Sequence[Any]) -> list[Any]:
        value = self._take(field, default)
        if not isinstance(value, list) or not value or any(v not in allowed or type(v) is bool for v in value):
            raise self.wrong(field, value, f"must be a list of some of {', '.join(map(str, allowed))}")
        return value

    def weights(self, field: str, default: dict[str, int], allowed: Sequence[str]) -> dict[str, int]:
        value = self._take(field, default)
        if not isinstance(value, dict) or any(
            k not in allowed or type(v) is not int or not 0 <= v <= 1000 for k, v in value.items()
        ) or not sum(value.values()):
            raise self.wrong(field, value, f"must give weights of 0 to 1000, not all 0, to some of {', '.join(allowed)}")
        return value

    def one_of(self, field: str, default: str, allowed: Sequence[str]) -> str:
        value = self._take(field, default)
        if value not in allowed:
            raise self.wrong(field, value, f"must be one of {', '.join(allowed)}")
        return str(value)

    def end(self) -> None:
        for field in self._values:
            raise ConstraintError(f"{self._file}: {self._name}.{field} is no field of this section")


def _pick(rng: random.Random, weights: Mapping[str, int]) -> str:
    names = sorted(weights)
    return rng.choices(names, [weights[name] for name in names])[0]


class Constraints:
    """A file, read and checked. Raises `ConstraintError`."""

    def __init__(self, path: Path, mode: str | None = None) -> None:
        """`mode` replaces the file's."""
        try:
            data = tomllib.loads(path.read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise ConstraintError(f"{path}: {error}") from error
        sections = {name: _Table(str(path), name, data.pop(name, {})) for name in ("guests", "frames", "machine", "events")}
        for name in data:
            raise ConstraintError(f"{path}: {name} is no section: there are {', '.join(sections)}")
        guests, frames, machine, events = sections.values()
        self.guests = guests.span("count", [2, 4], 1, MAX_GUESTS)
        self.mode = guests.one_of("mode", "iommu", MODES)
        self.forms = guests.weights("forms", dict.fromkeys(FORMS, 1), FORMS)
        self.receive_forms = guests.weights("receive_forms", dict.fromkeys(RECEIVE_FORMS, 1), RECEIVE_FORMS)
        self.ring_log2 = guests.span("ring_log2", [4, 8], 4, 10)
        self.entries_log2 = guests.span("entries_log2", [6, 8], 4, 9)
        self.mtu = guests.choices("mtu", [1500], range(68, 9001))
        self.queues = guests.choices("queues", [1, 2, 4], (1, 2, 3, 4))
        self.interrupts = guests.share("interrupts", 0.7)
        self.vlan = guests.share("vlan", 0.2)
        self.packets = frames.integer("packets", 100, 1, MAX_PACKETS)
        self.length = frames.span("length", [60, 1518], MIN_FRAME, MAX_FRAME)
        self.edges = frames.share("edges", 0.5)
        self.alignment_log2 = frames.span("alignment_log2", [0, 6], 0, 7)
        self.pieces = frames.span("pieces", [1, 4], 1, MAX_PIECES)
        self.offloads = frames.weights("offloads", {"none": 6, "checksum": 2, "tso": 1}, OFFLOADS)
        self.to = frames.weights("to", {"sibling": 4, "wire": 3, "broadcast": 1}, DIRECTIONS)
        self.from_wire = frames.share("from_wire", 0.4)
        self.flaw = frames.share("flaw", 0.1)
        self.profile = machine.one_of("profile", "friendly", tuple(PROFILES))
        self.rates = {kind: events.share(kind, 0.0) for kind in EVENTS}
        if mode is not None:
            self.mode = mode
        if self.rates["hostile"] and self.mode == "native":
            raise events.wrong("hostile", self.rates["hostile"], "must be 0 with mode native: its owner is alone")
        for table in sections.values():
            table.end()

    def plan(self, seed: int) -> Plan:
        """The run of a seed."""
        rng = random.Random(seed)
        machine = {name: rng.choice(list(values)) for name, values in PROFILES[self.profile].items()}
        count = 1 if self.mode == "native" else rng.randint(*self.guests)
        guests = tuple(self._guest(rng) for _ in range(count))
        idle = Plan(seed, self.mode, machine, guests)
        plan = replace(idle, operations=tuple(self._operation(rng, number, idle) for number in range(self.packets)))
        plan.check()
        return plan

    def _guest(self, rng: random.Random) -> GuestPlan:
        fetched = self.mode == "validated"
        mtu = rng.choice(self.mtu)
        return GuestPlan(
            form="fetched" if fetched else _pick(rng, self.forms),
            ring=1 << rng.randint(*self.ring_log2),
            cq=1 << rng.randint(*self.ring_log2),
            alignment=1 << rng.randint(*self.alignment_log2),
            vlan=7 if rng.random() < self.vlan else 0,
            mtu=mtu,
            receive_form="fetched" if fetched else _pick(rng, self.receive_forms),
            entries=1 << rng.randint(*self.entries_log2),
            queues=rng.choice(self.queues),
            interrupts=rng.random() < self.interrupts,
            small_bytes=rng.choice([None, None, 0, 60, 200]),
        )

    def _operation(self, rng: random.Random, number: int, plan: Plan) -> Operation:
        guests = plan.guests
        guest = rng.randrange(len(guests))
        event = rng.random()
        for kind, rate in self.rates.items():
            if event < rate:
                return self._event(rng, number, "read_error" if kind == "fetch_error" and not plan.fetches(guest) else kind, guest)
            event -= rate
        sent = rng.random() >= self.from_wire
        others = {"wire": STRANGER, "broadcast": BROADCAST, "multicast": MULTICAST}
        to = {"sibling": rng.randrange(len(guests)), **others}[_pick(rng, self.to)]
        if sent and to == guest:
            to = (guest + 1) % len(guests) if len(guests) > 1 else STRANGER
        low, high = self.length
        length = rng.choice([e for e in EDGES if low <= e <= high] or [low]) if rng.random() < self.edges else rng.randint(low, high)
        frame = Operation(number, "send" if sent else "frame", guest if sent else -1, to, length)
        if not sent:
            return replace(frame, what=rng.choice(FLAWS[1:]) if rng.random() < self.flaw else "none")
        frame = replace(frame, length=min(length, guests[guest].mtu + 18), pieces=rng.randint(*self.pieces))
        offload = _pick(rng, self.offloads)
        if offload == "tso":
            mss = rng.choice(MSS)
            # header and payload of one packet fit the smallest ring's slots
            return replace(frame, offload=offload, mss=mss, length=rng.choice([1, mss, mss + 1, rng.randint(1, 6 * mss)]), pieces=1)
        return replace(frame, offload=offload)

    @staticmethod
    def _event(rng: random.Random, number: int, kind: str, guest: int) -> Operation:
        match kind:
            case "pause":
                return Operation(number, kind, quanta=rng.choice([0, 1, 10, 100]))
            case "reopen":
                return Operation(number, kind, guest)
            case "read_error" | "fetch_error":
                return Operation(number, kind, guest, length=rng.randint(200, 1000), what=rng.choice(READ_ERRORS))
        return Operation(number, kind, length=rng.randint(MIN_FRAME, SMALL_BYTES), what=rng.choice(ATTACKS))
