"""The daemon's end of one domain's ring page. Everything in the page may be the work of a hostile guest."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from hypervisor_model.xenstore.connections import Store
from hypervisor_model.xenstore.permissions import PRIVILEGED
from hypervisor_model.xenstore.wire import Domains, Request, handle
from sw.xen.io.xs_wire import (
    CONNECTION,
    ERROR_INDICATOR,
    INTERFACE_BYTES,
    PAYLOAD_MAX,
    REQUEST_CONSUMER,
    RESPONSE_PRODUCER,
    SERVER_FEATURES,
    WORD,
    ByteRing,
    ConnectionError_,
    ConnectionState,
    Message,
    MessageReader,
    MessageType,
    PayloadTooLongError,
    RingIndexError,
    ServerFeature,
)


class _Queued(NamedTuple):
    """A message that waits for room."""

    data: bytes
    reply: bool
    """Else a watch event."""


class RingServer:
    """Takes requests out of a page and puts replies and events in. Nonsense stops this connection and no other."""

    def __init__(
        self,
        store: Store,
        domid: int,
        domains: Domains,
        wake: Callable[[], None],
        page: memoryview,
        notify: Callable[[], None],
    ) -> None:
        """`wake` asks for a call of `serve`: an event waits. `page` and `notify` as in `attach`."""
        self._store = store
        self._domains = domains
        self._wake = wake
        self._output: deque[_Queued] = deque()
        self._queued_bytes = 0
        self._queued_replies = 0
        self.attach(page, notify)
        self.connection: Final = store.connect(domid, self._deliver)

    def attach(self, page: memoryview, notify: Callable[[], None]) -> None:
        """Serve this page, from its present indices on; `notify` sends the domain's event. `ValueError`: too small."""
        if page.nbytes < INTERFACE_BYTES or page.itemsize != 1 or page.readonly:
            raise ValueError(f"ring page of {page.nbytes} bytes: {INTERFACE_BYTES} writable bytes are needed")
        self._page = page
        self._notify = notify
        self._requests = ByteRing.requests(page)
        self._responses = ByteRing.responses(page)
        self._reader = MessageReader(self._requests)
        # The rest of a message that begins on another page: there is none.
        self._part = b""
        self._dead = False
        WORD.pack_into(page, SERVER_FEATURES, ServerFeature.RECONNECTION | ServerFeature.ERROR)
        WORD.pack_into(page, ERROR_INDICATOR, ConnectionError_.NONE)

    def detach(self) -> None:
        """Forget the domain's connection; the page is not touched any more."""
        self._store.disconnect(self.connection)

    def serve(self) -> int:
        """Do what can be done, and notify the domain if its page has changed; the operations carried out."""
        before = self._mark()
        operations = 0
        if WORD.unpack_from(self._page, CONNECTION)[0] == ConnectionState.RECONNECT:
            self._reconnect()
        if not self._dead:
            try:
                operations = self._exchange()
            except RingIndexError:
                self._stop(ConnectionError_.RING_INDEX)
            except PayloadTooLongError:
                self._stop(ConnectionError_.PROTOCOL)
        if self._mark() != before:
            self._notify()
        return operations

    def _exchange(self) -> int:
        operations = self._flush()
        while self._may_read() and (message := self._reader.read()) is not None:
            operations += 1
            handle(Request(message, self.connection, self._domains, lambda kind, data: self._reply(message, kind, data)))
            operations += self._flush()
        return operations

    def _may_read(self) -> bool:
        """Who does not take its replies is not asked for more requests."""
        return self.connection.domid == PRIVILEGED or self._queued_replies < self._store.quotas.outstanding

    def _flush(self) -> int:
        """Put out what there is room for; the events that went whole."""
        events = 0
        while self._output:
            data = self._part or self._output[0].data
            self._part = data[self._responses.put(data) :]
            if self._part:
                break
            gone = self._output.popleft()
            self._queued_bytes -= len(gone.data)
            self._queued_replies -= gone.reply
            events += not gone.reply
        return events

    def _reply(self, message: Message, kind: int, payload: bytes) -> None:
        self._queue(_Queued(Message(kind, message.request, message.transaction, payload).encode(), reply=True))

    def _deliver(self, path: str, token: str) -> None:
        payload = f"{path}\0{token}\0".encode("latin-1")
        event = _Queued(Message(MessageType.WATCH_EVENT, 0, 0, payload).encode(), reply=False)
        # One that waits already says the same; of special events each one counts.
        waits = not path.startswith("@") and event in self._output
        size = self._queued_bytes + len(event.data)
        full = self.connection.domid != PRIVILEGED and size > self._store.quotas.queued_bytes
        if not (self._dead or waits or full or len(payload) > PAYLOAD_MAX):
            self._queue(event)
            self._wake()

    def _queue(self, message: _Queued) -> None:
        self._output.append(message)
        self._queued_bytes += len(message.data)
        self._queued_replies += message.reply

    def _stop(self, reason: ConnectionError_) -> None:
        self._forget()
        self._dead = True
        WORD.pack_into(self._page, ERROR_INDICATOR, reason)

    def _reconnect(self) -> None:
        self._forget()
        self._dead = False
        self._requests.empty()
        self._responses.empty()
        WORD.pack_into(self._page, ERROR_INDICATOR, ConnectionError_.NONE)
        WORD.pack_into(self._page, CONNECTION, ConnectionState.CONNECTED)

    def _forget(self) -> None:
        self.connection.reset()
        self._output.clear()
        self._queued_bytes = self._queued_replies = 0
        self._part = b""
        self._reader.forget()

    def _mark(self) -> bytes:
        """What the daemon writes in the page: indices, connection and error words."""
        page = self._page
        return bytes(page[REQUEST_CONSUMER : REQUEST_CONSUMER + WORD.size]) + bytes(
            page[RESPONSE_PRODUCER : ERROR_INDICATOR + WORD.size]
        )
