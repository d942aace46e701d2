"""Random arming and arrival: every cycle as the oracle has it, and no guest ever sleeps while entries wait for it."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import cocotb

from tb.unit.interrupt.bench import ENDPOINTS, Bench
from tb.unit.interrupt.oracle import RINGS, Arm, Post

TRIALS = 2500
"""Sleeps of guests that end with an interrupt."""
ACTIVE = 12
SLACK = 400
"""Cycles beyond the moderation time in which an interrupt must be there: the link serves many vectors."""


@dataclass
class Guest:
    """Software of one endpoint: it polls its rings, arms them with what it has seen, and sleeps until an interrupt."""

    endpoint: int
    cycles: int
    rings: tuple[int, ...]
    posted: list[int] = field(default_factory=lambda: [0] * RINGS)
    visible: list[int] = field(default_factory=lambda: [0] * RINGS)
    seen: list[int] = field(default_factory=lambda: [0] * RINGS)
    asleep: bool = False
    busy_until: int = 0
    waiting_since: int | None = None

    def poll(self) -> list[Arm]:
        """Look at all rings, then ask for an interrupt from there on."""
        self.seen = list(self.visible)
        self.asleep = True
        self.waiting_since = None
        return [Arm(self.endpoint, ring, self.seen[ring]) for ring in self.rings]

    def check(self, cycle: int) -> None:
        if not self.asleep or all(self.visible[r] == self.seen[r] for r in self.rings):
            self.waiting_since = None
        elif self.waiting_since is None:
            self.waiting_since = cycle
        late = 0 if self.waiting_since is None else cycle - self.waiting_since
        assert late <= self.cycles + SLACK, (
            f"endpoint {self.endpoint} sleeps since {late} cycles with entries {self.visible} of which it has seen "
            f"{self.seen}; moderation {self.cycles} cycles"
        )


class Machine:
    """Guests, the delays between them and the NIC, and entries that arrive when it hurts."""

    def __init__(self, env: Bench, rng: random.Random) -> None:
        self.env = env
        self.rng = rng
        self.guests: list[Guest] = []
        self.to_nic: deque[tuple[int, Arm]] = deque()
        self.to_host: deque[tuple[int, int, Post | None]] = deque()
        """(cycle, endpoint, entries or None for an interrupt), in the order of the link."""
        self.wakes = 0
        self._quiet = 0
        self._arm_free = 0
        self._messages = 0

    async def cycle(self, rate: int, latency: int) -> None:
        """One cycle; `rate`: posts per 1000 cycles at most, `latency`: cycles between host and NIC."""
        env, rng = self.env, self.rng
        now = env.cycle
        arm = self._arriving(now)
        send, recv = self._posts(now, rate, arm)
        await env.step(send=send, recv=recv, arm=arm)
        self.to_host += [(now + latency, p.endpoint, p) for p in (send, recv) if p is not None]
        for left, vector in env.left[self._messages :]:
            self.to_host.append((left + latency, vector, None))
        self._messages = len(env.left)
        while self.to_host and self.to_host[0][0] <= now:
            _, endpoint, post = self.to_host.popleft()
            guest = next(g for g in self.guests if g.endpoint == endpoint)
            if post is not None:
                guest.visible[post.ring] = post.index
            elif guest.asleep:
                guest.asleep = False
                guest.busy_until = now + rng.choice((0, 1, 3, 20, 100))
                self.wakes += 1
        for guest in self.guests:
            guest.check(now)
            # sometimes software polls without an interrupt
            if guest.asleep and rng.random() < 0.0005:
                guest.asleep, guest.busy_until = False, now
            if not guest.asleep and now >= guest.busy_until:
                self.to_nic += [(now + latency, a) for a in guest.poll()]

    def _arriving(self, now: int) -> Arm | None:
        if not self.to_nic or self.to_nic[0][0] > now or now < self._arm_free:
            return None
        self._arm_free = now + 2
        return self.to_nic.popleft()[1]

    def _posts(self, now: int, rate: int, arm: Arm | None) -> tuple[Post | None, Post | None]:
        rng = self.rng
        if now < self._quiet:
            return None, None
        soon = arm or (self.to_nic[0][1] if self.to_nic and self.to_nic[0][0] <= now + 1 else None)
        if soon is not None and rng.random() < 0.3:
            guest = next(g for g in self.guests if g.endpoint == soon.endpoint)
            chosen = [self._post(guest, soon.ring)]
        elif rng.randrange(1000) < rate:
            guest = rng.choice(self.guests)
            chosen = [self._post(guest, rng.randrange(RINGS))]
        else:
            return None, None
        if rng.random() < 0.2:  # both writers at once, often for one endpoint
            other = guest if rng.random() < 0.5 else rng.choice(self.guests)
            chosen.append(self._post(other, rng.randrange(1, RINGS) if chosen[0].ring == 0 else 0))
        self._quiet = now + 2
        return next((p for p in chosen if p.ring == 0), None), next((p for p in chosen if p.ring), None)

    def _post(self, guest: Guest, ring: int) -> Post:
        count = self.rng.randint(1, 8)
        guest.posted[ring] = (guest.posted[ring] + count) & 0xFFFF
        return Post(guest.endpoint, ring, guest.posted[ring], count)


@cocotb.test
async def no_wakeup_is_lost(dut: Any) -> None:
    """Guests poll, arm and sleep; entries come at any time; each sleeper with entries is woken in bounded time."""
    rng = random.Random(cocotb.RANDOM_SEED)
    env = Bench(dut)
    wakes = 0
    phase = 0
    while wakes < TRIALS:
        await env.start()
        machine = Machine(env, rng)
        for endpoint in sorted(rng.sample(range(ENDPOINTS), ACTIVE)):
            await env.enable(endpoint, native=rng.random() < 0.2)
            await env.unmask(endpoint)
            cycles = rng.choice((0, 1, 2, 5, 30, 100, 400))
            await env.moderate(endpoint, cycles, rng.choice((0, 1, 2, 3, 5, 20, 255)))
            rings = tuple(r for r in range(RINGS) if rng.random() < 0.6) or (rng.randrange(RINGS),)
            machine.guests.append(Guest(endpoint, cycles, rings))
        rate = (30, 150, 400)[phase % 3]
        env.hold = rng.choice((1, 2, 5))
        latency = rng.choice((0, 3, 30))
        for _ in range(3000):
            await machine.cycle(rate, latency)
        for _ in range(400 + SLACK + 2 * latency + 200):
            await machine.cycle(0, latency)
        wakes += machine.wakes
        phase += 1
    dut._log.info("%d sleeps ended in %d phases", wakes, phase)


@cocotb.test
async def masks_and_restarts(dut: Any) -> None:
    """Random masking, table reads and restarts of endpoints: each vector that fires has one message, when unmasked."""
    rng = random.Random(cocotb.RANDOM_SEED ^ 0x5A)
    env = Bench(dut)
    await env.start()
    endpoints = sorted(rng.sample(range(ENDPOINTS), 8))
    posted = {e: [0] * RINGS for e in endpoints}
    masked = set(endpoints)
    for endpoint in endpoints:
        await env.enable(endpoint)
        await env.unmask(endpoint)
        await env.mask(endpoint, masked=True)
        await env.moderate(endpoint, rng.choice((0, 3, 40)), rng.choice((1, 4, 30)))
    for _ in range(3000):
        endpoint, ring = rng.choice(endpoints), rng.randrange(RINGS)
        index = posted[endpoint][ring]
        action = rng.randrange(100)
        if action < 35:
            await env.step(arm=Arm(endpoint, ring, (index - rng.choice((0, 0, 0, 1, 300))) & 0xFFFF))
            await env.step()
        elif action < 80:
            posted[endpoint][ring] = index = (index + 1) & 0xFFFF
            post = Post(endpoint, ring, index, 1)
            await (env.step(recv=post) if ring else env.step(send=post))
        elif action < 90:
            await env.mask(endpoint, masked=endpoint not in masked)
            masked ^= {endpoint}
        elif action < 93:
            await env.disable(endpoint)
            await env.steps(2)
            await env.enable(endpoint)
            posted[endpoint] = [0] * RINGS
        else:
            await env.steps(rng.randrange(60))
        if action >= 97:
            await env.steps(100)  # everything that may be sent has left
            waits = any(env.oracle.endpoints[e].entries for e in endpoints)
            if not waits:
                assert env.owed <= masked
                assert await env.pending() == env.owed
    for endpoint in endpoints:
        await env.mask(endpoint, masked=False)
    await env.steps(200)
    assert not env.owed and await env.pending() == set()
