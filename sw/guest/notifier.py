"""Events that a driver owes the other end: marked where nothing may sleep, sent where it may."""

from __future__ import annotations

from typing import Final

from sw.guest.machine import GuestMachine

_IDLE_NS: Final = 1_000_000_000


class Notifier:
    """Ports to be notified. An event that is due is sent once, however often it was marked."""

    def __init__(self, machine: GuestMachine) -> None:
        self._machine = machine
        self._due: dict[int, None] = {}
        self._signal = machine.signal()
        self._running = True
        self.sent = 0
        """Events sent: one hypercall each."""

    def mark(self, port: int) -> None:
        """An event is due."""
        self._due[port] = None
        self._signal.notify()

    def forget(self) -> None:
        """The ports are closed: nothing is due."""
        self._due.clear()

    async def flush(self) -> None:
        """Send what is due."""
        while self._due:
            port = next(iter(self._due))
            del self._due[port]
            self.sent += 1
            await self._machine.hypercall.event_send(port)

    async def run(self) -> None:
        """Send events as they become due, until `stop`."""
        while self._running:
            await self.flush()
            if not self._due:
                await self._signal.wait(_IDLE_NS)

    def start(self) -> None:
        """`run` may run, now or later."""
        self._running = True

    def stop(self) -> None:
        """End `run`, also one that has not begun."""
        self._running = False
        self._signal.notify()
