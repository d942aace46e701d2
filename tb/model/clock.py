"""What the blocks of the reference NIC need of their machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Clock(Protocol):
    """Time in ns and events, and the interrupt controller."""

    def now(self) -> int: ...

    def schedule(self, delay: int, action: Callable[[Any], None], argument: Any) -> None: ...

    def interrupt(self, address: int, data: int) -> None: ...
