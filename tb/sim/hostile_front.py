"""A hostile front end: in mode split the only way to the NIC is the ring shared with netback.

What makes no sense costs the packet (`NETIF_RSP_ERROR`, `NETIF_RSP_DROPPED`); what breaks the ring costs the vif, which
netback shuts down, as `xenvif_fatal_tx_err` of Linux does. Nobody else pays. After each attempt, and after the next
connection where one was needed, the guest sends a frame it may send.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from hypervisor_model.dom0.netback import Netback
from hypervisor_model.domains import Domain
from hypervisor_model.host import Host, Plug
from hypervisor_model.hypervisor import Hypervisor
from hypervisor_model.xenbus import BACKENDS, Device
from sw.guest.vif import XenbusVif
from sw.guest.xenbus import BackendGoneError
from sw.guest.xenstore import XenstoreError
from sw.platform import PAGE_SIZE
from sw.xen.errno import HypercallError
from sw.xen.io.netif import ExtraType, GsoType, NetifStatus, TxFlag
from sw.xen.xen import DOMID_CONTROL
from tb.sim.attempts import HostileResult
from tb.sim.raw_front import ENTRIES, RawFront

ROOM_PAGES: Final = 24
"""Data pages."""
POLL_NS: Final = 5_000
POLLS: Final = 400
"""Times to look whether netback has answered: 2 ms, behind every frame of the other guests' rings."""
CHANGE_NS: Final = 200
"""A request under way is rewritten this often."""
SPARE: Final = 1
"""Data page of what the guest may not send; the ones after it are packets' other slots."""
GOOD: Final = 0
"""Data page of frames that it may send."""
NEVER_GRANTED: Final = 500
BEYOND_TABLE: Final = 0xFFFF_FFFF
RESERVED: Final = 0
PEER: Final = bytes.fromhex("0200000000ff")
LINK_LOCAL: Final = bytes.fromhex("0180c200000e")
"""A bridge forwards no frame for it (IEEE 802.1D, 7.12.6)."""
TYPE: Final = b"\x88\xb5"
TCP_HEADERS: Final = b"\x08\0" + b"\x45\0\0\0\0\1\0\0\x40\6" + bytes(10) + bytes(12) + b"\x50" + bytes(7)
"""Ethernet type, IPv4 and TCP without options."""
MIN_MSS: Final = 88
"""Packets with smaller segments are dropped. Linux: `TCP_MIN_MSS`."""
MAX_FRAME: Final = 9018
"""Bytes that the line takes, without FCS."""
OKAY, ERROR, DROPPED, NULL = NetifStatus.OKAY, NetifStatus.ERROR, NetifStatus.DROPPED, NetifStatus.NULL
MORE, EXTRA, BLANK = TxFlag.MORE_DATA, TxFlag.EXTRA_INFO, TxFlag.CSUM_BLANK

_GSO = struct.Struct("<HB3x")
"""What an extra info of type GSO says: segment payload, GSO type."""


def gso(mss: int, kind: int = GsoType.TCPV4) -> bytes:
    return _GSO.pack(mss, kind)


@dataclass(frozen=True)
class _Packet:
    """A packet that must be refused, and nothing else: status of each of its slots."""

    name: str
    write: Callable[[RawFront], None]
    statuses: tuple[int, ...]


@dataclass(frozen=True)
class _Break:
    """What must cost the vif: why netback gives up."""

    name: str
    write: Callable[[RawFront], None]
    reason: str


def _slots(*sizes: int, reference: int | None = None, offset: int = 0) -> Callable[[RawFront], None]:
    """A packet whose first slot says the first size, the others theirs; `reference` replaces the last slot's page."""

    def write(raw: RawFront) -> None:
        for n, size in enumerate(sizes):
            last = n == len(sizes) - 1
            own = raw.references[SPARE + n] if reference is None or not last else reference
            raw.request(own, offset if last else 0, 0 if last else MORE, n, size)

    return write


def _extra(kind: int, value: bytes, size: int = 2000) -> Callable[[RawFront], None]:
    def write(raw: RawFront) -> None:
        raw.request(raw.references[SPARE], 0, EXTRA, 0, size)
        raw.extra(kind, 0, value)

    return write


def _flagged(flags: int, size: int) -> Callable[[RawFront], None]:
    return lambda raw: raw.request(raw.references[SPARE], 0, flags, 0, size)


def _ahead(count: int) -> Callable[[RawFront], None]:
    """The index says that there are so many more requests."""

    def write(raw: RawFront) -> None:
        raw.produced += count

    return write


def _tcp(mss: int) -> Callable[[RawFront], None]:
    """2000 bytes, to be cut into segments of `mss`."""

    def write(raw: RawFront) -> None:
        raw.put(SPARE, (PEER + raw.mac + TCP_HEADERS).ljust(2000, b"\0"), EXTRA | BLANK)
        raw.extra(ExtraType.GSO, 0, gso(mss))

    return write


def _frame(source: bytes | None, destination: bytes = PEER, kind: bytes = TYPE) -> Callable[[RawFront], None]:
    """A frame of 64 bytes; no `source`: the guest's own."""
    return lambda raw: raw.put(SPARE, destination + (raw.mac if source is None else source) + kind + bytes(50))


def packets(raw: RawFront, revoked: int, foreign: int, victim: bytes) -> list[_Packet]:
    """What is refused by itself. `revoked` and `foreign` are references that the guest has taken back, and has given to
    another domain; `victim` is another guest's address."""
    error = (ERROR,)
    return [
        _Packet("a page that is not granted", _slots(200, reference=NEVER_GRANTED), error),
        _Packet("a reference beyond the grant table", _slots(200, reference=BEYOND_TABLE), error),
        _Packet("a reserved reference", _slots(200, reference=RESERVED), error),
        _Packet("a grant that is taken back", _slots(200, reference=revoked), error),
        _Packet("a grant for another domain", _slots(200, reference=foreign), error),
        _Packet("own first slot, second not granted", _slots(2000, 1000, reference=NEVER_GRANTED), (ERROR, ERROR)),
        _Packet("length 0", _slots(0), error),
        _Packet("shorter than an Ethernet header", _slots(13), error),
        # Each slot alone is allowed.
        _Packet("longer than the line takes", _slots(9019, PAGE_SIZE, PAGE_SIZE), (ERROR,) * 3),
        _Packet("19 slots", _slots(19 * 14, *(14,) * 18), (ERROR,) * 19),
        _Packet("a slot larger than its packet", _slots(100, 101), (ERROR, ERROR)),
        _Packet("a slot that leaves nothing for the first", _slots(100, 100), (ERROR, ERROR)),
        _Packet("an empty slot", _slots(100, 0), (ERROR, ERROR)),
        _Packet("checksum of nothing", _flagged(BLANK, 60), error),
        _Packet("segments of what is no TCP packet", _extra(ExtraType.GSO, gso(1448)), (ERROR, NULL)),
        _Packet("segments smaller than any", _tcp(MIN_MSS - 1), (ERROR, NULL)),
        _Packet("segments longer than the line takes", _tcp(MAX_FRAME - len(PEER + PEER + TCP_HEADERS) + 1), (ERROR, NULL)),
        _Packet("another guest's source address", _frame(victim), (DROPPED,)),
        _Packet("a group as source address", _frame(b"\xff" * 6), (DROPPED,)),
        _Packet("another VLAN", _frame(None, kind=b"\x81\x00\x00\x05"), (DROPPED,)),
        _Packet("a pause frame", _frame(None, bytes.fromhex("0180c2000001"), b"\x88\x08"), (DROPPED,)),
    ]


BREAKS: Final = (
    _Break("a slot across the end of its page", _slots(97, offset=4000), "slot of 97 bytes at offset 4000 crosses a page"),
    _Break(
        "a second slot behind the end of its page",
        _slots(2000, 1000, offset=PAGE_SIZE),
        "slot of 1000 bytes at offset 4096 crosses a page",
    ),
    _Break("one request more than the ring has", _ahead(ENTRIES + 1), "257 requests: 256 are possible"),
    _Break("an index far ahead", _ahead(1 << 31), "2147483648 requests: 256 are possible"),
    _Break("an index that goes back", _ahead(-1), "4294967295 requests: 256 are possible"),
    _Break("21 slots", _slots(60000, *(100,) * 20), "a packet of more than 20 slots"),
    _Break("a packet whose end is not there", _flagged(MORE, 2000), "a packet whose next request is not there"),
    _Break("an extra info that is not there", _flagged(EXTRA, 2000), "an extra info that is not there"),
    _Break("an extra info of no type", _extra(77, bytes(6)), "extra info of type 77"),
    _Break("segments of 0 bytes", _extra(ExtraType.GSO, gso(0)), "segments of 0 bytes, of type 1"),
    _Break("segments of no type", _extra(ExtraType.GSO, gso(1448, 3)), "segments of 1448 bytes, of type 3"),
)


class HostileFront:
    """Implements `tb.sim.attempts.Hostile`. Its device is plugged, and nobody drives it yet."""

    def __init__(self, hypervisor: Hypervisor, host: Host, machine: Domain, plug: Plug, victim: Domain) -> None:
        self._hv = hypervisor
        self._host = host
        self._machine = machine
        self._plug = plug
        self._victim = victim
        self._device = Device(host.daemon.local, plug.config.kind, machine.domid, plug.handle)
        self._raw = RawFront(machine, XenbusVif(plug.store, plug.handle))
        self.result = HostileResult()

    @property
    def _netback(self) -> Netback:
        return self._host.vifs.netbacks[self._machine.domid, self._plug.handle]

    async def run(self) -> None:
        """All attempts; the vif is closed at the end."""
        raw = self._raw
        await self._forge_keys()
        await raw.open(ROOM_PAGES)
        await self._forge_events()
        kernel = self._machine.kernel
        spare = kernel.allocate_pages(1)
        revoked = await kernel.grant_access(spare, readonly=True)
        foreign = await kernel.grant_access(spare, readonly=True, domid=self._victim.domid)
        kernel.end_access(revoked)
        for page in range(SPARE, ROOM_PAGES):
            raw.pages[page][:14] = PEER + raw.mac + TYPE
        victim = self._host.guests[self._victim.domid].config.mac
        for packet in packets(raw, revoked, foreign, victim):
            await self._refused(packet)
        await self._change_the_frame(victim)
        await self._change_the_request()
        for break_ in BREAKS:
            await self._fatal(break_)
        await raw.close()
        for name, changes, reason in (
            ("a send ring that is not granted", {"tx_ring": NEVER_GRANTED}, f"ring {NEVER_GRANTED} gave GENERAL_ERROR"),
            ("a receive ring that is not granted", {"rx_ring": BEYOND_TABLE}, f"ring {BEYOND_TABLE} gave BAD_GREF"),
            ("a port that is not reserved", {"tx_port": 4000, "rx_port": 4000}, "event channel 4000 of domain"),
            ("a ring that is too full from the start", {"requests": ENTRIES + 1}, "257 requests: 256 are possible"),
        ):
            await self._not_connected(name, changes, reason)
        await self._take_the_ring_away()

    # --- beside the ring -------------------------------------------------------------------------

    async def _forge_keys(self) -> None:
        """Nodes of others in xenstore."""
        store, other = self._plug.store, self._victim.domid
        for name, path in (
            ("close another guest's device", f"/local/domain/{other}/device/vif/0/state"),
            ("close another guest's back end", f"{BACKENDS}/vif/{other}/0/state"),
            ("tell the own back end that it is connected", f"{self._device.backend}/state"),
            ("change the own address", f"{self._device.backend}/mac"),
            ("read another guest's rings", f"/local/domain/{other}/device/vif/0/tx-ring-ref"),
        ):
            reads = name.startswith("read")
            before = self._host.daemon.local.read_or_none(path)
            try:
                await (store.read(path) if reads else store.write(path, "6"))
                outcome = "read" if reads else "written"
            except XenstoreError as error:
                outcome = error.error
            same = self._host.daemon.local.read_or_none(path) == before
            self.result.record(
                f"xenstore: {name}", "EACCES", outcome + ("" if same else ", and changed"), caught=same and outcome == "EACCES"
            )

    async def _forge_events(self) -> None:
        """Event channels between the control domain and another guest."""
        call = self._machine.hypercall
        ports = self._victim.events.ports
        for name, work in (
            ("bind another guest's port", call.event_bind_interdomain(self._victim.domid, max(ports))),
            ("bind a port of the control domain's", call.event_bind_interdomain(DOMID_CONTROL, 1)),
            ("look at another guest's port", call.event_status(max(ports), domid=self._victim.domid)),
        ):
            expected = "EPERM" if name.startswith("look") else "EINVAL"
            try:
                outcome = f"gave {await work}"
            except HypercallError as error:
                outcome = error.errno.name
            self.result.record(name, expected, outcome, caught=outcome == expected)

    # --- on the ring -----------------------------------------------------------------------------

    async def _refused(self, packet: _Packet) -> None:
        """The packet is answered as it must be, the counters know of it, and the vif goes on."""
        counts = self._netback.counts
        dropped = DROPPED in packet.statuses
        before = counts.tx_dropped_spoofed if dropped else counts.tx_errors
        packet.write(self._raw)
        await self._raw.kick()
        await self._until(lambda: self._raw.answered >= len(packet.statuses) or not self._netback.connected)
        statuses = tuple(status for _, status in self._raw.answers())
        counted = (counts.tx_dropped_spoofed if dropped else counts.tx_errors) - before
        caught = statuses == packet.statuses and counted == 1
        outcome = _names(statuses) + ("" if counted == 1 else f", counted {counted} times")
        await self._end(packet.name, _names(packet.statuses), outcome, caught=caught)

    async def _fatal(self, break_: _Break) -> None:
        """Netback answers nothing, gives the ring up and says why; with a new connection the vif is as good as new."""
        netback = self._netback
        before = netback.counts.rings_broken
        break_.write(self._raw)
        await self._raw.kick()
        await self._until(lambda: not netback.connected or self._raw.answered > 0)
        answers = self._raw.answers() if 0 < self._raw.answered <= ENTRIES else []
        told = netback.reason
        caught = not netback.connected and netback.counts.rings_broken == before + 1 and not answers
        caught &= told.startswith(break_.reason)
        outcome = f"vif shut down: {told}" if not netback.connected else f"answered {_names(s for _, s in answers)}"
        await self._raw.close()
        await self._raw.connect()
        await self._end(break_.name, f"vif shut down: {break_.reason}", outcome, caught=caught)

    async def _change_the_frame(self, victim: bytes) -> None:
        """Between a frame that the bridge keeps and one that the filter drops: what is checked must be what is sent."""
        page = self._raw.pages[SPARE]
        heads = (LINK_LOCAL + self._raw.mac, PEER + victim)
        page[:14] = heads[0] + TYPE
        self._raw.request(self._raw.references[SPARE], 0, 0, 0, 1000)

        def change(turn: int) -> None:
            page[:12] = heads[turn % 2]

        await self._change("a frame that changes while it is served", change, (OKAY, DROPPED))

    async def _change_the_request(self) -> None:
        """Between a page of its own and one that it may not name."""
        raw, at = self._raw, self._raw.produced
        raw.pages[SPARE][:14] = LINK_LOCAL + raw.mac + TYPE
        references = (raw.references[SPARE], NEVER_GRANTED)
        raw.request(references[0], 0, 0, 0, 1000)

        def change(turn: int) -> None:
            raw.produced = at
            raw.request(references[turn % 2], 0, 0, 0, 1000)

        await self._change("a request that changes while it is served", change, (OKAY, ERROR))

    async def _change(self, name: str, change: Callable[[int], None], either: tuple[int, int]) -> None:
        await self._raw.kick()
        for turn in range(1, POLLS * POLL_NS // CHANGE_NS):
            change(turn)
            await self._machine.sleep(CHANGE_NS)
            if self._raw.answered or not self._netback.connected:
                break
        statuses = [status for _, status in self._raw.answers()]
        caught = len(statuses) == 1 and statuses[0] in either
        # Which of the two it was is a matter of time.
        expected = f"one of {_names(either)}, nothing forged leaves"
        await self._end(name, expected, expected if caught else _names(statuses), caught=caught)

    # --- connections -----------------------------------------------------------------------------

    async def _not_connected(self, name: str, changes: dict[str, int], reason: str) -> None:
        """The back end refuses, says why in xenstore, and holds nothing."""
        held = len(self._host.control.events.ports)
        try:
            await self._raw.connect(**changes)
            outcome = "connected"
        except BackendGoneError:
            told = self._host.daemon.local.read_or_none(f"{self._device.error_path}/error") or ""
            outcome = f"refused: {reason}" if reason in told else f"refused: {told}"
        kept = len(self._host.control.events.ports) - held
        caught = outcome == f"refused: {reason}" and not kept and not self._netback.connected
        await self._raw.close()
        outcome += f", {kept} ports kept" if kept else ""
        self.result.record(name, f"refused: {reason}", outcome, caught=caught)

    async def _take_the_ring_away(self) -> None:
        """The send ring's page, while netback has it mapped: it stays the guest's until netback has let go."""
        raw, machine = self._raw, self._machine
        await raw.connect()
        # What was refused before has left nothing behind.
        served = await self._send_own_frame()
        gfn = raw.gfn - 2
        frame = machine.p2m.frame(gfn)
        assert frame is not None
        ended = machine.kernel.end_access(raw.ring_references[0])
        self.result.record(
            "take the ring's grant back while it is mapped", "in use", "taken" if ended else "in use", caught=not ended
        )
        await machine.hypercall.decrease_reservation(gfn)
        # The mapping is netback's own: it serves what is there.
        kept = served and self._hv.frames.owner(frame) == machine.domid
        await machine.hypercall.event_send(raw.port)
        await machine.sleep(POLL_NS)
        kept &= self._hv.frames.owner(frame) == machine.domid and self._netback.connected
        await raw.close()
        freed = self._hv.frames.owner(frame) != machine.domid
        outcome = f"{'stayed' if kept else 'gone'} while mapped, {'freed' if freed else 'still there'} afterwards"
        expected = "stayed while mapped, freed afterwards"
        self.result.record("give the ring's page back while it is mapped", expected, outcome, caught=outcome == expected)

    # --- what it may do --------------------------------------------------------------------------

    async def _end(self, name: str, expected: str, outcome: str, *, caught: bool) -> None:
        """The attempt is over: the vif must work."""
        if not await self._send_own_frame():
            caught = False
            outcome += ", and its next good frame failed"
        self.result.record(name, expected, outcome, caught=caught)

    async def _send_own_frame(self) -> bool:
        sent = self.result.frames.setdefault(self._host.uplink.endpoint, [])
        frame = PEER + self._raw.mac + TYPE + len(sent).to_bytes(2, "big") + bytes(range(64))
        sent.append(frame)
        self._raw.put(GOOD, frame)
        await self._raw.kick()
        await self._until(lambda: self._raw.answered > 0 or not self._netback.connected)
        return [status for _, status in self._raw.answers()] == [OKAY]

    async def _until(self, done: Callable[[], bool]) -> None:
        """Look until it is so; what has not come after `POLLS` times has not come at all."""
        for _ in range(POLLS):
            if done():
                return
            await self._machine.sleep(POLL_NS)


def _names(statuses: Iterable[int]) -> str:
    """Statuses in order; the same one many times over as once and how often."""
    runs = [(NetifStatus(status).name, len(list(same))) for status, same in groupby(statuses)]
    return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in runs) or "no answer"
