"""The physical port of the bridge: the control domain's own driver on the NIC."""

from __future__ import annotations

from typing import Final

from hypervisor_model.dom0.bridge import Bridge
from hypervisor_model.dom0.fair_queue import FairQueue
from hypervisor_model.dom0.packet import Packet
from sw.guest.headers import tcp_headers
from sw.guest.machine import GuestMachine
from sw.guest.virtual_nic import VirtualNic
from sw.platform import PlatformTimeoutError

IDLE_NS: Final = 1_000_000_000
"""The loops look again after so long, simulated, even if nothing has happened."""
ROOM_NS: Final = 10_000_000
"""A line that is paused longer than this is waited for again."""


class Uplink:
    """Implements `hypervisor_model.dom0.bridge.BridgePort`. Both loops run as tasks of the control domain."""

    def __init__(self, machine: GuestMachine, nic: VirtualNic, bridge: Bridge) -> None:
        """`nic` is open, promiscuous, receives, and has offloads."""
        self._machine = machine
        self._nic = nic
        self._bridge = bridge
        self._signal = machine.signal()
        self._queue = FairQueue()
        self._running = True
        self.waits = 0
        """Times that the NIC's queue was full."""
        self.sent = 0
        """Packets handed to the NIC."""
        self.received = 0
        """Frames of the line."""
        bridge.attach(self)

    @property
    def queued(self) -> int:
        """Packets that wait for room in the NIC."""
        return len(self._queue)

    def deliver(self, packet: Packet) -> bool:
        """Queue a packet for the line. What is queued is bounded by its senders (`Packet.on_sent`)."""
        self._queue.put(packet)
        self._signal.notify()
        return packet.on_sent is not None

    async def run_receive(self) -> None:
        """Frames of the line into the bridge, until `stop`."""
        while self._running:
            for frame in await self._nic.receive(IDLE_NS):
                self.received += 1
                self._machine.spend("completion_reap")
                self._bridge.forward(self, Packet(frame.data, validated=frame.transport_checksum_ok() is True))

    async def run_transmit(self) -> None:
        """Queued packets to the NIC, until `stop`."""
        nic = self._nic
        while self._running:
            while self._queue:
                if not self._send(self._queue.head()):
                    self.waits += 1
                    await self._wait_for_room()
                    if not self._running:
                        return
                    continue
                packet = self._queue.take()
                self.sent += 1
                if packet.on_sent is not None:
                    packet.on_sent()
            nic.kick()
            nic.reap()
            if not self._queue:
                await self._signal.wait(IDLE_NS)

    async def close(self) -> None:
        """Stop both loops and close the NIC. What is queued is lost."""
        self._running = False
        self._bridge.detach(self)
        while self._queue:
            packet = self._queue.take()
            if packet.on_sent is not None:
                packet.on_sent()
        self._signal.notify()
        await self._nic.close()

    def _send(self, packet: Packet) -> bool:
        """Hand one packet to the NIC, with whatever is left to do; False when its queue is full."""
        if packet.mss:
            found = tcp_headers(packet.frame)
            if found is None:
                raise AssertionError("a packet to be cut has no TCP header")
            transport, headers = found
            header, payload = packet.frame[:headers], packet.frame[headers:]
            taken = self._nic.send_tso(header, payload, packet.mss, transport.start, ipv6=packet.ipv6)
        else:
            taken = self._nic.send(packet.frame, packet.checksum)
        if taken:
            self._machine.spend("descriptor_build")
        return taken

    async def _wait_for_room(self) -> None:
        try:
            await self._nic.wait_for_room(ROOM_NS)
        except PlatformTimeoutError:
            # The line may be paused for as long as its other end likes.
            return
