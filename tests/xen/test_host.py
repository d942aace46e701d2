"""A whole host in each way of sharing: what a guest sees of its device is the same, field by field, and all of it works."""

from __future__ import annotations

import random
from typing import Any

import pytest

from hypervisor_model.host import DeviceConfig, Guest, Host
from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.sharing import Sharing
from sw.guest.receive import ReceivedFrame
from sw.guest.transmit import SendForm
from sw.platform import MachineMap
from sw.xen.io.xenbus import XenbusState
from tb.ethernet import on_line
from tb.model.platform import ModelPlatform
from tests.model.model_support import WAIT_NS

SHARED = [Sharing.IOMMU, Sharing.WINDOWS, Sharing.VALIDATED, Sharing.SPLIT]
PEER = bytes.fromhex("020000000001")
SILENCE_NS = 1_000_000
PAGES = 3000


class Machine:
    def __init__(self, sharing: Sharing, guests: int = 2, mtu: int = 1500) -> None:
        self.platform = ModelPlatform(MachineMap(ram_bytes=256 << 20))
        self.hv = Hypervisor(self.platform)
        self.platform.run(self.hv.boot())
        self.host = Host(self.hv, self.platform, self.platform.start, sharing, mtu)
        self.count = guests
        self.mtu = mtu
        self.guests: list[Guest] = []

    def run(self, body: Any) -> None:
        self.platform.run(self._run(body))

    async def add(self) -> Guest:
        number = len(self.guests)
        domain = self.hv.create_domain(f"guest{number}", PAGES, mode=self.host.sharing.mode)
        form = (SendForm.INLINE, SendForm.FETCHED)[number % 2]
        guest = await self.host.add_guest(domain, DeviceConfig(form=form, mtu=self.mtu))
        self.guests.append(guest)
        return guest

    async def _run(self, body: Any) -> None:
        await self.host.boot()
        for _ in range(self.count):
            await self.add()
        await self.platform.sleep(50_000)
        await body(self)
        for guest in self.guests:
            await guest.device.close()
        for guest in list(self.guests):
            assert await self.host.remove_guest(guest)
        await self.host.shut_down()


def frame(to: bytes, source: bytes, size: int, seed: int) -> bytes:
    return to + source + b"\x88\xb5" + random.Random(seed).randbytes(size - 14)


async def send(guest: Guest, data: bytes) -> None:
    while not guest.device.send(data):
        await guest.device.wait_for_room(WAIT_NS)
    await guest.device.drain(WAIT_NS)


async def collect(guest: Guest, count: int) -> list[bytes]:
    got: list[ReceivedFrame] = []
    while len(got) < count:
        fresh = await guest.device.receive(SILENCE_NS)
        if not fresh:
            break
        got += fresh
    return [f.data for f in got]


async def what_a_guest_sees(machine: Machine) -> dict[str, Any]:
    """Everything an application or administrator could look at, after the same small traffic."""
    first, second = machine.guests
    seen: dict[str, Any] = {"device": first.device.describe()}
    sizes = [60, 61, 300, 1514]
    frames = [frame(second.device.mac, first.device.mac, size, size) for size in sizes]
    for data in frames:
        await send(first, data)
    seen["delivered"] = await collect(second, len(frames)) == frames
    # to the wire, and from it
    outward = frame(PEER, first.device.mac, 200, 7)
    await send(first, outward)
    await machine.platform.sleep(SILENCE_NS)
    seen["left"] = [f.data for f in machine.platform.wire_frames()] == [on_line(outward)]
    inward = frame(first.device.mac, PEER, 500, 8)
    machine.platform.wire_send(on_line(inward))
    seen["arrived"] = await collect(first, 1) == [inward]
    # a forged source address is refused, and said so
    await send(first, frame(second.device.mac, PEER, 100, 9))
    seen["forged"] = await collect(second, 1)
    counters = await first.device.statistics()
    seen["statistics"] = {name: counters[name] for name in STATISTICS}
    seen["multicast"] = await first.device.set_multicast([b"\x01\x00\x5e\x00\x00\x01"])
    return seen


STATISTICS = ("tx_packets", "tx_bytes", "tx_errors", "tx_error_spoofed", "tx_dropped_spoofed", "rx_packets", "rx_bytes")


@pytest.mark.parametrize("sharing", SHARED)
def test_a_guest_cannot_tell_how_the_nic_is_shared(sharing: Sharing) -> None:
    machine = Machine(sharing)
    found: dict[str, Any] = {}

    async def body(machine: Machine) -> None:
        found.update(await what_a_guest_sees(machine))

    machine.run(body)
    device = found.pop("device")
    assert (device.name, device.mac, device.mtu, device.vlan, device.carrier) == (
        "eth0", bytes.fromhex("0060dd000100"), 1500, 0, True,
    )  # fmt: skip
    assert device.features == (
        "rx-checksum", "scatter-gather", "tx-checksum", "tx-tcp-segmentation", "tx-tcp6-segmentation", "multicast",
    )  # fmt: skip
    # 4 frames inside, 1 to the wire; 1 forged
    assert found == {
        "delivered": True,
        "left": True,
        "arrived": True,
        "forged": [],
        "multicast": True,
        "statistics": {
            "tx_packets": 5, "tx_bytes": 60 + 61 + 300 + 1514 + 200, "tx_errors": 1, "tx_error_spoofed": 1,
            "tx_dropped_spoofed": 1, "rx_packets": 1, "rx_bytes": 500,
        },
    }  # fmt: skip


@pytest.mark.parametrize("sharing", SHARED)
def test_plug_and_unplug_under_traffic(sharing: Sharing) -> None:
    """A neighbour's device comes and goes; the xenbus handshake ends in Closed and nothing is left of it."""

    async def body(machine: Machine) -> None:
        first, second = machine.guests
        done: list[int] = []

        async def stream() -> None:
            for n in range(60):
                await send(first, frame(second.device.mac, first.device.mac, 700, n))
                done.append(n)

        async def plug() -> None:
            for _ in range(3):
                guest = await machine.add()
                machine.guests.remove(guest)
                store = guest.store
                path = f"device/{guest.config.kind}/{guest.handle}/state"
                assert await store.read(path) == str(XenbusState.CONNECTED.value)
                await send(guest, frame(first.device.mac, guest.device.mac, 80, 1))
                await guest.device.close()
                assert await machine.host.remove_guest(guest)

        await machine.platform.gather([stream(), plug()])
        assert len(done) == 60
        got = await collect(second, 60)
        assert [data[14:30] for data in got] == [random.Random(n).randbytes(686)[:16] for n in range(60)]
        assert len(await collect(first, 3)) == 3

    machine = Machine(sharing)
    machine.run(body)
    assert machine.host.daemon.local.directory("/local/domain") == ["0"]
