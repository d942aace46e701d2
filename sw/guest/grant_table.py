"""The guest's side of its grant table, version 1 or 2: publishing entries and taking them back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sw.xen.errno import Errno, HypercallError
from sw.xen.grant_table import (
    GRANT_ENTRIES_PER_PAGE,
    GRANT_ENTRIES_PER_PAGE_V2,
    GRANT_ENTRY_V1,
    GRANT_ENTRY_V2,
    GRANT_ENTRY_V2_SUB_PAGE,
    GRANT_ENTRY_V2_TRANSITIVE,
    GRANT_MAX_FRAMES,
    GRANT_RESERVED_ENTRIES,
    GRANT_STATUS_BYTES,
    GRANT_STATUS_PER_PAGE,
    GrantFlag,
)

if TYPE_CHECKING:
    from sw.guest.machine import GuestMachine

_FLAGS_BYTES = 2


class OutOfGrantsError(MemoryError):
    """The grant table is full and cannot grow."""


class GuestGrants:
    """Owns the guest's references."""

    def __init__(self, machine: GuestMachine) -> None:
        self._machine = machine
        self._version = 1
        self._table: list[int] = []
        self._status: list[int] = []
        self._free: list[int] = []
        self._used = 0

    @property
    def version(self) -> int:
        """Layout of the table."""
        return self._version

    async def access(self, gfn: int, domid: int, *, readonly: bool) -> int:
        """Publish a grant of one page to `domid`; the reference. Grows the table when it is full."""
        reference = await self._take()
        self.publish(reference, gfn, domid, readonly=readonly)
        return reference

    async def reserve(self, count: int) -> list[int]:
        """Unused references, for `publish`, which cannot sleep. Grows the table when it is full."""
        return [await self._take() for _ in range(count)]

    def publish(self, reference: int, gfn: int, domid: int, *, readonly: bool) -> None:
        """Grant one page to `domid` by a reserved reference."""
        flags = GrantFlag.PERMIT_ACCESS | (GrantFlag.READONLY if readonly else 0)
        layout = GRANT_ENTRY_V1 if self._version == 1 else GRANT_ENTRY_V2
        self._publish(reference, layout.pack(0, domid, gfn), flags)

    def release(self, references: Sequence[int]) -> None:
        """Give reserved references back; none is granted any more."""
        for reference in references:
            self._give(reference)

    async def access_part(self, gfn: int, domid: int, start: int, length: int, *, readonly: bool) -> int:
        """Let `domid` copy `length` bytes of a page from `start` on; the reference. Version 2."""
        self._need_version_2("a sub-page grant")
        reference = await self._take()
        flags = GrantFlag.PERMIT_ACCESS | GrantFlag.SUB_PAGE | (GrantFlag.READONLY if readonly else 0)
        self._publish(reference, GRANT_ENTRY_V2_SUB_PAGE.pack(0, domid, start, length, gfn), flags)
        return reference

    async def pass_on(self, domid: int, granter: int, granted: int, *, readonly: bool) -> int:
        """Let `domid` copy what `granter` has granted to this guest by `granted`; the reference. Version 2."""
        self._need_version_2("a transitive grant")
        reference = await self._take()
        flags = GrantFlag.TRANSITIVE | (GrantFlag.READONLY if readonly else 0)
        self._publish(reference, GRANT_ENTRY_V2_TRANSITIVE.pack(0, domid, granter, granted), flags)
        return reference

    async def accept(self, gfn: int, domid: int) -> int:
        """Let `domid` transfer a page to the empty guest frame `gfn`; the reference."""
        reference = await self._take()
        layout = GRANT_ENTRY_V1 if self._version == 1 else GRANT_ENTRY_V2
        self._publish(reference, layout.pack(0, domid, gfn), GrantFlag.ACCEPT_TRANSFER)
        return reference

    def end(self, reference: int) -> bool:
        """Revoke a grant; False while the hypervisor still uses it: the reference stays out, to be ended again later."""
        if not self.revoke(reference):
            return False
        self._give(reference)
        return True

    def revoke(self, reference: int) -> bool:
        """The same, and the reference stays reserved."""
        page, offset = self._locate(reference)
        if self._version == 1:
            if self._flags(reference) & (GrantFlag.READING | GrantFlag.WRITING):
                return False
            page[offset : offset + _FLAGS_BYTES] = bytes(_FLAGS_BYTES)
        else:
            # Flags first, then the look at the in-use bits: the hypervisor sets its bits and looks again at the flags.
            page[offset : offset + _FLAGS_BYTES] = bytes(_FLAGS_BYTES)
            if self._in_use(reference):
                return False
        return True

    def end_accept(self, reference: int) -> bool:
        """Take an acceptance back, or see it fulfilled: True when a page has come."""
        came = bool(self._flags(reference) & GrantFlag.TRANSFER_COMPLETED)
        page, offset = self._locate(reference)
        page[offset : offset + _FLAGS_BYTES] = bytes(_FLAGS_BYTES)
        self._give(reference)
        return came

    async def set_version(self, version: int) -> None:
        """Change the layout. EBUSY while any reference is given out: its entry would be lost."""
        if self._used:
            raise HypercallError(Errno.EBUSY, f"{self._used} grants are out: the table keeps version {self._version}")
        self._version = await self._machine.hypercall.set_grant_version(version)
        self._free = []
        self._offer(0)
        await self._find_status()

    def _need_version_2(self, what: str) -> None:
        if self._version != 2:
            raise HypercallError(Errno.EINVAL, f"{what} needs version 2, the table has version {self._version}")

    def _publish(self, reference: int, entry: bytes, flags: int) -> None:
        page, offset = self._locate(reference)
        # Everything first, flags last: an entry with flags set must be whole.
        page[offset : offset + len(entry)] = entry
        page[offset : offset + _FLAGS_BYTES] = int(flags).to_bytes(_FLAGS_BYTES, "little")

    def _flags(self, reference: int) -> int:
        page, offset = self._locate(reference)
        return int.from_bytes(page[offset : offset + _FLAGS_BYTES], "little")

    def _in_use(self, reference: int) -> bool:
        page = self._machine.memory.page(self._status[reference // GRANT_STATUS_PER_PAGE])
        at = reference % GRANT_STATUS_PER_PAGE * GRANT_STATUS_BYTES
        return bool(page[at] & (GrantFlag.READING | GrantFlag.WRITING))

    def _locate(self, reference: int) -> tuple[memoryview, int]:
        size = (GRANT_ENTRY_V1 if self._version == 1 else GRANT_ENTRY_V2).size
        return self._machine.memory.page(self._table[reference // self._per_page]), reference % self._per_page * size

    @property
    def _per_page(self) -> int:
        return GRANT_ENTRIES_PER_PAGE if self._version == 1 else GRANT_ENTRIES_PER_PAGE_V2

    async def _take(self) -> int:
        if not self._free:
            await self._grow()
        self._used += 1
        return self._free.pop()

    def _give(self, reference: int) -> None:
        self._used -= 1
        self._free.append(reference)

    async def _grow(self) -> None:
        frames = len(self._table) + 1
        if frames > GRANT_MAX_FRAMES:
            raise OutOfGrantsError(f"grant table is at its limit of {GRANT_MAX_FRAMES} pages")
        first = len(self._table) * self._per_page
        self._table = await self._machine.hypercall.setup_table(frames)
        await self._find_status()
        self._offer(first)

    def _offer(self, first: int) -> None:
        fresh = range(max(first, GRANT_RESERVED_ENTRIES), len(self._table) * self._per_page)
        self._free = list(reversed(fresh)) + self._free

    async def _find_status(self) -> None:
        if self._version == 1:
            self._status = []
            return
        pages = -(-len(self._table) * self._per_page // GRANT_STATUS_PER_PAGE)
        self._status = await self._machine.hypercall.get_status_frames(pages)
