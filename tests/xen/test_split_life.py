"""Life of a vif: what connecting takes is given back, what a packet costs, a back end that dies, and xenstore's way."""

from __future__ import annotations

import random

import pytest

from hypervisor_model.dom0.netback import Netback, NetbackConfig
from hypervisor_model.dom0.netback_transmit import TxMode
from hypervisor_model.dom0.vif import VifDrivers
from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.switch import PortPolicy
from hypervisor_model.toolstack import Toolstack, VifConfig
from hypervisor_model.xenbus import BackEndBus
from hypervisor_model.xenstore.daemon import XenstoreDaemon
from sw.abi.registers import Mode, Status
from sw.guest.netfront import NetFront
from sw.guest.notifier import Notifier
from sw.guest.transmit import NicError, NicHaltedError
from sw.guest.vif import XenbusVif
from sw.xen.io.xenbus import XenbusState
from tb.model.platform import ModelPlatform
from tests.model.model_support import WAIT_NS
from tests.xen.split_support import BROADCAST, PEER, DirectVif, Machine, collect, frame, mac_of, send_all
from tests.xen.store_support import Guest as StoreGuest

MODES = list(TxMode)


class Held:
    """What guests and dom0 have in use."""

    def __init__(self, world: Machine) -> None:
        domains = [world.dom0, *world.guests]
        self.pages = [sum(length for _, length in domain.kernel._free_runs) for domain in domains]
        self.references = [domain.kernel.grants._used for domain in domains]
        self.ports = [len(domain.events.ports) for domain in domains]
        self.mappings = len(list(world.hv.grants.maptrack(0)))
        self.foreign = world.foreign.used

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held) and vars(self) == vars(other)

    def __repr__(self) -> str:
        return str(vars(self))


@pytest.mark.parametrize("mode", MODES)
def test_nothing_leaks(mode: TxMode) -> None:
    world = Machine()
    for _ in range(2):
        world.add(NetbackConfig(mac_of(0), mtu=9000, tx=mode))
    rng = random.Random(4)

    async def run() -> None:
        fronts = [world.front(n) for n in range(2)]
        for front in fronts:
            await front.open()
            await front.close()
        before = Held(world)
        for turn in range(4):
            for front in fronts:
                await front.open()
            frames = [frame(rng, rng.choice((PEER, fronts[1].mac)), fronts[0].mac, 5000) for _ in range(60)]
            await send_all(fronts[0], frames)
            if turn % 2:
                # closed with packets under way, some of them not even pushed
                for _ in range(5):
                    assert fronts[0].send(frame(rng, PEER, fronts[0].mac, 9000))
                fronts[0].kick()
                await world.platform.sleep(rng.randint(1, 4000))
                assert fronts[0].send(frame(rng, PEER, fronts[0].mac, 9000))
            for front in fronts:
                await front.close()
            await world.platform.sleep(3_000_000)
            assert Held(world) == before
            with pytest.raises(NicError, match="not open"):
                _ = fronts[0].mac
        assert world.bridge.addresses(world.uplink) == []

    world.run(run())


@pytest.mark.parametrize(
    ("mode", "size", "per_packet"),
    [
        # grant copies and maps of what guest 0 sends to guest 1; every page of what is received is one copy
        (TxMode.COPY, 60, (1 + 1, 0)),
        (TxMode.COPY, 9000, (3 + 3, 0)),
        (TxMode.MAP, 128, (1 + 1, 0)),
        (TxMode.MAP, 129, (1 + 1, 1)),
        (TxMode.MAP, 9000, (1 + 3, 3)),
        (TxMode.PERSISTENT, 60, (0 + 1, None)),
        (TxMode.PERSISTENT, 9000, (0 + 3, None)),
    ],
)
def test_grant_operations_of_a_packet(mode: TxMode, size: int, per_packet: tuple[int, int | None]) -> None:
    world = Machine()
    for _ in range(2):
        world.add(NetbackConfig(mac_of(0), mtu=9000, tx=mode))
    a, b = world.front(0, buffer_pages=64), world.front(1)
    count = 50
    rng = random.Random(8)

    async def run() -> None:
        await a.open()
        await b.open()
        frames = [frame(rng, b.mac, a.mac, size) for _ in range(count)]
        for data in frames:
            assert a.send(data)
            await a.drain(WAIT_NS)
            assert [f.data for f in await collect(b, 1)] == [data]
        sender, taker = (netback.counts for netback in world.netbacks)
        copies, maps = per_packet
        assert sender.grant_copies + taker.grant_copies == copies * count
        if maps is None:
            # each of the driver's pages once, and never unmapped
            assert 0 < sender.grant_maps <= 64 and sender.grant_unmaps == 0
            assert sender.bytes_copied == size * count
        else:
            assert sender.grant_maps == sender.grant_unmaps == maps * count
        assert taker.grant_maps == 0
        assert (sender.tx_packets, sender.tx_bytes, taker.rx_packets) == (count, size * count, count)

    world.run(run())


def test_one_notification_a_packet_when_idle_and_far_fewer_under_load() -> None:
    world = Machine()
    for _ in range(2):
        world.add()
    a, b = world.front(0), world.front(1)
    rng = random.Random(8)

    async def run() -> None:
        await a.open()
        await b.open()
        await world.platform.sleep(100_000)
        sent, back = a.events_sent, world.netbacks[1].notifications
        for _ in range(20):
            assert a.send(frame(rng, b.mac, a.mac, 60))
            a.kick()
            await a.receive(0)
            assert len(await collect(b, 1)) == 1
        assert a.events_sent - sent == 20 and world.netbacks[1].notifications - back == 20
        assert world.netbacks[0].notifications <= 2
        sent, back = a.events_sent, world.netbacks[1].notifications
        a.reap()
        for _ in range(100):
            assert a.send(frame(rng, b.mac, a.mac, 60))
        await a.drain(WAIT_NS)
        assert len(await collect(b, 100)) == 100
        assert a.events_sent - sent <= 2 and world.netbacks[1].notifications - back <= 3

    world.run(run())


def test_kick_without_sleeping_in_the_driver() -> None:
    """Who never waits in the driver has the task that sends events."""
    world = Machine()
    world.add()
    front = world.front(0)
    rng = random.Random(3)

    async def run() -> None:
        await front.open()
        task = world.platform.start(front.run())
        await world.platform.sleep(50_000)
        data = frame(rng, PEER, front.mac, 100)
        assert front.send(data)
        front.kick()
        assert await world.left(1) == [data]
        assert front.reap() == 1 and front.in_flight == 0
        await front.close()
        await world.platform.sleep(1000)
        assert task.done

    world.run(run())


@pytest.mark.parametrize("mode", MODES)
def test_back_end_dies_and_the_front_end_comes_back(mode: TxMode) -> None:
    world = Machine()
    world.add(NetbackConfig(mac_of(0), mtu=9000, tx=mode))
    rng = random.Random(5)

    async def run() -> None:
        front = world.front(0)
        await front.open()
        await send_all(front, [frame(rng, PEER, front.mac, 9000) for _ in range(20)])
        before = await world.left(20)
        assert len(before) == 20
        dead = world.netbacks[0]
        # its task ends at once; rings and pages stay mapped, as after a crash of the driver
        dead.stop()
        world.bridge.detach(dead)
        for _ in range(4):
            assert front.send(frame(rng, PEER, front.mac, 9000))
        front.kick()
        await world.platform.sleep(50_000)
        assert front.in_flight == 4
        again = Netback(world.dom0, 1, world.bridge, world.foreign, dead.config)
        world.netbacks.append(again)
        world.platform.start(again.run())
        front._connection = DirectVif(again)
        waiter = world.platform.start(halted(front))
        await world.platform.sleep(1000)
        await front.close()
        assert front.pages_held
        await front.open()
        await world.platform.sleep(1000)
        assert waiter.done
        data = frame(rng, PEER, front.mac, 3000)
        await send_all(front, [data])
        assert await world.left(1) == [data]
        # the control domain cleans up after the dead driver: now the old pages come back
        await dead.disconnect()
        await front.close()
        assert not front.pages_held
        assert world.foreign.used == 0 and world.guests[0].kernel.grants._used == 0

    async def halted(front: NetFront) -> None:
        with pytest.raises(NicHaltedError):
            await front.drain(WAIT_NS)

    world.run(run())


def test_groups() -> None:
    world = Machine()
    for _ in range(2):
        world.add()
    a, b = world.front(0), world.front(1)
    groups = [bytes.fromhex("01005e0000") + bytes([n]) for n in range(70)]

    def to(group: bytes) -> bytes:
        return group + a.mac + b"\x88\xb5" + bytes(46)

    async def run() -> None:
        await a.open()
        await b.open()
        await send_all(a, [to(groups[0]), to(groups[1])])
        assert await collect(b, 1, 100_000) == []
        assert await b.set_multicast(groups[:2])
        await send_all(a, [to(group) for group in groups[:3]])
        assert [f.data for f in await collect(b, 3, 100_000)] == [to(groups[0]), to(groups[1])]
        assert await b.set_multicast(groups[1:3])
        await send_all(a, [to(group) for group in groups[:3]])
        assert [f.data for f in await collect(b, 3, 100_000)] == [to(groups[1]), to(groups[2])]
        assert not await b.set_multicast(groups)
        await send_all(a, [to(group) for group in groups])
        assert len(await collect(b, 70, 100_000)) == 64
        assert b.frames_accepted == b.in_flight == 0 and sum(b.completions) == 0

    world.run(run())


def test_vlan_port_and_statistics() -> None:
    world = Machine()
    for vlan in (5, 5, 0):
        world.add(NetbackConfig(mac_of(0), mtu=1500, policy=PortPolicy(vlan=vlan)))
    a, b, c = (world.front(n) for n in range(3))
    tag = b"\x81\x00\x00\x05"

    async def run() -> None:
        for front in (a, b, c):
            await front.open()
        good = BROADCAST + a.mac + tag + b"\x88\xb5" + bytes(100)
        bad = BROADCAST + a.mac + b"\x88\xb5" + bytes(100)
        # a frame of MTU 1500 and tag passes, one byte more does not
        long = b.mac + a.mac + tag + b"\x88\xb5" + bytes(1500)
        await send_all(a, [good, bad, long, long + b"\0"])
        assert [f.data for f in await collect(b, 3, 100_000)] == [good, long]
        assert await collect(c, 1, 100_000) == []
        statistics = await a.statistics()
        assert (statistics["tx_packets"], statistics["tx_errors"], statistics["tx_error_spoofed"]) == (3, 1, 1)
        assert statistics["tx_bytes"] == 118 + 1518 + 1519 and a.completions[Status.SPOOFED] == 1
        assert (await b.statistics())["rx_packets"] == 2 and (await b.statistics())["rx_bytes"] == 118 + 1518
        counts = [netback.counts for netback in world.netbacks]
        assert counts[0].tx_dropped_spoofed == 1 and counts[1].rx_dropped_too_long == 1
        assert counts[2].rx_dropped_refused >= 1

    world.run(run())


@pytest.mark.parametrize("mode", [Mode.IOMMU, Mode.NATIVE, Mode.WINDOWS])
def test_paused_line_holds_guests_up_and_loses_nothing(mode: Mode) -> None:
    world = Machine(mode=mode)
    world.add()
    front = world.front(0)
    rng = random.Random(6)

    async def run() -> None:
        await front.open()
        # a peer that pauses the line for as long as it can
        pause = bytes.fromhex("0180c2000001") + PEER + b"\x88\x08\x00\x01\xff\xff" + bytes(42)
        world.wire([pause])
        await world.platform.sleep(20_000)
        frames = [frame(rng, PEER, front.mac, 1514) for _ in range(1500)]
        sending = world.platform.start(send_all(front, frames))
        most = 0
        while not sending.done:
            most = max(most, world.uplink.queued)
            await world.platform.sleep(5_000)
        assert await world.left(1500) == frames
        # the guest waits for the line; what waits in the control domain is bounded
        assert world.uplink.waits > 0 and 200 < most <= 256

    world.run(run())


def test_over_xenstore() -> None:
    world = Machine()
    platform = world.platform
    guests = [world.hv.create_domain(f"guest{n}", 768) for n in range(2)]
    world.guests += guests
    daemon = XenstoreDaemon()
    drivers = VifDrivers(world.dom0, world.bridge, world.foreign, platform.start, tx=TxMode.PERSISTENT)
    bus = BackEndBus(daemon.open(), platform.signal, {"vif": drivers})
    tools = Toolstack(daemon.local, platform.signal, platform.now)
    rng = random.Random(9)

    async def run() -> None:
        fronts = []
        for guest in guests:
            tools.create_domain(guest.domid, guest.name, 3072, 0x77, 1)
            store = StoreGuest(platform, daemon, guest.domid).store
            config = VifConfig(mac_of(guest.domid), mtu=9000, rate=(10_000_000, 1000))
            handle = await tools.network_attach(guest.domid, config)
            fronts.append(NetFront(guest, XenbusVif(store, handle)))
        a, b = fronts
        for turn in range(3):
            await a.open()
            await b.open()
            assert (a.mac, a.mtu, a.vlan) == (mac_of(1), 9000, 0)
            frames = [frame(rng, target, a.mac, 9000) for target in (b.mac, PEER) for _ in range(20)]
            await send_all(a, frames)
            assert [f.data for f in await collect(b, 20)] == frames[:20]
            assert await world.left(20) == frames[20:]
            assert bus.state("vif", 1, 0) is XenbusState.CONNECTED
            assert drivers.netbacks[1, 0].counts.grant_maps <= 128 * (turn + 1)
            await a.close()
            await b.close()
            assert bus.state("vif", 1, 0) is XenbusState.INIT_WAIT
        # a front end without rings to map gets no connection, and the next one does
        keys = "/local/domain/1/device/vif/0"
        daemon.local.write(f"{keys}/tx-ring-ref", "65535")
        daemon.local.write(f"{keys}/state", "4")
        await platform.sleep(1_000_000)
        assert bus.state("vif", 1, 0) is XenbusState.CLOSING
        assert "ring 65535" in daemon.local.read("/local/domain/0/error/backend/vif/1/0/error")
        await a.open()
        assert await tools.network_detach(2, "vif", 0)
        await send_all(a, [frame(rng, PEER, a.mac, 60)])
        await a.close()
        assert await tools.network_detach(1, "vif", 0)
        assert list(world.hv.grants.maptrack(0)) == dom0_mappings
        bus.stop()

    dom0_mappings: list[object] = []

    async def all_of_it() -> None:
        dom0_mappings.extend(world.hv.grants.maptrack(0))
        await platform.gather([bus.run(), run()])

    world.run(all_of_it())


def test_a_vif_that_is_closed_at_once_leaves_no_task_behind() -> None:
    """Its task has not begun when it is told to end."""
    platform = ModelPlatform()
    ended: list[bool] = []

    async def scene() -> None:
        hv = Hypervisor(platform)
        await hv.boot()
        notifier = Notifier(hv.create_domain("guest", 64))

        async def task() -> None:
            await notifier.run()
            ended.append(True)

        platform.start(task())
        notifier.stop()
        await platform.sleep(1_000)
        assert ended == [True]
        notifier.start()
        platform.start(task())
        await platform.sleep(1_000)
        assert ended == [True], "it runs after a new start"
        notifier.stop()
        await platform.sleep(1_000)
        assert ended == [True, True]

    platform.run(scene())
