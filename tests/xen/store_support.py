"""Shared by the xenstore tests: a client that speaks bytes, by layouts restated here, and guests under the model clock."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from hypervisor_model.toolstack import Toolstack
from hypervisor_model.xenbus import BackEndBus, BackEndDriver, Device
from hypervisor_model.xenstore.daemon import XenstoreDaemon
from sw.guest.xenstore import Xenstore
from tb.model.platform import ModelPlatform

# enum xsd_sockmsg_type
DIRECTORY, READ, GET_PERMS, WATCH, UNWATCH, START, END, INTRODUCE, RELEASE, GET_DOMAIN_PATH = range(1, 11)
WRITE, MKDIR, RM, SET_PERMS, WATCH_EVENT, ERROR, IS_INTRODUCED = range(11, 18)
CONTROL, RESUME, SET_TARGET, RESTRICT, RESET_WATCHES, DIRECTORY_PART = 0, 18, 19, 20, 21, 22

# struct xenstore_domain_interface
REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD, FEATURES, CONNECTION, ERROR_WORD = range(2048, 2076, 4)
RING = 1024
MASK = (1 << 32) - 1
MS = 1_000_000


def word(page: memoryview, at: int) -> int:
    return int(struct.unpack_from("<I", page, at)[0])


def put_word(page: memoryview, at: int, value: int) -> None:
    struct.pack_into("<I", page, at, value & MASK)


class Raw:
    """A domain that writes its ring page byte by byte, without the client under test."""

    def __init__(self, daemon: XenstoreDaemon, domid: int, start: int = 0) -> None:
        self.daemon = daemon
        self.domid = domid
        self.page = memoryview(bytearray(4096))
        for at in (REQ_CONS, REQ_PROD, RSP_CONS, RSP_PROD):
            put_word(self.page, at, start)
        self.notified = 0
        self.events: list[tuple[str, str]] = []
        self._request = 0
        self._bytes = b""
        daemon.introduce(domid, self.page, self._notify)

    def _notify(self) -> None:
        self.notified += 1

    def put(self, data: bytes) -> int:
        """As much as there is room for."""
        used = word(self.page, REQ_PROD) - word(self.page, REQ_CONS) & MASK
        size = min(len(data), RING - used)
        at = word(self.page, REQ_PROD)
        for n in range(size):
            self.page[(at + n) % RING] = data[n]
        put_word(self.page, REQ_PROD, at + size)
        return size

    def take(self) -> bytes:
        """All there is."""
        at, end = word(self.page, RSP_CONS), word(self.page, RSP_PROD)
        size = end - at & MASK
        assert size <= RING
        data = bytes(self.page[RING + (at + n) % RING] for n in range(size))
        put_word(self.page, RSP_CONS, end)
        return data

    def messages(self) -> list[tuple[int, int, int, bytes]]:
        """Let the daemon run until it says no more: type, request, transaction, payload."""
        while True:
            self.daemon.event(self.domid)
            data = self.take()
            self._bytes += data
            if not data:
                break
        found = []
        while len(self._bytes) >= 16:
            kind, request, transaction, size = struct.unpack_from("<IIII", self._bytes)
            assert size <= 4096
            if len(self._bytes) < 16 + size:
                break
            found.append((kind, request, transaction, self._bytes[16 : 16 + size]))
            self._bytes = self._bytes[16 + size :]
        return found

    def ask(self, kind: int, payload: bytes = b"\0", transaction: int = 0) -> bytes:
        """One request; the payload of its reply, or `E...` of an error."""
        self._request += 1
        data = struct.pack("<IIII", kind, self._request, transaction, len(payload)) + payload
        replies: list[tuple[int, int, int, bytes]] = []
        while data:
            data = data[self.put(data) :]
            replies += self.messages()
        own = []
        for reply in replies:
            if reply[0] == WATCH_EVENT:
                assert reply[1:3] == (0, 0)
                path, token, end = reply[3].split(b"\0")
                assert end == b""
                self.events.append((path.decode(), token.decode()))
            else:
                own.append(reply)
        assert len(own) == 1, own
        answer = own[0]
        assert answer[1:3] == (self._request, transaction)
        if answer[0] == ERROR:
            assert answer[3].startswith(b"E") and answer[3].endswith(b"\0")
            return answer[3][:-1]
        assert answer[0] == kind
        return answer[3]

    def heard(self) -> list[tuple[str, str]]:
        """Watch events since the last call."""
        for kind, _, _, payload in self.messages():
            assert kind == WATCH_EVENT
            path, token, _ = payload.split(b"\0")
            self.events.append((path.decode(), token.decode()))
        heard, self.events = self.events, []
        return heard


class Guest:
    """A guest's client; each event takes `delay` to twice that, in ns, to arrive, and its sending some more, or no time."""

    def __init__(self, platform: ModelPlatform, daemon: XenstoreDaemon, domid: int, delay: int = 0) -> None:
        self.platform = platform
        self.page = memoryview(bytearray(4096))
        self.domid = domid
        self._delay = delay
        self._rng = random.Random(domid)
        self._daemon = daemon
        self.boot()
        daemon.introduce(domid, self.page, self._to_guest)

    def boot(self) -> Xenstore:
        """A new client on the same page, as after a crash of the guest's kernel."""
        self.store = Xenstore(
            self.page, self._to_daemon, self.platform.signal, self.platform.now, timeout_ns=20 * MS
        )
        return self.store

    async def _to_daemon(self) -> None:
        if self._delay:
            await self.platform.sleep(self._rng.randrange(self._delay))
        self._later(lambda: self._daemon.event(self.domid))

    def _to_guest(self) -> None:
        self._later(lambda: self.store.event())

    def _later(self, call: Callable[[], None]) -> None:
        if self._delay:
            self.platform.schedule(self._delay + self._rng.randrange(self._delay), lambda _: call(), None)
        else:
            call()


class Dom0:
    """Daemon, toolstack and back ends of a machine without hardware."""

    def __init__(self, drivers: dict[str, Callable[[Device], BackEndDriver]], delay: int = 0) -> None:
        self.platform = ModelPlatform()
        self.daemon = XenstoreDaemon()
        self.delay = delay
        self.bus_store = self.daemon.open()
        self.bus = BackEndBus(self.bus_store, self.platform.signal, drivers)
        self.tools = Toolstack(self.daemon.local, self.platform.signal, self.platform.now, timeout_ns=50 * MS)

    def domain(self, domid: int) -> Guest:
        self.tools.create_domain(domid, f"guest{domid}", 1 << 16, 0x77, 1)
        return Guest(self.platform, self.daemon, domid, self.delay)

    def nodes(self) -> set[str]:
        """Paths of all nodes."""
        found = set()
        todo = ["/"]
        while todo:
            path = todo.pop()
            found.add(path)
            todo += [f"{path.rstrip('/')}/{child}" for child in self.daemon.local.directory(path)]
        return found
