"""The scenario on the reference NIC, and the judge on it: a good run passes, each spoilt one fails with its reason."""

from __future__ import annotations

import copy
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from hypervisor_model.sharing import Sharing
from sw.abi.registers import TraceKind
from sw.platform import CYCLE_NS
from tb.ethernet import on_line
from tb.ledger.records import TRACE_DTYPE
from tb.sim.capture import SHIPPED, load, share
from tb.sim.judge import Verdict, judge
from tb.sim.reference import run_reference
from tb.sim.scenario import ScenarioResult, shares_of

GUESTS = 5


@dataclass
class Run:
    """One run of the reference NIC, posing as the RTL: frames get made-up times, the ledger is not judged here."""

    shares: list[list[bytes]]
    result: ScenarioResult
    frames: list[tuple[int, bytes]]

    def trace(self) -> npt.NDArray[np.void]:
        events = [(67 * n, TraceKind.WIRE_FIRST, endpoint, 0, 0) for n, (endpoint, _) in enumerate(self.frames)]
        return np.array(events, dtype=TRACE_DTYPE)

    def wire(self) -> list[tuple[int, bytes]]:
        return [(67 * n * CYCLE_NS, frame) for n, (_, frame) in enumerate(self.frames)]


@pytest.fixture(scope="module")
def good() -> Run:
    frames = load(SHIPPED)[:500]
    result, wire = run_reference(frames, GUESTS, 1, Sharing.IOMMU)
    result.endpoints = {}
    return Run(share(frames, GUESTS), result, wire)


def verdict(run: Run, good: Run) -> Verdict:
    return judge(run.shares, run.result, run.wire(), run.trace(), good.result, good.frames, bypass=True)


def test_every_violation_is_caught_and_every_frame_arrives(good: Run) -> None:
    found = verdict(good, good)
    assert found.failures == []
    assert sum(check.verified for check in found.guests) == 500
    assert found.violations_attempted >= 20
    assert found.violations_escaped == 0
    assert all(attempt.caught for attempt in good.result.attempts)
    assert good.result.entries["data_path"] == 0


def test_same_seed_same_run(good: Run) -> None:
    again, wire = run_reference(load(SHIPPED)[:500], GUESTS, 1, Sharing.IOMMU)
    assert wire == good.frames
    assert again.attempts == good.result.attempts


def spoilt(good: Run) -> Run:
    return Run(good.shares, copy.deepcopy(good.result), list(good.frames))


def test_lost_frame(good: Run) -> None:
    run = spoilt(good)
    lost = next(n for n, (endpoint, _) in enumerate(run.frames) if endpoint == 1)
    del run.frames[lost]
    assert any(f.startswith("guest1: frame 0: ") for f in verdict(run, good).failures)


def test_frame_of_one_guest_in_anothers_name(good: Run) -> None:
    run = spoilt(good)
    at = next(n for n, (endpoint, _) in enumerate(run.frames) if endpoint == 2)
    run.frames[at] = (3, run.frames[at][1])
    failures = verdict(run, good).failures
    assert any(f.startswith("guest2: ") for f in failures)
    assert any(f.startswith("guest3: ") for f in failures)


def test_frame_of_the_hostile_guest_that_it_may_not_send(good: Run) -> None:
    run = spoilt(good)
    stolen = bytes(60)
    run.frames.append((GUESTS, stolen + zlib.crc32(stolen).to_bytes(4, "little")))
    found = verdict(run, good)
    assert found.violations_escaped == 1
    assert any(f.startswith(f"hostile, endpoint {GUESTS}: ") and "never sent" in f for f in found.failures)


def test_frame_of_nobody(good: Run) -> None:
    run = spoilt(good)
    run.frames.append((63, run.frames[0][1]))
    assert any("nobody owns it" in f for f in verdict(run, good).failures)


def test_escaped_violation(good: Run) -> None:
    run = spoilt(good)
    run.result.attempts[3].caught = False
    found = verdict(run, good)
    assert found.violations_escaped == 1
    assert any(f.startswith(f"hostile: {run.result.attempts[3].name}") for f in found.failures)


def test_completion_that_differs_from_the_reference(good: Run) -> None:
    run = spoilt(good)
    index, length, _ = run.result.guests[0].completions[7]
    run.result.guests[0].completions[7] = (index, length, 5)
    assert any(f.startswith("guest0: completion 7 ") for f in verdict(run, good).failures)


def test_entry_on_the_data_path(good: Run) -> None:
    run = spoilt(good)
    run.result.entries["data_path"] = 2
    assert "hypervisor: 2 entries on the data path, 0 allowed" in verdict(run, good).failures


def test_wire_and_trace_that_disagree(good: Run) -> None:
    trace = good.trace()
    trace["cycle"][5] += 1
    found = judge(good.shares, good.result, good.wire(), trace, good.result, good.frames, bypass=True)
    assert "differ in number or time" in found.failures[0]


@pytest.mark.parametrize("sharing", [Sharing.NATIVE, Sharing.WINDOWS, Sharing.VALIDATED, Sharing.SPLIT])
def test_every_way_of_sharing_carries_the_capture(sharing: Sharing) -> None:
    frames = load(SHIPPED)[:200]
    result, wire = run_reference(frames, 3, 1, sharing)
    result.endpoints = {}
    run = Run(shares_of(frames, 3, sharing), result, wire)
    bypass = not sharing.enters_on_data_path
    found = judge(run.shares, result, run.wire(), run.trace(), result, wire, bypass=bypass)
    assert found.failures == []
    assert [check.verified for check in found.guests] == [check.sent for check in found.guests]
    assert (result.entries["data_path"] == 0) is bypass
    assert found.violations_attempted > 40 and not found.violations_escaped
    # a frame that is lost, twice there, or out of its guest's order does not pass, shared endpoint or not
    first, second = run.shares[0][:2]
    assert first != second
    for spoil in ("lost", "twice", "swapped"):
        bad = list(wire)
        at = next(n for n, (_, seen) in enumerate(bad) if seen == on_line(first))
        other = next(n for n, (_, seen) in enumerate(bad) if seen == on_line(second) and n > at)
        if spoil == "lost":
            del bad[at]
        elif spoil == "twice":
            bad.insert(at, bad[at])
        else:
            bad[at], bad[other] = bad[other], bad[at]
        spoilt_run = Run(run.shares, result, bad)
        told = judge(run.shares, result, spoilt_run.wire(), spoilt_run.trace(), result, wire, bypass=bypass)
        assert any(f.startswith(("guest0", "endpoint 0")) for f in told.failures), spoil
