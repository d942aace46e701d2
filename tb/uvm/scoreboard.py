"""The scoreboard: what the hardware does against the reference NIC, endpoint by endpoint and in order.

Its one input takes what every monitor publishes, in the order in which it happened. Where two outcomes are legal
because inputs race (a frame against the closing of an endpoint, the posting of a buffer or a change of the switch),
each of them is accepted and nothing else.
"""

from __future__ import annotations

import copy
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from pyuvm import uvm_analysis_port, uvm_subscriber

from sw.abi.registers import Aperture, Mode, NicControl, ReceiveCompletion, RxDrop, Status, TraceKind
from sw.platform import CYCLE_NS
from tb.cosim.platform import ReadError
from tb.ethernet import on_line
from tb.model.nic import Outcome
from tb.model.rx import filtered
from tb.model.switch import Switch
from tb.uvm.expectation import WIRE, Arrival, Chain, Delivery, Fate, Mismatch, SentFrame, difference
from tb.uvm.interrupt_check import InterruptCheck
from tb.uvm.items import Direction, HostItem, InterruptItem, Item, MmioItem, ReceivedItem, SentItem, WireItem
from tb.uvm.observed import ObservedPlatform
from tb.uvm.receive_buffer import ReceiveBuffer
from tb.uvm.reference import Reference

RACE_NS: Final = 50_000
"""Buffers that were posted so short a time before a drop need not have reached the NIC: MMIO, then a fetch."""
_STAMP: Final = ReceiveCompletion.STAMP_LO
_TAG_S: Final = 24
_ENTRIES_M: Final = 0xFFFF
_QUEUE_S: Final = 16
_QUEUE_M: Final = 0x7
_SWITCH: Final = range(NicControl.PORT_BASE, NicControl.GROUP_BASE + NicControl.GROUP_COUNT * NicControl.GROUP_STRIDE)
_ENDPOINTS: Final = range(
    NicControl.ENDPOINT_BASE, NicControl.ENDPOINT_BASE + NicControl.ENDPOINT_COUNT * NicControl.ENDPOINT_STRIDE
)
_BY_LACK: Final = (RxDrop.NO_SMALL, RxDrop.NO_BIG)
_ALTOGETHER: Final = frozenset(RxDrop) - {*_BY_LACK, RxDrop.TOO_LONG, RxDrop.REFUSED, RxDrop.DISABLED}
_FILTERED: Final = (RxDrop.FILTERED_UNICAST, RxDrop.FILTERED_MULTICAST)
_MOST: Final = 40
"""Mismatches that are kept."""


class Scoreboard(uvm_subscriber):
    """Compares as things happen; `missing` tells what it still waits for."""

    def build_phase(self) -> None:
        """Start with the machine as it is switched on."""
        platform: ObservedPlatform = self.cdb_get("platform")
        self.packets = uvm_analysis_port("packets", self)
        """What became of each request and each copy of a frame: `SentItem`, `ReceivedItem`."""
        self._platform = platform
        self._memory = platform.memory
        self.reference = Reference(platform.machine, platform.memory, platform.now)
        self.mismatches: list[Mismatch] = []
        self.compared: dict[str, int] = defaultdict(int)
        """Comparisons made, by what was compared."""
        self.counted: dict[int, int] = defaultdict(int)
        """What the NIC's counters must say, by register."""
        self._chains: dict[int, deque[Chain]] = defaultdict(deque)
        self._sent_in: deque[WireItem] = deque()
        self._arrived = 0
        self._buffer = ReceiveBuffer()
        self._arrivals: dict[int, Arrival] = {}
        self._flows: dict[tuple[int, int], deque[Arrival]] = defaultdict(deque)
        """By receiver and source: what is on its way, in order."""
        self._open: dict[int, Arrival] = {}
        """By identity: not settled, or being written."""
        self._granted: dict[tuple[int, int], Delivery] = {}
        self._written: dict[tuple[int, int, int], Delivery] = {}
        self._flying_receive: dict[int, list[Delivery]] = {}
        self._flying_send: dict[int, tuple[int, int, int]] = {}
        self._closing: dict[int, tuple[int, bytes]] = {}
        """Endpoints whose disabling was posted and not confirmed: the write."""
        self._enabling: dict[int, int] = {}
        """Endpoints whose enabling need not have landed: number of the write."""
        self._old_switches: list[Switch] = []
        """States that may still be in force."""
        self._switch_write = 0
        self._posts: dict[tuple[int, bool], deque[tuple[int, int]]] = defaultdict(deque)
        """By endpoint and size (big): when buffers were posted, and how many."""
        self._checks: dict[int, InterruptCheck] = defaultdict(InterruptCheck)
        self._vectors: list[int] = []
        """Messages that have left and not arrived."""

    # --- input -----------------------------------------------------------------------------------

    def write(self, tt: Item) -> None:
        """One item of any monitor."""
        match tt:
            case MmioItem(write=True):
                self._mmio_write(tt.address, tt.data)
            case MmioItem():
                self._mmio_read(tt.address, tt.data, tt.landed)
            case HostItem():
                self._host(tt)
            case WireItem(direction=Direction.IN):
                self._sent_in.append(tt)
            case WireItem():
                self._left(tt)
            case InterruptItem():
                self._message(tt)

    def _now(self) -> int:
        return self._platform.now()

    def _wrong(self, endpoint: int | None, kind: str, text: str) -> None:
        if len(self.mismatches) < _MOST:
            self.mismatches.append(Mismatch(endpoint, kind, text, self._now()))
            self.logger.error(str(self.mismatches[-1]))

    # --- processors ------------------------------------------------------------------------------

    def _mmio_write(self, address: int, data: bytes) -> None:
        if (aperture := self.reference.aperture(address)) is not None:
            self._aperture(*aperture, address, data)
            return
        offset = self.reference.control(address)
        if offset is not None and len(data) == 4:
            if offset in _SWITCH or offset == NicControl.SWITCH_CTRL:
                self._change_switch(address, data)
                return
            if offset in _ENDPOINTS and self._endpoint_control(offset, address, data):
                return
        self._execute(address, data)

    def _execute(self, address: int, data: bytes) -> None:
        for outcome in self.reference.write(address, data):
            number = outcome.endpoint.number
            frames = [SentFrame(frame, self._fates(number, frame)) for frame in outcome.frames]
            self._chains[number].append(Chain(outcome, frames, self._now()))

    def _aperture(self, number: int, offset: int, address: int, data: bytes) -> None:
        nic = self.reference.nic
        if number in self._closing:
            # posted behind the write that disables it: dropped for certain
            nic.counters[NicControl.MMIO_DROPPED] += 1
            return
        endpoint = nic.endpoints[number]
        if offset == Aperture.ARM and endpoint.enabled and len(data) >= 3:
            value = int.from_bytes(data, "little")
            ring = (value & Aperture.ARM_QUEUE_M) >> Aperture.ARM_QUEUE_S
            if ring < len(self._checks[number].rings):
                if self._checks[number].overdue(ring, self._now(), self._moderation(number)) and not self._masked(number):
                    self._wrong(number, "interrupt lost", f"ring {ring} is armed anew, its message was due")
                self._checks[number].arm(ring, value & Aperture.ARM_INDEX_M, self._now())
        before = endpoint.small.posted, endpoint.big.posted
        self._execute(address, data)
        for big, (ring_state, had) in enumerate(zip((endpoint.small, endpoint.big), before, strict=True)):
            if ring_state.posted > had:
                self._posts[number, bool(big)].append((self._now(), ring_state.posted - had))

    def _endpoint_control(self, offset: int, address: int, data: bytes) -> bool:
        """True: the write waits until the hardware has confirmed it."""
        number, at = divmod(offset - NicControl.ENDPOINT_BASE, NicControl.ENDPOINT_STRIDE)
        if at != NicControl.ENDPOINT_CTRL - NicControl.ENDPOINT_BASE:
            return False
        enable = bool(int.from_bytes(data, "little") & NicControl.ENDPOINT_CTRL_ENABLE_M)
        self._close(number)
        endpoint = self.reference.nic.endpoints[number]
        if endpoint.enabled and not enable:
            self._closing[number] = address, data
            return True
        if enable and not endpoint.enabled:
            self._chains[number].clear()
            self._checks[number] = InterruptCheck()
            self._enabling[number] = self._platform.posted
            for big in (False, True):
                self._posts[number, big].clear()
        return False

    def _close(self, number: int) -> None:
        """The endpoint has come to rest: what was in flight and has not arrived never will."""
        if (write := self._closing.pop(number, None)) is None:
            return
        self.reference.write(*write)
        self._chains[number].clear()
        self._checks[number] = InterruptCheck()
        for key in [key for key in self._granted if key[0] == number]:
            self._granted.pop(key).arrival.writing -= 1
        for entry in [entry for entry in self._written if entry[0] == number]:
            del self._written[entry]
        for tag, flying in self._flying_receive.items():
            self._flying_receive[tag] = [delivery for delivery in flying if delivery.endpoint != number]

    def _mmio_read(self, address: int, data: bytes, landed: int) -> None:
        for number in [n for n, posted in self._enabling.items() if posted <= landed]:
            del self._enabling[number]
        if landed >= self._switch_write:
            self._old_switches.clear()
        offset = self.reference.control(address)
        if offset is None or offset not in _ENDPOINTS:
            return
        number, at = divmod(offset - NicControl.ENDPOINT_BASE, NicControl.ENDPOINT_STRIDE)
        busy = NicControl.ENDPOINT_STATUS_BUSY_M | NicControl.ENDPOINT_STATUS_ENABLED_M
        if at == NicControl.ENDPOINT_STATUS - NicControl.ENDPOINT_BASE and not data[0] & busy:
            self._close(number)

    # --- the switch ------------------------------------------------------------------------------

    def _change_switch(self, address: int, data: bytes) -> None:
        self._old_switches.append(copy.deepcopy(self.reference.nic.switch))
        self._switch_write = self._platform.posted
        self._execute(address, data)
        for number, chains in self._chains.items():
            for chain in chains:
                for frame in chain.frames:
                    for fate in self._fates(number, frame.data):
                        frame.allow(fate)
        for arrival in self._open.values():
            if not arrival.local and not arrival.broken and not arrival.settled:
                for takers in self._takers(arrival.data):
                    self._route(arrival, takers)

    def _switches(self) -> Iterable[Switch]:
        return (*self._old_switches, self.reference.nic.switch)

    def _fates(self, number: int, frame: bytes) -> list[Fate]:
        found: list[Fate] = []
        for switch in self._switches():
            wire, inside, _ = switch.from_endpoint(number, frame)
            if (fate := Fate(wire, frozenset(inside))) not in found:
                found.append(fate)
        return found

    def _takers(self, frame: bytes) -> set[frozenset[int]]:
        return {frozenset(switch.from_wire(frame)) for switch in self._switches()}

    def _route(self, arrival: Arrival, takers: frozenset[int]) -> None:
        """One legal choice of receivers for a frame of the line."""
        if takers:
            arrival.allow(takers)
        else:
            arrival.drop.add(filtered(arrival.data))
        self._enter(arrival)

    def _enter(self, arrival: Arrival) -> None:
        """Put a frame into the flows of those that may get it."""
        for endpoint in frozenset().union(*arrival.takers):
            flow = self._flows[endpoint, arrival.source]
            if not any(other is arrival for other in flow):
                flow.append(arrival)

    # --- the line --------------------------------------------------------------------------------

    def _started(self, number: int, head: int) -> None:
        """A frame's preamble leaves; one that must not is told by `_left`."""
        frames = (f for c in self._chains[number] if c.outcome.head == head for f in c.frames)
        if (frame := next((f for f in frames if f.may_start()), None)) is not None:
            frame.started = True

    def _left(self, item: WireItem) -> None:
        if item.endpoint is None:
            self.counted[NicControl.TX_PAUSE] += 1
            return
        self.counted[NicControl.FRAMES] += 1
        chain = self._chain(item.endpoint, item.head, "wire frame")
        if chain is None:
            return
        frame = next((f for f in chain.frames if f.started and not f.on_wire), None)
        if frame is None:
            self._wrong(item.endpoint, "wire frame", f"{chain}: {len(item.data)} bytes left that it does not send")
            return
        frame.on_wire = True
        self.compared["wire frames"] += 1
        if item.data != (wanted := on_line(frame.data)):
            self._wrong(item.endpoint, "wire bytes", f"{chain}: {difference(item.data, wanted)}")

    def _chain(self, endpoint: int, head: int, kind: str) -> Chain | None:
        chain = next((c for c in self._chains[endpoint] if c.outcome.head == head), None)
        if chain is None and endpoint not in self._closing:
            self._wrong(endpoint, kind, f"of chain {head}, which it has not queued")
        return chain

    # --- memory ----------------------------------------------------------------------------------

    def _host(self, item: HostItem) -> None:
        endpoint, index, info = item.endpoint, item.index, item.info
        match item.kind:
            case ReadError.NONE:
                self.reference.shadow.errors.pop(item.address >> 12, None)
            case ReadError():
                self.reference.shadow.errors[item.address >> 12] = item.kind
            case TraceKind.WIRE_FIRST:
                self._started(endpoint, index)
            case TraceKind.RX_FIRST:
                self._first(index)
            case TraceKind.RX_LOCAL:
                self._handed_over(endpoint, index, info & 0xFFFF)
            case TraceKind.RX_GRANT:
                self._grant(endpoint, index)
            case TraceKind.RX_DROP:
                self._dropped(RxDrop(info), endpoint, index)
            case TraceKind.RX_DATA_OUT:
                self._data_out(endpoint, index, info >> _QUEUE_S & _QUEUE_M, info & 0xFFFF)
            case TraceKind.RX_CPL_OUT:
                queue, entries = info >> _QUEUE_S & _QUEUE_M, info & _ENTRIES_M
                keys = [(endpoint, queue, index + n & 0xFFFF) for n in range(entries)]
                found = [self._written.pop(key) for key in keys if key in self._written]
                if len(found) != entries and endpoint not in self._closing:
                    self._wrong(endpoint, "receive completion", f"queue {queue}: {entries} entries from {index} left, {len(found)} are due")
                self._flying_receive[info >> _TAG_S] = found
            case TraceKind.RX_CPL_VISIBLE:
                for delivery in self._flying_receive.pop(index, []):
                    self._delivered(delivery)
            case TraceKind.CPL_OUT:
                self._flying_send[info >> _TAG_S] = endpoint, index, info & _ENTRIES_M
            case TraceKind.CPL_VISIBLE:
                if (flying := self._flying_send.pop(index, None)) is not None:
                    self._completed(*flying)
            case TraceKind.FAILED:
                self._failed(endpoint, index, Status(info))
            case TraceKind.IRQ_OUT:
                self._vectors.append(endpoint)
            case _:
                pass

    def _failed(self, number: int, head: int, status: Status) -> None:
        """A chain has ended with an error."""
        self.counted[NicControl.FAILED_CHAINS] += 1
        self.counted[NicControl.SPOOFED_FRAMES] += status is Status.SPOOFED
        chain = self._chain(number, head, "failure")
        if chain is not None and number in self._closing and status is Status.BAD_DESCRIPTOR:
            # its ring went with it: the rest of the chain was never written
            chain.outcome.status, chain.outcome.length, chain.frames = status, 0, []
        elif chain is not None and chain.outcome.status is not status:
            self._wrong(number, "failure", f"{chain}: failed with {status.name}")

    def _completed(self, number: int, first: int, entries: int) -> None:
        """Send completions are in memory."""
        endpoint = self.reference.nic.endpoints[number]
        for n in range(entries):
            # what was to be written before it and is not there must be lost by right
            while self._chains[number] and endpoint.cq_index != (first + n & 0xFFFF):
                chain = self._chains[number].popleft()
                if self._end(chain):
                    self._wrong(number, "send completion", f"{chain}: its entry was passed over")
            if not self._chains[number]:
                if number not in self._closing:
                    self._wrong(number, "send completion", f"entry {first + n & 0xFFFF}: no chain is running")
                continue
            chain = self._chains[number].popleft()
            self._entry(chain)
            self._checks[number].posted(0, endpoint.cq_index, self._now())

    def _end(self, chain: Chain) -> list[tuple[int, bytes]]:
        return self.reference.complete(chain.outcome)

    def _entry(self, chain: Chain) -> None:
        number = chain.outcome.endpoint.number
        writes = self._end(chain)
        for frame in chain.frames:
            if not frame.done():
                where = "the wire" if not frame.on_wire and all(f.wire for f in frame.fates) else "its siblings"
                self._wrong(number, "frame lost", f"{chain}: completed, but {len(frame.data)} bytes did not go to {where}")
        if not writes:
            self._wrong(number, "send completion", f"{chain}: visible, but it must not get to memory")
            return
        [(address, wanted)] = writes
        got = self._memory.read(address, len(wanted))
        self.compared["send completions"] += 1
        self.packets.write(self._sent(chain))
        if got[8:] != wanted[8:]:
            self._wrong(number, "send completion", f"{chain}: {_completion(got)} instead of {_completion(wanted)}")

    @staticmethod
    def _sent(chain: Chain) -> SentItem:
        outcome = chain.outcome
        return SentItem(outcome.endpoint.number, outcome.endpoint.form, outcome.descriptor, outcome.status,
                        tuple(len(frame.data) for frame in chain.frames),
                        any(frame.on_wire for frame in chain.frames), any(frame.handed_over for frame in chain.frames),
                        Mode(outcome.endpoint.mode), outcome.injected)

    def _mode(self, number: int) -> Mode:
        return Mode(self.reference.nic.endpoints[number].mode)

    # --- receive side ----------------------------------------------------------------------------

    def _first(self, number: int) -> None:
        """A frame's preamble has arrived."""
        if not self._sent_in:
            self._wrong(None, "arrival", f"frame {number} arrived that nobody sent")
            return
        item = self._sent_in.popleft()
        name = f"wire frame {self._arrived} ({len(item.data) - 4} bytes)"
        self._arrived += 1
        arrival = Arrival(name, WIRE, item.data[:-4], [], self._now())
        self._arrivals[number] = self._open[id(arrival)] = arrival
        self._buffer.begin(arrival, self._open)
        reason = self.reference.nic.receiver.check(item.data, item.error)
        if reason is not None:
            arrival.broken = True
            arrival.drop.add(reason)
            return
        for takers in self._takers(arrival.data):
            self._route(arrival, takers)

    def _handed_over(self, number: int, head: int, frame_number: int) -> None:
        """A frame of an endpoint is on its way to siblings."""
        self.counted[NicControl.LOCAL_FRAMES] += 1
        chain = self._chain(number, head, "frame inside")
        frame = None
        if chain is not None:
            frame = next((f for f in chain.frames if f.may_stay()), None)
        if chain is None or frame is None:
            if chain is not None:
                self._wrong(number, "frame inside", f"{chain}: handed over, but no sibling may get it")
            self._arrivals.pop(frame_number, None)
            return
        frame.handed_over = True
        takers = [fate.inside for fate in frame.fates if fate.inside]
        name = f"frame of {len(frame.data)} bytes, chain {head} of endpoint {number}"
        arrival = Arrival(name, number, frame.data, takers, self._now())
        self._arrivals[frame_number] = self._open[id(arrival)] = arrival
        self._enter(arrival)

    def _copy(self, number: int, frame_number: int, what: str) -> Arrival | None:
        """The frame of which an endpoint gets, or loses, its copy now; checks that it may and that it is its turn."""
        arrival = self._arrivals.get(frame_number)
        if arrival is None or not arrival.may_get(number):
            if number not in self._closing:
                name = arrival.name if arrival is not None else f"frame {frame_number}"
                self._wrong(number, what, f"{name}: it must not get it")
            return None
        flow = self._flows[number, arrival.source]
        while flow and flow[0] is not arrival:
            if (passed := flow.popleft()).must_get(number) and passed.done() is False and number not in self._closing:
                self._wrong(number, "order", f"{arrival.name} before {passed.name}, from the same source")
        if flow:
            flow.popleft()
        if arrival.source == WIRE and not arrival.settled:
            self.counted[NicControl.RX_FRAMES] += 1
        arrival.settled.add(number)
        arrival.drop.clear()
        return arrival

    def _grant(self, number: int, frame_number: int) -> None:
        arrival = self._copy(number, frame_number, "delivery")
        if arrival is None:
            return
        writes = self.reference.fill(number, arrival.data, local=arrival.local)
        if isinstance(writes, RxDrop):
            self._wrong(number, "delivery", f"{arrival.name}: granted buffers, but {writes.name}")
            self._settle(arrival)
            return
        queue = self.reference.nic.receiver.received[-1].queue
        index = self.reference.nic.endpoints[number].rq_indices[queue] - 1 & 0xFFFF
        arrival.writing += 1
        self._granted[number, frame_number] = Delivery(arrival, number, queue, index, writes, self._now())
        at = NicControl.STATISTICS_BASE + number * NicControl.STATISTICS_STRIDE
        self.counted[at] += 1
        self.counted[at + 4] += len(arrival.data)

    def _dropped(self, reason: RxDrop, number: int, frame_number: int) -> None:
        if reason in _ALTOGETHER:
            self._dropped_altogether(reason, frame_number)
            return
        arrival = self._copy(number, frame_number, "drop")
        if arrival is None:
            return
        wanted = self._refusal(number, arrival, reason)
        if wanted is not reason:
            self._wrong(number, "drop", f"{arrival.name}: {reason.name}, but {wanted.name if wanted is not None else 'it has buffers'}")
        self.compared["drops"] += 1
        self.packets.write(ReceivedItem(number, len(arrival.data), arrival.local, 0, self._mode(number), reason))
        self.counted[NicControl.RX_NO_BUFFER] += reason in _BY_LACK
        self._settle(arrival)

    def _dropped_altogether(self, reason: RxDrop, frame_number: int) -> None:
        arrival = self._arrivals.get(frame_number)
        if arrival is None or not (reason in arrival.drop or (reason is RxDrop.OVERFLOW and arrival.overflows)):
            name = arrival.name if arrival is not None else f"frame {frame_number}"
            wanted = [r.name for r in arrival.drop] if arrival is not None else []
            self._wrong(None, "drop", f"{name}: {reason.name} instead of {' or '.join(wanted) or 'delivery'}")
            if arrival is None:
                return
        self.compared["drops"] += 1
        self.packets.write(ReceivedItem(None, len(arrival.data), arrival.local, 0, None, reason))
        self.counted[getattr(NicControl, f"RX_{reason.name}")] += 1
        arrival.dropped = True
        if reason in _FILTERED:
            self.counted[NicControl.RX_FRAMES] += 1
        else:
            self._buffer.take_back(arrival)
        self._settle(arrival)

    def _refusal(self, number: int, arrival: Arrival, told: RxDrop) -> RxDrop | None:
        """Why the reference drops a copy; the hardware's reason where that is legal, too."""
        endpoint = self.reference.nic.endpoints[number]
        length = len(arrival.data)
        if told is RxDrop.DISABLED and (number in self._closing or number in self._enabling):
            return told
        if not endpoint.enabled or not endpoint.receives or endpoint.stale:
            return RxDrop.DISABLED
        if length > endpoint.max_frame:
            return RxDrop.TOO_LONG
        ring, need = self.reference.receive_ring(endpoint, length)
        big = ring is endpoint.big
        lack = RxDrop.NO_BIG if big else RxDrop.NO_SMALL
        posts = self._posts[number, big]
        while posts and posts[0][0] < self._now() - RACE_NS:
            posts.popleft()
        fresh = sum(count for _, count in posts)
        if ring.posted < need or (told is lack and (ring.posted - fresh < need or endpoint.halted)):
            return lack
        # only now may it change the reference's state
        filled = self.reference.fill(number, arrival.data, local=arrival.local)
        return filled if isinstance(filled, RxDrop) else None

    def _data_out(self, number: int, frame_number: int, queue: int, index: int) -> None:
        delivery = self._granted.pop((number, frame_number), None)
        if delivery is None:
            return
        if (queue, index) != (delivery.queue, delivery.index):
            self._wrong(number, "receive queue", f"{delivery.arrival.name}: entry {index} of queue {queue}"
                        f" instead of {delivery.index} of {delivery.queue}")
        self._written[number, queue, index] = delivery
        delivery.arrival.writing -= 1
        self._settle(delivery.arrival)

    def _delivered(self, delivery: Delivery) -> None:
        """A receive completion is in memory, and what it completes."""
        number = delivery.endpoint
        self.compared["deliveries"] += 1
        self._checks[number].posted(1 + delivery.queue, delivery.index + 1 & 0xFFFF, self._now())
        if number in self._closing:
            return
        *pieces, (address, wanted) = delivery.writes or [(0, b"")]
        small = len(delivery.arrival.data) <= self.reference.nic.endpoints[number].small_max
        local, big = delivery.arrival.local, 0 if small else len(pieces)
        self.packets.write(ReceivedItem(number, len(delivery.arrival.data), local, big, self._mode(number)))
        for at, data in pieces:
            if (got := self._memory.read(at, len(data))) != data:
                self._wrong(number, "delivered bytes", f"{delivery.arrival.name}: at {at:#x} {difference(got, data)}")
                break
        got = self._memory.read(address, len(wanted))
        if (got[:_STAMP], got[_STAMP + 4 :]) != (wanted[:_STAMP], wanted[_STAMP + 4 :]):
            self._wrong(number, "receive completion", f"{delivery.arrival.name}: {_received(got)} instead of {_received(wanted)}")

    def _settle(self, arrival: Arrival) -> None:
        if arrival.done() and not arrival.writing:
            self._open.pop(id(arrival), None)

    # --- interrupts ------------------------------------------------------------------------------

    def _message(self, item: InterruptItem) -> None:
        self.counted[NicControl.INTERRUPTS] += 1
        self.compared["interrupts"] += 1
        # between requesters there is no order: the IOMMU lets one pass the other
        vector = next((v for v in self._vectors if self._entry_of(v) == (item.address, item.data)), None)
        if vector is None:
            out = ", ".join(f"{v} ({data:#x} to {address:#x})" for v in self._vectors for address, data in [self._entry_of(v)])
            self._wrong(None, "interrupt", f"{item}: on their way are vectors {out or 'none'}")
            return
        self._vectors.remove(vector)
        if (wrong := self._checks[vector].message(self._now())) is not None and vector not in self._closing:
            self._wrong(vector, "interrupt", wrong)

    def _entry_of(self, vector: int) -> tuple[int, int]:
        """Address and data of a vector's messages."""
        at = vector * NicControl.MSIX_STRIDE
        read = self.reference.read_control
        address = read(NicControl.MSIX_ADDRESS_HI + at) << 32 | read(NicControl.MSIX_ADDRESS_LO + at)
        return address, read(NicControl.MSIX_DATA + at)

    def _masked(self, vector: int) -> bool:
        at = NicControl.MSIX_CONTROL + vector * NicControl.MSIX_STRIDE
        return bool(self.reference.read_control(at) & NicControl.MSIX_CONTROL_MASK_M)

    def _moderation(self, vector: int) -> int:
        """ns."""
        at = NicControl.IRQ_MODERATION + vector * NicControl.IRQ_STRIDE
        return (self.reference.read_control(at) & NicControl.IRQ_MODERATION_CYCLES_M) * CYCLE_NS

    # --- the end ---------------------------------------------------------------------------------

    def missing(self) -> list[Mismatch]:
        """What has not come: endpoint, kind, packet, since when."""
        found: list[Mismatch] = []
        for number, chains in sorted(self._chains.items()):
            if number in self._closing:
                continue
            for chain in chains:
                unseen = [f for f in chain.frames if not f.done()]
                if unseen:
                    found.append(Mismatch(number, "missing frame", f"{chain}: {len(unseen)} of {len(chain.frames)} frames", chain.since))
                found.append(Mismatch(number, "missing send completion", str(chain), chain.since))
        for arrival in self._open.values():
            for number in sorted(arrival.missing()):
                found.append(Mismatch(number, "missing delivery", arrival.name, arrival.since))
            if not arrival.takers and not arrival.dropped:
                found.append(Mismatch(None, "missing drop", f"{arrival.name}: {' or '.join(r.name for r in arrival.drop)}", arrival.since))
        for delivery in [*self._granted.values(), *self._written.values(), *(d for b in self._flying_receive.values() for d in b)]:
            if delivery.writes:
                found.append(Mismatch(delivery.endpoint, "missing receive completion", delivery.arrival.name, delivery.since))
        for item in self._sent_in:
            found.append(Mismatch(None, "missing arrival", str(item), self._now()))
        for vector, check in sorted(self._checks.items()):
            if not self._masked(vector) and vector not in self._closing:
                found += [Mismatch(vector, "missing interrupt", f"ring {ring} is armed", since) for ring, since in check.waiting()]
        return found

    def drop_lost_completions(self) -> None:
        """Forget chains whose completion entries cannot get to memory: the last word on them is their silence."""
        for number, chains in self._chains.items():
            while chains and number not in self._closing and not self._reaches_memory(chains[0].outcome):
                self._end(chains.popleft())

    def _reaches_memory(self, outcome: Outcome) -> bool:
        """Would its completion entry? Asked of a copy, for asking must not count as doing."""
        trial = copy.deepcopy(outcome.endpoint)
        nic, counters = self.reference.nic, dict(self.reference.nic.counters)
        self.reference.shadow.take()
        nic.complete(replace(outcome, endpoint=trial))
        nic.counters.update(counters)
        nic.completions.pop()
        return bool(self.reference.shadow.take())

    def counters(self) -> dict[int, int]:
        """What each counter must say now, by register of the control BAR."""
        dropped = self.reference.nic.counters[NicControl.MMIO_DROPPED]
        fixed = (NicControl.FRAMES, NicControl.FAILED_CHAINS, NicControl.RX_FRAMES, NicControl.RX_BAD_FCS, NicControl.RX_RUNT,
                 NicControl.RX_OVERSIZE, NicControl.RX_BAD_FRAMING, NicControl.RX_PAUSE, NicControl.RX_OVERFLOW,
                 NicControl.RX_FILTERED_UNICAST, NicControl.RX_FILTERED_MULTICAST, NicControl.TX_PAUSE,
                 NicControl.LOCAL_FRAMES, NicControl.SPOOFED_FRAMES, NicControl.RX_NO_BUFFER, NicControl.INTERRUPTS)
        return {**{register: self.counted[register] for register in fixed}, **self.counted, NicControl.MMIO_DROPPED: dropped}

    def check_counter(self, register: int, value: int) -> None:
        """A counter as the hardware has it."""
        wanted = self.counters()[register] & 0xFFFF_FFFF
        self.compared["counters"] += 1
        if value != wanted:
            endpoint, name = _counter_name(register)
            self._wrong(endpoint, "counter", f"{name} is {value} instead of {wanted}")


def _counter_name(register: int) -> tuple[int | None, str]:
    if register < NicControl.STATISTICS_BASE:
        return None, next(n for n, v in vars(NicControl).items() if v == register and "_M" not in n)
    number, at = divmod(register - NicControl.STATISTICS_BASE, NicControl.STATISTICS_STRIDE)
    return number, ("received frames", "received bytes")[at // 4]


def _completion(entry: bytes) -> str:
    index, length, tail = int.from_bytes(entry[8:10]), int.from_bytes(entry[10:12]), int.from_bytes(entry[12:16])
    status = tail >> 8 & 0xFF
    name = Status(status).name if status in set(Status) else hex(status)
    return f"(index {index}, length {length}, {name}, phase {tail & 1})"


def _received(entry: bytes) -> str:
    return (f"(hash {entry[:4].hex()}, buffer {int.from_bytes(entry[8:10])}, length {int.from_bytes(entry[10:12])},"
            f" sum {entry[12:14].hex()}, flags {entry[15]:#04x})")
