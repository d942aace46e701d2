"""Between Linux stacks, which live in real time, and the NIC, which lives in simulated time.

While anything is on its way simulated time runs and the TAP files are looked at every few microseconds of it; when
nothing is, simulated time stands still and the process sleeps in `select`. A frame is only taken from a stack when
the NIC, or the line, has room for it: what is slow delays, and nothing is dropped here.
"""

from __future__ import annotations

import os
import select
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Protocol

from tb.ethernet import FCS_BYTES, on_line
from tb.tap import vnet
from tb.tap.flows import Flows

POLL_NS: Final = 2_000
"""Simulated time between two looks at the TAP files."""
QUIET_NS: Final = 20_000
"""Simulated time without any frame after which nothing is on its way; longer than interrupt moderation."""
LOST_NS: Final = 2_000_000
"""Simulated time without any frame after which what has not arrived never will."""
IDLE_S: Final = 0.2
"""Longest sleep in real time."""
BATCH: Final = 64
"""Packets that are taken from one stack in a row."""
LINE_BYTES: Final = 32 << 10
"""What may be under way from the host on the wire: half of the NIC's receive buffer, so that it never overflows."""
LINE_GBPS: Final = 10
LINE_OVERHEAD: Final = 20
"""Preamble and gap, bytes."""
CAPTURE_BYTES: Final = 256 << 20
"""Bytes of frames that a capture keeps: the latest ones."""
MAC_CONTROL: Final = b"\x88\x08"


class Tap:
    """A TAP file."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.refused = 0
        """Frames that the stack did not take."""
        self.held: vnet.Packet | None = None
        """Taken from the stack, and not by the NIC."""

    def take(self) -> vnet.Packet | None:
        """The packet that is held, or else the stack's next one."""
        if self.held is None:
            try:
                data = os.read(self.fd, vnet.PACKET_MAX)
            except BlockingIOError:
                return None
            self.held = vnet.parse(data)
        return self.held

    def give(self, header: bytes, frame: bytes) -> None:
        """Hand a frame to the stack."""
        try:
            os.writev(self.fd, (header, frame))
        except OSError:
            # the device is down: a real one would not even see the frame
            self.refused += 1


class Capture:
    """Frames with simulated time, the latest `CAPTURE_BYTES` of them."""

    def __init__(self) -> None:
        self._frames: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self.forgotten = 0

    def add(self, ns: int, frame: bytes) -> None:
        self._frames.append((ns, frame))
        self._bytes += len(frame)
        while self._bytes > CAPTURE_BYTES:
            self._bytes -= len(self._frames.popleft()[1])
            self.forgotten += 1

    def in_order(self) -> list[tuple[int, bytes]]:
        """By time."""
        return sorted(self._frames, key=lambda row: row[0])


class Driver(Protocol):
    """What the pump asks of a guest's network driver."""

    def transmit(self, packet: vnet.Packet) -> bool:
        """Queue a packet; False, and nothing queued, when there is no room."""
        ...

    def flush(self) -> None:
        """Announce what was queued; take completions."""
        ...

    async def set_groups(self, groups: frozenset[bytes]) -> None:
        """Receive frames to these link-layer groups, and to no others."""
        ...


Left = Callable[[], Iterable[tuple[int, bytes]]]
"""Frames that have left on the wire since the last call: when their first bit did, in ns, and bytes with FCS."""


class Line(Protocol):
    """What the pump asks of a platform: time and the line towards the NIC."""

    def now(self) -> int: ...

    async def sleep(self, ns: int) -> None: ...

    def wire_send(self, data: bytes) -> None: ...


class Guest:
    """A guest's stack on its driver."""

    def __init__(self, name: str, mac: bytes, tap: Tap, groups_fd: int, device: str) -> None:
        self.name = name
        self.mac = mac
        self.tap = tap
        self.capture = Capture()
        self.driver: Driver
        self.left_to_nic = {"checksums_inserted": 0, "packets_segmented": 0, "checksums_verified": 0}
        """Work of the stack that the NIC did."""
        self._groups_fd = groups_fd
        self._device = device.encode()
        self._groups: frozenset[bytes] = frozenset()

    def collect(self, flows: Flows, now: int) -> int:
        """Packets from the stack to the driver, as many as it takes; how many."""
        moved = 0
        while moved < BATCH and (packet := self.tap.take()) is not None:
            if not self.driver.transmit(packet):
                break
            self.tap.held = None
            flows.sent(packet.frame, packet.segments, now)
            self.left_to_nic["checksums_inserted"] += packet.checksum is not None
            self.left_to_nic["packets_segmented"] += packet.segments > 1
            moved += 1
        self.driver.flush()
        return moved

    async def follow_groups(self) -> None:
        """Tell the NIC which groups the stack has joined or left since the last call."""
        text = os.pread(self._groups_fd, 1 << 16, 0)
        rows = [line.split() for line in text.splitlines()]
        groups = frozenset(bytes.fromhex(row[4].decode()) for row in rows if row[1] == self._device)
        if groups != self._groups:
            await self.driver.set_groups(groups)
            self._groups = groups


class Pump:
    """Moves frames until told to end."""

    def __init__(
        self, line: Line, left: Left, guests: Sequence[Guest], wire: Tap, wire_mac: bytes, wire_name: str
    ) -> None:
        self._line = line
        self._left = left
        self._guests = guests
        self._by_mac = {guest.mac: guest for guest in guests}
        self._wire = wire
        self.capture = Capture()
        """The wire itself, frames with FCS."""
        self.flows = Flows({**{guest.mac: guest.name for guest in guests}, wire_mac: wire_name})
        self.lost = 0
        """Frames that were handed to NIC or line and never came out."""
        self.pauses = 0
        """Pause frames that the NIC sent."""
        self._wire_mac = wire_mac
        self._on_line: deque[int] = deque()
        self._on_line_bytes = 0
        self._line_free_ns = 0
        self._moved = 0

    def deliver(self, guest: Guest, frame: bytes, checked: bool, ns: int) -> None:
        """A frame that the guest's driver received; `ns`: when its last byte was on its way to memory."""
        self._moved += 1
        self.flows.arrived(frame, self._line.now())
        guest.tap.give(vnet.CHECKED if checked else vnet.PLAIN, frame)
        guest.capture.add(ns, frame)
        guest.left_to_nic["checksums_verified"] += checked
        source = frame[6:12]
        if source == self._wire_mac:
            if not frame[0] & 1 and self._on_line:
                self._on_line_bytes -= self._on_line.popleft()
        elif (sender := self._by_mac.get(source)) is not None and not frame[0] & 1:
            # with its checksums filled in; groups are taken from the wire
            sender.capture.add(ns, frame)

    async def run(self, poll_control: Callable[[], Awaitable[bool]], control_fd: int) -> None:
        """Until `poll_control` returns False; it is called when `control_fd` is readable, and at least every 0.2 s."""
        line = self._line
        last = line.now()
        looked = 0.0
        while True:
            real = time.monotonic()
            if real - looked >= IDLE_S / 2:
                looked = real
                for guest in self._guests:
                    await guest.follow_groups()
                if not await poll_control():
                    return
            now = line.now()
            for guest in self._guests:
                self._moved += guest.collect(self.flows, now)
            self._from_wire_host(now)
            self._to_wire_host()
            if self._moved:
                self._moved, last = 0, now
            if now - last < (LOST_NS if self.flows.outstanding else QUIET_NS) or self._holding():
                await line.sleep(POLL_NS)
                continue
            self.lost += self.flows.give_up()
            self._on_line.clear()
            self._on_line_bytes = 0
            taps = [guest.tap.fd for guest in self._guests]
            readable, _, _ = select.select([*taps, self._wire.fd, control_fd], [], [], IDLE_S)
            # groups that a stack has just joined must be known before its question for them goes out
            looked = 0.0 if readable else looked

    def _holding(self) -> bool:
        return self._wire.held is not None or any(guest.tap.held is not None for guest in self._guests)

    def _from_wire_host(self, now: int) -> None:
        """Frames from the host on the wire onto the line."""
        moved = 0
        while moved < BATCH and self._on_line_bytes < LINE_BYTES and (packet := self._wire.take()) is not None:
            self._wire.held = None
            data = on_line(packet.frame)
            self._line.wire_send(data)
            self.flows.sent(data[:-FCS_BYTES], 1, now)
            if data[:6] in self._by_mac:
                self._on_line.append(len(data))
                self._on_line_bytes += len(data)
            begun = max(now, self._line_free_ns)
            self._line_free_ns = begun + -(-(len(data) + LINE_OVERHEAD) * 8 // LINE_GBPS)
            self.capture.add(begun, data)
            moved += 1
        self._moved += moved

    def _to_wire_host(self) -> None:
        """Frames that have left the NIC to the host on the wire."""
        now = self._line.now()
        for ns, data in self._left():
            self._moved += 1
            self.capture.add(ns, data)
            frame = data[:-FCS_BYTES]
            if frame[12:14] == MAC_CONTROL:
                # a network card keeps pause frames to itself
                self.pauses += 1
                continue
            self.flows.arrived(frame, now)
            self._wire.give(vnet.PLAIN, frame)
            if (sender := self._by_mac.get(frame[6:12])) is not None:
                sender.capture.add(ns, frame)
