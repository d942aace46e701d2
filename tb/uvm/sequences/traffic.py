"""The virtual sequence of a plan: every guest, the line and the hostile guest side by side, each its operations in order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import cocotb
from cocotb.triggers import gather
from pyuvm import uvm_sequence

from sw.abi.registers import Form, Mode
from sw.guest.transmit import NicHaltedError
from sw.platform import PAGE_SHIFT, PAGE_SIZE
from tb.cosim.platform import ReadError
from tb.ethernet import on_line, with_fcs
from tb.uvm.bench import WAIT_NS, Bench, Station
from tb.uvm.environment import Environment
from tb.uvm.frames import Request, cut, request
from tb.uvm.hostile import BUFFERS, DOORBELL, RING
from tb.uvm.items import WireItem
from tb.uvm.plan import BROADCAST, GUESTS, MULTICAST, STRANGER, Operation
from tb.uvm.sequences import pieces

PEER: Final = bytes.fromhex("020000000001")
"""The other end of the line."""
NOBODY: Final = bytes.fromhex("0202deadbeef")
EVERYBODY: Final = b"\xff" * 6
NO_MEMBERS: Final = bytes.fromhex("0302deadbeef")
OVERSIZE: Final = 9019
LINE_AHEAD: Final = 4
"""Frames that wait for the line at most: later ones would see what earlier ones have led to."""
LINE_STEP_NS: Final = 600


class TrafficSequence(uvm_sequence):
    """Runs on no sequencer of its own: it starts small sequences on the agents'."""

    def __init__(self, bench: Bench, environment: Environment) -> None:
        super().__init__("traffic")
        self.bench = bench
        self.environment = environment
        self._readers: list[cocotb.task.Task[None]] = []

    async def body(self) -> None:
        """Until every operation is done; readers go on until `stop`."""
        operations = self.bench.plan.operations
        self._readers = [cocotb.start_soon(self.bench.receive(station)) for station in self.bench.stations]
        actors = [
            self._guest(station, [o for o in operations if o.guest == n and o.kind in GUESTS])
            for n, station in enumerate(self.bench.stations)
        ]
        actors.append(self._line([o for o in operations if o.kind in ("frame", "pause")]))
        actors.append(self._hostile([o for o in operations if o.kind == "hostile"]))
        await gather(*actors)

    def stop(self) -> None:
        """Nobody reads any more."""
        for reader in self._readers:
            reader.cancel()

    # --- guests ----------------------------------------------------------------------------------

    async def _guest(self, station: Station, operations: Sequence[Operation]) -> None:
        for operation in operations:
            match operation.kind:
                case "send":
                    await self._send(station, operation)
                case "reopen":
                    await station.stop()
                    await station.start()
                case "fetch_error":
                    await self._failing_fetch(station, operation)
                case _:
                    await self._failing_read(station, operation)
        await station.nic.drain(WAIT_NS)

    async def _send(self, station: Station, operation: Operation) -> None:
        job = request(self.bench.plan.seed, operation, self._address(operation.to), station.mac, station.plan.vlan)
        while not self._queue(station, operation, job):
            await station.nic.wait_for_room(WAIT_NS)
        station.nic.kick()

    def _queue(self, station: Station, operation: Operation, job: Request) -> bool:
        nic = station.nic
        if job.tso is not None:
            header, offset, ipv6 = job.tso
            return nic.send_tso(header, job.data, operation.mss, offset, ipv6=ipv6)
        if self.bench.plan.protection() is Mode.VALIDATED:
            # the hypervisor wants each piece in one page, as `send` makes them
            return nic.send(job.data, job.checksum)
        if nic.stopped:
            return False
        blob = bytearray()
        parts = []
        at = 0
        for gap, length in cut(self.bench.plan.seed, operation, len(job.data)):
            blob += bytes(gap)
            parts.append((len(blob), length))
            blob += job.data[at : at + length]
            at += length
        placed = nic.buffers.place(bytes(blob))
        if placed is None:
            # `send` stops the queue by itself; here room comes with the next completion
            return nic.send(job.data, job.checksum)
        first, held = placed[0][0][0], placed[1]
        return nic.xmit([(first + offset, length) for offset, length in parts], held, job.checksum)

    async def _failing_read(self, station: Station, operation: Operation) -> None:
        """One frame whose page cannot be read; nothing else of the guest is on its way meanwhile."""
        nic = station.nic
        await nic.drain(WAIT_NS)
        placed = nic.buffers.place(self._to_nobody(station, operation))
        assert placed is not None
        async with self._unreadable([self.bench.page_of(station, placed[0][0][0])], operation):
            nic.xmit(*placed)
            nic.kick()
            await nic.drain(WAIT_NS)

    async def _failing_fetch(self, station: Station, operation: Operation) -> None:
        """One frame whose descriptors cannot be read: the endpoint halts, and its guest opens it anew."""
        nic = station.nic
        await nic.drain(WAIT_NS)
        pages = [self.bench.page_of(station, (nic.ring_gfn << PAGE_SHIFT) + at) for at in range(0, nic.ring_bytes, PAGE_SIZE)]
        async with self._unreadable(pages, operation):
            nic.send(self._to_nobody(station, operation))
            with suppress(NicHaltedError):
                await nic.drain(WAIT_NS)
        await station.stop()
        await station.start()

    def _to_nobody(self, station: Station, operation: Operation) -> bytes:
        return request(self.bench.plan.seed, operation, NOBODY, station.mac, station.plan.vlan).data

    @asynccontextmanager
    async def _unreadable(self, pages: Sequence[int], operation: Operation) -> AsyncIterator[None]:
        """Reads of these machine pages end as the operation says."""
        host = self.environment.host.sequencer
        for page in pages:
            await pieces.read_error(page, ReadError[operation.what.upper()]).start(host)
        yield
        for page in pages:
            await pieces.read_error(page, ReadError.NONE).start(host)

    def _address(self, to: int) -> bytes:
        match to:
            case x if x == STRANGER:
                return NOBODY
            case x if x == BROADCAST:
                return EVERYBODY
            case x if x == MULTICAST:
                return NO_MEMBERS
        return self.bench.stations[to].mac

    # --- the line and the hostile guest ----------------------------------------------------------

    async def _line(self, operations: Sequence[Operation]) -> None:
        sequencer = self.environment.wire_in.sequencer
        for operation in operations:
            await self._room_on_line()
            if operation.kind == "pause":
                await pieces.pause(operation.quanta).start(sequencer)
            else:
                await pieces.wire_frame(self._frame(operation)).start(sequencer)

    async def _room_on_line(self) -> None:
        platform = self.bench.platform
        while platform.wire_waiting() >= LINE_AHEAD:
            await platform.sleep(LINE_STEP_NS)

    def _frame(self, operation: Operation) -> WireItem:
        vlan = self.bench.stations[operation.to].plan.vlan if operation.to >= 0 else 0
        data = request(self.bench.plan.seed, operation, self._address(operation.to), PEER, vlan).data
        match operation.what:
            case "fcs":
                return WireItem(on_line(data)[:-1] + bytes([on_line(data)[-1] ^ 1]))
            case "runt":
                return WireItem(with_fcs(data[:59]))
            case "oversize":
                return WireItem(on_line(data.ljust(OVERSIZE, b"\0")))
        return WireItem(on_line(data), error=operation.what == "error")

    async def _hostile(self, operations: Sequence[Operation]) -> None:
        hostile = self.bench.hostile
        line = self.environment.wire_in.sequencer
        for operation in operations:
            assert hostile is not None
            if operation.what in (RING, DOORBELL):
                await hostile.ring(operation.what)
            elif operation.what in BUFFERS:
                await hostile.post(operation.what)
                await self._room_on_line()
                data = request(self.bench.plan.seed, operation, hostile.mac, PEER, 0).data
                await pieces.wire_frame(WireItem(on_line(data))).start(line)
            else:
                # an inline frame is pushed; the others take turns
                pushed = operation.what.startswith("inline") or operation.id % 2
                await hostile.attack(operation.what, Form.PUSHED if pushed else Form.FETCHED)
