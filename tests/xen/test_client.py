"""The guest's client: replies to who asked, events in between, transactions that retry, and every wait bounded."""

from __future__ import annotations

import random

import pytest

from hypervisor_model.xenstore.daemon import XenstoreDaemon
from hypervisor_model.xenstore.quotas import Quotas
from sw.guest.xenstore import (
    ATTEMPTS,
    Accessor,
    Xenstore,
    XenstoreConnectionError,
    XenstoreError,
)
from sw.platform import PlatformTimeoutError
from tb.model.platform import ModelPlatform
from tests.xen.store_support import CONNECTION, ERROR_WORD, MS, REQ_PROD, Guest, put_word, word

DELAYS = (0, 700)


def guest(delay: int = 0, quotas: Quotas | None = None) -> tuple[ModelPlatform, XenstoreDaemon, Guest]:
    platform = ModelPlatform()
    daemon = XenstoreDaemon(quotas or Quotas())
    daemon.local.mkdir("/local/domain/1")
    daemon.local.set_permissions("/local/domain/1", "n1")
    return platform, daemon, Guest(platform, daemon, 1, delay)


@pytest.mark.parametrize("delay", DELAYS)
def test_operations(delay: int) -> None:
    platform, daemon, one = guest(delay)
    store = one.store

    async def run() -> None:
        await store.write("a/b", "v\xe9\0")
        assert await store.read("/local/domain/1/a/b") == "v\xe9\0"
        assert daemon.local.read("/local/domain/1/a/b") == "v\xe9\0"
        await store.write_all("a", {"c": "1", "q/d": "2"})
        assert await store.directory("a") == ["b", "c", "q"] and await store.directory("a/b") == []
        await store.mkdir("m")
        await store.remove("a/b")
        assert await store.read_or_none("a/b") is None and await store.read_or_none("/tool") is None
        await store.set_permissions("m", "n1", "r0")
        assert await store.permissions("m") == ["n1", "r0"]
        assert await store.domain_path(12) == "/local/domain/12"
        with pytest.raises(XenstoreError, match="ENOENT on READ none") as refused:
            await store.read("none")
        assert refused.value.error == "ENOENT"
        with pytest.raises(XenstoreError, match="EINVAL"):
            await store.read_or_none("a//b")
        with pytest.raises(ValueError, match="payload of 5002 bytes, at most 4096"):
            await store.write("x", "v" * 5000)
        with pytest.raises(XenstoreError, match="EEXIST|EINVAL"):
            await store.watch("bad//path")
        assert store.watches == 0 and store.stray_messages == 0

    platform.run(run())


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("seed", [1, 2])
def test_many_at_a_time_with_long_values(delay: int, seed: int) -> None:
    platform, _, one = guest(delay, Quotas(node_bytes=5000))
    rng = random.Random(seed)

    async def user(name: str) -> None:
        watch = await one.store.watch(name)
        for n in range(20):
            value = f"{name}{n}" * rng.randint(0, 500)
            await one.store.write(f"{name}/x", value)
            assert await one.store.read(f"{name}/x") == value
            assert await watch.wait(MS) and set(watch.take()) <= {name, f"{name}/x"}
        await watch.remove()

    platform.run(*(user(f"u{n}") for n in range(6)))
    assert one.store.stray_messages == 0 and one.store.watches == 0


@pytest.mark.parametrize("delay", DELAYS)
def test_watches(delay: int) -> None:
    platform, daemon, one = guest(delay)

    async def run() -> None:
        watch = await one.store.watch("d")
        other = await one.store.watch("/local/domain/1/d")
        assert await watch.wait(MS) and watch.take() == ["d"] and watch.take() == []
        started = platform.now()
        assert not await watch.wait(5000) and platform.now() - started == 5000
        daemon.local.write("/local/domain/1/d/x", "v")
        assert await watch.wait(MS) and watch.take() == ["d/x"]
        assert await other.wait(MS) and other.take() == ["/local/domain/1/d", "/local/domain/1/d/x"]
        await watch.remove()
        await watch.remove()
        daemon.local.write("/local/domain/1/d/x", "w")
        await platform.sleep(10_000)
        assert watch.take() == [] and other.take() == ["/local/domain/1/d/x"] and daemon.watches_of(1) == 1
        await one.store.reset_watches()
        assert daemon.watches_of(1) == 0 and one.store.watches == 0

    platform.run(run())


@pytest.mark.parametrize("delay", DELAYS)
def test_burst_of_events_longer_than_the_ring(delay: int) -> None:
    platform, daemon, one = guest(delay)

    async def run() -> None:
        watch = await one.store.watch("d")
        assert await watch.wait(MS)
        watch.take()
        paths = [f"d/{n:0200}" for n in range(50)]
        for path in paths:
            daemon.local.write(f"/local/domain/1/{path}", "")
        heard: list[str] = []
        while len(heard) < 50:
            assert await watch.wait(MS), f"no more after {len(heard)}"
            heard += watch.take()
        assert heard == paths

    platform.run(run())


@pytest.mark.parametrize("delay", DELAYS)
def test_counter_of_two_domains_loses_nothing(delay: int) -> None:
    platform, daemon, one = guest(delay)
    two = Guest(platform, daemon, 2, delay and 900)
    daemon.local.write("/count", "0")
    daemon.local.set_permissions("/count", "b0")
    runs = 0

    async def count(store: Xenstore, pause: int) -> None:
        async def body(inside: Accessor) -> None:
            nonlocal runs
            runs += 1
            value = int(await inside.read("/count"))
            await platform.sleep(pause)
            await inside.write("/count", str(value + 1))

        for _ in range(10):
            await store.transact(body)
            await platform.sleep(5 * pause)

    platform.run(count(one.store, 1000), count(two.store, 1700))
    assert daemon.local.read("/count") == "20"
    assert runs > 20, "they never met"


def test_transaction_gives_up_and_passes_errors_on() -> None:
    platform, daemon, one = guest()
    tries = 0

    async def unlucky(inside: Accessor) -> None:
        nonlocal tries
        tries += 1
        await inside.write("k", "mine")
        daemon.local.write("/local/domain/1/k", str(tries))

    async def wrong(inside: Accessor) -> None:
        await inside.write("k", "never")
        await inside.read("none")

    async def broken(inside: Accessor) -> None:
        await inside.write("k", "never")
        raise ZeroDivisionError

    async def run() -> None:
        with pytest.raises(XenstoreError, match="EAGAIN"):
            await one.store.transact(unlucky)
        with pytest.raises(XenstoreError, match="ENOENT"):
            await one.store.transact(wrong)
        with pytest.raises(ZeroDivisionError):
            await one.store.transact(broken)
        for _ in range(12):  # none is left open
            with pytest.raises(XenstoreError, match="ENOENT"):
                await one.store.transact(wrong)

    platform.run(run())
    assert tries == ATTEMPTS and daemon.local.read("/local/domain/1/k") == str(ATTEMPTS)


@pytest.mark.parametrize("delay", DELAYS)
def test_long_directory_while_it_changes(delay: int) -> None:
    platform, daemon, one = guest(delay)
    for n in range(900):
        daemon.local.write(f"/d/node{n:04}", "")
    daemon.local.set_permissions("/d", "r0")

    async def disturb() -> None:
        for n in range(10):
            await platform.sleep(1500)
            daemon.local.remove(f"/d/node{n:04}")

    async def run() -> None:
        names = await one.store.directory("/d")
        # as it was at one moment
        assert names == [f"node{n:04}" for n in range(900 - len(names), 900)] and len(names) >= 890

    platform.run(run(), disturb())


def test_dead_daemon_is_noticed_in_bounded_time() -> None:
    platform = ModelPlatform()
    page = memoryview(bytearray(4096))

    async def notify() -> None:
        """Nobody hears it."""

    store = Xenstore(page, notify, platform.signal, platform.now, timeout_ns=3 * MS)

    async def run() -> None:
        with pytest.raises(PlatformTimeoutError, match="3000000 ns without the reply to READ a"):
            await store.read("a")
        assert platform.now() == 3 * MS
        # a message that fits in part only spoils the stream
        with pytest.raises(PlatformTimeoutError, match="without room to send WRITE b"):
            await store.write("b", "v" * 2000)
        with pytest.raises(XenstoreConnectionError, match="WRITE b was sent in part only"):
            await store.read("a")
        with pytest.raises(PlatformTimeoutError, match="did not reset the ring"):
            await store.reconnect()

    platform.run(run())


def test_daemon_that_stops_fails_all_who_wait_and_reconnection_serves_again() -> None:
    platform, _, one = guest(700)
    errors: list[str] = []

    async def ask() -> None:
        with pytest.raises(XenstoreConnectionError) as error:
            while True:
                await one.store.read_or_none("a")
        errors.append(str(error.value))

    async def spoil() -> None:
        await platform.sleep(3000)
        put_word(one.page, REQ_PROD, word(one.page, REQ_PROD) + 5000)
        await platform.sleep(10_000)
        with pytest.raises(XenstoreConnectionError):
            await one.store.read("b")
        await one.store.reconnect()
        await one.store.write("a", "v")
        assert await one.store.read("a") == "v"

    platform.run(ask(), ask(), spoil())
    assert len(errors) == 2 and all("will not be answered: the daemon stopped with error 2" in said for said in errors)
    assert word(one.page, ERROR_WORD) == 0


@pytest.mark.parametrize("delay", DELAYS)
def test_crashed_kernel_comes_back_on_the_same_page(delay: int) -> None:
    platform, daemon, one = guest(delay, Quotas(node_bytes=5000))

    async def run() -> None:
        await one.store.watch("a")
        await one.store.write("big", "x" * 3000)
        # it dies with half a request sent, and half a reply not taken
        one.page[2:4] = b"zz"
        put_word(one.page, REQ_PROD, word(one.page, REQ_PROD) + 7)
        await platform.sleep(10_000)
        store = one.boot()
        await store.reconnect()
        assert await store.read("big") == "x" * 3000
        assert daemon.watches_of(1) == 0 and store.stray_messages == 0
        assert word(one.page, CONNECTION) == 0

    platform.run(run())


@pytest.mark.parametrize("delay", DELAYS)
def test_who_waits_during_a_reconnection_is_told(delay: int) -> None:
    platform, daemon, one = guest(delay)
    deaf = True

    async def notify() -> None:
        if not deaf:
            await platform.sleep(delay)
            daemon.event(1)

    store = Xenstore(one.page, notify, platform.signal, platform.now, timeout_ns=MS)
    one.store = store

    async def ask() -> None:
        with pytest.raises(XenstoreConnectionError, match="READ a will not be answered: the connection (was|is being) reset"):
            await store.read("a")

    async def reset() -> None:
        nonlocal deaf
        await platform.sleep(100)
        deaf = False
        await store.reconnect()
        await store.mkdir("b")

    platform.run(ask(), reset())
    assert platform.now() < MS and store.stray_messages == 0
