"""Shared by the tests of split mode: a machine whose control domain owns the NIC, guests with a vif, frames."""

from __future__ import annotations

import random
import struct
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

from hypervisor_model.dom0.bridge import Bridge
from hypervisor_model.dom0.foreign import ForeignFrames
from hypervisor_model.dom0.netback import Netback, NetbackConfig
from hypervisor_model.dom0.uplink import Uplink
from hypervisor_model.domains import Domain
from hypervisor_model.switch import PortPolicy
from sw.abi.registers import Mode
from sw.guest.netfront import NetFront
from sw.guest.receive import ReceiveConfig, ReceivedFrame
from sw.guest.transmit import SendForm
from sw.guest.virtual_nic import VirtualNic
from sw.xen.io.vif import BackOffer, FrontKeys
from tb.ethernet import on_line
from tests.model.model_support import WAIT_NS, machine

PEER = bytes.fromhex("020000000001")
BROADCAST = b"\xff" * 6
SILENCE_NS = 2_000_000


def mac_of(domid: int) -> bytes:
    return bytes.fromhex("00163e0000") + bytes([domid])


class DirectVif:
    """Front and back end meet without xenstore."""

    def __init__(self, netback: Netback, vlan: int = 0) -> None:
        self.netback = netback
        self.vlan = vlan
        self.features = netback.config.features
        self.front: FrontKeys | None = None

    async def offer(self) -> BackOffer:
        config = self.netback.config
        return BackOffer(0, config.mac, config.mtu, self.features, self.vlan)

    async def connect(self, front: FrontKeys) -> None:
        self.front = front
        await self.netback.connect(front)

    async def close(self) -> None:
        await self.netback.disconnect()


class Machine:
    """dom0 with NIC, bridge and uplink; `add` plugs guests."""

    def __init__(self, *, mode: Mode = Mode.IOMMU, seed: int = 1, mtu: int = 9000, dom0_pages: int = 2048) -> None:
        self.platform, self.hv = machine(seed)
        self.dom0 = self.hv.create_control_domain(
            dom0_pages, mode=mode, port_policy=PortPolicy(check_mac=False, check_vlan=False)
        )
        self.bridge = Bridge(self.platform.now, self.dom0.spend)
        self.foreign = ForeignFrames(self.dom0.layout)
        receive = ReceiveConfig(mtu=mtu, entries=128)
        self.nic = VirtualNic(self.dom0, SendForm.FETCHED, 256, buffer_pages=128, receive=receive)
        self.guests: list[Domain] = []
        self.netbacks: list[Netback] = []

    def run(self, *coroutines: Coroutine[Any, Any, Any]) -> None:
        """Serve until these have ended, then close everything down."""
        self.platform.run(self._run(coroutines))

    async def _run(self, coroutines: Sequence[Coroutine[Any, Any, Any]]) -> None:
        await self.nic.open()
        await self.nic.set_promiscuous(True)
        self.uplink = Uplink(self.dom0, self.nic, self.bridge)
        self.platform.start(self.uplink.run_receive())
        self.platform.start(self.uplink.run_transmit())
        for netback in self.netbacks:
            self.platform.start(netback.run())
        await self.platform.gather(coroutines)
        for netback in self.netbacks:
            await netback.disconnect()
            netback.stop()
        await self.uplink.close()

    def add(self, config: NetbackConfig | None = None, pages: int = 768) -> Netback:
        """A guest and its back end."""
        guest = self.hv.create_domain(f"guest{len(self.guests)}", pages)
        base = config if config is not None else NetbackConfig(mac_of(0), mtu=9000)
        netback = Netback(self.dom0, guest.domid, self.bridge, self.foreign, replace(base, mac=mac_of(guest.domid)))
        self.guests.append(guest)
        self.netbacks.append(netback)
        return netback

    def front(self, number: int, **options: object) -> NetFront:
        """A front end of a guest."""
        return NetFront(self.guests[number], DirectVif(self.netbacks[number]), **options)  # type: ignore[arg-type]

    def wire(self, frames: Sequence[bytes]) -> None:
        """Put frames on the line."""
        for frame in frames:
            self.platform.wire_send(on_line(frame))

    async def left(self, count: int) -> list[bytes]:
        """Frames that leave the NIC, padded, without FCS, until there are `count` or none comes any more."""
        frames: list[bytes] = []
        while len(frames) < count and await self.platform.wire_wait(SILENCE_NS):
            frames += [frame.data[:-4] for frame in self.platform.wire_frames()]
        return frames


async def send_all(nic: NetFront, frames: Sequence[bytes]) -> None:
    for frame in frames:
        while not nic.send(frame):
            await nic.wait_for_room(WAIT_NS)
    await nic.drain(WAIT_NS)


async def collect(nic: NetFront, count: int, timeout_ns: int = SILENCE_NS) -> list[ReceivedFrame]:
    """Receive until there are `count` frames, or nothing comes for `timeout_ns`."""
    frames: list[ReceivedFrame] = []
    while len(frames) < count:
        fresh = await nic.receive(timeout_ns)
        if not fresh:
            break
        frames += fresh
    return frames


def frame(rng: random.Random, destination: bytes, source: bytes, size: int) -> bytes:
    """A frame of `size` bytes without FCS: an unassigned type, random payload."""
    return destination + source + b"\x88\xb5" + rng.randbytes(size - 14)


def sum16(data: bytes) -> int:
    """Ones' complement sum by residues; independent of the driver."""
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    return 0 if total == 0 else (total - 1) % 0xFFFF + 1
