"""The handshake of both halves with toolstack and daemon: every order, crashes in every state, hot unplug, cycles."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest

from hypervisor_model.toolstack import VifConfig, VmyriConfig
from hypervisor_model.vmyri import VmyriBackEnd, VmyriFront
from hypervisor_model.xenbus import Device, FrontEndError
from hypervisor_model.xenstore.errors import StoreError
from sw.abi.registers import Mode
from sw.guest.xenbus import BackendGoneError, FrontEnd, device_handles, wait_for_device
from sw.guest.xenstore import XenstoreError
from sw.platform import PlatformTimeoutError
from sw.xen.io.xenbus import XenbusState
from tests.xen.store_support import MS, Dom0, Guest

MAC = bytes.fromhex("00163e010203")
VIF = VifConfig(MAC)
KEYS = {"tx-ring-ref": "8", "rx-ring-ref": "9", "event-channel": "5", "request-rx-copy": "1"}
VMYRI_KEYS = {"event-channel": "7", "doorbell-gfn": "1280", "endpoint-first": "3", "endpoint-count": "1"}


class VifDriver:
    """A back end that notes what it holds; connecting takes simulated time."""

    def __init__(self, device: Device, host: VifHost) -> None:
        self.device = device
        self._host = host
        self.held = False
        self.connects = 0
        host.drivers.append(self)

    def features(self) -> Mapping[str, str]:
        return {"feature-rx-copy": "1", "feature-sg": "1", "multi-queue-max-queues": "1"}

    async def connect(self) -> None:
        assert not self.held
        self.device.front_number("tx-ring-ref", 8, 1 << 20)
        self.device.front_number("rx-ring-ref", 8, 1 << 20)
        await self._host.pause()
        self.device.front_number("event-channel", 1, 4095)
        self.held = True
        self.connects += 1

    async def disconnect(self) -> None:
        assert self.held
        await self._host.pause()
        self.held = False


class VifHost(Dom0):
    def __init__(self, delay: int = 0, pause: int = 300) -> None:
        self.drivers: list[VifDriver] = []
        self._pause = pause
        super().__init__({"vif": lambda device: VifDriver(device, self)}, delay)

    async def pause(self) -> None:
        if self._pause:
            await self.platform.sleep(self._pause)

    def run(self, *tasks: Coroutine[Any, Any, Any], after: int = 20_000) -> None:
        """Tasks beside the bus, and then some time for it to settle."""

        async def all_of_them() -> None:
            await self.platform.gather(tasks)
            await self.platform.sleep(after)
            self.bus.stop()

        self.platform.run(self.bus.run(), all_of_them())


async def up(guest: Guest, handle: int = 0) -> FrontEnd:
    """A driver's whole way to Connected."""
    await wait_for_device(guest.store, "vif", handle, 50 * MS)
    front = FrontEnd(guest.store, "vif", handle, timeout_ns=30 * MS)
    await front.open()
    await front.ready()
    assert await front.feature("feature-rx-copy") == 1 and await front.feature("feature-none") == 0
    await front.connect(KEYS)
    return front


def test_toolstack_writes_what_libxl_writes() -> None:
    host = VifHost()
    guest = host.domain(4)
    local = host.daemon.local

    async def run() -> None:
        vif = VifConfig(MAC, bridge="br1", rate=(125000, 50000), mtu=9000, trusted=False)
        assert await host.tools.network_attach(4, vif) == 0
        assert await host.tools.network_attach(4, VIF) == 1
        home, back, front = "/local/domain/4", "/local/domain/0/backend/vif/4/0", "/local/domain/4/device/vif/0"
        read = local.read
        assert [read(f"{home}/{key}") for key in ("name", "domid", "memory/target", "store/ring-ref", "store/port")] == [
            "guest4", "4", "65536", "119", "1"]
        assert {key: read(f"{back}/{key}") for key in local.directory(back)} == {
            "frontend": front, "frontend-id": "4", "online": "1", "state": "2", "handle": "0",
            "script": "/etc/xen/scripts/vif-bridge", "mac": "00:16:3e:01:02:03", "rate": "125000,50000", "mtu": "9000",
            "bridge": "br1", "type": "vif", "hotplug-status": "connected", "feature-rx-copy": "1", "feature-sg": "1",
            "multi-queue-max-queues": "1",
        }
        assert {key: read(f"{front}/{key}") for key in local.directory(front)} == {
            "backend": back, "backend-id": "0", "state": "1", "handle": "0", "mac": "00:16:3e:01:02:03", "mtu": "9000",
            "trusted": "0",
        }
        assert read("/libxl/4/device/vif/0/backend") == back and read("/libxl/4/device/vif/0/bridge") == "br1"
        assert local.permissions(front) == ["n4", "r0"] and local.permissions(f"{front}/state") == ["n4", "r0"]
        assert local.permissions(f"{front}/mtu") == ["n0", "r4"] and local.permissions(back) == ["n0", "r4"]
        assert local.permissions(home) == ["n0", "r4"] and local.permissions(f"{home}/data") == ["n4"]
        assert host.tools.devices(4) == [("vif", 0), ("vif", 1)]
        assert await device_handles(guest.store, "vif") == [0, 1]
        # the guest may not touch what is the toolstack's, nor see a neighbour's
        for path in (f"{front}/mtu", f"{back}/mac", f"{back}/online", f"{home}/name", "device/vif/7/state"):
            with pytest.raises(XenstoreError, match="EACCES"):
                await guest.store.write(path, "x")
        for path in ("/local/domain/0/backend/vif", "/libxl/4", "/local/domain/5", "/"):
            with pytest.raises(XenstoreError, match="EACCES"):
                await guest.store.directory(path)
        with pytest.raises(ValueError, match="domain 4 has no vif 9"):
            await host.tools.network_detach(4, "vif", 9)

    host.run(run())


@pytest.mark.parametrize("delay", [0, 700])
@pytest.mark.parametrize("order", list(itertools.permutations(("front", "back", "tools"))))
def test_every_order_of_arrival(order: tuple[str, str, str], delay: int) -> None:
    host = VifHost(delay)
    guest = host.domain(1)
    start = {name: 100_000 * n for n, name in enumerate(order)}
    fronts: list[FrontEnd] = []

    async def front() -> None:
        await host.platform.sleep(start["front"])
        fronts.append(await up(guest))

    async def tools() -> None:
        await host.platform.sleep(start["tools"])
        assert await host.tools.network_attach(1, VIF) == 0

    async def back() -> None:
        await host.platform.sleep(start["back"])
        await host.bus.run()

    async def end() -> None:
        await host.platform.gather([front(), tools()])
        assert host.bus.state("vif", 1, 0) is XenbusState.CONNECTED
        assert await fronts[0].backend_state() is XenbusState.CONNECTED is fronts[0].state
        assert [driver.held for driver in host.drivers] == [True]
        host.bus.stop()

    host.platform.run(back(), end())


def test_front_end_by_way_of_initialised() -> None:
    host = VifHost()
    guest = host.domain(1)

    async def run() -> None:
        await host.tools.network_attach(1, VIF)
        front = FrontEnd(guest.store, "vif", 0, timeout_ns=30 * MS)
        await front.open()
        await front.ready()
        await front.connect(KEYS, XenbusState.INITIALISED)
        assert front.state is XenbusState.CONNECTED
        assert host.daemon.local.read("/local/domain/1/device/vif/0/state") == "4"
        assert host.drivers[0].connects == 1

    host.run(run())


def test_keys_and_state_appear_at_once() -> None:
    host = VifHost(delay=500)
    guest = host.domain(1)
    local = host.daemon.local
    seen: list[tuple[str | None, ...]] = []
    home = "/local/domain/1/device/vif/0"

    def look(_: str) -> None:
        seen.append(tuple(local.read_or_none(f"{home}/{key}") for key in (*KEYS, "state")))

    async def run() -> None:
        await host.tools.network_attach(1, VIF)
        front = FrontEnd(guest.store, "vif", 0, timeout_ns=30 * MS)
        await front.open()
        await front.ready()
        local.watch(home, look)
        await front.connect(KEYS)
        assert set(seen) == {(None,) * 4 + ("1",), (*KEYS.values(), "4")}

    host.run(run())


def test_device_that_is_removed_while_its_front_end_closes() -> None:
    host = VifHost(pause=70 * MS)
    guest = host.domain(1)

    async def run() -> None:
        await host.tools.network_attach(1, VIF)
        await wait_for_device(guest.store, "vif", 0, 50 * MS)
        front = FrontEnd(guest.store, "vif", 0, timeout_ns=100 * MS)
        await front.open()
        await front.ready()
        await front.connect(KEYS)
        detach = host.platform.start(host.tools.network_detach(1, "vif", 0))
        assert await front.wait_closing(MS)
        await front.close()
        await host.platform.sleep(1)
        assert detach.done and detach.result is False

    host.run(run(), after=80 * MS)
    assert not any("vif" in path for path in host.nodes()) and not host.drivers[0].held


def test_front_end_that_publishes_before_it_is_asked() -> None:
    host = VifHost()
    guest = host.domain(1)

    async def run() -> None:
        attach = host.platform.start(host.tools.network_attach(1, VIF))
        front = FrontEnd(guest.store, "vif", 0, timeout_ns=30 * MS)
        await host.platform.sleep(10)
        await front.open()
        await front.publish(KEYS)
        bus = host.platform.start(host.bus.run())
        await host.platform.sleep(100_000)
        assert attach.done and host.bus.state("vif", 1, 0) is XenbusState.CONNECTED
        host.bus.stop()
        await host.platform.sleep(1)
        assert bus.done

    host.platform.run(run())


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("tx-ring-ref", None, "tx-ring-ref is missing: 8 to"),
        ("rx-ring-ref", "7", "rx-ring-ref is '7'"),
        ("event-channel", "4096", "event-channel is '4096': 1 to 4095"),
        ("event-channel", "0x5", "is '0x5'"),
        ("event-channel", "\xb2", "is '\xb2'"),
        ("event-channel", "9" * 400, "is '999999999999999999999999'"),
        ("tx-ring-ref", "-8", "is '-8'"),
    ],
)
def test_front_end_with_nonsense_is_refused_and_may_try_again(key: str, value: str | None, said: str) -> None:
    host = VifHost()
    guest = host.domain(1)

    async def run() -> None:
        await host.tools.network_attach(1, VIF)
        front = FrontEnd(guest.store, "vif", 0, timeout_ns=30 * MS)
        await front.open()
        await front.ready()
        keys: dict[str, str] = dict(KEYS)
        del keys[key]
        with pytest.raises(BackendGoneError, match="to connect, and it is CLOSING"):
            await front.connect(keys if value is None else {**keys, key: value})
        assert said in host.daemon.local.read("/local/domain/0/error/backend/vif/1/0/error")
        assert not host.drivers[0].held
        await host.platform.sleep(100_000)
        assert host.bus.state("vif", 1, 0) is XenbusState.CLOSING, "no second try with the same keys"
        await front.close()
        await front.ready()
        await front.connect(KEYS)
        assert host.drivers[0].held
        assert await host.tools.network_detach(1, "vif", 0) is False

    host.run(run())
    assert not any("error/backend" in path for path in host.nodes())


@pytest.mark.parametrize("delay", [0, 700])
@pytest.mark.parametrize("stop_at", ["plugged", "init_wait", "initialised", "connecting", "connected", "closing", "closed"])
def test_front_end_that_crashes_comes_back(stop_at: str, delay: int) -> None:
    host = VifHost(delay)
    guest = host.domain(1)

    async def run() -> None:
        await host.tools.network_attach(1, VIF)
        path = "/local/domain/1/device/vif/0/state"
        front = FrontEnd(guest.store, "vif", 0, timeout_ns=30 * MS)
        if stop_at != "plugged":
            await front.open()
            await front.ready()
        if stop_at == "initialised":
            await front.publish({**KEYS, "event-channel": "none"}, XenbusState.INITIALISED)
        elif stop_at == "connecting":
            await front.publish(KEYS)
        elif stop_at in ("connected", "closing", "closed"):
            await front.connect(KEYS)
            if stop_at != "connected":
                await guest.store.write(path, "5")
            if stop_at == "closed":
                await guest.store.write(path, "6")
        # its kernel is gone: nobody reads the ring, and a new one begins with a reset
        guest.boot()
        await guest.store.reconnect()
        again = await up(guest)
        assert await again.backend_state() is XenbusState.CONNECTED
        assert [driver.held for driver in host.drivers] == [True]
        await again.close()
        assert [driver.held for driver in host.drivers] == [False], "who ends access may do so when close returns"
        assert await again.backend_state() is XenbusState.INIT_WAIT, "online: it waits for the next"
        await again.detach()
        assert host.daemon.watches_of(1) == 0

    host.run(run())


def test_front_end_that_starts_again_without_goodbye() -> None:
    host = VifHost()
    guest = host.domain(1)

    async def run() -> None:
        await host.tools.network_attach(1, VIF)
        await up(guest)
        await guest.store.write("device/vif/0/state", "1")
        await host.platform.sleep(10_000)
        assert host.bus.state("vif", 1, 0) is XenbusState.INIT_WAIT and not host.drivers[0].held
        await up(guest)
        assert host.drivers[0].connects == 2

    host.run(run())


@pytest.mark.parametrize("delay", [0, 700])
def test_hot_unplug_while_connected(delay: int) -> None:
    host = VifHost(delay)
    guest = host.domain(1)
    local = host.daemon.local

    async def driver() -> None:
        front = await up(guest)
        assert not await front.wait_closing(10_000)
        assert await front.wait_closing(50 * MS)
        assert host.drivers[0].held, "the guest is told first"
        assert local.read("/local/domain/0/backend/vif/1/0/online") == "0"
        await front.close()
        assert not host.drivers[0].held
        await front.detach()

    async def tools() -> None:
        await host.tools.network_attach(1, VIF)
        await host.platform.sleep(100_000)
        assert await host.tools.network_detach(1, "vif", 0)
        assert local.directory("/local/domain/1/device") == [] and local.read_or_none("/libxl/1/device") is None

    before = host.nodes()
    host.run(driver(), tools())
    assert host.nodes() == before - {"/local/domain/1/device"} | {"/local/domain/0", "/local/domain/0/backend"}
    assert host.daemon.watches_of(1) == 0 and host.tools.devices(1) == []


@pytest.mark.parametrize("state", [None, "1", "2", "3", "4", "5", "6", "7", "8", "junk"])
def test_guest_that_does_not_let_go_loses_the_device_all_the_same(state: str | None) -> None:
    host = VifHost()
    guest = host.domain(1)

    async def run() -> None:
        await host.tools.network_attach(1, VIF)
        front = await up(guest)
        if state is None:
            await guest.store.remove("device/vif/0")
        else:
            await guest.store.write("device/vif/0/state", state)
        started = host.platform.now()
        orderly = await host.tools.network_detach(1, "vif", 0)
        # states that mean that nobody is there need no goodbye
        assert orderly == (state in (None, "1", "6", "junk"))
        assert host.platform.now() - started <= 51 * MS
        await host.platform.sleep(10_000)
        assert not host.drivers[0].held and host.bus.state("vif", 1, 0) is XenbusState.UNKNOWN
        # the driver finds it gone, and cannot make it anew
        await front.close()
        with pytest.raises(XenstoreError, match="EACCES"):
            await front.publish(KEYS)
        await front.detach()

    host.run(run())
    assert not any("vif" in path for path in host.nodes())


def test_nodes_that_vanish_while_the_front_end_closes_stay_away() -> None:
    host = VifHost(pause=5 * MS)
    guest = host.domain(1)

    async def run() -> None:
        await host.tools.network_attach(1, VIF)
        front = await up(guest)
        close = host.platform.start(front.close())
        await host.platform.sleep(MS)
        for path in ("/local/domain/0/backend/vif", "/local/domain/1/device/vif"):
            host.daemon.local.remove(path)
        await host.platform.sleep(MS)
        assert close.done, "there is nobody to wait for"

    host.run(run(), after=20 * MS)
    assert not any("/domain/1/device/vif" in path or "backend/vif" in path for path in host.nodes())


@pytest.mark.parametrize("above", ["", "/backend", "/backend/vif", "/backend/vif/1", "/backend/vif/1/0"])
def test_removal_of_any_directory_above_a_device_lets_go_of_it(above: str) -> None:
    host = VifHost()
    guest = host.domain(1)

    async def run() -> None:
        await host.tools.network_attach(1, VIF)
        front = await up(guest)
        host.daemon.local.remove(f"/local/domain/0{above}")
        assert await front.wait_closing(MS)
        await host.platform.sleep(10_000)
        assert not host.drivers[0].held and host.bus.state("vif", 1, 0) is XenbusState.UNKNOWN

    host.run(run())


def test_unplug_without_front_end() -> None:
    host = VifHost()
    host.domain(1)

    async def run() -> None:
        await host.tools.network_attach(1, VIF)
        assert await host.tools.network_detach(1, "vif", 0)
        assert await host.tools.network_attach(1, VIF) == 0

    host.run(run())


def test_waits_are_bounded_and_say_for_what() -> None:
    host = VifHost()
    guest = host.domain(1)

    async def unserved() -> None:
        with pytest.raises(PlatformTimeoutError, match="backend/vif/1/0: no back end in 50000000 ns"):
            await host.tools.network_attach(1, VIF)

    async def run() -> None:
        with pytest.raises(PlatformTimeoutError, match="device/vif/0 was not plugged in 5000000 ns"):
            await wait_for_device(guest.store, "vif", 0, 5 * MS)
        await unserved()
        assert not any("vif" in path for path in host.nodes())
        attach = host.platform.start(unserved())
        await host.platform.sleep(1)
        front = FrontEnd(guest.store, "vif", 0, timeout_ns=5 * MS)
        with pytest.raises(RuntimeError, match="device/vif/0 is not open"):
            await front.wait_closing(5)
        await front.open()
        with pytest.raises(PlatformTimeoutError, match=r"device/vif/0: 5000000 ns .* to come up; it is INITIALISING"):
            await front.ready()
        await host.platform.sleep(50 * MS)
        assert attach.done
        with pytest.raises(BackendGoneError, match="to come up, and it is UNKNOWN"):
            await front.ready()
        with pytest.raises(XenstoreError, match="ENOENT"):
            await FrontEnd(guest.store, "vif", 3).open()

    host.platform.run(run())


def test_network_script_comes_before_the_connection() -> None:
    host = VifHost()
    guest = host.domain(1)
    local = host.daemon.local

    async def run() -> None:
        await host.tools.network_attach(1, VIF)
        local.write("/local/domain/0/backend/vif/1/0/hotplug-status", "")
        front = FrontEnd(guest.store, "vif", 0, timeout_ns=5 * MS)
        await front.open()
        await front.ready()
        with pytest.raises(PlatformTimeoutError, match="to connect; it is INIT_WAIT"):
            await front.connect(KEYS)
        local.write("/local/domain/0/backend/vif/1/0/hotplug-status", "error")
        with pytest.raises(PlatformTimeoutError, match="to connect; it is INIT_WAIT"):
            await front.connect(KEYS)
        local.write("/local/domain/0/backend/vif/1/0/hotplug-status", "connected")
        await front.connect(KEYS)

    host.run(run())


def test_fifty_cycles_leave_nothing() -> None:
    host = VifHost(delay=300)
    guests = {domid: host.domain(domid) for domid in (1, 2)}
    rng = random.Random(5)
    counts: list[tuple[int, ...]] = []
    nodes: list[set[str]] = []

    async def cycle(domid: int) -> None:
        guest = guests[domid]
        handle = await host.tools.network_attach(domid, VIF)
        front = await up(guest, handle)

        async def driver() -> None:
            if rng.random() < 0.5:
                assert await front.wait_closing(90 * MS)
            await front.close()
            await front.detach()

        async def unplug() -> None:
            await host.platform.sleep(rng.randrange(20_000))
            assert await host.tools.network_detach(domid, "vif", handle)

        await host.platform.gather([driver(), unplug()])

    async def run() -> None:
        for _ in range(50):
            await host.platform.gather([cycle(1), cycle(2)])
            await host.platform.sleep(10_000)
            nodes.append(host.nodes())
            daemon = host.daemon
            watches = (daemon.watches_of(1), daemon.watches_of(2), daemon.local.watches, host.bus_store.watches)
            counts.append((daemon.nodes_owned(1), *watches))

    host.run(run())
    assert all(found == nodes[0] for found in nodes) and set(counts) == {counts[0]}
    assert counts[0][1:] == (0, 0, 0, 1), "the bus watches its directory"
    assert host.bus_store.watches == 0
    assert not any(driver.held for driver in host.drivers) and len(host.drivers) == 100


@pytest.mark.parametrize("state", ["plugged", "connected"])
def test_domain_that_is_destroyed(state: str) -> None:
    host = VifHost()
    before = host.nodes()
    guest = host.domain(1)

    async def run() -> None:
        for _ in range(2):
            handle = await host.tools.network_attach(1, VIF)
            if state == "connected":
                await up(guest, handle)
        host.daemon.release(1)
        await host.tools.destroy_domain(1)
        await host.platform.sleep(10_000)

    host.run(run())
    assert not any(driver.held for driver in host.drivers)
    assert host.nodes() - before == {"/local", "/local/domain", "/local/domain/0", "/local/domain/0/backend", "/libxl"}
    again = host.domain(1)
    assert again.store.watches == 0 and host.tools.devices(1) == []


# --- vmyri -------------------------------------------------------------------------------------------------------------


def vmyri(max_endpoints: int = 2) -> tuple[Dom0, list[VmyriBackEnd], VmyriConfig]:
    made: list[VmyriBackEnd] = []

    def driver(device: Device) -> VmyriBackEnd:
        made.append(VmyriBackEnd(device))
        return made[-1]

    drivers: dict[str, Callable[[Device], Any]] = {"vmyri": driver}
    return Dom0(drivers), made, VmyriConfig(MAC, Mode.IOMMU, max_endpoints=max_endpoints, max_windows=128)


def test_vmyri() -> None:
    host, made, config = vmyri()
    guest = host.domain(1)

    async def run() -> None:
        assert await host.tools.network_attach(1, config) == 0
        front = FrontEnd(guest.store, "vmyri", 0, timeout_ns=30 * MS)
        await front.open()
        await front.ready()
        told = {key: await front.read_backend(key) for key in ("mac", "mtu", "mode", "features", "carrier", "max-windows")}
        assert told == {
            "mac": "00:16:3e:01:02:03", "mtu": "9000", "mode": "iommu", "features": "rx,tx,csum,tso,rss,multicast",
            "carrier": "1", "max-windows": "128",
        }
        await front.connect(VMYRI_KEYS)
        assert made[0].front == VmyriFront(event_channel=7, doorbell_gfn=1280, endpoint_first=3, endpoint_count=1)
        detach = host.platform.start(host.tools.network_detach(1, "vmyri", 0))
        assert await front.wait_closing(MS)
        await front.close()
        assert made[0].front is None
        await host.platform.sleep(10_000)
        assert detach.result is True
        host.bus.stop()

    host.platform.run(host.bus.run(), run())


@pytest.mark.parametrize(
    ("key", "value"),
    [("endpoint-count", "3"), ("endpoint-count", "0"), ("endpoint-first", "64"), ("event-channel", "0"),
     ("doorbell-gfn", ""), ("doorbell-gfn", str(1 << 40))],
)
def test_vmyri_front_end_with_nonsense(key: str, value: str) -> None:
    host, made, config = vmyri()
    host.domain(1)
    local = host.daemon.local

    async def run() -> None:
        await host.tools.network_attach(1, config)
        local.write_all("/local/domain/1/device/vmyri/0", {**VMYRI_KEYS, key: value, "state": "4"})
        await host.platform.sleep(10_000)
        assert host.bus.state("vmyri", 1, 0) is XenbusState.CLOSING and made[0].front is None
        assert key in local.read("/local/domain/0/error/backend/vmyri/1/0/error")
        host.bus.stop()

    host.platform.run(host.bus.run(), run())


def test_device_reads_only_numbers() -> None:
    host, _, config = vmyri()
    host.domain(1)
    device = Device(host.daemon.local, "vmyri", 1, 0)
    assert not device.exists()
    host.daemon.local.write("/local/domain/1/device/vmyri/0/k", "12")
    assert device.front_number("k", 12, 12) == 12
    for low, high in ((13, 20), (0, 11)):
        with pytest.raises(FrontEndError, match=rf"/k is '12': {low} to {high}"):
            device.front_number("k", low, high)
    with pytest.raises(StoreError, match="EINVAL"):
        device.read("no key")
    assert config.kind == "vmyri"
