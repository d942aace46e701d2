"""Grant operations: map, unmap, transfer, versions, and the pins of device mappings.

The order of the checks is Xen's (`xen/common/grant_table.c`). Callers are translated: a host mapping goes into their P2M.
Installing and removing the IOMMU entries of endpoints is the caller's, between `pin` and `unpin`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hypervisor_model.grant_table import (
    DEVICE_READ,
    DEVICE_WRITE,
    HOST_READ,
    HOST_WRITE,
    PIN_GUARD,
    WRITE_PINS,
    ActiveEntry,
    GrantError,
    GrantTable,
)
from hypervisor_model.maptrack import MAPTRACK_LIMIT, HostMapping, Mapping, Maptrack
from hypervisor_model.memory import FrameAllocator, PageType
from hypervisor_model.p2m import P2M, Kind
from sw.platform import PAGE_SHIFT, PAGE_SIZE
from sw.xen.errno import Errno, HypercallError
from sw.xen.grant_table import GrantFlag, GrantMapFlag, GrantStatus

__all__ = ["MAPTRACK_LIMIT", "PIN_GUARD", "GrantError", "GrantOperations", "GrantTable", "Mapping", "Unmap"]

UNMAP_BATCH: Final = 32
"""Unmaps between two flushes."""
_CACHE_BITS: Final = GrantFlag.PWT | GrantFlag.PCD | GrantFlag.PAT


@dataclass(frozen=True)
class Unmap:
    """One unmap operation. Addresses of 0: that part of the mapping stays."""

    handle: int
    host_addr: int
    dev_bus_addr: int = 0
    new_addr: int = 0


class GrantOperations:
    """All grant tables of the machine and the handles on them."""

    def __init__(self, frames: FrameAllocator) -> None:
        self._frames = frames
        self._tables: dict[int, GrantTable] = {}
        self._maptracks: dict[int, Maptrack] = {}

    def create(self, domid: int, p2m: P2M) -> GrantTable:
        """An empty table for a new domain. Numbers of dead domains whose grants are in use cannot be given again."""
        if domid in self._tables:
            raise ValueError(f"domain {domid} has a grant table")
        table = GrantTable(domid, p2m, self._frames)
        self._tables[domid] = table
        self._maptracks[domid] = Maptrack()
        return table

    def table(self, domid: int) -> GrantTable:
        """A domain's table, also after its death. `KeyError` if there is none."""
        return self._tables[domid]

    def living(self, domid: int) -> GrantTable:
        """The table of a domain that may be named as granter. Raises `GrantError`."""
        table = self._tables.get(domid)
        if table is None or table.dead:
            raise GrantError(GrantStatus.BAD_DOMAIN)
        return table

    def maptrack(self, domid: int) -> Maptrack:
        """A domain's handles."""
        return self._maptracks[domid]

    # --- device mappings of endpoints ------------------------------------------------------------

    def pin(self, caller: int, granter: int, reference: int, endpoint: int, flags: GrantMapFlag) -> tuple[int, Mapping]:
        """Check a reference for a device mapping by `caller`, pin its page. Raises `GrantError`.

        The handle is one of the granter's: it asks for its own endpoint, and can use up nobody else's handles.
        """
        if not flags & (GrantMapFlag.DEVICE | GrantMapFlag.HOST):
            raise GrantError(GrantStatus.BAD_GREF)
        write = not flags & GrantMapFlag.READONLY
        table = self.living(granter)
        handles = self._maptracks[granter]
        handles.reserve()
        entry = self.activate(table, caller, reference, _pins(host=False, device=True, write=write), mapping=True)
        mapping = Mapping(granter, reference, endpoint, entry.gfn, entry.frame, write)
        return handles.add(mapping), mapping

    def take(self, handle: int, granter: int) -> Mapping:
        """Retire a handle of an endpoint's mapping: from here it names nothing. The pin stays until `unpin`. Raises `GrantError`."""
        mapping = self._maptracks[granter].get(handle)
        if not isinstance(mapping, Mapping):
            raise GrantError(GrantStatus.BAD_HANDLE)
        self._maptracks[granter].remove(handle)
        return mapping

    def handles(self, granter: int) -> list[int]:
        """Live handles of the mappings of a domain's endpoints."""
        handles = self._maptracks.get(granter, ())
        return [handle for handle, mapping in handles if isinstance(mapping, Mapping)]

    def unpin(self, mapping: Mapping) -> None:
        """Drop the pin of a retired handle: no device may reach the page under it any more."""
        self.drop(mapping.granter, mapping.reference, DEVICE_WRITE if mapping.write else DEVICE_READ)

    def pins(self, granter: int, reference: int) -> tuple[int, int]:
        """Device-read and device-write pins of a reference."""
        entry = self._tables[granter].active.get(reference)
        return (entry.count(DEVICE_READ), entry.count(DEVICE_WRITE)) if entry is not None else (0, 0)

    # --- map and unmap ---------------------------------------------------------------------------

    def map(
        self, caller: int, granter: int, reference: int, flags: int, host_addr: int, *, bus_addresses: bool
    ) -> tuple[int, int]:
        """map_grant_ref; handle and machine address. Raises `GrantError`.

        `bus_addresses`: the caller drives its device with machine addresses, so a device mapping is its to ask for.
        """
        if not flags & (GrantMapFlag.DEVICE | GrantMapFlag.HOST):
            raise GrantError(GrantStatus.BAD_GREF)
        refused = GrantMapFlag.APPLICATION | GrantMapFlag.CONTAINS_PTE
        if flags & (refused if bus_addresses else refused | GrantMapFlag.DEVICE):
            raise GrantError(GrantStatus.GENERAL_ERROR)
        write = not flags & GrantMapFlag.READONLY
        host, device = bool(flags & GrantMapFlag.HOST), bool(flags & GrantMapFlag.DEVICE)
        table = self.living(granter)
        handles = self._maptracks[caller]
        handles.reserve()
        pins = _pins(host=host, device=device, write=write)
        entry = self.activate(table, caller, reference, pins, mapping=True)
        gfn = host_addr >> PAGE_SHIFT if host else None
        if gfn is not None:
            p2m = self._tables[caller].p2m
            shared, _ = table.header(reference)
            if shared & _CACHE_BITS or not p2m.is_vacant(gfn):
                self.drop(granter, reference, pins)
                raise GrantError(GrantStatus.GENERAL_ERROR)
            p2m.add_grant(gfn, entry.frame, write=write)
        handle = handles.add(HostMapping(granter, reference, entry.frame, write, gfn, device))
        return handle, entry.frame << PAGE_SHIFT

    def unmap(self, caller: int, operations: Sequence[Unmap]) -> list[GrantStatus]:
        """unmap_grant_ref and unmap_and_replace, at most `UNMAP_BATCH`: first no mapping is left, then references drop."""
        if len(operations) > UNMAP_BATCH:
            raise ValueError(f"{len(operations)} unmaps: at most {UNMAP_BATCH} between flushes")
        statuses: list[GrantStatus] = []
        dropped: list[tuple[HostMapping, int]] = []
        for operation in operations:
            try:
                dropped.append(self._unmap(caller, operation))
                statuses.append(GrantStatus.OKAY)
            except GrantError as error:
                statuses.append(error.status)
        for mapping, pins in dropped:
            if pins:
                self.drop(mapping.granter, mapping.reference, pins)
        return statuses

    def _unmap(self, caller: int, operation: Unmap) -> tuple[HostMapping, int]:
        """Take a mapping out of the caller's address space; the pins that are to be dropped for it."""
        handles = self._maptracks[caller]
        mapping = handles.get(operation.handle)
        if not isinstance(mapping, HostMapping):
            raise GrantError(GrantStatus.BAD_HANDLE)
        device = bool(operation.dev_bus_addr and mapping.device)
        if device and operation.dev_bus_addr != mapping.frame << PAGE_SHIFT:
            raise GrantError(GrantStatus.GENERAL_ERROR)
        host = bool(operation.host_addr and mapping.gfn is not None)
        if host:
            # A replacement is for page tables; the address must be this mapping's, or another's entry would go.
            if operation.new_addr or operation.host_addr >> PAGE_SHIFT != mapping.gfn:
                raise GrantError(GrantStatus.GENERAL_ERROR)
            self._tables[caller].p2m.remove_grant(mapping.gfn)
            mapping.gfn = None
        if device:
            mapping.device = False
        if mapping.gfn is None and not mapping.device:
            handles.remove(operation.handle)
        return mapping, _pins(host=host, device=device, write=mapping.write)

    # --- transfer --------------------------------------------------------------------------------

    def transfer(self, caller: int, gfn: int, to: int, reference: int) -> None:
        """Hand a page over. Raises `GrantError`: the caller has lost it all the same, except with BAD_PAGE.

        Xen lets PV guests do this only; here translated ones may, and the entry's frame is the GFN where the page goes.
        """
        p2m = self._tables[caller].p2m
        frame = p2m.ram(gfn)
        if frame is None or self._frames.references(frame) != 1:
            raise GrantError(GrantStatus.BAD_PAGE)
        p2m.take_ram(gfn)
        try:
            table = self.living(to)
            target = self._accept(table, caller, reference)
        except GrantError:
            self._frames.put(frame)
            raise
        self._frames.give(frame, to)
        table.p2m.add_ram(target, frame)
        table.barrier()
        table.change_flags(reference, raise_=GrantFlag.TRANSFER_COMPLETED)

    def _accept(self, table: GrantTable, caller: int, reference: int) -> int:
        """Commit an entry that accepts a page of the caller's; the GFN where it goes. Raises `GrantError`."""
        if self._frames.pages(table.domid) >= self._frames.limit(table.domid) or reference >= table.entries:
            raise GrantError(GrantStatus.GENERAL_ERROR)
        flags, domid = seen = table.header(reference)
        if flags != GrantFlag.ACCEPT_TRANSFER or domid != caller:
            raise GrantError(GrantStatus.GENERAL_ERROR)
        gfn = table.gfn(reference)
        if not table.p2m.is_vacant(gfn) or not table.compare_exchange(
            reference, seen, flags | GrantFlag.TRANSFER_COMMITTED
        ):
            raise GrantError(GrantStatus.GENERAL_ERROR)
        return gfn

    # --- versions and entries --------------------------------------------------------------------

    def set_version(self, domid: int, version: int) -> None:
        """Change the layout of a table. Raises `HypercallError`."""
        table = self._tables[domid]
        if version not in (1, 2):
            raise HypercallError(Errno.EINVAL, f"grant table version is {version}: 1 or 2")
        if version == table.version:
            return
        if not table.is_idle():
            raise HypercallError(Errno.EBUSY, f"grants of domain {domid} are in use: its table keeps version {table.version}")
        if any(self._frames.references(frame) > 1 for frame in table.status_frames):
            raise HypercallError(Errno.EBUSY, f"status pages of domain {domid} are mapped elsewhere")
        table.set_version(version)

    def swap(self, domid: int, first: int, second: int) -> None:
        """swap_grant_ref. Raises `GrantError`."""
        table = self._tables[domid]
        if max(first, second) >= table.entries:
            raise GrantError(GrantStatus.BAD_GREF)
        if first == second:
            return
        if first in table.active or second in table.active:
            raise GrantError(GrantStatus.EAGAIN)
        table.swap(first, second)

    # --- the death of a domain -------------------------------------------------------------------

    def destroy(self, domid: int) -> None:
        """Unmap what the domain had mapped by grants and free its memory; what others have mapped of it stays until they unmap.

        Nothing of it may be mapped for its endpoints any more (`handles`). Raises `ValueError`.
        """
        handles = self._maptracks[domid]
        table = self._tables[domid]
        if live := self.handles(domid):
            raise ValueError(f"domain {domid} is destroyed while its endpoints reach its pages by {len(live)} handles")
        for handle, mapping in [(handle, mapping) for handle, mapping in handles if isinstance(mapping, HostMapping)]:
            pins = _pins(host=mapping.gfn is not None, device=mapping.device, write=mapping.write)
            if mapping.gfn is not None:
                table.p2m.remove_grant(mapping.gfn)
            handles.remove(handle)
            self.drop(mapping.granter, mapping.reference, pins)
        self._frames.claim(domid, 0)
        table.drop_pages()
        table.p2m.release()
        table.dead = True
        self._forget(table)

    # --- references in use -----------------------------------------------------------------------

    def activate(
        self, table: GrantTable, grantee: int, reference: int, pins: int, *, mapping: bool, transitive: bool = False
    ) -> ActiveEntry:
        """Check a reference and pin it, with one page reference for each pin. Raises `GrantError`.

        `mapping`: the page will be mapped, not only copied. `transitive`: a grant of somebody else's grant will do.
        """
        if not 0 <= reference < table.entries:
            raise GrantError(GrantStatus.BAD_GREF)
        write = bool(pins & WRITE_PINS)
        entry = table.active.get(reference)
        held = 0 if entry is None else entry.pin
        if entry is not None and (entry.domid != grantee or held & pins * PIN_GUARD or (mapping and entry.sub_page)):
            raise GrantError(GrantStatus.GENERAL_ERROR)
        if entry is None or (write and not held & WRITE_PINS):
            flags = table.set_status(reference, grantee, pinned=entry is not None, write=write, mapping=mapping)
        try:
            if entry is None:
                entry = self._resolve(table, reference, grantee, flags, transitive=transitive)
            self._refer(table, entry, pins)
        except GrantError:
            self._clear_unused(table, reference, held)
            raise
        table.active[reference] = entry
        entry.pin += pins
        return entry

    def drop(self, granter: int, reference: int, pins: int) -> None:
        """Undo one `activate`."""
        table = self._tables[granter]
        entry = table.active[reference]
        entry.pin -= pins
        for pin in _units(pins):
            if entry.behind is not None:
                self.drop(*entry.behind, pin)
            else:
                self._frames.put(entry.frame, _type_of(pin))
        if not entry.pin:
            del table.active[reference]
        self._clear_unused(table, reference, entry.pin)
        self._forget(table)

    def _resolve(
        self, table: GrantTable, reference: int, grantee: int, flags: int, *, transitive: bool
    ) -> ActiveEntry:
        """What a reference that nobody uses stands for."""
        if table.version == 2 and flags & GrantFlag.TYPE_MASK == GrantFlag.TRANSITIVE:
            behind = table.transitive(reference)
            if not transitive or behind[0] == table.domid:
                raise GrantError(GrantStatus.GENERAL_ERROR)
            return ActiveEntry(grantee, frame=0, gfn=0, sub_page=True, behind=behind)
        gfn = table.gfn(reference)
        sub_page = table.version == 2 and bool(flags & GrantFlag.SUB_PAGE)
        start, length = table.sub_page(reference) if sub_page else (0, PAGE_SIZE)
        return ActiveEntry(grantee, self.own_page(table, gfn), gfn, start, length, sub_page)

    def own_page(self, table: GrantTable, gfn: int) -> int:
        """Machine frame of a page that a domain may grant or copy: MMIO and foreign pages are not its own. Raises `GrantError`."""
        entry = table.p2m.entry(gfn)
        if entry is None or entry.kind not in (Kind.RAM, Kind.XEN) or self._frames.owner(entry.frame) != table.domid:
            raise GrantError(GrantStatus.BAD_PAGE)
        return entry.frame

    def _refer(self, table: GrantTable, entry: ActiveEntry, pins: int) -> None:
        """Take the page references of new pins; all or, with a `GrantError`, none."""
        if entry.behind is not None:
            domid, reference = entry.behind
            try:
                behind = self.activate(self.living(domid), table.domid, reference, pins, mapping=False)
            except GrantError as error:
                status = GrantStatus.GENERAL_ERROR if error.status is GrantStatus.BAD_DOMAIN else error.status
                raise GrantError(status) from error
            entry.frame, entry.start, entry.length = behind.frame, behind.start, behind.length
            return
        taken: list[int] = []
        for pin in _units(pins):
            if not self._frames.get(entry.frame, table.domid, _type_of(pin)):
                for other in taken:
                    self._frames.put(entry.frame, _type_of(other))
                raise GrantError(GrantStatus.GENERAL_ERROR)
            taken.append(pin)

    @staticmethod
    def _clear_unused(table: GrantTable, reference: int, pins: int) -> None:
        """In-use bits follow the pins."""
        unused = (0 if pins & WRITE_PINS else GrantFlag.WRITING) | (0 if pins else GrantFlag.READING)
        if unused:
            table.clear_status(reference, unused)

    def _forget(self, table: GrantTable) -> None:
        """A dead domain's table goes with its last pin."""
        if table.dead and not table.active:
            del self._tables[table.domid]
            del self._maptracks[table.domid]


def _pins(*, host: bool, device: bool, write: bool) -> int:
    return host * (HOST_WRITE if write else HOST_READ) | device * (DEVICE_WRITE if write else DEVICE_READ)


def _units(pins: int) -> list[int]:
    return [unit for unit in (HOST_WRITE, HOST_READ, DEVICE_WRITE, DEVICE_READ) if pins & unit]


def _type_of(pin: int) -> PageType:
    return PageType.WRITABLE if pin & WRITE_PINS else PageType.NONE
