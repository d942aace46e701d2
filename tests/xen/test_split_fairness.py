"""The queue before the line: order within a station, and shares between stations that always have something queued."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypervisor_model.dom0.fair_queue import QUANTUM, FairQueue
from hypervisor_model.dom0.packet import Packet

HEAD = 12
LONGEST = 65_550


def packet(station: int, number: int, size: int) -> Packet:
    return Packet(bytes(6) + bytes([2, 0, 0, 0, 0, station]) + number.to_bytes(4, "big") + bytes(size - HEAD - 4))


sizes = st.one_of(st.integers(60, QUANTUM), st.sampled_from([60, QUANTUM, QUANTUM + 1, 9014, LONGEST]))


@given(st.lists(st.tuples(st.integers(0, 3), sizes, st.booleans()), max_size=60))
def test_each_station_gets_its_packets_in_order_and_nothing_is_lost(steps: list[tuple[int, int, bool]]) -> None:
    queue = FairQueue()
    waiting: dict[int, list[Packet]] = {n: [] for n in range(4)}
    for number, (station, size, take) in enumerate(steps):
        new = packet(station, number, size)
        head = queue.head() if len(queue) else None
        queue.put(new)
        waiting[station].append(new)
        assert head is None or queue.head() is head, "what is put in does not change the next packet"
        assert len(queue) == sum(map(len, waiting.values()))
        if take:
            got = queue.take()
            assert got is waiting[got.frame[11]].pop(0)
    while len(queue):
        got = queue.take()
        assert got is waiting[got.frame[11]].pop(0)
    assert not any(waiting.values())


@given(st.lists(st.lists(sizes, min_size=1, max_size=8), min_size=2, max_size=4), st.integers(1, 300))
def test_busy_stations_get_the_same_number_of_bytes(kinds: list[list[int]], turns: int) -> None:
    """Bound of deficit round robin (Shreedhar and Varghese, theorem 3): a quantum and a longest packet from each other, twice."""
    queue = FairQueue()
    put = [0] * len(kinds)
    sent = [0] * len(kinds)

    def feed(station: int) -> None:
        queue.put(packet(station, put[station], kinds[station][put[station] % len(kinds[station])]))
        put[station] += 1

    for station in range(len(kinds)):
        feed(station)
        feed(station)
    longest = max(max(kind) for kind in kinds)
    for _ in range(turns):
        got = queue.take()
        station = got.frame[11]
        sent[station] += len(got.frame)
        feed(station)
        assert max(sent) - min(sent) <= QUANTUM + 2 * longest


def test_shares_are_exact_between_packets_of_a_quantum() -> None:
    queue = FairQueue()
    for number in range(100):
        queue.put(packet(0, number, QUANTUM))
    for number in range(3):
        queue.put(packet(1, number, QUANTUM))
    assert [queue.take().frame[11] for _ in range(8)] == [0, 1, 0, 1, 0, 1, 0, 0]


def test_an_empty_queue_has_no_next_packet() -> None:
    queue = FairQueue()
    queue.put(packet(0, 0, 60))
    queue.take()
    assert len(queue) == 0
    with pytest.raises(IndexError, match="no packet"):
        queue.head()
    with pytest.raises(IndexError, match="no packet"):
        queue.take()
