"""What must be true after every call: the machine's bytes, and the hypervisor's counts, against the oracle."""

from __future__ import annotations

from hypervisor_model.memory import OWNER_NONE, OWNER_XEN
from sw.abi.registers import DmaAddress, Mode, NicControl
from tests.xen.grants_support import PAGE, PERMIT, READING, WRITING, at
from tests.xen.hypercall_endpoints import RING_ENTRIES
from tests.xen.hypercall_events import PORTS
from tests.xen.hypercall_hardware import io_tables
from tests.xen.hypercall_machine import WINDOW_ROWS, Machine
from tests.xen.hypercall_oracle import Endpoint, Entry, Guest

# struct shared_info, 64 bit
UPCALL_PENDING, SELECTOR, PENDING, MASK = 0, 8, 2048, 2560
REFERENCES = range(8, 14)
"""Those that are used."""
ENDPOINTS = 5
"""Of the NIC, that are looked at: more are never in use."""
RING_REGISTERS = {
    0: (NicControl.ENDPOINT_SEND_BASE_LO, 16),
    1: (NicControl.ENDPOINT_RX_SMALL_BASE_LO, 8),
    2: (NicControl.ENDPOINT_RX_BIG_BASE_LO, 8),
}
"""Base register and bytes of an entry."""


class Checks:
    """Each method raises `AssertionError`."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.oracle = machine.oracle
        self.seen: set[tuple[int, int]] = set()
        """Requesters and device frames that were mapped at some time."""

    def shared(self, guest: Guest) -> memoryview:
        return self.machine.platform.memory.view(guest.shared_info * PAGE, PAGE)

    def in_use_bits(self, guest: Guest, reference: int) -> int:
        """As they stand in the granter's memory."""
        if guest.version == 1:
            flags = at(self.machine.platform.memory.read(guest.tables[0] * PAGE + reference * 8, 2), 0, "H")
            return flags & (READING | WRITING)
        return at(self.machine.platform.memory.read(guest.status[0] * PAGE + reference * 2, 2), 0, "H")

    def every_count_is_the_sum_of_what_refers(self) -> None:
        frames, owners, special = self.machine.hv.frames, self.oracle.owners(), self.oracle.special()
        references, kinds = self.oracle.counts()
        scratch = {g.ram[g.scratch + n] for g in self.oracle.guests.values() for n in range(2)}
        shown = {n: frames.owner(n) for n in range(frames.frames) if frames.owner(n) not in (OWNER_NONE, OWNER_XEN)}
        assert shown == owners
        for frame in owners:
            assert (frames.references(frame), frames.type_of(frame)) == (references[frame], kinds[frame]), f"frame {frame:#x}"
            if frame not in special | scratch:
                assert self.machine.platform.memory.read(frame * PAGE, 8) == self.oracle.content[frame]
        for domid in (*self.oracle.guests, *self.oracle.dead):
            assert frames.pages(domid) == self.oracle.pages(domid)

    def devices_reach_what_is_mapped_for_them(self) -> None:
        tables = io_tables(self.machine.platform)
        bus = self.machine.platform.machine.nic_bus << 8
        endpoints = self.allocated()
        translated = {domid: e for domid, e in endpoints.items() if e.mode is Mode.IOMMU}
        assert set(tables.roots) == {bus + 1 + e.number for e in translated.values()}
        assert tables.passing == ({bus} if len(translated) < len(endpoints) else set())
        wanted: dict[tuple[int, int], tuple[int, bool]] = {}
        for domid, endpoint in translated.items():
            for m in self.oracle.device(domid):
                key = bus + 1 + endpoint.number, m.home
                wanted[key] = m.frame, m.write or wanted.get(key, (0, False))[1]
        assert tables.leaves == wanted
        self.no_stale_translation(wanted)
        self.windows_are_those_that_are_mapped(range(WINDOW_ROWS))
        rings = self.rings_name_what_they_pin(endpoints)
        infos = {guest.shared_info for guest in self.oracle.guests.values()}
        frames = self.machine.hv.frames
        xen = {n for n in range(frames.frames) if frames.owner(n) == OWNER_XEN}
        assert xen == self.machine.xen | tables.frames | rings | infos, "the hypervisor's own: tables, rings, shared info, and no more"

    def allocated(self) -> dict[int, Endpoint]:
        return {guest.domid: guest.endpoint for guest in self.oracle.guests.values() if guest.endpoint}

    def no_stale_translation(self, wanted: dict[tuple[int, int], tuple[int, bool]]) -> None:
        """What the IOMMU has cached allows no more than the tables do."""
        self.seen |= set(wanted)
        for requester, dfn in self.seen:
            for write in (False, True):
                found = self.machine.platform.iommu.translate(requester, dfn * PAGE, write=write)
                frame, writable = wanted.get((requester, dfn), (None, False))
                assert found in (None, -1 if frame is None or (write and not writable) else frame * PAGE)
                assert found is not None or write or frame is None

    def windows_are_those_that_are_mapped(self, rows: range) -> None:
        endpoints = self.allocated()
        for number in range(ENDPOINTS):
            wanted = {}
            for domid, endpoint in endpoints.items():
                if endpoint.number == number and endpoint.mode is Mode.WINDOWS:
                    for m in self.oracle.device(domid):
                        index = (m.address & DmaAddress.WINDOW_INDEX_M) >> DmaAddress.WINDOW_INDEX_S
                        wanted[index] = m.frame, m.write, m.address >> DmaAddress.WINDOW_SEQUENCE_S
            found = self.machine.registers.windows(number, rows)
            assert found == wanted, f"endpoint {number}: {found}, {wanted} are mapped"
            enabled = any(e.number == number and e.enabled for e in endpoints.values())
            assert self.machine.registers.enabled(number) == enabled

    def rings_name_what_they_pin(self, endpoints: dict[int, Endpoint]) -> set[int]:
        """Frames of the rings themselves."""
        found = set()
        for endpoint in endpoints.values():
            for kind, ring in endpoint.rings.items():
                register, size = RING_REGISTERS[kind]
                indices = range(ring.retired, ring.producer)
                named = self.machine.registers.ring(register, endpoint.number, size, indices, RING_ENTRIES)
                assert named == [(n + 1 & 0xFFFF, frame) for n, frame in zip(indices, ring.pinned, strict=True)]
                found.add(self.machine.registers.base(register, endpoint.number) // PAGE)
        return found

    def guests_reach_their_own_and_what_is_mapped(self) -> None:
        base = self.machine.hv.device.bars[2][0] // PAGE
        for guest in self.oracle.guests.values():
            mapped = {m.gfn: m for m in self.oracle.live if m.kind != "device" and m.caller == guest.domid}
            fixed = dict.fromkeys([guest.domain.layout.grant_table], guest.tables[0]) if guest.tables else {}
            if guest.status_gfn is not None:
                fixed[guest.status_gfn] = guest.status[0]
            pages = guest.domain.p2m.pages
            assert set(pages) == {*guest.ram, *mapped, *fixed}
            for gfn, frame in {**guest.ram, **fixed, **{gfn: m.frame for gfn, m in mapped.items()}}.items():
                assert guest.domain.p2m.frame(gfn) == frame
                assert pages[gfn].readonly == (gfn in mapped and not mapped[gfn].write)
                assert pages[gfn][:8] == self.machine.platform.memory.view(frame * PAGE, 8)
            doors = {}
            if guest.endpoint is not None:
                first = base + guest.endpoint.number * self.machine.hv.endpoints.stride_pages
                doors = {guest.endpoint.aperture // PAGE + n: first + n for n in self.doors(guest.endpoint)}
            assert guest.domain.p2m.mmio == doors

    @staticmethod
    def doors(endpoint: Endpoint) -> tuple[int, ...]:
        """Pages of an aperture that its owner may touch: the doorbells, and a pushed ring of 16 KiB."""
        return (0,) if endpoint.mode is Mode.VALIDATED or not endpoint.pushed else (0, 4, 5, 6, 7)

    def in_use_bits_are_the_mappings(self) -> None:
        for guest in self.oracle.others():
            for reference in REFERENCES if guest.tables else ():
                pins = self.oracle.pins(guest.domid, reference)
                if guest.version == 1 and guest.entries.get(reference, Entry()).flags & 3 != PERMIT:
                    assert not pins
                    continue
                bits = (READING if pins else 0) | (WRITING if any(m.write for m in pins) else 0)
                assert self.in_use_bits(guest, reference) == bits

    def no_event_is_lost_and_none_invented(self) -> None:
        for guest in self.oracle.guests.values():
            page = self.shared(guest)
            pending = {port for port in range(PORTS) if page[PENDING + port // 8] >> port % 8 & 1}
            assert pending == {port for port, channel in guest.ports.items() if channel.pending}
            assert all(page[MASK + port // 8] >> port % 8 & 1 == channel.masked for port, channel in guest.ports.items())
            if any(channel.pending and not channel.masked for channel in guest.ports.values()):
                assert page[UPCALL_PENDING] and page[SELECTOR] & 1
                assert guest.told or not guest.active, "its handler was not entered"
