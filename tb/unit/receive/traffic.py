"""Random set-ups, buffers and frame headers."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from sw.abi.registers import Mode
from tb.unit.receive.bench import Bench, Setup


class Space:
    """Addresses for buffers, upwards from a base, each used once."""

    def __init__(self, base: int, rng: random.Random) -> None:
        self._next = base
        self._rng = rng

    def take(self, size: int) -> int:
        """An even address, 0 to 62 bytes behind a multiple of 64; one in four lies across a 4 KiB boundary."""
        rng = self._rng
        start = -(-self._next // 64) * 64
        if rng.random() < 0.25:
            start = -(-start // 4096) * 4096 + 4096 - rng.randrange(64, size // 64 * 64 + 1, 64)
            start += 4096 if start < self._next else 0
        start += 2 * rng.randrange(32)
        self._next = start + size + 16
        return start


def spaces(rng: random.Random, endpoint: int, across: bool) -> list[Space]:
    """Places below and above 4 GiB, `across` it (one endpoint only: spaces must not meet), at the end of the bus space."""
    return [
        Space(0x2000_0000 + (endpoint << 24) % 0x8000_0000, rng),
        Space(0x1_0000_0000 - 20_000 if across else 0x2_0000_0000 + (endpoint << 28), rng),
        Space((1 << 48) - (endpoint + 1 << 26), rng),
    ]


def random_setup(rng: random.Random) -> Setup:
    """An endpoint's set-up; its completion rings lie anywhere, often across a 4 KiB boundary."""
    rss = rng.random() < 0.7
    top = rng.randrange(1, 1 << 15)
    rq_log2 = rng.choice((4, 4, 5, 6, 10))
    bases = tuple(
        rng.choice((0x4000_0000, 0x7F_0000_0000)) + (top << 20) + (n << 16) + 16 * rng.randrange(0, 512) for n in range(4)
    )
    return Setup(
        mode=rng.choice((Mode.NATIVE, Mode.IOMMU, Mode.IOMMU)),
        rss=rss,
        queues=rng.randint(1, 4),
        small_log2=rng.randint(4, 7),
        big_log2=rng.randint(4, 7),
        buffer_log2=rng.choice((11, 12)),
        rq_log2=rq_log2,
        small_max=rng.choice((0, 60, 128, 200, 1514, 2046)),
        max_frame=rng.choice((9018, 9018, 1518)),
        bases=(bases[0], bases[1], bases[2], bases[3]),
        key=rng.randbytes(40),
        table=tuple(rng.randrange(4) for _ in range(128)),
    )


def random_header(rng: random.Random) -> bytes:
    """The first bytes of a frame: IPv4 or IPv6 in many shapes, more or less, or something else."""
    mac = rng.randbytes(12)
    tag = struct.pack(">HH", 0x8100, rng.getrandbits(16)) * rng.choice((0, 0, 1, 1, 2))
    protocol = rng.choice((6, 6, 17, 17, 1, 0, 44, rng.randrange(256)))
    shape = rng.randrange(10)
    if shape < 5:
        ihl = rng.choice((5, 5, 5, 6, 15, rng.randrange(16)))
        version = 4 if rng.random() < 0.95 else rng.randrange(16)
        fragment = rng.choice((0, 0, 0x4000, 0x8000, 0x2000, 1, 0x1000, 0x100, rng.getrandbits(16)))
        start = struct.pack(">BBHHHBBH", version << 4 | ihl, 0, rng.getrandbits(16), 1, fragment, 64, protocol, 0)
        return mac + tag + b"\x08\x00" + start + rng.randbytes(60)
    if shape < 9:
        version = 6 if rng.random() < 0.95 else rng.randrange(16)
        start = struct.pack(">BBHHBB", version << 4, 0, 0, rng.getrandbits(16), protocol, 64)
        return mac + tag + b"\x86\xdd" + start + rng.randbytes(60)
    return mac + tag + rng.choice((b"\x08\x06", b"\x88\xa8", rng.randbytes(2))) + rng.randbytes(70)


def keep_filled(
    env: Bench, rng: random.Random, endpoints: list[int], chance: float, pio: dict[int, bool]
) -> Callable[[], None]:
    """Software that posts buffers while there is room, with this chance in each cycle."""
    places = {e: spaces(rng, e, across=e == endpoints[0]) for e in endpoints}

    def refill() -> None:
        if rng.random() >= chance:
            return
        endpoint, big = rng.choice(endpoints), rng.random() < 0.7
        if env.room(endpoint, big) <= 0:
            return
        setup = env.setups[endpoint]
        size = 1 << setup.buffer_log2 if big else max(setup.small_max, 64) + 2
        address = rng.choice(places[endpoint]).take(size)
        if not pio[endpoint]:
            address |= rng.getrandbits(1)  # a fetched entry's bit 0 does not count
        env.post(endpoint, big, address, pio=pio[endpoint], halves=pio[endpoint] and rng.random() < 0.3)

    return refill
