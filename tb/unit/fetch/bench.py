"""The bench around the fetch of descriptors: guests that ring, a reader that answers, an executor that follows."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any, Final

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from sw.abi.registers import Mode, NicControl, Status
from tb.unit.dma_read.bench import DONE, REQUEST, boundary
from tb.unit.packed import Packed
from tb.unit.streams import PATTERNS, cycle, cycles, levels, settle, start

CTRL: Final = Packed("enable:1 form:1 mode:3 send_log2:4 cq_log2:4")
DOORBELL: Final = Packed("valid:1 ep:6 big:1 producer:16")
ENDPOINTS: Final = 64
INDEX: Final = 1 << 16
MAX_PIECES: Final = 12
"""Descriptors that an executor can need at once."""
INPUTS: Final = ("enable_i", "mrrs_i", "doorbell_i", "start_i", "start_ep_i", "finish_i", "finish_ring_i", "req_ready_i",
                 "done_i", "look_ring_i")


@dataclass(frozen=True)
class Geometry:
    """One of the two that the NIC has."""

    per_endpoint: int
    bytes_each: int
    batch: int
    stride: int
    """Descriptors between two rings in the ring SRAM."""


SEND: Final = Geometry(1, 16, NicControl.CAPS_FETCH_BATCH_VALUE, 1024)
RECEIVE: Final = Geometry(2, 8, 16, 512)


@dataclass
class Ring:
    """A guest's ring, as far as indices go; they count without wrapping."""

    number: int
    log2: int
    base: int
    mode: int
    producer: int = 0
    fetched: int = 0
    consumer: int = 0
    need: int = 1
    busy: int = 0
    """Descriptors of the outstanding fetch."""
    failed: bool = False

    @property
    def size(self) -> int:
        return 1 << self.log2


@dataclass
class TB:
    dut: Any
    geometry: Geometry
    random: random.Random
    mrrs: int = 2
    pressure: str = "always"
    failures: float = 0.0
    delay: int = 30
    """Cycles of a read at most."""
    follow: float = 0.3
    """Probability that the executor moves in a cycle."""
    hostile: float = 0.0
    """Probability that a doorbell says nonsense."""
    doorbells: float = 0.2

    rings: dict[int, Ring] = field(default_factory=dict)
    allowed: set[int] = field(default_factory=set)
    enabled: bool = True
    served: list[int] = field(default_factory=list)
    """Ring of each fetch."""
    refused: int = 0
    """Doorbells."""
    to_send: dict[int, int] = field(default_factory=dict)
    """Descriptors that each guest will still offer."""

    async def start(self) -> None:
        dut = self.dut
        await start(dut, INPUTS)
        dut.mrrs_i.value, dut.enable_i.value, dut.fetched_form_i.value = self.mrrs, 1, 0
        self._quiet = False
        self._reads: list[tuple[int, int]] = []
        self._finish: tuple[Ring, int, int] | None = None
        cocotb.start_soon(self._run())

    async def add(self, number: int, log2: int) -> Ring:
        """Set up a ring; the endpoint starts anew."""
        rng = self.random
        # a base may be anything that is 16-byte aligned; a page for rings whose end may meet a boundary
        ring = Ring(number, log2, rng.getrandbits(36) << 4, rng.choice((Mode.NATIVE, Mode.IOMMU, Mode.VALIDATED)))
        endpoint = number // self.geometry.per_endpoint
        dut = self.dut
        dut.ctrl_q[number].value = CTRL.pack(enable=1, form=1, mode=ring.mode, send_log2=log2)
        dut.base_q[number].value = ring.base
        dut.consumer_q[number].value, dut.need_q[number].value = 0, 1
        dut.start_i.value, dut.start_ep_i.value = 1, endpoint
        self._quiet = True
        await FallingEdge(dut.clk_i)
        self._quiet = False
        dut.start_i.value = 0
        for other in self.rings.values():
            if other.number // self.geometry.per_endpoint == endpoint:
                other.producer = other.fetched = other.consumer = 0
                other.failed, other.need = False, 1
                dut.consumer_q[other.number].value, dut.need_q[other.number].value = 0, 1
        self.rings[number] = ring
        self.to_send.setdefault(number, 0)
        self.allow(endpoint, on=True)
        return ring

    def allow(self, endpoint: int, *, on: bool) -> None:
        """The endpoint is enabled and takes doorbells."""
        (self.allowed.add if on else self.allowed.discard)(endpoint)
        self.dut.fetched_form_i.value = sum(1 << e for e in self.allowed)

    def enable(self, *, on: bool) -> None:
        """The device executes."""
        self.enabled = on
        self.dut.enable_i.value = int(on)

    @property
    def done(self) -> bool:
        """All that is good and allowed has been fetched and executed."""
        return all(ring.failed or (not self.to_send[n] and ring.consumer == ring.producer) for n, ring in self.rings.items())

    async def finish(self) -> None:
        await settle(self.dut, lambda: self.done, f"all descriptors are fetched: {self.rings}", 40_000)
        self._quiet = True
        await cycles(self.dut, 2)
        for ring in self.rings.values():
            await self._check_status(ring)
        self._quiet = False

    async def _check_status(self, ring: Ring) -> None:
        dut = self.dut
        dut.look_ring_i.value = ring.number
        await ReadOnly()
        found = tuple(int(getattr(dut, name).value) for name in ("look_fetched_o", "look_failed_o", "exec_fetched_o", "exec_failed_o"))
        assert found == (ring.fetched % INDEX, ring.failed) * 2, f"ring {ring}: {found}"
        if ring.number % self.geometry.per_endpoint == 0:
            assert int(dut.status_producer_o.value) == ring.producer % INDEX
        await FallingEdge(dut.clk_i)

    # ---- one cycle ---------------------------------------------------------------------------
    async def _run(self) -> None:
        dut, rng = self.dut, self.random
        ready = levels(PATTERNS[self.pressure](rng))
        offered: int | None = None
        free = True
        picked: dict[int, Ring] = {}
        while True:
            await FallingEdge(dut.clk_i)
            if self._finish is not None:
                ring, consumer, need = self._finish
                ring.consumer, ring.need = consumer, need
                dut.consumer_q[ring.number].value, dut.need_q[ring.number].value = ring.consumer % INDEX, ring.need
                self._finish = None
            take = next(ready)
            dut.req_ready_i.value = int(take)
            # what the doorbell and the answer of this cycle change counts from the next one on
            allowed = self.allowed if self.enabled else set()
            now = {n: replace(ring) for n, ring in self.rings.items() if n // self.geometry.per_endpoint in allowed}
            refused = self._ring_doorbell()
            self._answer()
            self._execute()
            await ReadOnly()
            assert int(dut.doorbell_bad_o.value) == refused, f"cycle {cycle()}: the doorbell is refused: {refused}"
            request = int(dut.req_o.value) if int(dut.req_valid_o.value) else None
            assert free or request == offered, f"cycle {cycle()}: an offered fetch changed or was withdrawn"
            if free and request is not None:
                self._check(REQUEST.unpack(request), picked)
            if request is not None and take:
                self._reads.append((self.served[-1], cycle() + rng.randint(1, self.delay)))
            offered, free, picked = request, request is None or take, now

    def _check(self, request: dict[str, int], picked: dict[int, Ring]) -> None:
        """A fetch as its ring was when it was picked: the next descriptors, as many as one read may hold."""
        per, size, at = self.geometry.per_endpoint, self.geometry.bytes_each, f"cycle {cycle()}"
        number = request["ep"] * per + (request["slot"] if per > 1 else 0)
        assert number in picked, f"{at}: a fetch for ring {number}, which is disabled"
        ring = picked[number]
        assert not ring.busy, f"{at}: two fetches for ring {number}"
        assert not ring.failed, f"{at}: a fetch for ring {number}, whose fetch has failed"
        place = ring.fetched % ring.size
        address = ring.base + place * size
        count = min(ring.producer - ring.fetched, ring.size - place, self.geometry.batch,
                    (boundary(self.mrrs) - address % boundary(self.mrrs)) // size)
        assert count > 0, f"{at}: ring {number} has nothing to fetch"
        assert ring.fetched - ring.consumer < 2 * self.geometry.batch + ring.need - 1, f"{at}: ring {number} is far enough ahead"
        expected = {"fetch": 1, "rx": int(per > 1), "ep": number // per, "mode": ring.mode, "slot": number % per,
                    "first": 0, "index": ring.fetched % INDEX, "addr": address, "len": count * size,
                    "dest": (number * self.geometry.stride + place) * size}
        assert request == expected, f"{at}: {request}, not {expected}"
        self.rings[number].busy = count
        self.served.append(number)

    def _ring_doorbell(self) -> bool:
        """A guest rings: as many descriptors as before or more, or nonsense. Returns whether it is to be refused."""
        rng, dut = self.random, self.dut
        dut.doorbell_i.value = 0
        if self._quiet or not self.rings or rng.random() > self.doorbells:
            return False
        ring = rng.choice(list(self.rings.values()))
        room = ring.size - (ring.producer - ring.consumer)
        more = rng.randint(0, min(room, self.to_send[ring.number]))
        new = ring.producer + more
        hostile = rng.random() < self.hostile
        if not self.to_send[ring.number] and not hostile:
            # the last doorbell has been rung: what is left to fetch must come without another
            return False
        if hostile:
            new = ring.fetched + ring.size + rng.randint(1, INDEX - ring.size - 1)
        per = self.geometry.per_endpoint
        dut.doorbell_i.value = DOORBELL.pack(valid=1, ep=ring.number // per, big=ring.number % per, producer=new % INDEX)
        if (new - ring.fetched) % INDEX > ring.size:
            self.refused += 1
            return True
        self.to_send[ring.number] -= more
        ring.producer = new
        return False

    def _execute(self) -> None:
        """The executor is through with a chain of some ring, or finds that it needs more of one."""
        dut, rng = self.dut, self.random
        dut.finish_i.value = 0
        behind = [ring for ring in self.rings.values() if ring.consumer < ring.fetched]
        if not behind or rng.random() > self.follow:
            return
        ring = rng.choice(behind)
        there = ring.fetched - ring.consumer
        if there < min(MAX_PIECES, ring.producer - ring.consumer) and rng.random() < 0.2:
            consumer, need = ring.consumer, rng.randint(there + 1, min(MAX_PIECES, ring.producer - ring.consumer))
        else:
            consumer, need = ring.consumer + rng.randint(1, there), 1
        dut.finish_i.value, dut.finish_ring_i.value = 1, ring.number
        self._finish = ring, consumer, need

    def _answer(self) -> None:
        """A read ends: one of this block, or of another, which means nothing here."""
        dut, rng, per = self.dut, self.random, self.geometry.per_endpoint
        due = [read for read in self._reads if read[1] <= cycle()]
        dut.done_i.value = 0
        if not due:
            if rng.random() < 0.2:
                other = rng.choice(({"fetch": 0, "rx": int(per > 1)}, {"fetch": 1, "rx": int(per == 1)}))
                dut.done_i.value = DONE.pack(valid=1, ep=rng.randrange(ENDPOINTS), count=3, **other)
            return
        read = rng.choice(due)
        self._reads.remove(read)
        ring = self.rings[read[0]]
        failed = rng.random() < self.failures
        dut.done_i.value = DONE.pack(valid=1, fetch=1, rx=int(per > 1), ep=ring.number // per, slot=ring.number % per,
                                     count=ring.busy, status=Status.READ_UR if failed else Status.OK)
        ring.failed |= failed
        ring.fetched += 0 if failed else ring.busy
        ring.busy = 0
