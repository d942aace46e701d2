"""The pump between stacks and NIC: room, order, idleness, loss, groups. Socket pairs stand for TAP devices."""

from __future__ import annotations

import asyncio
import os
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tb.tap import vnet
from tb.tap.pump import LINE_BYTES, LOST_NS, POLL_NS, QUIET_NS, Guest, Pump, Tap

WIRE_MAC = bytes.fromhex("027700000001")
MACS = [bytes.fromhex("020000000001"), bytes.fromhex("020000000002")]
GROUP = bytes.fromhex("333300000001")


def frame(source: bytes, target: bytes, length: int = 60, fill: int = 0) -> bytes:
    return (target + source + b"\x88\xb5" + bytes([fill]) * length)[:length]


class Line:
    """Time, and the wire: frames towards the NIC, and (ns, frame) of what has left it."""

    def __init__(self) -> None:
        self.time = 0
        self.sent: list[bytes] = []
        self.left: list[tuple[int, bytes]] = []
        self.every_poll: Callable[[], None] = lambda: None

    def now(self) -> int:
        return self.time

    async def sleep(self, ns: int) -> None:
        self.time += ns
        self.every_poll()

    def wire_send(self, data: bytes) -> None:
        self.sent.append(data)

    def take_left(self) -> list[tuple[int, bytes]]:
        left, self.left = self.left, []
        return left


class Driver:
    """Takes `room` packets between two calls of `flush`."""

    def __init__(self) -> None:
        self.room = 1000
        self.packets: list[vnet.Packet] = []
        self.groups: list[frozenset[bytes]] = []

    def transmit(self, packet: vnet.Packet) -> bool:
        if not self.room:
            return False
        self.room -= 1
        self.packets.append(packet)
        return True

    def flush(self) -> None:
        pass

    async def set_groups(self, groups: frozenset[bytes]) -> None:
        self.groups.append(groups)


class Bench:
    """Two guests and a host on the wire; `stacks` are the far ends of their TAP files."""

    def __init__(self, folder: Path) -> None:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(3)]
        self.stacks = [there for _, there in pairs]
        self.ends = [here for here, _ in pairs]
        for end in (*self.ends, *self.stacks):
            end.setblocking(False)
        self.groups = folder / "dev_mcast"
        self.groups.write_text("")
        self.groups_fd = os.open(self.groups, os.O_RDONLY)
        self.line = Line()
        self.guests = []
        self.drivers = [Driver(), Driver()]
        for number, mac in enumerate(MACS):
            guest = Guest(f"guest{number}", mac, Tap(self.ends[number].fileno()), self.groups_fd, "eth0")
            guest.driver = self.drivers[number]
            self.guests.append(guest)
        self.wire = Tap(self.ends[2].fileno())
        self.pump = Pump(self.line, self.line.take_left, self.guests, self.wire, WIRE_MAC, "wire")
        self.control, self.parent = socket.socketpair()

    def run(self, until: Callable[[], bool], limit_s: float = 5.0) -> None:
        """Run the pump until a condition holds."""
        deadline = time.monotonic() + limit_s

        async def poll() -> bool:
            assert time.monotonic() < deadline, "the pump did not get there"
            return not until()

        async def run() -> None:
            await self.pump.run(poll, self.control.fileno())

        asyncio.run(run())

    def say(self, host: int, data: bytes, header: bytes = vnet.PLAIN) -> None:
        """A stack sends."""
        self.stacks[host].send(header + data)

    def heard(self, host: int) -> list[bytes]:
        """What a stack was handed."""
        found: list[bytes] = []
        while True:
            try:
                found.append(self.stacks[host].recv(vnet.PACKET_MAX))
            except BlockingIOError:
                return found

    def close(self) -> None:
        os.close(self.groups_fd)
        for end in (*self.ends, *self.stacks, self.control, self.parent):
            end.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def test_stack_to_driver_and_back(bench: Bench) -> None:
    packets = [frame(MACS[0], MACS[1], 60 + n) for n in range(100)]
    for packet in packets:
        bench.say(0, packet)
    bench.run(lambda: len(bench.drivers[0].packets) == 100)
    assert [packet.frame for packet in bench.drivers[0].packets] == packets
    bench.pump.deliver(bench.guests[1], packets[0], True, 5)
    bench.pump.deliver(bench.guests[1], packets[1], False, 6)
    assert bench.heard(1) == [vnet.CHECKED + packets[0], vnet.PLAIN + packets[1]]
    [flow] = bench.pump.flows.figures()
    assert (flow["from"], flow["to"], flow["frames"], flow["bytes"]) == ("guest0", "guest1", 2, 121)


def test_full_queue_holds_the_stack_back(bench: Bench) -> None:
    """What the driver has no room for stays in the TAP device, but for the one packet that waits in the pump."""
    driver = bench.drivers[0]
    driver.room = 3
    for n in range(10):
        bench.say(0, frame(MACS[0], MACS[1], fill=n))
    bench.run(lambda: len(driver.packets) == 3 and bench.line.time > LOST_NS)
    waiting = bench.guests[0].tap.held
    assert waiting is not None and waiting.frame[14] == 3
    driver.room = 100
    bench.run(lambda: len(driver.packets) == 10)
    assert [packet.frame[14] for packet in driver.packets] == list(range(10))


def test_time_stands_still_when_idle(bench: Bench) -> None:
    began = time.monotonic()
    bench.run(lambda: time.monotonic() > began + 0.7)
    assert bench.line.time <= QUIET_NS
    used = time.process_time()
    bench.run(lambda: time.monotonic() > began + 1.7)
    assert time.process_time() - used < 0.2
    bench.say(0, frame(MACS[0], b"\xff" * 6))
    at = bench.line.time
    bench.run(lambda: bool(bench.drivers[0].packets))
    assert bench.line.time - at <= QUIET_NS + POLL_NS


def test_a_frame_that_never_arrives_is_lost_and_counted(bench: Bench) -> None:
    bench.say(0, frame(MACS[0], MACS[1]))
    bench.say(0, frame(MACS[0], b"\xff" * 6))
    bench.run(lambda: bench.pump.lost == 1)
    assert bench.line.time >= LOST_NS
    assert bench.pump.flows.outstanding == 0
    [flow] = bench.pump.flows.figures()
    assert (flow["frames"], flow["lost"]) == (0, 1)


def test_segments_are_counted_one_by_one(bench: Bench) -> None:
    """A TCP packet of 2.5 segments is three frames on the way."""
    tcp = bytes(12) + b"\x50" + bytes(7)
    packet = MACS[1] + MACS[0] + b"\x08\x00" + bytes(20) + tcp + bytes(2500)
    bench.say(0, packet, vnet.HEADER.pack(vnet.NEEDS_CSUM, vnet.GSO_TCPV4, 54, 1000, 34, 16))
    lengths = [1054, 1054, 554]
    outstanding = []

    def nic() -> None:
        if bench.drivers[0].packets and lengths:
            outstanding.append(bench.pump.flows.outstanding)
            bench.pump.deliver(bench.guests[1], frame(MACS[0], MACS[1], lengths.pop(0)), True, 0)

    bench.line.every_poll = nic
    bench.run(lambda: not lengths)
    assert outstanding == [3, 2, 1]
    [flow] = bench.pump.flows.figures()
    assert (flow["frames"], flow["bytes"], flow["lost"]) == (3, 2662, 0)


def test_wire_host_frames_get_padding_and_fcs(bench: Bench) -> None:
    short = frame(WIRE_MAC, MACS[0], 42)
    bench.say(2, short)
    bench.run(lambda: bool(bench.line.sent))
    padded = short + bytes(18)
    assert bench.line.sent == [padded + zlib.crc32(padded).to_bytes(4, "little")]


def test_line_is_never_ahead_of_the_receive_buffer(bench: Bench) -> None:
    """Frames wait in the TAP device while half the NIC's buffer is under way, whatever their number."""
    for n in range(60):
        bench.say(2, frame(WIRE_MAC, MACS[n & 1], 1514, n))
    arrived = 0
    most = 0

    def host() -> None:
        nonlocal arrived, most
        most = max(most, sum(map(len, bench.line.sent[arrived:])))
        if bench.line.time % (20 * POLL_NS) == 0 and arrived < len(bench.line.sent):
            data = bench.line.sent[arrived]
            arrived += 1
            bench.pump.deliver(bench.guests[MACS.index(data[:6])], data[:-4], True, bench.line.time)

    bench.line.every_poll = host
    bench.run(lambda: arrived == 60)
    assert LINE_BYTES - 1518 < most <= LINE_BYTES + 1518
    assert [data[14] for data in bench.line.sent] == list(range(60))
    assert bench.pump.lost == 0


def test_frames_that_left_reach_the_wire_host_without_fcs(bench: Bench) -> None:
    data = frame(MACS[1], WIRE_MAC, 1000) + b"FCS!"
    pause = frame(MACS[1], bytes.fromhex("0180c2000001")).replace(b"\x88\xb5", b"\x88\x08", 1) + b"FCS!"
    bench.say(1, data[:-4])
    bench.run(lambda: bool(bench.drivers[1].packets))
    bench.line.left = [(400, data), (800, pause)]
    bench.say(1, frame(MACS[1], b"\xff" * 6))
    bench.run(lambda: bench.pump.pauses == 1)
    assert bench.heard(2) == [vnet.PLAIN + data[:-4]]
    assert bench.pump.capture.in_order() == [(400, data), (800, pause)]
    # what a guest sent is captured as it left
    assert (400, data[:-4]) in bench.guests[1].capture.in_order()


def test_groups_follow_the_stack(bench: Bench) -> None:
    """The lines are those of /proc/net/dev_mcast: index, device, users, global use, address."""
    bench.groups.write_text(f"2    eth0     1     0     {GROUP.hex()}\n3    eth1     1     0     01005e000001\n")
    bench.run(lambda: bool(bench.drivers[1].groups))
    bench.groups.write_text("")
    bench.run(lambda: len(bench.drivers[1].groups) == 2)
    for driver in bench.drivers:
        assert driver.groups == [frozenset({GROUP}), frozenset()]


def test_a_device_that_is_down_counts_what_it_refuses(bench: Bench) -> None:
    bench.stacks[0].close()
    bench.pump.deliver(bench.guests[0], frame(MACS[1], MACS[0]), True, 0)
    assert bench.guests[0].tap.refused == 1
