"""What domains have and share, in plain sets and counters: the oracle of the hypercall machine.

It knows nothing of the hypervisor's own tables. A frame's number is the hypervisor's choice and is looked up once, when the frame
appears; what is referred to, as what, by whom and where it can be reached is counted here from what the domains have asked for.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis.vendor.pretty import RepresentationPrinter

from hypervisor_model.domains import Domain
from hypervisor_model.memory import PageType
from sw.abi.registers import Mode
from tests.xen.grants_support import (
    ACCEPT,
    BAD_DOMAIN,
    BAD_GREF,
    BAD_PAGE,
    ESRCH,
    GENERAL,
    PERMIT,
    RO,
    TRANSITIVE,
)

UNBOUND, INTERDOMAIN, VIRQ, IPI = 1, 2, 4, 5
REFERENCES_V1, REFERENCES_V2 = 512, 256
"""Of one page of a grant table."""
NO_DEVICE_SPACE = -7


class RefusedError(Exception):
    """A grant operation must end with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True)
class Entry:
    """A grant as its granter published it. `gfn`: the page, or of a transitive one the reference behind it."""

    flags: int = 0
    grantee: int = 0
    gfn: int = 0
    behind: int = 0


@dataclass(eq=False)
class Mapping:
    """`host`: in the caller's memory at `gfn`. `device`: for the granter's endpoint. `foreign`: in dom0's memory, by privilege."""

    kind: str
    caller: int
    granter: int
    reference: int
    frame: int
    write: bool
    gfn: int
    """Host, foreign: the caller's GFN. Device: the granter's GFN when the reference was pinned first."""
    home: int = 0
    """The granter's GFN when the reference was pinned first."""
    handle: int = -1
    address: int = 0
    """Of device mappings: what the endpoint names the page by."""
    held: PageType = PageType.NONE

    @property
    def holder(self) -> int:
        """Whose handle it is."""
        return self.granter if self.kind == "device" else self.caller


@dataclass
class Ring:
    """A ring of a validated endpoint: frames from the last retired entry on."""

    held: PageType
    entries: int = 16
    producer: int = 0
    pinned: list[int] = field(default_factory=list)
    sent: int = 0
    """Entries that the NIC has passed."""

    @property
    def retired(self) -> int:
        """Entries that pin nothing any more."""
        return self.producer - len(self.pinned)


@dataclass
class Endpoint:
    """A domain has one at most."""

    number: int
    mode: Mode
    aperture: int
    receives: bool
    pushed: bool
    enabled: bool = False
    slot: int = 0
    rings: dict[int, Ring] = field(default_factory=dict)
    """Of a validated one, from when it is enabled until it is disabled by its owner or its owner's end."""
    addresses: list[int] = field(default_factory=list)
    """All that were ever given to it."""


@dataclass
class Channel:
    """A port in use."""

    kind: int
    remote: int = 0
    remote_port: int = 0
    virq: int = -1
    pending: bool = False
    masked: bool = True


@dataclass(eq=False)
class Guest:
    """A domain that has not been destroyed."""

    domid: int
    domain: Domain
    mode: Mode
    slots: list[int]
    """GFNs that pages come to and go from."""
    scratch: int
    """GFN of two pages for arguments."""
    shared_info: int
    """Frame."""
    limit: int
    life: str = "running"
    pauses: int = 0
    ram: dict[int, int] = field(default_factory=dict)
    unplaced: list[int] = field(default_factory=list)
    tables: list[int] = field(default_factory=list)
    """Frames of the grant table; the first one is at the layout's GFN."""
    status: list[int] = field(default_factory=list)
    """Frames of status words, and where the first one is seen."""
    status_gfn: int | None = None
    version: int = 1
    entries: dict[int, Entry] = field(default_factory=dict)
    endpoint: Endpoint | None = None
    ports: dict[int, Channel] = field(default_factory=dict)
    told: bool = False
    """Its event handler has been entered since it looked last."""

    def _repr_pretty_(self, printer: RepresentationPrinter, cycle: bool) -> None:
        """As a failing example shows it."""
        printer.text(f"domain {self.domid}")

    @property
    def active(self) -> bool:
        """Its software runs."""
        return self.life == "running" and not self.pauses

    @property
    def stopped(self) -> bool:
        """It has shut down or crashed."""
        return self.life not in ("built", "running")

    @property
    def references(self) -> int:
        """Entries of its grant table."""
        return len(self.tables) * (REFERENCES_V1 if self.version == 1 else REFERENCES_V2)

    def own(self, gfn: int) -> int | None:
        """The frame of a page that it may grant."""
        if self.tables and gfn == self.domain.layout.grant_table:
            return self.tables[0]
        return self.ram.get(gfn)


class Oracle:
    """All domains, and what is mapped of whom."""

    def __init__(self) -> None:
        self.guests: dict[int, Guest] = {}
        self.dead: list[int] = []
        """Domains that have been destroyed."""
        self.live: list[Mapping] = []
        self.content: dict[int, bytes] = {}
        """First bytes of each frame of memory."""
        self.orphan_tables: set[int] = set()

    def others(self) -> list[Guest]:
        """All but the control domain."""
        return [guest for domid, guest in self.guests.items() if domid]

    def exists(self, domid: int) -> int:
        """0, or the errno of a call that names the domain."""
        return 0 if domid in self.guests else -ESRCH

    def privileged(self, guest: Guest) -> bool:
        """It may act for other domains."""
        return not guest.domid or guest.mode is Mode.NATIVE

    # --- grants ----------------------------------------------------------------------------------

    def pins(self, granter: int, reference: int) -> list[Mapping]:
        """Mappings by one reference."""
        return [m for m in self.live if m.kind != "foreign" and (m.granter, m.reference) == (granter, reference)]

    def activate(self, caller: int, granter: int, reference: int, *, write: bool, mapping: bool, behind: bool = False) -> tuple[int, int]:
        """Frame and the granter's GFN of what a map or copy must find by a reference. Raises `RefusedError`."""
        guest = self.guests.get(granter)
        if guest is None:
            raise RefusedError(BAD_DOMAIN)
        if reference >= guest.references:
            raise RefusedError(BAD_GREF)
        pins = self.pins(granter, reference)
        entry = guest.entries.get(reference, Entry())
        kinds = (PERMIT,) if mapping or guest.version == 1 else (PERMIT, TRANSITIVE)
        if pins and pins[0].caller != caller:
            raise RefusedError(GENERAL)
        if not pins and (entry.flags & 3 not in kinds or entry.grantee != caller):
            raise RefusedError(GENERAL)
        if write and not any(pin.write for pin in pins) and entry.flags & RO:
            raise RefusedError(GENERAL)
        if not pins and entry.flags & 3 == TRANSITIVE:
            if behind or entry.behind == granter:
                raise RefusedError(GENERAL)
            try:
                return self.activate(granter, entry.behind, entry.gfn, write=write, mapping=False, behind=True)
            except RefusedError as refused:
                raise RefusedError(GENERAL if refused.status == BAD_DOMAIN else refused.status) from refused
        frame, home = (pins[0].frame, pins[0].home) if pins else (guest.own(entry.gfn), entry.gfn)
        if frame is None:
            raise RefusedError(BAD_PAGE)
        if write and frame in guest.tables:
            raise RefusedError(GENERAL)
        return frame, home

    def accepts(self, caller: int, to: int, reference: int) -> int:
        """Where a page that is transferred goes. Raises `RefusedError`."""
        guest = self.guests.get(to)
        if guest is None:
            raise RefusedError(BAD_DOMAIN)
        entry = guest.entries.get(reference, Entry())
        full = self.pages(to) >= guest.limit
        if full or reference >= guest.references or (entry.flags, entry.grantee) != (ACCEPT, caller) or not self.vacant(to, entry.gfn):
            raise RefusedError(GENERAL)
        return entry.gfn

    def device(self, domid: int) -> list[Mapping]:
        """What is mapped for a domain's endpoint."""
        return [m for m in self.live if m.kind == "device" and m.granter == domid]

    def in_use(self, granter: int) -> bool:
        """A reference that is nobody's special one is mapped."""
        return any(m.kind != "foreign" and m.granter == granter for m in self.live)

    # --- memory ----------------------------------------------------------------------------------

    def mapped_at(self, domid: int, gfn: int) -> Mapping | None:
        """Another domain's page in this one's memory."""
        return next((m for m in self.live if m.kind != "device" and (m.caller, m.gfn) == (domid, gfn)), None)

    def vacant(self, domid: int, gfn: int) -> bool:
        """Nothing is at a GFN."""
        guest = self.guests[domid]
        fixed = {guest.domain.layout.grant_table} if guest.tables else set()
        return gfn not in guest.ram and gfn not in fixed and self.mapped_at(domid, gfn) is None

    def rings(self) -> list[tuple[Guest, Ring]]:
        """Rings that pin pages."""
        return [(g, r) for g in self.guests.values() if g.endpoint for r in g.endpoint.rings.values()]

    def borrowed(self) -> dict[int, int]:
        """Frames that something but their owner's own memory refers to, with their owner."""
        found = {m.frame: m.granter for m in self.live}
        for guest, ring in self.rings():
            found |= dict.fromkeys(ring.pinned, guest.domid)
        return found

    def special(self) -> set[int]:
        """Frames of grant tables, also dead ones that are still mapped."""
        return self.orphan_tables | {f for g in self.guests.values() for f in (*g.tables, *g.status)}

    def owners(self) -> dict[int, int]:
        """Every frame that is a domain's, or was a dead domain's and is mapped still."""
        found = self.borrowed()
        for domid, guest in self.guests.items():
            found |= dict.fromkeys((*guest.ram.values(), *guest.unplaced, *guest.tables, *guest.status), domid)
        return found

    def pages(self, domid: int) -> int:
        """tot_pages: also what was given back and is still in use, but no grant table."""
        special = self.special()
        return sum(owner == domid and frame not in special for frame, owner in self.owners().items())

    def counts(self) -> tuple[Counter[int], dict[int, tuple[PageType, int]]]:
        """References of each frame, and what it is used as, how many times."""
        references: Counter[int] = Counter(m.frame for m in self.live)
        writers: Counter[int] = Counter(m.frame for m in self.live if m.held is PageType.WRITABLE)
        tables: Counter[int] = Counter(m.frame for m in self.live if m.held is PageType.GRANT_TABLE)
        for _, ring in self.rings():
            references.update(ring.pinned)
            if ring.held is PageType.WRITABLE:
                writers.update(ring.pinned)
        for guest in self.guests.values():
            references.update((*guest.ram.values(), *guest.unplaced, *guest.tables, *guest.status))
            writers.update(guest.ram.values())
        tables.update(self.special())
        kinds = dict.fromkeys(references, (PageType.NONE, 0))
        kinds |= {frame: (PageType.WRITABLE, count) for frame, count in writers.items()}
        kinds |= {frame: (PageType.GRANT_TABLE, count) for frame, count in tables.items()}
        return references, kinds

    # --- ends ------------------------------------------------------------------------------------

    def close(self, domid: int, port: int) -> None:
        """A port is free again; the other end waits for this domain."""
        channel = self.guests[domid].ports.pop(port)
        if channel.kind == INTERDOMAIN:
            other = self.guests[channel.remote].ports[channel.remote_port]
            other.kind, other.remote, other.remote_port = UNBOUND, domid, 0

    def fire(self, domid: int, port: int) -> None:
        """An event arrives."""
        self.guests[domid].ports[port].pending = True

    def raise_virq(self, domid: int, virq: int) -> None:
        """A virtual interrupt: of a domain that has stopped nobody hears it."""
        guest = self.guests[domid]
        if not guest.stopped:
            for channel in guest.ports.values():
                channel.pending |= channel.virq == virq

    def destroy(self, domid: int) -> None:
        """The domain has gone. What others have mapped of it stays until they unmap it."""
        guest = self.guests[domid]
        for port in list(guest.ports):
            self.close(domid, port)
        self.live = [m for m in self.live if not (m.caller == domid or (m.kind == "device" and m.granter == domid))]
        del self.guests[domid]
        self.dead.append(domid)
        left = {m.frame for m in self.live if m.granter == domid}
        self.orphan_tables |= left & {*guest.tables, *guest.status}

    def forget(self, mapping: Mapping) -> None:
        """A mapping has ended."""
        self.live.remove(mapping)
        self.orphan_tables &= {m.frame for m in self.live}
