"""Rate limit of a vif: a number of bytes in each interval. Rules as in Linux `xen-netback` (`tx_add_credit`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

BURST_BYTES: Final = 131_072
"""Unused credit adds up to this much, or to one interval's: a big packet must be able to pass at all."""


@dataclass(frozen=True)
class Rate:
    """The `rate` key, "bytes,usecs". Raises `ValueError` naming field and limit."""

    octets: int
    usecs: int
    """Interval, us; 0: not limited."""

    def __post_init__(self) -> None:
        for name, value in (("octets", self.octets), ("usecs", self.usecs)):
            if not 0 <= value <= 0xFFFF_FFFF or (name == "octets" and value == 0):
                raise ValueError(f"{name} is {value}: {1 if name == 'octets' else 0} to {0xFFFF_FFFF}")

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Raises `ValueError` for what is no rate."""
        octets, comma, usecs = text.partition(",")
        if not comma or not (octets.isdigit() and usecs.isdigit()):
            raise ValueError(f"rate is {text[:24]!r}: bytes,usecs")
        return cls(int(octets), int(usecs))


class Credit:
    """What a vif may send now."""

    def __init__(self, rate: Rate, now: Callable[[], int]) -> None:
        """`now` is simulated time in ns."""
        self._rate = rate
        self._now = now
        self._left = rate.octets
        self._next = now() + rate.usecs * 1000

    def wait_ns(self, size: int) -> int:
        """Time until a packet of `size` bytes may pass: 0 for now."""
        if self._rate.usecs == 0:
            return 0
        interval = self._rate.usecs * 1000
        now = self._now()
        if now >= self._next:
            intervals = (now - self._next) // interval + 1
            self._left = min(self._left + intervals * self._rate.octets, max(BURST_BYTES, self._rate.octets))
            self._next += intervals * interval
        return 0 if size <= self._left else self._next - now

    def take(self, size: int) -> None:
        """A packet passes."""
        self._left -= min(size, self._left)
