"""The guest's client of xenstore, over the ring page that it shares with the daemon."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

from sw.platform import PlatformTimeoutError, Signal
from sw.xen.io.xs_wire import (
    CONNECTION,
    ERROR_INDICATOR,
    PAYLOAD_MAX,
    RING_BYTES,
    WORD,
    ByteRing,
    ConnectionError_,
    ConnectionState,
    Error,
    Message,
    MessageReader,
    MessageType,
    RingIndexError,
)

TIMEOUT_NS: Final = 100_000_000
"""Bound of one request, simulated."""
ATTEMPTS: Final = 16
"""Times that a transaction, or a listing in parts, is tried while others change the same nodes."""
_NO_TRANSACTION: Final = 0
_LAST_REQUEST: Final = 0xFFFF_FFFF
_T = TypeVar("_T")


class XenstoreError(RuntimeError):
    """The daemon refused a request; `error` is the name that it gave."""

    def __init__(self, error: str, request: str) -> None:
        super().__init__(f"xenstore: {error} on {request}")
        self.error = error


class XenstoreConnectionError(RuntimeError):
    """The daemon has given up on this ring, or a message stopped half-way; `reconnect` begins anew."""


class Accessor:
    """Reads and changes, in the store itself or inside a transaction. Values are text, one character for each byte.

    All raise `XenstoreError`, `XenstoreConnectionError` and `PlatformTimeoutError`. Paths may be relative.
    """

    def __init__(self, client: Xenstore, transaction: int) -> None:
        self._client = client
        self._transaction = transaction

    async def read(self, path: str) -> str:
        """Value of a node."""
        return (await self._ask(MessageType.READ, path)).decode("latin-1")

    async def read_or_none(self, path: str) -> str | None:
        """Value of a node; None when it does not exist, or is not for this domain to see."""
        try:
            return await self.read(path)
        except XenstoreError as refused:
            if refused.error not in (Error.ENOENT, Error.EACCES):
                raise
            return None

    async def write(self, path: str, value: str) -> None:
        """Set a node's value; makes it and its ancestors."""
        await self._ask(MessageType.WRITE, path, tail=value.encode("latin-1"))

    async def write_all(self, path: str, values: Mapping[str, str]) -> None:
        """Set children of `path`."""
        for key, value in values.items():
            await self.write(f"{path}/{key}", value)

    async def mkdir(self, path: str) -> None:
        """Make a node if it is not there."""
        await self._ask(MessageType.MKDIR, path)

    async def remove(self, path: str) -> None:
        """Remove a node and all below it; none is fine if its parent exists."""
        await self._ask(MessageType.RM, path)

    async def directory(self, path: str) -> list[str]:
        """Last parts of the paths of a node's children."""
        try:
            listing = await self._ask(MessageType.DIRECTORY, path)
        except XenstoreError as refused:
            if refused.error != Error.E2BIG:
                raise
            return await self._directory_in_parts(path)
        return _strings(listing)

    async def permissions(self, path: str) -> list[str]:
        """Entries of a node, `n0` for instance: first its owner with the access of all others."""
        return _strings(await self._ask(MessageType.GET_PERMS, path))

    async def set_permissions(self, path: str, *entries: str) -> None:
        """Of an owned node."""
        await self._ask(MessageType.SET_PERMS, path, *entries)

    async def _directory_in_parts(self, path: str) -> list[str]:
        for _ in range(ATTEMPTS):
            listing = b""
            generation = ""
            while True:
                answer = await self._ask(MessageType.DIRECTORY_PART, path, str(len(listing)))
                head, _, part = answer.partition(b"\0")
                if generation not in ("", head.decode()):
                    break
                generation = head.decode()
                if part in (b"", b"\0") or part.endswith(b"\0\0"):
                    return _strings(listing + part[:-1])
                listing += part
        raise XenstoreError(Error.EAGAIN, f"directory {path}: it changed {ATTEMPTS} times while it was read")

    async def _ask(self, kind: MessageType, *strings: str, tail: bytes = b"") -> bytes:
        return await self._client.request(kind, *strings, tail=tail, transaction=self._transaction)


class _Request:
    """A request under way."""

    def __init__(self, number: int, what: str, deadline: int) -> None:
        self.number = number
        self.what = what
        self.deadline = deadline
        self.reply: Message | None = None
        self.lost = False
        """The connection was reset meanwhile."""


class StoreWatch:
    """Events on a node and all below it, in order. The first one comes by itself."""

    def __init__(self, client: Xenstore, path: str, token: str) -> None:
        self._client = client
        self.path = path
        self.token = token
        self._events: deque[str] = deque()

    def push(self, path: str) -> None:
        """An event has arrived."""
        self._events.append(path)

    def take(self) -> list[str]:
        """Paths that have changed since the last call."""
        taken = list(self._events)
        self._events.clear()
        return taken

    async def wait(self, timeout_ns: int) -> bool:
        """Until there is something to `take`; False after `timeout_ns` of simulated time."""
        return await self._client.wait(lambda: bool(self._events), timeout_ns)

    async def remove(self) -> None:
        """No events any more."""
        await self._client.unwatch(self)


class Xenstore(Accessor):
    """One client for the whole guest; any number of coroutines may use it at a time."""

    def __init__(
        self,
        page: memoryview,
        notify: Callable[[], Awaitable[None]],
        signal: Callable[[], Signal],
        now: Callable[[], int],
        timeout_ns: int = TIMEOUT_NS,
    ) -> None:
        """`page` is the ring page; `notify` sends its event channel's event (a hypercall); `now` is simulated time in ns.

        `timeout_ns` bounds each request. The guest's handler of that event channel calls `event`.
        """
        super().__init__(self, _NO_TRANSACTION)
        self._page = page
        self._notify = notify
        self._signal = signal()
        self._now = now
        self._timeout_ns = timeout_ns
        self._requests = ByteRing.requests(page)
        self._responses = ByteRing.responses(page)
        self._reader = MessageReader(self._responses)
        self._sender: _Request | None = None
        self._broken = ""
        self._room_made = False
        """The response ring was full, and is not any more: whoever waits next tells the daemon."""
        self._waiting: dict[int, _Request] = {}
        self._next_request = 1
        self._watches: dict[str, StoreWatch] = {}
        self._next_token = 0
        self.stray_messages = 0
        """Replies nobody waits for any more, and events of watches that have been removed."""

    def event(self) -> None:
        """The ring's event channel fired: take what the daemon has put there. Called by the event handler."""
        if self._broken or self._connecting():
            # Of a page that is being reset nothing may be looked at; those who wait for it look again.
            self._signal.notify()
            return
        try:
            while (used := self._responses.used()) > 0:
                self._room_made |= used == RING_BYTES
                message = self._reader.read()
                if message is not None:
                    self._dispatch(message)
        except ValueError as nonsense:
            self._broken = str(nonsense)
        error = int(WORD.unpack_from(self._page, ERROR_INDICATOR)[0])
        if error != ConnectionError_.NONE:
            self._broken = f"the daemon stopped with error {error}"
        self._signal.notify()

    def now(self) -> int:
        """Simulated time in ns."""
        return self._now()

    async def reconnect(self) -> None:
        """Have the daemon empty the rings and forget watches and transactions: after a crash, or an error."""
        self._broken = "the connection is being reset"
        for request in self._waiting.values():
            request.lost = True
        self._waiting.clear()
        self._watches.clear()
        self._sender = None
        self._signal.notify()
        WORD.pack_into(self._page, CONNECTION, ConnectionState.RECONNECT)
        await self._notify()
        if not await self.wait(lambda: not self._connecting(), self._timeout_ns):
            raise PlatformTimeoutError(f"xenstore: the daemon did not reset the ring in {self._timeout_ns} ns")
        self._reader.forget()
        self._room_made = False
        self._broken = ""

    async def watch(self, path: str) -> StoreWatch:
        """Watch a node."""
        self._next_token += 1
        watch = StoreWatch(self, path, str(self._next_token))
        self._watches[watch.token] = watch
        try:
            await self._ask(MessageType.WATCH, path, watch.token)
        except XenstoreError:
            del self._watches[watch.token]
            raise
        return watch

    async def unwatch(self, watch: StoreWatch) -> None:
        """Remove a watch. One that a reset has removed is fine."""
        if self._watches.pop(watch.token, None) is not None:
            await self._ask(MessageType.UNWATCH, watch.path, watch.token)

    @property
    def watches(self) -> int:
        """How many there are."""
        return len(self._watches)

    async def transact(self, body: Callable[[Accessor], Awaitable[_T]]) -> _T:
        """Run `body` as one transaction, again while others interfere, at most `ATTEMPTS` times; its result."""
        for attempt in range(ATTEMPTS):
            number = int(_strings(await self._ask(MessageType.TRANSACTION_START, ""))[0])
            try:
                result = await body(Accessor(self, number))
            except Exception:
                if not self._broken:
                    await self.request(MessageType.TRANSACTION_END, "F", transaction=number)
                raise
            try:
                await self.request(MessageType.TRANSACTION_END, "T", transaction=number)
            except XenstoreError as refused:
                if refused.error != Error.EAGAIN or attempt == ATTEMPTS - 1:
                    raise
                continue
            return result
        raise AssertionError("the last attempt returns or raises")

    async def domain_path(self, domid: int) -> str:
        """Home of a domain."""
        return _strings(await self._ask(MessageType.GET_DOMAIN_PATH, str(domid)))[0]

    async def reset_watches(self) -> None:
        """Have the daemon forget this domain's watches and transactions, whoever in it made them."""
        self._watches.clear()
        await self._ask(MessageType.RESET_WATCHES, "")

    async def request(self, kind: MessageType, *strings: str, tail: bytes = b"", transaction: int = 0) -> bytes:
        """One request: strings, each with a zero byte, then `tail`; the reply's payload. Errors as in `Accessor`."""
        payload = b"".join(text.encode("latin-1") + b"\0" for text in strings) + tail
        what = f"{kind.name} {strings[0] if strings else ''}"
        if len(payload) > PAYLOAD_MAX:
            raise ValueError(f"xenstore: {what}: payload of {len(payload)} bytes, at most {PAYLOAD_MAX}")
        request = _Request(self._number(), what, self._now() + self._timeout_ns)
        self._waiting[request.number] = request
        try:
            await self._send(request, Message(kind, request.number, transaction, payload).encode())
            await self._until(request, lambda: request.reply is not None, "the reply to")
        finally:
            if not request.lost:
                del self._waiting[request.number]
        reply = request.reply
        assert reply is not None
        if reply.type == MessageType.ERROR:
            raise XenstoreError(_strings(reply.payload)[0], what)
        return reply.payload

    async def wait(self, done: Callable[[], bool], timeout_ns: int) -> bool:
        """Until `done()`, looked at after each event of the ring; False after `timeout_ns` of simulated time."""
        deadline = self._now() + timeout_ns
        while not done():
            if self._room_made:
                self._room_made = False
                await self._notify()
            elif not await self._signal.wait(deadline - self._now()):
                return done()
        return True

    async def _send(self, request: _Request, data: bytes) -> None:
        # A message must be whole before the next one begins.
        await self._until(request, lambda: self._sender is None, "its turn to send")
        self._sender = request
        sent = 0
        try:
            while sent < len(data):
                await self._until(request, self._has_room, "room to send")
                sent += self._requests.put(data[sent:])
                await self._notify()
        except PlatformTimeoutError:
            if sent:
                self._broken = f"{request.what} was sent in part only"
            raise
        finally:
            if self._sender is request:
                self._sender = None
                self._signal.notify()

    async def _until(self, request: _Request, done: Callable[[], bool], what: str) -> None:
        timeout_ns = request.deadline - self._now()
        if not await self.wait(lambda: bool(self._broken) or request.lost or done(), timeout_ns):
            raise PlatformTimeoutError(f"xenstore: {self._timeout_ns} ns without {what} {request.what}")
        if request.lost or self._broken:
            reason = self._broken or "the connection was reset"
            raise XenstoreConnectionError(f"xenstore: {request.what} will not be answered: {reason}")

    def _has_room(self) -> bool:
        try:
            return self._requests.free() > 0
        except RingIndexError as nonsense:
            self._broken = str(nonsense)
            return False

    def _dispatch(self, message: Message) -> None:
        if message.type == MessageType.WATCH_EVENT:
            path, token = _strings(message.payload)
            watch = self._watches.get(token)
            if watch is not None:
                watch.push(path)
                return
        elif (request := self._waiting.get(message.request)) is not None:
            request.reply = message
            return
        self.stray_messages += 1

    def _number(self) -> int:
        number = self._next_request
        while number in self._waiting or number == 0:
            number = (number + 1) & _LAST_REQUEST
        self._next_request = (number + 1) & _LAST_REQUEST
        return number

    def _connecting(self) -> bool:
        return int(WORD.unpack_from(self._page, CONNECTION)[0]) == ConnectionState.RECONNECT


def _strings(payload: bytes) -> list[str]:
    return [part.decode("latin-1") for part in payload.split(b"\0")[:-1]]
