"""What the run shows: every frame, every completion, every violation, every cycle. Failures are sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from sw.abi.registers import Form, TraceKind
from sw.platform import CYCLE_NS
from tb.ledger.decode import EndpointSetup, decode
from tb.ledger.latency import StageLatency, latencies
from tb.ledger.row import LedgerError
from tb.sim.scenario import GuestResult, ScenarioResult
from tb.sim.verify import SenderCheck, by_sender, check_among, check_sender, check_together


@dataclass
class Verdict:
    """Everything that a report needs; `failures` is empty when the run is good."""

    guests: list[SenderCheck] = field(default_factory=list)
    hostile: list[SenderCheck] = field(default_factory=list)
    latencies: list[StageLatency] = field(default_factory=list)
    violations_attempted: int = 0
    violations_escaped: int = 0
    failures: list[str] = field(default_factory=list)


def judge(
    shares: Sequence[Sequence[bytes]],
    rtl: ScenarioResult,
    wire: Sequence[tuple[int, bytes]],
    trace: npt.NDArray[np.void],
    reference: ScenarioResult,
    reference_wire: Sequence[tuple[int, bytes]],
    *,
    bypass: bool,
) -> Verdict:
    """`bypass`: nothing may enter the hypervisor on the data path. `wire` is (ns, frame) as read back from the pcapng, `reference_wire` (endpoint, frame)."""
    verdict = Verdict()
    first_beats = trace[trace["kind"] == TraceKind.WIRE_FIRST]
    if [ns for ns, _ in wire] != (first_beats["cycle"] * CYCLE_NS).tolist():
        verdict.failures.append(
            f"wire: {len(wire)} frames in the pcapng and {len(first_beats)} WIRE_FIRST events differ in number or time"
        )
        return verdict
    seen = by_sender([frame for _, frame in wire], first_beats["endpoint"].tolist())
    expected = by_sender([frame for _, frame in reference_wire], [endpoint for endpoint, _ in reference_wire])
    _guests(verdict, shares, rtl, seen)
    _violations(verdict, rtl, seen)
    _reference(verdict, rtl, reference, seen, expected)
    if bypass and rtl.entries["data_path"]:
        verdict.failures.append(f"hypervisor: {rtl.entries['data_path']} entries on the data path, 0 allowed")
    setups = {
        endpoint: EndpointSetup(Form[str(e["form"])], int(e["send_entries"]))
        for endpoint, e in rtl.endpoints.items()
    }
    try:
        verdict.latencies = latencies(decode(trace, setups))
    except LedgerError as error:
        verdict.failures.append(f"ledger: {error}")
    return verdict


def _guests(
    verdict: Verdict, shares: Sequence[Sequence[bytes]], rtl: ScenarioResult, seen: Mapping[int, Sequence[bytes]]
) -> None:
    shared = _users(rtl)
    verdict.failures += [
        f"endpoint {endpoint}: {finding}"
        for endpoint, users in shared.items()
        if users > 1
        for finding in check_together(
            [
                *(sent for sent, guest in zip(shares, rtl.guests, strict=True) if guest.endpoint == endpoint),
                rtl.hostile_frames.get(endpoint, []),
            ],
            seen.get(endpoint, []),
        )
    ]
    for sent, guest in zip(shares, rtl.guests, strict=True):
        alone = shared[guest.endpoint] == 1
        left = seen.get(guest.endpoint, [])
        check = check_sender(sent, left) if alone else check_among(sent, left)
        verdict.guests.append(check)
        verdict.failures += [f"{guest.name}: {finding}" for finding in check.findings]
    known = {guest.endpoint for guest in rtl.guests} | rtl.hostile_frames.keys()
    for endpoint in sorted(seen.keys() - known):
        verdict.failures.append(f"endpoint {endpoint}: {len(seen[endpoint])} frames left in its name, nobody owns it")


def _violations(verdict: Verdict, rtl: ScenarioResult, seen: Mapping[int, Sequence[bytes]]) -> None:
    verdict.violations_attempted = len(rtl.attempts)
    escaped = [attempt for attempt in rtl.attempts if not attempt.caught]
    verdict.violations_escaped = len(escaped)
    verdict.failures += [f"hostile: {a.name}: {a.outcome}; {a.expected} expected" for a in escaped]
    users = _users(rtl)
    for endpoint, sent in rtl.hostile_frames.items():
        left = seen.get(endpoint, [])
        check = check_sender(sent, left) if users[endpoint] == 1 else check_among(sent, left)
        verdict.hostile.append(check)
        verdict.violations_escaped += not check.ok
        verdict.failures += [f"hostile, endpoint {endpoint}: {finding}" for finding in check.findings]


def _reference(
    verdict: Verdict,
    rtl: ScenarioResult,
    reference: ScenarioResult,
    seen: Mapping[int, Sequence[bytes]],
    expected: Mapping[int, Sequence[bytes]],
) -> None:
    """RTL and reference NIC agree in frames by endpoint, completions and the fate of each violation."""
    users = _users(rtl)
    for endpoint in sorted(seen.keys() | expected.keys()):
        ours, theirs = seen.get(endpoint, []), expected.get(endpoint, [])
        if users[endpoint] > 1:
            # Whose turn it is at the bridge is a matter of time.
            ours, theirs = sorted(ours), sorted(theirs)
        if list(ours) != list(theirs):
            at = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), len(ours))
            verdict.failures.append(
                f"endpoint {endpoint}: frame {at} differs from the reference NIC's ({len(ours)} and {len(theirs)} frames)"
            )
    told = [(g.name, _outcomes(g, users)) for g in rtl.guests] + [("hostile", rtl.hostile_completions)]
    due = [_outcomes(g, users) for g in reference.guests] + [reference.hostile_completions]
    for (name, ours_c), theirs_c in zip(told, due, strict=True):
        if ours_c != theirs_c:
            at = next((n for n, (a, b) in enumerate(zip(ours_c, theirs_c, strict=False)) if a != b), len(ours_c))
            verdict.failures.append(
                f"{name}: completion {at} (index, length, status) is {ours_c[at : at + 1]}, the reference NIC gives"
                f" {theirs_c[at : at + 1]} ({len(ours_c)} and {len(theirs_c)} in all)"
            )
    if rtl.attempts != reference.attempts:
        verdict.failures += [
            f"hostile: {a.name}: {a.outcome}; the reference NIC gives {b.outcome}"
            for a, b in zip(rtl.attempts, reference.attempts, strict=False)
            if a != b
        ]


def _users(rtl: ScenarioResult) -> Counter[int]:
    """How many send by each endpoint: a control domain's is everybody's."""
    return Counter([*(guest.endpoint for guest in rtl.guests), *rtl.hostile_frames])


def _outcomes(guest: GuestResult, users: Counter[int]) -> list[tuple[int, int, int]]:
    """Completions in order; behind a back end, which answers when it can, as lengths and statuses alone."""
    if users[guest.endpoint] == 1:
        return guest.completions
    return sorted((0, length, status) for _, length, status in guest.completions)
